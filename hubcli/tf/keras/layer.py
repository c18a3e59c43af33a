"""A layer of Keras 3 around a loaded object, whose variables are its weights. Importing it imports Keras.

It is what tensorflow_hub's KerasLayer is for Keras 2, by Keras's public API alone. `keras.Variable` on the
TensorFlow backend takes an existing `tf.Variable` as its value.
"""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from hubcli.errors import ArgumentError, about_model
from hubcli.savedmodel.objects import path_order
from hubcli.tf.importing import use_keras_3, use_tensorflow
from hubcli.tf.keras.layer_call import (
    ObjectCall,
    as_tensors,
    concrete_functions,
    output_shapes,
    output_spec,
    shapes_in,
)
from hubcli.urls import without_secrets

if TYPE_CHECKING:
    from keras.layers import Layer as _Layer
else:
    _Layer = use_keras_3().layers.Layer

__all__ = ["ObjectLayer", "ObjectWeights", "SharedWeight", "regularize", "serializable"]

_TRAINED_NAME, _FROZEN_NAME = "_hubcli_trained_weight", "_hubcli_kept_weight"


@dataclass(frozen=True, slots=True)
class ObjectWeights:
    """What an object trains, what else it keeps, and the losses that regularize it, each in its order.

    A loss is called without arguments and gives a scalar.
    """

    trainable: tuple[Any, ...]
    others: tuple[Any, ...]
    losses: tuple[Callable[[], Any], ...]

    @classmethod
    def of(cls, obj: Any, call: ObjectCall) -> ObjectWeights:
        """As the object's lists tell; as its graph does where it lost them, like any plain tf.Module.

        What the graph tells is the variables that the traces of the call use, in
        the order of their paths; where there are no traces, all that hang on the
        object. By a signature nothing is trained, so nothing is looked for. Raises
        ArgumentError for losses that can't be called.
        """
        trainable, listed = getattr(obj, "trainable_variables", None), getattr(obj, "variables", None)
        if trainable is None and call.signature:
            trainable = ()
        if trainable is None:
            listed = _used(obj, call.function) if listed is None else listed
            trainable = [variable for variable in listed if variable.trainable]
        losses = tuple(getattr(obj, "regularization_losses", ()))
        if not all(map(callable, losses)):
            raise ArgumentError(
                "hub.KerasLayer(obj) expects obj.regularization_losses to be an iterable of callables, "
                "each returning a scalar loss term.",
                hint="Export the model with a tf.function without arguments for each loss.",
            )
        numbers = {id(variable) for variable in trainable}
        others = [variable for variable in listed or () if id(variable) not in numbers]
        return cls(tuple(trainable), tuple(others), losses)


class SharedWeight:
    """A weight of Keras whose value is a variable of the object's, the same one for all layers around it.

    Two layers of one model that train the same object thus train it once. The
    weight is frozen when all of them are.
    """

    def __init__(self, variable: Any, *, trainable: bool) -> None:
        """Raises ValueError for a variable that Keras can't know: text, or without a fixed shape."""
        self._layers: WeakSet[Any] = WeakSet()
        if isinstance(variable, use_keras_3().Variable):  # Of a model of Keras 3, which can be called too.
            self.value = variable
            return
        if variable.dtype.name == "string":
            raise ValueError("Keras keeps no text in a weight")
        self.value = use_keras_3().Variable(
            variable,
            dtype=variable.dtype.name,
            trainable=trainable,
            autocast=False,  # What the functions of the object read has a dtype of its own.
            name=variable.name.partition(":")[0].replace("/", "_"),
        )
        assert self.value.value is variable

    @classmethod
    def of(cls, variable: Any, *, trainable: bool) -> SharedWeight | None:
        """The weight of the variable, created at its first use; None if Keras can't represent it.

        Layers that train the variable share one, layers that only keep it, as by a signature, another.
        """
        name = _TRAINED_NAME if trainable else _FROZEN_NAME
        there = getattr(variable, name, None)
        if there is None:
            try:
                there = cls(variable, trainable=trainable)
            except ValueError:
                return None
            setattr(variable, name, there)
        assert isinstance(there, cls)
        there.value.trainable = trainable  # Until its layers say otherwise: by this Keras sorts it.
        return there

    def held_by(self, layer: Any) -> None:
        """Counts the layer, and freezes the weight where no layer that holds it trains."""
        self._layers.add(layer)
        self.value.trainable = any(layer.trainable for layer in self._layers)


def regularize(weights: Sequence[Any], losses: Sequence[Callable[[], Any]]) -> None:
    """Lets Keras count the losses, one a weight, for as long as that is trained."""
    for place, weight in enumerate(weights[: len(losses)]):
        is_last = place == len(weights) - 1
        weight.regularizer = _regularizer(losses[place:] if is_last else losses[place : place + 1])


