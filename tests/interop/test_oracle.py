"""The judge agrees with itself: what it takes from the files is what TensorFlow loads."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from tests.installed import Late, require_installed
from tests.savedmodel.conftest import Zoo
from tests.savedmodel.zoo import SPECIMENS

require_installed("tensorflow")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

if TYPE_CHECKING:
    from tests.savedmodel.object_graph import ObjectGraph

np, judge = Late("numpy"), Late("tests.savedmodel.oracle")

OBJECTS = [name for name, specimen in SPECIMENS.items() if specimen.module != "tf1"]


def test_every_builder_stands_in_the_table() -> None:
    modules = {specimen.module for specimen in SPECIMENS.values()}
    builders = {
        name
        for module in modules
        for name, value in vars(import_module(f"tests.savedmodel.zoo.{module}")).items()
        if callable(value) and getattr(value, "__annotations__", {}).keys() == {"target", "return"}
    }
    assert builders == set(SPECIMENS)


@pytest.mark.parametrize("name", OBJECTS)
def test_each_variable_has_the_value_under_its_key(name: str, zoo: Zoo) -> None:
    oracle = judge.Oracle(zoo(name))
    if oracle.root is None or oracle.graph is None:
        pytest.skip("TensorFlow loads no objects of this one")
    for node, variable in _loaded(oracle.root, oracle.graph).items():
        loaded, saved = np.asarray(variable.numpy()), np.asarray(oracle.tensor(oracle.checkpoint_keys[node]))
        assert loaded.shape == saved.shape
        assert loaded.tolist() == saved.tolist()


@pytest.mark.parametrize("name", OBJECTS)
def test_each_variable_has_a_key(name: str, zoo: Zoo) -> None:
    oracle = judge.Oracle(zoo(name))
    assert oracle.graph is not None
    if oracle.tensors is None:
        pytest.skip("there is no checkpoint")
    assert set(oracle.checkpoint_keys) == set(oracle.graph.nodes_of("variable"))


@pytest.mark.parametrize("name", OBJECTS)
def test_loaded_functions_are_those_of_the_files(name: str, zoo: Zoo) -> None:
    oracle = judge.Oracle(zoo(name))
    assert oracle.graph is not None
    nodes = dict(oracle.graph.children(0))
    for function in oracle.root_functions:
        in_files = oracle.graph.function(nodes[function["path"]])
        assert function == {"path": function["path"], **in_files}


@pytest.mark.parametrize("name", OBJECTS)
def test_loaded_lists_are_those_of_the_files(name: str, zoo: Zoo) -> None:
    oracle = judge.Oracle(zoo(name))
    assert oracle.graph is not None
    for attribute in ("variables", "trainable_variables"):
        nodes = oracle.graph.items(attribute)
        in_files = None if nodes is None else [oracle.graph.variable(node) for node in nodes]
        assert oracle.listed(attribute) == in_files


def _loaded(root: Any, graph: ObjectGraph) -> dict[int, Any]:
    """The loaded variable of each node that has a path from the root."""
    found, seen, waiting = {}, {0}, [(0, root)]
    while waiting:
        node, loaded = waiting.pop()
        if graph.kind(node) == "variable":
            found[node] = loaded
        here = dict(graph.children(node))
        for name, child in loaded._trackable_children().items():
            if name in here and here[name] not in seen:
                seen.add(here[name])
                waiting.append((here[name], child))
    return found
