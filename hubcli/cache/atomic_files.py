"""Writes that happen whole or not at all, and what they fail with."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hubcli.durability import SYNCED, Durability
from hubcli.errors import CacheError, DiskFullError, means_full
from hubcli.formats.files import list_noatime

__all__ = [
    "cache_errors",
    "directory_size_bytes",
    "exchange",
    "exchange_at_once",
    "file_sizes",
    "not_a_directory",
    "remove_tree",
    "replace_link",
    "write_new",
    "write_whole",
]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def cache_errors(root: Path) -> Iterator[None]:
    """Translates what the system says about the disk into errors of ours."""
    try:
        yield
    except OSError as error:
        if means_full(error):
            raise DiskFullError(
                f"The disk of {root} is full", hint="Free some space, or name another --cache-dir."
            ) from error
        if error.errno in _READ_ONLY:
            raise CacheError(
                f"The cache {root} can't be read or written: {error.strerror}",
                hint="Check its owner and mode, or name another --cache-dir.",
            ) from error
        raise CacheError(
            f"The cache {root} fails: {error}", hint="Check the disk, or name another --cache-dir."
        ) from error


def not_a_directory(root: Path) -> CacheError:
    """The error for a root that is something else."""
    return CacheError(f"The cache {root} is no directory", hint="Name a directory with --cache-dir.")


def write_new(path: Path, text: str, durability: Durability = SYNCED) -> None:
    """Writes the file whole, unless there is one already: then OSError (FileExistsError).

    Its data is synced before it has its name; the name is the caller's to sync, as in `write_whole`.
    """
    temporary = path.with_name(f"{path.name}.tmp{uuid.uuid4().hex}")
    try:
        durability.write_file(temporary, text)
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, text: str, durability: Durability = SYNCED) -> None:
    """Writes the file so that it is seen with all of `text` or as it was before, after a power loss too."""
    temporary = path.with_name(f"{path.name}.tmp{uuid.uuid4().hex}")
    try:
        durability.write_file(temporary, text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_link(link: Path, target: str) -> None:
    """Makes `link` a symbolic link to `target`, in place of a link that is there.

    Raises OSError where links can't be made, or where something else is there.
    """
    try:
        link.symlink_to(target, target_is_directory=True)
    except FileExistsError:
        if not link.is_symlink():
            raise
        temporary = link.with_name(f"{link.name}.link.tmp{uuid.uuid4().hex}")
        temporary.symlink_to(target, target_is_directory=True)
        try:
            temporary.replace(link)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def exchange(new: Path, old: Path) -> None:
    """Puts the directory `new` where `old` is, and `old` where `new` was.

    In one step on Linux (renameat2) and macOS (renamex_np), so that there is
    no moment without either; elsewhere by renaming `old` aside first.
    """
    if not exchange_at_once(new, old):
        aside = new.with_name(f"{new.name.split('.', 1)[0]}.{uuid.uuid4().hex}.tmp")
        old.rename(aside)
        new.rename(old)
        aside.rename(new)


def exchange_at_once(new: Path, old: Path) -> bool:
    """Whether the system exchanged the two, of whatever kind; False where it or the file system can't."""
    import ctypes  # Who only reads the cache doesn't wait for it.

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


def remove_tree(path: Path) -> None:
    """Removes what is there: a file or a link itself, a directory with all in it. Follows no link."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)  # rmtree would wait for somebody to write to a pipe.
    else:
        shutil.rmtree(path, ignore_errors=True)


def file_sizes(top: Path) -> dict[str, int]:
    """Size in bytes of every regular file below `top`, by relative path with `/`.

    What vanishes meanwhile or can't be looked into is left out; links and special files count as size 0.
    """
    sizes: dict[str, int] = {}
    waiting = [("", str(top))]
    while waiting:
        prefix, folder = waiting.pop()
        try:
            with list_noatime(folder) as children:
                for child in children:
                    if child.is_dir(follow_symlinks=False):
                        waiting.append((f"{prefix}{child.name}/", f"{folder}/{child.name}"))
                    else:
                        regular = child.is_file(follow_symlinks=False)
                        sizes[prefix + child.name] = child.stat().st_size if regular else 0
        except (FileNotFoundError, PermissionError):
            continue
    return sizes


def directory_size_bytes(top: Path) -> int:
    """Sum of the sizes of the files below `top`, in bytes; 0 where it doesn't exist."""
    return sum(file_sizes(top).values())
