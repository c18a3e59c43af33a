"""What an upload has done so far, on the disk: by it a run resumes that was cut or killed, the next day too.

One file a variation, in a directory of the user's own (0700, files 0600), locked as long as a run lasts. It
holds the addresses of upload sessions, which are capabilities; those that expired are dropped.

The step is written before what it names is done: a run that finds `creating` asks what became of that, and
never creates again by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from pathlib import Path
from typing import Any

from hubcli.archive import FileRecord
from hubcli.config.user_directories import upload_records
from hubcli.durability import Durability
from hubcli.errors import CacheError, LockTimeoutError, UsageError, means_full

__all__ = ["BlobRecord", "Journal", "JournalState", "Step", "open_journal"]

_SCHEMA = 1
_MAX_BYTES = 64 << 20
# Kaggle's own command gives a session up after six days.
_SESSION_S, _CLOCK_ERROR_S = 6 * 24 * 3600.0, 3600.0
_MARKER = "hubcli-upload-"


class Step(str, Enum):
    """How far an upload is: files are sent; a creation was begun; its answer came."""

    UPLOADING = "uploading"
    CREATING = "creating"
    CREATED = "created"


@dataclass(slots=True)
class BlobRecord:
    """The upload of one file. `sha256` is that of all of it once it is complete, "" before.

    `prefix_sha256` is that of the first `begun_bytes`, which are all that may have been sent.
    """

    size_bytes: int
    token: str
    session_url: str
    started_s: float
    begun_bytes: int = 0
    prefix_sha256: str = ""
    sha256: str = ""


@dataclass(slots=True)
class JournalState:
    """How far an upload is. `marker` is the unique mark in the notes of its version.

    `base_version` is the newest version before the creation was begun, 0 where there was none;
    `creates_variation` says that it is the creation of a variation, with its first version.
    """

    target: str
    endpoint: str
    marker: str
    step: Step = Step.UPLOADING
    base_version: int = 0
    creates_variation: bool = False
    blobs: dict[str, BlobRecord] = field(default_factory=dict)


class Journal:
    """The record of one upload, in `state`; each change is on the disk before the method returns.

    Thread-safe, but for the files in `state`: the methods give them.
    """

    def __init__(self, path: Path, state: JournalState, durability: Durability) -> None:
        self._path = path
        self.state = state
        self._durability = durability
        self._lock = threading.Lock()

    @property
    def records(self) -> tuple[FileRecord, ...]:
        """The files that are complete, as they were sent."""
        with self._lock:
            complete = [(name, blob) for name, blob in self.state.blobs.items() if blob.sha256]
        return tuple(FileRecord(name, blob.size_bytes, blob.sha256) for name, blob in sorted(complete))

    def blob(self, name: str) -> BlobRecord | None:
        """The upload of that file; None if it is unknown, or its session is too old."""
        with self._lock:
            found = self.state.blobs.get(name)
            return None if found is None else replace(found)

    def tokens(self) -> dict[str, str]:
        """The token of each file, by its name."""
        with self._lock:
            return {name: blob.token for name, blob in self.state.blobs.items()}

    def write_blob(self, name: str, blob: BlobRecord | None) -> None:
        """Notes how far the file is; None forgets it."""
        with self._lock:
            if blob is None:
                self.state.blobs.pop(name, None)
            else:
                self.state.blobs[name] = replace(blob)  # The caller keeps changing its own.
            self._write()

    def keep_files(self, names: set[str]) -> None:
        """Forgets files that the source hasn't any more."""
        with self._lock:
            self.state.blobs = {name: blob for name, blob in self.state.blobs.items() if name in names}
            self._write()

    def begin_creation(self, base_version: int, *, of_variation: bool) -> None:
        """Notes that a creation is sent next."""
        with self._lock:
            self.state.base_version, self.state.creates_variation = base_version, of_variation
            self.state.step = Step.CREATING
            self._write()

    def finish_creation(self, step: Step) -> None:
        """Notes that the answer came (CREATED), or that nothing was created (UPLOADING)."""
        with self._lock:
            self.state.step = step
            self._write()

    def clear(self) -> None:
        """Forgets the upload, which is done or given up; the next one has another marker."""
        with self._lock:
            with suppress(FileNotFoundError):
                self._path.unlink()
            self.state = JournalState(self.state.target, self.state.endpoint, _new_marker())

    def _write(self) -> None:
        temporary = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}.tmp")
        text = json.dumps({"schema": _SCHEMA, **asdict(self.state)})
        try:
            _write_private(temporary, text, self._durability)
            temporary.replace(self._path)
            self._durability.directory(self._path.parent)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            what = "Not enough disk space for" if means_full(error) else "Cannot write"
            raise CacheError(
                f"{what} {self._path}, the record of the upload: {error.strerror}",
                hint="Free some space, and check the permissions of the directory.",
            ) from error


