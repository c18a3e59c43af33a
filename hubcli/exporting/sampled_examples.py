"""Generated records for signatures that take serialized tf.Examples, as those of TFX and estimators do.

Made-up words aren't such records, so without them these signatures could neither be compared nor warmed up.
Sources: tensorflow/core/example/feature.proto, tensorflow/core/ops/parsing_ops.cc.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hubcli.formats.wire import encode_field, encode_varint
from hubcli.formats.wire_message import WireMessage
from hubcli.savedmodel.edit.editable import types_of
from hubcli.savedmodel.graph import GraphBody, read_outline
from hubcli.savedmodel.nodes import Node

__all__ = ["sampled_examples"]

_PARSER, _OLD_PARSER = "ParseExampleV2", "ParseExample"
_FLOAT, _STRING = 1, 7  # DataType; what is neither is int64.
_LIST, _SHAPES = 1, 7  # of AttrValue; of ListValue
_RECORDS, _MAX_FEATURES, _MAX_VALUES = 64, 10_000, 1 << 16
_MAX_RECORD_BYTES, _NUMBER_BYTES = 1 << 20, 4  # A record has the names of its features, of any length.
_GOLDEN_RATIO = 0.6180339887
_WORDS = ("the", "cat")


class _Feature(NamedTuple):
    """A feature that a graph parses, with the number of values that a record has."""

    name: bytes
    dtype: int
    size: int


def sampled_examples(model: Path, words: Sequence[str]) -> tuple[bytes, ...]:
    """Serialized tf.Examples with each feature that the model's graph parses; none if it parses none.

    Floats are spread over [0, 1), integers are 0 and 1, texts are `words` or some of ours. Raises
    BrokenModelError, OSError.
    """
    with read_outline(model) as outlines:
        features = {
            feature.name: feature
            for outline in outlines
            for body in outline.graph.bodies
            for node in body.nodes_of_ops({_PARSER, _OLD_PARSER})
            for feature in _features(body, node)
        }
    if not features or len(features) > _MAX_FEATURES:
        return ()
    if sum(feature.size for feature in features.values()) > _MAX_VALUES:
        return ()
    texts = [word.encode() for word in words or _WORDS]
    if sum(_max_bytes(feature, texts) for feature in features.values()) > _MAX_RECORD_BYTES:
        return ()
    return tuple(_record(tuple(features.values()), number, texts) for number in range(_RECORDS))


def _max_bytes(feature: _Feature, texts: Sequence[bytes]) -> int:
    """How many bytes the feature takes in a record at most, beside tags and lengths."""
    value_bytes = max(map(len, texts)) if feature.dtype == _STRING else _NUMBER_BYTES
    return len(feature.name) + feature.size * value_bytes


def _features(body: GraphBody, parser: Node) -> Iterator[_Feature]:
    """Those that the op parses; none where the graph computes their names."""
    attributes = {name: WireMessage(value) for name, value in parser.attributes()}
    sparse = types_of(attributes.get("sparse_types", WireMessage(b"")))
    dense = types_of(attributes.get("Tdense", WireMessage(b"")))
    sizes = [
        _size_of(shape)
        for values in attributes.get("dense_shapes", WireMessage(b"")).messages(_LIST)
        for shape in values.messages(_SHAPES)
    ]
    sources = parser.sources
    if parser.op == _PARSER:
        sparse_keys = _texts(body, sources[2:3])
        dense_keys = _texts(body, sources[3:4])
    else:
        sparse_keys = _texts(body, sources[2 : 2 + len(sparse)])
        dense_keys = _texts(body, sources[2 + len(sparse) : 2 + len(sparse) + len(dense)])
    for name, dtype in zip(sparse_keys, sparse, strict=False):
        yield _Feature(name, dtype, 1)
    for name, dtype, size in zip(dense_keys, dense, sizes, strict=False):
        yield _Feature(name, dtype, size)


def _size_of(shape: WireMessage) -> int:
    """How many values a feature of that shape has, with one for an unknown size."""
    count = 1
    for dimension in shape.messages(2):
        size = dimension.integer(1)
        # A product of a million large sizes would take hours. An unknown size is -1, as 64 bits.
        count = min(count * (size if size < 1 << 63 else 1), _MAX_VALUES + 1)
    return count


def _texts(body: GraphBody, sources: Sequence[str]) -> list[bytes]:
    """The texts of the constants in their order; none if one is computed."""
    found: list[bytes] = []
    for source in sources:
        node = body.by_name.get(source.partition(":")[0])
        texts = node.strings("value") if node is not None else None
        if texts is None:
            return []
        found += texts
    return found


def _record(features: Sequence[_Feature], number: int, words: Sequence[bytes]) -> bytes:
    """One tf.Example; each number gives another."""
    entries = list[bytes]()
    for place, (name, dtype, size) in enumerate(features):
        numbers = range(number + place, number + place + size)
        entry = encode_field(1, name) + encode_field(2, _encoded(dtype, numbers, words))
        entries.append(encode_field(1, entry))
    return encode_field(1, b"".join(entries))


def _encoded(dtype: int, numbers: Sequence[int], words: Sequence[bytes]) -> bytes:
    """The Feature with a value for each number."""
    if dtype == _STRING:
        texts = b"".join(encode_field(1, words[number % len(words)]) for number in numbers)
        return encode_field(1, texts)
    if dtype == _FLOAT:
        spread = [(number * _GOLDEN_RATIO) % 1.0 for number in numbers]
        return encode_field(2, encode_field(1, struct.pack(f"<{len(spread)}f", *spread)))
    bits = b"".join(encode_varint(number % 2) for number in numbers)
    return encode_field(3, encode_field(1, bits))
