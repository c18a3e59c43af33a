"""A writer of LevelDB-style tables as TensorFlow writes them: byte for byte the same, uncompressed.

Source: leveldb/doc/table_format.md, tensorflow's io/table_builder.cc, block_builder.cc and
table_options.h (blocks of 256 KiB, every 16th key whole).
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from hubcli.formats.crc32c import masked_crc32c
from hubcli.formats.wire import encode_varint

__all__ = ["TableWriter"]

_BLOCK_BYTES = 262_144
_RESTART_INTERVAL = 16
_PLAIN = b"\x00"
_MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
_HANDLES_BYTES = 40


class TableWriter:
    """Writes keys and values to a file, a block at a time; the keys must come sorted.

    Nothing of the file is whole until `finish`. Raises OSError.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0
        self._block = _Block(_RESTART_INTERVAL)
        self._index = _Block(1)
        self._last_key = b""
        self._pending: bytes | None = None

    def add(self, key: bytes, value: bytes) -> None:
        """One more entry; its key must be greater than that of the one before."""
        self._name_pending_block(_separator(self._last_key, key))
        self._block.add(key, value)
        self._last_key = key
        if self._block.size_bytes >= _BLOCK_BYTES:
            self._flush()

    def finish(self) -> None:
        """Writes what is left, the index of blocks and the footer."""
        self._flush()
        metaindex = self._write(_Block(_RESTART_INTERVAL))
        self._name_pending_block(_successor(self._last_key))
        handles = metaindex + self._write(self._index)
        self._file.write(handles.ljust(_HANDLES_BYTES, b"\x00") + _MAGIC)

    def _flush(self) -> None:
        if self._block.has_entries:
            self._pending = self._write(self._block)
            self._block = _Block(_RESTART_INTERVAL)

    def _name_pending_block(self, key: bytes) -> None:
        """Puts the block written last into the index, under a key not less than any of its own."""
        if self._pending is not None:
            self._index.add(key, self._pending)
            self._pending = None

    def _write(self, block: _Block) -> bytes:
        """Writes the block and its trailer; what names it: its offset and size as varints."""
        sealed = block.encode() + _PLAIN
        handle = encode_varint(self._position) + encode_varint(len(sealed) - 1)
        self._file.write(sealed + struct.pack("<I", masked_crc32c(sealed)))
        self._position += len(sealed) + 4
        return handle


class _Block:
    """Entries whose keys share their beginnings with the one before, but for every n-th."""

    def __init__(self, restart_interval: int) -> None:
        self._interval = restart_interval
        self._data = bytearray()
        self._restarts = [0]
        self._since_restart = 0
        self._last_key = b""

    @property
    def has_entries(self) -> bool:
        return bool(self._data)

    @property
    def size_bytes(self) -> int:
        return len(self._data) + 4 * len(self._restarts) + 4

    def add(self, key: bytes, value: bytes) -> None:
        shared = 0
        if self._since_restart < self._interval:
            shared = _shared_bytes(self._last_key, key)
        else:
            self._restarts.append(len(self._data))
            self._since_restart = 0
        self._data += encode_varint(shared) + encode_varint(len(key) - shared) + encode_varint(len(value))
        self._data += key[shared:] + value
        self._last_key = key
        self._since_restart += 1

    def encode(self) -> bytes:
        count = len(self._restarts)
        return bytes(self._data) + struct.pack(f"<{count + 1}I", *self._restarts, count)


def _shared_bytes(left: bytes, right: bytes) -> int:
    """How many bytes both begin with."""
    limit = min(len(left), len(right))
    if left[:limit] == right[:limit]:
        return limit
    return next(place for place in range(limit) if left[place] != right[place])


def _separator(key: bytes, following: bytes) -> bytes:
    """A short key from `key` on and before `following` (FindShortestSeparator)."""
    shared = _shared_bytes(key, following)
    if shared < min(len(key), len(following)):
        byte = key[shared]
        if byte < 0xFF and byte + 1 < following[shared]:
            return key[:shared] + bytes([byte + 1])
    return key


def _successor(key: bytes) -> bytes:
    """A short key from `key` on (FindShortSuccessor)."""
    for place, byte in enumerate(key):
        if byte != 0xFF:
            return key[:place] + bytes([byte + 1])
    return key
