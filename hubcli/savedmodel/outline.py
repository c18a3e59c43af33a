"""saved_model.pb, taken apart: each MetaGraph's parts, none of them read more than it must be.

Source: tensorflow/core/protobuf/saved_model.proto and meta_graph.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.protos import parse
from hubcli.formats.wire import Bytes, Field, messages, scan
from hubcli.regular_file import contents
from hubcli.savedmodel.graph import Graph
from hubcli.savedmodel.model_format import binary_of_text, main_file, refuse_look_alike

__all__ = ["MetaGraphOutline", "declared_assets_of", "fed_assets_of", "read_outline"]

_META_GRAPHS = 2
_ASSETS_COLLECTION = "saved_model_assets"
_GRAPH_DEF, _OBJECT_GRAPH_DEF = 2, 7
_MAX_META_GRAPHS = 100
_MAX_TAGS, _MAX_SIGNATURE_TENSORS, _MAX_COLLECTED = 1000, 50_000, 200_000
_MAX_PART_BYTES = 1 << 28
_HEAD_BYTES = 1024


class MetaGraphOutline(NamedTuple):
    """A MetaGraph: `rest` is its MetaGraphDef without graph and objects, which stand beside it.

    `objects` is its SavedObjectGraph, None where TensorFlow 1 wrote it, and
    `object_bytes` what that was read from.
    """

    rest: Any
    graph: Graph
    objects: Any | None
    object_bytes: bytes = b""

    def objects_may_name(self, function: str) -> bool:
        """Whether the name stands anywhere in the object graph: a quick look before a long one."""
        return function.encode() in self.object_bytes


@contextmanager
def read_outline(model: Path) -> Iterator[tuple[MetaGraphOutline, ...]]:
    """The MetaGraphs of the model in that directory, in file order; at least one.

    The graphs are read from the open file when they are walked: only within
    the context. Raises BrokenModelError with the file and its fault, OSError.
    """
    main = main_file(model)
    if main.suffix == ".cpb":
        raise BrokenModelError(
            f"{main.name} is a SavedModel in chunks, as TensorFlow writes one of more than 2 GB: "
            "hubcli can't read it yet",
            hint="TensorFlow's own loader reads it: tf.saved_model.load(…).",
        )
    with contents(main) as raw:
        refuse_look_alike(main.name, raw[:_HEAD_BYTES])
        data = binary_of_text(main.name, raw) if main.suffix == ".pbtxt" else raw
        try:
            yield _outlines(data)
        except BrokenModelError as error:
            raise BrokenModelError(
                f"{main.name} can't be read as a SavedModel: {error.message}", hint=error.hint
            ) from error


def _outlines(data: Bytes) -> tuple[MetaGraphOutline, ...]:
    fields = list(messages(data, _META_GRAPHS))
    if not fields:
        raise BrokenModelError(f"it holds no MetaGraph ({len(data)} bytes)")
    if len(fields) > _MAX_META_GRAPHS:
        raise BrokenModelError(f"it holds {len(fields)} MetaGraphs")
    return tuple(_outline(data, field) for field in fields)


def _outline(data: Bytes, meta_graph: Field) -> MetaGraphOutline:
    graphs, objects, rest = list[Field](), list[Field](), bytearray()
    position = meta_graph.start
    for field in scan(data, meta_graph.start, meta_graph.end):
        if field.is_message(_GRAPH_DEF):
            graphs.append(field)
        elif field.is_message(_OBJECT_GRAPH_DEF):
            objects.append(field)
        else:
            rest += data[position : field.end]
        position = field.end
    parsed = parse("MetaGraphDef", bytes(rest))
    _require_moderate(parsed)
    # Protobuf's rule for a message that comes in several pieces is to join them.
    joined = b"".join(data[field.start : field.end] for field in objects)
    return MetaGraphOutline(
        rest=parsed,
        graph=Graph(data, tuple(graphs)),
        objects=_objects(joined) if objects else None,
        object_bytes=joined,
    )


def _require_moderate(rest: Any) -> None:
    """Raises BrokenModelError where there is more of something than a model can need."""
    definitions, collections = rest.signature_def.values(), rest.collection_def.values()
    tensors = sum(len(definition.inputs) + len(definition.outputs) for definition in definitions)
    collected = sum(
        len(collection.bytes_list.value) + len(collection.node_list.value) for collection in collections
    )
    if (
        len(rest.meta_info_def.tags) > _MAX_TAGS
        or tensors > _MAX_SIGNATURE_TENSORS
        or collected > _MAX_COLLECTED
    ):
        raise BrokenModelError("its tags, signatures or collections are absurdly many")


def _objects(joined: bytes) -> Any:
    if len(joined) > _MAX_PART_BYTES:
        raise BrokenModelError(f"its object graph has {len(joined)} bytes")
    return parse("SavedObjectGraph", joined)


def declared_assets_of(outline: MetaGraphOutline) -> list[Any]:
    """Every AssetFileDef of the MetaGraph, those of TensorFlow 1's collection too.

    `declared_assets` tells the same of a file that isn't parsed.
    """
    rest = outline.rest
    declared = list(rest.asset_file_def)
    if _ASSETS_COLLECTION in rest.collection_def:
        wrapped = rest.collection_def[_ASSETS_COLLECTION].any_list.value
        declared += [parse("AssetFileDef", wrapper.value) for wrapper in wrapped]
    return declared


def fed_assets_of(outline: MetaGraphOutline) -> list[Any]:
    """Every AssetFileDef that TensorFlow feeds: it looks into the collection only where there is no other."""
    return list(outline.rest.asset_file_def) or declared_assets_of(outline)
