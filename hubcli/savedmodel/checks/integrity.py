"""Whether the files of a SavedModel are whole: by a record of them, and by what they prove themselves."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from hubcli.archive import FileRecord
from hubcli.concurrency import run_in_threads
from hubcli.config.environment import on_disk
from hubcli.errors import BrokenModelError
from hubcli.formats import INDEX_FILE, MAIN_FILES
from hubcli.formats.tensor_bundle import BundleEntry, BundleIndex
from hubcli.formats.tensor_values import ByteOrder, check_tensor
from hubcli.frozen import dataclass
from hubcli.issues import Issue
from hubcli.regular_file import contents, open_noatime, open_regular
from hubcli.savedmodel.layout import (
    HEAD_BYTES,
    Shard,
    binary_of_text,
    climbs_out,
    declared_assets,
    detect_format,
    read_index,
    refuse_look_alike,
    shards_of,
    size_below,
)

__all__ = [
    "Integrity",
    "ModelCheck",
    "OnBytes",
    "ShardChunk",
    "StoredTensor",
    "stored_tensors",
    "without_overlaps",
]

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
        return self.file_bytes if self.sha256 else sum(tensor.entry.size_bytes for tensor in self.tensors)

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
        """Reads it and names what is corrupt; `on_bytes` is called for each piece."""
        try:
            path = self.model / on_disk(self.path)
            with open(path, "rb", buffering=0, opener=open_noatime) as file:
                return self._check(_Reader(file, on_bytes, self.sha256 is not None))
        except BrokenModelError as error:  # In the bytes between tensors.
            return [Issue.of_file("size", error.message, self.path)]
        except OSError as error:
            return [Issue.of_file("unreadable", f"cannot be read: {error.strerror}", self.path)]

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
                faults.append(Issue.of_file("sha256", "SHA-256 mismatch with what was fetched", self.path))
        return faults


class _Reader:
    """Pieces of a file, counted and, if wanted, hashed on their way."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes, hashes: bool) -> None:
        self._file = file
        self._on_bytes = on_bytes
        self._digest: Any = None
        if hashes:
            import hashlib  # OpenSSL takes 4 ms to load; without a record of hashes none is taken.

            self._digest = hashlib.sha256()

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to `end`; raises BrokenModelError where the file ends before."""
        if start < end:
            self._file.seek(start)
        while start < end:
            piece = self._file.read(min(_READ_BYTES, end - start))
            if not piece:
                raise BrokenModelError(f"ends at byte {start}: it was truncated while it was read")
            start += len(piece)
            if self._digest is not None:
                self._digest.update(piece)
            self._on_bytes(len(piece))
            yield piece

    def skim(self, start: int, end: int) -> None:
        _exhaust(self.pieces(start, end))

    def sha256(self) -> str:
        assert self._digest is not None
        digest: str = self._digest.hexdigest()
        return digest


def _exhaust(pieces: Iterable[bytes]) -> None:
    for _ in pieces:
        pass


_THREADS = 2


@dataclass(frozen=True, slots=True)
class Integrity:
    """What a check found, ordered by file and place.

    `size_bytes` is how much was held against a checksum or a hash; `notes`
    tell what can't be checked.
    """

    faults: tuple[Issue, ...]
    file_count: int
    tensor_count: int
    size_bytes: int
    notes: tuple[str, ...] = ()


class ModelCheck:
    """The check of one model: made by looking at its files, then run over their bytes.

    `records` are the files as they were fetched; without them, the model
    answers for itself: an index with good checksums, shards long enough, every
    tensor with its checksum, every declared asset there. With `quick` no shard
    is hashed: the checksums of its tensors must do.
    """

    def __init__(self, model: Path, records: Sequence[FileRecord] = (), *, quick: bool = False) -> None:
        self._model = model
        self._faults: list[Issue] = []
        self._notes: list[str] = []
        self._hashed: dict[str, FileRecord] = {}
        self._files: set[str] = set()
        self._stretches: dict[str, ShardChunk] = {}
        self._index_bytes = 0
        self._compare(records)
        self._look_at_main_file()
        self._look_at_bundle()
        for path, record in self._hashed.items():
            covered = self._stretches.get(path)
            if covered is None or not quick:
                stretch = covered or ShardChunk(model, path, record.size_bytes)
                self._stretches[path] = replace(stretch, sha256=record.sha256)

    @property
    def size_bytes(self) -> int:
        """How many bytes will be read."""
        return sum(stretch.size_bytes for stretch in self._stretches.values())

    def run(self, on_bytes: OnBytes = lambda size: None) -> Integrity:
        """Reads what is to be read, on two threads; `on_bytes` is called for each piece, one at a time."""
        parts = [part for stretch in self._stretches.values() for part in stretch.cut()]
        parts.sort(key=lambda part: part.size_bytes, reverse=True)  # The longest first: they end together.
        lock = threading.Lock()

        def count(size_bytes: int) -> None:
            with lock:
                on_bytes(size_bytes)

        found = run_in_threads([partial(part.check, count) for part in parts], _THREADS)
        faults = [*self._faults, *(fault for faults in found for fault in faults)]
        unhashed_index = 0 if INDEX_FILE in self._hashed else self._index_bytes
        return Integrity(
            tuple(sorted(faults, key=_place)),
            len(self._files),
            len({tensor.name for part in parts for tensor in part.tensors}),
            self.size_bytes + unhashed_index,
            tuple(self._notes),
        )

    def _fault(self, code: str, message: str, file: str) -> None:
        """Remembers a fault, unless the same was found in another way.

        The message is printed after the name of the file: that name is taken off.
        """
        if not any((fault.code, fault.file) == (code, file) for fault in self._faults):
            text = message.removeprefix(file).removeprefix(Path(file).name).lstrip(": ")
            self._faults.append(Issue.of_file(code, text, file))

    def _compare(self, records: Sequence[FileRecord]) -> None:
        """Names and sizes against the record; the hashes that are left to compare."""
        for record in records:
            self._files.add(record.path)
            try:
                status = os.lstat(self._model / on_disk(record.path))
            except (FileNotFoundError, NotADirectoryError):
                self._fault("missing", "is missing", record.path)
                continue
            except OSError as error:
                self._fault("unreadable", f"cannot be accessed: {error.strerror}", record.path)
                continue
            if not stat.S_ISREG(status.st_mode):
                self._fault("size", "is not a regular file", record.path)
            elif status.st_size != record.size_bytes:
                self._fault("size", f"has {status.st_size} bytes instead of {record.size_bytes}", record.path)
            elif record.sha256 is not None:
                self._hashed[record.path] = record

    def _look_at_main_file(self) -> None:
        name = next((name for name in MAIN_FILES if (self._model / name).is_file()), None)
        if name is None:
            self._fault("missing", "is missing, and so are its other forms, .pbtxt and .cpb", MAIN_FILES[0])
            return
        self._files.add(name)
        try:
            detect_format(self._model)
            if name.endswith(".cpb"):
                self._notes.append(f"{name} was not read: whether its assets exist is unknown")
                return
            with contents(self._model / name, for_outline=True) as data:
                is_text = name.endswith(".pbtxt")
                self._look_at_assets(declared_assets(binary_of_text(name, data) if is_text else data))
        except BrokenModelError as error:
            self._fault("model", error.message, name)
        except OSError as error:
            self._fault("unreadable", f"cannot be read: {error.strerror}", name)

    def _look_at_assets(self, names: Sequence[str]) -> None:
        for name in names:
            if climbs_out(name):
                self._fault("asset-path", "names an asset outside of assets/", f"assets/{name}")
                continue
            self._files.add(f"assets/{name}")
            if not (self._model / "assets" / name).is_file():
                self._fault("missing", "is missing; saved_model.pb declares it", f"assets/{name}")

    def _look_at_bundle(self) -> None:
        try:
            index = read_index(self._model / "variables")
            if index is not None:
                self._files.add(INDEX_FILE)
                self._index_bytes = (self._model / INDEX_FILE).stat().st_size
                self._look_at_shards(index)
        except BrokenModelError as error:
            is_there = (self._model / INDEX_FILE).is_file()
            self._fault("index" if is_there else "missing", error.message, INDEX_FILE)
        except OSError as error:
            self._fault("unreadable", f"cannot be read: {error.strerror}", INDEX_FILE)

    def _look_at_shards(self, index: BundleIndex) -> None:
        tensors, broken = stored_tensors(index)
        for message in broken:
            self._faults.append(Issue.of_file("index", message, INDEX_FILE))
        order: ByteOrder = "big" if index.is_big_endian else "little"
        for shard, ours in zip(shards_of(index, size_below(self._model)), tensors, strict=True):
            self._files.add(shard.path)
            if shard.size_bytes is None:
                self._fault("missing", "is missing; variables.index names it", shard.path)
                continue
            if shard.is_short:
                self._fault("size", _shortness(self._model, shard), shard.path)
            whole, faults = without_overlaps(ours, shard.path, shard.size_bytes)
            self._faults += faults
            self._stretches[shard.path] = ShardChunk(
                self._model, shard.path, shard.size_bytes, whole, None, order
            )


def _shortness(model: Path, shard: Shard) -> str:
    """What to say of a shard that is too short: what it is instead, where its beginning tells."""
    with open_regular(model / shard.path, is_buffered=True) as file:
        head = file.read(HEAD_BYTES)
    try:
        refuse_look_alike("it", head)
    except BrokenModelError as error:
        return f"is too short: {error.message}"
    return f"has {shard.size_bytes} bytes; variables.index needs {shard.needed_bytes}"


def _place(fault: Issue) -> tuple[str, int]:
    """What is about a whole file stands before what is about a part of it."""
    return fault.file or "", -1 if fault.start is None else fault.start
