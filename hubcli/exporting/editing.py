"""A model edited for its next home: the edits, what they cost, and how the result is written.

A plan is made of the source's files alone and touches nothing: it knows what will be lost. Writing it copies
what isn't edited, as an export does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hubcli.archive import Limits
from hubcli.archive.tree import Tree, TreeNode, copy_tree
from hubcli.durability import UNSYNCED, Durability
from hubcli.errors import BrokenModelError, NotFoundError, UsageError, ValuesError
from hubcli.exporting import EditOptions
from hubcli.formats import MAIN_FILES
from hubcli.regular_file import contents
from hubcli.savedmodel.edit.checkpoint import CheckpointEdit, SourceCheckpoint
from hubcli.savedmodel.edit.editable import EditableModel, Edited, Loss
from hubcli.savedmodel.edit.half import half_weights
from hubcli.savedmodel.edit.serving import clear_devices, keep_for_serving
from hubcli.savedmodel.edit.signatures import (
    add_defaults,
    chosen_signatures,
    keep_signatures,
    rename_signatures,
)
from hubcli.savedmodel.layout import main_file

__all__ = [
    "DEFAULT_TOLERANCE",
    "EditOptions",
    "EditPlan",
    "EditReport",
    "plan_edits",
    "prove",
    "require_comparable",
]

DEFAULT_TOLERANCE = 0.01
_KERAS_METADATA, _DEBUG = "keras_metadata.pb", "debug"
_WARMUP = "assets.extra/tf_serving_warmup_requests"
_MAIN = "saved_model.pb"
# Its checksums; and other forms of the graph, which a reader could take for it.
_OF_OLD_MODEL = ("fingerprint.pb", *(name for name in MAIN_FILES if name != _MAIN))


@dataclass(frozen=True, slots=True)
class EditReport:
    """What an edited model is: signatures by their old names, what is lost, notes, sizes before and after.

    `compared` are the signatures that gave the same in each of the `loaders`; `largest_error` is that of
    half weights, relative to the output's largest value, None if nothing was compared.
    """

    signatures: Mapping[str, str]
    losses: tuple[Loss, ...]
    notes: tuple[str, ...]
    size_before: int
    size_after: int
    variables_before: int
    variables_after: int
    warmup_requests: int = 0
    compared: tuple[str, ...] = ()
    loaders: tuple[str, ...] = ()
    largest_error: float | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences for the user: what is lost, then the notes."""
        return (*(loss.text for loss in self.losses), *self.notes)


@dataclass(slots=True)
class EditPlan:
    """The edited model before it is written; `left_out` are paths of files that it doesn't have."""

    source: Path
    model: EditableModel
    tree: Tree
    checkpoint: SourceCheckpoint | None
    checkpoint_edit: CheckpointEdit
    signatures: dict[str, str]
    losses: list[Loss]
    notes: list[str]
    left_out: frozenset[str]
    warmup: bytes | None = None
    warmup_requests: int = 0

    @property
    def rewrites_checkpoint(self) -> bool:
        """Whether the tensors are written anew."""
        return self.checkpoint is not None and not self.checkpoint_edit.is_empty

    @property
    def variables_after(self) -> int:
        """How many bytes its tensors take."""
        return 0 if self.checkpoint is None else self.checkpoint.size_after(self.checkpoint_edit)

    def report(self) -> EditReport:
        """What it is, before anything is compared."""
        before = 0 if self.checkpoint is None else self.checkpoint.size_bytes()
        retained = sum(node.size_bytes for node in self.tree.nodes if node.name not in self._written)
        main = self.model.message.size_bytes if self.model.is_edited else 0
        variables = 0 if self.checkpoint_edit.is_empty else self.variables_after
        return EditReport(
            signatures=dict(self.signatures),
            losses=tuple(self.losses),
            notes=tuple(self.notes),
            size_before=self.tree.size_bytes,
            size_after=retained + main + variables + len(self.warmup or b""),
            variables_before=before,
            variables_after=self.variables_after,
            warmup_requests=self.warmup_requests,
        )

    @property
    def _written(self) -> frozenset[str]:
        """Paths of the files that aren't copied."""
        written = set(self.left_out)
        if self.model.is_edited:
            written.add(_MAIN)
        if self.checkpoint is not None and self.rewrites_checkpoint:
            written |= self.checkpoint.files
        if self.warmup is not None:
            written.add(_WARMUP)
        return frozenset(written)

    def write(
        self,
        destination: Path,
        on_bytes: Callable[[int], None] = lambda size: None,
        durability: Durability = UNSYNCED,
        copied: Sequence[TreeNode] = (),
    ) -> None:
        """Writes the model to the directory, which is new, or holds what was copied already.

        Raises as its parts do; OSError.
        """
        written = self._written.union(node.name for node in copied)
        nodes = tuple(node for node in self.tree.nodes if node.name not in written)
        copy_tree(Tree(self.tree.top, nodes), destination, on_bytes, durability, is_new=not copied)
        if self.model.is_edited:
            with (destination / _MAIN).open("xb") as file:
                for piece in self.model.message.pieces():
                    file.write(piece)
                    on_bytes(len(piece))
        if self.checkpoint is not None and self.rewrites_checkpoint:
            self.checkpoint.write(destination, self.checkpoint_edit, on_bytes)
        if self.warmup is not None:
            (destination / _WARMUP).parent.mkdir(exist_ok=True)
            (destination / _WARMUP).write_bytes(self.warmup)


