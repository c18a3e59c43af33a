"""Options, requests and results of `fetch`.

The options of one fetch, with the digests that its model must have; and the models that are typed or listed
in files, a handle a line, as one list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from hubcli.archive import FileRecord, Limits
from hubcli.cache.cached_model import CachedModel
from hubcli.cache.records import Manifest
from hubcli.config.settings import Settings
from hubcli.errors import ChecksumError, HandleError, HubcliError, Interrupted, UsageError
from hubcli.providers.handle import Handle
from hubcli.urls import without_secrets

if TYPE_CHECKING:
    from hubcli.fetching.lock_file import LockFile

__all__ = [
    "ExpectedDigests",
    "FetchOptions",
    "FetchRequest",
    "FetchResult",
    "RequestList",
    "Requirement",
    "fetch_requests",
    "models_of",
]


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """Options of a fetch.

    `local` is an archive, a directory, or `-` for standard input, to be imported as the handle; `sha256` is
    the hash in hex that the archive must have, `tree_sha256` the digest of its files as
    `hubcli.archive.tree` defines it. `pin` protects the model from collection, `refresh` checks an
    unversioned one for a newer version, `kagglehub` makes one from Kaggle available to kagglehub. A large
    archive is downloaded over `connections` connections; a transient error is retried `retries` times in a
    row. Both are those of the settings where they are 0 and -1.
    """

    local: str | None = None
    sha256: str | None = None
    tree_sha256: str | None = None
    force: bool = False
    pin: bool = False
    refresh: bool = False
    kagglehub: bool = False
    limits: Limits = field(default_factory=Limits)
    connections: int = 0
    retries: int = -1

    def __post_init__(self) -> None:
        if self.local == "":
            raise UsageError(
                "--from is empty", hint="Specify an archive or a directory, or - for standard input."
            )
        if self.local is not None and self.refresh:
            raise UsageError("--refresh and --from cannot be used together", hint="Use only one of them.")
        ExpectedDigests(self.sha256, self.tree_sha256)

    def completed(self, settings: Settings) -> FetchOptions:
        """The options with the connections and retries of the settings where none are given."""
        connections = self.connections if self.connections > 0 else settings.connections
        retries = self.retries if self.retries >= 0 else settings.retries
        return replace(self, connections=connections, retries=retries)

    @property
    def shown_to(self) -> tuple[str, ...]:
        """The names of the other tools whose caches are to show the model."""
        return ("kagglehub",) if self.kagglehub else ()

    @property
    def expected(self) -> ExpectedDigests:
        """What the model must be."""
        return ExpectedDigests(self.sha256, self.tree_sha256)


@dataclass(frozen=True, slots=True)
class FetchResult:
    """A model in the cache. `size_bytes` is what its files take, unpacked; `tier` is where it came from."""

    handle: str
    path: Path
    source: str | None
    size_bytes: int
    file_count: int
    archive_sha256: str | None
    seconds: float
    was_cached: bool
    tier: str | None = None


_SHA256 = r"[0-9a-f]{64}"


@dataclass(frozen=True, slots=True)
class ExpectedDigests:
    """The SHA-256 that the archive must have, and the digest of the tree of files; None for any.

    Raises UsageError if one is not a SHA-256 in hex. All checks raise ChecksumError.
    """

    archive_sha256: str | None = None
    tree_sha256: str | None = None

    def __post_init__(self) -> None:
        for text in (self.archive_sha256, self.tree_sha256):
            if text is not None and not re.fullmatch(_SHA256, text):
                raise UsageError(f"Invalid SHA-256 '{text}'", hint="Use 64 digits, 0-9 and a-f.")

    def check_archive(self, name: str, sha256: str | None) -> None:
        """Whether what came from there has the hash."""
        if self.archive_sha256 not in (None, sha256):
            raise ChecksumError(
                f"SHA-256 mismatch for {name}: expected {self.archive_sha256}, got {sha256 or '(none)'}",
                hint="Check the expected SHA-256, or fetch an archive that has it.",
            )

    def check_unpacked(self, name: str, files: Sequence[FileRecord]) -> None:
        """Whether the files that were unpacked from there are those."""
        if self.tree_sha256 is None:
            return
        from hubcli.archive.tree import tree_digest  # Most fetches expect no digest.

        if (digest := tree_digest(files)) != self.tree_sha256:
            raise ChecksumError(
                f"{name} differs from the lock file: expected digest {self.tree_sha256}, got {digest}",
                hint="If you trust the change, lock it again: --lock without --locked.",
            )

    def check_entry(self, handle: str, entry: CachedModel, on_bytes: Callable[[int], None]) -> None:
        """Whether the cached model is that one: by its files, read now, or else by its archive's record."""
        if self.tree_sha256 is not None:
            self.check_directory(handle, entry.path, entry.manifest, on_bytes)
            return
        known = entry.manifest.archive_sha256 if entry.manifest is not None else None
        if self.archive_sha256 in (None, known):
            return
        what = "of an archive with another SHA-256" if known else "without a record of its archive's SHA-256"
        raise ChecksumError(
            f"The cached copy of {handle} is {what}" + (f": {known}" if known else ""),
            hint=f"Run: hubcli fetch --force --sha256 {self.archive_sha256} {handle}",
        )

    def check_directory(
        self, handle: str, top: Path, manifest: Manifest | None, on_bytes: Callable[[int], None]
    ) -> None:
        """Whether the files below `top`, read now, are those; the manifest helps to tell which one isn't."""
        if self.tree_sha256 is None:
            return
        from hubcli.archive.tree import hashed_files, tree_digest

        files = hashed_files(top, on_bytes)
        if (digest := tree_digest(files)) == self.tree_sha256:
            return
        what = _difference(manifest.files if manifest is not None else (), files)
        cached, replaced = "", ""
        if manifest is not None:
            cached, replaced = "The cached copy of ", "To replace it with the locked model: --force. "
        raise ChecksumError(
            f"{cached}{handle} differs from the lock file: "
            + (what or f"digest of its files: expected {self.tree_sha256}, got {digest}"),
            hint=f"{replaced}To lock what is cached: --lock without --locked.",
        )


