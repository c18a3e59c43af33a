"""The judge agrees with itself: what it takes from the files is what TensorFlow loads."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from tests.cases import pass_all
from tests.installed import Late, require_installed
from tests.savedmodel.conftest import Zoo
from tests.savedmodel.zoo import SPECIMENS

require_installed("tensorflow")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

if TYPE_CHECKING:
    from tests.savedmodel.object_graph import ObjectGraph
    from tests.savedmodel.oracle import Oracle

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
def test_what_is_taken_from_the_files_of_a_model_is_what_tensorflow_loads(name: str, zoo: Zoo) -> None:
    oracle = judge.Oracle(zoo(name))
    assert oracle.graph is not None
    checks = (
        each_variable_has_the_value_under_its_key,
        each_variable_has_a_key,
        loaded_functions_are_those_of_the_files,
        loaded_lists_are_those_of_the_files,
    )
    pass_all({check.__name__: partial(check, oracle, oracle.graph) for check in checks})


def each_variable_has_the_value_under_its_key(oracle: Oracle, graph: ObjectGraph) -> None:
    if oracle.root is None:  # TensorFlow loads no objects of this one.
        return
    for node, variable in _loaded(oracle.root, graph).items():
        loaded, saved = np.asarray(variable.numpy()), np.asarray(oracle.tensor(oracle.checkpoint_keys[node]))
        assert loaded.shape == saved.shape
        assert loaded.tolist() == saved.tolist()


def each_variable_has_a_key(oracle: Oracle, graph: ObjectGraph) -> None:
    if oracle.tensors is not None:
        assert set(oracle.checkpoint_keys) == set(graph.nodes_of("variable"))


def loaded_functions_are_those_of_the_files(oracle: Oracle, graph: ObjectGraph) -> None:
    nodes = dict(graph.children(0))
    for function in oracle.root_functions:
        in_files = graph.function(nodes[function["path"]])
        assert function == {"path": function["path"], **in_files}


def loaded_lists_are_those_of_the_files(oracle: Oracle, graph: ObjectGraph) -> None:
    for attribute in ("variables", "trainable_variables"):
        nodes = graph.items(attribute)
        in_files = None if nodes is None else [graph.variable(node) for node in nodes]
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
