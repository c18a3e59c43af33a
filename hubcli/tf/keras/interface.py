"""What a live Keras model shares: its inputs and outputs by name, its variables, its regularization losses.

The two generations tell these in different ways; this file is where that ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hubcli.errors import TensorFlowError
from hubcli.tf.importing import KerasGeneration, import_tensorflow
from hubcli.tf.keras.model import LoadedKerasModel

__all__ = ["KerasInterface", "KerasWeight", "by_path", "name_tensors"]


@dataclass(frozen=True, slots=True)
class KerasWeight:
    """A `tf.Variable` of the model, where it hangs in it ("layer/kernel"), whether the model trains it."""

    variable: Any
    path: str
    trainable: bool


@dataclass(frozen=True, slots=True)
class KerasInterface:
    """The model, asked in the way of its generation."""

    loaded: LoadedKerasModel

    def call(self, inputs: Any, training: bool) -> Any:
        """What the model gives for the inputs."""
        model = self.loaded.model
        return model(inputs, training=training) if self.loaded.takes_training else model(inputs)

    def input_specs(self) -> Any:
        """The specs of what the model takes, in its own structure, the batch dimension unknown if it may be.

        Raises TensorFlowError where the model never saw an input.
        """
        if self.loaded.is_functional:
            return import_tensorflow().nest.map_structure(self._spec, self.loaded.own_end("input"))
        specs = self._recorded_specs()
        if specs is None:
            raise TensorFlowError(
                f"{self.loaded.source.path} doesn't tell what the model takes",
                hint="Call the model once before it is saved, or build it from keras.Input.",
            )
        return specs

    @property
    def batch_is_fixed(self) -> bool:
        """Whether a layer keeps a state for each place in the batch, so that its size can't vary."""
        return any(getattr(layer, "stateful", False) is True for layer in self._recurrent_layers())

    def input_names(self) -> tuple[str, ...] | None:
        """The names of the inputs in the order of `tf.nest.flatten`, None where the model has none."""
        if not self.loaded.is_functional:
            return None
        names = getattr(self.loaded.model, "input_names", None)
        return tuple(names or (tensor.name.partition(":")[0] for tensor in self.loaded.model.inputs))

    def output_names(self) -> tuple[str, ...] | None:
        """The names of the outputs in the order of `tf.nest.flatten`, None where the model has none."""
        names = getattr(self.loaded.model, "output_names", None)
        return tuple(names) if names and self.loaded.is_functional else self._names_of_sequence()

    def weights(self) -> list[KerasWeight]:
        """Every variable of the model, random seeds too, metrics and optimizers left out."""
        model = self.loaded.model
        trainable = {id(_variable(one)) for one in model.trainable_variables}
        found = {}
        for one in model.variables:
            variable = _variable(one)
            path = getattr(one, "path", None) or one.name.partition(":")[0]
            found[id(variable)] = KerasWeight(variable, path, id(variable) in trainable)
        return list(found.values())

    def losses(self) -> list[Callable[[], Any]]:
        """The regularization losses of the weights, each a function without arguments that gives a tensor.

        As the model itself counts them: Keras 3 leaves out those of frozen layers.
        """
        if self.loaded.source.generation is KerasGeneration.KERAS_3:
            return [
                _loss_of(one)
                for one in self.loaded.model.trainable_variables
                if getattr(one, "regularizer", None) is not None
            ]
        return [
            loss
            for layer in self._layers()
            for loss in getattr(layer, "_callable_losses", ())
            if loss() is not None
        ]

    def activity_layers(self) -> list[str]:
        """The layers with a loss that depends on the inputs, which the interface can't carry."""
        layers = self._layers()
        return [layer.name for layer in layers if getattr(layer, "activity_regularizer", None) is not None]

    def _recurrent_layers(self) -> list[Any]:
        """Layers with `reset_states` or `reset_state`; others are called stateful for their random seeds."""
        return [one for one in self._layers() if hasattr(one, "reset_states") or hasattr(one, "reset_state")]

    def _layers(self) -> list[Any]:
        """The model and every layer below it."""
        return list(self.loaded.model._flatten_layers())

    def _spec(self, tensor: Any) -> Any:
        """The spec of a Keras tensor, dense, ragged or sparse, its first dimension unknown."""
        tf = import_tensorflow()
        shape = None if tensor.shape is None else list(tensor.shape)
        if shape and not self.batch_is_fixed:
            shape[0] = None
        name = tensor.name.partition(":")[0]
        spec = getattr(tensor, "type_spec", None)
        if isinstance(spec, tf.RaggedTensorSpec):
            return tf.RaggedTensorSpec(shape, spec.dtype, spec.ragged_rank, spec.row_splits_dtype)
        if isinstance(spec, tf.SparseTensorSpec) or getattr(tensor, "sparse", False):
            return tf.SparseTensorSpec(shape, tensor.dtype)
        if getattr(tensor, "ragged", False):
            return tf.RaggedTensorSpec(shape, tensor.dtype, ragged_rank=getattr(tensor, "ragged_rank", 1))
        return tf.TensorSpec(shape, tensor.dtype, name=name)

    def _recorded_specs(self) -> Any:
        """What a subclassed model keeps of its first call; None where it keeps nothing."""
        model, tf = self.loaded.model, import_tensorflow()
        if self.loaded.source.generation is KerasGeneration.KERAS_2:
            saved = model.save_spec(dynamic_batch=True)
            return saved[0][0] if saved and len(saved[0]) == 1 else None
        shapes = (model.get_build_config() or {}).get("input_shape")
        return None if shapes is None else _specs_of_shapes(shapes, tf.as_dtype(model.input_dtype), tf)

    def _names_of_sequence(self) -> tuple[str, ...] | None:
        """A Sequential model of Keras 3 has no names of its own: its last layer's, as Keras 2 has it."""
        layers = getattr(self.loaded.model, "layers", None)
        return (layers[-1].name,) if self.loaded.is_functional and layers else None