def _difference(recorded: Sequence[FileRecord], found: Sequence[FileRecord]) -> str:
    """The first file that isn't as it was fetched; nothing where all are, or where no hashes are recorded."""
    before, now = {file.path: file for file in recorded}, {file.path: file for file in found}
    if not before or any(file.sha256 is None for file in recorded):
        return ""
    for path in sorted({*before, *now}):
        if path not in now:
            return f"{path} is missing"
        if path not in before:
            return f"{path} was added"
        if before[path] != now[path]:
            return f"{path} differs from what was fetched"
    return ""


_Outcome = TypeVar("_Outcome")


class Requirement(NamedTuple):
    """A handle as it was typed, and where. `sha256` is what its archive must have, in hex."""

    text: str
    sha256: str | None = None
    where: str = "the command line"


class RequestList(NamedTuple):
    """All requirements, in their order; `lock` joins the lists that are lock files."""

    requirements: tuple[Requirement, ...]
    lock: LockFile | None = None

    @classmethod
    def of(cls, handles: Sequence[str], lists: Sequence[str], sha256: str | None = None) -> RequestList:
        """What the command line asks for, then each list, in their order. Raises UsageError."""
        if lists.count("-") > 1:
            raise UsageError("-r - is given twice", hint="Use -r - once.")
        requirements = [Requirement(handle, sha256) for handle in handles]
        lock: LockFile | None = None
        for name in lists:
            # Imported here: most fetches are of handles alone. It knows what this module defines.
            from hubcli.fetching.lock_file import LockFile, listed, read_list

            text = read_list(name)
            if LockFile.is_one(text):
                found = LockFile.parse(text, name)
                requirements += [Requirement(handle, where=name) for handle in found.models]
                lock = found if lock is None else lock.joined(found)
            else:
                requirements += listed(text, name)
        return cls(tuple(requirements), lock)


class FetchRequest(NamedTuple):
    """A model to fetch, requested once or several times.

    `handle` is None, and `error` says why, if its spelling is invalid; `spellings` are the handles of
    further times. `sha256` is what its archive must have, `tree_sha256` the digest of its files.
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
        """The request with the version and digests of the lock file; with an error if that lacks it."""
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
                f"{self.name} has a different expected SHA-256 in {lock.name}",
                hint="Lock it again, or correct the hash.",
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
        """What `do` returns for the handle and the options, with the digests of this model; or its error.

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


def fetch_requests(requirements: Iterable[Requirement]) -> tuple[FetchRequest, ...]:
    """Each model once, in the order in which they were first requested.

    Raises UsageError if two different hashes are expected of one archive.
    """
    models: dict[str, FetchRequest] = {}
    for requirement in requirements:
        request = _parsed(requirement)
        key = request.text if request.handle is None else request.handle.cache_key
        first = models.get(key)
        models[key] = request if first is None else _joined(first, request, requirement.where)
    return tuple(models.values())


def _parsed(requirement: Requirement) -> FetchRequest:
    try:
        return FetchRequest(requirement.text, Handle.parse(requirement.text), None, requirement.sha256)
    except HandleError as error:
        return FetchRequest(requirement.text, None, error, requirement.sha256)


def _joined(first: FetchRequest, again: FetchRequest, where: str) -> FetchRequest:
    if first.sha256 and again.sha256 and first.sha256 != again.sha256:
        raise UsageError(
            f"{where}: different SHA-256 for {first.name} than before", hint="Remove the wrong line."
        )
    spellings = first.spellings if again.handle is None else (*first.spellings, again.handle)
    return first._replace(sha256=first.sha256 or again.sha256, spellings=spellings)


def models_of(
    requests: RequestList, lock: str | None, *, locked: bool
) -> tuple[tuple[FetchRequest, ...], LockFile | None]:
    """The models to fetch, and the lock file to write what was fetched into.

    With `locked` they are as that file says, or the lists that are lock files,
    and none is written. Raises UsageError.
    """
    models = fetch_requests(requests.requirements)
    if lock is None and not locked:
        return models, None  # As nearly always, and then no lock file needs to be understood.
    from hubcli.fetching.lock_file import LockFile

    if not locked:
        return models, None if lock is None else LockFile.at(Path(lock))
    lock_file = requests.lock
    if lock is not None:
        named = LockFile.read(Path(lock))
        lock_file = named if lock_file is None else named.joined(lock_file)
    if lock_file is None:
        raise UsageError("--locked requires a lock file", hint="Specify one: --lock FILE, or -r FILE.")
    return tuple(model.locked_by(lock_file) for model in models), None
