"""Lists of models in files: plain ones with a handle a line, and lock files.

A lock file says which bytes each model had, so that the same are fetched everywhere, or none.
A lock file is JSON, which every Python reads (TOML is read from 3.11 on), sorted by handle and
written in one form, so that the same models give the same bytes.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from hubcli.archive.tree import hashed_files, tree_digest
from hubcli.atomic_files import write_whole
from hubcli.cache.cached_model import CachedModel
from hubcli.config.settings import Settings
from hubcli.durability import SYNCED, Durability
from hubcli.errors import DiskFullError, HandleError, OutputError, UsageError, means_full
from hubcli.fetching.options import ExpectedDigests, FetchResult, Requirement
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.regular_file import open_stream, read_regular

__all__ = ["LOCK_VERSION", "LockFile", "LockedModel", "listed", "read_list"]

LOCK_VERSION = 1
T = TypeVar("T")
_MAX_LOCK_BYTES = 16 << 20
_MAX_REASON = 300  # Characters.
# Another process holds the directory for the time of reading and writing one file.
_WAIT_S, _POLL_S = 10.0, 0.02
_CONFLICT = re.compile(r"^(?:<{7}|>{7}|\|{7})(?:\s|$)", re.MULTILINE)


class LockedModel(NamedTuple):
    """What a lock file says of one model. Sizes are in bytes.

    `resolved` is the handle with its version, None if that is
    unknown: then the hashes alone decide. `archive` is None for what didn't come
    as an archive, or came with tensorflow_hub, which doesn't record its hash.
    """

    handle: str
    resolved: str | None
    expected: ExpectedDigests
    archive_bytes: int | None
    size_bytes: int
    file_count: int

    @classmethod
    def of(
        cls, handle: Handle, result: FetchResult, settings: Settings, listener: ProgressListener
    ) -> LockedModel:
        """The model as it was fetched, by the record of its download, or else read and hashed now."""
        entry = CachedModel.at(result.path, settings.cache_root)
        manifest = entry.manifest if entry is not None else None
        files = manifest.files if manifest is not None else ()
        if not files or any(file.sha256 is None for file in files):
            listener.started(str(handle), str(result.path), result.size_bytes)
            files = hashed_files(result.path, listener.received)
        return cls(
            handle=str(handle),
            resolved=result.handle if Handle.parse(result.handle).version is not None else None,
            expected=ExpectedDigests(result.archive_sha256, tree_digest(files)),
            archive_bytes=manifest.archive_bytes if manifest is not None else None,
            size_bytes=sum(file.size_bytes for file in files),
            file_count=len(files),
        )

    @property
    def to_fetch(self) -> Handle:
        """The handle that gives these bytes."""
        return Handle.parse(self.resolved or self.handle)

    @classmethod
    def from_document(cls, document: Any) -> LockedModel:
        """The model that the JSON object tells of. Raises KeyError, TypeError, ValueError, HandleError."""
        archive = _typed(document["archive"] or {}, dict)
        tree = _typed(document["tree"], dict)
        handle, resolved = _typed(document["handle"], str), document["resolved"]
        for text in (handle, *([] if resolved is None else [_typed(resolved, str)])):
            Handle.parse(text)
        sha256 = _typed(archive["sha256"], str) if archive else None
        return cls(
            handle=handle,
            resolved=resolved,
            expected=ExpectedDigests(sha256, _typed(tree["sha256"], str)),
            archive_bytes=_typed(archive["bytes"], int) if archive else None,
            size_bytes=_typed(tree["bytes"], int),
            file_count=_typed(tree["files"], int),
        )

    def to_document(self) -> dict[str, Any]:
        """The model as a JSON object."""
        archive = {"sha256": self.expected.archive_sha256, "bytes": self.archive_bytes}
        return {
            "handle": self.handle,
            "resolved": self.resolved,
            "archive": archive if self.expected.archive_sha256 is not None else None,
            "tree": {
                "sha256": self.expected.tree_sha256,
                "bytes": self.size_bytes,
                "files": self.file_count,
            },
        }


class LockFile(NamedTuple):
    """The models of a lock file, by handle; `name` is what it is called in messages."""

    name: str
    models: Mapping[str, LockedModel] = MappingProxyType({})

    @classmethod
    def read(cls, path: Path) -> LockFile:
        """The lock file at the path. Raises UsageError if none can be read and understood."""
        try:
            content = read_regular(path.expanduser(), _MAX_LOCK_BYTES + 1)
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(
                f"Cannot read the lock file {path}: {reason}", hint="Create one: hubcli fetch --lock FILE"
            ) from error
        return cls.parse(content.decode("utf-8-sig", "replace"), str(path))

    @classmethod
    def at(cls, path: Path) -> LockFile:
        """The lock file to write there, with the models that it already has; empty if it is absent.

        Raises UsageError if none can be written, or something else is there.
        """
        if path.suffix == ".toml":
            raise UsageError(
                f"Cannot write a lock file to {path}: lock files are JSON",
                hint="Use models.lock or models.json.",
            )
        if not path.parent.is_dir():
            raise UsageError(f"{path.parent} is not a directory", hint="Check the path after --lock.")
        if Path(os.path.realpath(path)).is_symlink():
            raise UsageError(f"{path} is a link to itself", hint="Use another file.")
        return cls.read(path) if path.exists() else cls(str(path))

    @classmethod
    def parse(cls, text: str, name: str) -> LockFile:
        """The lock file with that text. Raises UsageError if it can't be understood."""
        _require_merged(text, name)
        try:
            document = _typed(json.loads(text, object_pairs_hook=_without_doubles), dict)
            version = _typed(document["hubcli_lock"], int)
            listed = _typed(document["models"], list) if version == LOCK_VERSION else []
            models = {model.handle: model for model in map(LockedModel.from_document, listed)}
        except (KeyError, TypeError, ValueError, RecursionError, HandleError, UsageError) as error:
            raise UsageError(
                f"{name} is not a lock file: {_reason(error)}",
                hint="Remove it, and create it again with --lock.",
            ) from error
        if version != LOCK_VERSION:
            raise UsageError(
                f"{name} is a lock file of version {version}; this hubcli knows {LOCK_VERSION}",
                hint="Use the hubcli that wrote it, or create it again with --lock.",
            )
        if len(models) < len(listed):
            raise UsageError(
                f"{name} lists one model twice", hint="Remove one, or create it again with --lock."
            )
        return cls(name, models)

    @staticmethod
    def is_one(text: str) -> bool:
        """Whether the text is meant as a lock file: no list of handles begins like that."""
        return text.lstrip("\ufeff \t\r\n").startswith("{")

    def updated(self, models: Iterable[LockedModel]) -> LockFile:
        """The lock file with these models added or replaced; others stay."""
        return LockFile(self.name, {**self.models, **{model.handle: model for model in models}})

    def joined(self, other: LockFile) -> LockFile:
        """Both as one. Raises UsageError if they say different things of a model."""
        both = f"{self.name} and {other.name}"
        for name, model in other.models.items():
            if self.models.get(name, model) != model:
                raise UsageError(
                    f"{both} have different entries for {name}",
                    hint=f"Lock it again: hubcli fetch --lock FILE {name}",
                )
        return LockFile(both, {**self.models, **other.models})

    def changed(self, models: Iterable[LockedModel]) -> Iterator[LockedModel]:
        """The models for which this file differs."""
        return (
            model
            for model in models
            if model.handle in self.models and self.models[model.handle].expected != model.expected
        )

    def to_text(self) -> str:
        """The content of the file."""
        models = [model.to_document() for _, model in sorted(self.models.items())]
        return json.dumps({"hubcli_lock": LOCK_VERSION, "models": models}, indent=2) + "\n"

    @classmethod
    def update(
        cls, path: Path, models: Iterable[LockedModel], durability: Durability = SYNCED
    ) -> list[LockedModel]:
        """Adds the models to the file at the path or replaces them; those whose bytes differ there.

        Processes that do so at the same time wait for each other, so that no entry is lost. Raises what `at`
        and `write` do.
        """
        models = list(models)
        with _locked(Path(os.path.realpath(path)).parent):
            now = cls.at(path)
            changed = list(now.changed(models))
            now.updated(models).write(durability)
        return changed

    def write(self, durability: Durability = SYNCED) -> None:
        """Writes the file atomically. Raises DiskFullError, OutputError."""
        place = Path(os.path.realpath(Path(self.name).expanduser()))
        try:
            write_whole(place, self.to_text(), durability)
            durability.directory(place.parent)
        except OSError as error:
            kind = DiskFullError if means_full(error) else OutputError
            raise kind(
                f"Cannot write the lock file {self.name}: {error.strerror}", hint="Check its directory."
            ) from error


