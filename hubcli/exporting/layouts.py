"""What an export can write: light words, which the command line and the placement share."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

from hubcli.atomic_files import hidden_beside

__all__ = ["INDEX_NAME", "ExportFormat", "Layout", "publish_newest"]


class ExportFormat(str, Enum):
    """How a model is written: as a directory, or as an archive."""

    DIRECTORY = "dir"
    TAR = "tar"
    TAR_GZ = "tar.gz"


class Layout(str, Enum):
    """What stands at the destination: the model, a tree of TensorFlow Serving, or one of a TF Hub host."""

    PLAIN = "plain"
    SERVING = "serving"
    HUB = "hub"


INDEX_NAME = "index.html"


def publish_newest(model: Path) -> str | None:
    """Lets `index.html` in the model's directory lead to its newest version; why not, else None.

    It is a relative link, which `cp -a`, rsync and tar keep, and copying follows. One that is
    somebody's own file or link stays. Another process may export a version at the same time.
    """
    index = model / INDEX_NAME
    if os.path.lexists(index) and not _is_ours(index):
        return f"{index} is not of hubcli's making and stays: a handle without a version doesn't work there"
    newest = max(_versions(model), key=lambda one: int(one.name), default=None)
    if newest is None:
        return None
    temporary = hidden_beside(index)
    try:
        try:
            temporary.symlink_to(newest.name)
        except OSError:  # A file system without symbolic links.
            os.link(newest, temporary)
        temporary.replace(index)
    except OSError as error:
        reason = error.strerror or error
        return f"{index} can't be made ({reason}): a handle without a version doesn't work there"
    finally:
        temporary.unlink(missing_ok=True)
    return None


def _versions(model: Path) -> list[Path]:
    return [one for one in model.iterdir() if _is_version(one.name) and one.is_file()]


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _is_ours(index: Path) -> bool:
    """Whether it is a link to a version beside it, whether that is still there or not."""
    if index.is_symlink():
        return _is_version(str(index.readlink()))
    return index.is_file() and any(index.samefile(one) for one in _versions(index.parent))
