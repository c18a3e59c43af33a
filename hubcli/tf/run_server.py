"""The process in which a model runs: it loads, runs and decodes as the messages on a socket ask it to.

Started by `hubcli.tf.run_process`, which knows the messages; its arguments are the number of the socket's
file descriptor and the runner: `c` or `python`, or `litert` or `onnx`, which convert a model and run the
result. It ends when the socket is closed.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time

from hubcli.tf.run_protocol import STRING, Tensor, receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Protocol

    class Runner(Protocol):
        """A way to run a model: each method answers the message of its name."""

        version: str

        def load(self, order: dict[str, Any]) -> list[str]:
            """Loads the model; gives notes."""

        def unload(self, order: dict[str, Any]) -> None:
            """Frees the model."""

        def prepare(self, order: dict[str, Any]) -> None:
            """Chooses what is run."""

        def run(self, order: dict[str, Any], tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[float]]:
            """Runs it."""

        def decode_image(self, data: bytes, order: dict[str, Any]) -> Tensor:
            """An image as a tensor."""

        def decode_wav(self, data: bytes) -> tuple[Tensor, int]:
            """Samples, and how many a second."""

        def convert(self, order: dict[str, Any], tensors: Sequence[Tensor]) -> dict[str, Any]:
            """Converts a model; only the runners of converted models do, which decode nothing."""


__all__ = ["CApiCall", "CApiModel", "CApiRunner", "main", "serve"]

_UINT8, _FLOAT, _INT32 = 4, 1, 3
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9


class CApiRunner:
    """Models run by TensorFlow's C API, each by the `number` that its orders have."""

    def __init__(self, library: str) -> None:
        from hubcli.tf.c_api import CApiLibrary

        self._library = CApiLibrary(library)
        self.version = self._library.version
        self._models: dict[int, CApiModel] = {}
        self._calls: dict[int, CApiCall] = {}
        self._decoders: dict[Any, Any] = {}

    def load(self, order: dict[str, Any]) -> list[str]:
        """Loads `model` by its `tags`, after the op libraries; frees the one that had the number."""
        self.unload(order)
        notes = [note for path in order["libraries"] if (note := self._load_ops(path))]
        from hubcli.tf.c_api import CApiSession

        is_optimized = not order["is_once"]
        session = CApiSession(self._library, order["model"], order["tags"], is_optimized=is_optimized)
        self._models[order["number"]] = model = CApiModel(session, order["assets"])
        model.initialize(order["initializers"])
        return notes

    def _load_ops(self, path: str) -> str:
        """Why the library's ops can't be had, "" if they are."""
        from hubcli.tf.c_api import CApiError

        try:
            self._library.load_op_library(path)
        except CApiError as error:
            return f"{path}: {error}"
        return ""

    def unload(self, order: dict[str, Any]) -> None:
        """Frees the model, if there is one."""
        model = self._models.pop(order["number"], None)
        self._calls.pop(order["number"], None)
        if model is not None:
            model.session.close()

    def prepare(self, order: dict[str, Any]) -> None:
        """Finds the tensors of a signature, or adds a call of a function to the graph."""
        self._calls[order["number"]] = self._models[order["number"]].prepare(order)

    def run(self, order: dict[str, Any], tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[float]]:
        """The outputs, and the seconds of each run."""
        return self._calls[order["number"]].run(tensors, order["repeat"])

    def decode_image(self, data: bytes, order: dict[str, Any]) -> Tensor:
        """[1, height, width, channels]: float32 in the range of `scale`, uint8 without one."""
        from hubcli.tf.c_api import CApiSession

        size, scale = order["size"], order["scale"]
        key = ("image", order["channels"], scale is not None, size is not None, order["is_webp"])
        if key not in self._decoders:
            self._decoders[key] = _image_decoder(CApiSession(self._library), *key[1:])
        session, ports, image = self._decoders[key]
        feeds = [(ports["bytes"], _text(data))]
        if "axis" in ports:
            feeds.append((ports["axis"], Tensor(_INT32, (), bytes(4))))
        if size is not None:
            feeds.append((ports["size"], Tensor(_INT32, (2,), struct.pack("<2i", *size))))
        if scale is not None:
            low, high = scale
            feeds.append((ports["factor"], Tensor(_FLOAT, (), struct.pack("<f", (high - low) / 255))))
            feeds.append((ports["offset"], Tensor(_FLOAT, (), struct.pack("<f", low))))
        return session.run(feeds, [image])[0][0]  # type: ignore[no-any-return]

    def decode_wav(self, data: bytes) -> tuple[Tensor, int]:
        """Samples as float32 [samples, channels] in [-1, 1], and the rate a second."""
        from hubcli.tf.c_api import CApiSession, _Output

        if "wav" not in self._decoders:
            session = CApiSession(self._library)
            encoded = session.add("Placeholder", (), {"dtype": ("type", STRING)})
            self._decoders["wav"] = (session, encoded, session.add("DecodeWav", (encoded,)))
        session, encoded, audio = self._decoders["wav"]
        fetches = [audio, _Output(audio.operation, 1)]
        samples, rate = session.run([(encoded, _text(data))], fetches)[0]
        return samples, int.from_bytes(rate.data, "little")


