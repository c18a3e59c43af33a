"""Reads a SavedModel's files into a SavedModelInfo, without TensorFlow."""

from __future__ import annotations

from hubcli.errors import BrokenModelError, UsageError
from hubcli.formats.protos import parse
from hubcli.formats.tensor_bundle import BundleEntry, BundleIndex
from hubcli.regular_file import read_regular
from hubcli.savedmodel.checks.reusable import check_reusable
from hubcli.savedmodel.checks.scan import find, scan_ops
from hubcli.savedmodel.functions import INIT_OP, TRAIN_OP, op_name, read_functions, read_signatures
from hubcli.savedmodel.graph import MetaGraphOutline, declared_assets_of, read_outline
from hubcli.savedmodel.layout import KERAS_METADATA, TF1_HUB_MARKER, ModelFormat
from hubcli.savedmodel.model import (
    Asset,
    Checkpoint,
    CheckpointTensor,
    Fingerprint,
    MetaGraph,
    ModelFiles,
    Parameters,
    SavedModelInfo,
)
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.variables import Variable, model_variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hubcli.savedmodel.targets.obstacle import TargetReport
    from hubcli.savedmodel.targets.target import Target

__all__ = ["read_model"]

_FINGERPRINT = "fingerprint.pb"
_MAX_FINGERPRINT_BYTES = 1 << 16


def read_model(
    files: ModelFiles,
    *,
    submodules: bool = False,
    tag_set: frozenset[str] | None = None,
    hash_assets: bool = False,
    targets: tuple[Target, ...] = (),
) -> SavedModelInfo:
    """Everything that is read of the model; with `submodules` the functions of submodules, too.

    `tag_set` chooses one of the MetaGraphs; `hash_assets` computes the SHA-256 of each asset; `targets` are
    those whose compatibility is checked. Raises BrokenModelError with the file and its fault, UsageError if
    no MetaGraph has those tags.
    """
    try:
        index = files.index()
        checkpoint = None if index is None else _checkpoint(index)
        with read_outline(files.top) as outlines:
            chosen = outlines if tag_set is None else (_with_tags(outlines, tag_set),)
            info = _Reader(files, chosen, index, checkpoint).read(
                submodules=submodules, hash_assets=hash_assets
            )
            return info._replace(compatibility=_compatibility(files, chosen, targets)) if targets else info
    except OSError as error:
        raise BrokenModelError(f"Cannot read {error.filename or files.top}: {error.strerror}") from error


def _compatibility(
    files: ModelFiles, outlines: tuple[MetaGraphOutline, ...], targets: tuple[Target, ...]
) -> tuple[TargetReport, ...]:
    from hubcli.savedmodel.targets.check import check_targets  # Few inspections need it.

    return check_targets(files, outlines, targets)


def _with_tags(outlines: tuple[MetaGraphOutline, ...], tag_set: frozenset[str]) -> MetaGraphOutline:
    sets = [frozenset(outline.rest.meta_info_def.tags) for outline in outlines]
    if tag_set not in sets:
        there = " or ".join(",".join(sorted(tags)) or "'' (none)" for tags in sets)
        raise UsageError(
            f"No MetaGraph has the tags '{','.join(sorted(tag_set))}'", hint=f"Use --tag-set {there}."
        )
    return outlines[sets.index(tag_set)]


