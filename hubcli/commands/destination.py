"""Where an export goes: filled beside its place, shown there by one rename."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hubcli.cache.disk import exchange, remove_tree
from hubcli.errors import DiskFullError, OutputError

__all__ = ["require_free", "staged_output"]

_FULL = (errno.ENOSPC, errno.EDQUOT)


def require_free(destination: Path, *, cache_root: Path, force: bool) -> None:
    """Raises OutputError where nothing may be written: in the cache, or over what is there without `force`."""
    place = destination.expanduser().absolute()
    root = cache_root.absolute()
    if _resolved(place).is_relative_to(_resolved(root)):
        raise OutputError(
            f"{destination} lies in the cache {cache_root}", hint="Name a place outside of the cache."
        )
    if force or not os.path.lexists(place):
        return
    if place.is_dir() and not place.is_symlink() and not any(place.iterdir()):
        return
    what = "is there and not empty" if place.is_dir() else "is there already"
    raise OutputError(f"{destination} {what}", hint="Name another place, or replace it with --force.")


@contextmanager
def staged_output(destination: Path, *, cache_root: Path, force: bool) -> Iterator[Path]:
    """A path beside `destination` at which a directory or a file is to be made; then it is renamed there.

    What `force` replaces stays in its place until then. Where the context ends
    with an error, nothing stays. Raises OutputError, DiskFullError.
    """
    place = destination.expanduser().absolute()
    require_free(destination, cache_root=cache_root, force=force)
    staged = place.with_name(f".{place.name}.{uuid.uuid4().hex[:12]}.hubcli-tmp")
    made = _missing_parents(place)
    is_published = False
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield staged
        require_free(destination, cache_root=cache_root, force=force)
        _publish(staged, place)
        is_published = True
    except OSError as error:
        kind = DiskFullError if error.errno in _FULL else OutputError
        raise kind(
            f"{destination} can't be written: {error.strerror or error}",
            hint="Free some space, or name another place."
            if kind is DiskFullError
            else "Name another place.",
        ) from error
    finally:
        remove_tree(staged)
        for folder in () if is_published else made:
            _remove_if_empty(folder)


def _publish(staged: Path, place: Path) -> None:
    if staged.is_dir() and place.is_dir() and not place.is_symlink():
        exchange(staged, place)  # What was there is removed with the staged one.
    elif staged.is_dir() and os.path.lexists(place):
        aside = staged.with_name(f"{staged.name}.old")
        place.rename(aside)
        staged.rename(place)
        aside.unlink()
    elif place.is_dir() and not place.is_symlink():
        aside = staged.with_name(f"{staged.name}.old")
        place.rename(aside)
        staged.rename(place)
        remove_tree(aside)
    else:
        staged.replace(place)


def _missing_parents(place: Path) -> list[Path]:
    """The directories above `place` that aren't there yet, the innermost first."""
    return [folder for folder in place.parents if not folder.exists()]


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path
