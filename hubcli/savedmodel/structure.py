"""The structure of a SavedModel directory: its kind, and whether its files are all there.

Source: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto and
saved_object_graph.proto (field numbers), tensorflow/python/saved_model/constants.py
(file names). The graph itself is not parsed here.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

from hubcli.errors import BrokenModelError
from hubcli.formats.bundle import BundleIndex
from hubcli.formats.files import MAIN_FILES, contents
from hubcli.formats.wire import Bytes, Field, messages, scan
from hubcli.quantity import format_size
from hubcli.regular_file import read_regular

__all__ = [
    "ModelKind",
    "binary_of_text",
    "check_structure",
    "main_file",
    "model_kind",
    "read_index",
    "refuse_look_alike",
]

_META_GRAPHS = 2
_META_INFO_DEF, _GRAPH_DEF, _OBJECT_GRAPH_DEF = 1, 2, 7
_NODES, _USER_OBJECT, _IDENTIFIER = 1, 4, 1
_MAX_INDEX_BYTES = 1 << 28
_MAX_TEXT_BYTES = 32_000_000
# protobuf reads about a megabyte of text in a second.
_MAX_READ_TEXT_BYTES = 4_000_000
_HEAD_BYTES = 1024
_KERAS = b"_tf_keras"
_TEXT_TOKEN = re.compile(
    r"""#[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|["'][\s\S]*|[{}<>]|[A-Za-z_][\w.]*|\S"""
)


class ModelKind(str, Enum):
    """The format family of a SavedModel, by what TensorFlow users call it."""

    TF2 = "TF2"
    TF1 = "TF1"
    TF1_HUB = "TF1 Hub"
    KERAS = "Keras"


def check_structure(model: Path) -> ModelKind:
    """The kind of the SavedModel in the directory `model`, once its files are found whole.

    Read are the outline of saved_model.pb or .pbtxt, the whole of
    variables.index, and the length of each shard that it names.
    Raises BrokenModelError with the file and its fault.
    """
    try:
        kind = model_kind(model)
        _check_variables(model / "variables")
    except OSError as error:
        raise BrokenModelError(f"{error.filename or model} can't be read: {error.strerror}") from error
    return kind


def model_kind(model: Path) -> ModelKind:
    """The kind of the SavedModel in the directory `model`, from the outline of its main file.

    Raises BrokenModelError where that file is missing or something else.
    """
    main = main_file(model)
    if main.suffix == ".pb":
        kind = _kind_of_binary(main)
    elif main.suffix == ".pbtxt":
        kind = _kind_of_text(main)
    else:
        kind = ModelKind.TF2  # Chunked files come from TensorFlow 2.15 and newer alone.
    if (model / "tfhub_module.pb").is_file():
        return ModelKind.TF1_HUB
    return ModelKind.KERAS if (model / "keras_metadata.pb").is_file() else kind


def main_file(model: Path) -> Path:
    """The file that makes the directory a SavedModel; raises BrokenModelError where there is none."""
    main = next((model / name for name in MAIN_FILES if (model / name).is_file()), None)
    if main is None:
        raise BrokenModelError(
            f"No SavedModel: neither {MAIN_FILES[0]} nor {MAIN_FILES[1]} is there",
            hint="A SavedModel archive has saved_model.pb at its root (or in one top folder).",
        )
    return main


def _kind_of_binary(main: Path) -> ModelKind:
    with contents(main, for_outline=True) as data:
        refuse_look_alike(main.name, data[:_HEAD_BYTES])
        try:
            kinds = [_kind_of_meta_graph(data, field) for field in messages(data, _META_GRAPHS)]
        except BrokenModelError as error:
            raise BrokenModelError(f"{main.name} can't be read as a SavedModel: {error.message}") from error
        if not kinds:
            raise BrokenModelError(f"{main.name} holds no MetaGraph ({len(data)} bytes)")
    return kinds[0]


def _kind_of_meta_graph(data: Bytes, meta_graph: Field) -> ModelKind:
    fields = {field.number: field for field in scan(data, meta_graph.start, meta_graph.end)}
    if not fields.keys() & {_META_INFO_DEF, _GRAPH_DEF}:
        raise BrokenModelError("a MetaGraph has no graph")
    objects = fields.get(_OBJECT_GRAPH_DEF)
    if objects is None or not objects.is_message(_OBJECT_GRAPH_DEF):
        return ModelKind.TF1
    return ModelKind.KERAS if _is_keras(data, objects) else ModelKind.TF2


def _is_keras(data: Bytes, objects: Field) -> bool:
    """Whether the root object says that Keras 2 wrote it (before keras_metadata.pb, TF < 2.5)."""
    root = next(scan(data, objects.start, objects.end), None)
    if root is None or not root.is_message(_NODES):
        return False
    # Lists, so that each message is known to be whole before the answer.
    for user_object in list(messages(data, _USER_OBJECT, root.start, root.end)):
        for identifier in list(messages(data, _IDENTIFIER, user_object.start, user_object.end)):
            end = min(identifier.end, identifier.start + len(_KERAS))
            return data[identifier.start : end] == _KERAS
    return False


def _kind_of_text(main: Path) -> ModelKind:
    """The kind by the field names of the text format, nesting checked."""
    if main.stat().st_size > _MAX_TEXT_BYTES:
        raise BrokenModelError(
            f"{main.name} is larger than {format_size(_MAX_TEXT_BYTES)}: too large for text"
        )
    text = read_regular(main, _MAX_TEXT_BYTES).decode("utf-8", "replace")
    names = _require_text_model(main.name, text)
    return ModelKind.TF2 if (1, "object_graph_def") in names else ModelKind.TF1


def _require_text_model(name: str, text: str) -> set[tuple[int, str]]:
    """The field names in the two outer levels of a SavedModel in text form, with their levels.

    Raises BrokenModelError for what looks like one and isn't, and for braces that don't match.
    """
    refuse_look_alike(name, text[:_HEAD_BYTES].encode())
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
    from hubcli.formats.schema import from_text

    if len(raw) > _MAX_READ_TEXT_BYTES:
        raise BrokenModelError(
            f"{name} is larger than {format_size(_MAX_READ_TEXT_BYTES)}: too slow to read as text",
            hint="Save the model anew, in binary form.",
        )
    text = bytes(raw).decode("utf-8", "replace")
    _require_text_model(name, text)
    return from_text("SavedModel", text)


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


def _check_variables(folder: Path) -> None:
    index = read_index(folder)
    if index is None:
        return
    for shard, expected in enumerate(index.shard_sizes_bytes()):
        name = index.shard_name(shard)
        if not (folder / name).is_file():
            raise BrokenModelError(f"variables/{name} is missing; the index names it")
        size = (folder / name).stat().st_size
        if size < expected:
            raise BrokenModelError(f"variables/{name} has {size} bytes; the index needs {expected}")


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
