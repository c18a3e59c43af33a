"""Models of some 20 MB that are made to cost their reader much: by name, their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.formats.tables import (
    bundle_entry,
    bundle_header,
    delimited,
    entries_block,
    index_of,
    number,
    table,
    varint,
)

__all__ = ["HOSTILE_INPUTS", "files_of"]

SIZE = 20_000_000
_VALUE_SUFFIX = b"/.ATTRIBUTES/VARIABLE_VALUE"


def files_of(make: Callable[[], bytes | dict[str, bytes]]) -> dict[str, bytes]:
    """The files of a hostile input, by path."""
    files = make()
    return files if isinstance(files, dict) else {"saved_model.pb": number(1, 1) + files}


def _many(unit: bytes, most: int = SIZE, *, size: int = SIZE) -> bytes:
    """The unit as often as it fits."""
    return unit * min(most, size // len(unit))


def _meta(*fields: bytes) -> bytes:
    return delimited(2, b"".join(fields))


def _objects(*fields: bytes) -> bytes:
    """A MetaGraph with those fields of an object graph."""
    return _meta(delimited(2, b""), delimited(7, b"".join(fields)))


def _user(*children: tuple[int, bytes]) -> bytes:
    """An object with children."""
    body = b"".join(delimited(1, number(1, node) + delimited(2, name)) for node, name in children)
    return delimited(1, body + delimited(4, b""))


def _variable(body: bytes = b"\x08\x01") -> bytes:
    return delimited(1, delimited(7, body))


def _graph(*fields: bytes) -> bytes:
    return _meta(delimited(2, b"".join(fields)))


def _node(name: bytes, op: bytes, *more: bytes) -> bytes:
    return delimited(1, name) + delimited(2, op) + b"".join(more)


def _function(name: bytes, *nodes: bytes) -> bytes:
    body = delimited(1, delimited(1, name)) + b"".join(delimited(3, node) for node in nodes)
    return delimited(1, body)


def _map(field: int, key: bytes, value: bytes) -> bytes:
    return delimited(field, delimited(1, key) + delimited(2, value))


# Objects -----------------------------------------------------------------------------------------


def _listed_variables() -> bytes:
    count = 150_000
    listing = _user(*((place + 2, b"%d" % place) for place in range(count)))
    return _objects(_user((1, b"variables"), (1, b"trainable_variables")), listing, _variable() * count)


def _long_paths() -> bytes:
    """200 objects in a chain, each under a long name, and variables below the last."""
    depth, leaves = 150, 500
    chain = [_user((place + 1, b"x" * 100_000)) for place in range(depth)]
    last = _user(*((depth + 1 + place, b"v%d" % place) for place in range(leaves)))
    return _objects(*chain, last, _variable() * leaves)


def _chain() -> bytes:
    return _objects(*(_user((place + 1, b"a")) for place in range(100_000)), _user(), _variable())


def _variable_below_a_chain() -> bytes:
    count = 100_000
    chain = [_user((place + 1, b"a")) for place in range(count)]
    return _objects(*chain, _variable())


def _one_shape() -> bytes:
    """A variable of a million dimensions, each of 2^62."""
    dimension = delimited(2, number(1, 1 << 62))
    shape = _many(dimension, 900_000)
    return _objects(_user((1, b"v")), _variable(number(1, 1) + delimited(2, shape)))


def _described(concrete: bytes) -> bytes:
    """A function `f` of the root that is described by that message."""
    function = delimited(1, delimited(6, delimited(1, b"f")))
    return _objects(_user((1, b"f")), function, _map(2, b"f", concrete))


def _argument(structure: bytes) -> bytes:
    """A SavedConcreteFunction that takes the value."""
    args = delimited(52, delimited(1, structure))
    kwargs = delimited(53, b"")
    return delimited(3, delimited(52, delimited(1, args) + delimited(1, kwargs)))


def _nested(depth: int) -> bytes:
    structure = delimited(1, b"")
    for _ in range(depth):
        structure = delimited(51, delimited(1, structure))
    return structure


def _text(depth: int) -> dict[str, bytes]:
    inner = "list_value { values { " * depth + "none_value { } " + "} } " * depth
    text = (
        "meta_graphs { graph_def { } object_graph_def { nodes { user_object { } } concrete_functions { "
        'key: "f" value { output_signature { ' + inner + "} } } } }"
    )
    return {"saved_model.pbtxt": text.encode()}


# Graphs ------------------------------------------------------------------------------------------


def _functions_with_saves() -> bytes:
    save = _node(b"s", b"SaveV2")
    functions = b"".join(_function(b"f%06d" % place, save) for place in range(100_000))
    return _graph(delimited(2, functions))


def _chain_of_calls() -> bytes:
    """Each function calls the next; the last one saves."""
    count = 60_000

    def call(place: int) -> bytes:
        attribute = _map(5, b"f", delimited(10, delimited(1, b"f%06d" % place)))
        return _node(b"c", b"PartitionedCall", attribute)

    functions = [_function(b"f%06d" % place, call(place + 1)) for place in range(count)]
    functions.append(_function(b"f%06d" % count, _node(b"s", b"SaveV2")))
    return _graph(delimited(2, b"".join(functions)))


def _every_function_names_every_other() -> bytes:
    count = 900
    names = b"".join(delimited(9, delimited(1, b"f%06d" % place)) for place in range(count))
    case = _node(b"c", b"Case", _map(5, b"branches", delimited(1, names)))
    functions = [_function(b"f%06d" % place, case, _node(b"s", b"SaveV2")) for place in range(count)]
    return _graph(delimited(2, b"".join(functions)))


def _tables() -> bytes:
    tables = (
        delimited(
            1,
            _node(b"t%06d" % place, b"InitializeTableFromTextFileV2", delimited(3, b"h"), delimited(3, b"p")),
        )
        for place in range(200_000)
    )
    return _graph(*tables)


def _identities() -> bytes:
    """A function whose result comes from a chain of 100 identities, at the end of many nodes."""
    filling = delimited(3, _node(b"n", b"NoOp"))
    links = [
        delimited(3, _node(b"i%d" % place, b"Identity", delimited(3, b"i%d:output:0" % (place + 1))))
        for place in range(100)
    ]
    body = (
        delimited(1, delimited(1, b"f"))
        + _many(filling, 900_000)
        + b"".join(links)
        + _map(4, b"o", b"i0:output:0")
    )
    function = delimited(1, delimited(6, delimited(1, b"f")))
    objects = _user((1, b"__call__")) + function + _map(2, b"f", _argument(delimited(33, number(3, 1))))
    return _meta(delimited(2, delimited(2, delimited(1, body))), delimited(7, objects))


# Indexes -----------------------------------------------------------------------------------------


def _index_of(entries: Iterator[tuple[bytes, bytes]]) -> bytes:
    """As `index_of`, for many entries."""
    pieces = [
        varint(0) + varint(len(key)) + varint(len(value)) + key + value
        for key, value in ((b"", bundle_header(1)), *entries)
    ]
    return table([b"".join(pieces) + bytes(4) + (1).to_bytes(4, "little")])


def _blocks(count: int) -> bytes:
    """An index of as many blocks, each of one entry."""
    header = entries_block([(b"", bundle_header(1))])
    entries = [entries_block([(b"k%07d" % place, bundle_entry(0, 0, 4))]) for place in range(count)]
    return table([header, *entries])


def _with_index(index: bytes) -> dict[str, bytes]:
    return {"saved_model.pb": _meta(delimited(2, b"")), "variables/variables.index": index}


def _entries(unit: Callable[[int], bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values, until they make 20 MB."""
    used, place = 0, 0
    while used < SIZE:
        key, value = b"k%07d" % place, unit(place)
        used += 5 + len(value)
        place += 1
        yield key, value


