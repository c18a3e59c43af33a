"""Directories and files that users name, and those that are their own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from hubcli.errors import UsageError
from hubcli.url import without_secrets

__all__ = ["absolute", "in_home", "on_disk", "users_own"]

_APP_NAME = "hubcli"
# A Path has already made one slash of two.
_FILE = "file://"
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def absolute(text: str, source: str) -> Path:
    """The directory or file that the `source`, an option or a variable, names. Raises UsageError."""
    if "\0" in text:
        raise UsageError(f"{source} has a NUL character", hint="Name a directory.")
    if text.startswith(_FILE):
        return _of_address(text, source)
    if _REMOTE.match(text):
        raise UsageError(
            f"{source} is '{without_secrets(text)}', which is no local directory",
            hint="hubcli keeps its cache on a local or mounted disk: name a directory.",
        )
    if not text:
        raise UsageError(f"{source} is empty", hint="Name a directory.")
    try:
        return Path(text).expanduser().absolute()
    except FileNotFoundError as error:
        raise UsageError(
            f"{source} is '{text}', and the working directory is gone", hint="Name it from / on."
        ) from error
    except RuntimeError as error:
        raise UsageError(
            f"{source} is '{text}', the home of an unknown user", hint="Name a directory."
        ) from error


def _of_address(text: str, source: str) -> Path:
    """The directory of a file:// address as TensorFlow takes it: the path as it stands, nothing decoded.

    Source: tensorflow/core/platform/path.cc, ParseURI, and file_system.cc, TranslateName. Raises UsageError.
    """
    host, slash, path = text[len(_FILE) :].partition("/")
    if host not in ("", "localhost") or not path.strip("/"):
        raise UsageError(
            f"{source} is '{without_secrets(text)}', which names no directory of this machine",
            hint="Write file:///absolute/path, or the path alone.",
        )
    return Path(os.path.normpath(slash + path))


def on_disk(name: str) -> str:
    """The name, which an archive or a record holds in UTF-8, as the system takes it in any locale.

    In the C locale without UTF-8 mode Python's file names are ASCII, and other bytes are escaped.
    """
    return name if name.isascii() else os.fsdecode(name.encode("utf-8", "surrogateescape"))


def in_home(name: str) -> Path | None:
    """The path in the user's home, None where there is none."""
    try:
        return Path.home() / name
    except RuntimeError:
        return None


def users_own(find: Callable[..., Path], what: str, where: str) -> Path:
    """The user's directory of that kind. Raises UsageError for a user without a home."""
    try:
        path = find(_APP_NAME, appauthor=False)
    except RuntimeError:
        path = Path("~")
    if not path.is_absolute():
        raise UsageError(f"There is no home directory for {what}", hint=f"Name a directory in {where}.")
    return path
