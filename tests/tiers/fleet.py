"""Machines of a fleet: each with a cache of its own, one origin, one tier in a directory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from hubcli.commands.fetch import FetchOptions, FetchResult, fetch
from hubcli.config.settings import Mirror, Settings
from hubcli.config.tiers import TierConfig
from hubcli.durability import UNSYNCED
from hubcli.net.directory_store import DirectoryStore
from hubcli.progress import ProgressListener
from hubcli.tiers.layout import blob_key
from hubcli.tiers.tier import SharedTier
from tests import models
from tests.server import HubServer

__all__ = ["HANDLE", "UNVERSIONED", "Fleet", "Notes"]

HANDLE = "https://tfhub.dev/maker/model/1"
UNVERSIONED = "https://models.example/model.tar.gz"


class Notes(ProgressListener):
    """Records the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Fleet:
    """The machines share what is in `folder`; the origin is asked by a mirror."""

    folder: Path
    server: HubServer
    base: Settings
    packed: bytes = field(default_factory=models.archive)
    query: str = "?mode=read-write&lease=60s"
    more: tuple[str, ...] = ()
    machines: int = 0
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.serve("/maker/model/1", self.packed)
        self.server.serve("/model.tar.gz", self.packed)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.packed).hexdigest()

    @property
    def blob(self) -> Path:
        return self.folder / blob_key(self.sha256)

    @property
    def store(self) -> DirectoryStore:
        return DirectoryStore(self.folder, UNSYNCED)

    @property
    def tier(self) -> SharedTier:
        return SharedTier(self.store, TierConfig.parse(f"{self.folder}{self.query}"))

    @property
    def downloads(self) -> int:
        return sum(request.method == "GET" for request in self.server.requests)

    def settings(self, **changes: object) -> Settings:
        """Those of a new machine."""
        self.machines += 1
        tiers = tuple(TierConfig.parse(text) for text in (f"{self.folder}{self.query}", *self.more))
        prefixes = ("https://tfhub.dev", "https://models.example")
        return replace(
            self.base,
            cache_root=self.base.cache_root / f"machine-{self.machines}",
            mirrors=tuple(Mirror(prefix, self.server.url) for prefix in prefixes),
            tiers=tiers,
            **changes,  # type: ignore[arg-type]
        )

    def fetch(
        self, handle: str = HANDLE, options: FetchOptions | None = None, **changes: object
    ) -> FetchResult:
        """What a new machine gets; `notes` are what it was told."""
        listener = Notes()
        self.notes = listener.notes
        result = fetch(handle, self.settings(**changes), options, listener)
        assert models.tree_files(result.path) == models.example_files()
        return result
