"""Whether the files of a SavedModel are whole: by a record of them, and by what they prove themselves."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hubcli.archive import FileRecord
from hubcli.concurrency import run_in_threads, usable_cores
from hubcli.config.environment import on_disk
from hubcli.errors import BrokenModelError, ModelLimitError
from hubcli.formats import INDEX_FILE, MAIN_FILES
from hubcli.formats.tensor_bundle import BundleIndex
from hubcli.formats.tensor_values import ByteOrder
from hubcli.issues import Issue
from hubcli.regular_file import contents, open_regular
from hubcli.savedmodel.checks.shard_chunks import OnBytes, ShardChunk, stored_tensors, without_overlaps
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

__all__ = ["Integrity", "ModelCheck"]

# CRC-32C is as quick as memory is with a few; SHA-256 of several shards takes as many as there are.
_MAX_THREADS = 8
# Below, threads cost more than they save.
_STAGED_BYTES = 16 << 20


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
    is hashed: the checksums of its tensors must do. With `definitions`,
    functions, nodes and objects of saved_model.pb are read as `inspect` reads
    them, while other threads hash. What exceeds its limits is noted: the model
    may be intact for all that.
    """

    def __init__(
        self,
        model: Path,
        records: Sequence[FileRecord] = (),
        *,
        quick: bool = False,
        definitions: bool = False,
    ) -> None:
        self._model = model
        self._has_definitions = definitions
        self._faults: list[Issue] = []
        self._notes: list[str] = []
        self._hashed: dict[str, FileRecord] = {}
        self._files: set[str] = set()
        self._stretches: dict[str, ShardChunk] = {}
        self._index_bytes = 0
        self._main: str | None = None  # If it was read, and nothing is wrong with its outline.
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
        """Reads what is to be read, on all cores; `on_bytes` is called for each piece, one at a time."""
        threads = max(2, min(usable_cores(), _MAX_THREADS))
        parts = [part for stretch in self._stretches.values() for part in stretch.cut()]
        parts.sort(key=lambda part: part.size_bytes, reverse=True)  # The longest first: they end together.
        parts = _staged(parts, threads)
        lock = threading.Lock()

        def count(size_bytes: int) -> None:
            with lock:
                on_bytes(size_bytes)

        jobs = [partial(part.check, count) for part in parts]
        if self._has_definitions and self._main is not None:
            jobs.insert(0, partial(self._faults_of_definitions, self._main))
        found = run_in_threads(jobs, threads)
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
            self._main = name
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

    def _faults_of_definitions(self, name: str) -> list[Issue]:
        """What keeps `inspect` from reading the main file, and assets that it declares without a name."""
        # Imported here: a quick check needs no protobuf.
        from hubcli.savedmodel.graph import declared_assets_of, read_outline

        try:
            with read_outline(self._model) as outlines:
                assets = [asset for outline in outlines for asset in declared_assets_of(outline)]
                for outline in outlines:
                    _ = outline.graph.op_counts  # Reads each node.
        except ModelLimitError as error:
            self._notes.append(error.message)
            return []
        except BrokenModelError as error:
            return [Issue.of_file("model", error.message.removeprefix(name).lstrip(": "), name)]
        except OSError as error:
            return [Issue.of_file("unreadable", f"cannot be read: {error.strerror}", name)]
        if all(asset.filename for asset in assets):
            return []
        return [Issue.of_file("asset-path", "declares an asset without a file name", name)]


def _staged(parts: Sequence[ShardChunk], threads: int) -> list[ShardChunk]:
    """The parts, those that are hashed in stages where they are fewer than the threads."""
    large = [part.sha256 is not None and part.file_bytes >= _STAGED_BYTES for part in parts]
    if sum(large) >= threads:
        return list(parts)
    return [replace(part, is_staged=is_large) for part, is_large in zip(parts, large, strict=True)]


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
