"""File names that make a directory a SavedModel, and the contents of its files.

Source of the names: tensorflow/python/saved_model/constants.py; the chunked
form comes from tensorflow/tools/proto_splitter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path

from hubcli.formats.wire import Bytes
from hubcli.regular_file import AT_ONCE, open_at_once, require_regular

__all__ = ["INDEX_FILE", "MAIN_FILES", "contents", "list_noatime", "open_noatime", "read_record"]

MAIN_FILES = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb")
INDEX_FILE = "variables/variables.index"
# A file that somebody cuts while it is mapped ends the process: only large ones are.
_MAPPED_FROM_BYTES = 64 << 20
# Of an outline a few pages are looked at, which must not cost the reading of the whole file.
_OUTLINED_FROM_BYTES = 1 << 18
_MAX_RECORD_BYTES = 1 << 20


def open_noatime(path: str, flags: int) -> int:
    """As `open_at_once`, but leaves the file's access time as it is, where the system lets us.

    For a cached model that time says when `hub.load` last read it: a check or a listing
    must not look like a use. Linux, open(2): O_NOATIME is for the file's owner.
    """
    return require_regular(_open_noatime(path, flags | AT_ONCE), path)


def _open_noatime(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:
        return os.open(path, flags)


@contextmanager
def list_noatime(folder: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """What the directory holds, without a change of its access time; only the names of entries are whole.

    Raises OSError.
    """
    descriptor = _open_noatime(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(descriptor) as children:
            yield children
    finally:
        os.close(descriptor)


@contextmanager
def contents(path: Path, *, for_outline: bool = False) -> Iterator[Bytes]:
    """All bytes of the file: read, or mapped where it is large.

    `for_outline` says that little of them will be looked at. Raises OSError.
    """
    with open(path, "rb", opener=open_noatime) as file:
        if os.fstat(file.fileno()).st_size < (_OUTLINED_FROM_BYTES if for_outline else _MAPPED_FROM_BYTES):
            yield file.read()
            return
        with mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
            yield mapped


def read_record(path: Path | str, max_bytes: int = _MAX_RECORD_BYTES) -> bytes:
    """What a small file holds, `max_bytes` of it at most; whatever stands there, nothing is waited for.

    A cache is a directory where others write: a pipe would never answer, a device never end.
    Raises OSError.
    """
    descriptor = open_at_once(os.fspath(path), os.O_RDONLY)
    try:
        return os.read(descriptor, max_bytes)
    finally:
        os.close(descriptor)
