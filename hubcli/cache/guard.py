"""Directories that are never collected: too much in them isn't the cache's."""

from __future__ import annotations

import os
from pathlib import Path

from hubcli.errors import UsageError
from hubcli.places import in_home

__all__ = ["require_collectable"]


def require_collectable(root: Path) -> None:
    """Raises UsageError where the root is `/`, somebody's home, or the top of a repository.

    Its names would be told from the cache's, but whoever gave such a root meant another.
    """
    resolved = _real(root)
    if resolved == Path(resolved.anchor):
        what = "the root of the file system"
    elif resolved in _homes(resolved):
        what = "a home directory"
    elif os.path.lexists(resolved / ".git"):
        what = "the top of a Git repository"
    else:
        return
    raise UsageError(
        f"The cache {root} is {what}: nothing is removed there",
        hint="Name the cache's own directory with --cache-dir.",
    )


def _homes(root: Path) -> set[Path]:
    """The homes of this user and of the directory's owner, by the environment and by the system's list."""
    own = in_home(".")
    homes = set() if own is None else {_real(own)}
    try:
        import pwd

        for user in (os.getuid(), root.stat().st_uid):
            homes.add(_real(Path(pwd.getpwuid(user).pw_dir)))
    except (ImportError, KeyError, OSError):  # Another system, a user without a name, no such root.
        pass
    return homes


def _real(path: Path) -> Path:
    """Where it is; unlike Path.resolve, this bears links that lead to themselves."""
    return Path(os.path.realpath(path))
