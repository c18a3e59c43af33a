"""The model that an export is made of: unpacked from an archive or made by Keras, and what it must pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hubcli.archive import Limits
from hubcli.archive.tree import Tree
from hubcli.config.settings import Settings
from hubcli.errors import BrokenModelError, DiskFullError, TruncatedError
from hubcli.exporting import ExportOptions
from hubcli.progress import ProgressListener

if TYPE_CHECKING:
    from hubcli.cache.cached_model import CachedModel

__all__ = ["WAY_OUT", "ModelChecks", "export_keras_model", "unpack_source"]

WAY_OUT = "use another path"


def unpack_source(archive: Path, folder: Path, settings: Settings, listener: ProgressListener) -> None:
    """Unpacks the archive into the new directory. Raises what `unpack_archive` raises."""
    from hubcli.fetching.sources import unpack_archive  # What is copied needs none of it.

    folder.mkdir()
    try:
        unpack_archive(archive, folder, settings, listener)
    except DiskFullError as error:
        raise DiskFullError(error.message, hint=f"Free some space, or {WAY_OUT}.") from error


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


class ModelChecks:
    """The checks of a model, called `name` in errors; a cached one is compared with its record."""

    def __init__(self, name: str, entry: CachedModel | None, listener: ProgressListener) -> None:
        self._name = name
        self._entry = entry
        self._listener = listener
        self.kind: str | None = None  # What `hubcli ls` calls the model, once its tree is read.

    def structure(self, tree: Tree) -> None:
        """Checks that TensorFlow could find a model in the files. Raises BrokenModelError."""
        from hubcli.savedmodel.layout import check_structure  # Imported while files are copied.

        with self._naming_model():
            try:
                self.kind = check_structure(tree.top).kind
            except BrokenModelError:
                self.require_unchanged(tree)  # Else that is the reason.
                raise

    def content(self, tree: Tree, *, is_told: bool = True) -> None:
        """Checks the structure, every tensor against its checksum, and what was fetched against its record.

        A declared asset that never came is said, as by `fetch`: the copy lacks no more than the source.
        Without `is_told` the listener doesn't get the bytes: it gets those that are copied meanwhile.
        Raises BrokenModelError, TruncatedError for files that were written since the tree was read.
        """
        from hubcli.formats.tensor_values import keep_freed_memory
        from hubcli.savedmodel.checks.integrity import ModelCheck

        self.structure(tree)
        manifest = self._entry.manifest if self._entry is not None else None
        records = manifest.files if manifest is not None else ()
        recorded = {record.path for record in records}
        with self._naming_model():
            check = ModelCheck(tree.top, records, quick=True)
            if is_told:
                self._listener.started(self._name, str(tree.top), check.size_bytes)
            keep_freed_memory()
            found = check.run(self._listener.received) if is_told else check.run()
            for fault in found.faults:
                if fault.code != "missing" or fault.file in recorded:
                    self.require_unchanged(tree)  # Else that is the reason.
                    raise BrokenModelError(str(fault))
                self._listener.note(f"{self._name} is incomplete: {fault}")

    def require_unchanged(self, tree: Tree) -> None:
        """Raises TruncatedError if the files are others than they were."""
        if Tree.read(tree.top, Limits()) != tree:
            raise TruncatedError(f"{self._name} changed while it was exported", hint="Run the command again.")

    @contextmanager
    def _naming_model(self) -> Iterator[None]:
        try:
            yield
        except BrokenModelError as error:
            hint = error.hint or (
                "Run: hubcli verify --repair" if self._entry is not None else "Nothing was written."
            )
            raise BrokenModelError(f"{self._name}: {error.message}", hint=hint) from error
