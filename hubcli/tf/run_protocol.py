"""Messages between a run and the process in which the model runs: JSON headers with tensors behind them.

A message is two lengths of 8 bytes (little-endian: of the header, of what follows it), the header as JSON,
and the tensors' bytes in the order of the header's `tensors`. Numbers stand as in memory, little-endian;
a string tensor is the 8-byte length of each element, then the elements.

The process imports this module before anything else: it needs nothing but the standard library, and little
of that.
"""

from __future__ import annotations

import json
import struct

TYPE_CHECKING = False  # typing takes 10 ms to load.
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

__all__ = ["STRING", "WITHOUT_VALUES", "ProtocolError", "Tensor", "receive", "send"]

STRING = 7  # tensorflow::DT_STRING
WITHOUT_VALUES = {20: "resource", 21: "variant"}  # Types whose elements are objects of the process.
_HEAD = struct.Struct("<QQ")
_MAX_HEADER_BYTES = 1 << 26
_MAX_BODY_BYTES = 1 << 35
_PIECE_BYTES = 1 << 20


class ProtocolError(Exception):
    """The other side sent an invalid message, or closed the connection within one."""


class Tensor:
    """Values of one type: `dtype` is its number in types.proto, `shape` the sizes of the dimensions.

    `data` is the elements in row-major order as they lie in memory, for strings a list of bytes.
    """

    __slots__ = ("data", "dtype", "shape")

    def __init__(self, dtype: int, shape: Sequence[int], data: Any) -> None:
        self.dtype = dtype
        self.shape = tuple(shape)
        self.data = data

    @property
    def size(self) -> int:
        """How many elements there are."""
        count = 1
        for length in self.shape:
            count *= length
        return count


def send(connection: socket.socket, header: dict[str, Any], tensors: Sequence[Tensor] = ()) -> None:
    """Sends a message; raises OSError if the other side is gone."""
    described, parts = [], []
    for tensor in tensors:
        encoded = _encoded(tensor)
        described.append([tensor.dtype, list(tensor.shape), sum(len(part) for part in encoded)])
        parts += encoded
    text = json.dumps({**header, "tensors": described}).encode()
    head = _HEAD.pack(len(text), sum(len(part) for part in parts)) + text
    if sum(len(part) for part in parts) < _PIECE_BYTES:  # One system call for a small message.
        connection.sendall(b"".join([head, *parts]))
        return
    connection.sendall(head)
    for part in parts:
        connection.sendall(part)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[Tensor]] | None:
    """The next message, None if the other side has closed. Raises ProtocolError, OSError."""
    head = _exactly(connection, _HEAD.size, may_end=True)
    if not head:
        return None
    header_bytes, body_bytes = _HEAD.unpack(head)
    if header_bytes > _MAX_HEADER_BYTES or body_bytes > _MAX_BODY_BYTES:
        raise ProtocolError(f"a message of {header_bytes} and {body_bytes} bytes")
    try:
        header = json.loads(_exactly(connection, header_bytes))
        described = header.pop("tensors")
        if sum(size for _, _, size in described) != body_bytes:
            raise ProtocolError("a message whose lengths contradict each other")
        tensors = [_decoded(dtype, shape, _exactly(connection, size)) for dtype, shape, size in described]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error) as error:
        raise ProtocolError(f"a message that cannot be read: {error}") from error
    return header, tensors


def _encoded(tensor: Tensor) -> list[Any]:
    if tensor.dtype != STRING:
        return [tensor.data]
    return [struct.pack(f"<{len(tensor.data)}Q", *map(len, tensor.data)), b"".join(tensor.data)]


def _decoded(dtype: int, shape: list[int], data: bytearray) -> Tensor:
    tensor = Tensor(dtype, shape, data)
    if dtype == STRING:
        count = tensor.size
        lengths = struct.unpack_from(f"<{count}Q", data)
        if 8 * count + sum(lengths) != len(data):
            raise ProtocolError("a tensor of strings whose lengths do not match")
        position, strings = 8 * count, []
        for length in lengths:
            strings.append(bytes(data[position : position + length]))
            position += length
        tensor.data = strings
    return tensor


def _exactly(connection: socket.socket, size: int, *, may_end: bool = False) -> bytearray:
    """That many bytes; none if the other side closed first, and `may_end` allows it."""
    data = bytearray(size)
    view, received = memoryview(data), 0
    while received < size:
        count = connection.recv_into(view[received:], min(size - received, _PIECE_BYTES))
        if not count:
            if may_end and not received:
                return bytearray()
            raise ProtocolError("the message ends early")
        received += count
    return data
