"""The bytes of shards: which tensors they hold, and chunks of them that are checked in one pass.

A file with a recorded SHA-256 is read once for both: its hash, and the checksums of its tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import BinaryIO

from hubcli.concurrency import CancellationToken, running_beside
from hubcli.config.environment import on_disk
from hubcli.errors import BrokenModelError
from hubcli.formats.tensor_bundle import BundleEntry, BundleIndex
from hubcli.formats.tensor_values import ByteOrder, check_tensor
from hubcli.issues import Issue
from hubcli.regular_file import open_noatime

__all__ = ["OnBytes", "ShardChunk", "StoredTensor", "stored_tensors", "without_overlaps"]

OnBytes = Callable[[int], None]

# A wait for the interpreter takes some 50 µs: two threads that sum up shorter pieces are as slow as one.
_READ_BYTES = 1 << 20
# For the same reason smaller tensors are checked by one thread, which takes half the time that two take.
_SMALL_TENSOR_BYTES = 1 << 19
# Hashing one takes a quarter of a millisecond. With two that wait, the thread that hashes always has one.
_BLOCK_BYTES = 1 << 19
_BLOCKS_AHEAD = 2
_POLL_S = 0.1
# A chunk takes some milliseconds: enough of them for all threads to end together.
_CHUNK_BYTES = 32 << 20


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
        tensors.sort(key=lambda tensor: (tensor.entry.offset, tensor.entry.size_bytes))
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
    `sha256` the part is the whole file, of `file_bytes`, and is hashed too; with
    `is_staged` on a thread that does nothing else: SHA-256 takes seven times as
    long as the rest, and one file can't be hashed on two cores.
    """

    model: Path
    path: str
    file_bytes: int
    tensors: tuple[StoredTensor, ...] = ()
    sha256: str | None = None
    byte_order: ByteOrder = "little"
    is_staged: bool = False

    @property
    def size_bytes(self) -> int:
        """How much will be read."""
        return self.file_bytes if self.sha256 else sum(tensor.entry.size_bytes for tensor in self.tensors)

    def cut(self) -> Iterator[ShardChunk]:
        """The same in parts of some 32 MiB; as it is where that is hashed, or mostly small tensors."""
        sizes = [tensor.entry.size_bytes for tensor in self.tensors]
        small_bytes = sum(size for size in sizes if size < _SMALL_TENSOR_BYTES)
        if self.sha256 is not None or 2 * small_bytes > sum(sizes):
            yield self
            return
        part: list[StoredTensor] = []
        size = 0
        for tensor in self.tensors:
            part.append(tensor)
            size += tensor.entry.size_bytes
            if size >= _CHUNK_BYTES:
                yield self._of(part)
                part, size = [], 0
        if part:
            yield self._of(part)

    def _of(self, tensors: Sequence[StoredTensor]) -> ShardChunk:
        return ShardChunk(self.model, self.path, self.file_bytes, tuple(tensors), None, self.byte_order)

    def check(self, on_bytes: OnBytes) -> list[Issue]:
        """Reads it and names what is corrupt; `on_bytes` is called for each piece."""
        try:
            path = self.model / on_disk(self.path)
            with open(path, "rb", buffering=0, opener=open_noatime) as file:
                if self.sha256 is None:
                    return self._check_tensors(_Reader(file, on_bytes, _READ_BYTES).pieces)
                reader = _HashingReader(file, on_bytes, self.file_bytes)
                with reader.hashing_beside() if self.is_staged else nullcontext():
                    faults = self._check_tensors(reader.pieces)
                    reader.read_rest()
                return faults + self._check_sha256(reader)
        except BrokenModelError as error:  # In the bytes between tensors.
            return [Issue.of_file("size", error.message, self.path)]
        except OSError as error:
            return [Issue.of_file("unreadable", f"cannot be read: {error.strerror}", self.path)]

    def _check_tensors(self, pieces_of: Callable[[int, int], Iterator[bytes]]) -> list[Issue]:
        faults = []
        for tensor in self.tensors:
            pieces = pieces_of(tensor.entry.offset, tensor.end)
            try:
                check_tensor(tensor.entry, pieces, self.byte_order)
            except BrokenModelError as error:
                faults.append(tensor.fault(self.path, error.message))
            _exhaust(pieces)
        return faults

    def _check_sha256(self, reader: _HashingReader) -> list[Issue]:
        if reader.sha256() == self.sha256:
            return []
        return [Issue.of_file("sha256", "SHA-256 mismatch with what was fetched", self.path)]


