"""A SavedModel in a session of TensorFlow's C API, in a process that has TensorFlow's Python package loaded.

The library is the one that the package has loaded already, with the ops that the program registered.
Python loads a SavedModel function by function, which takes as long as reading and writing it together; a
session loads the graph as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from hubcli.tf.c_api import CApiError, CApiLibrary, CApiSession, is_loaded
from hubcli.tf.importing import import_tensorflow
from hubcli.tf.python_runner import from_native, to_native
from hubcli.tf.run_child import library_in
from hubcli.tf.run_protocol import Tensor
from hubcli.tf.run_server import CApiCall, CApiModel

__all__ = ["SavedSession", "flat_tensors", "is_registered", "read_argument_list"]


class SavedSession:
    """The model in the directory, with variables of its own; a context that frees it.

    Loading begins at once, on a thread of its own.
    """

    def __init__(self, library: str, model: Path, tags: Sequence[str]) -> None:
        self._loading: Future[CApiSession] = Future()
        self._running = 0
        Thread(target=self._load, args=(library, str(model), tuple(tags)), daemon=True).start()

    @classmethod
    def start(cls, model: Path, tags: Sequence[str]) -> SavedSession | None:
        """The session; None if the library is missing, or TensorFlow has other devices than the CPU.

        A GPU sums in another order than a CPU, and a process allocates its memory only once.
        """
        library = _loaded_library()
        devices = {device.device_type for device in import_tensorflow().config.list_logical_devices()}
        return cls(library, model, tags) if library is not None and devices == {"CPU"} else None

    def __enter__(self) -> SavedSession:
        return self

    def __exit__(self, *error: object) -> None:
        failed = self._loading.exception()
        # What a call that doesn't end still uses can't be freed.
        if failed is None and not self._running:
            with suppress(CApiError):  # The results of the comparison stay valid.
                self._loading.result().close()

    def prepared(self, orders: Mapping[str, dict[str, Any]], assets: Mapping[str, str]) -> dict[str, _Call]:
        """What runs each of the endpoints, which are described as for a `RunProcess`, by the same names.

        All at once: a graph that grows after its first run is prepared again. Raises CApiError.
        """
        model = CApiModel(self._loading.result(), assets)
        return {name: _Call(self, model.prepare(order)) for name, order in orders.items()}

    def _load(self, library: str, model: str, tags: Sequence[str]) -> None:
        try:
            self._loading.set_result(CApiSession(CApiLibrary(library), model, tags, is_optimized=False))
        except BaseException as error:  # noqa: BLE001 - raised where the session is awaited
            self._loading.set_exception(error)

    def _run(self, call: CApiCall, values: Sequence[Tensor]) -> list[Tensor]:
        self._running += 1  # Until the call ends, which it may never do: see `__exit__`.
        try:
            return call.run(values)[0]
        finally:
            self._running -= 1


class _Call:
    """An endpoint; called with its tensors, flat, it gives the list of its outputs. Raises CApiError."""

    def __init__(self, session: SavedSession, call: CApiCall) -> None:
        self._session = session
        self._call = call

    def __call__(self, tensors: Sequence[Any]) -> list[Any]:
        values = [from_native(tensor) for tensor in tensors]
        return [to_native(output) for output in self._session._run(self._call, values)]


def flat_tensors(arguments: Any) -> list[Any]:
    """The tensors in the arguments of a call, in the order in which its function takes them."""
    tf = import_tensorflow()
    return [part for part in tf.nest.flatten(arguments, expand_composites=True) if tf.is_tensor(part)]


def is_registered(op: str) -> bool:
    """Whether this process knows the op."""
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(op) is not None


def read_argument_list(encoded: bytes) -> None:
    """Reads a FunctionSpec as loading a model does. Raises what that does for one that can't be read."""
    from tensorflow.core.protobuf.saved_object_graph_pb2 import FunctionSpec
    from tensorflow.python.saved_model import function_deserialization

    function_deserialization._deserialize_function_spec_as_nonmethod(FunctionSpec.FromString(encoded))


def _loaded_library() -> str | None:
    """The library with the C API that TensorFlow's package has loaded; None if it is not loaded."""
    path = library_in(str(Path(import_tensorflow().__file__).parent))
    return path if path is not None and is_loaded(path) else None
