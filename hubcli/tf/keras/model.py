"""A Keras model of either generation, loaded from its file and cut to the part to export."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubcli.errors import HubcliError, TensorFlowError, UsageError
from hubcli.issues import Severity
from hubcli.savedmodel.checks.keras_config import IssueKind, TrustedNames
from hubcli.savedmodel.checks.keras_names import APPLICATION_LAYERS
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.reader import read_model
from hubcli.tf.importing import KerasGeneration, import_keras, load_module, near_misses
from hubcli.tf.keras.source import KerasFormat, KerasSource

__all__ = ["CustomObjects", "LoadedKerasModel", "load_keras_model"]

# What Keras and hubcli register themselves isn't the user's.
_LIBRARIES = ("keras", "tf_keras", "hubcli")
# What a module of the user's imports from these stays theirs: the walk knows which of it is pure.
_FRAMEWORKS = frozenset({"keras", "tf_keras", "tensorflow"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class CustomObjects:
    """Every class and function that a module of the user's holds, by its name; of no module, none."""

    objects: dict[str, Any]
    modules: frozenset[str] = frozenset()

    @classmethod
    def of_module(cls, text: str | None) -> CustomObjects:
        """The objects of the module in a file or by a dotted name. Raises what `load_module` does."""
        if text is None:
            return cls({})
        module = load_module(text)
        objects = {
            name: value
            for name, value in vars(module).items()
            if callable(value) and not name.startswith("__")
        }
        return cls(objects, frozenset({module.__name__}))

    def with_applications(self, keras: Any) -> dict[str, Any]:
        """The objects, and the layers of keras.applications, which Keras finds in some formats alone."""
        found = dict[str, Any]()
        for name, place in APPLICATION_LAYERS.items():
            with suppress(ImportError, AttributeError):
                module = importlib.import_module(f"{keras.__name__}.src.applications.{place}")
                found[name] = getattr(module, name)
        return found | self.objects

    def trusted(self, keras: Any) -> TrustedNames:
        """Their names, and those of what the user registered with Keras.

        Of what the module merely imports, classes count that Keras can make
        from a config, but for those of Keras itself (`from keras.layers import *`
        must not let a Lambda pass), and functions of no installed library: a
        config must not call `subprocess.run` or `joblib.dump`.
        """
        registered = {
            name: value
            for name, value in keras.saving.get_custom_objects().items()
            if _top_module(value) not in _LIBRARIES
        }
        classes = {
            name
            for name, value in (self.objects | registered).items()
            if inspect.isclass(value)
            and (hasattr(value, "from_config") or value.__module__ in self.modules)
            and _top_module(value) not in _FRAMEWORKS
        }
        functions = {
            name
            for name, value in (self.objects | registered).items()
            if not inspect.isclass(value) and (name in registered or self._holds(value))
        }
        return TrustedNames(frozenset(classes), frozenset(functions), self.modules)

    def _holds(self, value: Any) -> bool:
        """Whether the function is the user's: of the module's own package, or of one that isn't installed."""
        top = _top_module(value)
        if top in {module.partition(".")[0] for module in self.modules}:
            return True
        if not top or top in _FRAMEWORKS or top in sys.stdlib_module_names:
            return False
        origin = getattr(sys.modules.get(top), "__file__", None)
        return origin is None or _INSTALLED.isdisjoint(Path(origin).parts)


def _top_module(cls: Any) -> str:
    return str(getattr(cls, "__module__", "")).partition(".")[0]


# What the scan finds in the Keras metadata, which is walked with the user's own classes in mind.
_FOUND_IN_CONFIGS = frozenset({"keras-code", "keras-op"})


