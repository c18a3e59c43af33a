"""The environment variables that hubcli heeds, and what they mean: what help and documentation tell.

`settings.py` and `access.py` read them; proxies are read by httpx, TF_CONFIG by TensorFlow.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hubcli.errors import UsageError
from hubcli.urls import without_secrets

__all__ = [
    "Mirror",
    "absolute",
    "in_home",
    "library_variable",
    "on_disk",
    "set_unless_there",
    "users_own",
    "variables_set",
]


_APP_NAME = "hubcli"
# A Path has already made one slash of two.
_FILE = "file://"
_REMOTE = r"[A-Za-z][A-Za-z0-9+.-]+:/"


def absolute(text: str, source: str) -> Path:
    """The directory or file that the `source`, an option or a variable, names. Raises UsageError."""
    if "\0" in text:
        raise UsageError(f"{source} has a NUL character", hint="Name a directory.")
    if text.startswith(_FILE):
        return _of_address(text, source)
    if re.match(_REMOTE, text):
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


_EXAMPLE = "https://tfhub.dev=https://mirror.example/tfhub"


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where to ask instead: URLs that begin with `prefix` are asked at `replacement`."""

    prefix: str
    replacement: str = field(repr=False)  # May hold user and password.

    @classmethod
    def parse(cls, text: str, source: str = "--mirror") -> Mirror:
        """A mirror from `PREFIX=URL`; raises UsageError for anything else, which names the `source`.

        The source is the option, the variable or the key of a config file that holds the text.
        """
        prefix, separator, replacement = text.strip().partition("=")
        if not separator or "://" not in prefix or "://" not in replacement:
            # Credentials can't be told from the rest of what can't be understood.
            subject = "A mirror with an '@'" if "@" in text else f"'{without_secrets(text)}'"
            place = "" if source == "--mirror" else f"{source}: "
            raise UsageError(f"{place}{subject} is no mirror", hint=_hint(source))
        return cls(prefix.rstrip("/"), replacement.rstrip("/"))

    def rewrite(self, url: str) -> str | None:
        """The URL to ask instead of `url`, or None where this mirror doesn't apply."""
        if not url.startswith(self.prefix):
            return None
        rest = url[len(self.prefix) :]
        return self.replacement + rest if rest[:1] in ("", "/", "?") else None


def _hint(source: str) -> str:
    if source == "--mirror":
        return f"Write --mirror {_EXAMPLE}."
    if source.isupper():
        return f"Write {source}={_EXAMPLE}."
    return f'Write mirrors = ["{_EXAMPLE}"].'


# Variables of libraries, which read them by themselves ---------------------------------------------


def library_variable(name: str) -> str:
    """What this process's variable of TensorFlow, Keras or rich says now; empty where it isn't set."""
    return os.environ.get(name, "")


def set_unless_there(name: str, value: str) -> None:
    """Sets the variable for this process and those that it starts, unless somebody has."""
    os.environ.setdefault(name, value)


@contextmanager
def variables_set(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Within, this process's variables are these, None for one that isn't set; at the end, as they were."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
