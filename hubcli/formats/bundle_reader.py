"""The tensors of a bundle as streams: those that were partitioned, too, put together again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from heapq import merge
from pathlib import Path

from hubcli.errors import BrokenModelError, ChecksumError
from hubcli.formats.slices import ByteRun, TensorBox
from hubcli.formats.tensor_bundle import OBJECT_GRAPH_KEY, BundleEntry, BundleIndex
from hubcli.formats.tensor_values import PIECE_BYTES, TensorValues, file_pieces
from hubcli.formats.tensors import check_size, check_tensor
from hubcli.regular_file import open_regular, read_regular

__all__ = ["Bundle", "BundleValues"]

_MAX_INDEX_BYTES = 1 << 28


class Bundle:
    """A tensor bundle on disk: its index, and the shards beside it."""

    def __init__(self, folder: Path, prefix: str, index: BundleIndex) -> None:
        self.folder = folder
        self.prefix = prefix
        self.index = index

    @classmethod
    def open(cls, folder: Path, prefix: str) -> Bundle:
        """The bundle whose index is `<prefix>.index` in the folder.

        Raises BrokenModelError where it is none, or numbers stand in it the
        other way round; OSError.
        """
        file = folder / f"{prefix}.index"
        if file.stat().st_size > _MAX_INDEX_BYTES:
            raise BrokenModelError(f"{file.name} is larger than 256 MiB")
        try:
            index = BundleIndex.read(read_regular(file, _MAX_INDEX_BYTES))
        except BrokenModelError as error:
            raise BrokenModelError(f"{file.name}: {error.message}") from error
        if index.is_big_endian:
            raise BrokenModelError(
                f"{file.name} says that its numbers are big-endian, which hubcli doesn't rewrite",
                hint="Save the model again with TensorFlow on a little-endian machine.",
            )
        return cls(folder, prefix, index)

    def shard(self, number: int) -> Path:
        """The file of that shard."""
        return self.folder / self.index.shard_name(number, self.prefix)

    def values(self) -> dict[str, TensorValues]:
        """Every whole tensor by its key, but for the object graph."""
        entries = self.index.by_name
        return {
            name: BundleValues(self, entry) for name, entry in entries.items() if name != OBJECT_GRAPH_KEY
        }

    def part_pieces(self, entry: BundleEntry) -> Iterator[bytes]:
        """The bytes of one entry as they stand in its shard."""
        return file_pieces(self.shard(entry.shard), entry.offset, entry.offset + entry.size_bytes)


class BundleValues(TensorValues):
    """A tensor of a bundle."""

    def __init__(self, bundle: Bundle, entry: BundleEntry) -> None:
        self._bundle = bundle
        self._entry = entry
        super().__init__(entry.name, entry.dtype, entry.shape, None if entry.slices else entry.size_bytes)
        if not entry.slices:
            try:
                check_size(entry)
            except BrokenModelError as error:
                raise BrokenModelError(f"{entry.name}: {error.message}") from error

    @property
    def crc32c(self) -> int | None:
        """As the base class says."""
        return None if self._entry.slices else self._entry.crc32c

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """As the base class says; the checksum is left to who reads it all."""
        entry, end = self._entry, self.size_bytes if end is None else end
        if entry.slices:
            return self._joined(start, end)
        return file_pieces(self._bundle.shard(entry.shard), entry.offset + start, entry.offset + end)

    def verify(self) -> None:
        """As the base class says."""
        try:
            for part in self._bundle.index.parts(self._entry):
                check_tensor(part, self._bundle.part_pieces(part))
        except BrokenModelError as error:
            raise ChecksumError(f"{self.key}: {error.message}") from error

    def _joined(self, start: int, end: int) -> Iterator[bytes]:
        """The runs of all slices in the order of the whole tensor; they must cover it, each byte once."""
        places = merge(*self._places())  # One run of each slice at a time: there may be millions.
        position = 0
        with ExitStack() as stack:
            shards: dict[int, int] = {}
            for run, shard, offset in places:
                if run.start != position:
                    raise BrokenModelError(f"{self.key}: its slices don't make up the whole tensor")
                position = run.end
                if shard not in shards:
                    file = stack.enter_context(open_regular(self._bundle.shard(shard)))
                    shards[shard] = file.fileno()
                first, last = max(run.start, start), min(run.end, end)
                yield from _range(shards[shard], offset + first - run.start, last - first)
        if position != self.size_bytes:
            raise BrokenModelError(f"{self.key}: its slices don't make up the whole tensor")

    def _places(self) -> Iterator[Iterator[tuple[ByteRun, int, int]]]:
        """For each slice its runs, the shard and the place in it where their bytes stand."""
        entry, item_bytes = self._entry, self._entry.dtype.item_bytes
        if item_bytes is None:
            raise BrokenModelError(f"{self.key} is partitioned, and its elements differ in size")
        parts = self._bundle.index.parts(entry)
        for tensor_slice, part in zip(entry.slices, parts, strict=True):
            box = TensorBox.of(tensor_slice, entry.shape, item_bytes)
            if box.size_bytes != part.size_bytes:
                raise BrokenModelError(f"{self.key}: a slice of it has a size that isn't its own")
            yield _placed(box, part)


def _placed(box: TensorBox, part: BundleEntry) -> Iterator[tuple[ByteRun, int, int]]:
    offset = part.offset
    for run in box.runs():
        yield run, part.shard, offset
        offset += run.end - run.start


def _range(file: int, offset: int, size_bytes: int) -> Iterator[bytes]:
    while size_bytes > 0:
        wanted_bytes = min(PIECE_BYTES, size_bytes)
        piece = os.pread(file, wanted_bytes, offset)
        if len(piece) < wanted_bytes:
            raise BrokenModelError("a shard ends within a slice")
        yield piece
        offset, size_bytes = offset + wanted_bytes, size_bytes - wanted_bytes
