"""Where training runs: alone, on all devices of this machine, or on several machines."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hubcli.config.environment import library_variable
from hubcli.errors import TensorFlowError, UsageError

__all__ = ["Strategy", "StrategyKind"]


class StrategyKind(str, Enum):
    """The kinds of `tf.distribute` strategies that training may run under."""

    MIRRORED = "mirrored"
    MULTI_WORKER = "multiworker"


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy, started: `replicas` copies train, and `is_chief` tells whether this process writes.

    The model is loaded and trained within `scope()`. Every worker must read
    the variables at the same points: values that are summed up over the
    replicas when they are read need all of them.
    """

    value: Any | None
    replicas: int
    is_chief: bool

    @classmethod
    def start(cls, kind: StrategyKind | None) -> Strategy:
        """The strategy of that kind, or none; started before anything else of TensorFlow runs.

        `multiworker` reads TF_CONFIG. Raises UsageError for a TF_CONFIG that
        isn't there or can't be read, TensorFlowError.
        """
        if kind is None:
            return cls(None, 1, True)
        if kind is StrategyKind.MULTI_WORKER:
            _require_cluster()
        from hubcli.tf.importing import first_line, import_tensorflow  # Options need the kinds alone.

        tf = import_tensorflow()
        try:
            if kind is StrategyKind.MIRRORED:
                devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
                value = tf.distribute.MirroredStrategy([device.name for device in devices])
            else:
                value = tf.distribute.MultiWorkerMirroredStrategy()
        # What stands in TF_CONFIG is taken apart by TensorFlow, which trusts it to be of the right types.
        except (tf.errors.OpError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise TensorFlowError(
                f"The strategy {kind.value} can't be started: {first_line(error)}",
                hint="Check TF_CONFIG and that the workers reach each other."
                if kind is StrategyKind.MULTI_WORKER
                else "Train without --strategy.",
            ) from error
        return cls(value, value.num_replicas_in_sync, _is_chief(value.cluster_resolver))

    def local_value(self, variable: Any) -> Any:
        """The variable, or this worker's own part of it where several workers hold it together.

        For values that are read after a failure: reading the whole takes all workers.
        """
        resolver = getattr(self.value, "cluster_resolver", None)
        if resolver is None or resolver.task_type is None:
            return variable
        parts = getattr(variable, "values", None)
        return parts[0] if isinstance(parts, (list, tuple)) and parts else variable

    def scope(self) -> AbstractContextManager[Any]:
        """The context in which variables are made for the strategy."""
        return nullcontext() if self.value is None else self.value.scope()


def _require_cluster() -> None:
    # What the cluster is made of is said to TensorFlow, not to hubcli: it reads the variable by itself.
    text = library_variable("TF_CONFIG")
    if not text:
        raise UsageError("--strategy multiworker needs TF_CONFIG, which isn't set", hint=_TF_CONFIG_HINT)
    try:
        config = json.loads(text)
    except ValueError as error:
        raise UsageError(f"TF_CONFIG is no JSON: {error}", hint=_TF_CONFIG_HINT) from error
    parts = [config.get(name) for name in ("cluster", "task")] if isinstance(config, dict) else [None]
    if not all(isinstance(part, dict) and part for part in parts):
        raise UsageError("TF_CONFIG doesn't tell the cluster and the task in it", hint=_TF_CONFIG_HINT)


_TF_CONFIG_HINT = (
    """Set on each machine: TF_CONFIG='{"cluster": {"worker": ["HOST:PORT", …]}, """
    """"task": {"type": "worker", "index": 0}}'"""
)


def _is_chief(resolver: Any) -> bool:
    """The task `chief`, or the first worker of a cluster without one."""
    if resolver is None or resolver.task_type is None:
        return True
    if resolver.task_type == "chief":
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "worker" and not resolver.task_id and not has_chief
