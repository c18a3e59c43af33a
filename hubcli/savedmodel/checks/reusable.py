"""Whether a model has the Reusable SavedModel interface, and follows the advice for publishers.

Source: https://www.tensorflow.org/hub/reusable_saved_models and the common
signatures at https://www.tensorflow.org/hub/common_saved_model_apis.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from hubcli.issues import Issue, Severity
from hubcli.savedmodel.functions import Function, FunctionVariant, arguments_of
from hubcli.savedmodel.graph import Graph, GraphBody, MetaGraphOutline
from hubcli.savedmodel.model import Conformance
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.types import Literal, TensorSpec, TypeSpec, decode, holds_tensors, tensors_of
from hubcli.savedmodel.variables import Variable, VariableLists
from hubcli.units import first_few, format_size, plural

__all__ = ["check_reusable", "final_ops"]

_ERROR, _WARNING, _HINT = Severity.ERROR, Severity.WARNING, Severity.HINT
_TRAINING = "training"
# By the code of each finding how grave it is, and what to do.
_ADVICE = {
    "no-object": (_ERROR, "Call obj.signatures[…]; to fine-tune it, export it again from TensorFlow 2."),
    "several-graphs": (_ERROR, "Save only the object: tf.saved_model.save(obj, DIR)."),
    "no-call": (
        _ERROR,
        "Add a tf.function __call__(x, training=False) to the object; for a "
        "Keras model: hubcli export MODEL.keras DIR.",
    ),
    "call-input": (_ERROR, "Take one tensor, or one list or dict of tensors."),
    "call-inputs": (_ERROR, "Take several tensors as one list or dict."),
    "training-untraced": (_ERROR, "Call it once with training={} before it is saved."),
    "training-differs": (_ERROR, "Trace both values with the same arguments."),
    "no-variables": (_ERROR, "Set obj.variables and obj.trainable_variables to lists before saving."),
    "variables-incomplete": (_ERROR, "List every variable that any call uses."),
    "no-trainable-variables": (_WARNING, "Set obj.trainable_variables to the list of variables to train."),
    "trainable-not-listed": (_ERROR, "Add it to both lists."),
    "trainable-flag": (_ERROR, "Remove it from the list, or create it with trainable=True."),
    "loss-signature": (_ERROR, "Make it a tf.function without arguments, called once before saving."),
    "optimizer-slots": (
        _WARNING,
        "Save the model without its optimizer: model.save(…, include_optimizer=False).",
    ),
    "batch-fixed": (_WARNING, "Trace it with None as the first dimension."),
    "no-logits": (
        _HINT,
        "Share the model without its last layer: logits or features are better for fine-tuning.",
    ),
    "text-input": (_WARNING, "Take one dimension, the batch."),
    "text-output": (_HINT, "Return one vector for each text."),
    "image-input": (_HINT, "Take floats from 0 to 1 with three channels, if these are images."),
}
_PROBABILITIES = {"Softmax": "probabilities", "TopK": "the top classes", "TopKV2": "the top classes"}


def check_reusable(
    outlines: tuple[MetaGraphOutline, ...],
    objects: ObjectGraph | None,
    functions: tuple[Function, ...],
    variables: tuple[Variable, ...],
    lists: VariableLists,
) -> Conformance:
    """Every problem, the errors first. Raises BrokenModelError for a damaged part."""
    if objects is None:
        problem = _issue("no-object", "written by TensorFlow 1: signatures only, no callable object")
        return Conformance((problem,))
    call = next((function for function in functions if function.path == "__call__"), None)
    check = _Check(outlines, objects, call, variables, lists)
    problems = sorted(check.problems(), key=lambda problem: -problem.severity.rank)
    return Conformance(tuple(problems))


class _Check(NamedTuple):
    """One model, checked part by part."""

    outlines: tuple[MetaGraphOutline, ...]
    objects: ObjectGraph
    call: Function | None
    variables: tuple[Variable, ...]
    lists: VariableLists

    def problems(self) -> Iterator[Issue]:
        if len(self.outlines) > 1:
            yield _issue(
                "several-graphs",
                f"The file has {len(self.outlines)} MetaGraphs: TensorFlow loads it by "
                "tags, as in TensorFlow 1, without a callable object",
            )
        if self.call is None or not self.call.variants:
            yield _issue("no-call", "The object is not callable: it has no traced __call__")
        else:
            yield from self._arguments(self.call)
            yield from self._training(self.call)
            yield from self._captures(self.call)
            yield from self._batch(self.call)
            yield from self._common_apis(self.call)
            yield from self._final_ops(self.call)
        yield from self._trainable()
        yield from self._losses()
        yield from self._optimizer()

    def _arguments(self, call: Function) -> Iterator[Issue]:
        parameters = call.parameters or ()
        for variant in call.variants:
            first, rest = variant.args[:1], variant.args[1:]
            if not first or not holds_tensors(first[0]):
                yield _issue(
                    "call-input", f"__call__{call.python_signature} takes no tensor as its first argument"
                )
                return
            if any(map(holds_tensors, rest)):
                names = ", ".join(parameters[1:]) or "more than one"
                yield _issue("call-inputs", f"__call__ takes tensors in more positional arguments ({names})")
                return

    def _training(self, call: Function) -> Iterator[Issue]:
        """Whether both values of `training` were traced, with the same other arguments."""
        traced: dict[bool, set[str]] = {True: set(), False: set()}
        for variant in call.variants:
            value, rest = _without_training(call, variant)
            if value is not None:
                traced[value].add(rest)
        if not traced[True] and not traced[False]:
            return
        for value in (True, False):
            if not traced[value]:
                yield _issue(
                    "training-untraced",
                    f"__call__ takes training, but was not traced for training={value}",
                    value,
                )
                return
        if traced[True] != traced[False]:
            yield _issue(
                "training-differs",
                "__call__ takes other arguments with training=True than with training=False",
            )

    def _captures(self, call: Function) -> Iterator[Issue]:
        """Whether all variables that `__call__` uses are in the list `variables`."""
        listed = {variable.node for variable in self.variables if variable.is_listed}
        used = {node for variant in call.variants for node in variant.captures}
        captured = [variable for variable in self.variables if variable.node in used]
        if captured and self.lists.variables is None:
            yield _issue(
                "no-variables",
                f"The object has no list `variables`, though __call__ uses {len(captured)}: as with any "
                "plain tf.Module, fine-tuning it through a Keras layer trains nothing",
            )
            return
        missing = [variable.path for variable in captured if variable.node not in listed]
        if missing:
            yield _issue(
                "variables-incomplete", f"`variables` lacks {first_few(missing)}, which __call__ uses"
            )

    def _trainable(self) -> Iterator[Issue]:
        if self.lists.trainable_variables is None:
            if self.lists.variables is not None and any(
                variable.trainable for variable in self.variables if variable.is_listed
            ):
                yield _issue(
                    "no-trainable-variables",
                    "The object has no list `trainable_variables`: fine-tuning it trains nothing",
                )
            return
        listed = set(self.lists.variables or ())
        outside = [path for path in self.lists.trainable_variables if path not in listed]
        if outside:
            yield _issue(
                "trainable-not-listed",
                f"`trainable_variables` contains {first_few(outside)}, which `variables` lacks",
            )
        nodes = set(self.objects.items(0, "trainable_variables") or ())
        frozen = [
            variable.path
            for variable in self.variables
            if variable.node in nodes and not self.objects.content(variable.node or 0).trainable
        ]
        if frozen:
            yield _issue(
                "trainable-flag",
                f"`trainable_variables` contains {first_few(frozen)}, created with trainable=False",
            )

    def _losses(self) -> Iterator[Issue]:
        for place, node in enumerate(self.objects.items(0, "regularization_losses") or []):
            where = f"regularization_losses[{place}]"
            names = self.objects.concrete_names(node)
            messages = [self.objects.concrete_function(name) for name in names]
            fits = any(message is not None and _gives_scalar(message) for message in messages)
            if not fits:
                yield _issue(
                    "loss-signature",
                    f"{where} is not a function without arguments that returns a scalar float",
                )

    def _optimizer(self) -> Iterator[Issue]:
        slots = [variable for variable in self.variables if variable.is_slot]
        if slots:
            size = sum(variable.size_bytes or 0 for variable in slots)
            yield _issue(
                "optimizer-slots",
                f"The file contains {plural(len(slots), 'variable')} of an optimizer ({format_size(size)})",
            )

    def _batch(self, call: Function) -> Iterator[Issue]:
        firsts = [list(tensors_of(variant.args[0])) for variant in call.variants if variant.args]
        fixed = sorted(
            {str(tensor) for tensors in firsts for tensor in tensors if _is_of_fixed_batch(tensor)}
        )
        takes_any = any(not any(map(_is_of_fixed_batch, tensors)) for tensors in firsts)
        if fixed and not takes_any:
            yield _issue("batch-fixed", f"__call__ accepts only one batch size: {first_few(fixed)}")

    def _common_apis(self, call: Function) -> Iterator[Issue]:
        variant = call.variants[0]
        inputs = list(tensors_of(variant.args[0])) if variant.args else []
        if len(inputs) != 1:
            return
        outputs = list(tensors_of(variant.outputs)) if variant.outputs is not None else []
        yield from _text_problems(inputs[0], outputs)
        yield from _image_problems(inputs[0])

    def _final_ops(self, call: Function) -> Iterator[Issue]:
        ops = [op for outline in self.outlines for op in final_ops(outline.graph, call.variants[0].name)]
        for op in sorted(set(ops) & _PROBABILITIES.keys()):
            yield _issue("no-logits", f"__call__ returns {_PROBABILITIES[op]}, after {op}")


def _issue(code: str, message: str, value: object = "") -> Issue:
    severity, hint = _ADVICE[code]
    return Issue(severity, code, message, hint=hint.format(value))


def _without_training(call: Function, variant: FunctionVariant) -> tuple[bool | None, str]:
    """The value of `training` in the variant, None if it has none, and its other arguments as text."""
    names = call.parameters or ()
    value, rest = None, []
    named = [
        (names[place] if place < len(names) else str(place), argument)
        for place, argument in enumerate(variant.args)
    ]
    for name, argument in (*named, *variant.kwargs):
        if name == _TRAINING and isinstance(argument, Literal) and isinstance(argument.value, bool):
            value = argument.value
        elif name == _TRAINING and isinstance(argument, Literal) and argument.value is None:
            return None, ""
        else:
            rest.append(f"{name}={argument}")
    return value, "; ".join(rest)


def _gives_scalar(message: Any) -> bool:
    if not message.HasField("output_signature"):
        return False
    args, kwargs = arguments_of(message)
    result = decode(message.output_signature)
    return (
        not args
        and not kwargs
        and isinstance(result, TensorSpec)
        and result.shape == ()
        and result.dtype.startswith(("float", "bfloat"))
    )


def _is_of_fixed_batch(tensor: TensorSpec | TypeSpec) -> bool:
    return bool(tensor.shape) and tensor.shape is not None and tensor.shape[0] is not None


def _text_problems(tensor: TensorSpec | TypeSpec, outputs: list[TensorSpec | TypeSpec]) -> Iterator[Issue]:
    if tensor.dtype != "string" or not isinstance(tensor, TensorSpec):
        return
    if tensor.shape is not None and len(tensor.shape) != 1:
        yield _issue("text-input", f"__call__ takes text as {tensor}; TF Hub's text models take string[?]")
    if len(outputs) == 1 and (outputs[0].dtype != "float32" or len(outputs[0].shape or (0, 0)) != 2):
        yield _issue(
            "text-output",
            f"__call__ returns {outputs[0]} for text; TF Hub's text embeddings are float32[?, dim]",
        )


def _image_problems(tensor: TensorSpec | TypeSpec) -> Iterator[Issue]:
    if tensor.shape is None or len(tensor.shape) != 4:
        return
    if tensor.shape[3] not in (3, None) or not (tensor.dtype or "").startswith("float"):
        yield _issue(
            "image-input", f"__call__ takes {tensor}; TF Hub's image models take float32[?, height, width, 3]"
        )


_PASSED_THROUGH = frozenset({"Identity", "IdentityN", "StopGradient", "Cast", "EnsureShape"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_MAX_STEPS = 100


def final_ops(graph: Graph, function: str) -> list[str]:
    """The op that computes each output of the function, past identities and calls."""
    body = graph.functions.get(function)
    if body is None:
        return []
    ops = (_op_behind(graph, body, source) for source in body.results().values())
    return [op for op in ops if op is not None]


def _op_behind(graph: Graph, body: GraphBody, source: str) -> str | None:
    """The op of the tensor `node:output:number`, or None if it is an argument."""
    for _ in range(_MAX_STEPS):
        node = body.by_name.get(source.partition(":")[0])
        if node is None:
            return None
        if node.op in _PASSED_THROUGH and node.sources:
            number = _number(source) if node.op == "IdentityN" else 0
            source = node.sources[min(number, len(node.sources) - 1)]
            continue
        inner = graph.functions.get(next(iter(node.functions()), "")) if node.op in _CALLS else None
        if inner is None:
            return node.op
        results, order = inner.results(), inner.output_names()
        number = _number(source)
        if number >= len(order) or order[number] not in results:
            return node.op
        body, source = inner, results[order[number]]
    return None


def _number(source: str) -> int:
    """The number of an output in `node:output:number`."""
    last = source.rpartition(":")[2]
    return int(last) if last.isdecimal() and ":" in source else 0
