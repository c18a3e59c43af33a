"""Models of up to 20 MB whose functions call each other in ways that cost much to follow."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from tests.formats.tables import delimited, number
from tests.fuzz.hostile_inputs import SIZE, _graph, _map, _meta, _node

__all__ = ["HOSTILE_CALLS"]

_SAVE = _node(b"s", b"SaveV2", delimited(3, b"a"))
_TABLE = _node(b"t", b"InitializeTableFromTextFileV2", delimited(3, b"a"), delimited(3, b"a"))


def _name(place: int) -> bytes:
    return b"f%06d" % place


def _call(callee: bytes, name: bytes = b"c", *inputs: bytes) -> bytes:
    sources = [delimited(3, name) for name in inputs or (b"a",)]
    return _node(name, b"PartitionedCall", *sources, _map(5, b"f", delimited(10, delimited(1, callee))))


def _branches(callees: Iterable[bytes], op: bytes = b"Case") -> bytes:
    """One node that names many functions."""
    names = b"".join(delimited(9, delimited(1, name)) for name in callees)
    return _node(b"c", op, delimited(3, b"a"), delimited(3, b"a"), _map(5, b"branches", delimited(1, names)))


def _taking(name: bytes, *nodes: bytes, inputs: Iterable[bytes] = (b"a",)) -> bytes:
    """A function with inputs."""
    signature = delimited(1, name) + b"".join(delimited(2, delimited(1, name)) for name in inputs)
    return delimited(1, delimited(1, signature) + b"".join(delimited(3, node) for node in nodes))


def _library(functions: Iterable[bytes], *nodes: bytes) -> bytes:
    return _graph(*(delimited(1, node) for node in nodes), delimited(2, b"".join(functions)))


def _clique(count: int, *last: bytes, as_list: bool = False) -> bytes:
    """Every function calls every function, by a node each or by one with a list."""
    names = [_name(place) for place in range(count)]
    calls = [_branches(names)] if as_list else [_call(name, b"c" + name) for name in names]
    return _library(_taking(name, *calls, *last) for name in names)


def _dense(count: int, each: int) -> bytes:
    """Every function calls some, chosen by chance."""
    chance = random.Random(1)
    names = [_name(place) for place in range(count)]
    return _library(_taking(name, _branches(chance.sample(names, each)), _TABLE) for name in names)


def _in_two_layers() -> bytes:
    """Each of 600 functions calls each of 600 others, which fill a table from what they are given."""
    lower = [_name(place) for place in range(600, 1200)]
    upper = [_taking(_name(place), *(_call(name, b"c" + name) for name in lower)) for place in range(600)]
    return _library([*upper, *(_taking(name, _TABLE) for name in lower)])


def _chain(count: int, *last: bytes) -> bytes:
    """Each function hands its input to the next one, and uses it as a path."""
    functions = [_taking(_name(place), _call(_name(place + 1)), *last) for place in range(count)]
    return _library([*functions, _taking(_name(count), *last)], _node(b"a", b"Const"), _call(_name(0)))


def _ladder() -> bytes:
    """Each function calls the next one many times, with another tensor each time."""
    inputs = [b"i%03d" % place for place in range(40)]
    chance = random.Random(2)

    def calls(place: int) -> Iterable[bytes]:
        for number_ in range(40):
            yield _call(_name(place + 1), b"c%d" % number_, *chance.sample(inputs, 40))

    table = _node(b"t", b"InitializeTableFromTextFileV2", delimited(3, b"i000"), delimited(3, b"i001"))
    return _library(_taking(_name(place), *calls(place), table, inputs=inputs) for place in range(600))


def _many_calls_of_one() -> bytes:
    calls = [_call(b"f", b"c%06d" % place) for place in range(250_000)]
    return _library([_taking(b"f", _TABLE)], *calls)


def _many_inputs_of_one() -> bytes:
    """A function of 20,000 inputs that fills a table from each, and is called 50 times."""
    inputs = [b"i%05d" % place for place in range(20_000)]
    tables = [
        _node(b"t" + name, b"InitializeTableFromTextFileV2", delimited(3, name), delimited(3, name))
        for name in inputs
    ]
    calls = [_call(b"f", b"c%02d" % place, *inputs) for place in range(40)]
    return _library([_taking(b"f", *tables, inputs=inputs)], *calls)


def _captures_of_one() -> bytes:
    """A function whose description takes 4 MB, and a table of each of its inputs."""
    inputs = [b"i%05d" % place for place in range(20_000)]
    tables = [
        _node(b"t" + name, b"InitializeTableFromTextFileV2", delimited(3, name), delimited(3, name))
        for name in inputs
    ]
    library = delimited(2, _taking(b"f", *tables, inputs=inputs))
    function = delimited(1, delimited(8, delimited(1, b"f")))
    root = delimited(1, delimited(1, number(1, 1) + delimited(2, b"_initialize")) + delimited(4, b""))
    concrete = _map(2, b"f", delimited(2, b"\x02" * 4_000_000))
    asset = delimited(1, delimited(5, b""))
    objects = root + function + asset + concrete
    return _meta(delimited(2, library), delimited(7, objects), delimited(6, delimited(2, b"v")))


def _identities() -> bytes:
    """Tables at the end of a chain of identities in the graph itself."""
    links = [
        _node(b"i%06d" % place, b"Identity", delimited(3, b"i%06d" % (place + 1))) for place in range(150_000)
    ]
    tables = [
        _node(
            b"t%05d" % place,
            b"InitializeTableFromTextFileV2",
            delimited(3, b"h"),
            delimited(3, b"i%06d" % (3 * place)),
        )
        for place in range(40_000)
    ]
    return _library([], *links, *tables)


def _variables() -> bytes:
    """Tables of variables that are assigned again and again."""
    handles = [
        _node(b"v%05d" % place, b"VarHandleOp", _map(5, b"shared_name", delimited(2, b"v%05d" % place)))
        for place in range(30_000)
    ]
    assigned = [
        _node(b"a%06d" % place, b"AssignVariableOp", delimited(3, b"v%05d" % (place % 7)), delimited(3, b"a"))
        for place in range(100_000)
    ]
    reads = [
        _node(b"r%05d" % place, b"ReadVariableOp", delimited(3, b"v%05d" % place)) for place in range(30_000)
    ]
    tables = [
        _node(
            b"t%05d" % place,
            b"InitializeTableFromTextFileV2",
            delimited(3, b"h"),
            delimited(3, b"r%05d" % place),
        )
        for place in range(30_000)
    ]
    all_handles = b"".join(delimited(3, b"v%05d" % place) for place in range(30_000))
    return _library([], *handles, *assigned, *reads, *tables, _node(b"n", b"NoOp", all_handles))


def _names_that_are_nowhere() -> bytes:
    """Tables whose paths name no node, so that the whole graph is searched for each."""
    tables = [
        _node(
            b"t%05d" % place,
            b"InitializeTableFromTextFileV2",
            delimited(3, b"h"),
            delimited(3, b"x%05d" % place),
        )
        for place in range(40_000)
    ]
    filling = [_node(b"n%06d" % place, b"NoOp", delimited(3, b"y" * 30)) for place in range(250_000)]
    return _library([], *filling, *tables)


def _gradients() -> bytes:
    gradient = delimited(3, delimited(1, b"f") + delimited(2, b"CustomGradient-1"))
    return _library([_taking(b"f", _SAVE), gradient * 39_000])


HOSTILE_CALLS: dict[str, Callable[[], bytes]] = {
    "600 functions that all call each other": lambda: _clique(600, _node(b"n", b"NoOp")),
    "600 functions that all call each other and save": lambda: _clique(600, _SAVE),
    "600 functions that all call each other and fill tables": lambda: _clique(600, _TABLE),
    "700 functions that all name each other in lists": lambda: _clique(700, _TABLE, as_list=True),
    "1,300 functions that all name each other in lists": lambda: _clique(1_300, _TABLE, as_list=True),
    "2,000 functions that name 200 each": lambda: _dense(2_000, 200),
    "30,000 functions that name 12 each": lambda: _dense(30_000, 12),
    "functions in two layers": _in_two_layers,
    "a path through a chain of calls": lambda: _chain(39_000, _TABLE),
    "a savers path through a chain of calls": lambda: _chain(39_000, _SAVE),
    "a path through a ladder of calls": _ladder,
    "calls of one function": _many_calls_of_one,
    "inputs of one function": _many_inputs_of_one,
    "captures of one function": _captures_of_one,
    "branches of one node": lambda: _library([_taking(b"f", _TABLE)], *[_branches([b"f"] * 9_000)] * 150),
    "one function named in each branch": lambda: _library(
        [_taking(_name(place), _branches([_name(0)] * 40), _TABLE) for place in range(12_000)]
    ),
    "identities before tables": _identities,
    "variables before tables": _variables,
    "paths of no node": _names_that_are_nowhere,
    "gradients": _gradients,
    "functions of one name": lambda: _library([_taking(b"f", _call(b"f"), _SAVE)] * 39_000),
    "functions named like ops": lambda: _library([_taking(b"Identity", _call(b"Identity"), _TABLE)] * 39_000),
    "a long attribute that names nothing": lambda: _library(
        [
            _taking(
                b"f", _node(b"c", b"PartitionedCall", _map(5, b"f", delimited(2, bytes(SIZE - 1000)))), _SAVE
            )
        ]
    ),
}
