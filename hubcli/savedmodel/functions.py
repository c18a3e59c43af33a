"""Functions of a SavedModel's objects, and the variants of each that were traced."""

from __future__ import annotations

import keyword
from collections.abc import Iterator
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.protos import parse
from hubcli.savedmodel.objects import HeldFunction, ObjectGraph
from hubcli.savedmodel.types import (
    Fields,
    Items,
    Literal,
    Structure,
    TensorSpec,
    decode,
    holds_tensors,
    is_none,
    python_text,
)

__all__ = ["Function", "FunctionVariant", "ParameterList", "arguments_of", "read_functions"]

_MAX_CAPTURES = 100_000


class FunctionVariant(NamedTuple):
    """A concrete function: what it takes and gives. `name` is that in the function library.

    `outputs` is None where the file doesn't tell. `captures` are the numbers of
    the objects that it uses beside its arguments.
    """

    name: str
    args: tuple[Structure, ...]
    kwargs: tuple[tuple[str, Structure], ...]
    outputs: Structure | None
    captures: tuple[int, ...] = ()

    def is_for_inference(self, parameters: tuple[str, ...]) -> bool:
        """Whether it was traced for `training=False`."""
        named = (*zip(parameters, self.args, strict=False), *self.kwargs)
        return any(
            name == "training" and isinstance(value, Literal) and value.value is False
            for name, value in named
        )


class Function(NamedTuple):
    """A function by its dotted path from the root.

    `parameters` are its named positional ones, without `self`, None where the
    file doesn't tell; `python_signature` is their text with defaults. `callee`
    is how Python reaches it from the loaded object `obj`. `parameter_list` is
    all that the file tells of the parameters, None for a bare function.
    """

    path: str
    callee: str
    python_signature: str
    parameters: tuple[str, ...] | None
    variants: tuple[FunctionVariant, ...]
    parameter_list: ParameterList | None = None

    @property
    def call(self) -> str:
        """A line of Python that calls it on the loaded object `obj`, as for inference if it was traced so."""
        return f"{self.callee}({', '.join(self._arguments())})"

    def _arguments(self) -> Iterator[str]:
        if not self.variants:
            return
        names = self.parameters or ()
        variant = next(
            (variant for variant in self.variants if variant.is_for_inference(names)), self.variants[0]
        )
        # Arguments beyond the named ones have places alone, and so have those before them.
        takes_names = len(variant.args) <= len(names)
        needs_name = False
        for place, value in enumerate(variant.args):
            name = names[place] if place < len(names) else f"arg{place}"
            if takes_names and is_none(value):
                needs_name = True
                continue
            needs_name = needs_name or (takes_names and isinstance(value, Literal))
            yield f"{name}={_placeholder(value, name)}" if needs_name else _placeholder(value, name)
        for name, value in variant.kwargs:
            yield f"{name}={_placeholder(value, name)}"


def _placeholder(value: Structure, name: str) -> str:
    """What a caller writes in the place of the value: names for tensors, the rest as it is."""
    if isinstance(value, Items):
        inner = [_placeholder(item, f"{name}_{place}") for place, item in enumerate(value.items)]
        text = ", ".join(inner)
        return (f"({text},)" if len(inner) == 1 else f"({text})") if value.is_tuple else f"[{text}]"
    if isinstance(value, Fields) and value.name is None:
        return "{" + ", ".join(f"{key!r}: {_placeholder(item, key)}" for key, item in value.items) + "}"
    if holds_tensors(value):
        own = value.name if isinstance(value, TensorSpec) else None
        chosen = own.rsplit("/", 1)[-1] if own else name
        return chosen if chosen.isidentifier() and not keyword.iskeyword(chosen) else "x"
    return python_text(value)


def read_functions(objects: ObjectGraph, *, submodules: bool) -> tuple[Function, ...]:
    """The functions of the root object, `__call__` first; of every object with `submodules`.

    Raises BrokenModelError for a damaged one.
    """
    return tuple(_function(objects, held) for held in objects.functions(submodules=submodules))


