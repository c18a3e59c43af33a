"""Where an export goes: filled beside its place, shown there by one rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hubcli.durability import SYNCED, Durability, exchange, exchange_at_once
from hubcli.errors import DiskFullError, NotFoundError, OutputError, UsageError, means_full
from hubcli.exporting.staging import REPLACED, Staging, remove_leftovers_of
from hubcli.regular_file import NotRegularError

__all__ = ["require_free", "staged_output"]


def require_free(
    destination: Path,
    *,
    cache_root: Path,
    force: bool,
    source: Path | None = None,
    read: Sequence[Path] = (),
) -> Path:
    """The place that the destination means, links followed, if something may be written there.

    Raises OutputError for the cache and what is in it, for what is there
    already without `force`, and, whatever is forced, for a place within the
    `source`, and for a directory whose replacement would take the source, what
    else is `read`, the cache, the working or the home directory with it.
    UsageError for a path that can't be one.
    """
    try:
        return _free_place(destination, cache_root, force, source, read)
    except OSError as error:
        raise _unwritable(destination, error) from error


@contextmanager
def staged_output(
    destination: Path,
    *,
    cache_root: Path,
    force: bool,
    source: Path | None = None,
    read: Sequence[Path] = (),
    durability: Durability = SYNCED,
) -> Iterator[Path]:
    """A path at which a directory or a file is to be made; then it is renamed to the destination.

    The path is a name in a hidden directory beside the destination, which is locked as long as the
    process lives; other names in it but `old` and `lock` are the caller's to use. What killed exports to
    the same destination left beside it is removed first. What `force` replaces stays in
    its place until the rename. However the context ends, an interrupt
    included, the hidden directory goes, with what was replaced; after an error
    the destination is as it was, and so it is after a power loss, or all new: what was made is synced
    before the rename, and the rename before what it replaced is deleted. Raises what
    `require_free` does, OutputError, DiskFullError.
    """
    remove_leftovers_of(_resolved(destination))
    place = require_free(destination, cache_root=cache_root, force=force, source=source, read=read)
    staging = Staging(place)
    folders = [folder for folder in place.parents if not folder.exists()]
    try:
        # Twice: an interrupt may come as late as the first.
        with staging, _swept(staging, folders), _swept(staging, folders):
            staging.make()
            staged = staging.path / "new"
            yield staged
            require_free(destination, cache_root=cache_root, force=force, source=source, read=read)
            if staged.is_dir() and place.is_dir():
                shutil.copymode(place, staged)  # Whoever made the empty directory chose who may read it.
            durability.tree(staged)
            durability.directory(staging.path)
            _publish(staged, place)
            _sync_names(staged, place, folders, durability)
    except NotRegularError as error:  # Of the source's files, which the destination has no part in.
        raise NotFoundError(
            f"{error.filename} can't be read: {error.strerror}", hint="Put the file back and try again."
        ) from error
    except OSError as error:
        raise _unwritable(destination, error) from error


def _free_place(
    destination: Path, cache_root: Path, force: bool, source: Path | None, read: Sequence[Path]
) -> Path:
    place, root = _resolved(destination), _resolved(cache_root)
    protected = [root] if source is None else [root, _resolved(source)]
    if place.is_relative_to(root):
        raise OutputError(
            f"{destination} lies in the cache {cache_root}", hint="Name a place outside of the cache."
        )
    if place.is_relative_to(protected[-1]):
        raise OutputError(f"{destination} lies in the source {source}", hint="Name a place outside of it.")
    for path in map(_resolved, read):
        if path.is_relative_to(place):
            raise _holding(destination, path)
    if place.is_dir():
        _require_replaceable(destination, place, protected)
        if not force and any(place.iterdir()):
            raise _occupied(destination, "is there and not empty")
    elif os.path.lexists(place) and not force:
        raise _occupied(destination, "is there already")
    return place


def _require_replaceable(destination: Path, place: Path, protected: Sequence[Path]) -> None:
    """Raises OutputError for a directory that must not be replaced, not even an empty one."""
    with suppress(FileNotFoundError):  # The working directory may be gone.
        if place == Path.cwd():
            raise OutputError(
                f"{destination} is the working directory, which can't be replaced",
                hint="Name a directory in it, or go elsewhere first.",
            )
        protected = [*protected, Path.cwd()]
    with suppress(RuntimeError):  # A user without an entry has no home.
        protected = [*protected, Path.home().resolve()]
    if os.path.ismount(place):
        raise OutputError(
            f"{destination} is a mount point, which can't be replaced",
            hint=f"Name a directory in it: {destination / 'model'}",
        )
    for path in protected:
        if path.is_relative_to(place):
            raise _holding(destination, path)


def _publish(staged: Path, place: Path) -> None:
    """Renames the staged directory or file to its place; what is there takes the place of the staged one."""
    if os.path.lexists(place) and exchange_at_once(staged, place):
        return
    if not place.is_dir() and not (staged.is_dir() and os.path.lexists(place)):
        staged.replace(place)
        return
    exchange(staged, place, aside=staged.with_name(REPLACED))


def _sync_names(staged: Path, place: Path, folders: Sequence[Path], durability: Durability) -> None:
    """Syncs the directories whose names changed; where the disk fails, puts back what was replaced."""
    try:
        for folder in (place.parent, staged.parent, *(folder.parent for folder in folders)):
            durability.directory(folder)
    except OSError:
        with suppress(OSError):
            if os.path.lexists(staged):
                exchange(staged, place, aside=staged.with_name(REPLACED))
            else:
                place.rename(staged)
        raise


@contextmanager
def _swept(staging: Staging, folders: Sequence[Path]) -> Iterator[None]:
    """In the end removes the staging directory, and of those that were made the ones that are empty."""
    try:
        yield
    finally:
        staging.remove()
        with suppress(OSError):
            for folder in folders:
                folder.rmdir()


def _holding(destination: Path, path: Path) -> OutputError:
    return OutputError(
        f"{destination} holds {path}, and would be replaced with it", hint="Name a place of its own."
    )


def _occupied(destination: Path, what: str) -> OutputError:
    return OutputError(f"{destination} {what}", hint="Name another place, or replace it with --force.")


def _unwritable(destination: Path, error: OSError) -> OutputError | DiskFullError:
    if means_full(error):
        return DiskFullError(
            f"No room for {destination}: {error.strerror}", hint="Free some space, or name another place."
        )
    return OutputError(
        f"{destination} can't be written: {error.strerror or error}",
        hint=f"Check {destination.parent} and its mode, or name another place.",
    )


def _resolved(path: Path) -> Path:
    """The path without links; raises UsageError where it can't be one."""
    try:
        return path.expanduser().resolve()
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"{str(path)!r} is no path: {error}", hint="Name another place.") from error