def _require_merged(text: str, name: str) -> None:
    """Raises UsageError if a merge of Git left its marks in the text."""
    mark = _CONFLICT.search(text)
    if mark is not None:
        line = text.count("\n", 0, mark.start()) + 1
        raise UsageError(
            f"{name}, line {line}: unresolved merge conflict",
            hint="Resolve the conflict, or create it again with --lock.",
        )


def _typed(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; of a key that comes twice, a reviewer might read the value that does not count."""
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("an object has a key twice")
    return document


def _reason(error: Exception) -> str:
    """Why it is not a lock file, without all of a value that is as long as the file."""
    reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return reason if len(reason) <= _MAX_REASON else f"{reason[: _MAX_REASON - 1]}…"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds flock(2) of the directory, which leaves no file; without it where it can't be had in time."""
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock  # Not on every system.

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        descriptor = None
    if descriptor is None:
        yield
        return
    ends_at = time.monotonic() + _WAIT_S
    try:
        while time.monotonic() < ends_at:
            try:
                flock(descriptor, LOCK_EX | LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_POLL_S)
            except OSError:  # A file system without locks.
                break
        yield
    finally:
        os.close(descriptor)


_MAX_LIST_BYTES = 16 << 20
_FIFO_WAIT_S = 30.0
# As in pip's lists: a fragment of a URL has no space before it.
_COMMENT = r"(^|\s)#.*"
_OPTION = r"\s--"
_DIGEST_OPTION = r"\s--sha256(?:=|\s+)(?P<hex>[0-9A-Fa-f]{64})"


def read_list(name: str) -> str:
    """The text of the file, or with `-` of standard input. Raises UsageError."""
    source_name = "Standard input" if name == "-" else name
    try:
        if name != "-":
            content = _content(Path(name).expanduser())
        elif sys.stdin is None:
            raise UsageError("Standard input is closed", hint="Pipe a list into hubcli fetch -r -")
        else:
            content = sys.stdin.buffer.read(_MAX_LIST_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"Cannot read {source_name}: {reason}", hint="Check the path after -r.") from error
    if len(content) > _MAX_LIST_BYTES:
        raise UsageError(f"{source_name} is too long for a list of models", hint="Check the path after -r.")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # As some shells of Windows write it.
        return content.decode("utf-16", "replace")
    return content.decode("utf-8-sig", "surrogateescape")


def _content(path: Path) -> bytes:
    """What the list holds, up to a byte too many. Raises OSError."""
    content = b""
    with open_stream(path, _FIFO_WAIT_S) as file:
        while len(content) <= _MAX_LIST_BYTES and (piece := file.read(1 << 20)):
            content += piece
    return content


def listed(text: str, name: str) -> Iterator[Requirement]:
    """What the lines ask for. Raises UsageError, with file and line, where one can't be understood."""
    _require_merged(text, "standard input" if name == "-" else name)
    for number, line in enumerate(text.splitlines(), start=1):
        entry = re.sub(_COMMENT, "", line).strip()
        if not entry:
            continue
        where = f"{'standard input' if name == '-' else name}, line {number}"
        option = re.search(_OPTION, entry)
        end = option.start() if option else len(entry)
        handle, expected = entry[:end].strip(), entry[end:]
        match = re.fullmatch(_DIGEST_OPTION, expected)
        if "\0" in entry or (expected and match is None):
            raise UsageError(
                f"{where} is invalid: {expected.strip() or entry!r}",
                hint="Use a handle per line, optionally followed by --sha256=HEX.",
            )
        yield Requirement(handle, match["hex"].lower() if match else None, where)
