"""Where outputs are written: the form that a name says, and a place that is free or may be replaced."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from hubcli.atomic_files import exchange, move_error, move_new, remove_tree, unique_number
from hubcli.durability import SYNCED
from hubcli.errors import OutputError, UsageError
from hubcli.running.endpoints import Endpoint

__all__ = ["OutputForm", "output_form", "require_free", "response_file", "staged_file"]

_FORMS = {".npz": "npz", ".npy": "npy", ".json": "json", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_SHOWN_CHARACTERS = 40  # Of a name in that of its staged file: names end at 255 bytes.
_NEW_S = 1.0


class OutputForm(NamedTuple):
    """What to write, `npz`, `npy`, `json`, `csv`, `jsonl` or `dir`, and where."""

    kind: str
    path: Path


def output_form(text: str, endpoint: Endpoint | None = None) -> OutputForm:
    """The form that the name of a file says; a name without a suffix is a directory. Raises UsageError."""
    path = response_file(text)
    suffix = path.suffix.lower()
    if text.endswith("/") or not suffix or path.is_dir():
        return OutputForm("dir", path)
    if suffix not in _FORMS:
        raise UsageError(
            f"Unknown output format '{suffix}'", hint=f"Use a file in {', '.join(_FORMS)}, or a directory."
        )
    if suffix == ".npy" and endpoint is not None and len(endpoint.outputs) > 1:
        names = ", ".join(port.name for port in endpoint.outputs)
        raise UsageError(
            f"A .npy file holds one array, but the outputs are {names}",
            hint="Use a .npz file, or a directory.",
        )
    return OutputForm(_FORMS[suffix], path)


def response_file(text: str) -> Path:
    """The file, with any suffix. Raises UsageError for "-", which elsewhere is standard output."""
    if not text.strip():
        raise UsageError("--output is empty", hint="Specify a file or a directory: -o FILE")
    if text == "-":
        raise UsageError(
            "--output writes files, not standard output",
            hint="Remove --output, and add --json or --json-lines; a file of this name is ./-",
        )
    return Path(text).expanduser()


@contextmanager
def staged_file(path: Path, *, force: bool, is_directory: bool = False) -> Iterator[Path]:
    """A new file or directory beside the path, moved there at the end; removed where anything fails.

    Links are followed. What killed runs left of the same output is removed first. Raises OutputError if
    something already exists, unless `force`, and where it can't be written.
    """
    require_free(path, force=force, is_directory=is_directory)
    place = Path(os.path.realpath(path))
    _remove_leftovers(place)
    try:
        with _locked_beside(place, is_directory=is_directory) as staged:
            yield staged
            SYNCED.tree(staged)
            require_free(path, force=force, is_directory=is_directory)
            if not force:
                move_new(staged, place, path)
            elif is_directory and place.is_dir():
                exchange(staged, place)  # What was there is removed with the staged name.
            else:
                staged.replace(place)
    except OSError as error:
        raise move_error(path, error, "Check the path, or use another.") from error


@contextmanager
def _locked_beside(place: Path, *, is_directory: bool) -> Iterator[Path]:
    """A new file or directory, locked as long as this process lives, and removed at the end."""
    staged = place.with_name(f".{place.name[:_SHOWN_CHARACTERS]}.hubcli-{unique_number()[:12]}.tmp")
    descriptor = -1
    try:
        if is_directory:
            staged.mkdir()
        flags = os.O_RDONLY if is_directory else os.O_RDWR | os.O_CREAT | os.O_EXCL
        descriptor = os.open(staged, flags, 0o666)
        _lock(descriptor)
        yield staged
    finally:
        with suppress(OSError):
            remove_tree(staged)
        if descriptor >= 0:
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether it is locked now; False if another process has locked it, or locks are not supported."""
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock

        flock(descriptor, LOCK_EX | LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _remove_leftovers(place: Path) -> None:
    """Removes what killed runs left beside it; where locks are not supported, nothing."""
    prefix = re.escape(place.name[:_SHOWN_CHARACTERS])
    with suppress(OSError), os.scandir(place.parent) as entries:
        for entry in entries:
            if re.fullmatch(rf"\.{prefix}\.hubcli-[0-9a-f]{{12}}\.tmp", entry.name):
                with suppress(OSError):
                    _remove_if_dead(Path(place.parent, entry.name))


def _remove_if_dead(staged: Path) -> None:
    descriptor = os.open(staged, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        is_new = time.time() - status.st_mtime < _NEW_S  # It may not be locked yet.
        if status.st_uid == os.geteuid() and not is_new and _lock(descriptor):
            remove_tree(staged)
    finally:
        os.close(descriptor)


def require_free(path: Path, *, force: bool, is_directory: bool = False) -> None:
    """Raises OutputError if something is at the path, or with `force` something of another kind.

    And where its directory is missing.
    """
    if not path.absolute().parent.is_dir():
        raise OutputError(
            f"Cannot write {path}: {path.parent} is not a directory", hint="Create it, or use another path."
        )
    if not os.path.lexists(path):
        return
    with suppress(FileNotFoundError):  # The working directory may be gone.
        if is_directory and os.path.realpath(path) == str(Path.cwd()):
            raise OutputError(f"{path} is the working directory", hint="Use a directory in it.")
    if not path.is_dir() and path.exists() and not path.is_file():  # --force must not replace /dev/null.
        raise OutputError(
            f"{path} is not a regular file",
            hint="Specify a file, or remove --output for standard output.",
        )
    if not force:
        raise OutputError(f"{path} already exists", hint="Replace it with --force.")
    is_ours = path.is_dir() and all(file.suffix == ".npy" for file in path.iterdir())
    if is_directory and not is_ours:
        raise OutputError(
            f"Cannot replace {path}: it contains more than arrays", hint="Use another directory."
        )
    if not is_directory and path.is_dir():
        raise OutputError(f"{path} is a directory", hint="Specify a file.")
