"""Whether a directory can be written, found out by doing what a download does, and undoing it."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

__all__ = ["is_directory", "nearest_directory", "try_writing"]

_NO_MODEL = "0" * 40


def nearest_directory(path: Path) -> Path:
    """The path, or the nearest of its parents, that is a directory."""
    return next((one for one in (path, *path.parents) if is_directory(one)), path)


def is_directory(path: Path) -> bool:
    """Whether it is one; False where that can't be seen, which Path.is_dir raises for."""
    return os.path.isdir(path)  # noqa: PTH112


def try_writing(root: Path) -> None:
    """Makes the directory if it isn't there, writes a file into it, links to it, renames and removes it.

    Leaves nothing, and what a kill in between leaves `gc` collects. Raises OSError where a step fails.
    """
    made = _make(root)
    name = f"{_NO_MODEL}.lock.tmp{uuid.uuid4().hex}"
    file, link = root / name, root / f"{_NO_MODEL}.link.tmp{uuid.uuid4().hex}"
    renamed = root / f"{_NO_MODEL}.lock.tmp{uuid.uuid4().hex}"
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write("hubcli doctor")
        link.symlink_to(name)
        file.rename(renamed)
    finally:
        for path in (link, file, renamed):
            with suppress(OSError):
                path.unlink()
        for directory in reversed(made):
            with suppress(OSError):  # Another process has put something into it meanwhile.
                directory.rmdir()


def _make(root: Path) -> list[Path]:
    """The directories that had to be made, the outermost first."""
    missing = [path for path in (root, *root.parents) if not os.path.lexists(path)]
    made = list[Path]()
    try:
        for path in reversed(missing):
            path.mkdir()
            made.append(path)
    except OSError:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir()
        raise
    return made
