"""How an export is written: format and layout, destination, staging directory.

The choices stand here: options need them at every start.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["ExportFormat", "Layout"]


class ExportFormat(str, Enum):
    """How a model is written: as a directory, or as an archive."""

    DIRECTORY = "dir"
    TAR = "tar"
    TAR_GZ = "tar.gz"


class Layout(str, Enum):
    """What stands at the destination: the model, a tree of TensorFlow Serving, or one of a TF Hub host."""

    PLAIN = "plain"
    SERVING = "serving"
    HUB = "hub"
