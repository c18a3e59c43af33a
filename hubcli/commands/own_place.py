"""A local directory as a handle: it is its own place, and nothing is copied."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from hubcli.errors import BrokenModelError, NotFoundError, UsageError
from hubcli.handle import Handle
from hubcli.savedmodel.structure import check_structure

__all__ = ["own_place"]


class _Options(Protocol):
    @property
    def local(self) -> str | None: ...
    @property
    def pin(self) -> bool: ...


def own_place(handle: Handle, options: _Options) -> Path:
    """The directory, once it is sure that a model is in it.

    Raises UsageError for options that need the cache, NotFoundError, BrokenModelError.
    """
    path = handle.path
    assert path is not None
    if options.pin:
        raise UsageError(
            f"{handle} is a directory of its own: it can't be pinned",
            hint="Only what is in the cache is ever collected.",
        )
    if options.local is not None:
        raise UsageError(
            f"--from can't put anything under {handle}, which is a directory of its own",
            hint="Give the handle under which hub.load will ask for it.",
        )
    try:
        if not path.is_dir():
            raise NotFoundError(f"{path} doesn't exist", hint="Check the path.")
    except OSError as error:
        raise NotFoundError(f"{path} can't be opened: {error.strerror}", hint="Check its mode.") from error
    try:
        check_structure(path)
    except BrokenModelError as error:
        raise BrokenModelError(f"{path}: {error.message}", hint=error.hint) from error
    return path
