"""`export` of a Keras model: a Reusable SavedModel, which can be called, fine-tuned and served.

The interface: https://www.tensorflow.org/hub/reusable_saved_models. Keras 3's own `export()` writes an object
that can't be called. `KerasInterface` hides in which ways the two generations give inputs, outputs, losses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubcli.errors import HubcliError, TensorFlowError
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.reader import read_model
from hubcli.tf.compare import CallableModel, Comparison, compare_outputs
from hubcli.tf.importing import KerasGeneration, first_line, import_tensorflow
from hubcli.tf.keras.model import LoadedKerasModel, load_keras_model
from hubcli.tf.loading import load_model, snapshot

__all__ = ["KerasExportReport", "KerasInterface", "KerasWeight", "by_path", "export_keras", "name_tensors"]


@dataclass(frozen=True, slots=True)
class KerasWeight:
    """A `tf.Variable` of the model, where it hangs in it ("layer/kernel"), whether the model trains it."""

    variable: Any
    path: str
    trainable: bool


@dataclass(frozen=True, slots=True)
class KerasInterface:
    """The model, queried in the way of its generation."""

    loaded: LoadedKerasModel

    def call(self, inputs: Any, training: bool) -> Any:
        """What the model gives for the inputs."""
        model = self.loaded.model
        return model(inputs, training=training) if self.loaded.takes_training else model(inputs)

    def input_specs(self) -> Any:
        """The specs of what the model takes, in its own structure, the batch dimension unknown if it may be.

        Raises TensorFlowError if the model never saw an input.
        """
        if self.loaded.is_functional:
            return import_tensorflow().nest.map_structure(self._spec, self.loaded.own_end("input"))
        specs = self._recorded_specs()
        if specs is None:
            raise TensorFlowError(
                f"{self.loaded.source.path} does not describe the model's inputs",
                hint="Call the model once before it is saved, or build it from keras.Input.",
            )
        return specs

    @property
    def batch_is_fixed(self) -> bool:
        """Whether a layer keeps a state for each place in the batch, so that its size can't vary."""
        return any(getattr(layer, "stateful", False) is True for layer in self._recurrent_layers())

    def input_names(self) -> tuple[str, ...] | None:
        """The names of the inputs in the order of `tf.nest.flatten`, None if the model has none."""
        if not self.loaded.is_functional:
            return None
        names = getattr(self.loaded.model, "input_names", None)
        return tuple(names or (tensor.name.partition(":")[0] for tensor in self.loaded.model.inputs))

    def output_names(self) -> tuple[str, ...] | None:
        """The names of the outputs in the order of `tf.nest.flatten`, None if the model has none."""
        names = getattr(self.loaded.model, "output_names", None)
        return tuple(names) if names and self.loaded.is_functional else self._names_of_sequence()

    def weights(self) -> list[KerasWeight]:
        """Every variable of the model, random seeds too, metrics and optimizers left out."""
        model = self.loaded.model
        trainable = {id(_variable(variable)) for variable in model.trainable_variables}
        found = {}
        for own_variable in model.variables:
            variable = _variable(own_variable)
            path = getattr(own_variable, "path", None) or own_variable.name.partition(":")[0]
            found[id(variable)] = KerasWeight(variable, path, id(variable) in trainable)
        return list(found.values())

    def losses(self) -> list[Callable[[], Any]]:
        """The regularization losses of the weights, each a function without arguments that gives a tensor.

        As the model itself counts them: Keras 3 leaves out those of frozen layers.
        """
        if self.loaded.source.generation is KerasGeneration.KERAS_3:
            return [
                _loss_of(variable)
                for variable in self.loaded.model.trainable_variables
                if getattr(variable, "regularizer", None) is not None
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
        return [
            layer
            for layer in self._layers()
            if hasattr(layer, "reset_states") or hasattr(layer, "reset_state")
        ]

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
        """What a subclassed model keeps of its first call; None if it keeps nothing."""
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
    if isinstance(structure, dict) and not any(tf.nest.is_nested(tensor) for tensor in structure.values()):
        return {str(key): structure[key] for key in sorted(structure)}
    tensors = tf.nest.flatten(structure)
    if names is None or len(names) != len(tensors) or len(set(names)) != len(names):
        names = tuple(f"{prefix}_{place}" for place in range(len(tensors)))
    return dict(zip(names, tensors, strict=True))


def _variable(variable: Any) -> Any:
    """The `tf.Variable` itself: Keras 3 wraps each, Keras 2 those of a layer in mixed precision."""
    tf = import_tensorflow()
    if not isinstance(variable, tf.Variable):
        return variable.value
    inner = getattr(variable, "_variable", None)
    return inner if isinstance(inner, tf.Variable) else variable


def _loss_of(loss: Any) -> Callable[[], Any]:
    return lambda: loss.regularizer(loss)


def _specs_of_shapes(shapes: Any, dtype: Any, tf: Any) -> Any:
    """Specs in the structure of the shapes; a shape is a list or tuple of numbers and None."""
    if isinstance(shapes, dict):
        return {key: _specs_of_shapes(shape, dtype, tf) for key, shape in shapes.items()}
    if all(isinstance(shape, int) or shape is None for shape in shapes):
        return tf.TensorSpec([None, *shapes[1:]], dtype, name="inputs")
    return [_specs_of_shapes(shape, dtype, tf) for shape in shapes]


def by_path(weights: list[KerasWeight]) -> dict[str, Any]:
    """The variables by their paths; where two have the same, the second is numbered."""
    found: dict[str, Any] = {}
    for weight in weights:
        path, number = weight.path, 1
        while path in found:
            path, number = f"{weight.path}_{number}", number + 1
        found[path] = weight.variable
    return found


_TRAINING = (True, False, None)


@dataclass(frozen=True, slots=True)
class KerasExportReport:
    """What was exported: the Keras that read it, names of the signature, counts of variables and losses.

    `notes` are sentences about what the result has not, or has otherwise;
    `comparison` is that of the result with the Keras model.
    """

    keras_version: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    variables: int
    trainable_variables: int
    regularization_losses: int
    notes: tuple[str, ...]
    comparison: Comparison


def export_keras(
    source: Path,
    destination: Path,
    *,
    output_layers: Sequence[str] = (),
    input_layers: Sequence[str] = (),
    custom_objects: str | None = None,
    unsafe: bool = False,
) -> KerasExportReport:
    """Writes the Keras model at `source` into the directory `destination`, which isn't there yet.

    `input_layers` and `output_layers` name the layers with which the piece begins and ends; none means the
    model's own ends. `custom_objects` is a file or module with the model's own classes and functions.
    `unsafe` loads all that the file holds: Python code, classes and ops that aren't known to be pure.

    Raises TensorFlowError (missing, or the model fails), UsageError for layers
    that aren't there, NotFoundError, BrokenModelError, OSError of the disk.
    """
    with load_keras_model(source, custom_objects=custom_objects, unsafe=unsafe) as loaded:
        piece = loaded.cut(tuple(input_layers), tuple(output_layers))
        return _exported(source, destination, piece)


def _exported(source: Path, destination: Path, piece: LoadedKerasModel) -> KerasExportReport:
    try:
        export = _Export(KerasInterface(piece))
        export.trace()
        export.save(destination)
        comparison = export.compare(destination)
    except (HubcliError, OSError):
        raise
    # A layer's `call` raises what it likes.
    except Exception as error:
        raise TensorFlowError(
            f"Cannot export {source}: {type(error).__name__}: {first_line(error)}",
            hint="See the traceback: --debug",
        ) from error
    if comparison.difference:
        raise TensorFlowError(
            f"{source} was exported, but its outputs differ: {comparison.difference}",
            hint="Report it, with the layers of the model.",
        )
    return export.report(piece.keras.__version__, comparison)


class _Export:
    """One export: the object that is saved, and what was found on the way."""

    def __init__(self, interface: KerasInterface) -> None:
        self._tf = import_tensorflow()
        self._interface = interface
        self._weights = interface.weights()
        self._losses = interface.losses()
        self._notes: list[str] = []
        self._inputs: tuple[str, ...] = ()
        self._outputs: tuple[str, ...] = ()
        self._root = self._tf.train.Checkpoint()
        self._signature: Any = None

    def trace(self) -> None:
        """Traces the functions, and hangs on the root what they use."""
        specs = self._interface.input_specs()
        call, traces = self._trace_call(specs)
        self._signature = self._trace_signature(specs)
        self._add_uses_of([*traces, self._signature])
        self._hang_variables()
        self._root.__call__ = call
        self._root.regularization_losses = [self._loss(loss) for loss in self._losses]
        if self._interface.batch_is_fixed:
            self._notes.append("it accepts only one batch size: its layers keep a state for each row")
        layers = self._interface.activity_layers()
        if layers:
            self._notes.append(
                f"losses on activations are omitted ({', '.join(layers)}): the interface "
                "supports only losses that do not depend on the inputs"
            )

    def save(self, destination: Path) -> None:
        """Writes the SavedModel."""
        self._tf.saved_model.save(
            self._root, str(destination), signatures={"serving_default": self._signature}
        )

    def compare(self, saved: Path) -> Comparison:
        """Loads what was saved, and compares its values and its outputs with the Keras model's."""
        reloaded = load_model(saved)
        info = read_model(ModelFiles.of_directory(saved))
        live, reloaded_values = snapshot(by_path(self._weights)), snapshot(dict(reloaded.weights))
        changed = next((path for path, state in live.items() if reloaded_values.get(path) != state), None)
        if changed is not None:
            return Comparison((), len(live), (), f"the variable {changed} holds other values")
        outputs = compare_outputs(self._callees(), CallableModel.of(reloaded), info, saved)
        return Comparison(outputs.calls, len(live), outputs.skipped, outputs.difference)

    def _callees(self) -> CallableModel:
        """The Keras model itself, called as the saved one is."""
        interface, tf = self._interface, self._tf
        specs = interface.input_specs()
        names = name_tensors(specs, interface.input_names(), "input")

        def call(inputs: Any, training: Any = False) -> Any:
            return interface.call(inputs, bool(training))

        def serve(**tensors: Any) -> dict[str, Any]:
            inputs = tf.nest.pack_sequence_as(specs, [tensors[name] for name in names])
            return name_tensors(call(inputs), interface.output_names(), "output")

        return CallableModel(call, {"serving_default": serve})

    def report(self, keras_version: str, comparison: Comparison) -> KerasExportReport:
        """What was exported."""
        return KerasExportReport(
            keras_version=keras_version,
            inputs=self._inputs,
            outputs=self._outputs,
            variables=len(self._weights),
            trainable_variables=sum(weight.trainable for weight in self._weights),
            regularization_losses=len(self._losses),
            notes=tuple(self._notes),
            comparison=comparison,
        )

    def _trace_call(self, specs: Any) -> tuple[Any, list[Any]]:
        """`__call__`, traced for every value of `training` over the same inputs; None means inference."""
        interface = self._interface

        def call(inputs: Any, training: Any = False) -> Any:
            return interface.call(inputs, bool(training))

        function = self._tf.function(call)
        return function, [function.get_concrete_function(specs, training=training) for training in _TRAINING]

    def _trace_signature(self, specs: Any) -> Any:
        """The signature, in inference mode, over flat tensors with the model's own names."""
        tf, interface = self._tf, self._interface
        named = name_tensors(specs, interface.input_names(), "input")
        flat = [
            tf.TensorSpec(spec.shape, spec.dtype, name=name) if isinstance(spec, tf.TensorSpec) else spec
            for name, spec in named.items()
        ]
        output_names = interface.output_names()
        found: list[str] = []

        def serve(*tensors: Any) -> dict[str, Any]:
            inputs = tf.nest.pack_sequence_as(specs, tensors)
            outputs = name_tensors(interface.call(inputs, False), output_names, "output")
            found[:] = outputs
            return outputs

        function = tf.function(serve, input_signature=flat).get_concrete_function()
        self._inputs, self._outputs = tuple(named), tuple(found)
        return function

    def _loss(self, loss: Any) -> Any:
        tf = self._tf
        function = tf.function(lambda: tf.reduce_sum(tf.cast(loss(), tf.float32)), input_signature=[])
        function.get_concrete_function()
        return function

    def _add_uses_of(self, traces: list[Any]) -> None:
        """Variables that the layers use without saying so, and tables, whose assets go along."""
        known = {id(weight.variable) for weight in self._weights}
        for trace in traces:
            for variable in trace.variables:
                if id(variable) not in known:
                    known.add(id(variable))
                    self._weights.append(KerasWeight(variable, variable.name.partition(":")[0], False))
                    if variable.trainable:
                        self._notes.append(f"{variable.name} is not a weight of the model and not trained")
        view = self._tf.train.TrackableView(self._interface.loaded.model)
        resource = self._tf.saved_model.experimental.TrackableResource
        tables = [node for node in view.descendants() if isinstance(node, resource)]
        if tables:
            self._root.resources = tables

    def _hang_variables(self) -> None:
        """The variables by their paths, then the lists: keys of the checkpoint are the shortest paths."""
        self._root.weights = by_path(self._weights)
        self._root.variables = [weight.variable for weight in self._weights]
        self._root.trainable_variables = [weight.variable for weight in self._weights if weight.trainable]
