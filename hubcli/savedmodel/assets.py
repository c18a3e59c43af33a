"""The assets that a SavedModel declares: files below `assets/` that it opens when it is loaded.

Source: tensorflow/core/protobuf/meta_graph.proto; TensorFlow 1 declares them in
the collection `saved_model_assets` (tensorflow/python/saved_model/constants.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from hubcli.formats.wire import LENGTH_DELIMITED, Bytes, Field, scan

__all__ = ["climbs_out", "declared_assets"]

_META_GRAPHS = 2
_COLLECTION_DEF, _ASSET_FILE_DEF = 4, 6
_KEY, _VALUE, _ANY_LIST, _ANY, _ANY_VALUE = 1, 2, 5, 1, 2
_FILENAME = 2
_COLLECTION = b"saved_model_assets"


def declared_assets(data: Bytes) -> tuple[str, ...]:
    """The file names of the assets in saved_model.pb, relative to `assets/`, each once, sorted.

    Names are as declared: they may climb out, see `climbs_out`. Raises
    BrokenModelError where the message isn't whole.
    """
    names: set[bytes] = set()
    for meta_graph in _bodies(data, _META_GRAPHS):
        for asset in _assets_of(data, meta_graph):
            names.update(data[name.start : name.end] for name in _bodies(data, _FILENAME, asset))
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
    yield from _bodies(data, _ASSET_FILE_DEF, meta_graph)
    for collection in _bodies(data, _COLLECTION_DEF, meta_graph):
        if any(data[key.start : key.end] == _COLLECTION for key in _bodies(data, _KEY, collection)):
            found = iter([collection])
            for number in (_VALUE, _ANY_LIST, _ANY, _ANY_VALUE):
                found = _within(data, number, found)
            yield from found


def _within(data: Bytes, number: int, messages: Iterator[Field]) -> Iterator[Field]:
    for message in messages:
        yield from _bodies(data, number, message)


def _bodies(data: Bytes, number: int, message: Field | None = None) -> Iterator[Field]:
    """The fields of that number that hold bytes: of the message, or of all the data."""
    fields = scan(data) if message is None else scan(data, message.start, message.end)
    for field in fields:
        if field.number == number and field.wire_type == LENGTH_DELIMITED:
            yield field
