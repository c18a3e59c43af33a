"""TensorFlow's C API by ctypes: a SavedModel loaded and run without TensorFlow's Python package.

Source: tensorflow/c/c_api.h and tensorflow/c/tf_tstring.h, stable since TensorFlow 2.4. The library is
`libtensorflow_cc.so.2` of the pip package, from 2.12 on. It is loaded in a process of its own alone: what
fails in native code ends that process and no other.
"""

from __future__ import annotations

import ctypes
import os
import time
from ctypes import POINTER, Structure, c_char_p, c_int, c_int64, c_size_t, c_ubyte, c_void_p

from hubcli.tf.run_protocol import STRING, WITHOUT_VALUES, Tensor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

__all__ = ["CApiError", "CApiLibrary", "CApiSession", "is_loaded"]

_STRING_BYTES = 24  # sizeof(TF_TString)
_MAX_RANK = 254


# A ConfigProto: graph_options (10) with optimizer_options (3), opt_level (3) L0, which is -1, and with
# rewrite_options (10), disable_meta_optimizer (19). To optimize a graph takes longer than to run it once.
_LEVEL_0 = b"\x1a\x0b\x18" + b"\xff" * 9 + b"\x01"
_NO_REWRITE = b"\x52\x03\x98\x01\x01"
_PLAIN_CONFIG = b"\x52\x12" + _LEVEL_0 + _NO_REWRITE


class CApiError(Exception):
    """TensorFlow refused; the message is its own."""


class MissingSymbolError(CApiError):
    """The library hasn't the C API, or not all of it."""


class _Output(Structure):
    _fields_ = [("operation", c_void_p), ("index", c_int)]


# Result and arguments of each function that is used.
_P = c_void_p
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "TF_Version": (c_char_p, ()),
    "TF_NewStatus": (_P, ()),
    "TF_GetCode": (c_int, (_P,)),
    "TF_Message": (c_char_p, (_P,)),
    "TF_NewGraph": (_P, ()),
    "TF_NewSessionOptions": (_P, ()),
    "TF_SetConfig": (None, (_P, c_char_p, c_size_t, _P)),
    "TF_NewSession": (_P, (_P, _P, _P)),
    "TF_CloseSession": (None, (_P, _P)),
    "TF_DeleteSession": (None, (_P, _P)),
    "TF_DeleteGraph": (None, (_P,)),
    "TF_LoadSessionFromSavedModel": (_P, (_P, _P, c_char_p, _P, c_int, _P, _P, _P)),
    "TF_LoadLibrary": (_P, (c_char_p, _P)),
    "TF_GraphOperationByName": (_P, (_P, c_char_p)),
    "TF_OperationNumOutputs": (c_int, (_P,)),
    "TF_NewOperation": (_P, (_P, c_char_p, c_char_p)),
    "TF_SetAttrType": (None, (_P, c_char_p, c_int)),
    "TF_SetAttrTypeList": (None, (_P, c_char_p, _P, c_int)),
    "TF_SetAttrInt": (None, (_P, c_char_p, c_int64)),
    "TF_SetAttrBool": (None, (_P, c_char_p, c_ubyte)),
    "TF_SetAttrFuncName": (None, (_P, c_char_p, c_char_p, c_size_t)),
    "TF_AddInput": (None, (_P, _Output)),
    "TF_AddInputList": (None, (_P, _P, c_int)),
    "TF_FinishOperation": (_P, (_P, _P)),
    "TF_AllocateTensor": (_P, (c_int, _P, c_int, c_size_t)),
    "TF_DeleteTensor": (None, (_P,)),
    "TF_TensorData": (_P, (_P,)),
    "TF_TensorType": (c_int, (_P,)),
    "TF_TensorByteSize": (c_size_t, (_P,)),
    "TF_NumDims": (c_int, (_P,)),
    "TF_Dim": (c_int64, (_P, c_int)),
    "TF_StringInit": (None, (_P,)),
    "TF_StringCopy": (None, (_P, c_char_p, c_size_t)),
    "TF_StringDealloc": (None, (_P,)),
    "TF_StringGetDataPointer": (_P, (_P,)),
    "TF_StringGetSize": (c_size_t, (_P,)),
    "TF_SessionRun": (
        None,
        (_P, _P, POINTER(_Output), _P, c_int, POINTER(_Output), _P, c_int, _P, c_int, _P, _P),
    ),
}


def _opened(path: str) -> ctypes.CDLL:
    """The library, whose functions are bound when they are first called. Raises OSError.

    ctypes binds all 168,000 of them at once, which is a third of the time of loading it. RTLD_LOCAL: after
    RTLD_GLOBAL another copy of TensorFlow in the process would crash.
    """
    own = _linker()
    handle = own.dlopen(os.fsencode(path), os.RTLD_LAZY | os.RTLD_LOCAL)
    if not handle:
        raise OSError((own.dlerror() or b"the library can't be loaded").decode("utf-8", "replace"))
    return ctypes.CDLL(path, handle=handle)


