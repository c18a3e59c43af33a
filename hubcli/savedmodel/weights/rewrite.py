"""The weights-only rewrite: the same SavedModel with new values, every other byte unchanged.

A new checkpoint is written with the same keys and shards; `saved_model.pb` is copied. So nothing that a
loader reads is lost, and TensorFlow isn't needed. Source:
tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hubcli._moved import warn_of_old_name
from hubcli.errors import BrokenModelError, ChecksumError, UnchangedError, ValuesError
from hubcli.formats import INDEX_FILE
from hubcli.formats.bundles import Bundle, ShardWriter, write_index
from hubcli.formats.checksums import fingerprint64
from hubcli.formats.tensor_bundle import BundleEntry
from hubcli.formats.tensor_layout import TensorBox, TensorSlice, picked
from hubcli.formats.tensor_values import TensorValues, file_pieces, keep_freed_memory
from hubcli.formats.wire import encode_field, scan
from hubcli.regular_file import open_regular, read_regular
from hubcli.savedmodel.compare.diff import Change, Comparison, Measure, largest_change

__all__ = ["RewriteOptions", "RewriteReport", "rewrite", "with_checkpoint_hash"]

_CHECKPOINT_HASH = 5


def with_checkpoint_hash(fingerprint: bytes, index: bytes) -> bytes:
    """The FingerprintDef with the hash of variables.index; its other bytes are unchanged.

    That is FarmHash's Fingerprint64 of the file's bytes. Raises BrokenModelError.
    """
    renewed = encode_field(_CHECKPOINT_HASH, fingerprint64(index))
    before, after, position = b"", b"", 0
    for entry in scan(fingerprint):
        if entry.number < _CHECKPOINT_HASH:
            before += fingerprint[position : entry.end]
        elif entry.number > _CHECKPOINT_HASH:
            after += fingerprint[position : entry.end]
        position = entry.end
    return before + renewed + after


_FOLDER, _PREFIX, _FINGERPRINT = "variables", "variables", "fingerprint.pb"
_MAX_FINGERPRINT_BYTES = 1 << 16
_COPY_BYTES = 1 << 18
_DAMAGED_HINT = "Fetch or copy them again: they are corrupt."
_COPY_HINT = "Copy the model without links, and export from the copy."


@dataclass(frozen=True, slots=True)
class RewriteOptions:
    """`allow_nan` and `allow_unchanged` accept values that are refused otherwise.

    `measure` finds the largest change between two pieces of a tensor; the
    default needs no NumPy, and takes 3 s for 100 MB that changed.
    """

    allow_nan: bool = False
    allow_unchanged: bool = False
    measure: Measure = largest_change


class RewriteReport(NamedTuple):
    """What was written: variables that changed (in the order of the index), and keys with equal new values.

    `unassigned` are the keys without new values. `size_bytes` is the size of all tensors.
    """

    changed: tuple[Change, ...]
    unchanged: tuple[str, ...]
    unassigned: tuple[str, ...]
    size_bytes: int

    @property
    def kept(self) -> tuple[str, ...]:
        """The old name of `unassigned`."""
        warn_of_old_name(self, "kept", "unassigned")
        return self.unassigned


def rewrite(
    model: Path,
    destination: Path,
    values: Mapping[str, TensorValues],
    options: RewriteOptions | None = None,
    on_bytes: Callable[[int], None] = lambda size: None,
) -> RewriteReport:
    """Writes the model in the directory `model` with new values to `destination`, which must not exist.

    `values` are by checkpoint key; other tensors stay. `on_bytes` is called for every piece written. Pieces
    of 256 KiB are in memory. After an error `destination` is incomplete: use a temporary name, and rename it.
    Raises ValuesError for values that don't fit or aren't finite, UnchangedError, BrokenModelError and
    ChecksumError if the model or the weights are corrupt, OSError.
    """
    options = options or RewriteOptions()
    bundle = Bundle.open(model / _FOLDER, _PREFIX) if (model / INDEX_FILE).is_file() else None
    if bundle is None:
        raise ValuesError(f"{model.name} has no variables to rewrite")
    _require_fit(bundle, values)
    job = _Job(bundle, values, options, on_bytes)
    left_out = {f"{_FOLDER}/{bundle.shard(number).name}" for number in range(bundle.index.shard_count)}
    keep_freed_memory()
    _copy(model, destination, left_out | {INDEX_FILE})
    entries = job.write(destination / _FOLDER)
    write_index(destination / INDEX_FILE, bundle.index.shard_count, entries)
    _renew_fingerprint(destination)
    return job.report()


def _require_fit(bundle: Bundle, values: Mapping[str, TensorValues]) -> None:
    for key, given in values.items():
        entry = bundle.index.by_name.get(key)
        if entry is None:
            raise ValuesError(f"The model has no variable under the key {key}")
        if given.dtype != entry.dtype or given.shape != entry.shape:
            raise ValuesError(
                f"{given.key} is {given.dtype.name} {list(given.shape)}; "
                f"the model's {key} is {entry.dtype.name} {list(entry.shape)}"
            )
        if entry.slices and entry.dtype.item_bytes is None:
            raise ValuesError(f"{key} is partitioned, and its elements differ in size: it cannot be split")


def _copy(model: Path, destination: Path, left_out: set[str]) -> None:
    """Copies every file except those."""
    for folder, names, files in os.walk(model, onerror=_raise):
        place = destination / Path(folder).relative_to(model)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            if Path(folder, name).is_symlink():
                raise BrokenModelError(
                    f"{Path(folder, name)} is a link to a directory, which is not followed", hint=_COPY_HINT
                )
        for name in files:
            source = Path(folder, name)
            if source.relative_to(model).as_posix() in left_out:
                continue
            if not source.is_file():
                raise BrokenModelError(f"{source} is not a regular file", hint=_COPY_HINT)
            with open_regular(source) as read, (place / name).open("xb") as copy:
                shutil.copyfileobj(read, copy, _COPY_BYTES)


def _raise(error: OSError) -> None:
    raise error


def _renew_fingerprint(model: Path) -> None:
    """Puts the hash of the new checkpoint into fingerprint.pb, if there is one."""
    file = model / _FINGERPRINT
    if file.is_file() and file.stat().st_size <= _MAX_FINGERPRINT_BYTES:
        file.write_bytes(with_checkpoint_hash(read_regular(file), read_regular(model / INDEX_FILE)))


class _Part(NamedTuple):
    """A tensor in a shard, or a slice of one; `owner` is the entry with the tensor's key."""

    entry: BundleEntry
    owner: BundleEntry
    slice: TensorSlice | None = None


