"""How a loaded object is called for a Keras layer: by itself or by a signature, with what, giving what.

The conventions are those of tensorflow_hub 0.16.1, `keras_layer.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from numbers import Number
from typing import Any

from hubcli.errors import ArgumentError
from hubcli.tf.importing import use_keras_3, use_tensorflow

__all__ = ["ObjectCall", "as_tensors", "concrete_functions", "output_shapes", "output_spec", "shapes_in"]

_PLAIN = (str, bytes, Number)


@dataclass(frozen=True, slots=True)
class ObjectCall:
    """A function of a loaded object, and what it is called with beside the inputs.

    `signature` is the name of the signature that it is, None for the object's
    own `__call__`. `output_key` names the one output to return of a dict,
    `output_shape` is a nest of `tf.TensorShape` without the batch, or None.
    """

    function: Callable[..., Any]
    signature: str | None
    takes_training: bool
    arguments: Mapping[str, Any]
    output_key: str | None
    output_shape: Any

    @classmethod
    def of(
        cls,
        obj: Any,
        *,
        signature: str | None,
        as_dict: bool,
        output_key: str | None,
        arguments: Mapping[str, Any],
        output_shape: Any,
        name: str = "the object",
    ) -> ObjectCall:
        """The function that the arguments of the layer choose. Raises ArgumentError if none fits.

        Of the TF1 Hub format it is the signature "default", and its output "default". Errors name
        the object by its `name`, and read as tensorflow_hub's: programs match on their text.
        """
        if getattr(obj, "_is_hub_module_v1", False):
            signature = signature or "default"
            output_key = output_key if as_dict else output_key or "default"
        if signature and (output_key is not None) == as_dict:
            raise ArgumentError(
                "When using a signature, either output_key or signature_outputs_as_dict=True should be set.",
                hint=_outputs_hint(obj, signature),
            )
        if not signature and as_dict:
            raise ArgumentError(
                "signature_outputs_as_dict is only valid if specifying a signature "
                "(or using a legacy TF1 Hub format).",
                hint=_signatures_hint(obj),
            )
        function = _function(obj, signature, name)
        takes_training = not signature and _takes_training(function)
        shape = shapes_in(output_shape) if output_shape else None
        return cls(function, signature, takes_training, dict(arguments), output_key, shape)

    def __call__(self, inputs: Any, training: Any = False) -> Any:
        """What the function gives; `training` is a Python bool or a tensor, and passed where it is taken."""
        tf = use_tensorflow()
        by_name = inputs if self.signature and isinstance(inputs, dict) else {}
        positional = () if self.signature and isinstance(inputs, dict) else (inputs,)
        given = {**self.arguments, **by_name}
        if not self.takes_training:
            result = self.function(*positional, **given)
        elif tf.is_tensor(training):
            result = tf.cond(
                training,
                lambda: self.function(*positional, **given, training=True),
                lambda: self.function(*positional, **given, training=False),
            )
        else:
            result = self.function(*positional, **given, training=bool(training))
        return self._shaped(inputs, self._chosen(result))

    @property
    def input_dtypes(self) -> frozenset[str]:
        """The dtypes of the inputs in all traces, as far as these tell."""
        tf = use_tensorflow()
        found = set()
        for function in concrete_functions(self.function):
            positional, by_name = function.structured_input_signature
            taken = by_name if self.signature else positional[:1]
            found |= {spec.dtype.name for spec in tf.nest.flatten(taken) if isinstance(spec, tf.TypeSpec)}
        return frozenset(found)

    @property
    def supports_xla(self) -> bool:
        """Whether no trace takes, gives or looks up what XLA can't compile: text, ragged, sparse, tables."""
        tf = use_tensorflow()
        for function in concrete_functions(self.function):
            specs = tf.nest.flatten((function.structured_input_signature, function.structured_outputs))
            if any(_is_unfit(spec) for spec in specs if isinstance(spec, tf.TypeSpec)):
                return False
            resources = [held for held in function.captured_inputs if held.dtype in (tf.resource, tf.variant)]
            if len(resources) > len(function.variables):
                return False
        return True

    def _chosen(self, result: Any) -> Any:
        if not self.output_key:
            return result
        if not isinstance(result, dict):
            raise ArgumentError(
                f"Specifying `output_key` is forbidden if output type {type(result)} is not a dict.",
                hint="Remove output_key.",
            )
        if self.output_key not in result:
            raise ArgumentError(
                f"KerasLayer output does not contain the output key {self.output_key} "
                f"(available: {', '.join(map(str, sorted(result)))}).",
                hint=f"Set output_key to one of: {', '.join(map(str, sorted(result)))}",
            )
        return result[self.output_key]

    def _shaped(self, inputs: Any, outputs: Any) -> Any:
        """The outputs, with the static shapes that `output_shape` gives."""
        if self.output_shape is None:
            return outputs
        tf = use_tensorflow()
        first = tf.nest.flatten(inputs)[0].shape
        batch = [first[0] if first.rank else None]
        try:
            tf.nest.map_structure(
                lambda tensor, shape: tensor.set_shape(tf.TensorShape(batch).concatenate(shape)),
                outputs,
                self.output_shape,
            )
        except (ValueError, TypeError) as error:
            there = tf.nest.map_structure(lambda tensor: tensor.shape, outputs)
            raise ArgumentError(
                f"output_shape={self.output_shape} does not match the output of the "
                f"model: {there} with the batch",
                hint="Remove the batch dimension, and use one shape for each output, in their structure.",
            ) from error
        return outputs


