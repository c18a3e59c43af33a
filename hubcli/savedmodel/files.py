"""The files of a model that is to be read: a directory, or what was taken out of an archive."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hubcli.errors import BrokenModelError
from hubcli.formats.bundle import BundleIndex
from hubcli.formats.files import INDEX_FILE, MAIN_FILES
from hubcli.savedmodel.info import Asset, Sizes

__all__ = ["ModelFiles"]

_MAX_INDEX_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The directory `top` holds at least the main file and the index, as far as the model has one.

    `sizes_bytes` are those of all files that are known, by path; `is_complete`
    says that there are no others.
    """

    top: Path
    sizes_bytes: Mapping[str, int]
    is_complete: bool = True

    @classmethod
    def of_directory(cls, top: Path) -> ModelFiles:
        """All files below the directory. Raises OSError."""
        sizes = {}
        for folder, _, names in os.walk(top, onerror=_raise):
            for name in names:
                path = Path(folder, name)
                if path.is_file():  # Not a link that leads nowhere.
                    sizes[path.relative_to(top).as_posix()] = path.stat().st_size
        return cls(top, sizes)

    def index(self) -> BundleIndex | None:
        """The index of the checkpoint, None where the model has none; raises BrokenModelError."""
        file = self.top / INDEX_FILE
        if not file.is_file():
            return None
        if file.stat().st_size > _MAX_INDEX_BYTES:
            raise BrokenModelError(f"{INDEX_FILE} is larger than 256 MiB")
        try:
            return BundleIndex.read(file.read_bytes())
        except BrokenModelError as error:
            raise BrokenModelError(f"{INDEX_FILE}: {error.message}") from error

    def has(self, path: str) -> bool:
        """Whether the file is there."""
        return path in self.sizes_bytes

    def asset(self, path: str) -> Asset:
        """The declared asset of that path, as it is or isn't there."""
        size = self.sizes_bytes.get(path)
        return Asset(path, size, True if size is not None else False if self.is_complete else None)

    def sizes(self) -> Sizes:
        """The bytes by part of the model."""
        parts = {"graph": 0, "variables": 0, "assets": 0, "other": 0}
        for path, size in self.sizes_bytes.items():
            folder, _, rest = path.partition("/")
            part = "graph" if path in MAIN_FILES else folder if rest and folder in parts else "other"
            parts[part] += size
        if self.is_complete:
            return Sizes(**parts)
        return Sizes(parts["graph"], None, None, None)


def _raise(error: OSError) -> None:
    raise error
