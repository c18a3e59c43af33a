"""How an export is written: format and layout, destination, staging directory.

The choices stand here: options need them at every start.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["ExportFormat", "Layout", "Quantization"]


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
        """The format that the end of a destination's name tells, None where it tells none."""
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
