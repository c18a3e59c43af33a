"""How a SavedModel's directory is laid out: main file, format, index of the tensors, shards and assets.

Read from the outline of the main file, so that a fetch or a listing needn't load protobuf. Source:
tensorflow/core/protobuf/saved_model.proto, meta_graph.proto and saved_object_graph.proto (field numbers),
tensorflow/python/saved_model/constants.py (file names); the files beside them are those of TF1 Hub modules
and of Keras 2 (TensorFlow 2.5 to 2.15).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats import MAIN_FILES
from hubcli.formats.tensor_bundle import BundleIndex
from hubcli.formats.wire import LENGTH_DELIMITED, Bytes, Field, messages, scan
from hubcli.regular_file import contents, read_regular
from hubcli.units import format_size

__all__ = [
    "HEAD_BYTES",
    "KERAS_METADATA",
    "TF1_HUB_MARKER",
    "ModelFormat",
    "Shard",
    "binary_of_text",
    "check_structure",
    "climbs_out",
    "declared_assets",
    "detect_format",
    "format_of_kind",
    "main_file",
    "read_index",
    "refuse_look_alike",
    "require_text_model",
    "shards_of",
    "size_below",
]

_MAX_INDEX_BYTES = 1 << 28
# protobuf reads about a megabyte of text in a second.
_MAX_READ_TEXT_BYTES = 4_000_000
HEAD_BYTES = 1024
# Compiled when it is first used: few models are text.
_LEXEME = r"""#[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|["'][\s\S]*|[{}<>]|[A-Za-z_][\w.]*|\S"""


def main_file(model: Path) -> Path:
    """The file that makes the directory a SavedModel. Raises BrokenModelError if it is missing."""
    main = next((model / name for name in MAIN_FILES if (model / name).is_file()), None)
    if main is None:
        raise BrokenModelError(
            f"Not a SavedModel: neither {MAIN_FILES[0]} nor {MAIN_FILES[1]} was found",
            hint="Specify the directory of saved_model.pb. An archive has it at its root or in one folder.",
        )
    return main


