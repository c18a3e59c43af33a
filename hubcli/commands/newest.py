"""The newest version of a model in a tree of archives, as what its directory answers.

A handle without a version asks a host for `/publisher/model`. Where that is a directory, static web
servers redirect to `/publisher/model/` and send the directory's index file, `index.html` by default:
nginx, Apache, Caddy, GitHub Pages, the website endpoints of buckets, `python -m http.server`. Clients
of the TF Hub protocol follow the redirect and don't look at the content type.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

__all__ = ["INDEX_NAME", "publish_newest"]

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
    temporary = model / f".{INDEX_NAME}.{uuid.uuid4().hex[:12]}.hubcli-tmp"
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
