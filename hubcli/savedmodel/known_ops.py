"""The op types that TensorFlow 2.21 knows, from a list that tools/make_op_list.py writes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["is_known", "takes_functions"]


@cache
def _ops() -> dict[str, bool]:
    """Whether an op takes functions as attributes, by its name."""
    lines = Path(__file__).with_name("known_ops.txt").read_text(encoding="utf-8").splitlines()[1:]
    return {line.removesuffix(" f"): line.endswith(" f") for line in lines}


def is_known(op: str) -> bool:
    """Whether plain TensorFlow has the op; others come with a library such as tensorflow_text."""
    return op in _ops()


def takes_functions(op: str) -> bool:
    """Whether the op may name functions in its attributes; True for an unknown one."""
    return _ops().get(op, True)