def refuse_look_alike(name: str, head: bytes) -> None:
    """Raises BrokenModelError if the file is empty, a git-LFS pointer or a web page."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if not head:
        raise BrokenModelError(f"{name} is empty")
    if start.startswith(b"version https://git-lfs"):
        raise BrokenModelError(
            f"{name} is a git-LFS pointer, not the model itself",
            hint="Run git lfs pull where the model was packed, then pack it again.",
        )
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise BrokenModelError(f"{name} is a web page, not a SavedModel")


def require_text_model(name: str, text: str) -> set[tuple[int, str]]:
    """The field names in the two outer levels of a SavedModel in text form, with their levels.

    Raises BrokenModelError for a text that only looks like one, and for unbalanced braces.
    """
    refuse_look_alike(name, text[:HEAD_BYTES].encode())
    depth, names = 0, set[tuple[int, str]]()
    for word in (match[0] for match in re.finditer(_LEXEME, text)):
        depth += (word in "{<") - (word in "}>")
        if depth < 0:
            break
        if depth < 2 and (word[0].isalpha() or word[0] == "_"):
            names.add((depth, word))
    if (0, "item") in names:
        raise BrokenModelError(f"{name} is a label map, not a SavedModel")
    if (0, "meta_graphs") not in names:
        raise BrokenModelError(f"{name} has no meta_graphs: not a SavedModel")
    if depth != 0:
        raise BrokenModelError(f"{name} has unbalanced braces: it is truncated or corrupt")
    return names


def binary_of_text(name: str, raw: Bytes) -> bytes:
    """The binary form of the SavedModel in text form, with the fields that formats/protos.py lists.

    Raises BrokenModelError for an invalid one.
    """
    # Imported here: few models are text, and protobuf need not be loaded for the others.
    from hubcli.formats.protos import from_text

    if len(raw) > _MAX_READ_TEXT_BYTES:
        raise BrokenModelError(
            f"{name} is larger than {format_size(_MAX_READ_TEXT_BYTES)}: too slow to read as text",
            hint="Save the model again, in binary form.",
        )
    text = bytes(raw).decode("utf-8", "replace")
    require_text_model(name, text)
    return from_text("SavedModel", text)


def read_index(folder: Path) -> BundleIndex | None:
    """The index of the bundle in `folder`; None if the model has no variables.

    Raises BrokenModelError if it is missing beside its shards, or isn't whole; OSError.
    """
    index_file = folder / "variables.index"
    if not index_file.is_file():
        if folder.is_dir() and any(folder.glob("variables.data-*")):
            raise BrokenModelError("variables/variables.index is missing, but its data shards exist")
        return None
    if index_file.stat().st_size > _MAX_INDEX_BYTES:
        raise BrokenModelError("variables/variables.index is larger than 256 MiB")
    try:
        return BundleIndex.read(read_regular(index_file, _MAX_INDEX_BYTES))
    except BrokenModelError as error:
        raise BrokenModelError(f"variables/variables.index: {error.message}") from error


TF1_HUB_MARKER, KERAS_METADATA = "tfhub_module.pb", "keras_metadata.pb"
_META_GRAPHS = 2
_META_INFO_DEF, _GRAPH_DEF, _OBJECT_GRAPH_DEF = 1, 2, 7
_NODES, _CHILDREN, _CHILD_NAME, _USER_OBJECT, _IDENTIFIER = 1, 1, 2, 4, 1
_OTHER_KINDS = (5, 6, 7, 8, 9, 10, 12)  # of a SavedObject, beside a user object
_MAX_TEXT_BYTES = 32_000_000
# The class of the root in Keras 2; a child of the root in an export of Keras 3, which has no `__call__`.
_KERAS_2_ROOT, _KERAS_3_CHILD = "_tf_keras", "_misc_assets"
# How many children of the root are read at most.
_MAX_CHILDREN = 10_000


class ModelFormat(str, Enum):
    """The format of a model, in words that scripts may rely on.

    `label` is for people; `kind` is the coarser word that `ls` has shown from the first release on.
    """

    label: str
    kind: str

    def __new__(cls, value: str, label: str, kind: str) -> ModelFormat:  # noqa: D102
        member = str.__new__(cls, value)
        member._value_ = value
        member.label = label
        member.kind = kind
        return member

    TF2 = "tf2", "TF2 object SavedModel", "TF2"
    TF1 = "tf1", "TF1 SavedModel", "TF1"
    TF1_HUB = "tf1-hub", "TF1 Hub format", "TF1 Hub"
    KERAS_2 = "keras2", "Keras 2 SavedModel", "Keras"
    KERAS_3_EXPORT = "keras3-export", "Keras 3 export", "TF2"

    @classmethod
    def of_root(cls, identifier: str, children: Collection[str]) -> ModelFormat:
        """The format of a model with objects, by the root's identifier and the names of its children."""
        if identifier.startswith(_KERAS_2_ROOT):
            return cls.KERAS_2
        return cls.KERAS_3_EXPORT if _KERAS_3_CHILD in children and "__call__" not in children else cls.TF2

    def beside(self, *, has_hub_marker: bool, has_keras_metadata: bool) -> ModelFormat:
        """The format, given the files beside the main file: TF1 Hub module, Keras 2 model, or this one."""
        if has_hub_marker:
            return ModelFormat.TF1_HUB
        return ModelFormat.KERAS_2 if has_keras_metadata else self


def detect_format(model: Path) -> ModelFormat:
    """The format of the SavedModel in the directory `model`, from the outline of its main file.

    Raises BrokenModelError if that file is missing or something else, OSError.
    """
    main = main_file(model)
    if main.suffix == ".pb":
        found = _of_binary(main)
    elif main.suffix == ".pbtxt":
        found = _of_text(main)
    else:
        found = ModelFormat.TF2  # Chunked files come from TensorFlow 2.15 and newer alone.
    return found.beside(
        has_hub_marker=(model / TF1_HUB_MARKER).is_file(),
        has_keras_metadata=(model / KERAS_METADATA).is_file(),
    )