def _regularizer(losses: Sequence[Callable[[], Any]]) -> Any:
    """A regularizer that gives Keras the sum of the losses, for each weight."""

    def total(regularizer: Any, weight: Any) -> Any:
        first, *more = (loss() for loss in losses)
        return sum(more, first)

    return type("ObjectLosses", (use_keras_3().regularizers.Regularizer,), {"__call__": total})()


def _used(obj: Any, function: Any) -> list[Any]:
    captured = {
        id(variable): variable for trace in concrete_functions(function) for variable in trace.variables
    }
    paths = {id(variable): (path, variable) for path, variable in _hanging(obj)}
    ordered = [variable for _, variable in sorted(paths.values(), key=lambda pair: path_order(pair[0]))]
    if not concrete_functions(function):
        return ordered
    reached = {id(variable): variable for variable in ordered if id(variable) in captured}
    return list({**reached, **captured}.values())


def _hanging(obj: Any) -> Iterator[tuple[str, Any]]:
    """The variables below the object, each by one path; none of what is not an object of TensorFlow's."""
    view, waiting, seen = use_tensorflow().train.TrackableView, deque([("", obj)]), set[int]()
    while waiting:
        path, holder = waiting.popleft()
        if id(holder) in seen or not hasattr(holder, "_trackable_children"):
            continue
        seen.add(id(holder))
        if _is_variable(holder):
            yield path, holder
            continue
        for name, child in view.children(holder).items():
            waiting.append((f"{path}.{name}".lstrip("."), child))


def _is_variable(part: Any) -> bool:
    return hasattr(part, "assign") and hasattr(part, "trainable") and hasattr(part, "dtype")


_LOGGER = logging.getLogger("hubcli")
_FLOATS = ("float16", "bfloat16", "float32", "float64")

serializable = use_keras_3().saving.register_keras_serializable(package="hubcli")


