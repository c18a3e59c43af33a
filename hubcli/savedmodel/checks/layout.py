"""The layout of a SavedModel directory: whether all files that it declares are there, and none leads out.

Source: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto and
saved_object_graph.proto (field numbers), tensorflow/python/saved_model/constants.py
(file names). The graph itself is not parsed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from hubcli.errors import BrokenModelError
from hubcli.formats.wire import Bytes, Field, messages
from hubcli.savedmodel.main_file import read_index
from hubcli.savedmodel.model_format import ModelFormat, detect_format

__all__ = ["check_structure", "climbs_out", "declared_assets"]

_COLLECTION_DEF, _ASSET_FILE_DEF = 4, 6
_KEY, _VALUE, _ANY_LIST, _ANY, _ANY_VALUE = 1, 2, 5, 1, 2
_FILENAME = 2
_COLLECTION = b"saved_model_assets"


def declared_assets(data: Bytes) -> tuple[str, ...]:
    """The file names of the assets in saved_model.pb, relative to `assets/`, each once, sorted.

    Found on the wire, so that a check of files needn't load protobuf: who has
    an outline asks `declared_assets_of`. Names are as declared: they may climb
    out, see `climbs_out`. Raises BrokenModelError where the message isn't whole.
    """
    names: set[bytes] = set()
    for meta_graph in messages(data, _META_GRAPHS):
        found = _within(data, _FILENAME, _assets_of(data, meta_graph))
        names.update(data[name.start : name.end] for name in found)
    return tuple(sorted(name.decode("utf-8", "surrogateescape") for name in names))


def climbs_out(name: str) -> bool:
    """Whether the declared name isn't that of a file below `assets/`.

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


_META_GRAPHS = 2


def check_structure(model: Path) -> ModelFormat:
    """The format of the SavedModel in the directory `model`, once its files are found whole.

    Read are the outline of saved_model.pb or .pbtxt, the whole of
    variables.index, and the length of each shard that it names.
    Raises BrokenModelError with the file and its fault.
    """
    try:
        found = detect_format(model)
        _check_variables(model / "variables")
    except OSError as error:
        raise BrokenModelError(f"{error.filename or model} can't be read: {error.strerror}") from error
    return found


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
