"""Where an exported model goes below its destination, by layout and format; no file is touched here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hubcli.errors import UsageError
from hubcli.exporting.layouts import ExportFormat, Layout
from hubcli.providers.handle import Handle

__all__ = ["Placement"]

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_VERSION = re.compile(r"[0-9]{1,18}")  # TensorFlow Serving reads an int64.
# What a person expects to be packed in a way that is not written here.
_OTHER_SUFFIXES = (".zip", ".gz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".7z")


@dataclass(frozen=True, slots=True)
class Placement:
    """The place of one model, and how it is written there."""

    place: Path
    layout: Layout
    format: ExportFormat

    @classmethod
    def plain(cls, destination: Path, form: ExportFormat | None) -> Placement:
        """The destination itself; where no format is given, its name tells.

        Raises UsageError for a name that promises another packing.
        """
        name = destination.name.lower()
        if form is None and name.endswith((".tar.gz", ".tgz")):
            form = ExportFormat.TAR_GZ
        elif form is None and name.endswith(".tar"):
            form = ExportFormat.TAR
        elif form is None and name.endswith(_OTHER_SUFFIXES):
            raise UsageError(
                f"{destination} is none of the formats that hubcli writes",
                hint="Name a directory, or a file that ends in .tar.gz or .tar; or say --format dir.",
            )
        return cls(destination, Layout.PLAIN, form or ExportFormat.DIRECTORY)

    @classmethod
    def serving(cls, destination: Path, model: _ModelName, form: ExportFormat | None) -> Placement:
        """`DEST/<name>/<version>`, a directory. Source: TensorFlow Serving, "--model_base_path"."""
        if form not in (None, ExportFormat.DIRECTORY):
            raise UsageError("--layout serving writes directories", hint="Leave --format out.")
        return cls(destination / model.serving_name / model.version, Layout.SERVING, ExportFormat.DIRECTORY)

    @classmethod
    def hub(cls, destination: Path, model: _ModelName, form: ExportFormat | None) -> Placement:
        """`DEST/<publisher>/<model>/<version>`, a tar.gz: what a host answers at that path.

        Source: https://www.tensorflow.org/hub/hosting, "Protocol".
        """
        if form not in (None, ExportFormat.TAR_GZ):
            raise UsageError("--layout hub writes tar.gz archives", hint="Leave --format out.")
        return cls(destination.joinpath(*model.hub_path, model.version), Layout.HUB, ExportFormat.TAR_GZ)

    @classmethod
    def of(
        cls,
        destination: Path,
        layout: Layout,
        form: ExportFormat | None,
        *,
        handle: Handle | None,
        name: str | None,
        version: str | None,
    ) -> Placement:
        """The place in the layout; `name` and `version` stand in for what the handle doesn't tell.

        Raises UsageError where they can't be told, or mean nothing.
        """
        if layout is Layout.PLAIN:
            if name is not None or version is not None:
                option = "--name" if name is not None else "--version"
                raise UsageError(
                    f"{option} means nothing in the plain layout",
                    hint="Add --layout serving or --layout hub.",
                )
            return cls.plain(destination, form)
        place = cls.serving if layout is Layout.SERVING else cls.hub
        return place(destination, _ModelName.of(handle, name, version, layout), form)


@dataclass(frozen=True, slots=True)
class _ModelName:
    """The name of a model in a tree of models: segments, and a version of digits."""

    segments: tuple[str, ...]
    version: str
    has_publisher: bool

    @classmethod
    def of(cls, handle: Handle | None, name: str | None, version: str | None, layout: Layout) -> _ModelName:
        known = () if handle is None else handle.provider.model_name(handle)
        version = version if version is not None else handle.version if handle is not None else None
        if version is None:
            raise UsageError(
                f"The layout {layout.value} needs a version, and the source tells none",
                hint="Add --version N.",
            )
        if not _VERSION.fullmatch(version):
            raise UsageError(f"'{version}' is no version of a model", hint="Write digits: --version 1.")
        segments = tuple(name.split("/")) if name is not None else known
        if not segments:
            wanted = "NAME" if layout is Layout.SERVING else "PUBLISHER/MODEL"
            raise UsageError(
                f"The layout {layout.value} needs a name, and the source tells none",
                hint=f"Add --name {wanted}.",
            )
        if not all(map(_SEGMENT.fullmatch, segments)):
            raise UsageError(
                f"'{'/'.join(segments)}' can't be the name of a model",
                hint="A name has letters, digits, and . _ + - behind the first: --name PUBLISHER/MODEL.",
            )
        return cls(segments, version, has_publisher=name is None and len(segments) > 1)

    @property
    def serving_name(self) -> str:
        """One name: what the publisher calls it."""
        segments = self.segments[1:] if self.has_publisher else self.segments
        if not self.has_publisher and len(segments) > 1:
            raise UsageError(
                f"'{'/'.join(segments)}' is more than one name",
                hint="TensorFlow Serving has one name for a model: --name NAME.",
            )
        return "_".join(segments)

    @property
    def hub_path(self) -> tuple[str, ...]:
        """Publisher and model."""
        if len(self.segments) < 2:
            raise UsageError(
                f"'{self.segments[0]}' names no publisher", hint=f"Add --name PUBLISHER/{self.segments[0]}."
            )
        return self.segments
