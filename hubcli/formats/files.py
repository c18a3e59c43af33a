"""File names that make a directory a SavedModel, and the contents of its files.

Source of the names: tensorflow/python/saved_model/constants.py; the chunked
form comes from tensorflow/tools/proto_splitter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path

from hubcli.formats.wire import Bytes

__all__ = ["INDEX_FILE", "MAIN_FILES", "contents"]

MAIN_FILES = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb")
INDEX_FILE = "variables/variables.index"
# A file that somebody cuts while it is mapped ends the process: only large ones are.
_MAPPED_FROM_BYTES = 64 << 20
# Of an outline a few pages are looked at, which must not cost the reading of the whole file.
_OUTLINED_FROM_BYTES = 1 << 18


@contextmanager
def contents(path: Path, *, for_outline: bool = False) -> Iterator[Bytes]:
    """All bytes of the file: read, or mapped where it is large.

    `for_outline` says that little of them will be looked at. Raises OSError.
    """
    with path.open("rb") as file:
        if path.stat().st_size < (_OUTLINED_FROM_BYTES if for_outline else _MAPPED_FROM_BYTES):
            yield file.read()
            return
        with mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
            yield mapped