def name_tensors(structure: Any, names: tuple[str, ...] | None, prefix: str) -> dict[str, Any]:
    """The tensors of a structure by name: a dict's keys, else `names`, else `prefix_0`, `prefix_1`, …."""
    tf = import_tensorflow()
    if isinstance(structure, dict) and not any(tf.nest.is_nested(one) for one in structure.values()):
        return {str(key): structure[key] for key in sorted(structure)}
    tensors = tf.nest.flatten(structure)
    if names is None or len(names) != len(tensors) or len(set(names)) != len(names):
        names = tuple(f"{prefix}_{place}" for place in range(len(tensors)))
    return dict(zip(names, tensors, strict=True))


def _variable(one: Any) -> Any:
    """The `tf.Variable` itself: Keras 3 wraps each, Keras 2 those of a layer in mixed precision."""
    tf = import_tensorflow()
    if not isinstance(one, tf.Variable):
        return one.value
    inner = getattr(one, "_variable", None)
    return inner if isinstance(inner, tf.Variable) else one


def _loss_of(one: Any) -> Callable[[], Any]:
    return lambda: one.regularizer(one)


def _specs_of_shapes(shapes: Any, dtype: Any, tf: Any) -> Any:
    """Specs in the structure of the shapes; a shape is a list or tuple of numbers and None."""
    if isinstance(shapes, dict):
        return {key: _specs_of_shapes(one, dtype, tf) for key, one in shapes.items()}
    if all(isinstance(one, int) or one is None for one in shapes):
        return tf.TensorSpec([None, *shapes[1:]], dtype, name="inputs")
    return [_specs_of_shapes(one, dtype, tf) for one in shapes]


def by_path(weights: list[KerasWeight]) -> dict[str, Any]:
    """The variables by their paths; where two have the same, the second is numbered."""
    found: dict[str, Any] = {}
    for one in weights:
        path, number = one.path, 1
        while path in found:
            path, number = f"{one.path}_{number}", number + 1
        found[path] = one.variable
    return found