def plan_edits(source: Path, options: EditOptions, name: str = "", *, is_whole: bool = True) -> EditPlan:
    """The edits of the model in the directory `source`, called `name` in errors; nothing is written.

    With `is_whole` off the result is converted next: losses and notes of files that a conversion doesn't
    read, such as warmup requests, are left out.
    Raises UsageError for what the model doesn't have or would be left without, BrokenModelError, ValuesError
    for functions that assign to weights of half the bytes, NotFoundError for files of requests.
    """
    name = name or str(source)
    main = main_file(source)
    if main.name != _MAIN:
        raise UsageError(
            f"{name} is a SavedModel in {main.name}, which hubcli cannot edit",
            hint="Save it again with TensorFlow as saved_model.pb.",
        )
    try:
        with contents(main) as data:
            # A copy: the file is closed when the plan is written.
            return _Planner(source, EditableModel.parse(bytes(data)), options, name, is_whole=is_whole).plan()
    except BrokenModelError as error:
        raise BrokenModelError(f"{name}: {error.message}", hint=error.hint) from error
    except OSError as error:
        raise NotFoundError(
            f"Cannot read {error.filename or source}: {error.strerror}", hint="Check its permissions."
        ) from error


def prove(plan: EditPlan, export: Path, options: EditOptions) -> EditReport:
    """The report of what was written, once it is read back, and if possible compared with the source.

    Raises BrokenModelError if the file isn't what was planned, ValuesError where a signature gives
    something else, TensorFlowError where a loader that loads the source doesn't load it.
    """
    if not _is_as_planned(plan.model, export / _MAIN):
        raise BrokenModelError(f"{export} differs from what was planned", hint="Check the disk.")
    report = plan.report()
    if not options.compare:
        return report
    # Imported here: what runs models takes long to import.
    from hubcli.exporting.comparing import compare_with_source, has_tensorflow

    if not has_tensorflow():
        note = "The export was not compared with its source: TensorFlow is not installed"
        return replace(report, notes=(*report.notes, note))
    tolerance = None
    if options.half is not None:
        tolerance = DEFAULT_TOLERANCE if options.tolerance is None else options.tolerance
    found = compare_with_source(plan.source, export, plan.signatures, tolerance)
    if options.half is not None and not found.signatures:
        reasons = "; ".join(found.notes) or "no loader loads the source"
        raise UsageError(
            f"--half compares the export with its source, and no signature was called: {reasons}",
            hint="Skip the comparison: --no-compare",
        )
    return replace(
        report,
        notes=(*report.notes, *found.notes),
        compared=found.signatures,
        loaders=found.loaders,
        largest_error=found.largest_error,
    )


def _is_as_planned(model: EditableModel, file: Path) -> bool:
    """Whether the file has the bytes of the model; a gigabyte is compared in pieces."""
    position = 0
    with contents(file) as data:
        for piece in model.message.pieces():
            if data[position : position + len(piece)] != piece:
                return False
            position += len(piece)
        names = EditableModel.parse(data).signature_names
        return position == len(data) and names == model.signature_names


def require_comparable(options: EditOptions) -> None:
    """Raises UsageError for half weights that can't be compared here, unless that was given up."""
    if options.half is None or not options.compare or options.dry_run:
        return
    from hubcli.exporting.comparing import has_tensorflow

    if not has_tensorflow():
        raise UsageError(
            "--half compares the export with its source, and TensorFlow is not installed",
            hint="Install it: pip install 'hubcli[tf]'; or skip the comparison: --no-compare",
        )


