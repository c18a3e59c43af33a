"""Summaries of manifests for listings, and the index from which unchanged ones are read.

`hubcli.index` in the root holds summaries of manifests by key. It is a hint: a summary counts only while the
manifest's file has the inode, size, and times of modification and change that it had when it was read, and
no removal, pin or publication rests on it: they read the manifests themselves. A file that was changed
shortly before it was read may change again within one tick of the clock: it is left out.

The first line is `hubcli-index 1`, the CRC-32 and the length of what follows: one JSON object whose lists
have a value for each manifest. An index of another form, or larger than a listing may need, is ignored, and
replaced by the next listing that reads many manifests. It has no lock: a process
that finds another one writing leaves it to that one. It is not synced: what a power loss leaves of it
has another checksum.
"""

from __future__ import annotations

import json
import os
import stat
import time
from binascii import crc32
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from hubcli.cache.layout import INDEX_NAME, NEW_INDEX_NAME, RootNames
from hubcli.cache.records import Manifest
from hubcli.regular_file import AT_ONCE, read_regular

__all__ = ["ManifestSummary", "RecordReader", "RecordShape"]

MIN_RECORDS = 500
"""With fewer manifests a listing takes no longer without an index."""
# Reading a manifest takes twice as long as writing its row: after five listings the index has paid off.
_MIN_SHARE = 10
_HEADER = b"hubcli-index 1 %08x %d\n"
_MAX_HEADER_BYTES = 64
_MAX_ROW_BYTES = 4096
_MAX_CHARACTERS = 2000
_MAX_FILES = 100
_MAX_SIZE = 1 << 63
# FAT keeps times to two seconds, HFS+ to one; the others to a tick of the kernel's clock.
_GRANULARITY_NS = 3 * 10**9
_ABANDONED_AFTER_S = 60.0
# The years 1 to 9999, as in datetime.
_EARLIEST_S, _LATEST_S = -62135596800.0, 253402300800.0


class RecordShape(NamedTuple):
    """The common parts of the manifests of many models, so that a listing has them in memory once.

    `alias_parts` are the aliases, each cut where the handle without its scheme stands; `paths` are those
    of the files.
    """

    kind: str
    format: str | None
    tier: str | None
    alias_parts: tuple[tuple[str, ...], ...]
    paths: tuple[str, ...]


class ManifestSummary(NamedTuple):
    """A manifest as listings and plans need it; `sizes_bytes` are those of `shape.paths`, in order."""

    handle: str
    shape: RecordShape
    sizes_bytes: tuple[int, ...]
    fetched_at_s: float
    last_used_at_s: float
    touched_at_s: float

    @classmethod
    def of(cls, manifest: Manifest, shapes: dict[RecordShape, RecordShape]) -> ManifestSummary:
        """The summary of the manifest; `shapes` are those seen so far."""
        stem = _stem(manifest.handle)
        parts = tuple([tuple(alias.split(stem)) if stem else (alias,) for alias in manifest.aliases])
        paths = tuple([file.path for file in manifest.files])
        shape = RecordShape(manifest.kind, manifest.format, manifest.tier, parts, paths)
        return cls(
            manifest.handle,
            shapes.setdefault(shape, shape),
            tuple([file.size_bytes for file in manifest.files]),
            manifest.fetched_at_s,
            manifest.last_used_at_s,
            manifest.touched_at_s,
        )

    @property
    def aliases(self) -> tuple[str, ...]:
        """The other spellings of the handle."""
        return tuple([_stem(self.handle).join(parts) for parts in self.shape.alias_parts])

    @property
    def kind(self) -> str:
        """The coarser word for the format."""
        return self.shape.kind

    @property
    def format(self) -> str | None:
        """The format; None in manifests of hubcli 0.1."""
        return self.shape.format

    @property
    def tier(self) -> str | None:
        """The address of the shared tier that it came from, None if it came from elsewhere."""
        return self.shape.tier

    @property
    def used_at_s(self) -> float:
        """When the entry was last used, in seconds since 1970."""
        return max(self.last_used_at_s, self.touched_at_s)


def _stem(handle: str) -> str:
    return handle.partition("://")[2]


class _Row(NamedTuple):
    """A manifest in the index: its file's stamp, then the summary without the times of the file."""

    stamp: tuple[int, int, int, int]
    handle: str
    shape: RecordShape
    sizes_bytes: tuple[int, ...]
    fetched_at_s: float
    last_used_at_s: float


