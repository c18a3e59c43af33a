"""How an export is written: format and layout, destination, staging directory.

The choices stand here: options need them at every start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hubcli.exporting.conversion import ConversionOptions
    from hubcli.formats import HalfType

__all__ = ["EditOptions", "ExportFormat", "ExportOptions", "Layout", "Quantization"]


_SUFFIXES = {".tar.gz": "tar.gz", ".tgz": "tar.gz", ".tar": "tar", ".tflite": "tflite", ".onnx": "onnx"}


class ExportFormat(str, Enum):
    """How a model is written: as a directory, as an archive, or converted to another format."""

    DIRECTORY = "dir"
    TAR = "tar"
    TAR_GZ = "tar.gz"
    TFLITE = "tflite"
    ONNX = "onnx"

    @classmethod
    def of_name(cls, name: str) -> ExportFormat | None:
        """The format that the end of a destination's name tells, None if it has none."""
        for suffix, form in _SUFFIXES.items():
            if name.lower().endswith(suffix):
                return cls(form)
        return None

    @property
    def is_conversion(self) -> bool:
        """Whether the model is converted, by TensorFlow."""
        return self in (ExportFormat.TFLITE, ExportFormat.ONNX)


class Quantization(str, Enum):
    """How weights, and for `int8` the values between ops, are stored in a `.tflite` file."""

    DYNAMIC = "dynamic"
    FLOAT16 = "float16"
    INT8 = "int8"


class Layout(str, Enum):
    """What stands at the destination: the model, a tree of TensorFlow Serving, or one of a TF Hub host."""

    PLAIN = "plain"
    SERVING = "serving"
    HUB = "hub"


@dataclass(frozen=True, slots=True)
class EditOptions:
    """The edits of an export; signatures are named as in the source.

    `signatures` are those to keep, all where it is empty. `defaults` are texts `NAME.INPUT=JSON`, NAME as
    it is after the renaming; `warmup` is a file or a number. With `compare` the result is compared with the
    source if TensorFlow is installed, `half` within `tolerance` (0.01), relative to an output's largest
    value.
    """

    signatures: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=dict)
    drops: tuple[str, ...] = ()
    allow_none: bool = False
    clear_devices: bool = False
    serving: bool = False
    half: HalfType | None = None
    tolerance: float | None = None
    compare: bool = True
    warmup: str | None = None
    defaults: tuple[str, ...] = ()
    dry_run: bool = False

    @property
    def has_edits(self) -> bool:
        """Whether there are edits."""
        return bool(
            self.signatures
            or self.renames
            or self.drops
            or self.clear_devices
            or self.serving
            or self.half
            or self.warmup is not None
            or self.defaults
        )

    @property
    def arguments(self) -> tuple[str, ...]:
        """The options of a command line that give these edits, but for `dry_run`."""
        values = {
            "--signature": self.signatures,
            "--drop-signature": self.drops,
            "--rename-signature": [f"{old}={new}" for old, new in self.renames.items()],
            "--add-defaults": self.defaults,
            "--half": [] if self.half is None else [self.half.value],
            "--tolerance": [] if self.tolerance is None else [str(self.tolerance)],
            "--warmup": [] if self.warmup is None else [self.warmup],
        }
        flags = {
            "--allow-none": self.allow_none,
            "--clear-devices": self.clear_devices,
            "--serving": self.serving,
            "--no-compare": not self.compare,
        }
        given = [word for option, texts in values.items() for text in texts for word in (option, text)]
        return (*given, *(option for option, is_given in flags.items() if is_given))

    def copies(self, path: str) -> bool:
        """Whether the file or directory is copied as it is, which is known before the model is read."""
        top = path.partition("/")[0]
        return top == "assets" or (top == "variables" and not (self.serving or self.half))


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Options of an export.

    Without a `format` the destination's name tells it. `name` and `version` are
    for layouts, where the source's handle doesn't tell them. The rest is for
    Keras models: `output_layers` and `input_layers` cut a piece out of one,
    `custom_objects` is a module or a file, `unsafe` lets a Keras model run the
    code that it holds, and use classes and ops that aren't known to be pure; a
    model to convert is then loaded despite findings of the scan.
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
        """Whether an option is given that only Keras can fulfil."""
        return bool(self.output_layers or self.input_layers or self.custom_objects or self.unsafe)