def _small_entries() -> dict[str, bytes]:
    return _with_index(_index_of(_entries(lambda _: b"")))


def _plain_entries() -> dict[str, bytes]:
    return _with_index(_index_of(_entries(lambda place: bundle_entry(0, place, 4))))


def _sliced_entry() -> dict[str, bytes]:
    piece = delimited(7, b"")
    entries = _entries(lambda _: number(1, 1) + piece * 99_000)
    return _with_index(_index_of(entries))


def _deep_slices() -> dict[str, bytes]:
    extent = delimited(1, b"")
    return _with_index(index_of([(b"k", number(1, 1) + delimited(7, extent * 90_000) * 100)]))


def _many_blocks() -> dict[str, bytes]:
    return _with_index(_blocks(4_000))


HOSTILE_INPUTS: dict[str, Callable[[], bytes | dict[str, bytes]]] = {
    # The object graph.
    "empty objects": lambda: _objects(_many(b"\x0a\x00")),
    "objects, just few enough": lambda: _objects(
        b"\x0a\x00" * 999_000, bytes(0), delimited(99, bytes(SIZE - 2_000_000))
    ),
    "objects with a child each": lambda: _objects(
        _user((1, b"a")), _many(delimited(1, delimited(1, number(1, 1))), 499_000)
    ),
    "children of one object": lambda: _objects(
        _user(*((1, b"c%06d" % place) for place in range(900_000))), _user()
    ),
    "variables in a list": _listed_variables,
    "variables in no list": lambda: _objects(_user(), _variable() * 450_000),
    "objects in a chain": _chain,
    "a variable below a chain": _variable_below_a_chain,
    "long paths": _long_paths,
    "a shape of a million sizes": _one_shape,
    "slots": lambda: _objects(delimited(1, _many(delimited(3, b""), 990_000) + delimited(4, b""))),
    "saveable objects": lambda: _objects(
        delimited(1, b"".join(_map(11, b"%d" % place, b"") for place in range(400_000)) + delimited(4, b""))
    ),
    "described functions": lambda: _objects(
        _user(), *(_map(2, b"f%d" % place, b"") for place in range(900_000))
    ),
    "names of traces": lambda: _objects(
        _user((1, b"f")), delimited(1, delimited(6, _many(delimited(1, b"f"), 1_900_000)))
    ),
    "a function of many traces under many names": lambda: _objects(
        _user(*((1, b"f%d" % place) for place in range(190_000))),
        delimited(1, delimited(6, _many(delimited(1, b"f"), 100_000))),
        _map(2, b"f", b""),
    ),
    "captures": lambda: _described(delimited(2, bytes(SIZE))),
    "empty arguments": lambda: _described(_argument(delimited(51, _many(b"\x0a\x00")))),
    "arguments without a value": lambda: _described(_argument(delimited(51, _many(b"\x0a\x02\x0a\x00")))),
    "arguments nested 10,000 deep": lambda: _described(_argument(_nested(10_000))),
    "arguments nested 90 deep": lambda: _described(_argument(_nested(30))),
    "parameters": lambda: _objects(
        _user((1, b"f")),
        delimited(1, delimited(6, delimited(2, delimited(1, delimited(54, _many(delimited(2, b""))))))),
    ),
    # The rest of a MetaGraph.
    "meta graphs": lambda: _many(delimited(2, b"")),
    "meta graphs of tags": lambda: _meta(delimited(1, _many(b"\x22\x00", size=20_000))) * 999,
    "tags": lambda: _meta(delimited(1, _many(b"\x22\x00"))),
    "signatures": lambda: _meta(
        delimited(2, b""), *(_map(5, b"s%d" % place, b"") for place in range(99_000))
    ),
    "inputs of a signature": lambda: _meta(
        delimited(2, b""),
        _map(5, b"s", b"".join(_map(1, b"i%d" % place, b"\x10\x01") for place in range(450_000))),
    ),
    "collections": lambda: _meta(
        delimited(2, b""), *(_map(4, b"c%d" % place, b"") for place in range(99_000))
    ),
    "variables in a collection": lambda: _meta(
        delimited(2, b""),
        _map(
            4,
            b"variables",
            delimited(2, b"".join(delimited(1, delimited(1, b"v%d" % place)) for place in range(1_400_000))),
        ),
    ),
    "one variable in a collection again and again": lambda: _meta(
        delimited(2, b""), _map(4, b"variables", delimited(2, _many(delimited(1, b""))))
    ),
    "assets": lambda: _meta(
        delimited(2, b""), *(delimited(6, delimited(2, b"a%d" % place)) for place in range(99_000))
    ),
    # Graphs.
    "empty nodes": lambda: _graph(_many(delimited(1, b""))),
    "nodes": lambda: _graph(_many(delimited(1, _node(b"a", b"NoOp")), 990_000)),
    "nodes of unknown types": lambda: _graph(
        *(delimited(1, _node(b"a", b"Op%06d" % place)) for place in range(900_000))
    ),
    "attributes of one node": lambda: _graph(
        delimited(1, b"".join(_map(5, b"%d" % place, b"") for place in range(99_000))) * 10
    ),
    "inputs of one node": lambda: _graph(delimited(1, _many(delimited(3, b"")))),
    "inputs of each node": lambda: _graph(
        _many(delimited(1, _node(b"w", b"WriteFile", delimited(3, b"") * 500)))
    ),
    "nodes that write": lambda: _graph(_many(delimited(1, _node(b"w", b"WriteFile")))),
    "functions": lambda: _graph(delimited(2, _many(delimited(1, b"")))),
    "functions with a node": lambda: _graph(
        delimited(2, _many(_function(b"f", _node(b"a", b"NoOp")), 249_000))
    ),
    "functions that save": _functions_with_saves,
    "functions in a chain": _chain_of_calls,
    "functions that all name each other": _every_function_names_every_other,
    "tables": _tables,
    "identities after many nodes": _identities,
    "graphs": lambda: _meta(_many(delimited(2, b""))),
    "libraries": lambda: _graph(_many(delimited(2, b""))),
    # The index.
    "empty entries": _small_entries,
    "entries": _plain_entries,
    "slices": _sliced_entry,
    "extents": _deep_slices,
    "blocks": _many_blocks,
    # Text.
    "text": lambda: {"saved_model.pbtxt": _many(b"meta_graphs { graph_def { node { name: 'a' } } }\n")},
    "text of many nodes": lambda: {
        "saved_model.pbtxt": b"meta_graphs { graph_def { "
        + _many(b"node { name: 'a' op: 'NoOp' }\n")
        + b"} }"
    },
    "text nested 40 deep": lambda: _text(40),
    "text nested 200 deep": lambda: _text(200),
    "text nested 10,000 deep": lambda: _text(10_000),
    "a field of every kind of damage": lambda: _meta(varint(7 << 3 | 2) + varint(1 << 40)),
}
