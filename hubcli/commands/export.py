"""`export`: a model out of the cache, as what others read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hubcli.archive import FileRecord, Limits
from hubcli.archive.pack import PackedArchive, archive_size_bytes, pack
from hubcli.archive.tree import Tree, copy_tree
from hubcli.archive.unpack import require_room
from hubcli.cache.cached_model import CachedModel
from hubcli.cache.layout import EntryPaths
from hubcli.commands.fetch import fetched_directory
from hubcli.config.settings import Settings
from hubcli.errors import BrokenModelError, DiskFullError, TruncatedError, UsageError
from hubcli.exporting import ExportFormat, Layout
from hubcli.exporting.destination import Placement, publish_newest, require_free, staged_output
from hubcli.exporting.editing import EditOptions, EditPlan, EditReport, plan_edits, prove, require_comparable
from hubcli.fetching.model_ref import ModelRef, naming_target
from hubcli.fetching.sources import unpack_archive
from hubcli.progress import ProgressListener
from hubcli.providers import BUCKETS, scheme_of
from hubcli.providers.handle import Handle
from hubcli.savedmodel.checks.integrity import ModelCheck
from hubcli.savedmodel.layout import check_structure

if TYPE_CHECKING:
    from hubcli.exporting.conversion import Conversion, ConversionOptions, ConversionPlan

__all__ = ["ExportFormat", "ExportOptions", "ExportResult", "Layout", "export"]

_WAY_OUT = "use another path"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What is asked for beyond source and destination.

    Without a `format` the destination's name tells it. `name` and `version` are
    for layouts, where the source's handle doesn't tell them. The rest is for
    Keras models: `output_layers` and `input_layers` cut a piece out of one,
    `custom_objects` is a module or a file, `unsafe` lets a Keras model run the
    code that it holds, and use classes and ops that aren't known to be pure; a
    model that is to be converted is then loaded whatever the scan found in it.
    `edits` change the model; with `dry_run` nothing is written. `conversion` is
    for formats that the model is converted to, and `on_log` gets what the
    converter wrote.
    """

    format: ExportFormat | None = None
    layout: Layout = Layout.PLAIN
    name: str | None = None
    version: str | None = None
    force: bool = False
    output_layers: tuple[str, ...] = ()
    input_layers: tuple[str, ...] = ()
    custom_objects: str | None = None
    unsafe: bool = False
    edits: EditOptions = field(default_factory=EditOptions)
    dry_run: bool = False
    conversion: ConversionOptions | None = None
    on_log: Callable[[str], None] | None = None

    @property
    def is_for_keras(self) -> bool:
        """Whether something is asked for that only Keras can do."""
        return bool(self.output_layers or self.input_layers or self.custom_objects or self.unsafe)


@dataclass(frozen=True, slots=True)
class ExportResult:
    """A model that was written. `destination` is its directory or archive, links followed, or its address.

    `size_bytes` is the size of the archive, or of the files of the directory;
    `sha256` is the archive's, None for a directory. `edited` tells of an edited model what it
    lost and what was compared. Of a dry run sizes are those of the model's files. `plan` is there
    where the model was converted, or was to be; `conversion` is not in a dry run.
    """

    source: str
    destination: Path | str
    layout: Layout
    format: ExportFormat
    size_bytes: int
    file_count: int
    sha256: str | None
    seconds: float
    edited: EditReport | None = None
    is_dry_run: bool = False
    plan: ConversionPlan | None = None
    conversion: Conversion | None = None


def export(
    source: str,
    destination: Path | str,
    settings: Settings | None = None,
    options: ExportOptions | None = None,
    listener: ProgressListener | None = None,
) -> ExportResult:
    """Writes the model as a directory or a reproducible archive, atomically.

    The source is a handle, which is fetched if it isn't cached, a directory, an archive or a Keras file.
    The destination is a path, or an address in a bucket: `s3://`, `gs://`, `az://`. Needs no TensorFlow
    but for Keras, and to convert the model, which a destination in `.tflite` or `.onnx` asks for. Raises
    HubcliError of the class that fits: what `fetch` raises, BrokenModelError,
    UsageError, OutputError for a destination that must not or can't be written.
    """
    settings, options = settings or Settings.read(), options or ExportOptions()
    if not str(destination).strip():
        raise UsageError("DEST is empty", hint="Specify a directory or an archive.")
    if scheme_of(str(destination)) in BUCKETS:
        # Imported here: no other export needs a bucket.
        from hubcli.exporting.bucket_destination import export_to_bucket

        listener = listener or ProgressListener()
        write = partial(export, source, settings=settings, options=options, listener=listener)
        return export_to_bucket(str(destination), settings, options, listener, write)
    target = ModelRef.resolve(source, settings)
    given = target, Path(destination), settings, options, listener or ProgressListener()
    with naming_target(target, settings):
        run = ExportRun(*given)
        if run.placement.format.is_conversion:
            # Imported here: it takes what runs models, which no other export needs.
            from hubcli.commands.convert import ConversionRun

            run = ConversionRun(*given)
        return run.run()