@dataclass
class _Job:
    """The writing of one bundle."""

    bundle: Bundle
    values: Mapping[str, TensorValues]
    options: RewriteOptions
    on_bytes: Callable[[int], None]
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    size_bytes: int = 0

    def write(self, folder: Path) -> list[BundleEntry]:
        """Writes every shard; all entries of the index."""
        index = self.bundle.index
        entries = [entry for entry in index.entries if entry.slices]
        for key, given in self.values.items():
            self.comparisons[key] = Comparison(given, self.options.measure)
        for number, parts in enumerate(self._shards()):
            old = self.bundle.shard(number)
            with ShardWriter(folder / old.name) as writer:
                entries += self._write_shard(writer, parts, old)
        self._require_change()
        return entries

    def _shards(self) -> list[list[_Part]]:
        """The parts of each shard by offset."""
        index = self.bundle.index
        shards: list[list[_Part]] = [[] for _ in range(index.shard_count)]
        owned = set[bytes]()
        for owner in index.by_name.values():
            slices = owner.slices or (None,)
            for part, entry in zip(slices, index.parts(owner), strict=True):
                shards[entry.shard].append(_Part(entry, owner, part))
                owned.add(entry.key)
        for entry in index.entries:
            if entry.is_slice and entry.key not in owned:
                shards[entry.shard].append(_Part(entry, entry))
        for parts in shards:
            parts.sort(key=lambda part: (part.entry.offset, part.entry.size_bytes))
        return shards

    def _write_shard(self, writer: ShardWriter, parts: list[_Part], old: Path) -> list[BundleEntry]:
        """Writes its tensors in their order, with the bytes between them."""
        written, position = [], 0
        for part in parts:
            entry = part.entry
            if entry.offset < position and entry.size_bytes:
                raise BrokenModelError(f"{part.owner.name} shares bytes with another tensor in {old.name}")
            if entry.size_bytes:
                writer.fill(file_pieces(old, position, entry.offset))
                position = entry.offset + entry.size_bytes
            written.append(self._write_part(writer, part))
        writer.fill(file_pieces(old, position, old.stat().st_size))
        return written

    def _write_part(self, writer: ShardWriter, part: _Part) -> BundleEntry:
        entry, key = part.entry, part.owner.name
        given = self.values.get(key)
        try:
            if given is None or part.owner.is_slice:
                recorded: int | None = entry.crc32c
                new = writer.add(entry, self._reported(self.bundle.part_pieces(entry)))
            else:
                recorded = given.crc32c if part.slice is None else None
                new = writer.add(*self._new(part, given))
        except BrokenModelError as error:
            raise BrokenModelError(f"{key}: {error.message}", hint=error.hint or _DAMAGED_HINT) from error
        if recorded is not None and new.crc32c != recorded:
            where = "the model" if given is None else "the weights"
            raise ChecksumError(
                f"{key}: checksum mismatch of its bytes in {where}",
                hint=_DAMAGED_HINT,
            )
        self.size_bytes += new.size_bytes
        return new._replace(offset=entry.offset) if not new.size_bytes else new

    def _new(self, part: _Part, given: TensorValues) -> tuple[BundleEntry, Iterator[bytes]]:
        """The entry, without its new offset yet, and its new bytes, compared with the old ones when read."""
        comparison, entry = self.comparisons[part.owner.name], part.entry
        old = self.bundle.part_pieces(entry)
        if part.slice is None:
            if given.crc32c is None and not given.verifies_whole_reads:
                given.verify()
            entry = entry._replace(size_bytes=given.size_bytes)
            return entry, self._reported(comparison.through(given.pieces(), old))
        item_bytes = part.owner.dtype.item_bytes
        assert item_bytes is not None
        if part.slice == part.owner.slices[0]:
            given.verify()
        box = TensorBox.of(part.slice, part.owner.shape, item_bytes)
        pieces = _cut(given, box)
        return entry, self._reported(comparison.through(pieces, old))

    def _reported(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.on_bytes(len(piece))
            yield piece

    def _require_change(self) -> None:
        for key, comparison in self.comparisons.items():
            # NaN in a value that doesn't change is not an error of the new values.
            if comparison.is_changed and comparison.has_non_finite and not self.options.allow_nan:
                raise ValuesError(
                    f"The new value of {key} contains NaN or infinity",
                    hint="Use weights from before the training diverged, or allow it: --allow-nan.",
                )
        if not self.options.allow_unchanged and not any(
            comparison.is_changed for comparison in self.comparisons.values()
        ):
            raise UnchangedError(
                "Nothing changed: the new values are equal to those of the model",
                hint="Check that the layer was trainable, or use --allow-unchanged.",
            )

    def report(self) -> RewriteReport:
        given = sorted(self.comparisons.items())
        return RewriteReport(
            changed=tuple(value.change(key) for key, value in given if value.is_changed),
            unchanged=tuple(key for key, value in given if not value.is_changed),
            unassigned=tuple(key for key in self.bundle.values() if key not in self.values),
            size_bytes=self.size_bytes,
        )


def _cut(given: TensorValues, box: TensorBox) -> Iterator[bytes]:
    """The bytes of the box in the whole tensor, of which only the span of the box is read."""
    first = next(box.runs(), None)
    if first is None:
        return iter(())
    return picked(given.pieces(first.start), first.start, box.runs())
