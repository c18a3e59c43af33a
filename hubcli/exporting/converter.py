"""The process of a conversion: it converts a model, and runs what it wrote."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubcli.errors import ConversionError, TensorFlowError
from hubcli.exporting import ExportFormat
from hubcli.exporting.converted_outputs import NOT_RUN_HINT
from hubcli.running.batching import Batch
from hubcli.running.endpoints import Endpoint
from hubcli.tf.run_process import RunnerError, RunProcess
from hubcli.tf.run_protocol import Tensor

if TYPE_CHECKING:
    from hubcli.exporting.conversion import ConversionPlan
    from hubcli.running.model import RunnableModel

__all__ = ["FORMAT_NAMES", "Converter", "frozen_signatures"]

DEFAULT_OPSET = 18
FORMAT_NAMES = {ExportFormat.TFLITE: "LiteRT", ExportFormat.ONNX: "ONNX"}
_RUNNERS = {ExportFormat.TFLITE: "litert", ExportFormat.ONNX: "onnx"}
_DEBUG = "See what the converter wrote: --debug"
_UNCHECKED = "To skip the comparison: --no-compare"
_RUNNING = "running the converted model"
_HINTS = {
    "NeedsSelectOpsError": "Add TensorFlow's kernels, which the app must link too: --select-tf-ops",
    "UnsupportedOpsError": "Convert a signature without these ops: --signature NAME",
    "NoSelectOpsError": f"Compare it with TensorFlow 2.18, whose interpreter has them. {_UNCHECKED}",
}
_FULL_DISK = os.strerror(errno.ENOSPC)


class Converter:
    """The process that converts, and then runs what it wrote."""

    def __init__(self, plan: ConversionPlan) -> None:
        self._plan = plan
        self._format = FORMAT_NAMES[plan.format]
        self._process = RunProcess(_RUNNERS[plan.format], None, plan.options.conversion_timeout_s)
        self._file: Path | None = None

    def close(self) -> str:
        """Ends the process; what it wrote to its standard streams."""
        return self._process.close()

    @property
    def version(self) -> str:
        """TensorFlow's release. Raises TensorFlowError if it can't be loaded."""
        return self._process.version

    def limit(self, timeout_s: float) -> None:
        """Bounds each order from now on."""
        self._process.limit(timeout_s)

    def convert(
        self,
        destination: Path,
        origin: Mapping[str, Any],
        representative: Mapping[str, Sequence[Batch]],
        *,
        select_tf_ops: bool | None = None,
    ) -> Mapping[str, Any]:
        """Writes the file; `select_tf_ops` overrides the plan's. Raises ConversionError, TensorFlowError.

        OSError is raised for a full disk.
        """
        options, model = self._plan.options, self._plan.model
        answer, _ = self._ask(
            "convert",
            [tensor for batches in representative.values() for batch in batches for tensor in batch.tensors],
            doing=f"converting {model.name}",
            model=str(model.path),
            tags=list(model.tags),
            modules=[package.module for package in model.packages],
            signatures=[endpoint.name for endpoint in self._plan.endpoints],
            frozen=frozen_signatures(model, self._plan.endpoints),
            destination=str(destination),
            origin=json.dumps(origin, sort_keys=True),
            quantize=None if options.quantize is None else options.quantize.value,
            representative=[
                {
                    "signature": name,
                    "names": [port.name for port in self._plan.by_name[name].inputs],
                    "batches": len(batches),
                }
                for name, batches in representative.items()
            ],
            select_tf_ops=options.select_tf_ops if select_tf_ops is None else select_tf_ops,
            opset=options.opset or DEFAULT_OPSET,
        )
        self._file = destination
        return answer

    def prepare(self, endpoint: Endpoint) -> None:
        """Chooses the signature of the file. Raises ConversionError if a name was lost."""
        if self._file is not None:
            self._ask("load", doing="loading the converted model", model=str(self._file))
            self._file = None
        self._ask(
            "prepare",
            doing="preparing the converted model",
            signature=endpoint.name,
            names=[port.name for port in endpoint.inputs],
            output_names=[port.name for port in endpoint.outputs],
        )

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The outputs of the signature. Raises ConversionError, TensorFlowError."""
        self._process.limit(self._plan.options.run_timeout_s)
        try:
            return self._ask("run", tensors, doing=_RUNNING, repeat=1, batches=1)[1]
        finally:
            self._process.limit(self._plan.options.conversion_timeout_s)

    def _ask(
        self, order: str, tensors: Sequence[Tensor] = (), *, doing: str, **fields: Any
    ) -> tuple[dict[str, Any], list[Tensor]]:
        try:
            return self._process.ask(order, tensors, doing=doing, **fields)
        except RunnerError as error:
            if error.kind == "OSError" and _FULL_DISK in error.message:
                raise OSError(errno.ENOSPC, _FULL_DISK) from error
            raise self._refused(error, doing) from error
        except TensorFlowError as error:
            # What is said of a run doesn't help here, but that more time may be allowed.
            hint = error.hint if "--timeout" in error.hint else _DEBUG
            raise TensorFlowError(error.message, hint=NOT_RUN_HINT if doing == _RUNNING else hint) from error

    def _refused(self, error: RunnerError, doing: str) -> ConversionError:
        """Why the converter can't, or why what it wrote doesn't run."""
        name, hint = self._plan.model.name, _HINTS.get(error.kind)
        if doing.startswith("converting"):
            message = f"{name} cannot be converted to {self._format}: {error.message}"
            return ConversionError(message, hint=hint or _DEBUG)
        message = f"{name}: {self._format} failed {doing}: {error.message}"
        return ConversionError(message, hint=hint or f"Use other inputs: --inputs FILE. {_UNCHECKED}")


def frozen_signatures(model: RunnableModel, endpoints: Sequence[Endpoint]) -> list[dict[str, Any]]:
    """The tensors of all of the signatures if converters can't take one of them as it is; else nothing."""
    if model.inner_feeds.isdisjoint(endpoint.name for endpoint in endpoints):
        return []
    return [
        {
            "name": endpoint.name,
            "inputs": [
                {
                    "name": port.name,
                    "tensor": port.parts[0],
                    "type": port.dtype.number,
                    "shape": None if port.shape is None else list(port.shape),
                }
                for port in endpoint.inputs
            ],
            "outputs": [{"name": port.name, "tensor": port.parts[0]} for port in endpoint.outputs],
        }
        for endpoint in endpoints
    ]
