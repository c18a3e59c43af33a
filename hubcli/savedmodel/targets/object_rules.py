"""What `tf.saved_model.load` of a release can't load of a model's objects, or of a graph of TensorFlow 1.

A session and a server ignore objects. Measured against the releases themselves
(tests/interop/test_loads_against_releases.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hubcli.formats.protos import parse
from hubcli.issues import Severity
from hubcli.savedmodel.targets.needs import Place
from hubcli.savedmodel.targets.obstacle import ModelNeeds, Obstacle, obstacle
from hubcli.savedmodel.targets.release_rules import releases_text
from hubcli.savedmodel.targets.releases import op_releases, release_key

__all__ = ["object_obstacles"]

_VARIABLE_SPEC_PARTS = 4
_TABLES_REFUSED_BY = frozenset({"2.11", "2.12"})
_SLOTS_REFUSED_SINCE = "2.16"
# In these releases Keras is a separate package, which tf.saved_model.load doesn't import.
_SLOTS_WITHOUT_KERAS = frozenset({"2.6"})
# Of TypeSpecProto.TypeSpecClass; the last two are classes of programs, by their registered names.
_VARIABLE_SPEC, _REGISTERED_SPECS = 9, (12, 13)


def object_obstacles(
    needs: ModelNeeds, releases: tuple[str, ...], *, has_keras_2: bool = False
) -> Iterator[Obstacle]:
    """What `tf.saved_model.load` can't load of the objects, or of a graph of TensorFlow 1."""
    if needs.objects is None:
        yield from _reference_outputs(needs, releases)
        yield from _undeclared_shapes(needs, releases)
        return
    message = needs.outline.objects
    assert message is not None
    yield from _values_of_later_kinds(message, releases)
    refusing = tuple(release for release in releases if release in _TABLES_REFUSED_BY)
    if refusing and any(
        node.WhichOneof("kind") == "resource" and node.saveable_objects for node in message.nodes
    ):
        yield obstacle(
            "table-not-restored",
            f"tf.saved_model.load of {releases_text(refusing)} cannot restore a mutable table",
            "Use TensorFlow 2.13 or newer, or load it in a session",
            part="objects",
            releases=refusing,
        )
    if not has_keras_2:
        yield from _slots(message, releases)


class _LaterKind(NamedTuple):
    """A kind of value among the arguments of functions that older releases can't read."""

    code: str
    since: str
    matches: Callable[[Any], bool]
    described: str


def _values_of_later_kinds(message: Any, releases: tuple[str, ...]) -> Iterator[Obstacle]:
    """Arguments of functions of kinds that older releases can't read."""
    for kind in _LATER_KINDS:
        before = tuple(release for release in releases if release_key(release) < release_key(kind.since))
        place = _place_of(message, kind.matches) if before else None
        if place is not None:
            yield obstacle(
                kind.code,
                f"{releases_text(before)} cannot read {kind.described}",
                f"Use TensorFlow {kind.since} or newer, or load it in a session",
                part=place,
                releases=before,
            )


def _slots(message: Any, releases: tuple[str, ...]) -> Iterator[Obstacle]:
    """Optimizers of Keras 2, whose slots only Keras 2 can create."""
    holder = next(
        (node for node in message.nodes if node.slot_variables and node.WhichOneof("kind") == "user_object"),
        None,
    )
    if holder is None:
        return
    place, count = f"object {holder.user_object.identifier}", len(holder.slot_variables)
    without = tuple(release for release in releases if release in _SLOTS_WITHOUT_KERAS)
    if without:
        yield obstacle(
            "keras2-optimizer",
            f"{releases_text(without)} makes the slots of a Keras 2 optimizer only after Keras is imported",
            "Import keras before loading, or remove the optimizer: hubcli export --serving",
            part=place,
            releases=without,
            nodes=count,
        )
    with_keras_3 = tuple(
        release for release in releases if release_key(release) >= release_key(_SLOTS_REFUSED_SINCE)
    )
    if with_keras_3:
        yield obstacle(
            "keras2-optimizer",
            f"{releases_text(with_keras_3)} has Keras 3, which cannot make the slots of a Keras 2 optimizer",
            f"Install Keras 2 beside it: pip install 'tf-keras=={with_keras_3[-1]}.*'. "
            "Or remove the optimizer: hubcli export --serving",
            part=place,
            releases=with_keras_3,
            nodes=count,
        )


