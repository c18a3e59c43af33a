"""The checkpoint of an edited model: without some tensors, with others in half the bytes, the rest unchanged.

Source: tensorflow/core/util/tensor_bundle/tensor_bundle.cc. Each shard is written from its
start on, tensors in the order of the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hubcli.errors import BrokenModelError, ChecksumError
from hubcli.formats import INDEX_FILE, HalfType
from hubcli.formats.bundles import Bundle, ShardWriter, write_index
from hubcli.formats.checksums import extend_crc32c, mask_crc32c, masked_crc32c
from hubcli.formats.tensor_bundle import OBJECT_GRAPH_KEY, BundleEntry
from hubcli.formats.tensor_layout import DType
from hubcli.formats.tensor_values import halved, keep_freed_memory
from hubcli.formats.wire import encode_varint
from hubcli.savedmodel.variables import encoded_object_graph

__all__ = ["CheckpointEdit", "SourceCheckpoint"]

_FOLDER, _PREFIX = "variables", "variables"
_FLOAT = 1  # DT_FLOAT
_HINT = "They are corrupt: fetch or copy them again."


@dataclass(frozen=True, slots=True)
class CheckpointEdit:
    """The edits: keys of tensors that are `dropped`, and of float32 tensors that are `halved`.

    `objects` replaces the checkpoint's object graph if it isn't None.
    """

    dropped: frozenset[str] = frozenset()
    halved: Mapping[str, HalfType] = field(default_factory=dict)
    objects: bytes | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the checkpoint stays unchanged."""
        return not self.dropped and not self.halved and self.objects is None


class SourceCheckpoint:
    """The checkpoint of the model in a directory; `keys` are those of its tensors, slices left out."""

    def __init__(self, model: Path, bundle: Bundle) -> None:
        self._model = model
        self._bundle = bundle

    @classmethod
    def of(cls, model: Path) -> SourceCheckpoint | None:
        """That of the model, None if it has none. Raises BrokenModelError, OSError."""
        if not (model / INDEX_FILE).is_file():
            return None
        return cls(model, Bundle.open(model / _FOLDER, _PREFIX))

    @property
    def keys(self) -> list[str]:
        """The keys, those of the object graph among them."""
        return list(self._bundle.index.by_name)

    @property
    def files(self) -> frozenset[str]:
        """The paths of its files in the model."""
        count = self._bundle.index.shard_count
        return frozenset({INDEX_FILE, *(f"{_FOLDER}/{self._bundle.shard(n).name}" for n in range(count))})

    def objects(self) -> bytes | None:
        """Its object graph, encoded; None if it has none."""
        return encoded_object_graph(self._bundle.index, self._model / _FOLDER, _PREFIX)

    def float_keys(self) -> frozenset[str]:
        """The keys of its float32 tensors."""
        entries = self._bundle.index.by_name.items()
        return frozenset(key for key, entry in entries if entry.dtype.number == _FLOAT)

    def partitioned(self, keys: Collection[str]) -> str | None:
        """One of these keys whose tensor is stored in slices, if there is one."""
        index = self._bundle.index.by_name
        return next((key for key in sorted(keys) if index[key].slices), None)

    def size_bytes(self, keys: frozenset[str] | None = None) -> int:
        """How many bytes the tensors of these keys take, or all."""
        index = self._bundle.index
        return sum(
            part.size_bytes
            for key, entry in index.by_name.items()
            if keys is None or key in keys
            for part in index.parts(entry)
        )

    def size_after(self, edit: CheckpointEdit) -> int:
        """How many bytes all tensors will take."""
        taken = self.size_bytes(edit.dropped) + self.size_bytes(frozenset(edit.halved)) // 2
        new = 0 if edit.objects is None else len(_scalar_string(edit.objects))
        old = 0 if edit.objects is None else self.size_bytes(frozenset({OBJECT_GRAPH_KEY}))
        return self.size_bytes() - taken + new - old

    def write(
        self, destination: Path, edit: CheckpointEdit, on_bytes: Callable[[int], None] = lambda size: None
    ) -> None:
        """Writes the edited checkpoint into the model at `destination`, whose folder for it is new.

        Raises BrokenModelError and ChecksumError if the source is corrupt, ValuesError for numbers that are
        too large for the half type, OSError.
        """
        folder, index = destination / _FOLDER, self._bundle.index
        folder.mkdir(exist_ok=True)
        keep_freed_memory()
        owners = {part.key: owner for owner in index.by_name.values() for part in index.parts(owner)}
        entries = [
            _typed(owner, edit.halved.get(owner.name))
            for owner in index.by_name.values()
            if owner.slices and owner.name not in edit.dropped
        ]
        shards: list[list[BundleEntry]] = [[] for _ in range(index.shard_count)]
        for entry in index.entries:
            if not entry.slices:
                shards[entry.shard].append(entry)
        for number, parts in enumerate(shards):
            position = 0
            with ShardWriter(folder / self._bundle.shard(number).name) as writer:
                for part in sorted(parts, key=lambda part: (part.offset, part.size_bytes)):
                    owner = owners.get(part.key, part)
                    if part.size_bytes and part.offset < position:
                        # An index may name the same bytes for any number of tensors.
                        raise BrokenModelError(f"{owner.name} shares bytes with another tensor", hint=_HINT)
                    position = max(position, part.offset + part.size_bytes)
                    if owner.name not in edit.dropped:
                        entries.append(self._write_part(writer, part, owner.name, edit, on_bytes))
        write_index(destination / INDEX_FILE, index.shard_count, entries)

    def _write_part(
        self,
        writer: ShardWriter,
        part: BundleEntry,
        key: str,
        edit: CheckpointEdit,
        on_bytes: Callable[[int], None],
    ) -> BundleEntry:
        if key == OBJECT_GRAPH_KEY and edit.objects is not None:
            content = _scalar_string(edit.objects)
            return writer.add(part._replace(size_bytes=len(content)), iter([content]))
        half = edit.halved.get(key)
        try:
            if half is None:
                written = writer.add(part, _reported(self._bundle.part_pieces(part), on_bytes))
                checksum = written.crc32c
            else:
                pieces = _Summed(self._bundle.part_pieces(part))
                written = writer.add(_typed(part, half), _reported(halved(pieces, half, key), on_bytes))
                checksum = pieces.masked_crc()
        except BrokenModelError as error:
            raise BrokenModelError(f"{key}: {error.message}", hint=error.hint or _HINT) from error
        if checksum != part.crc32c:
            raise ChecksumError(f"{key}: checksum mismatch with the index", hint=_HINT)
        return written


class _Summed:
    """The pieces of a tensor, with the checksum of those that were read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._crc = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._crc = extend_crc32c(self._crc, piece)
            yield piece

    def masked_crc(self) -> int:
        return mask_crc32c(self._crc)


def _typed(entry: BundleEntry, half: HalfType | None) -> BundleEntry:
    if half is None:
        return entry
    return entry._replace(dtype=DType.of(half.number), size_bytes=entry.size_bytes // 2)


def _reported(pieces: Iterator[bytes], on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    for piece in pieces:
        on_bytes(len(piece))
        yield piece


def _scalar_string(content: bytes) -> bytes:
    """A tensor of one string as a bundle holds it: its length, the checksum of that, itself."""
    length = len(content)
    checksum = masked_crc32c(length.to_bytes(4 if length < 1 << 32 else 8, "little"))
    return encode_varint(length) + checksum.to_bytes(4, "little") + content
