"""`export` to a format that a model is converted to: LiteRT's `.tflite`, or ONNX."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hubcli import __version__
from hubcli.commands.export import ExportResult, ExportRun, export_keras_model
from hubcli.errors import UsageError
from hubcli.exporting.conversion import (
    Conversion,
    ConversionOptions,
    ConversionPlan,
    convert,
    origin_of,
    plan_conversion,
)
from hubcli.exporting.destination import require_free
from hubcli.fetching.sources import unpacked_archive
from hubcli.urls import without_secrets

__all__ = ["ConversionRun"]


class ConversionRun(ExportRun):
    """One run of the verb, to a format that a model is converted to."""

    def run(self) -> ExportResult:
        """Converts the model, compares the result with it, and moves the file into place."""
        self._options.require_valid(self.placement.format)
        self.place = require_free(
            self.placement.place,
            cache_root=self.settings.cache_root,
            force=self.options.force,
            source=self.target.archive or self.target.directory,
        )
        if self.options.dry_run:
            with self._model_to_read() as model:
                return self._converted(self._plan(model))
        with self.staged() as staged:
            plan = self._plan(self._model_to_convert(staged.with_name("model")))
            origin = origin_of(self._origin(), plan, __version__)
            conversion = convert(plan, staged, origin, self.options.on_log)
            written = staged.stat().st_size, _sha256(staged)
        return self._converted(plan, conversion, *written)

    @property
    def _options(self) -> ConversionOptions:
        return self.options.conversion or ConversionOptions()

    @property
    def _is_keras(self) -> bool:
        """Whether the source is a Keras model, of which a SavedModel is made first."""
        return self.target.is_keras_file or self.options.is_piece or bool(self.options.custom_objects)

    def _plan(self, model: Path) -> ConversionPlan:
        self.checked(model)
        plan = plan_conversion(
            self.target.name,
            model,
            self.placement.format,
            self._options,
            unsafe=self.options.unsafe,
        )
        if plan.left_out and not plan.options.signatures:
            self.listener.note(
                f"An ONNX file holds one signature: converting {plan.endpoints[0].name}, "
                f"not {', '.join(plan.left_out)}"
            )
        return plan

    def _model_to_convert(self, folder: Path) -> Path:
        """The model's directory: what an archive or a Keras file holds is put into the folder."""
        archive = self.target.archive
        if self._is_keras:
            self.require_editable()
            source = archive or self.directory()
            export_keras_model(source, folder, options=self.options, listener=self.listener)
            return folder
        if archive is not None:
            self.unpack(archive, folder)
            return folder
        model = self.directory()
        if self.entry is not None:
            self.entry.touch()
        return model

    @contextmanager
    def _model_to_read(self) -> Iterator[Path]:
        """The model's directory for a dry run, which writes nothing beside the destination."""
        if self._is_keras:
            raise UsageError(
                "--dry-run reads SavedModels, and a Keras model has to be written as one first",
                hint="Leave --dry-run out.",
            )
        if self.target.archive is None:
            yield self.directory()
            return
        with unpacked_archive(self.target.archive, self.settings, self.listener) as folder:
            yield folder

    def _origin(self) -> str:
        """What a converted file says of its source: the handle, of a path its last part alone."""
        handle = self.handle()
        if handle is None or handle.path is not None or handle.is_directory:
            return Path(self.target.name).name
        return without_secrets(str(handle))

    def _converted(
        self,
        plan: ConversionPlan,
        conversion: Conversion | None = None,
        size_bytes: int = 0,
        sha256: str | None = None,
    ) -> ExportResult:
        return ExportResult(
            source=self.target.name,
            destination=self.place,
            layout=self.placement.layout,
            format=self.placement.format,
            size_bytes=size_bytes,
            file_count=0 if conversion is None else 1,
            sha256=sha256,
            seconds=time.monotonic() - self.started_at,
            plan=plan,
            conversion=conversion,
        )


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
