"""The object graph that a checkpoint holds: it ties paths to the keys of tensors.

Source: tensorflow/core/protobuf/trackable_object_graph.proto.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hubcli.errors import BrokenModelError
from hubcli.formats.protos import parse
from hubcli.formats.tensor_bundle import OBJECT_GRAPH_KEY, BundleIndex
from hubcli.formats.wire import read_varint
from hubcli.regular_file import open_regular
from hubcli.savedmodel.objects import ObjectGraph

__all__ = ["ATTRIBUTE", "keys_by_lockstep", "saved_objects"]

_MAX_BYTES = 1 << 28
ATTRIBUTE = "VARIABLE_VALUE"
_CHECKSUM_BYTES = 4


def keys_by_lockstep(objects: ObjectGraph, index: BundleIndex, model: Path) -> dict[int, str]:
    """The checkpoint key of each object that has one, by its number in `objects`.

    Both graphs are walked together from their roots, along the names that both
    have. Empty where the checkpoint holds no object graph, or its shard isn't there.
    """
    nodes = saved_objects(index, model / "variables")
    if not nodes:
        return {}
    pairs, waiting = {0: 0}, [0]
    while waiting:
        node = waiting.pop()
        saved = {child.local_name: child.node_id for child in nodes[pairs[node]].children}
        for child in objects.children(node):
            other = saved.get(child.name)
            if other is not None and 0 <= other < len(nodes) and child.node not in pairs:
                pairs[child.node] = other
                waiting.append(child.node)
    return {
        node: attribute.checkpoint_key
        for node, other in pairs.items()
        for attribute in nodes[other].attributes
        if attribute.name == ATTRIBUTE
    }


def saved_objects(index: BundleIndex, folder: Path, prefix: str = "variables") -> Sequence[Any]:
    """The TrackableObjects of the bundle in `folder`, the root first; empty where it has none, or cut off.

    Raises BrokenModelError where they can't be read.
    """
    encoded = _encoded_object_graph(index, folder, prefix)
    nodes: Sequence[Any] = () if encoded is None else parse("TrackableObjectGraph", encoded).nodes
    return nodes


def _encoded_object_graph(index: BundleIndex, folder: Path, prefix: str) -> bytes | None:
    """The TrackableObjectGraph that the bundle in `folder` holds; None where it holds none, or a broken one.

    It is the one string of its tensor: its length, the checksum of the length, itself.
    """
    entry = index.by_name.get(OBJECT_GRAPH_KEY)
    if entry is None or entry.size_bytes > _MAX_BYTES or entry.shape:
        return None
    try:
        with open_regular(folder / index.shard_name(entry.shard, prefix), is_buffered=True) as shard:
            shard.seek(entry.offset)
            data = shard.read(entry.size_bytes)
    except (OSError, OverflowError, ValueError):
        return None
    try:
        length, start = read_varint(data, 0)
    except BrokenModelError:
        return None
    start += _CHECKSUM_BYTES
    return data[start : start + length] if start + length == len(data) else None
