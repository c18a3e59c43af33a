"""`export`: a model out of the cache, as what others read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hubcli.archive import Limits
from hubcli.archive.tree import Tree, TreeNode, copying
from hubcli.archive.unpack import require_room
from hubcli.config.settings import Settings
from hubcli.errors import UsageError
from hubcli.exporting import ExportFormat, ExportOptions, Layout
from hubcli.exporting.destination import Placement, require_free, staged_output
from hubcli.exporting.source import WAY_OUT, ModelChecks, export_keras_model, unpack_source
from hubcli.fetching.model_ref import ModelRef, entry_behind, naming_target
from hubcli.progress import ProgressListener
from hubcli.providers import BUCKETS, scheme_of
from hubcli.providers.handle import Handle

if TYPE_CHECKING:
    from hubcli.archive.pack import PackedArchive
    from hubcli.exporting.conversion import Conversion, ConversionPlan
    from hubcli.exporting.conversion_job import ConversionJob
    from hubcli.exporting.editing import EditPlan, EditReport

__all__ = ["ExportFormat", "ExportOptions", "ExportResult", "Layout", "export"]


@dataclass(frozen=True, slots=True)
class ExportResult:
    """A model that was written. `destination` is its directory or archive, links followed, or its address.

    `size_bytes` is the size of the archive, or of the files of the directory; `sha256` is the archive's, None
    for a directory. `edited` tells of an edited model what it lost and what was compared. Of a dry run sizes
    are those of the model's files. `plan` is of a conversion; `conversion` is not in a dry run.
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

    The source is a handle, which is fetched if it isn't cached, a directory, an archive or a Keras file. The
    destination is a path, or an address in a bucket. Needs TensorFlow for Keras, and to convert the model, as
    a destination in `.tflite` or `.onnx` asks for. Raises what `fetch` does, UsageError, OutputError.
    """
    settings, options = settings or Settings.read(), options or ExportOptions()
    listener = listener or ProgressListener()
    if not str(destination).strip():
        raise UsageError("DEST is empty", hint="Specify a directory or an archive.")
    if destination == "-":
        raise UsageError("Cannot export to standard output", hint="Use a path, such as model.tar.gz or ./-")
    if scheme_of(str(destination)) in BUCKETS:
        from hubcli.exporting.bucket_destination import export_to_bucket  # No other export needs it.

        write = partial(export, source, settings=settings, options=options, listener=listener)
        return export_to_bucket(str(destination), settings, options, listener, write)
    target = ModelRef.resolve(source, settings)
    with naming_target(target, settings):
        return _Export(target, Path(destination), settings, options, listener).run()


class _Export:
    """One run of the verb. What it needs of others is imported where it is used: a copy takes few of them."""

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
            self.entry = entry_behind(target.directory, settings)
        self.checks = ModelChecks(target.name, self.entry, listener)
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
        job = self._conversion_job() if self.placement.format.is_conversion else None
        self.place = require_free(  # Before anything is fetched; once more before the rename.
            self.placement.place,
            cache_root=self.settings.cache_root,
            force=self.options.force,
            source=archive or self.target.directory,
        )
        if job is not None:
            return self._export_converted(job)
        if self.options.dry_run:
            return self._dry_run()
        if self.options.edits.has_edits:
            return self._export_edited()
        if self._needs_keras():
            source = archive or self._directory()
            return self._export_made(
                partial(export_keras_model, source, options=self.options, listener=self.listener)
            )
        if archive is not None:
            return self._export_made(
                partial(unpack_source, archive, settings=self.settings, listener=self.listener)
            )
        return self._export_directory(self._directory())

    def _handle(self) -> Handle | None:
        """The handle that tells name and version; of a directory in the cache, that of its entry."""
        if self.entry is not None and self.entry.handle is not None:
            return Handle.parse(self.entry.handle)
        return self.target.handle

    @property
    def _is_archive(self) -> bool:
        return self.placement.format is not ExportFormat.DIRECTORY

    def _needs_keras(self) -> bool:
        archive, is_keras, options = self.target.archive, self.target.is_keras_file, self.options
        if self.placement.format.is_conversion:  # There --unsafe alone means the scan of the SavedModel.
            options = replace(options, unsafe=False)
        if archive is not None and not is_keras and options.is_for_keras:
            raise UsageError(
                f"{archive} is an archive: it cannot be edited in place",
                hint=f"Unpack it first: hubcli export {archive} DIR",
            )
        return is_keras or options.is_for_keras

    def _directory(self) -> Path:
        """The model's directory: of a handle the one in the cache, fetched if it isn't there or not whole."""
        directory = self.target.local_directory
        if directory is not None:
            return directory
        from hubcli.cache.cached_model import CachedModel
        from hubcli.cache.layout import EntryPaths
        from hubcli.commands.fetch import fetched_directory

        path = fetched_directory(self.target, self.settings, self.listener)
        if self.target.handle is not None and self.target.handle.path is None:
            self.entry = CachedModel.read(EntryPaths(self.settings.cache_root, path.name))
            self.checks = ModelChecks(self.target.name, self.entry, self.listener)
        return path

    def _export_directory(self, model: Path) -> ExportResult:
        """Exports what is there: checked while it is copied, and unchanged once it is."""
        if self.entry is not None:
            self.entry.touch()  # At once, so that no collection takes it meanwhile.
        tree = Tree.read(model, Limits())
        with self._staged() as staged:
            packed = None
            if self._is_archive:
                self.checks.content(tree)
                packed = self._pack(tree, staged)
            else:
                self._require_room(staged, tree.size_bytes)
                self._tell_of_writing(tree.size_bytes)
                with copying(tree, staged, self.listener.received, self.settings.durability):
                    self.checks.content(tree, is_told=False)
            self.checks.require_unchanged(tree)
        return self._published(self._result(tree, packed), tree)

    def _export_made(self, make: Callable[[Path], None]) -> ExportResult:
        """Exports what is made first: in its place beside the destination, without a second copy."""
        with self._staged() as staged:
            model = staged.with_name("model") if self._is_archive else staged
            make(model)
            tree = Tree.read(model, Limits())
            self.checks.content(tree)
            packed = self._pack(tree, staged) if self._is_archive else None
        return self._published(self._result(tree, packed), tree)

    def _export_edited(self) -> ExportResult:
        """Exports an edited model: planned first, then written beside the destination and proven."""
        edits = self.options.edits
        if edits.half is not None:
            from hubcli.exporting.editing import require_comparable

            require_comparable(edits)
        with self._staged() as staged, self._source(staged.with_name("source")) as source:
            self.listener.step("Editing the model")
            model = staged.with_name("model") if self._is_archive else staged
            with self._copied_ahead(source, model) as copied:
                self.checks.content(source, is_told=not copied)
                from hubcli.exporting.editing import plan_edits, prove  # 20 ms, while files are copied.

                plan = plan_edits(source.top, edits, self.target.name)
            tree = self._write_edited(plan, model, copied)
            if edits.compare:
                self.listener.step("Comparing the export with its source")
            report = prove(plan, model, edits)
            for remark in report.remarks:
                self.listener.note(remark)
            packed = self._pack(tree, staged) if self._is_archive else None
        return self._published(replace(self._result(tree, packed), edited=report), tree)

    @contextmanager
    def _copied_ahead(self, source: Tree, model: Path) -> Iterator[Sequence[TreeNode]]:
        """Copies what no edit changes into the directory `model`, while the context plans the edits."""
        nodes = tuple(node for node in source.nodes if self.options.edits.copies(node.name))
        if not nodes:
            yield ()
            return
        self._require_room(model, source.size_bytes)
        self._tell_of_writing(source.size_bytes)
        with copying(Tree(source.top, nodes), model, self.listener.received, self.settings.durability):
            yield nodes

    def _write_edited(self, plan: EditPlan, model: Path, copied: Sequence[TreeNode]) -> Tree:
        """Writes the rest of the directory `model`; the files that it has then."""
        if not copied:
            size = plan.report().size_after
            self._require_room(model, size)
            self._tell_of_writing(size)
        plan.write(model, self.listener.received, self.settings.durability, copied)
        checks = ModelChecks(self.target.name, None, self.listener)  # A record tells of the source's files.
        tree = Tree.read(model, Limits())
        if plan.rewrites_checkpoint:
            checks.content(tree)
        else:  # What was copied was checked where it came from.
            checks.structure(tree)
        self.checks.kind = checks.kind
        return tree

    @contextmanager
    def _source(self, place: Path) -> Iterator[Tree]:
        """The model's files, still to be checked; made or unpacked at `place` where they must be."""
        archive = self.target.archive
        if self._needs_keras():
            source = archive or self._directory()
            export_keras_model(source, place, options=self.options, listener=self.listener)
        elif archive is not None:
            unpack_source(archive, place, self.settings, self.listener)
        else:
            place = self._directory()
            if self.entry is not None:
                self.entry.touch()
        tree = Tree.read(place, Limits())
        yield tree
        self.checks.require_unchanged(tree)

    def _dry_run(self) -> ExportResult:
        """Plans an edited export, and tells what it would lose."""
        from tempfile import TemporaryDirectory

        from hubcli.exporting.editing import plan_edits

        edits = replace(self.options.edits, dry_run=True)
        with TemporaryDirectory(prefix="hubcli-") as folder, self._source(Path(folder, "source")) as source:
            self.checks.content(source)
            plan = plan_edits(source.top, edits, self.target.name)
        report = plan.report()
        for note in report.notes:
            self.listener.note(note)
        result = self._result(plan.tree, None)
        return replace(result, size_bytes=report.size_after, edited=report, is_dry_run=True)

    def _conversion_job(self) -> ConversionJob:
        """The conversion. Raises UsageError for options that do not apply to a converted model."""
        from hubcli.exporting.conversion_job import ConversionJob

        options = self.options
        return ConversionJob(
            name=self.target.name,
            format=self.placement.format,
            file_name=self.placement.place.name,
            options=options.conversion,
            edits=options.edits,
            unsafe=options.unsafe,
            is_dry_run=options.dry_run,
            listener=self.listener,
            on_log=options.on_log,
        )

    def _export_converted(self, job: ConversionJob) -> ExportResult:
        """Converts the model, compares the result with it, and moves the file into place."""
        if self.options.dry_run:
            from tempfile import TemporaryDirectory

            with (
                TemporaryDirectory(prefix="hubcli-") as folder,
                self._source(Path(folder, "source")) as source,
            ):
                self.checks.content(source)
                job.prepare(source.top, Path(folder))
            return self._converted(job)
        with self._staged() as staged, self._source(staged.with_name("source")) as source:
            self.checks.content(source)
            job.prepare(source.top, staged.parent)
            job.convert(staged, self._handle())
        return self._converted(job)

    def _converted(self, job: ConversionJob) -> ExportResult:
        result = self._result(Tree(self.place, ()), None)
        return replace(
            result,
            size_bytes=job.size_bytes,
            file_count=0 if job.conversion is None else 1,
            sha256=job.sha256,
            edited=job.edited,
            is_dry_run=self.options.dry_run,
            plan=job.plan,
            conversion=job.conversion,
        )

    def _published(self, result: ExportResult, tree: Tree) -> ExportResult:
        """The result; in a tree of a TF Hub host, the version is in the index, and may be the newest one."""
        if self.placement.tree is not None:
            from hubcli.exporting.hub_index import IndexEntry, list_export

            version = self.placement.place.relative_to(self.placement.tree)
            entry = IndexEntry(
                version.parent.as_posix(),
                version.name,
                archive_bytes=result.size_bytes,
                model_bytes=tree.size_bytes,
                sha256=result.sha256,
                published_s=time.time(),
                kind=self.checks.kind,
            )
            for problem in list_export(self.placement.tree, entry, self.settings.durability):
                self.listener.note(problem)
        return result

    def _staged(self) -> AbstractContextManager[Path]:
        return staged_output(
            self.placement.place,
            cache_root=self.settings.cache_root,
            force=self.options.force,
            source=self.target.archive or self.target.directory,
            durability=self.settings.durability,
        )

    def _require_room(self, staged: Path, size_bytes: int) -> None:
        require_room(staged.parent, size_bytes, str(self.placement.place), WAY_OUT)

    def _tell_of_writing(self, size_bytes: int) -> None:
        self.listener.started(self.target.name, str(self.placement.place), size_bytes)

    def _pack(self, tree: Tree, staged: Path) -> PackedArchive:
        """Writes the archive."""
        from hubcli.archive.pack import archive_size_bytes, pack

        compress = self.placement.format is ExportFormat.TAR_GZ
        self._require_room(staged, archive_size_bytes(tree, compress=compress))
        self._tell_of_writing(tree.size_bytes)
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
