"""SavedModels converted to LiteRT's format (`.tflite`), and such a file run by LiteRT.

Both happen in the process of `hubcli.tf.run_server`, where a crash of the converter ends nothing else.
Formats: tensorflow/compiler/mlir/lite/schema/schema.fbs; metadata of a model is a named buffer.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hubcli.errors import TensorFlowError
from hubcli.tf.arrays import array_of, tensor_of_array
from hubcli.tf.frozen_signatures import converted_source
from hubcli.tf.importing import import_tensorflow
from hubcli.tf.run_protocol import STRING, Tensor

__all__ = ["ORIGIN_KEY", "ConverterError", "LiteRtRunner", "reason_of", "require_names", "tensor_from"]

# The name of the metadata that says which model a file was made of.
ORIGIN_KEY = "hubcli.origin"
_INTERPRETERS = ("tensorflow.lite.python.interpreter", "ai_edge_litert.interpreter")


class ConverterError(Exception):
    """Why the converter can't, in a sentence."""


class NeedsSelectOpsError(ConverterError):
    """The model has ops that LiteRT runs by TensorFlow's kernels alone."""


class UnsupportedOpsError(ConverterError):
    """The model has ops that LiteRT can't run, not even by TensorFlow's kernels."""


class NoSelectOpsError(ConverterError):
    """The interpreter has no Flex delegate: TensorFlow's packages from 2.20 on leave it out.

    Source: https://github.com/google-ai-edge/LiteRT/issues/6458.
    """


