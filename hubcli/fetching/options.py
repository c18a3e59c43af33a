"""What `fetch` is asked for, and what it tells of a model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from hubcli.archive.members import Limits
from hubcli.config.settings import Settings
from hubcli.errors import UsageError
from hubcli.fetching.expected_digests import ExpectedDigests

__all__ = ["FetchOptions", "FetchResult"]


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
