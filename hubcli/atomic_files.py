"""Atomic changes of files and directories: each is seen complete or as it was before.

Temporary names are of two kinds, which no person gives: `<name>.tmp<32 hex digits>` in the cache, where
`gc` removes what a kill left, and `.<name>.<12 hex digits>.hubcli-tmp` beside what a user names, where
`doctor --fix` does.

Sources: link(2), rename(2), renameat2(2) of Linux; renamex_np(2) of macOS.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from hubcli.durability import SYNCED, Durability
from hubcli.errors import OutputError

__all__ = [
    "HIDDEN_NAME",
    "SHOWN_CHARACTERS",
    "TEMPORARY_SUFFIX",
    "exchange",
    "exchange_at_once",
    "hidden_beside",
    "move_error",
    "move_new",
    "removal_command",
    "remove_tree",
    "replace_link",
    "temporary_beside",
    "unique_number",
    "write_new",
    "write_whole",
]

# As patterns: what may stand behind a name of the cache; a hidden name with what it is of, and its number.
TEMPORARY_SUFFIX = r"\.tmp[0-9a-f]{32}"
HIDDEN_NAME = r"(?s)\.(.{0,40})\.([0-9a-f]{12})\.hubcli-tmp"  # A pattern.
SHOWN_CHARACTERS = 40  # Of the name that a hidden one is of: names end at 255 bytes.

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def unique_number() -> str:
    """32 random hex digits."""
    return os.urandom(16).hex()


def temporary_beside(path: Path, part: str = "") -> Path:
    """A unique name beside `path`, for what is about to take its place in the cache."""
    return path.with_name(f"{path.name}{part}.tmp{unique_number()}")


def hidden_beside(place: Path, number: str = "") -> Path:
    """A hidden name beside `place`, which may be hidden itself; of that number, or a new one."""
    match = re.fullmatch(HIDDEN_NAME, place.name)
    prefix = match[1] if match is not None else place.name[:SHOWN_CHARACTERS]
    return place.with_name(f".{prefix}.{(number or unique_number())[:12]}.hubcli-tmp")


def write_new(path: Path, text: str, durability: Durability = SYNCED) -> None:
    """Writes the file whole, unless there is one already: then OSError (FileExistsError).

    Its data is synced before it has its name; the name is the caller's to sync, as in `write_whole`.
    """
    temporary = temporary_beside(path)
    try:
        durability.write_file(temporary, text)
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, text: str, durability: Durability = SYNCED) -> None:
    """Writes the file so that it is seen with all of `text` or as it was before, after a power loss too."""
    temporary = temporary_beside(path)
    try:
        durability.write_file(temporary, text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_link(link: Path, target: str) -> None:
    """Makes `link` a symbolic link to `target`, in place of a link that is there.

    Raises OSError if links can't be made, or where something else is there.
    """
    try:
        link.symlink_to(target, target_is_directory=True)
    except FileExistsError:
        if not link.is_symlink():
            raise
        temporary = temporary_beside(link, ".link")
        temporary.symlink_to(target, target_is_directory=True)
        try:
            temporary.replace(link)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def exchange(new: Path, old: Path, aside: Path | None = None) -> None:
    """Puts the directory `new` where `old` is, and `old` where `new` was.

    In one step on Linux (renameat2) and macOS (renamex_np), so that there is
    no moment without either; elsewhere by renaming `old` aside first. Where
    that fails, `old` is back in its place.
    """
    if exchange_at_once(new, old):
        return
    if aside is None:
        aside = new.with_name(f"{new.name.split('.', 1)[0]}.{unique_number()}.tmp")
    old.rename(aside)
    try:
        new.rename(old)
    except BaseException:
        if not os.path.lexists(old):
            aside.rename(old)
        raise
    aside.rename(new)


def exchange_at_once(new: Path, old: Path) -> bool:
    """Whether the system exchanged the two, of any kind; False if it or the file system can't."""
    import ctypes  # Commands that only read the cache don't load it.

    paths = os.fsencode(new), os.fsencode(old)
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(*paths, _RENAME_EXCHANGE)
    elif hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE)
    else:
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(old))


def move_new(staged: Path, place: Path, destination: Path) -> None:
    """Moves a new file or directory to a place where nothing is, or an empty directory.

    `destination` is the place as errors name it. Raises OutputError if another process created something
    there meanwhile: syncing what is staged takes its time. OSError where the move fails.
    """
    try:
        if staged.is_dir():
            staged.rename(place)  # It replaces an empty directory alone.
            return
        if place.is_dir():
            place.rmdir()
        os.link(staged, place)  # A rename would replace a file.
    except OSError as error:
        if os.path.lexists(place) and (not place.is_dir() or any(place.iterdir())):
            raise OutputError(
                f"{destination} was created by another process",
                hint="Use another path, or replace it with --force.",
            ) from error
        if staged.is_dir() or place.is_dir():  # The empty directory may not be replaced.
            raise
        staged.replace(place)  # A file system without links.
    with suppress(OSError):  # Else it goes with the staging directory.
        staged.unlink(missing_ok=True)


def move_error(destination: Path, error: OSError, hint: str) -> OutputError:
    """The error of what could not be written, or not moved to its place: then the hint says what to type."""
    what = "write"
    if error.errno == errno.EXDEV:  # Overlayfs moves no directory of a lower layer, as an image has.
        what, hint = "replace", f"Remove it first: {removal_command(destination)}"
    return OutputError(f"Cannot {what} {destination}: {error.strerror or error}", hint=hint)


def removal_command(path: Path | str) -> str:
    """What to type to remove a directory."""
    import shlex  # Every command loads this module.

    return f"rm -r {shlex.quote(str(path))}"


def remove_tree(path: Path) -> None:
    """Removes what is there: a file or a link itself, a directory with all in it. Follows no link."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)  # rmtree would wait for somebody to write to a pipe.
    else:
        import shutil  # Few runs remove anything: the module brings three compressions.

        shutil.rmtree(path, ignore_errors=True)
