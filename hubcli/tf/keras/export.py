"""`export` of a Keras model: a Reusable SavedModel, which can be called, fine-tuned and served.

The interface: https://www.tensorflow.org/hub/reusable_saved_models. Keras 3's
own `export()` writes an object that can't be called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubcli.errors import HubcliError, TensorFlowError
from hubcli.savedmodel.files import ModelFiles
from hubcli.savedmodel.reader import read_model
from hubcli.tf.compare import CallableModel, Comparison, compare_outputs
from hubcli.tf.importing import first_line, import_tensorflow
from hubcli.tf.keras.interface import KerasInterface, KerasWeight, by_path, name_tensors
from hubcli.tf.keras.model import LoadedKerasModel, load_keras_model
from hubcli.tf.loading import load_model
from hubcli.tf.variables import snapshot

__all__ = ["KerasExportReport", "export_keras"]

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

    `input_layers` and `output_layers` are names of the layers with which the
    piece begins and ends; none means the model's own ends. `custom_objects` is
    a file or module with the model's own classes and functions. `unsafe` loads
    whatever the file holds: Python code, classes and ops that aren't known to be pure.

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
            f"{source} can't be exported: {type(error).__name__}: {first_line(error)}",
            hint="The whole traceback: --debug",
        ) from error
    if comparison.difference:
        raise TensorFlowError(
            f"{source} was exported, but doesn't compute the same: {comparison.difference}",
            hint="Please report it, with the model's layers.",
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
            self._notes.append("it takes batches of one size alone: its layers keep a state for each place")
        layers = self._interface.activity_layers()
        if layers:
            self._notes.append(
                f"losses on activations are left out ({', '.join(layers)}): the interface has none that "
                "depend on the inputs"
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
        live, kept = snapshot(by_path(self._weights)), snapshot(dict(reloaded.weights))
        changed = next((path for path, state in live.items() if kept.get(path) != state), None)
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
            trainable_variables=sum(one.trainable for one in self._weights),
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
        flat = [_renamed(spec, name, tf) for name, spec in named.items()]
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
        known = {id(one.variable) for one in self._weights}
        for trace in traces:
            for variable in trace.variables:
                if id(variable) not in known:
                    known.add(id(variable))
                    self._weights.append(KerasWeight(variable, variable.name.partition(":")[0], False))
                    if variable.trainable:
                        self._notes.append(f"{variable.name} is no weight of the model, and isn't trained")
        view = self._tf.train.TrackableView(self._interface.loaded.model)
        resource = self._tf.saved_model.experimental.TrackableResource
        tables = [one for one in view.descendants() if isinstance(one, resource)]
        if tables:
            self._root.resources = tables

    def _hang_variables(self) -> None:
        """The variables by their paths, which the checkpoint's keys are made of, then the lists.

        A key is the shortest path, and among those the one that was hung first.
        """
        self._root.weights = by_path(self._weights)
        self._root.variables = [one.variable for one in self._weights]
        self._root.trainable_variables = [one.variable for one in self._weights if one.trainable]


def _renamed(spec: Any, name: str, tf: Any) -> Any:
    return tf.TensorSpec(spec.shape, spec.dtype, name=name) if isinstance(spec, tf.TensorSpec) else spec