class ExportRun:
    """One run of the verb, to a format of SavedModels."""

    def __init__(
        self,
        target: ModelRef,
        destination: Path,
        settings: Settings,
        options: ExportOptions,
        listener: ProgressListener,
    ) -> None:
        self.target = target
        self.settings = settings
        self.options = options
        self.listener = listener
        self.started_at = time.monotonic()
        self.entry = target.entry
        if self.entry is None and target.directory is not None:
            self.entry = CachedModel.at(target.directory, settings.cache_root)
        self.placement = Placement.of(
            destination,
            options.layout,
            options.format,
            handle=self._handle(),
            name=options.name,
            version=options.version,
        )
        self.place = self.placement.place

    def run(self) -> ExportResult:
        """Writes the model and moves it into place."""
        archive = self.target.archive
        self.place = require_free(  # Before anything is fetched; once more before the rename.
            self.placement.place,
            cache_root=self.settings.cache_root,
            force=self.options.force,
            source=archive or self.target.directory,
        )
        if self.options.edits.is_asked or self.options.dry_run:
            return self._export_edited()
        if self._needs_keras():
            source = archive or self._directory()
            return self._export_made(
                partial(export_keras_model, source, options=self.options, listener=self.listener)
            )
        if archive is not None:
            return self._export_made(partial(self._unpack, archive))
        return self._export_directory(self._directory())

    def _handle(self) -> Handle | None:
        """The handle that tells name and version; of a directory in the cache, that of its entry."""
        if self.entry is not None and self.entry.handle is not None:
            return Handle.parse(self.entry.handle)
        return self.target.handle

    def _needs_keras(self) -> bool:
        archive, is_keras = self.target.archive, self.target.is_keras_file
        if archive is not None and not is_keras and self.options.is_for_keras:
            raise UsageError(
                f"{archive} is an archive: it cannot be edited in place",
                hint=f"Unpack it first: hubcli export {archive} DIR",
            )
        return is_keras or self.options.is_for_keras

    def _directory(self) -> Path:
        """The model's directory: of a handle the one in the cache, fetched if it isn't there or not whole."""
        path = fetched_directory(self.target, self.settings, self.listener)
        if self.target.handle is not None and self.target.handle.path is None:
            self.entry = CachedModel.read(EntryPaths(self.settings.cache_root, path.name))
        return path

    def _export_directory(self, model: Path) -> ExportResult:
        """Exports what is there: checked before anything is written, and unchanged once it is."""
        if self.entry is not None:
            self.entry.touch()  # At once, so that no collection takes it meanwhile.
        tree = self._checked(model)
        with self._staged() as staged:
            packed = self._write(tree, staged)
            if Tree.read(model, Limits()) != tree:
                raise TruncatedError(
                    f"{self.target.name} changed while it was exported", hint="Run the command again."
                )
        self._publish_newest()
        return self._result(tree, packed)

    def _export_made(self, make: Callable[[Path], None]) -> ExportResult:
        """Exports what is made first: in its place beside the destination, without a second copy."""
        with self._staged() as staged:
            is_archive = self.placement.format is not ExportFormat.DIRECTORY
            model = staged.with_name("model") if is_archive else staged
            make(model)
            tree = self._checked(model)
            packed = self._write(tree, staged) if is_archive else None
        self._publish_newest()
        return self._result(tree, packed)

    def _export_edited(self) -> ExportResult:
        """Exports an edited model: planned first, then written beside the destination and proven."""
        edits = replace(self.options.edits, dry_run=self.options.dry_run)
        require_comparable(edits)
        if self.options.dry_run:
            with (
                TemporaryDirectory(prefix="hubcli-") as folder,
                self._source(Path(folder, "source")) as model,
            ):
                return self._dry_result(plan_edits(model, edits, self.target.name))
        with self._staged() as staged, self._source(staged.with_name("source")) as source:
            self.listener.step("Editing the model")
            plan = plan_edits(source, edits, self.target.name)
            is_archive = self.placement.format is not ExportFormat.DIRECTORY
            model = staged.with_name("model") if is_archive else staged
            size = plan.report().size_after
            require_room(staged.parent, size, str(self.placement.place), _WAY_OUT)
            self.listener.started(self.target.name, str(self.placement.place), size)
            plan.write(model, self.listener.received, self.settings.durability)
            self.entry = None  # Its record tells of the source's files.
            # What was copied was checked where it came from.
            tree = self._checked(model, is_whole=plan.rewrites_checkpoint)
            if edits.compare:
                self.listener.step("Comparing the export with its source")
            report = prove(plan, model, edits)
            for text in (*(loss.text for loss in report.losses), *report.notes):
                self.listener.note(text)
            packed = self._write(tree, staged) if is_archive else None
        self._publish_newest()
        return replace(self._result(tree, packed), edited=report)

    @contextmanager
    def _source(self, place: Path) -> Iterator[Path]:
        """The directory of the model to edit: checked; made or unpacked at `place` where it must be."""
        archive = self.target.archive
        if self._needs_keras():
            source = archive or self._directory()
            export_keras_model(source, place, options=self.options, listener=self.listener)
        elif archive is not None:
            self._unpack(archive, place)
        else:
            place = self._directory()
            if self.entry is not None:
                self.entry.touch()
        tree = self._checked(place)
        yield place
        if Tree.read(place, Limits()) != tree:
            raise TruncatedError(
                f"{self.target.name} changed while it was exported", hint="Run the command again."
            )

    def _dry_result(self, plan: EditPlan) -> ExportResult:
        report = plan.report()
        for note in report.notes:
            self.listener.note(note)
        result = self._result(plan.tree, None)
        return replace(result, size_bytes=report.size_after, edited=report, is_dry_run=True)

    def _publish_newest(self) -> None:
        """In a tree of a TF Hub host, lets a handle without a version mean the newest one."""
        if self.placement.layout is Layout.HUB:
            problem = publish_newest(self.place.parent)
            if problem is not None:
                self.listener.note(problem)

    def _staged(self) -> AbstractContextManager[Path]:
        return staged_output(
            self.placement.place,
            cache_root=self.settings.cache_root,
            force=self.options.force,
            source=self.target.archive or self.target.directory,
            durability=self.settings.durability,
        )

    def _unpack(self, archive: Path, folder: Path) -> None:
        folder.mkdir()
        try:
            unpack_archive(archive, folder, self.settings, self.listener)
        except DiskFullError as error:
            raise DiskFullError(error.message, hint=f"Free some space, or {_WAY_OUT}.") from error

    def _checked(self, model: Path, *, is_whole: bool = True) -> Tree:
        """The model's files. Raises BrokenModelError for what TensorFlow could not load.

        Tensors are held against their checksums where `is_whole` asks for it.
        """
        tree = Tree.read(model, Limits())
        manifest = self.entry.manifest if self.entry is not None else None
        records = manifest.files if manifest is not None else ()
        try:
            check_structure(model)
            if is_whole:
                self._check_content(model, records)
        except BrokenModelError as error:
            hint = error.hint or (
                "Run: hubcli verify --repair" if self.entry is not None else "Nothing was written."
            )
            raise BrokenModelError(f"{self.target.name}: {error.message}", hint=hint) from error
        return tree

    def _check_content(self, model: Path, records: Sequence[FileRecord]) -> None:
        """Every tensor against its checksum, and what was fetched against its record.

        A declared asset that never came is said, as by `fetch`: the copy lacks no more than the source.
        """
        recorded = {record.path for record in records}
        check = ModelCheck(model, records, quick=True)
        self.listener.started(self.target.name, str(model), check.size_bytes)
        for fault in check.run(self.listener.received).faults:
            if fault.code != "missing" or fault.file in recorded:
                raise BrokenModelError(str(fault))
            self.listener.note(f"{self.target.name} is incomplete: {fault}")

    def _write(self, tree: Tree, staged: Path) -> PackedArchive | None:
        """Writes the directory, or the archive, which is returned."""
        form = self.placement.format
        compress = form is ExportFormat.TAR_GZ
        is_directory = form is ExportFormat.DIRECTORY
        size = tree.size_bytes if is_directory else archive_size_bytes(tree, compress=compress)
        require_room(staged.parent, size, str(self.placement.place), _WAY_OUT)
        self.listener.started(self.target.name, str(self.placement.place), tree.size_bytes)
        if is_directory:
            copy_tree(tree, staged, self.listener.received, self.settings.durability)
            return None
        return pack(
            tree,
            staged,
            compress=compress,
            on_bytes=self.listener.received,
            durability=self.settings.durability,
        )

    def _result(self, tree: Tree, packed: PackedArchive | None) -> ExportResult:
        return ExportResult(
            source=self.target.name,
            destination=self.place,
            layout=self.placement.layout,
            format=self.placement.format,
            size_bytes=tree.size_bytes if packed is None else packed.size_bytes,
            file_count=tree.file_count,
            sha256=None if packed is None else packed.sha256,
            seconds=time.monotonic() - self.started_at,
        )


def export_keras_model(
    source: Path, destination: Path, *, options: ExportOptions, listener: ProgressListener
) -> None:
    """Makes the directory `destination` a Reusable SavedModel of a Keras model, by TensorFlow.

    The source is a Keras file or the directory of a Keras 2 SavedModel. Raises UsageError,
    TensorFlowError.
    """
    # Imported here: nothing else of an export needs the room, which imports TensorFlow on use.
    from hubcli.tf.keras.export import export_keras

    report = export_keras(
        source,
        destination,
        output_layers=options.output_layers,
        input_layers=options.input_layers,
        custom_objects=options.custom_objects,
        unsafe=options.unsafe,
    )
    for note in report.notes:
        listener.note(note)
