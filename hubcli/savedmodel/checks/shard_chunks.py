"""Stretches: the parts into which the bytes of a model are cut, each read once and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hubcli.config.environment import on_disk
from hubcli.errors import BrokenModelError
from hubcli.formats.files import open_noatime
from hubcli.formats.tensor_bundle import BundleEntry, BundleIndex
from hubcli.formats.tensors import ByteOrder, check_tensor
from hubcli.issues import Issue

if TYPE_CHECKING:
    import hashlib

__all__ = ["OnBytes", "ShardChunk", "StoredTensor", "stored_tensors", "without_overlaps"]

OnBytes = Callable[[int], None]

_READ_BYTES = 1 << 20
# A stretch takes some milliseconds: enough of them for two threads to end together.
_STRETCH_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor, or a slice of one, with the name that a person knows it by."""

    name: str
    entry: BundleEntry

    @property
    def end(self) -> int:
        """Where its bytes end in the shard."""
        return self.entry.offset + self.entry.size_bytes

    def fault(self, file: str, message: str) -> Issue:
        """A fault of its bytes in that file."""
        return Issue.of_file("tensor", message, file, self.name, self.entry.offset, self.end)


def stored_tensors(index: BundleIndex) -> tuple[list[list[StoredTensor]], list[str]]:
    """What each shard holds, by offset; and what the index itself has wrong, in words.

    A partitioned tensor is in its slices, which go by its name.
    """
    names: dict[bytes, str] = {}
    broken: list[str] = []
    for entry in index.by_name.values():
        names.update((part.key, entry.name) for part in _parts(index, entry, broken))
    shards: list[list[StoredTensor]] = [[] for _ in range(index.shard_count)]
    for entry in index.entries:
        if not entry.slices:
            shards[entry.shard].append(StoredTensor(names.get(entry.key, entry.name), entry))
    for tensors in shards:
        tensors.sort(key=lambda one: (one.entry.offset, one.entry.size_bytes))
    return shards, broken


def _parts(index: BundleIndex, entry: BundleEntry, broken: list[str]) -> list[BundleEntry]:
    try:
        return index.parts(entry)
    except BrokenModelError as error:
        broken.append(error.message)
        return []


def without_overlaps(
    tensors: Sequence[StoredTensor], path: str, file_bytes: int
) -> tuple[tuple[StoredTensor, ...], list[Issue]]:
    """Those that can be read one after the other; and faults of those beyond the end or within others.

    TensorFlow writes no tensors that share bytes. An index that names the same
    gigabyte a hundred thousand times is not followed.
    """
    readable, faults, position = [], [], 0
    for tensor in tensors:
        if tensor.end > file_bytes:
            faults.append(tensor.fault(path, f"it ends at byte {tensor.end}, the file at {file_bytes}"))
        elif tensor.entry.offset < position:
            faults.append(tensor.fault(path, "it shares bytes with another tensor"))
        else:
            readable.append(tensor)
            position = tensor.end
    return tuple(readable), faults


@dataclass(frozen=True, slots=True)
class ShardChunk:
    """A part of the file `path` in the directory `model`, checked in one pass.

    `tensors` stand in the order of their offsets and don't overlap. With a
    `sha256` the part is the whole file, of `file_bytes`, and is hashed too.
    """

    model: Path
    path: str
    file_bytes: int
    tensors: tuple[StoredTensor, ...] = ()
    sha256: str | None = None
    byte_order: ByteOrder = "little"

    @property
    def size_bytes(self) -> int:
        """How much will be read."""
        return self.file_bytes if self.sha256 else sum(one.entry.size_bytes for one in self.tensors)

    def cut(self) -> Iterator[ShardChunk]:
        """The same in parts of some 32 MiB; as it is where it must be read as one."""
        if self.sha256 is not None:
            yield self
            return
        part: list[StoredTensor] = []
        size = 0
        for tensor in self.tensors:
            part.append(tensor)
            size += tensor.entry.size_bytes
            if size >= _STRETCH_BYTES:
                yield self._of(part)
                part, size = [], 0
        if part:
            yield self._of(part)

    def _of(self, tensors: Sequence[StoredTensor]) -> ShardChunk:
        return ShardChunk(self.model, self.path, self.file_bytes, tuple(tensors), None, self.byte_order)

    def check(self, on_bytes: OnBytes) -> list[Issue]:
        """Reads it and names what is broken; `on_bytes` hears of each piece."""
        try:
            path = self.model / on_disk(self.path)
            with open(path, "rb", buffering=0, opener=open_noatime) as file:
                return self._check(_Reader(file, on_bytes, self.sha256 is not None))
        except BrokenModelError as error:  # In the bytes between tensors.
            return [Issue.of_file("size", error.message, self.path)]
        except OSError as error:
            return [Issue.of_file("unreadable", f"can't be read: {error.strerror}", self.path)]

    def _check(self, reader: _Reader) -> list[Issue]:
        faults, position = [], 0
        for tensor in self.tensors:
            if self.sha256 is not None:
                reader.skim(position, tensor.entry.offset)
            position = tensor.end
            pieces = reader.pieces(tensor.entry.offset, tensor.end)
            try:
                check_tensor(tensor.entry, pieces, self.byte_order)
            except BrokenModelError as error:
                faults.append(tensor.fault(self.path, error.message))
            _exhaust(pieces)
        if self.sha256 is not None:
            reader.skim(position, self.file_bytes)
            if reader.sha256() != self.sha256:
                faults.append(
                    Issue.of_file("sha256", "isn't what was fetched: its SHA-256 is another", self.path)
                )
        return faults


def _new_digest() -> hashlib._Hash:
    import hashlib  # OpenSSL takes 4 ms to load; without a record of hashes none is taken.

    return hashlib.sha256()


class _Reader:
    """Pieces of a file, counted and, if wanted, hashed on their way."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes, hashes: bool) -> None:
        self._file = file
        self._on_bytes = on_bytes
        self._digest = _new_digest() if hashes else None

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to `end`; raises BrokenModelError where the file ends before."""
        if start < end:
            self._file.seek(start)
        while start < end:
            piece = self._file.read(min(_READ_BYTES, end - start))
            if not piece:
                raise BrokenModelError(f"ends at byte {start}: it was cut while it was read")
            start += len(piece)
            if self._digest is not None:
                self._digest.update(piece)
            self._on_bytes(len(piece))
            yield piece

    def skim(self, start: int, end: int) -> None:
        _exhaust(self.pieces(start, end))

    def sha256(self) -> str:
        assert self._digest is not None
        return self._digest.hexdigest()


def _exhaust(pieces: Iterable[bytes]) -> None:
    for _ in pieces:
        pass
