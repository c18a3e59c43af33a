"""Functions, their Python signatures and the lines that call them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import BrokenModelError
from hubcli.savedmodel.functions import Function
from tests.cases import each_of
from tests.formats.tables import delimited
from tests.savedmodel.protos import FLOAT, Objects, Spec, meta_graph, read, value

X = Spec(FLOAT, (None, 2), "x")


def functions_of(folder: Path, objects: Objects, *, submodules: bool = False) -> tuple[Function, ...]:
    return read(folder, meta_graph(None, objects), submodules=submodules).functions


def read_one(folder: Path, *args: Any, name: str = "f", parameters: Any = ("x",), **more: Any) -> Function:
    objects = Objects()
    defaults = more.pop("defaults", ())
    concrete = objects.concrete("c", *args, **more)
    objects.function(name, concrete, parameters=parameters, defaults=defaults)
    (function,) = functions_of(folder, objects)
    return function


@each_of(
    "parameters, defaults, text",
    [
        (("x",), (), "(x)"),
        (("self", "x"), (), "(x)"),
        (("x", "training"), (False,), "(x, training=False)"),
        ((), (), "()"),
        (("x",), (1, 2, 3), "(x=1)"),
    ],
)
def test_a_python_signature_with_defaults(
    tmp_path: Path, parameters: tuple[str, ...], defaults: tuple[Any, ...], text: str
) -> None:
    assert read_one(tmp_path, X, parameters=parameters, defaults=defaults).python_signature == text


def test_all_kinds_of_parameters(tmp_path: Path) -> None:
    objects = Objects()
    function_id = objects.function("f")
    spec = objects.message.nodes[function_id].function.function_spec.fullargspec.named_tuple_value
    contents = {
        "args": ["x"],
        "varargs": "rest",
        "varkw": "more",
        "kwonlyargs": ["a", "b"],
        "kwonlydefaults": {"b": 2},
    }
    for pair in spec.values:
        if pair.key in contents:
            pair.value.CopyFrom(value(contents[pair.key]))
    assert functions_of(tmp_path, objects)[0].python_signature == "(x, *rest, a, b=2, **more)"
    for pair in spec.values:
        if pair.key == "varargs":
            pair.value.CopyFrom(value(None))
    assert functions_of(tmp_path, objects)[0].python_signature == "(x, *, a, b=2, **more)"


def test_a_function_that_does_not_tell_its_parameters(tmp_path: Path) -> None:
    function = read_one(tmp_path, X, parameters=None)
    assert (function.python_signature, function.parameters) == ("()", None)
    assert function.call == "obj.f(x)"


def test_a_bare_function_has_its_keywords(tmp_path: Path) -> None:
    objects = Objects()
    bare = objects.bare("f", objects.concrete("c", X))
    objects.message.nodes[bare].bare_concrete_function.argument_keywords.append("x")
    assert functions_of(tmp_path, objects)[0].python_signature == "(x)"


@each_of(
    "args, parameters, call",
    [
        ((X,), ("x",), "obj.f(x)"),
        ((Spec(FLOAT, (2,), "inputs/tokens"),), ("x",), "obj.f(tokens)"),
        ((Spec(FLOAT, (2,), "not-a-name"),), ("x",), "obj.f(x)"),
        ((Spec(FLOAT, (2,), "class"),), ("x",), "obj.f(x)"),
        ((Spec(FLOAT, (2,)), True), ("x", "training"), "obj.f(x, training=True)"),
        ((Spec(FLOAT, (2,)), None), ("x", "mask"), "obj.f(x)"),
        (({"a": X, "b": Spec(FLOAT, (2,))},), ("d",), "obj.f({'a': x, 'b': b})"),
        (([Spec(FLOAT, (2,)), Spec(FLOAT, (2,))],), ("l",), "obj.f([l_0, l_1])"),
        (((Spec(FLOAT, (2,)),),), ("l",), "obj.f((l_0,))"),
    ],
)
def test_the_line_that_calls_it(tmp_path: Path, args: tuple[Any, ...], parameters: Any, call: str) -> None:
    assert read_one(tmp_path, *args, parameters=parameters).call == call


def test_the_variant_for_inference_is_called(tmp_path: Path) -> None:
    objects = Objects()
    names = [objects.concrete(f"c{value_}", X, value_) for value_ in (True, False)]
    objects.function("__call__", *names, parameters=("x", "training"))
    assert functions_of(tmp_path, objects)[0].call == "obj(x, training=False)"


def test_keywords_are_named(tmp_path: Path) -> None:
    assert read_one(tmp_path, kwargs={"mask": Spec(FLOAT, (2,))}, parameters=()).call == "obj.f(mask=mask)"


def test_the_line_that_calls_it_is_python(tmp_path: Path) -> None:
    function = read_one(tmp_path, X, 1, 2, parameters=("x", "a"))
    compile(function.call, "call", "eval")


def test_attributes_that_are_no_names_are_reached_by_getattr(tmp_path: Path) -> None:
    assert read_one(tmp_path, X, name="0").callee == "getattr(obj, '0')"
    assert read_one(tmp_path, X, name="a-b").callee == "getattr(obj, 'a-b')"
    assert read_one(tmp_path, X, name="class").callee == "getattr(obj, 'class')"


def test_a_call_of_a_submodule(tmp_path: Path) -> None:
    objects = Objects()
    objects.function("__call__", objects.concrete("c", X), parent=objects.user("layer"))
    assert [each.call for each in functions_of(tmp_path, objects, submodules=True)] == ["obj.layer(x)"]


def test_a_function_that_was_never_traced(tmp_path: Path) -> None:
    objects = Objects()
    objects.function("f", "gone")
    function = functions_of(tmp_path, objects)[0]
    assert function.variants == ()
    assert function.call == "obj.f()"


def test_a_function_that_tells_no_arguments_and_no_outputs(tmp_path: Path) -> None:
    objects = Objects()
    objects.message.concrete_functions["c"].SetInParent()
    objects.function("f", "c")
    (variant,) = functions_of(tmp_path, objects)[0].variants
    assert (variant.args, variant.kwargs, variant.outputs) == ((), (), None)


@each_of("content", [3, (1, 2), ((1,),), [(), {}], ((), {}, ())])
def test_arguments_in_another_form_are_refused(tmp_path: Path, content: Any) -> None:
    if content == [(), {}]:
        pytest.skip("a list of the two is taken for a tuple")
    objects = Objects()
    objects.function("f", objects.concrete("c"))
    signature = objects.message.concrete_functions["c"].canonicalized_input_signature
    signature.CopyFrom(value(content))
    with pytest.raises(BrokenModelError, match="arguments in a form"):
        functions_of(tmp_path, objects)


@pytest.mark.parametrize("capture", [-1, 99])
def test_a_capture_that_is_not_there_is_refused(tmp_path: Path, capture: int) -> None:
    objects = Objects()
    objects.function("f", objects.concrete("c", X, captures=[capture]))
    with pytest.raises(BrokenModelError, match=f"uses object {capture} of 2"):
        functions_of(tmp_path, objects)


def _in_pieces(how: str, *, captured: bytes, signature: bytes, spec: bytes) -> bytes:
    """A MetaGraph with a variable, a function and a bare function, whose parts come in pieces or whole."""
    root = delimited(1, b"\x08\x02\x12\x01f") + delimited(1, b"\x08\x03\x12\x01g") + delimited(4, b"")
    of_function, of_bare = delimited(2, spec), delimited(4, spec)
    trace = delimited(2, captured + signature)
    match how:
        case "trace":
            trace = delimited(2, captured) + delimited(2, signature)
        case "emptied-trace":
            trace += delimited(2, b"")
        case "function-spec":
            of_function += delimited(2, b"")
        case "bare-function-spec":
            of_bare += delimited(4, b"")
    nodes = (
        root,
        delimited(7, b""),
        delimited(6, delimited(1, b"c") + of_function),
        delimited(8, delimited(1, b"c") + of_bare),
    )
    entries = delimited(1, b"c") + trace, *([delimited(1, b"lacks a value")] * 100)
    objects = b"".join(delimited(1, each) for each in nodes) + b"".join(
        delimited(2, each) for each in entries
    )
    return delimited(2, b"") + delimited(7, objects)


@each_of("how", ["trace", "emptied-trace", "function-spec", "bare-function-spec"])
def test_a_function_that_comes_in_pieces_is_joined(tmp_path: Path, how: str) -> None:
    """As protobuf does it, and so TensorFlow. Entries without a value don't make up for what a piece had."""
    objects = Objects()
    objects.function("f", objects.concrete("c", X), parameters=("x",))
    signature = objects.message.concrete_functions["c"].SerializeToString()
    spec = objects.message.nodes[1].function.function_spec.SerializeToString()
    parts = {"captured": delimited(2, b"\x01"), "signature": signature, "spec": spec}
    functions = read(tmp_path / "whole", _in_pieces("", **parts)).functions
    assert [(each.path, each.python_signature) for each in functions] == [("f", "(x)"), ("g", "(x)")]
    assert [each.captures for function in functions for each in function.variants] == [(1,), (1,)]
    assert read(tmp_path / "pieces", _in_pieces(how, **parts)).functions == functions
