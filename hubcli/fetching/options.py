"""What `fetch` is asked for, the digests that a model must have, and what `fetch` tells of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hubcli.archive.members import FileRecord, Limits
from hubcli.archive.tree import hashed_files, tree_digest
from hubcli.cache.cached_model import CachedModel
from hubcli.cache.records import Manifest
from hubcli.config.settings import Settings
from hubcli.errors import ChecksumError, UsageError

__all__ = ["ExpectedDigests", "FetchOptions", "FetchResult"]


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """What the caller asks for beyond the handle.

    `local` is an archive, a directory, or `-` for standard input, to be put
    under the handle; `sha256` is the hash that the archive must have, in hex, and
    `tree_sha256` the digest of the files that `hubcli.archive.tree` defines.
    `pin` keeps the model from collection, `refresh` asks whether an unversioned
    one has changed, `kagglehub` shows one of Kaggle to kagglehub too. A large archive comes over so many
    `connections`; a transient error is retried `retries` times in a row. Both are those of the settings
    where they are 0 and -1.
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
                "--from is empty", hint="Name an archive or a directory, or - for standard input."
            )
        if self.local is not None and self.refresh:
            raise UsageError("--refresh asks a host, and --from doesn't", hint="Leave one of them out.")
        ExpectedDigests(self.sha256, self.tree_sha256)

    def completed(self, settings: Settings) -> FetchOptions:
        """The same, with the connections and retries of the settings where none are asked for."""
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
    """A model that is in the cache now. `size_bytes` is what its files take, unpacked."""

    handle: str
    path: Path
    source: str | None
    size_bytes: int
    file_count: int
    archive_sha256: str | None
    seconds: float
    was_cached: bool


_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ExpectedDigests:
    """The SHA-256 that the archive must have, and the digest of the tree of files; None for any.

    Raises UsageError where one is no SHA-256 in hex. All checks raise ChecksumError.
    """

    archive_sha256: str | None = None
    tree_sha256: str | None = None

    def __post_init__(self) -> None:
        for text in (self.archive_sha256, self.tree_sha256):
            if text is not None and not _SHA256.fullmatch(text):
                raise UsageError(f"'{text}' is no SHA-256", hint="It has 64 digits, 0-9 and a-f.")

    def check_archive(self, name: str, sha256: str | None) -> None:
        """Whether what came from there has the hash."""
        if self.archive_sha256 not in (None, sha256):
            raise ChecksumError(
                f"{name} has the SHA-256 {sha256 or '(none)'}, not {self.archive_sha256}",
                hint="Somebody changed the archive, or the promised hash is of another one.",
            )

    def check_unpacked(self, name: str, files: Sequence[FileRecord]) -> None:
        """Whether the files that were unpacked from there are those."""
        if self.tree_sha256 not in (None, digest := tree_digest(files)):
            raise ChecksumError(
                f"{name} holds other files than the lock file says: their digest is {digest}, "
                f"not {self.tree_sha256}",
                hint="Somebody changed the model. If you trust it, lock it anew: --lock without --locked.",
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
            hint=f"To fetch it again: hubcli fetch --force --sha256 {self.archive_sha256} {handle}",
        )

    def check_directory(
        self, handle: str, top: Path, manifest: Manifest | None, on_bytes: Callable[[int], None]
    ) -> None:
        """Whether the files below `top`, read now, are those; the manifest helps to tell which one isn't."""
        if self.tree_sha256 is None:
            return
        files = hashed_files(top, on_bytes)
        digest = tree_digest(files)
        if digest == self.tree_sha256:
            return
        what = _difference(manifest.files if manifest is not None else (), files)
        cached, replaced = "", ""
        if manifest is not None:
            cached, replaced = "The cached copy of ", "To put what is locked in its place: --force. "
        raise ChecksumError(
            f"{cached}{handle} isn't what the lock file says: "
            + (what or f"the digest of its files is {digest}, not {self.tree_sha256}"),
            hint=f"{replaced}To lock what is there: --lock without --locked.",
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
            return f"{path} was added to it"
        if before[path] != now[path]:
            return f"{path} isn't what was fetched"
    return ""
