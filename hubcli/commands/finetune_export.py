"""`finetune-export`: a model with fine-tuned values, as a drop-in replacement of its source."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hubcli.archive import Limits
from hubcli.archive.tree import Tree
from hubcli.archive.unpack import require_room
from hubcli.concurrency import CancellationToken, running_beside
from hubcli.config.settings import Settings
from hubcli.durability import UNSYNCED, Durability
from hubcli.errors import BrokenModelError, HubcliError, UsageError
from hubcli.exporting import ExportFormat
from hubcli.exporting.destination import Placement, require_free, staged_output
from hubcli.fetching.model_ref import ModelRef, naming_target
from hubcli.finetuning import FinetuneOptions, Method
from hubcli.finetuning.result import FinetuneResult, StagedModel, WrittenExport, require_whole
from hubcli.finetuning.weights import FromWeights, opened_weights
from hubcli.progress import ProgressListener
from hubcli.savedmodel.layout import check_structure
from hubcli.savedmodel.weights.mapping import WeightMapping

if TYPE_CHECKING:
    from hubcli.exporting.editing import EditPlan, EditReport
    from hubcli.finetuning.kept_values import KeptValues

__all__ = ["FinetuneOptions", "FinetuneResult", "Method", "finetune_export"]


def finetune_export(
    source: str,
    destination: Path | str | None,
    settings: Settings | None = None,
    options: FinetuneOptions | None = None,
    listener: ProgressListener | None = None,
) -> FinetuneResult:
    """Writes the model with fine-tuned values atomically, once it was compared with its source.

    The source is a handle, which is fetched if it isn't cached, a directory or
    an archive; the destination a directory, or an archive by its name; None
    for a dry run. Values of a file with `Method.REWRITE` need no TensorFlow
    (but h5py for Keras's files). Raises HubcliError of the class that fits:
    what `fetch` raises, MappingError, ValuesError, UnchangedError, UsageError,
    TensorFlowError, BrokenModelError, OutputError.
    """
    settings, options = settings or Settings.read(), options or FinetuneOptions()
    if not options.dry_run and not str(destination or "").strip():
        raise UsageError("Missing DEST", hint="Specify a directory or an archive.")
    if destination == "-":
        raise UsageError("Cannot export to standard output", hint="Use a path, such as model.tar.gz or ./-")
    place = None if destination is None else Path(destination)
    target = ModelRef.resolve(source, settings)
    with naming_target(target, settings):
        return _FinetuneExport(target, place, settings, options, listener).run()


def _placement(destination: Path) -> Placement:
    """The destination itself. Raises UsageError for one that is not a SavedModel's."""
    try:
        placement = Placement.plain(destination, None)
    except UsageError as error:
        hint = "Use a directory, or a file that ends in .tar.gz or .tar."
        raise UsageError(error.message, hint=hint) from error
    if placement.format.is_conversion:
        raise UsageError(
            f"Cannot export to {destination}: finetune-export writes only SavedModels",
            hint=f"Export to a directory, then convert it: hubcli export DIR {destination}",
        )
    return placement


class _FinetuneExport:
    """One run of the verb."""

    def __init__(
        self,
        target: ModelRef,
        destination: Path | None,
        settings: Settings,
        options: FinetuneOptions,
        listener: ProgressListener | None,
    ) -> None:
        self.target = target
        self.settings = settings
        self.options = options
        self.listener = listener or ProgressListener()
        self.started_at = time.monotonic()
        self.placement = None if destination is None else _placement(destination)
        self.edited: EditReport | None = None
        self.has_failed_edit = False
        self.read = target.archive or target.directory  # What must not be replaced.

    def run(self) -> FinetuneResult:
        self._require_saved_model()
        if self.options.has_edits:
            from hubcli.exporting.editing import require_comparable

            assert self.options.edits is not None
            require_comparable(self.options.edits)
        if self.placement is not None:
            self._require_free()  # Before anything is fetched or trained; once more before the rename.
        with self._model() as model:
            if self.options.weights is not None:
                return self._from_weights(model, self.options.weights)
            return self._from_training(model)

    def _require_saved_model(self) -> None:
        if self.target.is_keras_file:
            raise UsageError(
                f"{self.target.name} is a Keras file, not a SavedModel",
                hint=f"Convert it first: hubcli export {self.target.name} DIR",
            )

    def _require_free(self) -> Path:
        assert self.placement is not None
        return require_free(
            self.placement.place,
            cache_root=self.settings.cache_root,
            force=self.options.force,
            source=self.read,
            read=self.options.files,
        )

    @contextmanager
    def _model(self) -> Iterator[Path]:
        """The source's directory: of a handle the one in the cache, fetched where it isn't whole."""
        # Imported where they are needed, as is `pack`: a directory asks for none of them.
        if self.target.archive is not None:
            from hubcli.fetching.sources import unpacked_archive

            with unpacked_archive(self.target.archive, self.settings, self.listener) as folder:
                yield self._checked(folder)
            return
        directory = self.target.local_directory
        if directory is None:
            from hubcli.commands.fetch import fetched_directory

            directory = fetched_directory(self.target, self.settings, self.listener)
        model = self._checked(directory)
        self._record_use()
        yield model
        self._record_use()  # A training may take longer than a collection's grace.

    def _record_use(self) -> None:
        if self.target.entry is not None:
            self.target.entry.touch()

    def _checked(self, model: Path) -> Path:
        try:
            check_structure(model)
        except BrokenModelError as error:
            hint = error.hint or "Nothing was written."
            if self.target.entry is not None:
                hint = f"Run: hubcli verify --repair {self.target.name}"
            raise BrokenModelError(f"{self.target.name}: {error.message}", hint=hint) from error
        return model

    def _from_weights(self, model: Path, file: Path) -> FinetuneResult:
        with opened_weights(file) as weights:
            job = FromWeights.map(self.target.name, model, weights, self.options)
            if self.options.dry_run:
                self._plan_edits(model)
                return self._result(mapping=job.mapping)
            with self._staged(model) as (staged, made_at), ExitStack() as stack:

                def begin_sync(written: Path) -> None:  # The disk takes as long as the checks that follow.
                    sync = partial(self._export_durability.tree, written)
                    stack.enter_context(running_beside(sync, CancellationToken()))

                staged_model = job.make(self._unedited(made_at), self.listener, begin_sync)
                self._edit(made_at)
                written = self._write(made_at, staged)
            if staged_model.reason:
                self.listener.note(staged_model.reason)
        return self._result(staged_model, written, job.mapping)

    def _from_training(self, model: Path) -> FinetuneResult:
        # Imported here: values of a file need no TensorFlow.
        from hubcli.finetuning.training import FromTraining

        if self.options.has_edits:  # Signatures that aren't there are reported before the training.
            self._planned_edits(model)
        self.listener.step("Starting TensorFlow")
        job = FromTraining.prepare(self.target.name, model, self.options, self._export_durability)
        if not job.is_writer:  # The chief writes; the others train with it, and have nothing to show.
            job.train()
            return self._result()
        kept_values = self._kept_values()
        # The destination is made first: a training of hours must not end at a directory without access.
        with kept_values.named_in_errors(), self._staged(model) as (staged, made_at):
            self.listener.step(f"Training with {self.options.train}")
            live = job.train(kept_values.keep)
            self.listener.step("Saving the trained model")
            staged_model = job.make(live, self._unedited(made_at), self.listener)
            self._edit(made_at)
            written = self._write(made_at, staged)
        kept_values.discard()
        for note in filter(None, (live.note, staged_model.reason)):
            self.listener.note(note)
        return self._result(staged_model, written)

    @property
    def _export_durability(self) -> Durability:
        """Syncs what the export itself has: what is packed or edited afterwards is removed."""
        is_export = not (self._is_archive or self.options.has_edits)
        return self.settings.durability if is_export else UNSYNCED

    def _unedited(self, made_at: Path) -> Path:
        """Where the model with its new values is made: where it stays, or beside that to be edited."""
        return made_at.with_name("unedited") if self.options.has_edits else made_at

    def _edit(self, made_at: Path) -> None:
        """Writes the edited model to its place, if there are edits, and compares both."""
        if not self.options.has_edits:
            return
        try:
            self._write_edited(made_at)
        except HubcliError:
            self.has_failed_edit = True
            raise

    def _write_edited(self, made_at: Path) -> None:
        from hubcli.exporting.editing import plan_edits, prove

        edits = self.options.edits
        assert edits is not None
        self.listener.step("Editing the model")
        plan = plan_edits(self._unedited(made_at), edits, self.target.name)
        plan.write(made_at, self.listener.received, self.settings.durability)
        if edits.compare:
            self.listener.step("Comparing the edited model")
        self.edited = prove(plan, made_at, edits)
        self._tell_of_edits()

    def _plan_edits(self, model: Path) -> None:
        """What the edits would cost, of a dry run; values don't change that."""
        if not self.options.has_edits:
            return
        self.edited = self._planned_edits(model).report()
        self._tell_of_edits()

    def _planned_edits(self, model: Path) -> EditPlan:
        """The edits of the model in the directory; nothing is written. Raises what `plan_edits` does."""
        from dataclasses import replace

        from hubcli.exporting.editing import plan_edits

        edits = self.options.edits
        assert edits is not None
        return plan_edits(model, replace(edits, dry_run=True), self.target.name)

    def _tell_of_edits(self) -> None:
        assert self.edited is not None
        for remark in self.edited.remarks:
            self.listener.note(remark)

    def _kept_values(self) -> KeptValues:
        """Where the trained values are kept until the export is there."""
        # Imported here, as what trains is.
        from hubcli.finetuning.kept_values import KeptValues

        assert self.placement is not None
        place = self._require_free()

        def command(path: Path, more: tuple[str, ...]) -> list[str]:
            given = {
                "--allow-nan": self.options.allow_nan,
                "--allow-unchanged": self.options.allow_unchanged,
                "--force": self.options.force,
            }
            options = [option for option, is_given in given.items() if is_given or option in more]
            words = [self.target.name, str(place), "--weights", str(path)]
            edits = self.options.edits
            if (
                edits is not None and not self.has_failed_edit
            ):  # With an edit that failed it would fail again.
                words += edits.arguments
            return ["hubcli", "finetune-export", *words, *options]

        return KeptValues(place, command, self.listener.note)

    @contextmanager
    def _staged(self, model: Path) -> Iterator[tuple[Path, Path]]:
        """The path for the result, and the directory to make the model in: beside it for an archive."""
        assert self.placement is not None
        with staged_output(
            self.placement.place,
            cache_root=self.settings.cache_root,
            force=self.options.force,
            source=self.read,
            read=self.options.files,
            durability=self.settings.durability,
        ) as staged:
            size = Tree.read(model, Limits()).size_bytes
            # What is trained is kept beside the export; what is saved again is written twice.
            is_twice = self.options.train is not None or self.options.method is Method.RESAVE
            copies = 1 + is_twice + self._is_archive + self.options.has_edits
            require_room(staged.parent, copies * size, str(self.placement.place), "use another path")
            yield staged, staged.with_name("model") if self._is_archive else staged

    @property
    def _planned_method(self) -> Method:
        """The method of a run that writes nothing: the one of the options, or what `auto` begins with."""
        if self.options.method is not Method.AUTO:
            return self.options.method
        return Method.RESAVE if self.options.weights is None else Method.REWRITE

    @property
    def _is_archive(self) -> bool:
        return self.placement is not None and self.placement.format is not ExportFormat.DIRECTORY

    def _write(self, made_at: Path, staged: Path) -> WrittenExport:
        """Reads the model back from the disk, and packs it if the destination is an archive."""
        assert self.placement is not None
        require_whole(made_at)
        form, place = self.placement.format, self._require_free()
        tree = Tree.read(made_at, Limits())
        if not self._is_archive:
            return WrittenExport(place, form, tree.size_bytes, tree.file_count, None)
        from hubcli.archive.pack import archive_size_bytes, pack

        compress = form is ExportFormat.TAR_GZ
        size = archive_size_bytes(tree, compress=compress)
        require_room(staged.parent, size, str(place), "use another path")
        self.listener.started(self.target.name, str(place), tree.size_bytes)
        packed = pack(
            tree,
            staged,
            compress=compress,
            on_bytes=self.listener.received,
            durability=self.settings.durability,
        )
        return WrittenExport(place, form, packed.size_bytes, tree.file_count, packed.sha256)

    def _result(
        self,
        staged: StagedModel | None = None,
        written: WrittenExport | None = None,
        mapping: WeightMapping | None = None,
    ) -> FinetuneResult:
        return FinetuneResult(
            source=self.target.name,
            method=staged.method if staged is not None else self._planned_method,
            requested_method=self.options.method,
            edited=self.edited,
            seconds=time.monotonic() - self.started_at,
            mapping=mapping,
            written=written,
            staged_model=staged,
        )