_ONLY_FORMATS = {known.kind: known for known in ModelFormat if known.kind != ModelFormat.TF2.kind}


def format_of_kind(kind: str, model: str) -> ModelFormat:
    """The format of the SavedModel in the directory `model`, whose kind is known from its record.

    Only TF2 stands for several: a small file without the name that Keras 3 exports have is not parsed.
    Raises BrokenModelError, OSError.
    """
    if kind in _ONLY_FORMATS:
        return _ONLY_FORMATS[kind]
    if kind == ModelFormat.TF2.kind:
        with suppress(FileNotFoundError), contents(f"{model}/{MAIN_FILES[0]}", for_outline=True) as data:
            if isinstance(data, bytes) and _KERAS_3_CHILD.encode() not in data:
                return ModelFormat.TF2
    return detect_format(Path(model))


def _of_binary(main: Path) -> ModelFormat:
    with contents(main, for_outline=True) as data:
        refuse_look_alike(main.name, data[:HEAD_BYTES])
        try:
            formats = [_of_meta_graph(data, field) for field in messages(data, _META_GRAPHS)]
        except BrokenModelError as error:
            raise BrokenModelError(f"{main.name} cannot be read as a SavedModel: {error.message}") from error
        if not formats:
            raise BrokenModelError(f"{main.name} has no MetaGraph ({len(data)} bytes)")
    return formats[0]


def _of_meta_graph(data: Bytes, meta_graph: Field) -> ModelFormat:
    fields = list(scan(data, meta_graph.start, meta_graph.end))
    if not any(field.number in (_META_INFO_DEF, _GRAPH_DEF) for field in fields):
        raise BrokenModelError("a MetaGraph has no graph")
    # As protobuf reads them: pieces of a message are joined, in any order of their fields.
    pieces = [field for field in fields if field.is_message(_OBJECT_GRAPH_DEF)]
    if not pieces:
        return ModelFormat.TF1
    root = next((node for piece in pieces for node in _within(data, _NODES, [piece])), None)
    if root is None:
        return ModelFormat.TF2
    return ModelFormat.of_root(_identifier(data, root), _children(data, root))


def _identifier(data: Bytes, root: Field) -> str:
    """The start of the root's identifier, as long as Keras 2's (TF < 2.5 has no keras_metadata.pb)."""
    found = ""
    # All of them: of several, protobuf reads the last, and none before another kind of object.
    for kind in scan(data, root.start, root.end):
        if kind.number in _OTHER_KINDS and kind.wire_type == LENGTH_DELIMITED:
            found = ""
        for identifier in _within(data, _IDENTIFIER, [kind] if kind.is_message(_USER_OBJECT) else []):
            end = min(identifier.end, identifier.start + len(_KERAS_2_ROOT))
            found = bytes(data[identifier.start : end]).decode("utf-8", "replace")
    return found


def _children(data: Bytes, root: Field) -> set[str]:
    names = set[str]()
    for number, child in enumerate(messages(data, _CHILDREN, root.start, root.end)):
        if number == _MAX_CHILDREN:
            break
        for name in messages(data, _CHILD_NAME, child.start, child.end):
            names.add(bytes(data[name.start : name.end]).decode("utf-8", "replace"))
    return names


def _of_text(main: Path) -> ModelFormat:
    """By the field names of the text format, nesting checked."""
    if main.stat().st_size > _MAX_TEXT_BYTES:
        raise BrokenModelError(
            f"{main.name} is larger than {format_size(_MAX_TEXT_BYTES)}: too large for text"
        )
    text = read_regular(main, _MAX_TEXT_BYTES).decode("utf-8", "replace")
    names = require_text_model(main.name, text)
    return ModelFormat.TF2 if (1, "object_graph_def") in names else ModelFormat.TF1


_COLLECTION_DEF, _ASSET_FILE_DEF = 4, 6
_KEY, _VALUE, _ANY_LIST, _ANY, _ANY_VALUE = 1, 2, 5, 1, 2
_FILENAME = 2
_COLLECTION = b"saved_model_assets"
_MAX_ASSETS = 100_000


