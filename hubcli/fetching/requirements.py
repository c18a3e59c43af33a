"""Lists of models: a file with a handle a line, and several of them with what is typed, as one."""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from hubcli.cache.cached_model import CachedModel
from hubcli.cache.layout import EntryPaths
from hubcli.cache.store import Store
from hubcli.durability import SYNCED, Durability
from hubcli.errors import HandleError, HubcliError, Interrupted, UsageError
from hubcli.fetching.lock_file import LockFile, require_merged
from hubcli.fetching.options import FetchOptions
from hubcli.providers.handle import Handle
from hubcli.regular_file import open_stream
from hubcli.urls import without_secrets

__all__ = ["FetchRequest", "RequestList", "Requirement", "fetch_requests", "models_of"]

_Outcome = TypeVar("_Outcome")

_MAX_LIST_BYTES = 16 << 20
_FIFO_WAIT_S = 30.0
# As in pip's lists: a fragment of a URL has no space before it.
_COMMENT = re.compile(r"(^|\s)#.*")
_OPTION = re.compile(r"\s--")
_PROMISE = re.compile(r"\s--sha256(?:=|\s+)(?P<hex>[0-9A-Fa-f]{64})")


class Requirement(NamedTuple):
    """A handle as it was typed, and where. `sha256` is what its archive must have, in hex."""

    text: str
    sha256: str | None = None
    where: str = "the command line"


class RequestList(NamedTuple):
    """All that was asked for, in its order; `lock` joins the lists that are lock files."""

    requirements: tuple[Requirement, ...]
    lock: LockFile | None = None

    @classmethod
    def of(cls, handles: Sequence[str], lists: Sequence[str], sha256: str | None = None) -> RequestList:
        """What the command line asks for, then each list, in their order. Raises UsageError."""
        if lists.count("-") > 1:
            raise UsageError("Standard input is one list", hint="Write -r - once.")
        requirements = [Requirement(handle, sha256) for handle in handles]
        lock: LockFile | None = None
        for name in lists:
            text = _read(name)
            if LockFile.is_one(text):
                found = LockFile.parse(text, name)
                requirements += [Requirement(handle, where=name) for handle in found.models]
                lock = found if lock is None else lock.joined(found)
            else:
                requirements += _listed(text, name)
        return cls(tuple(requirements), lock)


class FetchRequest(NamedTuple):
    """A model that was asked for, once or several times.

    `handle` is None, and `error` why, where its spelling can't be understood.
    `spellings` are the handles of further times.
    `sha256` is what its archive must have, `tree_sha256` the digest of its files.
    """

    text: str
    handle: Handle | None = None
    error: HubcliError | None = None
    sha256: str | None = None
    tree_sha256: str | None = None
    spellings: tuple[Handle, ...] = ()

    @property
    def name(self) -> str:
        """What it is called in messages: never with secrets."""
        return str(self.handle) if self.handle is not None else without_secrets(self.text)

    def locked_by(self, lock: LockFile) -> FetchRequest:
        """The same as the lock file says that it must be; with an error where it doesn't know it."""
        if self.handle is None:
            return self
        model = lock.models.get(self.name)
        if model is None:
            error = UsageError(
                f"{self.name} is not in {lock.name}", hint=f"Add it: hubcli fetch {self.name} --lock FILE"
            )
            return self._replace(error=error)
        expected = model.expected
        if self.sha256 is not None and expected.archive_sha256 not in (None, self.sha256):
            error = UsageError(
                f"{self.name} is promised with another SHA-256 than {lock.name} says",
                hint="Lock it anew, or correct the hash.",
            )
            return self._replace(error=error)
        return self._replace(
            handle=model.to_fetch,
            sha256=self.sha256 or expected.archive_sha256,
            tree_sha256=expected.tree_sha256,
        )

    def attempt(
        self, options: FetchOptions, do: Callable[[Handle, FetchOptions], _Outcome]
    ) -> _Outcome | HubcliError:
        """What `do` makes of the handle, by the options with what is promised of this model; or the error.

        Only Interrupted is raised.
        """
        if self.error is not None:
            return self.error
        assert self.handle is not None
        try:
            return do(self.handle, replace(options, sha256=self.sha256, tree_sha256=self.tree_sha256))
        except Interrupted:
            raise
        except HubcliError as error:
            return error

    def link_spellings(self, root: Path, key: str, durability: Durability = SYNCED) -> None:
        """Lets `hub.load` find the entry of that key under what was typed further times."""
        entry = CachedModel.read(EntryPaths(root, key))
        for handle in self.spellings:
            if not handle.is_directory:
                Store(root, durability).link_aliases(handle, entry)


