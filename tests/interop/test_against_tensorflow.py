"""TensorFlow is the judge of what `hubcli inspect` reads: of every model of the zoo and of the corpus."""

from __future__ import annotations

import ast
import json
import math
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hubcli.cli.views.inspect_json import inspection_document
from hubcli.commands.inspect import InspectOptions, inspect
from hubcli.config.settings import Settings
from tests.cases import pass_all
from tests.corpus import KINDS, corpus_model
from tests.installed import Late, require_installed
from tests.savedmodel.conftest import Zoo
from tests.savedmodel.zoo import SPECIMENS

require_installed("tensorflow")
pytestmark = pytest.mark.tensorflow

if TYPE_CHECKING:
    from tests.savedmodel.oracle import Oracle
    from tests.savedmodel.structs import Json

tf, structs = Late("tensorflow"), Late("tests.savedmodel.structs")
# What hubcli calls the models of the corpus.
CORPUS_FORMATS = {"Keras": "keras2", "TF1": "tf1", "TF2": "tf2"}
NOTHING: Json = {"kind": "value", "value": None}


_checks: dict[str, Callable[[Path], None]] = {}


def _check(function: Callable[[Path], None]) -> Callable[[Path], None]:
    """Has the test of each model call it: a model is loaded once, however many checks there are."""
    _checks[function.__name__] = function
    return function


@pytest.mark.parametrize("name", [*SPECIMENS, *KINDS])
def test_a_model_is_read_as_tensorflow_reads_it(name: str, zoo: Zoo) -> None:
    model = zoo(name) if name in SPECIMENS else corpus_model(name)
    assert inspected(model)["format"] == (
        SPECIMENS[name].format if name in SPECIMENS else CORPUS_FORMATS[KINDS[name]]
    )
    pass_all({check: partial(function, model) for check, function in _checks.items()})


def inspected(model: Path, *, submodules: bool = True) -> Json:
    """The document that hubcli gives of the model."""
    document = _document(model, submodules=submodules)
    assert "functions" in document, document
    return document


@cache
def _document(model: Path, *, submodules: bool) -> Json:
    """As `hubcli inspect --json` prints it."""
    inspection = inspect(str(model), Settings.read({}), InspectOptions(submodules=submodules))
    document = json.loads(json.dumps(inspection_document(inspection), allow_nan=False))
    assert isinstance(document, dict)
    return document


@cache
def judged(model: Path) -> Oracle:
    from tests.savedmodel.oracle import Oracle

    return Oracle(model)


# The graphs --------------------------------------------------------------------------------------


@_check
def meta_graphs_are_those_of_tensorflow(model: Path) -> None:
    ours, expected = inspected(model)["meta_graphs"], judged(model).meta_graphs
    for part in ("tags", "signatures", "ops", "init_op", "train_op"):
        assert [meta[part] for meta in ours] == [meta[part] for meta in expected], part


@_check
def the_version_is_that_of_the_first_graph_that_tells_one(model: Path) -> None:
    versions = [meta["tensorflow_version"] for meta in judged(model).meta_graphs]
    assert inspected(model)["tensorflow_version"] == next(filter(None, versions), None)


@_check
def assets_are_those_that_the_graphs_name(model: Path) -> None:
    assert _by(inspected(model)["assets"], "path") == judged(model).assets


@_check
def the_fingerprint_is_that_of_tensorflow(model: Path) -> None:
    ours, expected = inspected(model)["fingerprint"], judged(model).fingerprint
    assert (ours and {name: ours[name] for name in expected or ours}) == expected


@_check
def sizes_are_those_of_the_files(model: Path) -> None:
    parts = Counter(dict.fromkeys(("graph", "variables", "assets", "other"), 0))
    for file in model.rglob("*"):
        if file.is_file():
            top = file.relative_to(model).parts[0]
            is_graph = top.startswith("saved_model.pb")
            part = "graph" if is_graph else top if top in ("variables", "assets") else "other"
            parts[part] += file.stat().st_size
    assert inspected(model)["sizes"] == {"total": parts.total(), **parts}


# Functions ---------------------------------------------------------------------------------------


@_check
def root_functions_have_the_same_variants(model: Path) -> None:
    ours = [function for function in inspected(model)["functions"] if "." not in function["path"]]
    expected = judged(model).root_functions
    assert [function["path"] for function in ours] == [function["path"] for function in expected]
    for function, other in zip(ours, expected, strict=True):
        assert _variants(function) == other["variants"], function["path"]


@_check
def python_signatures_are_those_of_the_functions(model: Path) -> None:
    ours = {function["path"]: function["python_signature"] for function in inspected(model)["functions"]}
    for function in judged(model).root_functions:
        if function["parameters"] is not None:
            assert structs.parsed_parameters(ours[function["path"]]) == function["parameters"]


@_check
def functions_of_submodules_are_what_their_paths_say(model: Path) -> None:
    graph = judged(model).graph
    for function in inspected(model)["functions"]:
        assert graph is not None
        candidates = [node for node in graph.at(function["path"]) if graph.is_function(node)]
        assert _variants(function) in [graph.function(node)["variants"] for node in candidates]


@_check
def calls_reach_something_that_can_be_called(model: Path) -> None:
    """`call` is a line of Python on the loaded object; what stands before its arguments is looked up here."""
    root = judged(model).root
    for function in inspected(model)["functions"]:
        call = ast.parse(function["call"], mode="eval").body
        assert isinstance(call, ast.Call)
        if root is not None:
            callee = compile(ast.Expression(call.func), function["call"], "eval")
            assert callable(eval(callee, {"obj": root})), function["call"]