def declared_assets(data: Bytes) -> tuple[str, ...]:
    """The file names of the assets in saved_model.pb, relative to `assets/`, each once, sorted.

    Found without parsing, so that a check of files needn't load protobuf; with an outline, use
    `declared_assets_of`. Names are as declared: they may lead out of `assets/`, see `climbs_out`. Raises
    BrokenModelError for a truncated message, and for more assets than a model can need.
    """
    names: set[bytes] = set()
    meta_graphs = messages(data, _META_GRAPHS)
    for count, asset in enumerate(asset for found in meta_graphs for asset in _assets_of(data, found)):
        if count >= _MAX_ASSETS:
            raise BrokenModelError(f"it declares more than {_MAX_ASSETS} assets")
        names.update(data[name.start : name.end] for name in _within(data, _FILENAME, [asset]))
    return tuple(sorted(name.decode("utf-8", "surrogateescape") for name in names))


def climbs_out(name: str) -> bool:
    """Whether the declared name leads to a file that is not below `assets/`.

    >>> climbs_out("../../etc/hostname"), climbs_out("vocabulary/words.txt")
    (True, False)
    """
    path = PurePosixPath(name)
    return path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or "\0" in name


def _assets_of(data: Bytes, meta_graph: Field) -> Iterator[Field]:
    """Every AssetFileDef of the MetaGraph, in both places."""
    yield from _within(data, _ASSET_FILE_DEF, [meta_graph])
    for collection in _within(data, _COLLECTION_DEF, [meta_graph]):
        keys = _within(data, _KEY, [collection])
        if any(data[key.start : key.end] == _COLLECTION for key in keys):
            found: Iterable[Field] = [collection]
            for number in (_VALUE, _ANY_LIST, _ANY, _ANY_VALUE):
                found = _within(data, number, found)
            yield from found


def _within(data: Bytes, number: int, outer: Iterable[Field]) -> Iterator[Field]:
    """The messages of that number in each of the outer ones."""
    for message in outer:
        yield from messages(data, number, message.start, message.end)


def check_structure(model: Path) -> ModelFormat:
    """The format of the SavedModel in the directory `model`, after a check that its files are complete.

    It reads the outline of saved_model.pb or .pbtxt, all of variables.index, and the size of each shard that
    this names. Raises BrokenModelError with the file and its fault.
    """
    try:
        found = detect_format(model)
        _check_variables(model)
    except OSError as error:
        raise BrokenModelError(f"Cannot read {error.filename or model}: {error.strerror}") from error
    return found


class Shard(NamedTuple):
    """A shard that an index names, its size (None if there is no file) and the size that is needed."""

    path: str
    size_bytes: int | None
    needed_bytes: int

    @property
    def is_short(self) -> bool:
        """Whether there is a file that ends before the last tensor does."""
        return self.size_bytes is not None and self.size_bytes < self.needed_bytes


def shards_of(index: BundleIndex, size_of: Callable[[str], int | None]) -> Iterator[Shard]:
    """Every shard that the index names, by number; `size_of` returns the size of the file at a path."""
    for number, needed_bytes in enumerate(index.shard_sizes_bytes()):
        path = f"variables/{index.shard_name(number)}"
        yield Shard(path, size_of(path), needed_bytes)


def size_below(model: Path) -> Callable[[str], int | None]:
    """A function that returns the size of a file in the model's directory, links followed; or None."""

    def size_of(path: str) -> int | None:
        file = model / path
        return file.stat().st_size if file.is_file() else None

    return size_of


def _check_variables(model: Path) -> None:
    index = read_index(model / "variables")
    if index is None:
        return
    for path, size, needed in shards_of(index, size_below(model)):
        if size is None:
            raise BrokenModelError(f"{path} is missing; the index names it")
        if size < needed:
            raise BrokenModelError(f"{path} has {size} bytes; the index needs {needed}")
