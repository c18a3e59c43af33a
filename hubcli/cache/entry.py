"""A cached model, as its files and records tell."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hubcli.cache.descriptor import Descriptor
from hubcli.cache.layout import EntryPaths, is_key
from hubcli.cache.manifest import Manifest

__all__ = ["Entry"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A model's directory with what is recorded about it.

    An entry of tensorflow_hub has no manifest, and may have no descriptor;
    where there is a manifest, the descriptor is not read.
    """

    paths: EntryPaths
    manifest: Manifest | None
    descriptor: Descriptor | None

    @classmethod
    def read(cls, paths: EntryPaths) -> Entry:
        """The entry with its records as they are now."""
        manifest = Manifest.read(paths.manifest_text)
        # The manifest tells all that the descriptor does.
        return cls(paths, manifest, Descriptor.read(paths.descriptor) if manifest is None else None)

    @classmethod
    def at(cls, directory: Path, root: Path) -> Entry | None:
        """The entry whose directory was named by its path, as `hubcli fetch` prints it; None for others."""
        try:
            resolved = directory.resolve()
            is_ours = is_key(resolved.name) and resolved.parent == root.resolve()
        except (OSError, RuntimeError):
            return None
        return cls.read(EntryPaths(root, resolved.name)) if is_ours else None

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

    def difference(self, top: Path | None = None) -> str | None:
        """What differs between the manifest's list and the files below `top`; None where nothing does.

        `top` is the model's directory if it isn't given. Compared are names and
        sizes; what was added beside them does no harm. Without a manifest
        nothing can differ.
        """
        if self.manifest is None:
            return None
        folder = self.paths.model_text if top is None else top
        for file in self.manifest.files:
            try:
                status = os.lstat(f"{folder}/{file.path}")
            except (FileNotFoundError, NotADirectoryError):
                return f"{file.path} is missing"
            except OSError as error:
                return f"{file.path} can't be looked at: {error.strerror}"
            if status.st_size != file.size_bytes or not stat.S_ISREG(status.st_mode):
                return f"{file.path} has {status.st_size} bytes instead of {file.size_bytes}"
        return None

    def fetched_at_s(self) -> float | None:
        """When it was downloaded, in seconds since 1970, as the records or else the directory tell."""
        if self.manifest is not None:
            return self.manifest.fetched_at_s
        if self.descriptor is not None and self.descriptor.downloaded_at_s is not None:
            return self.descriptor.downloaded_at_s
        return _modified_at_s(self.path)

    def last_used_at_s(self) -> float | None:
        """When it was last asked for, in seconds since 1970; None where nothing tells."""
        return self.fetched_at_s() if self.manifest is None else self.manifest.used_at_s

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
