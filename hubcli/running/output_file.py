"""Where outputs are written: the form that a name says, and a place that is free or may be replaced."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hubcli.durability import exchange
from hubcli.errors import OutputError, UsageError
from hubcli.running.endpoints import Endpoint

__all__ = ["OutputForm", "output_form", "require_free", "response_file", "staged_file"]

_FORMS = {".npz": "npz", ".npy": "npy", ".json": "json", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


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
    """The file, whatever its name ends in. Raises UsageError for "-", which elsewhere is standard output."""
    if text == "-":
        raise UsageError(
            "--output writes files, not standard output",
            hint="Remove --output, and add --json or --json-lines; a file of this name is ./-",
        )
    return Path(text).expanduser()


@contextmanager
def staged_file(path: Path, *, force: bool, is_directory: bool = False) -> Iterator[Path]:
    """A temporary place beside the path, moved there at the end; removed where anything fails.

    Raises OutputError if something already exists, unless `force`, and where it can't be written.
    """
    import shutil

    require_free(path, force=force, is_directory=is_directory)
    staged = path.with_name(f".{path.name}.hubcli-{os.getpid()}.tmp")
    try:
        if is_directory:
            staged.mkdir()
        yield staged
        if not is_directory:
            with staged.open("rb") as file:
                os.fsync(file.fileno())
        require_free(path, force=force, is_directory=is_directory)
        if is_directory and path.is_dir():
            exchange(staged, path)  # What was there is removed below.
        else:
            staged.replace(path)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}", hint="Check the path, or use another."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            if staged.is_dir():
                shutil.rmtree(staged)
            else:
                staged.unlink(missing_ok=True)


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