def _function(objects: ObjectGraph, held: HeldFunction) -> Function:
    content = objects.content(held.node)
    traces = (_variant(objects, name) for name in objects.concrete_names(held.node))
    variants = tuple(variant for variant in traces if variant is not None)
    spec = parse("FunctionSpec", content.function_spec) if content.function_spec else None
    if spec is not None and spec.HasField("fullargspec"):
        parameters = ParameterList.decode(decode(spec.fullargspec))
        return Function(held.path, held.access, str(parameters), parameters.args, variants, parameters)
    is_bare = objects.kind(held.node) == "bare_concrete_function"
    keywords = tuple(content.argument_keywords) if is_bare else None
    return Function(held.path, held.access, f"({', '.join(keywords or ())})", keywords, variants)


def _variant(objects: ObjectGraph, name: str) -> FunctionVariant | None:
    message = objects.concrete_function(name)
    if message is None:
        return None
    args, kwargs = arguments_of(message)
    outputs = decode(message.output_signature) if message.HasField("output_signature") else None
    if len(message.bound_inputs) > _MAX_CAPTURES:
        raise BrokenModelError(f"its function {name} uses {len(message.bound_inputs)} objects")
    captures = tuple(message.bound_inputs)
    for node in captures:
        if not 0 <= node < len(objects):
            raise BrokenModelError(f"its function {name} uses object {node} of {len(objects)}")
    return FunctionVariant(name, args, kwargs, outputs, captures)


def arguments_of(message: Any) -> tuple[tuple[Structure, ...], tuple[tuple[str, Structure], ...]]:
    """Positional and named arguments: the canonical signature is a pair of a tuple and a dict."""
    if not message.HasField("canonicalized_input_signature"):
        return (), ()
    pair = decode(message.canonicalized_input_signature)
    if is_none(pair):  # tf.compat.v1.wrap_function and pruned functions
        return (), ()
    if isinstance(pair, Items) and len(pair.items) == 2:
        args, kwargs = pair.items
        if isinstance(args, Items) and isinstance(kwargs, Fields):
            return args.items, kwargs.items
    raise BrokenModelError("its functions have arguments in a form that TensorFlow doesn't write")


class ParameterList(NamedTuple):
    """An inspect.FullArgSpec without `self` and annotations; `defaults` are those of the last of `args`."""

    args: tuple[str, ...]
    varargs: str | None
    varkw: str | None
    defaults: tuple[Structure, ...]
    keyword_only: tuple[str, ...]
    keyword_defaults: dict[str, Structure]

    @classmethod
    def decode(cls, spec: Structure) -> ParameterList:
        """The list in a named tuple of `inspect.FullArgSpec`'s fields; what isn't there is empty."""
        fields = dict(spec.items) if isinstance(spec, Fields) else {}
        args = _texts(fields.get("args"))
        if args[:1] == ("self",):
            args = args[1:]
        defaults, only = fields.get("defaults"), fields.get("kwonlydefaults")
        return cls(
            args=args,
            varargs=_text(fields.get("varargs")),
            varkw=_text(fields.get("varkw")),
            defaults=defaults.items if isinstance(defaults, Items) else (),
            keyword_only=_texts(fields.get("kwonlyargs")),
            keyword_defaults=dict(only.items) if isinstance(only, Fields) else {},
        )

    def __str__(self) -> str:
        required = max(0, len(self.args) - len(self.defaults))
        parts = list(self.args[:required])
        parts += [
            f"{name}={python_text(value)}"
            for name, value in zip(self.args[required:], self.defaults, strict=False)
        ]
        if self.varargs:
            parts.append(f"*{self.varargs}")
        elif self.keyword_only:
            parts.append("*")
        for name in self.keyword_only:
            default = self.keyword_defaults.get(name)
            parts.append(name if default is None else f"{name}={python_text(default)}")
        if self.varkw:
            parts.append(f"**{self.varkw}")
        return f"({', '.join(parts)})"


def _texts(value: Structure | None) -> tuple[str, ...]:
    items = value.items if isinstance(value, Items) else ()
    return tuple(item.value for item in items if isinstance(item, Literal) and isinstance(item.value, str))


def _text(value: Structure | None) -> str | None:
    return value.value if isinstance(value, Literal) and isinstance(value.value, str) else None
