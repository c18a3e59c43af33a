"""Models on this machine: directories, which are used in place, and archives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes, urlsplit

from hubcli.errors import HandleError
from hubcli.providers.handle import Handle, scheme_of
from hubcli.providers.provider import ACCEPTED, Provider, invalid_url, refusal

if TYPE_CHECKING:
    from hubcli.config.environment import NetworkConfig

__all__ = ["LocalArchive", "LocalDirectory"]


class _Local(Provider):
    is_remote = False

    def model_name(self, handle: Handle) -> tuple[str, ...]:
        """Empty: a path has no publisher."""
        return ()


class LocalArchive(_Local):
    """An archive, unpacked into the cache under its `file://` address."""

    name = "archive"
    title = "the archive"

    def display_name(self, handle: Handle) -> str:
        """The path as it was typed, or the `file://` address."""
        return handle.canonical if "://" in handle.text else handle.text


class LocalDirectory(_Local):
    """A directory, or a path that doesn't exist yet: used in place, and never cached."""

    name = "path"
    title = "the directory"
    is_directory = True

    def parse(self, text: str) -> Handle:
        """The handle of a path or `file://` URL; that of an archive for a file, or the name of one."""
        return self._parse_path(text, _path_of_url(text) if scheme_of(text) == "file" else text)

    def _parse_path(self, text: str, path_text: str) -> Handle:
        if "\0" in path_text:  # In a file:// URL as %00.
            raise HandleError(f"{text!r} contains a NUL character", hint=ACCEPTED)
        # Without resolving links: people recognise the path that they typed.
        try:
            path = Path(os.path.abspath(Path(path_text).expanduser()))  # noqa: PTH100
            path.is_file()
        except RuntimeError as error:
            raise refusal(text, "names the home of an unknown user") from error
        except OSError as error:
            raise refusal(text[:80] + "…", f"cannot be accessed: {error.strerror}") from error
        if path.name in ("saved_model.pb", "saved_model.pbtxt") and not path.is_dir():
            raise refusal(text, "is a file inside a SavedModel", f"Use its directory: {path.parent}")
        if path.is_file() or (not path.exists() and _looks_like_archive(path.name)):
            return Handle(text, _ARCHIVE, f"file://{quote(os.fsencode(path))}", path=path)
        return Handle(text, self, str(path), path=path)

    def display_name(self, handle: Handle) -> str:
        """The path as it was typed."""
        return handle.text

    def archive(self, handle: Handle, access: NetworkConfig) -> str:
        """The directory itself."""
        assert handle.path is not None
        return f"file://{quote(os.fsencode(handle.path))}"


_ARCHIVE = LocalArchive()


def _looks_like_archive(name: str) -> bool:
    from hubcli.archive.compression import ARCHIVE_SUFFIXES  # Only a missing path needs it.

    return name.endswith(ARCHIVE_SUFFIXES)


def _path_of_url(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise invalid_url(text) from error
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise refusal(text, "names a file on another host", "Use file:///absolute/path.")
    return os.fsdecode(unquote_to_bytes(parts.path))