def test_without_all_only_the_functions_of_the_root_are_told(zoo: Zoo) -> None:
    model = zoo("submodules")
    everything = inspected(model)["functions"]
    assert [function["path"] for function in everything if "." in function["path"]]
    of_root = [function for function in everything if "." not in function["path"]]
    assert inspected(model, submodules=False)["functions"] == of_root


@_check
def regularization_losses_are_counted(model: Path) -> None:
    assert inspected(model)["regularization_losses"] == judged(model).regularization_losses


# Variables ---------------------------------------------------------------------------------------


@_check
def listed_variables_come_first_and_in_order(model: Path) -> None:
    ours, expected = inspected(model)["variables"], judged(model).listed("variables") or []
    assert [variable["listed"] for variable in ours] == [True] * len(expected) + [False] * (
        len(ours) - len(expected)
    )
    for variable, other in zip(ours, expected, strict=False):
        for key in ("name", "dtype", "shape"):
            assert variable[key] == other[key]


@_check
def lists_are_there_where_the_root_has_them(model: Path) -> None:
    ours, oracle = inspected(model)["lists"], judged(model)
    for name in ("variables", "trainable_variables"):
        expected = oracle.listed(name)
        assert (ours[name] is None) == (expected is None)
        assert len(ours[name] or ()) == len(expected or ())


@_check
def variables_are_all_there_with_type_shape_and_key(model: Path) -> None:
    keys = ("name", "checkpoint_key", "dtype", "shape")
    ours, expected = (
        Counter(json.dumps([variable[key] for key in keys]) for variable in variables)
        for variables in (inspected(model)["variables"], judged(model).variables)
    )
    assert ours == expected


@_check
def paths_lead_to_their_variables(model: Path) -> None:
    """A slot of an optimizer has no path of names."""
    oracle = judged(model)
    if oracle.graph is None:
        assert all(variable["path"] == variable["name"] for variable in inspected(model)["variables"])
        return
    for variable in inspected(model)["variables"]:
        keys = {oracle.checkpoint_keys.get(node) for node in oracle.graph.at(variable["path"])}
        assert variable["checkpoint_key"] in keys or ".OPTIMIZER_SLOT/" in variable["checkpoint_key"]


@_check
def the_trainable_are_those_of_the_list_or_of_the_flags(model: Path) -> None:
    oracle = judged(model)
    flags = {
        (variable["name"], variable["checkpoint_key"]): variable["trainable"] for variable in oracle.variables
    }
    nodes = oracle.graph.items("trainable_variables") if oracle.graph else None
    in_list = set()
    if oracle.graph is not None and nodes is not None:
        in_list = {(oracle.graph.variable(node)["name"], oracle.checkpoint_keys.get(node)) for node in nodes}
    for variable in inspected(model)["variables"]:
        key = variable["name"], variable["checkpoint_key"]
        by_list = nodes is not None and variable["listed"]
        assert variable["trainable"] == (key in in_list if by_list else flags[key]), variable["path"]


@_check
def parameters_are_counted_as_tensorflow_counts_them(model: Path) -> None:
    oracle = judged(model)
    counted = oracle.listed("variables")
    if oracle.graph is None or counted is None:
        return
    trainable = oracle.listed("trainable_variables")
    ours = inspected(model)["parameters"]
    assert ours["total"] == sum(math.prod(variable["shape"]) for variable in counted)
    if trainable is not None:
        assert ours["trainable"] == sum(math.prod(variable["shape"]) for variable in trainable)


# The checkpoint ----------------------------------------------------------------------------------


@_check
def every_tensor_is_claimed_or_not(model: Path) -> None:
    document, tensors = inspected(model), judged(model).tensors
    if tensors is None:
        assert document["checkpoint"] is None
        return
    claimed = {variable["checkpoint_key"] for variable in document["variables"]} & tensors.keys()
    unclaimed = {tensor["key"]: tensor for tensor in document["checkpoint"]["unclaimed"]}
    assert claimed | unclaimed.keys() == tensors.keys()
    assert not claimed & unclaimed.keys()
    assert document["checkpoint"]["tensors"] == len(tensors)
    for key, tensor in unclaimed.items():
        assert {name: tensor[name] for name in ("key", "dtype", "shape")} == tensors[key]


@_check
def sizes_of_numbers_are_elements_times_item(model: Path) -> None:
    tensors = judged(model).tensors or {}
    for variable in inspected(model)["variables"]:
        known = variable["shape"] is not None and None not in variable["shape"]
        if known and variable["dtype"] != "string" and variable["checkpoint_key"] in tensors:
            item = tf.as_dtype(variable["dtype"]).size
            assert variable["size_bytes"] == math.prod(variable["shape"]) * item


@_check
def shards_are_counted(model: Path) -> None:
    checkpoint = inspected(model)["checkpoint"]
    if checkpoint is not None:
        assert checkpoint["shards"] == len(list((model / "variables").glob("variables.data-*")))


def _variants(function: Json) -> list[Json]:
    """The variants; a function that gives nothing may say so in either way."""
    return [{**variant, "outputs": variant["outputs"] or NOTHING} for variant in function["variants"]]


def _by(items: list[Any], key: str) -> list[Any]:
    return sorted(items, key=lambda item: item[key])
