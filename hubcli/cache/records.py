"""The records of an entry: hubcli's manifest in `<sha1>.hubcli.json`, tensorflow_hub's descriptor and lock.

A lock names its owner, as tensorflow_hub 0.16.1 writes it: `host.pid.uid`.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hubcli.archive import FileRecord
from hubcli.atomic_files import unique_number
from hubcli.regular_file import read_record
from hubcli.units import from_iso_utc, to_iso_utc

__all__ = ["MANIFEST_SCHEMA", "Descriptor", "LockOwner", "Manifest"]

MANIFEST_SCHEMA = 1
# A model of a hundred thousand files has a tenth of it.
_MAX_BYTES = 1 << 27
T = TypeVar("T")
_TEXT_OR_NONE = (str, type(None))


@dataclass(frozen=True, slots=True)
class Manifest:
    """The record of one entry. Times are seconds since 1970, sizes are bytes.

    `source` is where the bytes came from, without secrets; `archive_sha256`
    and `archive_bytes` are None for what did not come as an archive. An entry
    that tensorflow_hub downloaded and hubcli adopted has files without hashes.
    `format` is None in what hubcli 0.1 wrote; `kind` is the coarser word.

    `tier` is the address of the shared tier that it came from, None if it came from elsewhere;
    `is_private` says that it was fetched with credentials.

    `touched_at_s` is the modification time of the file that it was read from:
    a use of the entry only touches that file, so that no two processes ever
    write over each other's records.
    """

    handle: str
    aliases: tuple[str, ...]
    source: str
    kind: str
    files: tuple[FileRecord, ...]
    fetched_at_s: float
    last_used_at_s: float
    etag: str | None = None
    archive_sha256: str | None = None
    archive_bytes: int | None = None
    format: str | None = None
    tier: str | None = None
    is_private: bool = False
    touched_at_s: float = field(default=0.0, compare=False)

    @property
    def size_bytes(self) -> int:
        """Sum of the sizes of the files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def used_at_s(self) -> float:
        """When the entry was last used, in seconds since 1970."""
        return max(self.last_used_at_s, self.touched_at_s)

    @classmethod
    def read(cls, path: Path | str) -> Manifest | None:
        """The manifest in the file; None if it is absent or invalid."""
        found = cls.read_with_status(path)
        return None if found is None else found[0]

    @classmethod
    def read_with_status(cls, path: Path | str) -> tuple[Manifest, os.stat_result] | None:
        """The manifest, with the status that the file had before it was read; None if absent or invalid."""
        try:
            # By hand: a listing of ten thousand spends most of its time here.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # A pipe would never answer.
            try:
                status = os.fstat(descriptor)
                content = os.read(descriptor, min(status.st_size, _MAX_BYTES))
            finally:
                os.close(descriptor)
            manifest = cls._from_document(_parsed(content.decode()), status.st_mtime)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return None if manifest is None else (manifest, status)

    @classmethod
    def _from_document(cls, document: dict[str, Any], touched_at_s: float) -> Manifest | None:
        if document["schema"] != MANIFEST_SCHEMA:
            return None
        archive = _typed(document["archive"] or {}, dict)
        fetched_at, used_at = document["fetched_at"], document["last_used_at"]
        fetched_at_s = from_iso_utc(fetched_at)
        used_at_s = fetched_at_s if used_at == fetched_at else from_iso_utc(used_at)
        return cls(
            handle=_typed(document["handle"], str),
            aliases=_texts(document["aliases"]),
            source=_typed(document["source"], str),
            kind=_typed(document["kind"], str),
            files=tuple([_file(file) for file in _typed(document["files"], list)]),
            fetched_at_s=fetched_at_s,
            last_used_at_s=used_at_s,
            etag=_text_or_none(document["etag"]),
            archive_sha256=_text_or_none(archive.get("sha256")),
            archive_bytes=_size(archive["size"]) if archive else None,
            format=_text_or_none(document.get("format")),
            tier=_text_or_none(document.get("tier")),
            is_private=document.get("private") is True,
            touched_at_s=touched_at_s,
        )

    def to_text(self) -> str:
        """The content of the file."""
        archive = None
        if self.archive_sha256 is not None:
            archive = {"sha256": self.archive_sha256, "size": self.archive_bytes}
        document = {
            "schema": MANIFEST_SCHEMA,
            "handle": self.handle,
            "aliases": list(self.aliases),
            "source": self.source,
            "kind": self.kind,
            **({} if self.format is None else {"format": self.format}),
            **({} if self.tier is None else {"tier": self.tier}),
            **({"private": True} if self.is_private else {}),
            "etag": self.etag,
            "archive": archive,
            "files": [
                {"path": file.path, "size": file.size_bytes, "sha256": file.sha256} for file in self.files
            ],
            "fetched_at": to_iso_utc(self.fetched_at_s),
            "last_used_at": to_iso_utc(self.last_used_at_s),
        }
        return json.dumps(document, indent=1) + "\n"


_DECODER = json.JSONDecoder()


