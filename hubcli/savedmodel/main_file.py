"""The file that makes a directory a SavedModel, in binary or text form, and the index of its variables."""

from __future__ import annotations

import re
from pathlib import Path

from hubcli.errors import BrokenModelError
from hubcli.formats.files import MAIN_FILES
from hubcli.formats.tensor_bundle import BundleIndex
from hubcli.formats.wire import Bytes
from hubcli.regular_file import read_regular
from hubcli.units import format_size

__all__ = [
    "HEAD_BYTES",
    "binary_of_text",
    "main_file",
    "read_index",
    "refuse_look_alike",
    "require_text_model",
]

_MAX_INDEX_BYTES = 1 << 28
# protobuf reads about a megabyte of text in a second.
_MAX_READ_TEXT_BYTES = 4_000_000
HEAD_BYTES = 1024
_TEXT_TOKEN = re.compile(
    r"""#[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|["'][\s\S]*|[{}<>]|[A-Za-z_][\w.]*|\S"""
)


def main_file(model: Path) -> Path:
    """The file that makes the directory a SavedModel; raises BrokenModelError where there is none."""
    main = next((model / name for name in MAIN_FILES if (model / name).is_file()), None)
    if main is None:
        raise BrokenModelError(
            f"No SavedModel: neither {MAIN_FILES[0]} nor {MAIN_FILES[1]} is there",
            hint="A SavedModel archive has saved_model.pb at its root (or in one top folder).",
        )
    return main


def refuse_look_alike(name: str, head: bytes) -> None:
    """Raises BrokenModelError where a file that begins so is what often lies in a model's place."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if not head:
        raise BrokenModelError(f"{name} is empty")
    if start.startswith(b"version https://git-lfs"):
        raise BrokenModelError(
            f"{name} is a git-LFS pointer, not the model itself",
            hint="Where the model was packed: git lfs pull, then pack it again.",
        )
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise BrokenModelError(f"{name} is a web page, not a SavedModel")


def require_text_model(name: str, text: str) -> set[tuple[int, str]]:
    """The field names in the two outer levels of a SavedModel in text form, with their levels.

    Raises BrokenModelError for what looks like one and isn't, and for braces that don't match.
    """
    refuse_look_alike(name, text[:HEAD_BYTES].encode())
    depth, names = 0, set[tuple[int, str]]()
    for word in (match[0] for match in _TEXT_TOKEN.finditer(text)):
        depth += (word in "{<") - (word in "}>")
        if depth < 0:
            break
        if depth < 2 and (word[0].isalpha() or word[0] == "_"):
            names.add((depth, word))
    if (0, "item") in names:
        raise BrokenModelError(f"{name} is a label map, not a SavedModel")
    if (0, "meta_graphs") not in names:
        raise BrokenModelError(f"{name} holds no meta_graphs: it is no SavedModel")
    if depth != 0:
        raise BrokenModelError(f"{name} has braces that don't match: it is cut off or damaged")
    return names


def binary_of_text(name: str, raw: Bytes) -> bytes:
    """The binary form of the SavedModel in text form, of which schema.py tells what it keeps.

    Raises BrokenModelError for what is none.
    """
    # Imported here: few models are text, and protobuf need not be loaded for the others.
    from hubcli.formats.protos import from_text

    if len(raw) > _MAX_READ_TEXT_BYTES:
        raise BrokenModelError(
            f"{name} is larger than {format_size(_MAX_READ_TEXT_BYTES)}: too slow to read as text",
            hint="Save the model anew, in binary form.",
        )
    text = bytes(raw).decode("utf-8", "replace")
    require_text_model(name, text)
    return from_text("SavedModel", text)


def read_index(folder: Path) -> BundleIndex | None:
    """The index of the bundle in `folder`; None where the model has no variables.

    Raises BrokenModelError where it is missing beside its shards, or isn't whole; OSError.
    """
    index_file = folder / "variables.index"
    if not index_file.is_file():
        if folder.is_dir() and any(folder.glob("variables.data-*")):
            raise BrokenModelError("variables/variables.index is missing, its data shards are there")
        return None
    if index_file.stat().st_size > _MAX_INDEX_BYTES:
        raise BrokenModelError("variables/variables.index is larger than 256 MiB")
    try:
        return BundleIndex.read(read_regular(index_file, _MAX_INDEX_BYTES))
    except BrokenModelError as error:
        raise BrokenModelError(f"variables/variables.index: {error.message}") from error