class RecordReader:
    """Summaries of the manifests in a root; `with_index`, those of unchanged ones come from its index."""

    def __init__(self, names: RootNames, *, with_index: bool) -> None:
        self.with_index = with_index
        self._root = names.root
        self.folder = f"{names.root}/"
        self.directory: int | None = None
        self._has_index = with_index and len(names.models) >= MIN_RECORDS
        self._count = len(names.models)
        self._shapes: dict[RecordShape, RecordShape] = {}
        self._began_ns = time.time_ns()
        self._rows = _read_index(self._root, self._count, self._began_ns) if self._has_index else {}
        self._read_anew = 0

    def __enter__(self) -> RecordReader:
        """Opens the root until the exit: `folder` is then empty, and paths are looked up from `directory`.

        For a whole path the system would look up each of its parts again, once for each file of the cache.
        """
        if os.stat in os.supports_dir_fd:
            with suppress(OSError):
                self.directory = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
                self.folder = ""
        return self

    def __exit__(self, *error: object) -> None:
        if self.directory is not None:
            os.close(self.directory)
            self.directory, self.folder = None, f"{self._root}/"

    def read(self, key: str) -> ManifestSummary | None:
        """The summary of the model's manifest as it is now; None if it is absent or invalid."""
        row = self._rows.get(key)
        if row is not None:
            try:
                # A Path costs more than the call.
                status = os.stat(f"{self.folder}{key}.hubcli.json", dir_fd=self.directory)
            except OSError:
                return None
            if row.stamp == (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino):
                _, handle, shape, sizes_bytes, fetched_at_s, used_at_s = row
                return ManifestSummary(handle, shape, sizes_bytes, fetched_at_s, used_at_s, status.st_mtime)
        return self._read_file(key)

    def _read_file(self, key: str) -> ManifestSummary | None:
        found = Manifest.read_with_status(f"{self._root}/{key}.hubcli.json")
        if found is None:
            return None
        manifest, status = found
        summary = ManifestSummary.of(manifest, self._shapes)
        if self._has_index:
            stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
            if max(stamp[:2]) + _GRANULARITY_NS < self._began_ns and _is_small(summary):
                self._rows[key] = _Row(stamp, *summary[:-1])
                self._read_anew += 1
            else:
                self._rows.pop(key, None)
        return summary

    def save(self, keys: Iterable[str]) -> None:
        """Writes the index of these models if many manifests were read again; else does nothing.

        It does nothing either where the cache can't be written, and on file systems whose times
        may tell of a change late or not at all.
        """
        if self._read_anew < max(MIN_RECORDS, self._count // _MIN_SHARE):
            return
        from hubcli.cache.disk_usage import FileSystem  # Imported only to write.

        with suppress(OSError):
            if FileSystem.of(self._root).keeps_times:
                rows = {key: row for key in keys if (row := self._rows.get(key)) is not None}
                content = _content(rows, self._began_ns)
                if len(content) <= _max_bytes(self._count):
                    _write_index(self._root, content)


def _is_small(summary: ManifestSummary) -> bool:
    """Whether it fits in a row: for a larger one, looking at the files takes far longer than reading it."""
    characters = len(summary.handle) + _characters(summary.shape)
    sizes = summary.sizes_bytes
    return characters <= _MAX_CHARACTERS and len(sizes) <= _MAX_FILES and max(sizes, default=0) < _MAX_SIZE


def _characters(shape: RecordShape) -> int:
    texts = (shape.kind, shape.format or "", shape.tier or "", *shape.paths)
    return sum(map(len, chain(texts, *shape.alias_parts)))


def _max_bytes(count: int) -> int:
    return _MAX_HEADER_BYTES + (count + MIN_RECORDS) * _MAX_ROW_BYTES


def _content(rows: dict[str, _Row], began_ns: int) -> bytes:
    shapes = {shape: number for number, shape in enumerate(dict.fromkeys(row.shape for row in rows.values()))}
    stamps = list(zip(*(row.stamp for row in rows.values()), strict=True)) or [()] * 4
    document = {
        "written_at_ns": began_ns,
        "shapes": list(shapes),
        "keys": list(rows),
        "modified_at_ns": stamps[0],
        "changed_at_ns": stamps[1],
        "record_bytes": stamps[2],
        "inodes": stamps[3],
        "handles": [row.handle for row in rows.values()],
        "shape_numbers": [shapes[row.shape] for row in rows.values()],
        "sizes_bytes": [row.sizes_bytes for row in rows.values()],
        "fetched_at_s": [row.fetched_at_s for row in rows.values()],
        "last_used_at_s": [row.last_used_at_s for row in rows.values()],
    }
    body = json.dumps(document, separators=(",", ":")).encode("ascii")
    return _HEADER % (crc32(body), len(body)) + body


def _write_index(root: Path, content: bytes) -> None:
    """Writes it beside its place and renames it, unless another process is just doing so."""
    new = root / NEW_INDEX_NAME
    with suppress(FileNotFoundError):
        # A time in the future is from before the clock was set back.
        if abs(time.time() - new.lstat().st_mtime) > _ABANDONED_AFTER_S:
            new.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | AT_ONCE
    descriptor = os.open(new, flags, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        new.replace(root / INDEX_NAME)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _read_index(root: Path, count: int, now_ns: int) -> dict[str, _Row]:
    """The rows of the index; none if it is corrupt, of another form, or from after `now_ns`."""
    try:
        if not _is_trusted((root / INDEX_NAME).lstat(), root.stat()):
            return {}
        content = read_regular(root / INDEX_NAME, _max_bytes(count))
        header, _, body = content.partition(b"\n")
        if header + b"\n" != _HEADER % (crc32(body), len(body)):
            return {}
        document = json.loads(body)
        # A clock that was set back may give a file the times again that it had before.
        return _rows(document) if _column([document["written_at_ns"]], int)[0] <= now_ns else {}
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return {}


def _is_trusted(index: os.stat_result, root: os.stat_result) -> bool:
    """Whether the owner of the index could write the manifests too: in a sticky directory others can't."""
    return not root.st_mode & stat.S_ISVTX or index.st_uid in (os.geteuid(), 0, root.st_uid)


_COLUMNS: dict[str, type] = {
    "keys": str,
    "modified_at_ns": int,
    "changed_at_ns": int,
    "record_bytes": int,
    "inodes": int,
    "handles": str,
    "shape_numbers": int,
    "sizes_bytes": list,
    "fetched_at_s": float,
    "last_used_at_s": float,
}


def _rows(document: dict[str, Any]) -> dict[str, _Row]:
    """The rows of the document; raises ValueError, KeyError, TypeError or IndexError for another form."""
    columns = [_column(document[name], kind) for name, kind in _COLUMNS.items()]
    keys, modified, changed, sizes, inodes, handles, numbers, files, fetched, used = columns
    shapes = [_shape(value) for value in _column(document["shapes"], list)]
    all_sizes = _column([*chain.from_iterable(files)], int)
    if min(numbers, default=0) < 0 or min(all_sizes, default=0) < 0 or max(all_sizes, default=0) >= _MAX_SIZE:
        raise ValueError("A number is out of range")
    if max(chain(map(len, handles), map(_characters, shapes)), default=0) > _MAX_CHARACTERS:
        raise ValueError("A text is too long")
    if not all(_EARLIEST_S <= moment < _LATEST_S for moment in chain(fetched, used)):  # No NaN either.
        raise ValueError("A time is out of range")
    shape_of = [shapes[number] for number in numbers]
    if any(len(row) != len(shape.paths) for row, shape in zip(files, shape_of, strict=True)):
        raise ValueError("A row has sizes of other files")
    stamps = zip(modified, changed, sizes, inodes, strict=True)
    rows = map(_Row._make, zip(stamps, handles, shape_of, map(tuple, files), fetched, used, strict=True))
    return dict(zip(keys, rows, strict=True))


def _column(values: Any, kind: type) -> list[Any]:
    if type(values) is not list or not {kind}.issuperset(map(type, values)):
        raise TypeError(f"The values are not a list of {kind.__name__}")
    return values


def _shape(value: list[Any]) -> RecordShape:
    kind, form, tier, alias_parts, paths = value
    _column([kind, *(text for text in (form, tier) if text is not None)], str)
    parts = tuple([tuple(_column(texts, str)) for texts in _column(alias_parts, list)])
    return RecordShape(kind, form, tier, parts, tuple(_column(paths, str)))
