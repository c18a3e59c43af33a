"""SavedModels converted to ONNX by tf2onnx, and such a file run by ONNX Runtime.

Both happen in the process of `hubcli.tf.run_server`. The converter is called as its command line is
(https://github.com/onnx/tensorflow-onnx), which alone of its interfaces keeps the names of a signature.
"""

from __future__ import annotations

import importlib
import re
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from hubcli.errors import TensorFlowError
from hubcli.tf.arrays import array_of
from hubcli.tf.frozen_signatures import converted_source
from hubcli.tf.importing import import_tensorflow
from hubcli.tf.litert import ORIGIN_KEY, ConverterError, UnsupportedOpsError, require_names, tensor_from
from hubcli.tf.run_protocol import STRING, Tensor

__all__ = ["OnnxRunner"]

_HINT = "Install them: pip install 'hubcli[onnx]'"
_MAX_MODEL_BYTES = (1 << 31) - 1  # Of a protobuf message.


class OnnxRunner:
    """Converts a signature of a SavedModel, and runs the result. Needs TensorFlow and `hubcli[onnx]`."""

    def __init__(self) -> None:
        for package in ("onnx", "onnxruntime"):
            _import(package)
        self._tf = import_tensorflow()
        self.version = str(self._tf.__version__)

    def convert(self, order: dict[str, Any], tensors: Sequence[Tensor]) -> dict[str, Any]:
        """Writes the model's signature as an ONNX file to `destination`."""
        onnx, converter = _import("onnx"), _import("tf2onnx.convert")
        for module in order["modules"]:
            __import__(module)
        (signature,) = order["signatures"]
        if len(order["tags"]) > 1:
            raise ConverterError(f"tf2onnx cannot load a MetaGraph with the tags {', '.join(order['tags'])}")
        with converted_source(self._tf, order) as source:
            arguments = [
                f"--saved-model={source}",
                f"--tag={','.join(order['tags'])}",
                f"--signature_def={signature}",
                f"--opset={order['opset']}",
                f"--output={order['destination']}",
            ]
            try:
                _call_main(converter.main, arguments)
            except OSError:  # Of the destination.
                raise
            except Exception as error:
                raise ConverterError(reason_of(error)) from error
        model = onnx.load(order["destination"])
        entry = model.metadata_props.add()
        entry.key, entry.value = ORIGIN_KEY, order["origin"]
        # It names the directory that was read, which says nothing to others.
        model.graph.name, model.graph.doc_string = signature, ""
        if model.ByteSize() > _MAX_MODEL_BYTES:
            raise TensorFlowError("The model is larger than 2 GiB, which an ONNX file cannot hold")
        _require_known_ops(model, onnx)
        onnx.save(model, order["destination"])
        version = importlib.import_module("tf2onnx").__version__
        return {"converter": f"tf2onnx {version}", "opset": _opset_of(model)}

    def load(self, order: dict[str, Any]) -> list[str]:
        """Loads an ONNX file."""
        runtime = _import("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(order["model"], options, providers=["CPUExecutionProvider"])
        return []

    def prepare(self, order: dict[str, Any]) -> None:
        """Checks the names. Raises TensorFlowError if the file lacks one of the signature."""
        require_names("input", order["names"], [port.name for port in self._session.get_inputs()])
        require_names("output", order["output_names"], [port.name for port in self._session.get_outputs()])
        self._names, self._outputs = order["names"], order["output_names"]

    def run(self, order: dict[str, Any], tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[float]]:
        """The outputs, and the seconds of each run."""
        feeds = {name: _fed(tensor) for name, tensor in zip(self._names, tensors, strict=True)}
        seconds, results = list[float](), list[Any]()
        for _ in range(order["repeat"]):
            began = time.perf_counter()
            results = self._session.run(self._outputs, feeds)
            seconds.append(time.perf_counter() - began)
        return [tensor_from(result) for result in results], seconds


def _require_known_ops(model: Any, onnx: Any) -> None:
    """Raises UnsupportedOpsError for ops of TensorFlow that the converter left in the graph."""
    opset = _opset_of(model)
    names = {node.op_type for node in _nodes(model.graph) if node.domain in ("", "ai.onnx")}
    unknown = sorted(name for name in names if not onnx.defs.has(name, opset))
    if unknown:
        raise UnsupportedOpsError(f"tf2onnx cannot convert {', '.join(unknown)} to opset {opset}")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ConverterError(reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """What tf2onnx, ONNX's checker or ONNX Runtime says, in a sentence.

    >>> reason_of(ValueError("graph input 'text' not exist"))
    "no output uses the input 'text', and tf2onnx removes it"
    """
    text = str(error).strip() or type(error).__name__
    for pattern, sentence in _REASONS:
        found = re.search(pattern, text, re.DOTALL)
        if found is not None:
            return sentence.format(*found.groups())
    return text.splitlines()[0]


_REASONS = (
    (r"graph input '(.+)' not exist", "no output uses the input '{}', and tf2onnx removes it"),
    (
        r"Field 'shape' of 'type' is required",
        "an output has an unknown number of dimensions, which ONNX forbids",
    ),
    # Of ONNX Runtime, which names a temporary file.
    (r"\[ONNXRuntimeError\] : \d+ : \w+ : (?:Load model from .+? failed:)?([^\n]+)", "{}"),
)


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph, and of the graphs in their attributes."""
    graphs = [graph]
    while graphs:
        for node in graphs.pop().node:
            yield node
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += attribute.graphs


def _call_main(main: Any, arguments: Sequence[str]) -> None:
    """Runs the converter's command line; SystemExit is what it does with arguments that it refuses."""
    before = sys.argv
    sys.argv = ["tf2onnx", *arguments]
    try:
        main()
    except SystemExit as error:
        raise TensorFlowError(f"tf2onnx ended with status {error.code}") from error
    finally:
        sys.argv = before


def _opset_of(model: Any) -> int:
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _fed(tensor: Tensor) -> Any:
    """The tensor as ONNX Runtime takes it: texts as str."""
    array: Any = array_of(tensor)
    if tensor.dtype != STRING:
        return array
    for place, text in enumerate(tensor.data):
        array.flat[place] = text.decode()
    return array


def _import(name: str) -> Any:
    """A module of the packages of `hubcli[onnx]`. Raises TensorFlowError if it isn't installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise TensorFlowError(f"{name.partition('.')[0]} cannot be imported: {error}", hint=_HINT) from error
