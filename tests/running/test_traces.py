"""Which traces of a function the arguments mean, without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import UsageError
from hubcli.running import traces
from hubcli.running.traces import choose_function, function_endpoints
from hubcli.savedmodel.functions import Function
from tests.cases import each_of
from tests.savedmodel.protos import FLOAT, Objects, Spec, meta_graph, read

X = Spec(FLOAT, (None, 2), "x")
CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["b"]),
    ({"training": False}, ["b"]),
    ({"training": True}, ["a"]),
    ({"mode": "slow"}, ["d"]),
    ({"mode": "slow", "training": True}, ["c"]),
]


def function_of(folder: Path) -> Function:
    """Traced in each of two modes, with and without training."""
    objects = Objects()
    for name, training, mode in (
        ("a", True, "fast"), ("b", False, "fast"), ("c", True, "slow"), ("d", False, "slow")
    ):  # fmt: skip
        objects.concrete(name, X, training, mode)
    objects.function("f", *"abcd", parameters=("x", "training", "mode"), defaults=(False, "fast"))
    (function,) = read(folder, meta_graph(None, objects)).functions
    return function


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoints without a graph: the name of each trace."""
    monkeypatch.setattr(traces, "Captures", lambda *_: None)
    monkeypatch.setattr(traces, "trace_endpoint", lambda path, trace, *_: trace.variant.name)


def names(folder: Path, arguments: dict[str, Any]) -> Any:
    anything: Any = {}
    return function_endpoints(function_of(folder), arguments, anything, anything, folder)


@pytest.mark.usefixtures("chosen")
@each_of("arguments, expected", CASES)
def test_arguments_that_are_not_given_are_those_of_the_defaults(
    tmp_path: Path, arguments: dict[str, Any], expected: list[str]
) -> None:
    assert names(tmp_path, arguments) == expected


def test_a_trace_that_was_not_made_is_refused_with_those_that_were(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        names(tmp_path, {"training": 1})
    assert "training=True" in f"{caught.value.message} {caught.value.hint}"
    with pytest.raises(UsageError, match="model has no function 'g'"):
        choose_function((function_of(tmp_path),), "g", "model")
