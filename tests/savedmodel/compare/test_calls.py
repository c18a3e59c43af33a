"""Whether a function that was saved again takes every call that it took: judged trace by trace."""

from __future__ import annotations

from typing import Any

from hubcli.savedmodel.compare.preservation import lost_calls
from hubcli.savedmodel.functions import Function, FunctionVariant, ParameterList
from hubcli.savedmodel.types import Literal, TensorSpec
from tests.cases import each_of

X = TensorSpec("float32", (None, 3), "x")
OTHER = TensorSpec("float32", (None, 4), "x")
RESULT = TensorSpec("float32", (None, 1))
FALSE, TRUE, NONE = Literal(False), Literal(True), Literal(None)


def parameters(
    *args: str, defaults: tuple[Any, ...] = (), varargs: str = "", varkw: str = "", **only: Any
) -> ParameterList:
    return ParameterList(args, varargs or None, varkw or None, defaults, tuple(only), only)


def function(takes: ParameterList | None, *traces: tuple[Any, ...], outputs: Any = RESULT) -> Function:
    """A function with these traces: positional arguments, then a dict of those by name."""
    variants = []
    for trace in traces:
        named = trace[-1] if trace and isinstance(trace[-1], dict) else {}
        args = trace[:-1] if named else trace
        variants.append(FunctionVariant("f", args, tuple(named.items()), outputs))
    names = None if takes is None else takes.args
    return Function("f", "obj.f", str(takes), names, tuple(variants), takes)


@each_of(
    "source, result",
    [
        # As Keras 2 of TensorFlow 2.8 and 2.11 wrote it; as 2.4 did.
        (function(parameters(varargs="args", varkw="kwargs"), (X,)), function(parameters("args_0"), (X,))),
        (function(parameters(varargs="args"), (X,)), function(parameters("args_0"), (X,))),
        # Names of tensors are no part of a call, nor is the order of traces, nor one more of them.
        (
            function(parameters("x"), (X,), (OTHER,)),
            function(parameters("x"), (OTHER,), (X._replace(name="y"),), (FALSE,)),
        ),
        # A default that stands in the trace or in the parameters.
        (
            function(parameters("x", "training", defaults=(FALSE,)), (X,)),
            function(parameters("x", "training", defaults=(FALSE,)), (X, FALSE)),
        ),
        # By name alone, and by a place that has the name.
        (function(parameters("x", training=FALSE), (X, {"training": TRUE})),) * 2,
        (function(parameters("x"), (X,)), function(parameters("x", "mask", defaults=(NONE,)), (X,))),
    ],
)
def test_nothing_that_can_be_called_is_lost(source: Function, result: Function) -> None:
    assert lost_calls(source, result) == ()


@each_of(
    "source, result, lost",
    [
        # Another name, by which a caller may pass it.
        (function(parameters("x"), (X,)), function(parameters("args_0"), (X,)), "f(x=float32[?, 3])"),
        # A trace that is gone, or gives something else.
        (function(parameters("x"), (X,), (OTHER,)), function(parameters("x"), (X,)), "f(float32[?, 4])"),
        (
            function(parameters("x"), (X,)),
            function(parameters("x"), (X,), outputs=OTHER),
            "f(float32[?, 3])",
        ),
        # A default that is gone, or another one.
        (
            function(parameters("x", "training", defaults=(FALSE,)), (X, FALSE)),
            function(parameters("x", "training"), (X, FALSE)),
            "f(float32[?, 3])",
        ),
        (
            function(parameters("x", "training", defaults=(FALSE,)), (X, FALSE), (X, TRUE)),
            function(parameters("x", "training", defaults=(TRUE,)), (X, FALSE), (X, TRUE)),
            "f(float32[?, 3])",
        ),
        # Places that are swapped; fewer of them; a name that nothing takes.
        (
            function(parameters("x", "y"), (X, OTHER)),
            function(parameters("y", "x"), (X, OTHER)),
            "f(x=float32[?, 3], y=float32[?, 4])",
        ),
        (
            function(parameters(varargs="args"), (X, OTHER)),
            function(parameters("args_0"), (X,)),
            "f(float32[?, 3], float32[?, 4])",
        ),
        (
            function(parameters(varargs="args", varkw="kwargs"), (X, {"training": FALSE})),
            function(parameters("args_0"), (X,)),
            "f(float32[?, 3], training=False)",
        ),
    ],
)
def test_a_call_that_is_lost_is_told(source: Function, result: Function, lost: str) -> None:
    assert lost in lost_calls(source, result)


def test_parameters_that_are_not_told_or_are_none_must_be_the_same() -> None:
    bare = function(None, (X,))
    assert lost_calls(bare, bare) == ()
    assert lost_calls(bare, function(parameters("x"), (X,))) == ("None",)
    odd = function(parameters("lambda", "lambda"), (X, X))
    assert lost_calls(odd, odd) == ()
    assert lost_calls(odd, function(parameters("a", "b"), (X, X))) != ()


def test_a_function_of_thousands_of_arguments_takes_no_time() -> None:
    names = [f"a{place}" for place in range(2000)]
    many = function(parameters(*names), tuple(X for _ in names))
    assert lost_calls(many, many) == ()