class ObjectLayer(_Layer):  # type: ignore[misc]
    """A layer that calls a loaded object, and trains its variables.

    Where a text comes to be an object is said by `_object`.
    """

    def __init__(
        self,
        handle: Any,
        trainable: bool = False,
        arguments: Mapping[str, Any] | None = None,
        tags: Collection[str] | None = None,
        signature: str | None = None,
        signature_outputs_as_dict: bool | None = None,
        output_key: str | None = None,
        output_shape: Any = None,
        load_options: Any = None,
        **kwargs: Any,
    ) -> None:
        obj = self._object(handle, tags, load_options)
        as_dict = bool(signature_outputs_as_dict)
        with _about(handle):
            call = ObjectCall.of(
                obj,
                signature=signature,
                as_dict=as_dict,
                output_key=output_key,
                arguments=arguments or {},
                output_shape=output_shape,
                name=_name_of(handle),
            )
            weights = ObjectWeights.of(obj, call)
        super().__init__(trainable=trainable, **_options(call, kwargs))
        self.supports_jit = call.supports_xla  # Keras asks, before it compiles with XLA by itself.
        self._handle = handle
        self._own_config = _Config(
            arguments=dict(call.arguments),
            tags=None if tags is None else sorted(tags),
            signature=call.signature,
            signature_outputs_as_dict=as_dict or None,
            output_key=call.output_key,
            output_shape=output_shape or None,
        )
        self._obj = obj  # Known to TensorFlow: its tables and assets are saved with the model.
        self._object_call = call
        self._adopt(weights)
        self._has_said_that_nothing_trains = False

    @abstractmethod
    def _object(self, handle: Any, tags: Collection[str] | None, load_options: Any) -> Any:
        """The object that the handle names or is."""

    def _adopt(self, weights: ObjectWeights) -> None:
        adopted = [SharedWeight.of(variable, trainable=True) for variable in weights.trainable]
        others = [SharedWeight.of(variable, trainable=False) for variable in weights.others]
        self._untrainable = weights.trainable[adopted.index(None)] if None in adopted else None
        self._shared = tuple(weight for weight in adopted if weight is not None)
        trained = [weight.value for weight in self._shared]
        # An attribute that Keras looks through for weights.
        self._weights_of_object = [*trained, *(weight.value for weight in others if weight is not None)]
        regularize(trained, weights.losses)
        # Keras computes losses by weight; without weights they are added at each call.
        self._other_losses = () if trained else weights.losses
        self._settle()

    @property
    def resolved_object(self) -> Any:
        """The object that the handle resolved to; `tf.saved_model.save` writes it with what was trained."""
        return self._obj

    @property
    def trainable(self) -> bool:
        """Whether the layer trains what the object lists as trainable; can be set at any time."""
        return bool(super().trainable)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        _Layer.trainable.fset(self, value)
        self._settle()

    def _settle(self) -> None:
        """Lets the weights train or not, as the layers around them want."""
        for weight in self._shared:
            weight.held_by(self)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """As `keras.layers.Layer`; lists of Python values, text too, are tensors here."""
        with _about(self._handle):
            self._require_trainable()
            try:
                return super().__call__(as_tensors(inputs), *args, **kwargs)
            except ArgumentError as error:
                # Keras raises another of the same class, without the hint.
                raise error.__context__ if isinstance(error.__context__, ArgumentError) else error from None

    def call(self, inputs: Any, training: Any = None) -> Any:
        """What the object gives: in training mode where the layer is trainable and called for training."""
        if self.trainable:
            for loss in self._other_losses:
                self.add_loss(loss())
        return self._object_call(inputs, self._mode(training))

    def compute_output_spec(self, inputs: Any, training: Any = None) -> Any:
        """The symbolic outputs for symbolic inputs: dense, sparse or ragged, in the object's structure."""
        return output_spec(lambda given: self._object_call(given, self._mode(training)), inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shapes of the outputs, with the batch, for the shapes of the inputs, of the layer's dtype."""
        return output_shapes(self.compute_output_spec, shapes_in(input_shape), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """What the layer can be made from again, by `from_config` too: the handle, not the weights.

        Raises NotImplementedError if the handle is an object, ArgumentError
        for arguments that JSON can't hold.
        """
        config = dict(super().get_config())
        if not isinstance(self._handle, str):
            raise NotImplementedError(
                "Can only generate a valid config for `hub.KerasLayer(handle, ...)`that uses a string "
                f"`handle`.\n\nGot `type(handle)`: {type(self._handle)}"
            )
        with _about(self._handle):
            return {**config, "handle": self._handle, **self._own_config.checked()}

    def _mode(self, training: Any) -> Any:
        if not self.trainable or training is None:
            return False
        return training

    def _require_trainable(self) -> None:
        """Raises ArgumentError for what can't be trained; says it once where nothing would be."""
        if not self.trainable:
            return
        if _is_tf1_hub(self._obj) or self._object_call.signature:
            is_tf1_hub = _is_tf1_hub(self._obj)
            what = "loading from the TF1 Hub format" if is_tf1_hub else "calling a SavedModel signature"
            raise ArgumentError(
                f"Setting hub.KerasLayer.trainable = True is unsupported when {what}.",
                hint="Set trainable=False. What can be trained: hubcli inspect MODEL --check",
            )
        lost = self._untrainable
        if lost is not None:
            raise ArgumentError(
                f"Keras cannot train {lost.name}, of shape {lost.shape} and type {lost.dtype.name}",
                hint="Set trainable=False, or train it in a loop of your own, with tf.GradientTape.",
            )
        if not self.trainable_weights and not self._has_said_that_nothing_trains:
            self._has_said_that_nothing_trains = True
            _LOGGER.error("hub.KerasLayer is trainable but has zero trainable weights.")


def _name_of(handle: Any) -> str:
    """The handle as an error names it, without secrets; of an object its class."""
    return without_secrets(handle) if isinstance(handle, str) else f"a {type(handle).__name__}"


def _about(handle: Any) -> AbstractContextManager[None]:
    return about_model(_name_of(handle) if isinstance(handle, str) else "")


def _is_tf1_hub(obj: Any) -> bool:
    return getattr(obj, "_is_hub_module_v1", False)


class _Config:
    """Arguments of the layer, out of sight of Keras, which would wrap its dicts and lists."""

    def __init__(self, **values: Any) -> None:
        self._values = {name: value for name, value in values.items() if value not in (None, {})}

    def checked(self) -> dict[str, Any]:
        """The values. Raises ArgumentError for what JSON can't hold."""
        for name, value in self._values.items():
            if name != "arguments":
                _require_json(
                    value, f"hub.KerasLayer(..., {name}=) is not json-serializable.\nGot value: {value}"
                )
        for key, value in self._values.get("arguments", {}).items():
            what = "`hub.KerasLayer(..., arguments)` contains non json-serializable values"
            _require_json({key: value}, f"{what} in key: {key}")
        return dict(self._values)


def _require_json(value: Any, otherwise: str) -> None:
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        hint = "Use numbers, text, lists and dicts, or save only the weights."
        raise ArgumentError(otherwise, hint=hint) from error


def _options(call: ObjectCall, given: Mapping[str, Any]) -> dict[str, Any]:
    """What Keras's own layer is made with: inputs have the dtype of the model's, under any policy.

    `input_shape`, which Keras 2 took, is passed on where Keras makes the right
    input of it; a model of text or numbers of another kind learns it from the data.
    """
    options, taken = dict(given), call.input_dtypes
    floats = taken & {*_FLOATS}
    if options.get("dtype") is None:
        known = floats or taken
        options["dtype"] = next(iter(known)) if len(known) == 1 else "float32"
    name = _computed_in(options["dtype"])
    options.setdefault("autocast", name in _FLOATS and len(floats) < 2)
    if name != use_keras_3().config.floatx():
        options.pop("input_shape", None)
    return options


def _computed_in(dtype: Any) -> str:
    """The name of the dtype that a layer of this dtype, or policy, or config of a policy, computes in."""
    if isinstance(dtype, dict):
        dtype = dtype["config"]["name"]
    name = str(getattr(dtype, "compute_dtype", None) or getattr(dtype, "name", dtype))
    return name.removeprefix("mixed_")