class LiteRtRunner:
    """Converts a SavedModel, and runs the result. Needs TensorFlow."""

    def __init__(self) -> None:
        self._tf = import_tensorflow()
        self.version = str(self._tf.__version__)

    def convert(self, order: dict[str, Any], tensors: Sequence[Tensor]) -> dict[str, Any]:
        """Writes the model's signatures as a `.tflite` file to `destination`.

        `tensors` are the representative inputs: those of each batch that `representative` tells of, in its
        order. Raises ConverterError, or what loading the model raises.
        """
        for module in order["modules"]:
            __import__(module)
        with converted_source(self._tf, order) as model:
            converter = self._converter(order, model, tensors)
            try:
                content = converter.convert()
            except Exception as error:
                raise reason_of(str(error)) from error
        Path(order["destination"]).write_bytes(self._attach(content, order["origin"]))
        return {"converter": f"TensorFlow {self.version}"}

    def _converter(self, order: dict[str, Any], model: str, tensors: Sequence[Tensor]) -> Any:
        lite, names = self._tf.lite, list(order["signatures"])
        # Of several signatures of a model that Keras exported, it would keep `serving_default`
        # alone: they are named afterwards. `prepare` finds one that was lost.
        converter = lite.TFLiteConverter.from_saved_model(
            model, signature_keys=names[:1], tags=set(order["tags"])
        )
        converter._saved_model_exported_names = names
        builtin = lite.OpsSet.TFLITE_BUILTINS
        quantize = order["quantize"]
        converter.target_spec.supported_ops = [builtin]
        if quantize is not None:
            converter.optimizations = [lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [self._tf.float16]
        if quantize == "int8":
            converter.target_spec.supported_ops = [lite.OpsSet.TFLITE_BUILTINS_INT8, builtin]
            converter.representative_dataset = _representative(order["representative"], tensors)
        if order["select_tf_ops"]:
            converter.target_spec.supported_ops += [lite.OpsSet.SELECT_TF_OPS]
        return converter

    def _attach(self, content: bytes, origin: str) -> bytes:
        """The file with the metadata of its origin."""
        import numpy as np
        from tensorflow.lite.python import schema_py_generated as schema
        from tensorflow.lite.tools import flatbuffer_utils

        model = flatbuffer_utils.convert_bytearray_to_object(content)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(origin.encode(), np.uint8)
        model.buffers.append(buffer)
        entry = schema.MetadataT()
        entry.name, entry.buffer = ORIGIN_KEY.encode(), len(model.buffers) - 1
        model.metadata = [*(model.metadata or ()), entry]
        return bytes(flatbuffer_utils.convert_object_to_bytearray(model))

    def load(self, order: dict[str, Any]) -> list[str]:
        """Loads a `.tflite` file."""
        self._interpreter = _interpreter_class()(str(order["model"]))
        return []

    def prepare(self, order: dict[str, Any]) -> None:
        """Chooses a signature. Raises TensorFlowError if the file lacks it, or one of its tensors."""
        name = order["signature"]
        found = self._interpreter.get_signature_list().get(name)
        require_names("signature", [name], [] if found is None else [name])
        require_names("input", order["names"], found["inputs"])
        require_names("output", order["output_names"], found["outputs"])
        self._call = self._interpreter.get_signature_runner(name)
        self._names, self._outputs = order["names"], order["output_names"]

    def run(self, order: dict[str, Any], tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[float]]:
        """The outputs, and the seconds of each run."""
        arrays = {name: array_of(tensor) for name, tensor in zip(self._names, tensors, strict=True)}
        seconds, results = list[float](), dict[str, Any]()
        for _ in range(order["repeat"]):
            began = time.perf_counter()
            try:
                results = self._call(**arrays)
            except RuntimeError as error:
                raise self._run_error(str(error)) from error
            seconds.append(time.perf_counter() - began)
        return [tensor_from(results[name]) for name in self._outputs], seconds

    def _run_error(self, text: str) -> ConverterError:
        """Why the file doesn't run."""
        if "Flex delegate" in text:
            return NoSelectOpsError(f"the interpreter of TensorFlow {self.version} has no Select TF ops")
        return ConverterError(next(iter(text.splitlines()), "unknown reason")[:_MAX_REASON])


_MAX_REASON = 500
# The custom ops first: those are listed beside others that only lack the Select TF ops.
_REASONS: tuple[tuple[type[ConverterError], str, str], ...] = (
    (
        UnsupportedOpsError,
        r"^Custom ops: (.+)$",
        "LiteRT has no op for {}, builtin or Select TensorFlow",
    ),
    (NeedsSelectOpsError, r"^TF Select ops: (.+)$", "LiteRT has no builtin op for {}"),
    (ConverterError, r"error: (?:loc\(.*\): )?(.+)$", "{}"),
)


def reason_of(text: str) -> ConverterError:
    r"""What the converter's error says, in a sentence: its text is a page of MLIR.

    >>> reason_of("<unknown>:0: error: x\nTF Select ops: Erf, StringLower\nDetails:")
    NeedsSelectOpsError('LiteRT has no builtin op for Erf, StringLower')
    """
    for kind, pattern, sentence in _REASONS:
        found = re.search(pattern, text, re.MULTILINE)
        if found is not None:
            return kind(sentence.format(found[1].strip()[:_MAX_REASON]))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ConverterError(lines[0][:_MAX_REASON] if lines else "unknown reason")


def require_names(kind: str, expected: Sequence[str], found: Sequence[str]) -> None:
    """Raises TensorFlowError for a name that the conversion lost."""
    missing = [name for name in expected if name not in found]
    if missing:
        raise TensorFlowError(
            f"The converted model lacks the {kind} '{missing[0]}': it has {', '.join(found) or 'none'}"
        )


def _representative(
    described: Sequence[dict[str, Any]], tensors: Sequence[Tensor]
) -> Callable[[], Iterator[Any]]:
    """What the converter calibrates with: each batch of each signature, as often as it asks."""

    def batches() -> Iterator[Any]:
        place = 0
        for group in described:
            names = group["names"]
            for _ in range(group["batches"]):
                own = tensors[place : place + len(names)]
                place += len(names)
                values = {name: array_of(tensor) for name, tensor in zip(names, own, strict=True)}
                yield group["signature"], values

    return batches


def _interpreter_class() -> Any:
    """LiteRT's interpreter: that in TensorFlow, which has the Select TF ops, else its own package's."""
    import importlib

    warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
    for module in _INTERPRETERS:
        with suppress(ImportError, AttributeError):
            return importlib.import_module(module).Interpreter
    raise TensorFlowError(
        "This TensorFlow has no LiteRT interpreter, and ai-edge-litert is not installed",
        hint="Install it: pip install ai-edge-litert",
    )


def tensor_from(value: Any) -> Tensor:
    """An output as a tensor: an array, a NumPy scalar, or texts in an array of objects."""
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind in "OSU":
        texts = [item.encode() if isinstance(item, str) else bytes(item) for item in array.reshape(-1)]
        return Tensor(STRING, array.shape, texts)
    tensor: Tensor = tensor_of_array(array)
    return tensor