def _parsed(text: str) -> Any:
    """The document; what hubcli writes begins with it, and needs no search for the beginning and the end."""
    if text[:1] != "{" or text[-2:] != "}\n":
        return json.loads(text)
    document, end = _DECODER.raw_decode(text)
    return document if end == len(text) - 1 else json.loads(text)


def _typed(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _typed(value, str)


def _size(value: Any) -> int:
    if _typed(value, int) < 0 or isinstance(value, bool):
        raise ValueError(f"{value} is not a size")
    return int(value)


_STRING = frozenset({str})


def _texts(values: Any) -> tuple[str, ...]:
    if type(values) is not list or not _STRING.issuperset(map(type, values)):
        raise TypeError(f"{values!r} is not a list of strings")
    return tuple(values)


def _file(document: Any) -> FileRecord:
    path, size, sha256 = document["path"], document["size"], document["sha256"]
    if type(path) is not str or type(size) is not int or size < 0 or type(sha256) not in _TEXT_OR_NONE:
        raise TypeError(f"{document!r} is not a file record")
    return FileRecord(path, size, sha256)


# Both patterns are compiled when they are first used: most entries have a manifest and no lock.
_FORM = (
    r"Module: (?P<handle>.*)\n"
    r"Download Time: (?P<time>.*)\n"
    r"Downloader Hostname: (?P<host>.*) \(PID:(?P<pid>[0-9]{1,20})\)\s*"
)
_MAX_DESCRIPTOR_BYTES = 1 << 16


class Descriptor(NamedTuple):
    """The handle that an entry was downloaded for, when (seconds since 1970), and by which process."""

    handle: str
    downloaded_at_s: float | None
    host: str
    pid: int

    @classmethod
    def of_this_process(cls, handle: str, downloaded_at_s: float) -> Descriptor:
        """The descriptor of a download made here."""
        import socket  # Commands that only read the cache don't need it.

        return cls(handle, downloaded_at_s, socket.gethostname(), os.getpid())

    @classmethod
    def read(cls, path: Path) -> Descriptor | None:
        """The descriptor in the file; None if it is absent or invalid."""
        try:
            match = re.fullmatch(_FORM, read_record(path, _MAX_DESCRIPTOR_BYTES).decode("utf-8", "replace"))
        except OSError:
            return None
        if match is None:
            return None
        try:
            # tensorflow_hub writes local time without an offset.
            moment: float | None = datetime.fromisoformat(match["time"]).astimezone(timezone.utc).timestamp()
        except (ValueError, OverflowError, OSError):
            moment = None
        return cls(match["handle"], moment, match["host"], int(match["pid"]))

    def to_text(self) -> str:
        """The content of the file."""
        moment = datetime.fromtimestamp(self.downloaded_at_s or 0)  # noqa: DTZ006 - local, as in tensorflow_hub
        return (
            f"Module: {self.handle}\nDownload Time: {moment}\n"
            f"Downloader Hostname: {self.host} (PID:{self.pid})"
        )


_OWNER_FORM = r"(?s)(?P<host>.*)\.(?P<pid>[0-9]{1,20})\.(?P<uid>[0-9a-f]{1,64})"
_CLOCK_SLACK_S = 2.0


class LockOwner(NamedTuple):
    """The owner of a lock: host name, process id, and the id of its staging directory."""

    host: str
    pid: int
    uid: str

    @classmethod
    def of_this_process(cls) -> LockOwner:
        """An owner with a new uid."""
        return cls(_host(), os.getpid(), unique_number())

    @classmethod
    def read(cls, lock: Path) -> LockOwner | None:
        """The owner that the file names, or None if it is gone or names none."""
        try:
            match = re.fullmatch(_OWNER_FORM, read_record(lock).decode("utf-8", "replace"))
        except OSError:
            return None
        return cls(match["host"], int(match["pid"]), match["uid"]) if match else None

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"

    @property
    def text(self) -> str:
        """What the lock file holds."""
        return f"{self.host}.{self.pid}.{self.uid}"

    @property
    def is_here(self) -> bool:
        """Whether its process runs, or ran, on this host."""
        return self.host == _host()

    def is_dead(self, lock: Path) -> bool:
        """Whether its process is known to be gone; False if it is on another host.

        A process that is younger than the lock file inherited the number, as
        happens in containers, where every first process is number 1.
        """
        if not self.is_here or os.name == "nt":  # os.kill would end the process on Windows.
            return False
        if self.pid == 0:  # Not a process: to os.kill, 0 means the whole process group.
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OverflowError:  # A number that no process has.
            return True
        except OSError:
            return False
        started = _process_start_s(self.pid)
        try:
            return started is not None and started > lock.stat().st_mtime + _CLOCK_SLACK_S
        except OSError:
            return False


def _host() -> str:
    import socket  # Commands that only read the cache don't need it.

    return socket.gethostname()


def _process_start_s(pid: int) -> float | None:
    """When the process started, in seconds since 1970; None if the system has no /proc."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    except OSError:
        return None
    if boot is None or len(after_name) < 20:
        return None
    # Field 22 of proc_pid_stat(5), counted from the one after the name, in clock ticks.
    return int(boot[1]) + int(after_name[19]) / os.sysconf("SC_CLK_TCK")