class _Reader:
    """Pieces of a file, counted on their way."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes, piece_bytes: int) -> None:
        self._file = file
        self._on_bytes = on_bytes
        self._piece_bytes = piece_bytes

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to `end`; raises BrokenModelError where the file ends before."""
        if start < end:
            self._file.seek(start)
        while start < end:
            piece = self._file.read(min(self._piece_bytes, end - start))
            if not piece:
                raise _truncated(start)
            start += len(piece)
            self._on_bytes(len(piece))
            yield piece
            del piece  # Its memory is taken for the next one.


class _HashingReader:
    """A file from its first byte to its last, hashed in blocks, from which the pieces of tensors are cut.

    A block holds thousands of small tensors: each handed over by itself would take 50 µs.
    """

    def __init__(self, file: BinaryIO, on_bytes: OnBytes, file_bytes: int) -> None:
        import hashlib  # OpenSSL takes 4 ms to load; without a record of hashes none is taken.

        self._digest = hashlib.sha256()
        self._blocks = _Reader(file, on_bytes, _BLOCK_BYTES).pieces(0, file_bytes)
        self._block, self._end = b"", 0
        self._file_bytes = file_bytes
        self._hash: Callable[[bytes], None] = self._digest.update
        self._waiting: SimpleQueue[bytes | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._has_failed = False

    @contextmanager
    def hashing_beside(self) -> Iterator[None]:
        """Hashes on another thread while the context runs; all that was read is hashed at its end."""
        for _ in range(_BLOCKS_AHEAD):
            self._room.put(None)
        self._hash, stop = self._hand_over, CancellationToken()
        with running_beside(partial(self._hash_blocks, stop), stop):
            try:
                yield
            finally:
                self._waiting.put(None)

    def _hand_over(self, block: bytes) -> None:
        """Waits for room. Looks up now and then: a signal that comes as the wait begins doesn't end it."""
        while not self._has_failed:  # What it raised is raised at the end of the context.
            with suppress(Empty):
                self._room.get(timeout=_POLL_S)
                break
        self._waiting.put(block)

    def _hash_blocks(self, stop: CancellationToken) -> None:
        """Hashes up to a None. Looks up now and then: after an interrupt as it begins, none may come."""
        block: bytes | None = b""
        try:
            while block is not None:
                stop.check()
                with suppress(Empty):
                    block = self._waiting.get(timeout=_POLL_S)
                    self._digest.update(block or b"")
                    self._room.put(None)
        except BaseException:
            self._has_failed = True
            raise

    def _next_block(self) -> None:
        self._block = b""  # Its memory is taken for the next one.
        block = next(self._blocks, None)
        if block is None:  # After the error of the block before.
            raise _truncated(self._end)
        self._hash(block)
        self._block = block
        self._end += len(block)

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to `end`, none of which lie before those that were taken last."""
        while start < end:
            while self._end <= start:
                self._next_block()
            position = start - (self._end - len(self._block))
            piece = self._block[position : position + end - start]  # No copy of a whole block.
            start += len(piece)
            yield piece
            del piece

    def read_rest(self) -> None:
        """Reads and hashes what was not taken."""
        while self._end < self._file_bytes:
            self._next_block()

    def sha256(self) -> str:
        """That of what was read, in hex."""
        return self._digest.hexdigest()


def _truncated(position: int) -> BrokenModelError:
    return BrokenModelError(f"ends at byte {position}: it was truncated while it was read")


def _exhaust(pieces: Iterable[bytes]) -> None:
    for _ in pieces:
        pass
