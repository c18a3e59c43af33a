"""A conversion to one file of another format: as an export, edited and compared; and as a trial of LiteRT."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hubcli import __version__
from hubcli.errors import ConversionError, DiskFullError, TensorFlowError, UnsafeModelError, UsageError
from hubcli.exporting import EditOptions, ExportFormat
from hubcli.exporting.conversion import (
    Conversion,
    ConversionOptions,
    ConversionPlan,
    convert,
    origin_of,
    plan_conversion,
    require_installed,
)
from hubcli.exporting.converter import FORMAT_NAMES, Converter
from hubcli.exporting.editing import EditReport, plan_edits, prove
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.regular_file import file_sha256
from hubcli.savedmodel.targets.obstacle import ConversionTrial
from hubcli.tf.run_process import RunnerError
from hubcli.urls import without_secrets

__all__ = ["ConversionJob", "try_conversion"]

_TIMEOUT_S = 600.0
_LEAST_S = 1.0


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


def try_conversion(
    name: str, model: Path, tag_set: frozenset[str] | None = None, *, timeout_s: float = _TIMEOUT_S
) -> ConversionTrial:
    """What the converter makes of all signatures of the model in the directory; it runs parts of the model.

    It is the conversion of `hubcli export DEST.tflite`, without comparison, and nothing of it is kept: with
    builtin ops alone, then with Select TensorFlow ops. A crash of the converter, or a conversion that takes
    too long, ends its process alone.

    Raises UnsafeModelError if the scan found what is `high` or worse, TensorFlowError without TensorFlow
    or a package with ops of the model, DiskFullError, BrokenModelError.
    """
    options = ConversionOptions(compare=False, timeout_s=timeout_s)
    try:
        plan = plan_conversion(name, model, ExportFormat.TFLITE, options, unsafe=False, tag_set=tag_set)
    except UnsafeModelError as error:
        raise UnsafeModelError(
            error.message,
            hint=f"List all: hubcli inspect --scan {name}. "
            f"If you trust the author, convert it: hubcli export --unsafe {name} DEST.tflite",
        ) from error
    except (ConversionError, UsageError) as error:  # A signature that the format can't hold, or no signature.
        return _failed(error.message)
    require_installed(plan)
    converter = Converter(plan)
    try:
        return _tried(converter, time.monotonic() + timeout_s)
    except ConversionError as error:
        return _failed(_reason(error), converter.version)
    except TensorFlowError as error:  # A crash, or too long.
        return _failed(error.message)
    except OSError as error:
        raise DiskFullError(
            f"{name} was not converted: {error.strerror}", hint="Free some space, or set TMPDIR."
        ) from error
    finally:
        converter.close()


def _tried(converter: Converter, until_s: float) -> ConversionTrial:
    """The conversion with the fewest ops that it takes. Raises as `Converter.convert`."""
    with TemporaryDirectory(prefix="hubcli-") as folder:
        file, reason = Path(folder) / "model.tflite", ""
        try:
            converter.convert(file, {}, {})
        except ConversionError as error:  # Of any kind: what it says of ops isn't always what it lacks.
            reason = _reason(error)
            converter.limit(max(until_s - time.monotonic(), _LEAST_S))
            converter.convert(file, {}, {}, select_tf_ops=True)
        return ConversionTrial(
            is_done=True,
            needs_select_ops=bool(reason),
            reason=reason,
            size_bytes=file.stat().st_size,
            tensorflow_version=converter.version,
        )


def _failed(reason: str, version: str = "") -> ConversionTrial:
    return ConversionTrial(
        is_done=False, needs_select_ops=False, reason=reason, size_bytes=None, tensorflow_version=version
    )


def _reason(error: ConversionError) -> str:
    """What the converter said, without the model's name."""
    return error.__cause__.message if isinstance(error.__cause__, RunnerError) else error.message
