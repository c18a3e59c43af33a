"""Python structures of TensorFlow, as the document writes them (STRUCT)."""

from __future__ import annotations

import ast
import math
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import type_spec_registry
from tensorflow.python.framework.type_spec import TypeSpec

__all__ = [
    "OPAQUE",
    "Json",
    "dtype_name",
    "parsed_parameters",
    "python_parameters",
    "shape_list",
    "struct",
    "variant",
]

Json = dict[str, Any]

# Stands for a default that is no Python literal: a tensor, a type, a shape, an infinity.
OPAQUE = "<no literal>"


def shape_list(shape: Any) -> list[int | None] | None:
    """The dimensions; None for each unknown one, and in place of the list where the rank is unknown."""
    return None if shape is None or shape.rank is None else list(shape.as_list())


def dtype_name(number: int) -> str:
    """The name of a type by its number in the protos, without the mark of references."""
    return str(tf.as_dtype(number).base_dtype.name)


def variant(name: str, inputs: Any, outputs: Any) -> Json:
    """A concrete function. Of a wrapped one nothing tells the inputs: they are None, and none are told."""
    args, kwargs = inputs or ((), {})
    return {
        "name": name,
        "args": [struct(argument) for argument in args],
        "kwargs": {key: struct(argument) for key, argument in kwargs.items()},
        "outputs": struct(outputs),
    }


def struct(value: Any) -> Json:
    """One value of a signature."""
    if isinstance(value, tf.TensorSpec):
        return {
            "kind": "tensor", "dtype": value.dtype.name, "shape": shape_list(value.shape), "name": value.name
        }  # fmt: skip
    if isinstance(value, TypeSpec):
        return _spec(value)
    if isinstance(value, tf.DType):
        return {"kind": "value", "dtype": value.name}
    if isinstance(value, tf.TensorShape):
        return {"kind": "value", "shape": shape_list(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        fields = {name: struct(getattr(value, name)) for name in value._fields}
        return {"kind": "namedtuple", "name": type(value).__name__, "items": fields}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {"kind": kind, "items": [struct(item) for item in value]}
    if isinstance(value, dict):
        return {"kind": "dict", "items": {key: struct(item) for key, item in value.items()}}
    if isinstance(value, float) and not math.isfinite(value):
        return {"kind": "value", "value": None, "float": str(value)}  # JSON has no such number.
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"kind": "value", "value": value}
    raise TypeError(f"no STRUCT for {value!r}")


def _spec(spec: Any) -> Json:
    """A composite spec; those that don't tell type and shape by name do in their serialized state."""
    state = spec._serialize()
    parts = state if isinstance(state, tuple) else ()
    dtype = next((part for part in parts if isinstance(part, tf.DType)), None)
    shape = next((part for part in parts if isinstance(part, tf.TensorShape)), None)
    document: Json = {
        "kind": "spec",
        "class": _class_name(type(spec)),
        "dtype": dtype.name if dtype is not None else None,
        "shape": shape_list(shape),
    }
    if isinstance(spec, tf.RaggedTensorSpec):
        document |= {"ragged_rank": spec.ragged_rank, "row_splits_dtype": spec.row_splits_dtype.name}
    return document


def _class_name(spec_class: Any) -> str:
    """The name of a spec's class; of one from beyond TensorFlow, that under which it was registered."""
    try:
        registered = str(type_spec_registry.get_name(spec_class))
    except ValueError:
        registered = "tf."
    return str(spec_class.__name__) if registered.startswith("tf.") else registered


# Python signatures -------------------------------------------------------------------------------


def python_parameters(spec: Any) -> Json:
    """A `FullArgSpec` without its `self`: names by kind, and the defaults as text of Python literals."""
    args = [name for index, name in enumerate(spec.args) if (index, name) != (0, "self")]
    defaults = list(spec.defaults or ())
    pairs = dict(zip(args[len(args) - len(defaults) :], defaults, strict=True))
    pairs |= spec.kwonlydefaults or {}
    return {
        "args": args,
        "varargs": spec.varargs,
        "kwonlyargs": sorted(spec.kwonlyargs),
        "varkw": spec.varkw,
        "defaults": {name: _literal(default) for name, default in pairs.items()},
    }


def parsed_parameters(signature: str) -> Json:
    """The same of a signature as text, with or without the function's name before it."""
    parsed = ast.parse(f"def f{signature[signature.index('(') :]}: pass").body[0]
    assert isinstance(parsed, ast.FunctionDef)
    given = parsed.args
    args = [argument.arg for argument in given.args]
    pairs = dict(zip(args[len(args) - len(given.defaults) :], given.defaults, strict=True))
    pairs |= {
        fault.arg: default
        for fault, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
        if default is not None
    }
    return {
        "args": args,
        "varargs": given.vararg.arg if given.vararg else None,
        "kwonlyargs": sorted(argument.arg for argument in given.kwonlyargs),
        "varkw": given.kwarg.arg if given.kwarg else None,
        "defaults": {name: _literal_text(default) for name, default in pairs.items()},
    }


def _literal(value: Any) -> str:
    finite = not isinstance(value, float) or math.isfinite(value)
    plain = value is None or isinstance(value, (bool, int, float, str, list, tuple, dict))
    text = repr(value)
    return (
        _literal_text(ast.parse(text, mode="eval").body) if finite and plain and "<" not in text else OPAQUE
    )


def _literal_text(expression: ast.expr) -> str:
    try:
        value = ast.literal_eval(expression)
        return OPAQUE if value is Ellipsis else repr(value)
    except ValueError:
        return OPAQUE
