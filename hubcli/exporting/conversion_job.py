"""An export as one file in another format: edited if there are edits, converted and compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from hubcli import __version__
from hubcli.errors import UsageError
from hubcli.exporting import EditOptions, ExportFormat
from hubcli.exporting.conversion import (
    Conversion,
    ConversionOptions,
    ConversionPlan,
    convert,
    origin_of,
    plan_conversion,
)
from hubcli.exporting.converter import FORMAT_NAMES
from hubcli.exporting.editing import EditReport, plan_edits, prove
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.regular_file import file_sha256
from hubcli.urls import without_secrets

__all__ = ["ConversionJob"]


@dataclass(slots=True)
class ConversionJob:
    """The conversion of the model `name` to the file `file_name`; `prepare` it, then `convert`.

    `on_log` gets what the converter wrote. Of the results `edited` is set if there were edits; the
    last three are of the file that was written.
    """

    name: str
    format: ExportFormat
    file_name: str
    options: ConversionOptions | None
    edits: EditOptions
    unsafe: bool
    is_dry_run: bool
    listener: ProgressListener
    on_log: Callable[[str], None] | None = None
    plan: ConversionPlan | None = field(default=None, init=False)
    edited: EditReport | None = field(default=None, init=False)
    conversion: Conversion | None = field(default=None, init=False)
    size_bytes: int = field(default=0, init=False)
    sha256: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Raises UsageError for options that do not apply to a converted model."""
        self._options.require_valid(self.format)
        given = {
            "--half": self.edits.half,
            "--warmup": self.edits.warmup,
            "--allow-none": self.edits.allow_none,
            "--add-defaults": self.edits.defaults,
        }
        for option, value in given.items():
            if value:
                raise UsageError(
                    f"{option} cannot be used with the converted model {self.file_name}",
                    hint="Remove --half. For half weights in a .tflite file: --quantize float16"
                    if option == "--half"
                    else f"Remove {option}.",
                )

    @property
    def _options(self) -> ConversionOptions:
        return self.options or ConversionOptions()

    def prepare(self, source: Path, folder: Path) -> None:
        """Plans the conversion of the model in the directory `source`, with its edits made in `folder`.

        The listener gets what the edits changed, and what the format leaves out. Raises as `plan_edits`,
        `prove` and `plan_conversion` do.
        """
        options, model = self._options, source
        edits = replace(self.edits, compare=options.compare)
        if edits.has_edits:
            # They name signatures as the source does: the conversion takes what they leave.
            model = self._edit(source, folder / "edited", replace(edits, signatures=options.signatures))
            options = replace(options, signatures=())
        self.plan = plan_conversion(self.name, model, self.format, options, unsafe=self.unsafe)
        self._tell_of_plan(self.plan)

    def _edit(self, source: Path, model: Path, edits: EditOptions) -> Path:
        plan = plan_edits(source, edits, self.name, is_whole=False)
        plan.write(model)
        self.edited = plan.report() if self.is_dry_run else prove(plan, model, edits)
        for remark in self.edited.remarks:
            self.listener.note(remark)
        return model

    def _tell_of_plan(self, plan: ConversionPlan) -> None:
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

    def convert(self, destination: Path, handle: Handle | None) -> None:
        """Writes the file, made of the handle, and compares it with the prepared model.

        Raises as `hubcli.exporting.conversion.convert` does.
        """
        assert self.plan is not None
        self.listener.step(f"Converting {self.name}")
        origin = origin_of(self._origin(handle), self.plan, __version__)
        self.conversion = convert(self.plan, destination, origin, self.on_log)
        self.size_bytes, self.sha256 = destination.stat().st_size, file_sha256(destination)

    def _origin(self, handle: Handle | None) -> str:
        """What the file says of its source: the handle, of a path its last part alone."""
        if handle is None or handle.path is not None or handle.is_directory:
            return Path(self.name).name
        return without_secrets(str(handle))
