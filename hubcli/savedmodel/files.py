"""The files of a model that is to be read: a directory, or what was taken out of an archive."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hubcli.formats import MAIN_FILES
from hubcli.formats.tensor_bundle import BundleIndex
from hubcli.regular_file import open_regular
from hubcli.savedmodel.model import Asset, Sizes
from hubcli.savedmodel.model_format import read_index

__all__ = ["ModelFiles"]

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The directory `top` holds at least the main file and the index, as far as the model has one.

    `sizes_bytes` are those of all files that are known, by path; `is_complete`
    says that there are no others. `links_out` are symbolic links to files
    outside of the model.
    """

    top: Path
    sizes_bytes: Mapping[str, int]
    is_complete: bool = True
    links_out: tuple[str, ...] = ()

    @classmethod
    def of_directory(cls, top: Path) -> ModelFiles:
        """All files below the directory; none where that is no model. Raises OSError."""
        sizes, links = dict[str, int](), list[str]()
        if not any(path.name in MAIN_FILES for path in top.iterdir()):
            return cls(top, sizes)
        inside = os.path.realpath(top)
        for folder, _, names in os.walk(top, onerror=_raise):
            for name in names:
                path = Path(folder, name)
                # Unlike Path.resolve, this bears links that lead to themselves.
                if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                    links.append(path.relative_to(top).as_posix())
                if path.is_file():  # Not a link that leads nowhere.
                    sizes[path.relative_to(top).as_posix()] = path.stat().st_size
        return cls(top, sizes, links_out=tuple(links))

    def index(self) -> BundleIndex | None:
        """The index of the checkpoint, None where the model has none; raises BrokenModelError, OSError."""
        return read_index(self.top / "variables")

    def has(self, path: str) -> bool:
        """Whether the file is there."""
        return path in self.sizes_bytes

    def asset(self, path: str, *, is_hashed: bool = False) -> Asset:
        """The declared asset of that path, as it is or isn't there; with its SHA-256 where asked for."""
        size = self.sizes_bytes.get(posixpath.normpath(path))
        digest = None
        if is_hashed and self.is_complete and size is not None:
            digest = _sha256(self.top / path)
        return Asset(path, size, True if size is not None else False if self.is_complete else None, digest)

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


def _sha256(file: Path) -> str:
    import hashlib  # For a comparison alone, and it takes 4 ms to load.

    digest = hashlib.sha256()
    with open_regular(file) as opened:
        while piece := opened.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _raise(error: OSError) -> None:
    raise error
