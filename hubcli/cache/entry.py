"""A cached model, as its files and records tell."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hubcli.cache.descriptor import Descriptor
from hubcli.cache.disk import file_sizes
from hubcli.cache.layout import EntryPaths
from hubcli.cache.manifest import Manifest

__all__ = ["Entry"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A model's directory with what is recorded about it.

    An entry of tensorflow_hub has no manifest, and may have no descriptor.
    """

    paths: EntryPaths
    manifest: Manifest | None
    descriptor: Descriptor | None

    @classmethod
    def read(cls, paths: EntryPaths) -> Entry:
        """The entry with its records as they are now."""
        return cls(paths, Manifest.read(paths.manifest), Descriptor.read(paths.descriptor))

    @property
    def path(self) -> Path:
        """The model's directory."""
        return self.paths.model

    @property
    def handle(self) -> str | None:
        """The handle that the records name, None where there are no records."""
        if self.manifest is not None:
            return self.manifest.handle
        return self.descriptor.handle if self.descriptor is not None else None

    def difference(self, sizes: dict[str, int] | None = None) -> str | None:
        """What differs between the files and the manifest's list; None where nothing does.

        Compared are names and sizes; `sizes` saves a look at the disk. Without
        a manifest nothing can differ.
        """
        if self.manifest is None:
            return None
        sizes = file_sizes(self.path) if sizes is None else sizes
        expected = self.manifest.expected_sizes
        for path, size in expected.items():
            if path not in sizes:
                return f"{path} is missing"
            if sizes[path] != size:
                return f"{path} has {sizes[path]} bytes instead of {size}"
        return next((f"{path} was added" for path in sizes if path not in expected), None)

    def fetched_at_s(self) -> float | None:
        """When it was downloaded, in seconds since 1970, as the records or else the directory tell."""
        if self.manifest is not None:
            return self.manifest.fetched_at_s
        if self.descriptor is not None and self.descriptor.downloaded_at_s is not None:
            return self.descriptor.downloaded_at_s
        return _modified_at_s(self.path)

    def last_used_at_s(self) -> float | None:
        """When it was last asked for, in seconds since 1970; None where nothing tells.

        The modification time of the manifest counts: a hit only touches it, so
        that no two processes ever write over each other's records.
        """
        if self.manifest is None:
            return self.fetched_at_s()
        return max(self.manifest.last_used_at_s, _modified_at_s(self.paths.manifest) or 0)

    def touch(self) -> None:
        """Remembers that the entry was used now; does nothing in a cache that can't be written."""
        with suppress(OSError):
            now = time.time()
            os.utime(self.paths.manifest, (now, now))


def _modified_at_s(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