@contextmanager
def open_journal(endpoint: str, target: str, durability: Durability) -> Iterator[Journal]:
    """The record of uploads to that variation, there already or new, as long as the context lasts.

    Raises LockTimeoutError if another process publishes there, CacheError for a record or a directory
    that isn't the user's own or can't be read.
    """
    root = upload_records()
    if root is None:
        raise UsageError("No home directory for the record of the upload", hint="Set HOME or XDG_STATE_HOME.")
    _make_private(root)
    name = hashlib.sha256(f"{endpoint}\n{target}".encode()).hexdigest()[:32]
    path = root / f"{name}.json"
    with _locked(root / f"{name}.lock", target):
        _sweep(root, path.name)
        state = _read(path, endpoint, target) or JournalState(target, endpoint, _new_marker())
        _drop_expired(state)
        yield Journal(path, state, durability)


def _sweep(root: Path, name: str) -> None:
    """Removes what a killed run left beside its record, and records of uploads that were not resumed in time.

    A record that tells of a creation stays.
    """
    for leftover in root.glob(f"{name}.*.tmp"):
        leftover.unlink(missing_ok=True)
    for record in root.glob("*.json"):
        with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            is_old = record.stat().st_mtime < time.time() - _SESSION_S
            is_other = record.name != name
            if is_old and is_other and json.loads(record.read_bytes())["step"] == Step.UPLOADING.value:
                record.unlink()


def _new_marker() -> str:
    return _MARKER + secrets.token_hex(16)


def _drop_expired(state: JournalState) -> None:
    """Before a creation, forgets sessions that the storage has forgotten, and tokens of the same age."""
    if state.step is Step.UPLOADING:
        now_s = time.time()
        state.blobs = {
            name: blob
            for name, blob in state.blobs.items()
            if now_s - _SESSION_S <= blob.started_s <= now_s + _CLOCK_ERROR_S  # NaN, and a clock set back.
        }


def _make_private(folder: Path) -> None:
    """Makes the directory for this user alone. Raises CacheError if it is somebody else's, or a link."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or not _is_own(status):
            raise CacheError(
                f"{folder} is a symbolic link or belongs to another user",
                hint="Remove it, or set XDG_STATE_HOME to a directory of your own.",
            )
        if os.name != "nt" and stat.S_IMODE(status.st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise CacheError(
            f"Cannot create the directory {folder}: {error.strerror}", hint="Check its permissions."
        ) from error


def _is_own(status: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()


def _opened(path: Path, flags: int) -> int:
    """A descriptor of the user's own regular file, which no link led to. Raises OSError, CacheError."""
    safe = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags | safe, 0o600)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or not _is_own(status) or status.st_nlink > 1:
        os.close(descriptor)
        raise CacheError(
            f"{path} is a link, has several links or belongs to another user",
            hint="Remove it, and run the command again.",
        )
    return descriptor


def _write_private(path: Path, text: str, durability: Durability) -> None:
    with open(_opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        durability.file(file.fileno())


@contextmanager
def _locked(path: Path, target: str) -> Iterator[None]:
    """Holds the lock of the record; the system gives it up with the process."""
    try:
        descriptor = _opened(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise CacheError(f"Cannot open {path}: {error.strerror}", hint="Remove it.") from error
    try:
        try:
            from fcntl import LOCK_EX, LOCK_NB, flock

            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise LockTimeoutError(
                f"Another process is publishing to {target}", hint="Wait for it, and run the command again."
            ) from None
        except (ImportError, OSError):
            pass  # A system or a file system without locks.
        yield
    finally:
        os.close(descriptor)


def _read(path: Path, endpoint: str, target: str) -> JournalState | None:
    """The record, or None. Raises CacheError for an invalid one: a creation may be in it."""
    try:
        with open(_opened(path, os.O_RDONLY), "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, target) from error
    try:
        document = json.loads(content) if len(content) <= _MAX_BYTES else None
        return _parsed(document, endpoint, target)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise _unreadable(path, target) from None


def _parsed(document: Any, endpoint: str, target: str) -> JournalState:
    """Raises ValueError, TypeError or KeyError for what isn't a record of this upload."""
    if document["schema"] != _SCHEMA or (document["endpoint"], document["target"]) != (endpoint, target):
        raise ValueError
    marker = document["marker"]
    if not isinstance(marker, str) or not marker.startswith(_MARKER):
        raise ValueError
    blobs = {_text(name): _blob(value) for name, value in document["blobs"].items()}
    base_version = document["base_version"]
    if type(base_version) is not int or base_version < 0:
        raise ValueError
    step, of_variation = Step(document["step"]), document["creates_variation"] is True
    return JournalState(target, endpoint, marker, step, base_version, of_variation, blobs)


def _blob(value: Mapping[str, Any]) -> BlobRecord:
    kinds = {"int": int, "str": str, "float": float}
    found = {item.name: value[item.name] for item in fields(BlobRecord)}
    if any(type(found[item.name]) is not kinds[str(item.type)] for item in fields(BlobRecord)):
        raise ValueError
    return BlobRecord(**found)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _unreadable(path: Path, target: str) -> CacheError:
    return CacheError(
        f"Cannot read {path}, the record of an earlier upload to {target}",
        hint=f"Check the versions of {target}, then remove that file.",
    )
