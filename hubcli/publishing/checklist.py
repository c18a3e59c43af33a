"""The publisher's checklist: whether a model is one that others can use, fine-tune and serve. No TensorFlow.

What `inspect --check` finds, and the advice of TF Hub for publishers that it leaves out. Sources:
https://www.tensorflow.org/hub/exporting_tf2_saved_model, https://www.tensorflow.org/hub/common_saved_model_apis
and https://www.tensorflow.org/hub/common_signatures.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hubcli.errors import BrokenModelError
from hubcli.issues import Issue, Location, Severity
from hubcli.publishing.readme import readme_in_directory
from hubcli.savedmodel.checks.reusable import final_ops
from hubcli.savedmodel.functions import Function, Signature, SignatureTensor
from hubcli.savedmodel.graph import MetaGraphOutline, read_outline
from hubcli.savedmodel.layout import ModelFormat
from hubcli.savedmodel.model import ModelFiles, SavedModelInfo
from hubcli.savedmodel.reader import read_model
from hubcli.savedmodel.types import shape_text
from hubcli.units import first_few, format_size, plural

__all__ = ["checklist"]

_WARNING, _HINT = Severity.WARNING, Severity.HINT
# By the code of each finding how grave it is, and what to do.
_ADVICE = {
    "training-fixed": (
        _WARNING,
        "Add the parameter training=False to __call__, and call it with both values before saving.",
    ),
    "dropout-fixed": (_HINT, "Add a keyword such as dropout_rate=0.1, and trace it as a scalar tensor."),
    "batch-norm-fixed": (
        _HINT,
        "Add a keyword such as batch_norm_momentum=0.99, and trace it as a scalar tensor.",
    ),
    "ends-in-sigmoid": (
        _HINT,
        "If they are, share the model without that op: logits are better for fine-tuning.",
    ),
    "no-regularization-losses": (
        _HINT,
        "If it was trained with regularization, set them to tf.functions that return a scalar.",
    ),
    "nothing-trainable": (_HINT, "If parts of the model may be trained, list their variables."),
    "statistics-trainable": (_WARNING, "Leave moving statistics out of trainable_variables."),
    "no-default-signature": (_WARNING, "Name it when it is saved: signatures={{'{}': …}}."),
    "vocabulary-outside": (
        _WARNING,
        "Keep the file as tf.saved_model.Asset in an attribute of the object before saving.",
    ),
    "vocabulary-in-graph": (_HINT, "Keep it in a file, as tf.saved_model.Asset: users can then read it."),
    "device-pins": (_WARNING, "Remove them: hubcli export SOURCE DEST --clear-devices"),
    "large-model": (
        _HINT,
        "Remove what inference does not need, or store half weights: hubcli export --help",
    ),
    "large-graph": (_WARNING, "Keep weights in variables: TensorFlow reads no graph above 2 GB."),
    "no-readme": (_HINT, "Begin with a template: hubcli publish --card {} > README.md"),
    "signature-batch-fixed": (_WARNING, "Use None as the first dimension of its TensorSpec."),
    "signature-text-input": (_HINT, "Take one dimension, the batch."),
    "signature-image-input": (_HINT, "Take floats from 0 to 1 with three channels, if these are images."),
    "signature-image-name": (_HINT, "Name the input `images`."),
    "signature-image-output": (_HINT, "Return one vector for each image, if these are features or logits."),
}
_SERVING, _TF1_DEFAULT = "serving_default", "default"
_TF1 = (ModelFormat.TF1, ModelFormat.TF1_HUB)
_RANDOM_OPS = frozenset({"RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2"})
_BATCH_NORM_OPS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_STATISTICS = ("moving_mean", "moving_variance")
_TABLES_OF_FILES = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})
_TABLES_OF_GRAPH = frozenset(
    {"LookupTableImport", "LookupTableImportV2", "InitializeTable", "InitializeTableV2"}
)
# TensorFlow itself pins what saves and restores to the CPU.
_ACCELERATORS = ("GPU", "gpu", "TPU", "tpu")
_LARGE_MODEL_BYTES, _LARGE_GRAPH_BYTES = 1 << 30, 100 << 20


def checklist(model: Path, source: str = "SOURCE") -> tuple[Issue, ...]:
    """What a publisher should know of the model in the directory, the gravest first.

    `source` is what the user calls the model, as a command of a hint takes it.
    Errors keep it from conforming to the Reusable SavedModel interface; the rest is advice. Raises
    BrokenModelError for a model that can't be read.
    """
    try:
        files = ModelFiles.of_directory(model)
        info = read_model(files)
        with read_outline(model) as outlines:
            found = [
                *info.reusable.problems,
                *_Checklist(model, shlex.quote(source), files, info, outlines).issues(),
            ]
    except OSError as error:
        raise BrokenModelError(f"Cannot read {error.filename or model}: {error.strerror}") from error
    missing = (issue for issue in info.findings if issue.code == "asset-missing")
    return tuple(sorted((*found, *missing), key=lambda issue: -issue.severity.rank))


@dataclass(frozen=True, slots=True)
class _Checklist:
    """One model, checked point by point. Graphs are read while the context of the outlines lasts."""

    model: Path
    source: str
    files: ModelFiles
    info: SavedModelInfo
    outlines: tuple[MetaGraphOutline, ...]

    def issues(self) -> Iterator[Issue]:
        call = next((function for function in self.info.functions if function.path == "__call__"), None)
        if call is not None and call.variants:  # Else nothing of it can be fine-tuned.
            yield from self._training(call)
            yield from self._probabilities(call)
            yield from self._losses()
        yield from self._trainable()
        yield from self._signatures()
        yield from self._vocabulary()
        yield from self._devices()
        yield from self._size()
        yield from self._readme()

    # Fine-tuning

    def _training(self, call: Function) -> Iterator[Issue]:
        """`training`, and what of dropout and batch normalization a user may set."""
        names = _parameter_names(call)
        has_dropout, has_batch_norm = self._has_dropout(), self._has_batch_norm()
        there = {"dropout": has_dropout, "batch normalization": has_batch_norm}
        what = " and ".join(name for name, is_there in there.items() if is_there)
        if what and "training" not in names:
            yield _issue(
                "training-fixed", f"The model has {what}, and __call__ takes no `training`", "__call__"
            )
        if has_dropout and not any("drop" in name or "rate" in name for name in names):
            yield _issue("dropout-fixed", "__call__ takes no parameter for the dropout rate", "__call__")
        if has_batch_norm and not any("momentum" in name or "batch_norm" in name for name in names):
            yield _issue(
                "batch-norm-fixed",
                "__call__ takes no parameter for the momentum of batch normalization",
                "__call__",
            )

    def _has_dropout(self) -> bool:
        return any(
            "dropout" in node.name.lower() or "dropout" in body.name.lower()
            for outline in self.outlines
            if outline.graph.may_hold("ropout")
            for body in outline.graph.bodies
            for node in body.nodes_of_ops(_RANDOM_OPS)
        )

    def _has_batch_norm(self) -> bool:
        has_op = any(not _BATCH_NORM_OPS.isdisjoint(outline.graph.op_counts) for outline in self.outlines)
        return has_op or any(variable.path.endswith(_STATISTICS) for variable in self.info.variables)

    def _probabilities(self, call: Function) -> Iterator[Issue]:
        """Sigmoid, which `inspect --check` does not tell: its outputs are features of some models."""
        ops = [op for outline in self.outlines for op in final_ops(outline.graph, call.variants[0].name)]
        if "Sigmoid" in ops:
            yield _issue(
                "ends-in-sigmoid",
                "__call__ returns values after Sigmoid, which may be probabilities",
                "__call__",
            )

    def _losses(self) -> Iterator[Issue]:
        if self.info.format in _TF1 or self.info.lists.losses or not self.info.parameters.trainable:
            return
        yield _issue("no-regularization-losses", "The object has no `regularization_losses`")

    def _trainable(self) -> Iterator[Issue]:
        listed, trainable = self.info.lists.variables, self.info.lists.trainable_variables
        if listed and trainable is not None and not trainable:
            yield _issue("nothing-trainable", "`trainable_variables` is empty: fine-tuning trains nothing")
        statistics = [
            variable.path
            for variable in self.info.variables
            if variable.trainable and variable.is_listed and variable.path.endswith(_STATISTICS)
        ]
        if statistics:
            yield _issue(
                "statistics-trainable",
                f"`trainable_variables` contains {first_few(statistics)}, which no gradient should change",
            )

    # Signatures

    def _signatures(self) -> Iterator[Issue]:
        is_tf1 = self.info.format in _TF1
        for meta_graph in self.info.meta_graphs[:1]:
            names = {signature.name for signature in meta_graph.signatures}
            is_module = self.info.format is ModelFormat.TF1_HUB
            expected = _TF1_DEFAULT if is_module else _SERVING
            if expected not in names:
                yield _issue(
                    "no-default-signature",
                    f"The model has no signature `{expected}`"
                    + (f": it has {first_few(sorted(names))}" if names else ""),
                    value=expected,
                )
            for signature in meta_graph.signatures:
                yield from _signature_issues(signature, is_tf1=is_tf1)

    # Files

    def _vocabulary(self) -> Iterator[Issue]:
        counts: Counter[str] = Counter()
        for outline in self.outlines:
            counts.update(outline.graph.op_counts)
        if not _TABLES_OF_FILES.isdisjoint(counts) and not self.info.assets:
            yield _issue("vocabulary-outside", "A lookup table reads a file that is not among the assets")
        elif not _TABLES_OF_GRAPH.isdisjoint(counts) and not self.info.assets and self._takes_text():
            yield _issue("vocabulary-in-graph", "The vocabulary is in the graph, and no asset holds it")

    def _takes_text(self) -> bool:
        signatures = (signature for graph in self.info.meta_graphs for signature in graph.signatures)
        return any(tensor.dtype == "string" for signature in signatures for tensor in signature.inputs)

    def _devices(self) -> Iterator[Issue]:
        pins: Counter[str] = Counter()
        bodies = (body for outline in self.outlines for body in outline.graph.bodies)
        for body in bodies:
            if any(map(body.may_hold, _ACCELERATORS)):
                pins.update(node.device for node in body.nodes() if _is_accelerator(node.device))
        if pins:
            verb = "requests" if pins.total() == 1 else "request"
            yield _issue(
                "device-pins", f"{plural(pins.total(), 'op')} {verb} a device: {first_few(sorted(pins))}"
            )

    def _size(self) -> Iterator[Issue]:
        sizes = self.info.sizes
        if (sizes.total or 0) > _LARGE_MODEL_BYTES:
            yield _issue("large-model", f"The model takes {format_size(sizes.total or 0)}")
        if sizes.graph > _LARGE_GRAPH_BYTES:
            yield _issue(
                "large-graph",
                f"The graph takes {format_size(sizes.graph)}, as if weights were constants in it",
            )

    def _readme(self) -> Iterator[Issue]:
        if readme_in_directory(self.model) is None:
            yield _issue("no-readme", "The model has no README.md and no model card", value=self.source)


def _signature_issues(signature: Signature, *, is_tf1: bool) -> Iterator[Issue]:
    """What of a signature differs from TF Hub's common ones, and whether it takes any batch."""
    tensors = [tensor for tensor in signature.inputs if tensor.shape]
    fixed = [tensor for tensor in tensors if tensor.shape and tensor.shape[0] is not None]
    if tensors and len(fixed) == len(tensors):
        yield _issue(
            "signature-batch-fixed",
            f"Signature `{signature.name}` accepts only one batch size: {first_few(list(map(_text, fixed)))}",
            signature.name,
        )
    if len(signature.inputs) != 1:
        return
    tensor = signature.inputs[0]
    shape = tensor.shape
    if tensor.dtype == "string" and shape is not None and len(shape) != 1:
        yield _issue(
            "signature-text-input",
            f"Signature `{signature.name}` takes {_text(tensor)}; TF Hub's text signatures take string[?]",
            signature.name,
        )
    if shape is None or len(shape) != 4 or shape[3] not in (1, 3, 4):
        return
    if tensor.dtype != "float32" or shape[3] != 3:
        yield _issue(
            "signature-image-input",
            f"Signature `{signature.name}` takes {_text(tensor)}; TF Hub's image signatures take "
            "float32[?, height, width, 3]",
            signature.name,
        )
    elif is_tf1 and tensor.name != "images":
        yield _issue(
            "signature-image-name",
            f"Signature `{signature.name}` names its input `{tensor.name}`; TF Hub's image signatures have "
            "`images`",
            signature.name,
        )
    yield from _image_outputs(signature)


def _image_outputs(signature: Signature) -> Iterator[Issue]:
    """One vector an image, as feature vectors and classes are; models with several outputs are others."""
    if len(signature.outputs) != 1:
        return
    output = signature.outputs[0]
    if output.shape is not None and len(output.shape) not in (2, 4):
        yield _issue(
            "signature-image-output",
            f"Signature `{signature.name}` returns {_text(output)}; TF Hub's feature vectors and "
            "classifiers return float32[?, n]",
            signature.name,
        )


def _is_accelerator(device: str) -> bool:
    return any(word in device for word in _ACCELERATORS)


def _parameter_names(call: Function) -> set[str]:
    names = set(call.parameters or ())
    for variant in call.variants:
        names.update(name for name, _ in variant.kwargs)
    return {name.lower() for name in names}


def _text(tensor: SignatureTensor) -> str:
    return f"{tensor.dtype}{shape_text(tensor.shape)}"


def _issue(code: str, message: str, part: str | None = None, value: str = "") -> Issue:
    severity, hint = _ADVICE[code]
    return Issue(severity, code, message, Location(part), hint.format(value))