@dataclass(frozen=True, slots=True)
class LoadedKerasModel:
    """A live Keras model, without an optimizer, and the module of its generation."""

    model: Any
    keras: Any
    source: KerasSource

    @property
    def is_functional(self) -> bool:
        """Whether its inputs and outputs are known tensors, so that it can be cut."""
        return bool(getattr(self.model, "inputs", None)) and bool(getattr(self.model, "outputs", None))

    @property
    def takes_training(self) -> bool:
        """Whether it may be called with the argument `training`."""
        if self.source.generation is KerasGeneration.KERAS_3:
            return True  # Keras 3 drops the argument where the model's own `call` hasn't it.
        parameters = inspect.signature(self.model.call).parameters.values()
        return any(
            parameter.name == "training" or parameter.kind is parameter.VAR_KEYWORD
            for parameter in parameters
        )

    def own_end(self, side: str) -> Any:
        """The tensors of a functional model on its side "input" or "output", in their structure."""
        tensors = self.model.inputs if side == "input" else self.model.outputs
        try:
            return getattr(self.model, side)
        except (AttributeError, ValueError):  # A Sequential model of Keras 3 has the lists alone.
            return tensors[0] if len(tensors) == 1 else tensors

    def cut(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> LoadedKerasModel:
        """The piece from the inputs of the layers `inputs` to the outputs of the layers `outputs`.

        Nothing named means the model's own end. One output layer gives its
        output as it is, several a dict by their names. Raises UsageError for a
        layer that isn't there or used several times, or where no path leads
        from the inputs to the outputs.
        """
        if not inputs and not outputs:
            return self
        if not self.is_functional:
            raise UsageError(
                f"Cannot cut {self.source.path}: it is a subclassed model, whose layers have no order",
                hint="Remove --input-layer and --output-layer, or save the part as a model of its own.",
            )
        new_inputs = self._ends(inputs, "input")
        new_outputs = self._ends(outputs, "output")
        try:
            piece = self.keras.Model(new_inputs, new_outputs)
        except (ValueError, TypeError, RuntimeError) as error:
            raise UsageError(
                f"No part of {self.source.path} leads from {', '.join(inputs) or 'its inputs'} "
                f"to {', '.join(outputs) or 'its outputs'}: {_first_line(error)}",
                hint="Choose connected layers, and every input that the outputs need.",
            ) from error
        return LoadedKerasModel(piece, self.keras, self.source)

    def _ends(self, names: tuple[str, ...], side: str) -> Any:
        """The tensors of the layers on that side: one as it is, several by name, or the model's own."""
        if not names:
            return self.own_end(side)
        found = {name: self._end(name, side) for name in names}
        return next(iter(found.values())) if len(found) == 1 else found

    def _end(self, name: str, side: str) -> Any:
        layers = {layer.name: layer for layer in self.model.layers}
        if name not in layers:
            inside = [holder for holder, inner in _nested_names(self.model) if inner == name]
            hint = (
                f"Choose the nested model {inside[0]} that contains it, or save that model and cut it."
                if inside
                else near_misses(name, list(layers))
            )
            raise UsageError(f"{self.source.path} has no layer {name}", hint=hint)
        layer = layers[name]
        # A model within the model has ends of its own, which no path of the outer one reaches; a layer that
        # another model uses too has several.
        uses = _uses(self.model, layer)
        if len(uses) == 1 and (hasattr(layer, "layers") or len(layer._inbound_nodes) > 1):
            return _tensors_of(uses[0], side)
        if len(uses) > 1:
            raise UsageError(
                f"The layer {name} has no single {side}: {self.source.path} uses it {len(uses)} times",
                hint="Choose a layer that the model uses once.",
            )
        try:
            return getattr(layer, side)
        except (AttributeError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"The layer {name} has no single {side}: {_first_line(error)}",
                hint="Choose a layer that the model uses once.",
            ) from error


@contextmanager
def load_keras_model(path: Path, *, custom_objects: str | None, unsafe: bool) -> Iterator[LoadedKerasModel]:
    """The model of the file, without its optimizer; it may read its assets for as long as the context lasts.

    `custom_objects` names a file or module whose classes and functions the
    model may use. What would run code of the file or open files that it names
    is refused but for `unsafe`. Raises what `KerasSource.opened` and
    `load_module` do, and TensorFlowError.
    """
    with KerasSource.opened(path) as source:
        keras = import_keras(source.generation)
        own = CustomObjects.of_module(custom_objects)
        if not unsafe:
            _require_pure(source, own.trusted(keras))
        yield LoadedKerasModel(
            _load(keras, source, own.with_applications(keras), unsafe=unsafe), keras, source
        )


def _load(keras: Any, source: KerasSource, objects: dict[str, Any], *, unsafe: bool) -> Any:
    options: dict[str, Any] = {"compile": False, "custom_objects": objects}
    if source.format is not KerasFormat.SAVED_MODEL:
        options["safe_mode"] = not unsafe
    try:
        return keras.models.load_model(str(source.copy), **options)
    except HubcliError:
        raise
    # Keras raises what a layer's constructor does.
    except Exception as error:
        raise TensorFlowError(
            f"{source.path}: Keras {keras.__version__} cannot load it: {_first_line(error)}",
            hint=_load_hint(error),
        ) from error


def _require_pure(source: KerasSource, trusted: TrustedNames) -> None:
    """Raises TensorFlowError with the first layer that needs trust, and why."""
    issues = source.issues(trusted)
    reasons = [str(issue) for issue in issues]
    if source.format is KerasFormat.SAVED_MODEL:
        reasons += _graph_reasons(source)
    if not reasons:
        return
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    hint = "If you trust the author, add --unsafe."
    if issues and issues[0].kind is IssueKind.CLASS:
        hint = f"Specify the file or module with its classes: --custom-objects FILE.py. {hint}"
    raise TensorFlowError(f"Refusing to load {source.path}: {reasons[0]}{more}", hint=hint)


def _graph_reasons(source: KerasSource) -> list[str]:
    """What ops of the SavedModel would do: Keras runs its initializers and its losses."""
    findings = read_model(ModelFiles.of_directory(source.copy)).findings
    return [
        f"{finding.where}: {finding.message}"
        for finding in findings
        if finding.severity >= Severity.HIGH and finding.code not in _FOUND_IN_CONFIGS
    ]


def _load_hint(error: BaseException) -> str:
    text = str(error)
    if any(part in text for part in ("Unknown layer", "Unknown ", "Could not locate", "custom_objects")):
        return "Specify the file or module with its classes: --custom-objects FILE.py"
    if "safe_mode" in text or "unsafe" in text or "Lambda" in text:
        return "If you trust the author, add --unsafe."
    return (
        "Specify the file of its custom classes, if it has any: "
        "--custom-objects FILE.py. See the traceback: --debug"
    )


def _uses(model: Any, layer: Any) -> list[Any]:
    """The nodes of the layer in the graph of that model, one for each time that it is called there.

    Keras has no public name for them. Source: `_nodes_by_depth` in
    tf_keras/src/engine/functional.py and in keras/src/ops/function.py.
    """
    graph = getattr(model, "_functional", None) or model  # A Sequential model of Keras 3 holds one.
    levels = getattr(graph, "_nodes_by_depth", None) or {}
    there = {id(node) for level in levels.values() for node in level}
    return [node for node in getattr(layer, "_inbound_nodes", ()) if id(node) in there]


def _tensors_of(node: Any, side: str) -> Any:
    """What goes into the node or comes out of it: a tensor, or several in their structure."""
    inputs = getattr(node, "keras_inputs", None) or node.input_tensors
    found = node.outputs if side == "output" else inputs
    return found[0] if isinstance(found, (list, tuple)) and len(found) == 1 else found


def _nested_names(model: Any) -> Iterator[tuple[str, str]]:
    for layer in model.layers:
        for inner in getattr(layer, "layers", ()):
            yield layer.name, inner.name
            yield from ((layer.name, deeper) for _, deeper in _nested_names(layer))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