class CApiModel:
    """A model that a session has loaded; `assets` are the files that are fed to it, by the tensor."""

    def __init__(self, session: Any, assets: Mapping[str, str]) -> None:
        self.session = session
        self._assets = [(session.tensor(*_name(tensor)), _text(path)) for tensor, path in assets.items()]

    def initialize(self, names: Sequence[str]) -> None:
        """Runs these ops, of a graph that names no op for that."""
        if names:
            self.session.run(self._assets, [], [self.session.operation(name) for name in names])

    def prepare(self, order: dict[str, Any]) -> CApiCall:
        """Finds the tensors of a signature, or adds a call of a function to the graph."""
        session = self.session
        if "function" not in order:
            inputs = [session.tensor(*_name(tensor)) for tensor in order["inputs"]]
            return CApiCall(session, inputs, [session.tensor(*_name(tensor)) for tensor in order["outputs"]])
        types, all_types = order["types"], order["input_types"]
        inputs = [session.add("Placeholder", (), {"dtype": ("type", number)}) for number in types]
        captures = [session.tensor(*_name(tensor)) for tensor in order["captures"]]
        # Assets that a function reads are paths, which are fed at each run as they are while it is loaded.
        used = {(capture.operation, capture.index) for capture in captures}
        fixed = [pair for pair in self._assets if (pair[0].operation, pair[0].index) in used]
        call, outputs = session.add_call(
            order["function"], [*inputs, *captures], all_types, order["output_types"]
        )
        # A function without results is run for its effect.
        return CApiCall(session, inputs, outputs, fixed, [] if outputs else [call])


class CApiCall:
    """A signature or a function in a session, ready to run."""

    def __init__(
        self,
        session: Any,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        fixed: Sequence[Any] = (),
        targets: Sequence[int] = (),
    ) -> None:
        self._session = session
        self._inputs, self._outputs = inputs, outputs
        self._fixed, self._targets = fixed, targets

    def run(self, tensors: Sequence[Tensor], repeat: int = 1) -> tuple[list[Tensor], list[float]]:
        """The outputs, and the seconds of each run."""
        feeds = [*zip(self._inputs, tensors, strict=True), *self._fixed]
        found: tuple[list[Tensor], list[float]]
        found = self._session.run(feeds, self._outputs, self._targets, repeat=repeat)
        return found


def _image_decoder(session: Any, channels: int, is_float: bool, is_resized: bool, is_webp: bool) -> Any:
    """A graph that decodes: the session, its placeholders by name, the image [1, height, width, channels]."""

    def port(dtype: int) -> Any:
        return session.add("Placeholder", (), {"dtype": ("type", dtype)})

    ports = {"bytes": port(STRING)}
    attributes = {"channels": ("int", channels), "dtype": ("type", _UINT8)}
    if is_webp:
        image = session.add("DecodeWebP", (ports["bytes"],), attributes)  # Its first dimension is frames.
    else:
        attributes["expand_animations"] = ("bool", 0)
        ports["axis"] = port(_INT32)
        image = session.add("DecodeImage", (ports["bytes"],), attributes)
        image = session.add("ExpandDims", (image, ports["axis"]))
    if is_resized:
        ports["size"] = port(_INT32)
        image = session.add("ResizeBilinear", (image, ports["size"]), {"half_pixel_centers": ("bool", 1)})
    elif is_float:
        image = session.add("Cast", (image,), {"DstT": ("type", _FLOAT)})
    if is_float:
        ports |= {"factor": port(_FLOAT), "offset": port(_FLOAT)}
        image = session.add("AddV2", (session.add("Mul", (image, ports["factor"])), ports["offset"]))
    elif is_resized:
        image = session.add("Cast", (session.add("Round", (image,)),), {"DstT": ("type", _UINT8)})
    return session, ports, image


