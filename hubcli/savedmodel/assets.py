"""The assets that a SavedModel declares: files below `assets/` that it opens when it is loaded.

Source: tensorflow/core/protobuf/meta_graph.proto; TensorFlow 1 declares them in
the collection `saved_model_assets` (tensorflow/python/saved_model/constants.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from hubcli.formats.wire import Bytes, Field, messages

__all__ = ["climbs_out", "declared_assets"]

_META_GRAPHS = 2
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
