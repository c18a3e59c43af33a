"""The index of a tree of models that a host serves: `index.json` at its root, which `hubcli search` reads.

The format is documented in docs/reference/hub-index.md and docs/schemas/hub-index.json. An entry is one
version of a model; its archive is at `<name>/<version>` below the directory of the index, as the hosting
protocol of TF Hub has it. Keys that this release doesn't know are kept, for a newer one that wrote them.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubcli.atomic_files import hidden_beside, write_whole
from hubcli.durability import SYNCED, Durability
from hubcli.errors import IntegrityError, NetworkError
from hubcli.exporting.destination import SEGMENT, VERSION
from hubcli.regular_file import read_regular
from hubcli.units import from_iso_utc, to_iso_utc

if TYPE_CHECKING:
    from hubcli.net.object_store import ObjectStore

__all__ = [
    "INDEX_FILE",
    "MAX_INDEX_BYTES",
    "NEWEST_FILE",
    "IndexEntry",
    "add_to_index",
    "add_to_stored_index",
    "index_bytes",
    "list_export",
    "merged",
    "parse_index",
    "publish_newest",
]

INDEX_FILE = "index.json"
NEWEST_FILE = "index.html"
_LOCK_FILE = ".index.json.lock"
MAX_INDEX_BYTES = 32 << 20
_SCHEMA = 1
_MAX_ENTRIES = 100_000
# JSON takes up to 27 times its bytes in memory: what holds more values than an index has is not parsed.
_MAX_CONTAINERS, _MAX_VALUES = 3, 20  # Of an entry.
_MAX_SEGMENTS, _MAX_NAME, _MAX_TEXT = 8, 512, 4096
_NAME = re.compile(rf"{SEGMENT.pattern}(?:/{SEGMENT.pattern})+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_NUMBER = (1 << 63) - 1
# Another export holds the lock for the time of reading and writing one file.
_WAIT_S, _POLL_S = 30.0, 0.02
_STORE_ATTEMPTS = 20
_GZIP = b"\x1f\x8b"
# Directories of a tree that may be looked at where it has no index yet.
_MAX_FOLDERS = 100_000


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One version of a model: `name` is publisher/model, sizes are in bytes, times in seconds since 1970.

    None stands for what isn't known. `kind` is TF2, TF1, Keras or TF1 Hub, as `hubcli ls` has it; `more`
    holds the keys of other releases.
    """

    name: str
    version: str
    archive_bytes: int | None = None
    model_bytes: int | None = None
    sha256: str | None = None
    published_s: float | None = None
    kind: str | None = None
    title: str | None = None
    license: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where the archive is, below the directory of the index."""
        return f"{self.name}/{self.version}"

    @classmethod
    def parse(cls, value: object) -> IndexEntry | None:
        """The entry of a JSON value, None if its name or version can't be part of an address."""
        if not isinstance(value, dict):
            return None
        name, version = value.get("name"), value.get("version")
        if not isinstance(name, str) or not isinstance(version, str) or len(name) > _MAX_NAME:
            return None
        if not _NAME.fullmatch(name) or not VERSION.fullmatch(version) or name.count("/") >= _MAX_SEGMENTS:
            return None
        digest = value.get("sha256")
        return cls(
            name,
            version,
            _number(value.get("archive_bytes")),
            _number(value.get("model_bytes")),
            digest if isinstance(digest, str) and _SHA256.fullmatch(digest) else None,
            _time_s(value.get("published_at")),
            _text(value.get("kind")),
            _text(value.get("title")),
            _text(value.get("license")),
            {key: more for key, more in value.items() if key not in _KEYS},
        )

    def document(self) -> dict[str, Any]:
        """The entry as JSON."""
        return {
            "name": self.name,
            "version": self.version,
            "archive_bytes": self.archive_bytes,
            "model_bytes": self.model_bytes,
            "sha256": self.sha256,
            "published_at": None if self.published_s is None else to_iso_utc(self.published_s),
            "kind": self.kind,
            "title": self.title,
            "license": self.license,
            **self.more,
        }

    @property
    def order(self) -> tuple[str, int, str]:
        """By name, then by version as a number."""
        return self.name, int(self.version), self.version


_KEYS = frozenset(IndexEntry("a/b", "1").document())