def _name(tensor: str) -> tuple[str, int]:
    """Operation and number of a tensor's name, such as `dense/kernel:0`."""
    name, _, number = tensor.partition(":")
    return name, int(number or 0)


def _text(value: str | bytes) -> Tensor:
    encoded = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)
    return Tensor(STRING, (), [encoded])


def peak_memory_bytes() -> int:
    """The most memory that this process had at a time."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def serve(connection: socket.socket, make_runner: Any) -> None:
    """Answers messages until the socket is closed. What a runner raises is an answer, too."""
    try:
        runner = make_runner()
        send(connection, {"version": runner.version})
    except Exception as error:  # noqa: BLE001 - sent to the other side
        send(connection, _error(error))
        return
    while (message := receive(connection)) is not None:
        order, tensors = message
        try:
            answer, results = _answer(runner, order, tensors)
        except Exception as error:  # noqa: BLE001 - sent to the other side
            answer, results = _error(error), []
        send(connection, answer, results)


def _answer(
    runner: Runner, order: dict[str, Any], tensors: list[Tensor]
) -> tuple[dict[str, Any], list[Tensor]]:
    kind, began = order["order"], time.perf_counter()
    if kind == "load":
        notes = runner.load(order)
        return {"notes": notes, "seconds": time.perf_counter() - began}, []
    if kind in ("prepare", "unload"):
        getattr(runner, kind)(order)
        return {}, []
    if kind == "run":
        return _run_batches(runner, order, tensors)
    if kind == "convert":
        return runner.convert(order, tensors), []
    if kind == "memory":
        return {"peak_bytes": peak_memory_bytes()}, []
    if kind == "image":
        return {}, [runner.decode_image(tensors[0].data[0], order)]
    assert kind == "wav", kind
    samples, rate = runner.decode_wav(tensors[0].data[0])
    return {"rate": rate}, [samples]


def _run_batches(
    runner: Runner, order: dict[str, Any], tensors: list[Tensor]
) -> tuple[dict[str, Any], list[Tensor]]:
    """The outputs of each batch of the message, up to one that fails, of which `failed` tells."""
    count, results, seconds = len(tensors) // order["batches"], list[Tensor](), list[list[float]]()
    for number in range(order["batches"]):
        try:
            outputs, times = runner.run(order, tensors[number * count : (number + 1) * count])
        except Exception as error:
            if not number:
                raise
            return {"seconds": seconds, "failed": _error(error)["error"]}, results
        results += outputs
        seconds.append(times)
    return {"seconds": seconds}, results


def _error(error: Exception) -> dict[str, Any]:
    return {"error": str(error) or type(error).__name__, "kind": type(error).__name__}


def _end_with_parent() -> None:
    """Lets the kernel kill this process when the one that started it dies, where it can (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def _make_runner(kind: str, library: str) -> Any:
    """The runner of that kind; each imports what the others don't need."""
    if kind == "c":
        return CApiRunner(library)
    if kind == "litert":
        from hubcli.tf.litert import LiteRtRunner

        return LiteRtRunner()
    if kind == "onnx":
        from hubcli.tf.onnx_model import OnnxRunner

        return OnnxRunner()
    from hubcli.tf.python_runner import PythonRunner

    return PythonRunner()


def main() -> None:
    """Serves the socket of the first argument by the runner of the second, with the library of the third."""
    number, runner, library = sys.argv[1:4]
    _end_with_parent()
    # An interrupt is for the process that started this one, which then closes the socket.
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(number)) as connection:
        serve(connection, lambda: _make_runner(runner, library))
    os._exit(0)  # Destructors of native libraries take time, and may crash.
