"""A SavedModel as a `.tflite` or ONNX file: converted in a process of its own, compared with its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hubcli.config.environment import require_timeout
from hubcli.errors import ConversionError, TensorFlowError, UsageError, did_you_mean
from hubcli.exporting import ExportFormat, Quantization
from hubcli.exporting.converted_outputs import Comparer, SignatureComparison, files_by_signature, read_batches
from hubcli.exporting.converter import FORMAT_NAMES, Converter
from hubcli.formats import MAIN_FILES
from hubcli.regular_file import file_sha256
from hubcli.running.batching import DEFAULT_BATCH, Batch
from hubcli.running.endpoints import DEFAULT_SIGNATURES, Endpoint
from hubcli.running.model import RunnableModel, read_signatures_of, refuse_unsafe, require_packages
from hubcli.running.session import Session
from hubcli.tf.run_process import has_package

__all__ = [
    "Conversion",
    "ConversionOptions",
    "ConversionPlan",
    "convert",
    "origin_of",
    "plan_conversion",
    "require_installed",
]

DEFAULT_TIMEOUT_S = 3600.0
# Made-up inputs may keep a model in an endless loop: it may still work with real ones.
_RUN_TIMEOUT_S = 120.0
# Of the largest error of an output, as `hubcli.tf.differences` defines it.
DEFAULT_TOLERANCE = 1e-4
DEFAULT_TOLERANCES = {Quantization.FLOAT16: 1e-2, Quantization.DYNAMIC: 0.05, Quantization.INT8: 0.1}
_FIRST_OPSET, _LAST_OPSET = 9, 18  # Of tf2onnx 1.17.
_PACKAGES = {
    ExportFormat.TFLITE: ("tensorflow",),
    ExportFormat.ONNX: ("tensorflow", "tf2onnx", "onnx", "onnxruntime"),
}
_EXTRAS = {"tensorflow": "tf"}


@dataclass(frozen=True, slots=True)
class ConversionOptions:
    """How a model is converted.

    `signatures` are those to convert; without any all of them, for ONNX, which holds one, the default.
    `representative` and `inputs` are files, each as `FILE` or `SIGNATURE=FILE`: what `int8` is calibrated
    with, and what the result is compared on (default: the representative ones, else sampled inputs).
    `tolerance` bounds the largest error. `timeout_s` bounds the conversion, by default to an hour, and each
    run of a model, by default to two minutes.
    """

    signatures: tuple[str, ...] = ()
    quantize: Quantization | None = None
    representative: tuple[str, ...] = ()
    select_tf_ops: bool = False
    opset: int | None = None
    inputs: tuple[str, ...] = ()
    tolerance: float | None = None
    compare: bool = True
    timeout_s: float | None = None

    @property
    def largest_error(self) -> float:
        """The tolerance that counts."""
        if self.tolerance is not None:
            return self.tolerance
        return DEFAULT_TOLERANCE if self.quantize is None else DEFAULT_TOLERANCES[self.quantize]

    @property
    def conversion_timeout_s(self) -> float:
        """The limit of the conversion, and of loading a model."""
        return DEFAULT_TIMEOUT_S if self.timeout_s is None else self.timeout_s

    @property
    def run_timeout_s(self) -> float:
        """The limit of each run of a model."""
        return _RUN_TIMEOUT_S if self.timeout_s is None else self.timeout_s

    def require_valid(self, form: ExportFormat) -> None:
        """Raises UsageError for options that do not apply to the format, or contradict each other."""
        _require_format(
            form,
            {
                "--quantize": (self.quantize, ExportFormat.TFLITE),
                "--representative": (self.representative, ExportFormat.TFLITE),
                "--select-tf-ops": (self.select_tf_ops, ExportFormat.TFLITE),
                "--opset": (self.opset, ExportFormat.ONNX),
            },
        )
        require_timeout(self.conversion_timeout_s)
        if self.representative and self.quantize is not Quantization.INT8:
            raise UsageError(
                "--representative requires --quantize int8",
                hint="Add --quantize int8, or remove --representative.",
            )
        if self.opset is not None and not _FIRST_OPSET <= self.opset <= _LAST_OPSET:
            raise UsageError(f"Invalid opset {self.opset}", hint=f"Use {_FIRST_OPSET} to {_LAST_OPSET}.")
        if self.tolerance is not None and not (isfinite(self.tolerance) and self.tolerance >= 0):
            raise UsageError(f"Invalid tolerance {self.tolerance}", hint="Use a number such as 0.001.")
        if not self.compare and (self.inputs or self.tolerance is not None):
            option = "--inputs" if self.inputs else "--tolerance"
            raise UsageError(
                f"{option} and --no-compare cannot be used together", hint="Use only one of them."
            )


def _require_format(form: ExportFormat, options: Mapping[str, tuple[object, ExportFormat]]) -> None:
    for option, (value, own) in options.items():
        is_given = value is not None and value is not False and value != ()
        if is_given and form is not own:
            raise UsageError(
                f"{option} requires a DEST that ends in .{own.value}",
                hint=f"Use DEST.{own.value}, or remove {option}.",
            )


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """What is converted: the model that was read and scanned, its signatures, and those that are left out.

    `representative` and `inputs` are the files of the options by signature.
    """

    model: RunnableModel
    endpoints: tuple[Endpoint, ...]
    left_out: tuple[str, ...]
    format: ExportFormat
    options: ConversionOptions
    representative: Mapping[str, str]
    inputs: Mapping[str, str]

    @property
    def by_name(self) -> Mapping[str, Endpoint]:
        """The signatures that are converted, by name."""
        return {endpoint.name: endpoint for endpoint in self.endpoints}


@dataclass(frozen=True, slots=True)
class Conversion:
    """A conversion that was made: by which `converter`, and how far each signature's outputs are apart.

    `comparisons` are empty where nothing was compared. `opset` is that of an ONNX file.
    """

    plan: ConversionPlan
    converter: str
    opset: int | None
    comparisons: tuple[SignatureComparison, ...]

    @property
    def largest_error(self) -> float | None:
        """The largest of all signatures, None if nothing was compared."""
        return max((each.largest.error for each in self.comparisons), default=None)


def plan_conversion(
    name: str,
    model: Path,
    form: ExportFormat,
    options: ConversionOptions,
    *,
    unsafe: bool,
    tag_set: frozenset[str] | None = None,
) -> ConversionPlan:
    """Reads and scans the model in the directory, and tells what is converted. Needs no TensorFlow.

    `tag_set` chooses a MetaGraph, by default the one that serves.

    Raises UsageError for a signature that isn't there, ConversionError for one that the format can't hold,
    UnsafeModelError unless `unsafe`, BrokenModelError.
    """
    options.require_valid(form)
    read = read_signatures_of(name, model, tag_set, is_scanned=not unsafe)
    refuse_unsafe(read, "convert")
    endpoints = _chosen(read, form, options.signatures)
    for endpoint in endpoints:
        for port in (*endpoint.inputs, *endpoint.outputs):
            if port.kind != "dense":
                raise ConversionError(
                    f"{name}: {port.name} of the {endpoint.title} is {port.kind}, "
                    f"and {FORMAT_NAMES[form]} has only dense tensors",
                    hint="Choose other signatures: --signature NAME",
                )
    is_whole = len(endpoints) == len(read.endpoints)
    # Of a part of the signatures, the comparison tells whether they need what is missing.
    if form is ExportFormat.TFLITE and read.obstacle and (is_whole or not options.compare):
        raise ConversionError(
            f"{name} cannot be converted to LiteRT: {read.obstacle}",
            hint="Use a DEST in .onnx. Or load the model with tf.saved_model.load and save it again.",
        )
    representative = files_by_signature(options.representative, "--representative", endpoints)
    missing = [point.name for point in endpoints if point.inputs and point.name not in representative]
    if options.quantize is Quantization.INT8 and missing:
        raise UsageError(
            f"--quantize int8 requires representative inputs of the signature {missing[0]}",
            hint=f"Specify a file with them: --representative {missing[0]}=FILE",
        )
    chosen = {endpoint.name for endpoint in endpoints}
    return ConversionPlan(
        model=read,
        endpoints=endpoints,
        left_out=tuple(point.name for point in read.endpoints if point.name not in chosen),
        format=form,
        options=options,
        representative=representative,
        inputs=files_by_signature(options.inputs, "--inputs", endpoints),
    )


def _chosen(model: RunnableModel, form: ExportFormat, names: Sequence[str]) -> tuple[Endpoint, ...]:
    """The signatures to convert, the default first: a file that names no signature is for the first."""
    by_name = {endpoint.name: endpoint for endpoint in model.endpoints}
    listed = ", ".join(by_name)
    if not by_name:
        raise UsageError(
            f"{model.name} has no signature to convert",
            hint="Save it with one: tf.saved_model.save(obj, DIR, signatures=obj.FUNCTION)",
        )
    for name in names:
        if name not in by_name:
            raise UsageError(
                f"{model.name} has no signature '{name}'{did_you_mean(name, by_name)}",
                hint=f"Its signatures: {listed}",
            )
    default = next((name for name in DEFAULT_SIGNATURES if name in by_name), None)
    if form is ExportFormat.TFLITE:
        chosen = [by_name[name] for name in dict.fromkeys(names)] or list(model.endpoints)
        return tuple(chosen if names else sorted(chosen, key=lambda endpoint: endpoint.name != default))
    if len(set(names)) > 1 or (not names and default is None and len(by_name) > 1):
        raise UsageError(
            f"An ONNX file holds one signature, and {model.name} has {len(by_name)}",
            hint=f"Choose one with --signature NAME: {listed}",
        )
    return (by_name[names[0] if names else default or next(iter(by_name))],)


def convert(
    plan: ConversionPlan,
    destination: Path,
    origin: Mapping[str, Any],
    on_log: Callable[[str], None] | None = None,
) -> Conversion:
    """Writes the file of the plan, with its origin in it, and compares it with the SavedModel.

    `on_log` gets what the converter and the runtime wrote. Where it raises, what stands at the
    destination isn't to be used: ConversionError where the converter can't, or the result computes something
    else; TensorFlowError for a package that is missing, and for a process that crashed or took too long;
    InputError for given inputs that don't fit; OSError.
    """
    require_installed(plan)
    options = plan.options
    if not options.compare and not plan.representative:  # Nothing that would start TensorFlow once more.
        return _converted(plan, destination, origin, on_log)
    with Session("auto", options.conversion_timeout_s, options.run_timeout_s) as session:
        # Calibration goes row by row, as the converter's guide has it; a comparison in batches.
        representative = {
            name: list(read_batches(endpoint, plan.representative[name], session, 1))
            for name, endpoint in plan.by_name.items()
            if name in plan.representative
        }
        given = {
            name: list(read_batches(endpoint, path, session, DEFAULT_BATCH))
            for name, endpoint in plan.by_name.items()
            if (path := plan.inputs.get(name) or plan.representative.get(name)) and options.compare
        }
        comparer = Comparer(plan.model, session, options.largest_error)

        def compare(converter: Converter) -> list[SignatureComparison]:
            return [
                comparer.compare(endpoint, converter, given.get(endpoint.name, ()))
                for endpoint in plan.endpoints
                if options.compare
            ]

        return _converted(plan, destination, origin, on_log, representative, compare)


def _converted(
    plan: ConversionPlan,
    destination: Path,
    origin: Mapping[str, Any],
    on_log: Callable[[str], None] | None,
    representative: Mapping[str, Sequence[Batch]] = MappingProxyType({}),
    compare: Callable[[Converter], Sequence[SignatureComparison]] = lambda converter: (),
) -> Conversion:
    converter = Converter(plan)
    try:
        answer = converter.convert(destination, origin, representative)
        comparisons = compare(converter)
    finally:
        log = converter.close()
        if on_log is not None:
            on_log(log)
    return Conversion(plan, str(answer["converter"]), answer.get("opset"), tuple(comparisons))


def origin_of(source: str, plan: ConversionPlan, version: str) -> dict[str, Any]:
    """What a converted file says of the model it was made of; of a path its last part alone.

    `version` is hubcli's. Nothing in it changes from one conversion to the next.
    """
    main = next(path for name in MAIN_FILES if (path := plan.model.path / name).is_file())
    return {
        "source": source,
        "saved_model_sha256": file_sha256(main),
        "signatures": [endpoint.name for endpoint in plan.endpoints],
        "quantize": None if plan.options.quantize is None else plan.options.quantize.value,
        "tensorflow_version": plan.model.tensorflow_version,
        "hubcli_version": version,
    }


def require_installed(plan: ConversionPlan) -> None:
    """Raises TensorFlowError for a package that the conversion needs, and isn't there."""
    missing = [package for package in _PACKAGES[plan.format] if not has_package(package)]
    if missing:
        extras = ",".join(sorted({_EXTRAS.get(package, "onnx") for package in missing}))
        raise TensorFlowError(
            f"{missing[0]} is not installed", hint=f"Install it: pip install 'hubcli[{extras}]'"
        )
    packages = plan.model.packages
    require_packages(plan.model, {package.module: has_package(package.module) for package in packages})