def parse_index(content: bytes, source: str) -> tuple[IndexEntry, ...]:
    """The entries of an index; those with invalid names are left out. Raises IntegrityError for no index.

    `source` is what the message calls it.
    """
    hint = "Check the address, or write the index again: hubcli export --layout hub"
    if len(content) > MAX_INDEX_BYTES:
        raise IntegrityError(f"{source} is larger than {MAX_INDEX_BYTES >> 20} MiB", hint=hint)
    containers, values = content.count(b"[") + content.count(b"{"), content.count(b",")
    if containers > 100 + _MAX_CONTAINERS * _MAX_ENTRIES or values > 100 + _MAX_VALUES * _MAX_ENTRIES:
        raise IntegrityError(f"{source} has more than {_MAX_ENTRIES} entries", hint=hint)
    try:
        document = json.loads(content.decode(), parse_constant=_no_constant)
        models, schema = document["models"], document["schema"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise IntegrityError(f"{source} is not an index of models", hint=hint) from None
    if not isinstance(models, list) or not isinstance(schema, int):
        raise IntegrityError(f"{source} is not an index of models", hint=hint)
    if schema != _SCHEMA:
        raise IntegrityError(
            f"{source} has schema {schema}, and this hubcli knows {_SCHEMA}", hint="Upgrade hubcli."
        )
    if len(models) > _MAX_ENTRIES:
        raise IntegrityError(f"{source} has more than {_MAX_ENTRIES} entries", hint=hint)
    return tuple(entry for entry in map(IndexEntry.parse, models) if entry is not None)


def merged(old: Iterable[IndexEntry], new: Iterable[IndexEntry]) -> tuple[IndexEntry, ...]:
    """Both in order; a new entry replaces an old one of its version, but for what that alone tells."""
    by_path = {entry.path: entry for entry in old}
    for entry in new:
        held = by_path.get(entry.path, entry)
        by_path[entry.path] = replace(
            entry,
            title=entry.title or held.title,
            license=entry.license or held.license,
            more={**held.more, **entry.more},
        )
    return tuple(sorted(by_path.values(), key=lambda entry: entry.order))


def index_bytes(entries: Sequence[IndexEntry]) -> bytes:
    """The file, one line a version, so that a difference of two of them is readable.

    Raises IntegrityError for more entries than are read again.
    """
    if len(entries) > _MAX_ENTRIES:
        raise IntegrityError(f"An index has at most {_MAX_ENTRIES} entries", hint="Use another tree.")
    lines = ",\n".join(json.dumps(entry.document(), ensure_ascii=False) for entry in entries)
    # A half of a surrogate pair, which another program may have written as an escape, stays one.
    return f'{{"schema": {_SCHEMA}, "models": [\n{lines}\n]}}\n'.encode(errors="backslashreplace")


def list_export(root: Path, entry: IndexEntry, durability: Durability = SYNCED) -> Iterator[str]:
    """Lists an archive of the tree at `root` in its index, and lets `index.html` lead to the newest version.

    Gives a sentence for each of both that failed.
    """
    problems = publish_newest(root / entry.name), add_to_index(root, entry, durability)
    yield from filter(None, problems)


def add_to_index(root: Path, entry: IndexEntry, durability: Durability = SYNCED) -> str | None:
    """Adds a version to the index of the tree at `root`; why it couldn't, else None.

    Exports at the same time wait for each other. Entries whose archive is gone are dropped; a tree without an
    index gets one of all archives that are there. The file is replaced as a whole: a reader sees the index
    before or after. Somebody else's `index.json` stays.
    """
    index = root / INDEX_FILE
    try:
        with _locked(root):
            for leftover in root.glob(f"{INDEX_FILE}.tmp*"):  # Of a process that was killed.
                leftover.unlink(missing_ok=True)
            try:
                content = read_regular(index, MAX_INDEX_BYTES + 1)
            except FileNotFoundError:
                old = _archives_below(root)
            else:
                old = (held for held in parse_index(content, str(index)) if (root / held.path).is_file())
            text = index_bytes(merged(old, [entry])).decode()
            write_whole(index, text, durability)
            durability.directory(root)
    except IntegrityError as error:
        return f"{error.message}: it was kept, and hubcli search --host will not find {entry.path}"
    except OSError as error:
        reason = error.strerror or error
        return f"Cannot write {index} ({reason}): hubcli search --host will not find {entry.path}"
    return None


def add_to_stored_index(store: ObjectStore, folder: str, new: Sequence[IndexEntry]) -> None:
    """Adds versions to the index of the tree below `folder` ("" for the store itself), by compare and swap.

    Raises IntegrityError for an object that is not an index, UnsupportedError where the store can't compare,
    NetworkError.
    """
    key = f"{folder}/{INDEX_FILE}" if folder else INDEX_FILE
    name = f"{store.address}/{key}"
    for attempt in range(_STORE_ATTEMPTS):
        found = store.read(key, MAX_INDEX_BYTES)
        known = () if found is None else parse_index(found[0], name)
        listed = {(entry.path, entry.sha256) for entry in known}
        if all((entry.path, entry.sha256) in listed for entry in new):
            return
        content = index_bytes(merged(known, new))
        if store.create(key, content) if found is None else store.replace(key, content, found[1]):
            return
        time.sleep(min(1.0, 0.01 * 2**attempt))
    raise NetworkError(
        f"Cannot add {new[0].path} to {name}: other processes keep changing it",
        hint="The version is published. To add it to the index, run the command again.",
    )


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Holds the lock of the tree. Raises OSError, TimeoutError after 30 s."""
    lock, ends_at = root / _LOCK_FILE, time.monotonic() + _WAIT_S
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(lock, flags, 0o666)
        try:
            if _is_locked(descriptor, lock):
                try:
                    yield
                finally:
                    # Removed while held: a process that waits for it finds another file or none, and retries.
                    with suppress(OSError):
                        lock.unlink()
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > ends_at:
            raise TimeoutError(0, f"another process holds {_LOCK_FILE}")
        time.sleep(_POLL_S)


def _is_locked(descriptor: int, lock: Path) -> bool:
    from fcntl import LOCK_EX, LOCK_NB, flock  # Not on every system.

    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), lock.stat(follow_symlinks=False))
    except (BlockingIOError, FileNotFoundError):
        return False


def _archives_below(root: Path) -> Iterator[IndexEntry]:
    """An entry for each archive of a tree without an index: files named by digits that begin as gzip does."""
    for count, (folder, names, files) in enumerate(os.walk(root)):
        depth = len(Path(folder).relative_to(root).parts)
        names[:] = [name for name in names if SEGMENT.fullmatch(name) and depth + 1 < _MAX_SEGMENTS]
        if count > _MAX_FOLDERS:
            return
        for version in files if depth > 1 else ():
            path = Path(folder, version)
            if VERSION.fullmatch(version) and _begins_as_gzip(path):
                facts = path.stat()
                name = Path(folder).relative_to(root).as_posix()
                yield IndexEntry(name, version, facts.st_size, published_s=facts.st_mtime)


def _begins_as_gzip(path: Path) -> bool:
    try:
        return read_regular(path, len(_GZIP)) == _GZIP
    except OSError:
        return False


def _no_constant(name: str) -> Any:
    raise ValueError(name)  # NaN would be written again, and is not JSON.


def _number(value: object) -> int | None:
    is_number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_NUMBER
    return int(value) if is_number else None  # type: ignore[call-overload]


def _text(value: object) -> str | None:
    return value[:_MAX_TEXT] if isinstance(value, str) and value else None


def _time_s(value: object) -> float | None:
    if not isinstance(value, str) or len(value) > 64:
        return None
    with suppress(ValueError, OverflowError):
        return max(0.0, from_iso_utc(value))
    return None


def publish_newest(model: Path) -> str | None:
    """Lets `index.html` in the model's directory lead to its newest version; why not, else None.

    It is a relative link, which `cp -a`, rsync and tar keep, and copying follows. One that is
    somebody's own file or link stays. Another process may export a version at the same time.
    """
    index = model / NEWEST_FILE
    try:
        if os.path.lexists(index) and not _is_ours(index):
            return (
                f"{index} was not created by hubcli and was kept: "
                "a handle without a version does not work there"
            )
        newest = max(_versions(model), key=lambda file: int(file.name), default=None)
        if newest is not None:
            _lead_to(newest, index)
    except OSError as error:
        reason = error.strerror or error
        return f"{index} cannot be created ({reason}): a handle without a version does not work there"
    return None


def _lead_to(newest: Path, index: Path) -> None:
    temporary = hidden_beside(index)
    try:
        try:
            temporary.symlink_to(newest.name)
        except OSError:  # A file system without symbolic links.
            os.link(newest, temporary)
        temporary.replace(index)
    finally:
        temporary.unlink(missing_ok=True)


def _versions(model: Path) -> list[Path]:
    return [file for file in model.iterdir() if _is_version(file.name) and file.is_file()]


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _is_ours(index: Path) -> bool:
    """Whether it is a link to a version beside it, whether that is still there or not."""
    if index.is_symlink():
        return _is_version(str(index.readlink()))
    return index.is_file() and any(index.samefile(file) for file in _versions(index.parent))
