"""The variables of a loaded object as weights of Keras 3: the very variables, known to Keras.

`keras.Variable` on the TensorFlow backend takes an existing `tf.Variable` as its value.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from hubcli.errors import ArgumentError
from hubcli.savedmodel.objects import path_order
from hubcli.tf.importing import use_keras_3, use_tensorflow
from hubcli.tf.keras.layer_call import ObjectCall, concrete_functions

__all__ = ["ObjectWeights", "SharedWeight", "regularize"]

_TRAINED, _KEPT = "_hubcli_trained_weight", "_hubcli_kept_weight"


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
            trainable = [one for one in listed if one.trainable]
        losses = tuple(getattr(obj, "regularization_losses", ()))
        if not all(map(callable, losses)):
            raise ArgumentError(
                "hub.KerasLayer(obj) expects obj.regularization_losses to be an iterable of callables, "
                "each returning a scalar loss term.",
                hint="Export the model with a tf.function without arguments for each loss.",
            )
        numbers = {id(one) for one in trainable}
        others = [one for one in listed or () if id(one) not in numbers]
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
        """That of the variable, made when it is first asked for; None where Keras can't know it.

        Who trains the variable and who keeps it, as a signature does, have one each.
        """
        name = _TRAINED if trainable else _KEPT
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
        self.value.trainable = any(one.trainable for one in self._layers)


def regularize(weights: Sequence[Any], losses: Sequence[Callable[[], Any]]) -> None:
    """Lets Keras count the losses, one a weight, for as long as that is trained."""
    for place, weight in enumerate(weights[: len(losses)]):
        is_last = place == len(weights) - 1
        weight.regularizer = _regularizer(losses[place:] if is_last else losses[place : place + 1])


def _regularizer(losses: Sequence[Callable[[], Any]]) -> Any:
    """A regularizer that gives Keras the sum of the losses, whatever weight it is asked for."""

    def total(regularizer: Any, weight: Any) -> Any:
        first, *more = (loss() for loss in losses)
        return sum(more, first)

    return type("ObjectLosses", (use_keras_3().regularizers.Regularizer,), {"__call__": total})()


def _used(obj: Any, function: Any) -> list[Any]:
    captured = {id(one): one for trace in concrete_functions(function) for one in trace.variables}
    paths = {id(one): (path, one) for path, one in _hanging(obj)}
    ordered = [one for _, one in sorted(paths.values(), key=lambda pair: path_order(pair[0]))]
    if not concrete_functions(function):
        return ordered
    reached = {id(one): one for one in ordered if id(one) in captured}
    return list({**reached, **captured}.values())


def _hanging(obj: Any) -> Iterator[tuple[str, Any]]:
    """The variables below the object, each by one path; none of what is no object of TensorFlow's."""
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