class _Reader:
    """Reads one model."""

    def __init__(
        self,
        files: ModelFiles,
        outlines: tuple[MetaGraphOutline, ...],
        index: BundleIndex | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        self._files = files
        self._outlines = outlines
        self._index = index
        self._checkpoint = checkpoint
        with_objects = (outline for outline in outlines if outline.objects is not None)
        # TensorFlow 2 writes one MetaGraph, with its object graph.
        self._main = next(with_objects, outlines[0])
        self._objects = None if self._main.objects is None else ObjectGraph(self._main.objects)

    def read(self, *, submodules: bool, hash_assets: bool) -> SavedModelInfo:
        functions = () if self._objects is None else read_functions(self._objects, submodules=submodules)
        variables, lists = model_variables(self._outlines, self._objects, self._index, self._files.top)
        assets = self._assets(is_hashed=hash_assets)
        findings = list(find(self._files, self._index, assets, variables))
        for outline in self._outlines:
            findings += scan_ops(outline, self._objects if outline is self._main else None)
        return SavedModelInfo(
            format=self._format(),
            root_class=None if self._objects is None else self._objects.identifier(0),
            meta_graphs=tuple(map(_meta_graph, self._outlines)),
            functions=functions,
            variables=variables,
            lists=lists,
            parameters=_parameters(variables),
            checkpoint=self._checkpoint,
            assets=assets,
            fingerprint=self._fingerprint(),
            sizes=self._files.sizes(),
            findings=tuple(sorted(findings, key=lambda finding: -finding.severity.rank)),
            reusable=check_reusable(self._outlines, self._objects, functions, variables, lists),
        )

    def _format(self) -> ModelFormat:
        found = ModelFormat.TF1
        if self._objects is not None:
            names = {child.name for child in self._objects.children(0)}
            found = ModelFormat.of_root(self._objects.identifier(0), names)
        return found.beside(
            has_hub_marker=self._files.has(TF1_HUB_MARKER),
            has_keras_metadata=self._objects is not None and self._files.has(KERAS_METADATA),
        )

    def _assets(self, *, is_hashed: bool) -> tuple[Asset, ...]:
        """Each declared file once, in the order of the MetaGraphs."""
        names = dict.fromkeys(
            asset.filename for outline in self._outlines for asset in declared_assets_of(outline)
        )
        return tuple(self._files.asset(f"assets/{name}", is_hashed=is_hashed) for name in names)

    def _fingerprint(self) -> Fingerprint | None:
        file = self._files.top / _FINGERPRINT
        if not file.is_file() or file.stat().st_size > _MAX_FINGERPRINT_BYTES:
            return None
        try:
            message = parse("FingerprintDef", read_regular(file, _MAX_FINGERPRINT_BYTES))
        except BrokenModelError:  # The file is informational: a model loads without it.
            return None
        return Fingerprint(
            message.saved_model_checksum,
            message.graph_def_program_hash,
            message.signature_def_hash,
            message.saved_object_graph_hash,
            message.checkpoint_hash,
            message.version.producer,
            message.uuid,
        )


def _meta_graph(outline: MetaGraphOutline) -> MetaGraph:
    rest = outline.rest
    return MetaGraph(
        tags=tuple(sorted(rest.meta_info_def.tags)),
        tensorflow_version=rest.meta_info_def.tensorflow_version or None,
        signatures=read_signatures(rest.signature_def),
        init_op=op_name(rest, INIT_OP),
        train_op=op_name(rest, TRAIN_OP),
        ops=dict(sorted(outline.graph.op_counts.items())),
    )


def _parameters(variables: tuple[Variable, ...]) -> Parameters:
    def count(chosen: list[Variable]) -> int:
        return sum(variable.parameters or 0 for variable in chosen)

    # Without a list, the model's own variables are those that are not slots.
    own = [variable for variable in variables if variable.is_listed] or [
        variable for variable in variables if not variable.is_slot
    ]
    return Parameters(
        total=count(own),
        trainable=count([variable for variable in own if variable.trainable]),
        in_file=count(list(variables)),
    )


def _checkpoint(index: BundleIndex) -> Checkpoint:
    tensors = [_tensor(index, entry) for entry in index.by_name.values()]
    size_bytes = sum(tensor.size_bytes for tensor in tensors)
    return Checkpoint(index.shard_count, size_bytes, tuple(tensors))


def _follow_in_rows(entry: BundleEntry) -> bool:
    """Whether its slices are whole rows, one after the other."""
    row, shape = 0, entry.shape
    for tensor_slice in entry.slices:
        lengths = tuple(
            shape[axis] if size is None else size
            for axis, size in enumerate(tensor_slice.lengths[: len(shape)])
        )
        if not shape or tensor_slice.starts != (row, *[0] * (len(shape) - 1)) or lengths[1:] != shape[1:]:
            return False
        row += lengths[0]
    return bool(entry.slices) and row == shape[0]


def _tensor(index: BundleIndex, entry: BundleEntry) -> CheckpointTensor:
    parts = index.parts(entry)
    return CheckpointTensor(
        key=entry.name,
        dtype=entry.dtype.name,
        shape=entry.shape,
        size_bytes=sum(part.size_bytes for part in parts),
        parts=len(parts),
        crc32c=tuple(part.crc32c for part in parts),
        part_bytes=tuple(part.size_bytes for part in parts),
        is_cut_in_rows=_follow_in_rows(entry),
    )
