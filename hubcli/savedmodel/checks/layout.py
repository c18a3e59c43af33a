"""The layout of a SavedModel directory: whether all files that it declares are there, and none leads out.

Source: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto and
saved_object_graph.proto (field numbers), tensorflow/python/saved_model/constants.py
(file names). The graph itself is not parsed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.tensor_bundle import BundleIndex
from hubcli.formats.wire import Bytes, Field, messages
from hubcli.savedmodel.model_format import ModelFormat, detect_format, read_index

__all__ = ["Shard", "check_structure", "climbs_out", "declared_assets", "shards_of", "size_below"]

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
        _check_variables(model)
    except OSError as error:
        raise BrokenModelError(f"{error.filename or model} can't be read: {error.strerror}") from error
    return found


class Shard(NamedTuple):
    """A shard that an index names, its size (None where there is no file) and the size that is needed."""

    path: str
    size_bytes: int | None
    needed_bytes: int

    @property
    def is_short(self) -> bool:
        """Whether there is a file that ends before the last tensor does."""
        return self.size_bytes is not None and self.size_bytes < self.needed_bytes


def shards_of(index: BundleIndex, size_of: Callable[[str], int | None]) -> Iterator[Shard]:
    """Every shard that the index names, by number; `size_of` tells the bytes of the file at a path."""
    for number, needed_bytes in enumerate(index.shard_sizes_bytes()):
        path = f"variables/{index.shard_name(number)}"
        yield Shard(path, size_of(path), needed_bytes)


def size_below(model: Path) -> Callable[[str], int | None]:
    """Tells the size of a file in the model's directory, links followed; None where there is none."""

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