def is_loaded(path: str) -> bool:
    """Whether this process has the library loaded; False if that can't be determined."""
    mode = getattr(os, "RTLD_NOLOAD", None)
    return mode is not None and bool(_linker().dlopen(os.fsencode(path), mode | os.RTLD_LAZY))


def _linker() -> ctypes.CDLL:
    own = ctypes.CDLL(None)
    own.dlopen.restype, own.dlopen.argtypes = c_void_p, (c_char_p, c_int)
    own.dlerror.restype = c_char_p
    return own


class CApiLibrary:
    """The library at the path, loaded. Raises OSError, MissingSymbolError."""

    def __init__(self, path: str) -> None:
        library = _opened(path)
        self._calls: dict[str, Any] = {}
        for name, (result, arguments) in _FUNCTIONS.items():
            try:
                call = getattr(library, name)
            except AttributeError as error:
                raise MissingSymbolError(f"{path} has no {name}") from error
            call.restype, call.argtypes = result, arguments
            self._calls[name] = call

    def __getattr__(self, name: str) -> Any:
        """The function of the C API of that name."""
        try:
            return self._calls[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def version(self) -> str:
        """The release of TensorFlow, such as "2.21.0"."""
        return str(self.TF_Version().decode())

    def checked(self, call: Any, *arguments: Any) -> Any:
        """What the call returns; its last argument, a status, is added. Raises CApiError."""
        status = self.TF_NewStatus()
        result = call(*arguments, status)
        if self.TF_GetCode(status):
            raise CApiError(self.TF_Message(status).decode("utf-8", "replace"))
        return result

    def load_op_library(self, path: str) -> None:
        """Registers the ops and kernels of a library. Raises CApiError."""
        self.checked(self.TF_LoadLibrary, path.encode())

    def to_native(self, tensor: Tensor) -> int:
        """A TF_Tensor with the values, which the caller deletes. Raises CApiError."""
        if len(tensor.shape) > _MAX_RANK:
            raise CApiError(f"a tensor of {len(tensor.shape)} dimensions")
        dims = (c_int64 * len(tensor.shape))(*tensor.shape)
        is_text = tensor.dtype == STRING
        size = _STRING_BYTES * tensor.size if is_text else len(tensor.data)
        native = self.TF_AllocateTensor(tensor.dtype, dims, len(tensor.shape), size)
        if not native or self.TF_TensorByteSize(native) != size:
            raise CApiError(f"cannot create a tensor of {size} bytes")
        start = self.TF_TensorData(native)
        if not is_text:
            data = tensor.data
            source = data if isinstance(data, bytes) else (ctypes.c_char * len(data)).from_buffer(data)
            ctypes.memmove(start, source, size)
            return int(native)
        init, copy = self.TF_StringInit, self.TF_StringCopy
        for place, value in enumerate(tensor.data):
            init(start + _STRING_BYTES * place)
            copy(start + _STRING_BYTES * place, value, len(value))
        return int(native)

    def from_native(self, native: int) -> Tensor:
        """The values of a TF_Tensor, copied. Raises CApiError for a type that has none."""
        shape = [self.TF_Dim(native, axis) for axis in range(self.TF_NumDims(native))]
        dtype, start = self.TF_TensorType(native), self.TF_TensorData(native)
        if dtype in WITHOUT_VALUES:  # Its bytes are addresses in this process.
            raise CApiError(
                f"an output is a {WITHOUT_VALUES[dtype]}, which has no values outside of TensorFlow"
            )
        tensor = Tensor(dtype, shape, b"")
        if dtype != STRING:
            size = self.TF_TensorByteSize(native)
            tensor.data = ctypes.string_at(start, size) if size else b""
            return tensor
        pointer, length = self.TF_StringGetDataPointer, self.TF_StringGetSize
        places = range(start or 0, (start or 0) + _STRING_BYTES * tensor.size, _STRING_BYTES)
        tensor.data = [ctypes.string_at(pointer(place), length(place)) for place in places]
        return tensor

    def delete_native(self, native: int) -> None:
        """Frees a TF_Tensor, and the strings in it."""
        if self.TF_TensorType(native) == STRING:
            start, count = self.TF_TensorData(native), self.TF_TensorByteSize(native) // _STRING_BYTES
            for place in range(count):
                self.TF_StringDealloc(start + _STRING_BYTES * place)
        self.TF_DeleteTensor(native)


class CApiSession:
    """A graph and a session over it: that of a SavedModel, or an empty one. Raises CApiError.

    Without `is_optimized` the graph is run as it stands, which pays where it is run once.
    """

    def __init__(
        self, library: CApiLibrary, model: str = "", tags: Sequence[str] = (), *, is_optimized: bool = True
    ) -> None:
        self._library = library
        self._graph = library.TF_NewGraph()
        options = library.TF_NewSessionOptions()
        if not is_optimized:
            library.checked(library.TF_SetConfig, options, _PLAIN_CONFIG, len(_PLAIN_CONFIG))
        self._operation_count = 0
        if not model:
            self._session = library.checked(library.TF_NewSession, self._graph, options)
            return
        names = (c_char_p * max(1, len(tags)))(*(tag.encode() for tag in tags))
        load = library.TF_LoadSessionFromSavedModel
        arguments = (options, None, model.encode("utf-8", "surrogateescape"), names, len(tags), self._graph)
        try:
            self._session = library.checked(load, *arguments, None)
        except CApiError:  # What was read of the graph is not needed any more.
            library.TF_DeleteGraph(self._graph)
            raise

    def close(self) -> None:
        """Frees the graph and its variables. Raises CApiError."""
        library = self._library
        library.checked(library.TF_CloseSession, self._session)
        library.checked(library.TF_DeleteSession, self._session)
        library.TF_DeleteGraph(self._graph)

    def tensor(self, name: str, index: int = 0) -> _Output:
        """The output of that number of an operation in the graph. Raises CApiError if it is missing."""
        operation = self.operation(name)
        if not 0 <= index < self._library.TF_OperationNumOutputs(operation):
            raise CApiError(f"the operation {name} has no output {index}")
        return _Output(operation, index)

    def operation(self, name: str) -> int:
        """The operation of that name. Raises CApiError if it is missing."""
        operation = self._library.TF_GraphOperationByName(self._graph, name.encode())
        if not operation:
            raise CApiError(f"the graph has no operation {name}")
        return int(operation)

    def add(
        self, op: str, inputs: Sequence[_Output] = (), attributes: Mapping[str, tuple[str, Any]] | None = None
    ) -> _Output:
        """The first output of a new operation; an attribute is a kind (type, int, bool) with its value."""
        library = self._library
        new = library.TF_NewOperation(self._graph, op.encode(), self._new_name())
        for name, (kind, value) in (attributes or {}).items():
            getattr(library, f"TF_SetAttr{kind.capitalize()}")(new, name.encode(), value)
        for source in inputs:
            library.TF_AddInput(new, source)
        return _Output(library.checked(library.TF_FinishOperation, new), 0)

    def add_call(
        self, function: str, inputs: Sequence[_Output], input_types: Sequence[int], types: Sequence[int]
    ) -> tuple[int, list[_Output]]:
        """A call of a function in the graph's library, given its types, and its outputs. Raises CApiError."""
        library = self._library
        new = library.TF_NewOperation(self._graph, b"StatefulPartitionedCall", self._new_name())
        library.TF_AddInputList(new, (_Output * max(1, len(inputs)))(*inputs), len(inputs))
        for name, numbers in ((b"Tin", input_types), (b"Tout", types)):
            library.TF_SetAttrTypeList(new, name, (c_int * max(1, len(numbers)))(*numbers), len(numbers))
        encoded = function.encode()
        library.TF_SetAttrFuncName(new, b"f", encoded, len(encoded))
        operation = library.checked(library.TF_FinishOperation, new)
        return int(operation), [_Output(operation, index) for index in range(len(types))]

    def run(
        self,
        feeds: Sequence[tuple[_Output, Tensor]],
        fetches: Sequence[_Output],
        targets: Sequence[int] = (),
        *,
        repeat: int = 1,
    ) -> tuple[list[Tensor], list[float]]:
        """The values of the fetches, and how many seconds each run took; targets are operations that run too.

        Raises CApiError.
        """
        library = self._library
        values: list[int] = []
        try:
            values += [library.to_native(tensor) for _, tensor in feeds]
            inputs = (_Output * max(1, len(feeds)))(*(output for output, _ in feeds))
            natives = (c_void_p * max(1, len(values)))(*values)
            outputs = (_Output * max(1, len(fetches)))(*fetches)
            operations = (c_void_p * max(1, len(targets)))(*targets)
            seconds: list[float] = []
            tensors: list[Tensor] = []
            for number in range(repeat):
                results: Any = (c_void_p * max(1, len(fetches)))()
                arguments = (
                    inputs,
                    natives,
                    len(values),
                    outputs,
                    results,
                    len(fetches),
                    operations,
                    len(targets),
                )
                started_at = time.perf_counter()
                library.checked(library.TF_SessionRun, self._session, None, *arguments, None)
                seconds.append(time.perf_counter() - started_at)
                if number == repeat - 1:
                    tensors = [library.from_native(int(results[place])) for place in range(len(fetches))]
                for place in range(len(fetches)):
                    library.delete_native(int(results[place]))
            return tensors, seconds
        finally:
            for value in values:
                library.delete_native(value)

    def _new_name(self) -> bytes:
        self._operation_count += 1
        return f"hubcli_run/{self._operation_count}".encode()
