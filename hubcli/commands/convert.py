"""`export` to a format that a model is converted to: LiteRT's `.tflite`, or ONNX."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hubcli import __version__
from hubcli.commands.export import ExportResult, ExportRun
from hubcli.errors import UsageError
from hubcli.exporting.conversion import (
    Conversion,
    ConversionOptions,
    ConversionPlan,
    convert,
    origin_of,
    plan_conversion,
)
from hubcli.exporting.converter import FORMAT_NAMES
from hubcli.exporting.destination import require_free
from hubcli.exporting.editing import EditReport, plan_edits, prove
from hubcli.urls import without_secrets

__all__ = ["ConversionRun"]


class ConversionRun(ExportRun):
    """One run of the verb, to a format that a model is converted to."""

    def run(self) -> ExportResult:
        """Converts the model, compares the result with it, and moves the file into place."""
        self._require_valid()
        self.place = require_free(
            self.placement.place,
            cache_root=self.settings.cache_root,
            force=self.options.force,
            source=self.target.archive or self.target.directory,
        )
        if self.options.dry_run:
            with (
                TemporaryDirectory(prefix="hubcli-") as folder,
                self._model(Path(folder)) as (model, edited),
            ):
                return self._converted(self._plan(model), edited)
        with self._staged() as staged, self._model(staged.parent) as (model, edited):
            plan = self._plan(model)
            self.listener.step(f"Converting {self.target.name}")
            origin = origin_of(self._origin(), plan, __version__)
            conversion = convert(plan, staged, origin, self.options.on_log)
            written = staged.stat().st_size, _sha256(staged)
        return self._converted(plan, edited, conversion, *written)

    @property
    def _options(self) -> ConversionOptions:
        return self.options.conversion or ConversionOptions()

    def _require_valid(self) -> None:
        """Raises UsageError for options that mean nothing for a converted model."""
        self._options.require_valid(self.placement.format)
        edits = self.options.edits
        given = {
            "--half": edits.half,
            "--warmup": edits.warmup,
            "--allow-none": edits.allow_none,
            "--add-defaults": edits.defaults,
        }
        for option, value in given.items():
            if value:
                raise UsageError(
                    f"{option} cannot be used with the converted model {self.placement.place.name}",
                    hint="Remove --half. For half weights in a .tflite file: --quantize float16"
                    if option == "--half"
                    else f"Remove {option}.",
                )

    def _needs_keras(self) -> bool:
        """Whether Keras makes the SavedModel that is converted: here --unsafe alone doesn't ask for it."""
        options = self.options
        if options.output_layers or options.input_layers or options.custom_objects:
            return super()._needs_keras()
        return self.target.is_keras_file

    @contextmanager
    def _model(self, folder: Path) -> Iterator[tuple[Path, EditReport | None]]:
        """The model to convert, in its place or made in the folder; with edits, what these changed."""
        with self._source(folder / "source") as source:
            edits = replace(self.options.edits, compare=self._options.compare)
            if not edits.is_asked:
                yield source, None
                return
            # They name signatures as the source does: the conversion takes what they leave.
            edits = replace(edits, signatures=self._options.signatures)
            plan, model = plan_edits(source, edits, self.target.name), folder / "edited"
            plan.write(model)
            report = plan.report() if self.options.dry_run else prove(plan, model, edits)
            for text in (*(loss.text for loss in report.losses), *report.notes):
                self.listener.note(text)
            yield model, report

    def _plan(self, model: Path) -> ConversionPlan:
        options = self._options
        if self.options.edits.is_asked:
            options = replace(options, signatures=())
        plan = plan_conversion(
            self.target.name, model, self.placement.format, options, unsafe=self.options.unsafe
        )
        if plan.left_out and not plan.options.signatures:
            self.listener.note(
                f"An ONNX file holds one signature: converting {plan.endpoints[0].name}, "
                f"not {', '.join(plan.left_out)}"
            )
        defaults = [
            f"{endpoint.name}.{port.name}"
            for endpoint in plan.endpoints
            for port in endpoint.inputs
            if port.default is not None
        ]
        if defaults:
            self.listener.note(
                f"{FORMAT_NAMES[plan.format]} has no default values: callers must give {', '.join(defaults)}"
            )
        return plan

    def _origin(self) -> str:
        """What a converted file says of its source: the handle, of a path its last part alone."""
        handle = self._handle()
        if handle is None or handle.path is not None or handle.is_directory:
            return Path(self.target.name).name
        return without_secrets(str(handle))

    def _converted(
        self,
        plan: ConversionPlan,
        edited: EditReport | None,
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
            edited=edited,
            is_dry_run=self.options.dry_run,
            plan=plan,
            conversion=conversion,
        )


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