def _reference_outputs(needs: ModelNeeds, releases: tuple[str, ...]) -> Iterator[Obstacle]:
    """Signatures of TensorFlow 1 that return a reference to a variable, which TensorFlow 2 lacks."""
    reference_ops = op_releases().reference_ops
    body = needs.outline.graph.bodies[0]
    definitions = needs.rest.signature_def
    names = {
        tensor.name.partition(":")[0]: name
        for name in needs.signatures
        for tensor in definitions[name].outputs.values()
    }
    for node in body.nodes_of_ops(reference_ops):
        if node.name in names:
            yield obstacle(
                "reference-output",
                f"Signature {names[node.name]} returns a reference to a variable, which TensorFlow 2 lacks",
                "Load it in a session: tf.compat.v1.saved_model.load(…)",
                place=Place("", node.name),
                releases=releases,
            )
            return


def _undeclared_shapes(needs: ModelNeeds, releases: tuple[str, ...]) -> Iterator[Obstacle]:
    """Signatures of TensorFlow 1 whose inputs have no shape: TensorFlow 2 reads each as a scalar."""
    definitions = needs.rest.signature_def
    for name in needs.signatures:
        for key, tensor in sorted(definitions[name].inputs.items()):
            if not tensor.HasField("tensor_shape") and tensor.WhichOneof("encoding") == "name":
                yield obstacle(
                    "shape-undeclared",
                    f"Signature {name} declares no shape of {key}, so it is read as a scalar",
                    "Load it in a session: tf.compat.v1.saved_model.load(…)",
                    severity=Severity.WARNING,
                    part=f"signature {name}",
                    releases=releases,
                )
                return


def _place_of(message: Any, holds: Callable[[Any], bool]) -> str | None:
    """The first function with such a value in its arguments or results, or what declares them."""
    for name in sorted(message.concrete_functions):
        function = parse("SavedConcreteFunction", message.concrete_functions[name])
        roots = (function.canonicalized_input_signature, function.output_signature)
        if any(holds(value) for root in roots for value in _values(root)):
            return f"function {name}"
    for number, node in enumerate(message.nodes):
        kind = node.WhichOneof("kind")
        if kind in ("function", "bare_concrete_function"):
            spec = parse("FunctionSpec", getattr(node, kind).function_spec)
            if any(
                holds(value) for root in (spec.fullargspec, spec.input_signature) for value in _values(root)
            ):
                return f"object {number}"
    return None


def _values(root: Any) -> Iterator[Any]:
    """A StructuredValue and all within it; protobuf bounds the depth."""
    waiting = [root]
    while waiting:
        value = waiting.pop()
        yield value
        kind = value.WhichOneof("kind")
        if kind in ("list_value", "tuple_value"):
            waiting += getattr(value, kind).values
        elif kind == "dict_value":
            waiting += value.dict_value.fields.values()
        elif kind == "named_tuple_value":
            waiting += [pair.value for pair in value.named_tuple_value.values]
        elif kind == "type_spec_value":
            waiting.append(value.type_spec_value.type_state)


def _is_tensor_literal(value: Any) -> bool:
    return value.WhichOneof("kind") in ("tensor_value", "numpy_value")


def _is_long_variable_spec(value: Any) -> bool:
    if value.WhichOneof("kind") != "type_spec_value":
        return False
    spec = value.type_spec_value
    parts = spec.type_state.tuple_value.values
    return bool(spec.type_spec_class == _VARIABLE_SPEC and len(parts) >= _VARIABLE_SPEC_PARTS)


def _is_registered_spec(value: Any) -> bool:
    if value.WhichOneof("kind") != "type_spec_value":
        return False
    return bool(value.type_spec_value.type_spec_class in _REGISTERED_SPECS)


_LATER_KINDS = (
    _LaterKind(
        "tensor-literal",
        "2.13",
        _is_tensor_literal,
        "a tensor or NumPy value among the arguments of a function",
    ),
    _LaterKind(
        "variable-spec",
        "2.11",
        _is_long_variable_spec,
        f"a VariableSpec of {_VARIABLE_SPEC_PARTS} parts",
    ),
    _LaterKind(
        "type-spec",
        "2.6",
        _is_registered_spec,
        "a registered TypeSpec among the arguments of a function",
    ),
)