def concrete_functions(function: Any) -> tuple[Any, ...]:
    """The traces of a function that was loaded; of one that wasn't, none are known."""
    function = function if hasattr(function, "structured_input_signature") else _called(function)
    if hasattr(function, "structured_input_signature"):
        return (function,)
    return tuple(getattr(function, "concrete_functions", ()))


def as_tensors(value: Any) -> Any:
    """Lists of Python values, nested or not, as one tensor each; what is a tensor stays, in its structure."""
    if isinstance(value, dict):
        return {key: as_tensors(item) for key, item in value.items()}
    if isinstance(value, _PLAIN) or _is_plain(value):
        return use_tensorflow().constant(value)
    if isinstance(value, list) or type(value) is tuple:
        return type(value)(as_tensors(item) for item in value)
    return value


def shapes_in(value: Any) -> Any:
    """The nest with its lists and tuples of numbers and None as `tf.TensorShape`."""
    tf = use_tensorflow()
    if isinstance(value, dict):
        return {key: shapes_in(item) for key, item in value.items()}
    try:
        return tf.TensorShape(value)
    except (TypeError, ValueError) as error:
        if isinstance(value, (list, tuple)):
            return type(value)(shapes_in(item) for item in value)
        raise ArgumentError(
            f"output_shape has {value!r}, not a shape",
            hint="Use output_shape=[20], or a dict or list of such lists.",
        ) from error


def _is_plain(value: Any) -> bool:
    """Whether it is a list, nested or not, of Python values alone."""
    if not isinstance(value, (list, tuple)) or not value:
        return False
    return all(isinstance(item, _PLAIN) or _is_plain(item) for item in value)


def _function(obj: Any, signature: str | None, name: str) -> Callable[..., Any]:
    if callable(obj) and not signature:
        return obj  # type: ignore[no-any-return]
    if not hasattr(obj, "signatures"):
        what = "has no signatures." if signature else "is not callable and has no signatures."
        raise ArgumentError(f"Loaded object {what}", hint="Pass an object that tf.saved_model.load returns.")
    if signature is None:
        raise ArgumentError(
            "Signature name has to be specified for non-callable saved models "
            "(if not legacy TF1 Hub format).",
            hint=_signatures_hint(obj),
        )
    if signature not in obj.signatures:
        raise ArgumentError(
            f"Unknown signature {signature} in {name} "
            f"(available signatures: {', '.join(sorted(obj.signatures))}).",
            hint=_signatures_hint(obj),
        )
    return obj.signatures[signature]  # type: ignore[no-any-return]


def _signatures_hint(obj: Any) -> str:
    names = sorted(getattr(obj, "signatures", ()))
    return f"Set signature to one of: {', '.join(names)}" if names else "The model has no signatures."


def _outputs_hint(obj: Any, signature: str) -> str:
    function = getattr(obj, "signatures", {}).get(signature)
    outputs = sorted(getattr(function, "structured_outputs", ()))
    return f"Set output_key to one of: {', '.join(outputs)}" if outputs else ""


def _called(function: Any) -> Any:
    """What runs when the object is called: its own `__call__`, where it isn't a function itself."""
    return function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004


def _takes_training(function: Any) -> bool:
    return any("training" in _parameters(candidate) for candidate in (function, _called(function)))


def _is_unfit(spec: Any) -> bool:
    tf = use_tensorflow()
    return not isinstance(spec, tf.TensorSpec) or spec.dtype == tf.string


def _parameters(function: Any) -> Collection[str]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # Not everything that can be called tells how.
        return ()


def output_spec(function: Callable[[Any], Any], inputs: Any) -> Any:
    """The symbolic outputs of a function of one nest, dense, sparse or ragged.

    Raises ArgumentError if not even the rank of an output is known.
    """
    tf = use_tensorflow()
    traced = tf.function(function, autograph=False).get_concrete_function(
        tf.nest.map_structure(_spec, inputs)
    )
    return tf.nest.map_structure(_symbol, traced.structured_outputs)


def output_shapes(spec_of: Callable[[Any], Any], shapes: Any, dtype: str) -> Any:
    """The shapes that a function of symbolic inputs gives for those of its inputs, all of one dtype."""
    tf, keras = use_tensorflow(), use_keras_3()
    inputs = tf.nest.map_structure(lambda shape: keras.KerasTensor(tuple(shape), dtype), shapes)
    return tf.nest.map_structure(lambda tensor: tuple(tensor.shape), spec_of(inputs))


def _spec(tensor: Any) -> Any:
    tf, keras = use_tensorflow(), use_keras_3()
    if not isinstance(tensor, keras.KerasTensor):
        return tf.type_spec_from_value(tensor)
    if tensor.sparse:
        return tf.SparseTensorSpec(tensor.shape, tensor.dtype)
    if tensor.ragged:
        return tf.RaggedTensorSpec(tensor.shape, tensor.dtype, tensor.ragged_rank or 1)
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def _symbol(tensor: Any) -> Any:
    tf, keras = use_tensorflow(), use_keras_3()
    if tensor is None:
        return None
    spec = tf.type_spec_from_value(tensor)
    if spec.shape.rank is None:
        raise ArgumentError(
            "The model does not give the shape of its output, which Keras needs",
            hint="Set it, without the batch, such as output_shape=[20].",
        )
    kind: dict[str, Any] = {}
    if isinstance(spec, tf.SparseTensorSpec):
        kind = {"sparse": True}
    elif isinstance(spec, tf.RaggedTensorSpec):
        kind = {"ragged": True, "ragged_rank": spec.ragged_rank}
    return keras.KerasTensor(tuple(spec.shape), spec.dtype.name, **kind)
