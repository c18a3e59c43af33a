"""What a MetaGraph has beside its graph and its objects: tags, signatures, collections, assets, its saver.

Source: tensorflow/core/protobuf/meta_graph.proto. TensorFlow reads them in Python and in C++: what the two
read differently is refused.
"""

from __future__ import annotations

from functools import cache
from operator import add, gt
from typing import Any

from hubcli.errors import BrokenModelError, ModelLimitError
from hubcli.formats.protos import parse
from hubcli.formats.wire import LENGTH_DELIMITED, scan

__all__ = ["DefinitionReader"]

_MAX_BYTES = 1 << 25
# Of tags, signatures, their inputs and outputs, collections, their values, and assets. Some models have their
# vocabulary in a collection, once for each MetaGraph: a million texts take 0.1 s, as many collections 10 s.
_LIMITS = (1000, 50_000, 200_000, 50_000, 1_000_000, 100_000)
# Entries of one key are a single one to those limits: looking at two million fields takes 3 s.
_MAX_FIELDS = 2_000_000


class DefinitionReader:
    """Reads the definitions of a file's MetaGraphs; its limits hold for all of them together."""

    def __init__(self) -> None:
        self._bytes = self._fields = 0
        self._counts: tuple[int, ...] = (0,) * len(_LIMITS)

    def count(self, size_bytes: int) -> None:
        """Counts bytes that `read` will be given. Raises BrokenModelError if there are too many."""
        self._bytes += size_bytes
        if self._bytes > _MAX_BYTES:
            raise ModelLimitError(f"its signatures and collections have more than {_MAX_BYTES >> 20} MiB")

    def read(self, data: bytes) -> Any:
        """The MetaGraphDef in data, which is without its graph and objects, and has been counted.

        Raises BrokenModelError if it isn't one, has an entry of a map that readers differ in, or has more
        than a model can need.
        """
        parsed = parse("MetaGraphDef", data)
        self._require_moderate(parsed)
        self._require_plain_entries(data, 0, len(data), parsed.DESCRIPTOR)
        return parsed

    def _require_moderate(self, parsed: Any) -> None:
        definitions, collections = parsed.signature_def.values(), parsed.collection_def.values()
        counts = (
            len(parsed.meta_info_def.tags),
            len(definitions),
            sum(len(definition.inputs) + len(definition.outputs) for definition in definitions),
            len(collections),
            sum(len(each.bytes_list.value) + len(each.node_list.value) for each in collections),
            len(parsed.asset_file_def),
        )
        self._counts = tuple(map(add, self._counts, counts))
        if any(map(gt, self._counts, _LIMITS)):
            raise ModelLimitError("it has too many tags, signatures, collections or assets")

    def _require_plain_entries(self, data: bytes, start: int, end: int, descriptor: Any) -> None:
        """Raises BrokenModelError for an entry of a map with a field that is neither its key nor its value.

        Protobuf in Python leaves such an entry out, that in C++ reads it. The data has been parsed: it isn't
        nested too deeply.
        """
        inner = _types_with_maps(descriptor)
        # Of these messages only entries of maps have options, and reading them would load 13 ms of protobuf.
        is_entry = descriptor.has_options
        for field in scan(data, start, end, max_fields=_MAX_FIELDS):
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                raise ModelLimitError(f"its signatures and collections have more than {_MAX_FIELDS} fields")
            if is_entry and not (field.is_message(1) or field.is_message(2)):
                raise BrokenModelError("a signature or collection has fields that protobuf does not have")
            if field.wire_type == LENGTH_DELIMITED and field.number in inner:
                self._require_plain_entries(data, field.start, field.end, inner[field.number])


@cache
def _types_with_maps(descriptor: Any) -> dict[int, Any]:
    """The types of a message's fields that are entries of maps or may hold some, by number."""
    inner = {field.number: field.message_type for field in descriptor.fields if field.message_type}
    return {number: kind for number, kind in inner.items() if _may_hold_maps(kind)}


def _may_hold_maps(descriptor: Any) -> bool:
    types = [descriptor]
    for kind in types:  # Which grows: types hold each other.
        inner = [field.message_type for field in kind.fields if field.message_type]
        types += [other for other in inner if other not in types]
    return any(kind.has_options for kind in types)