def _read(name: str) -> str:
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
        raise UsageError(f"{source_name} can't be read: {reason}", hint="Check the path after -r.") from error
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


def _listed(text: str, name: str) -> Iterator[Requirement]:
    """What the lines ask for. Raises UsageError, with file and line, where one can't be understood."""
    require_merged(text, "standard input" if name == "-" else name)
    for number, line in enumerate(text.splitlines(), start=1):
        entry = _COMMENT.sub("", line).strip()
        if not entry:
            continue
        where = f"{'standard input' if name == '-' else name}, line {number}"
        option = _OPTION.search(entry)
        handle, expected = (
            (entry[: option.start()].strip(), entry[option.start() :]) if option else (entry, "")
        )
        match = _PROMISE.fullmatch(expected)
        if "\0" in entry or (expected and match is None):
            raise UsageError(
                f"{where}, can't be understood: {expected.strip() or entry!r}",
                hint="A line holds a handle, and behind it perhaps --sha256=HEX with 64 digits.",
            )
        yield Requirement(handle, match["hex"].lower() if match else None, where)


def fetch_requests(requirements: Iterable[Requirement]) -> tuple[FetchRequest, ...]:
    """Each model once, in the order in which they were first asked for.

    Raises UsageError where two hashes are promised of one archive.
    """
    models: dict[str, FetchRequest] = {}
    for requirement in requirements:
        request = _understood(requirement)
        key = request.text if request.handle is None else request.handle.cache_key
        first = models.get(key)
        models[key] = request if first is None else _joined(first, request, requirement.where)
    return tuple(models.values())


def _understood(requirement: Requirement) -> FetchRequest:
    try:
        return FetchRequest(requirement.text, Handle.parse(requirement.text), None, requirement.sha256)
    except HandleError as error:
        return FetchRequest(requirement.text, None, error, requirement.sha256)


def _joined(first: FetchRequest, again: FetchRequest, where: str) -> FetchRequest:
    if first.sha256 and again.sha256 and first.sha256 != again.sha256:
        raise UsageError(
            f"{where}, promises another SHA-256 of {first.name} than before",
            hint="An archive has one: remove the wrong line.",
        )
    spellings = first.spellings if again.handle is None else (*first.spellings, again.handle)
    return first._replace(sha256=first.sha256 or again.sha256, spellings=spellings)


def models_of(
    order: RequestList, lock: str | None, *, locked: bool
) -> tuple[tuple[FetchRequest, ...], LockFile | None]:
    """The models to fetch, and the lock file to write what was fetched into.

    With `locked` they are as that file says, or the lists that are lock files,
    and none is written. Raises UsageError.
    """
    models = fetch_requests(order.requirements)
    if not locked:
        return models, LockFile.at(Path(lock)) if lock is not None else None
    lock_file = order.lock
    if lock is not None:
        named = LockFile.read(Path(lock))
        lock_file = named if lock_file is None else named.joined(lock_file)
    if lock_file is None:
        raise UsageError("--locked without a lock file", hint="Name one: --lock FILE, or -r FILE.")
    return tuple(model.locked_by(lock_file) for model in models), None