class _Planner:
    """Makes one plan: each edit takes what the one before gave."""

    def __init__(
        self, source: Path, model: EditableModel, options: EditOptions, name: str, *, is_whole: bool
    ) -> None:
        self._source = source
        self._model = model
        self._options = options
        self._name = name
        self._is_whole = is_whole
        self._losses: list[Loss] = []
        self._notes: list[str] = []
        self._checkpoint = SourceCheckpoint.of(source)
        self._names = model.signature_names

    def plan(self) -> EditPlan:
        options = self._options
        retained = chosen_signatures(
            self._model, options.signatures, options.drops, allow_none=options.allow_none
        )
        self._take(keep_signatures(self._model, retained))
        if options.renames:
            self._take(rename_signatures(self._model, options.renames))
        if options.clear_devices:
            self._take(clear_devices(self._model))
        checkpoint_edit = self._reduce()
        tree = Tree.read(self._source, Limits())
        plan = EditPlan(
            source=self._source,
            model=self._model,
            tree=tree,
            checkpoint=self._checkpoint,
            checkpoint_edit=checkpoint_edit,
            signatures={name: options.renames.get(name, name) for name in retained},
            losses=self._losses,
            notes=self._notes,
            left_out=frozenset(),
        )
        if options.defaults or options.warmup is not None:
            self._add_requests(plan)
        self._tell_of_old_requests(plan)
        is_changed = plan.model.is_edited or not checkpoint_edit.is_empty
        plan.left_out = self._left_out(tree, is_changed=is_changed)
        return plan

    def _take(self, edited: Edited) -> None:
        self._model = edited.model
        self._losses += edited.losses
        self._notes += edited.notes

    def _reduce(self) -> CheckpointEdit:
        """Prunes and halves; what becomes of the checkpoint."""
        source, options = self._checkpoint, self._options
        dropped, objects = frozenset[str](), None
        encoded = None if source is None else source.objects()
        if options.serving:
            edit = keep_for_serving(self._model, encoded, source.keys if source is not None else ())
            self._model, dropped, objects = edit.model, edit.dropped_keys, edit.checkpoint_objects
            self._losses += edit.losses
            self._notes += edit.notes
            if source is not None and dropped:
                size = source.size_bytes(dropped)
                self._losses.append(
                    Loss("variables", "variable", len(dropped), tuple(sorted(dropped))[:20], size)
                )
        if options.half is None:
            return CheckpointEdit(dropped, {}, objects)
        keys = frozenset() if source is None else source.float_keys() - dropped
        halved = half_weights(self._model, encoded, keys, options.half)
        partitioned = source.partitioned(halved.keys) if source is not None else None
        if partitioned is not None:
            raise ValuesError(
                f"--half cannot store {partitioned}: TensorFlow reads partitioned variables only as float32",
                hint="Remove --half.",
            )
        self._model = halved.model
        self._losses += halved.losses
        return CheckpointEdit(dropped, dict.fromkeys(halved.keys, options.half), objects)

    def _add_requests(self, plan: EditPlan) -> None:
        # Imported here: most edits read no values, and need nothing of what runs models.
        from hubcli.exporting.requests import encoded_defaults, encoded_requests, signatures_of

        options = self._options
        if options.defaults:
            given = encoded_defaults(options.defaults, signatures_of(plan.model))
            plan.model = add_defaults(plan.model, given).model
        if options.warmup is not None:
            from hubcli.exporting.comparing import warmup_of

            requests, notes = warmup_of(
                options.warmup,
                self._source,
                signatures_of(plan.model),
                {new: old for old, new in plan.signatures.items()},
                untried="this is a dry run" if options.dry_run else "" if options.compare else "--no-compare",
            )
            plan.warmup, plan.warmup_requests = encoded_requests(requests), len(requests)
            plan.notes += notes

    def _tell_of_old_requests(self, plan: EditPlan) -> None:
        """Lists warmup requests of the source that others replace, or that may name other signatures."""
        old = next((node for node in plan.tree.nodes if node.name == _WARMUP and not node.is_directory), None)
        if old is None or not self._is_whole:
            return
        if plan.warmup is not None:
            self._losses.append(Loss("files", "file", 1, (old.name,), old.size_bytes))
        elif any(plan.signatures.get(name) != name for name in self._names):
            self._notes.append(
                f"{_WARMUP} is copied as it is: its requests may name signatures that the export lacks"
            )

    def _left_out(self, tree: Tree, *, is_changed: bool) -> frozenset[str]:
        """Files that tell of the model as it was."""
        left_out = set[str]()
        for node in tree.nodes:
            is_debug = node.name == _DEBUG or node.name.startswith(f"{_DEBUG}/")
            if (is_changed and node.name in _OF_OLD_MODEL) or (
                self._options.serving and (node.name == _KERAS_METADATA or is_debug)
            ):
                left_out.add(node.name)
                if not node.is_directory and self._is_whole:
                    self._losses.append(Loss("files", "file", 1, (node.name,), node.size_bytes))
        return frozenset(left_out)
