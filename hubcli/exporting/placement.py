"""What an export can write, and where it goes below its destination, by layout and format."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hubcli.durability import hidden_beside
from hubcli.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hubcli.providers.handle import Handle

__all__ = ["INDEX_NAME", "ExportFormat", "Layout", "Placement", "publish_newest"]


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


INDEX_NAME = "index.html"


def publish_newest(model: Path) -> str | None:
    """Lets `index.html` in the model's directory lead to its newest version; why not, else None.

    It is a relative link, which `cp -a`, rsync and tar keep, and copying follows. One that is
    somebody's own file or link stays. Another process may export a version at the same time.
    """
    index = model / INDEX_NAME
    if os.path.lexists(index) and not _is_ours(index):
        return f"{index} is not of hubcli's making and stays: a handle without a version doesn't work there"
    newest = max(_versions(model), key=lambda file: int(file.name), default=None)
    if newest is None:
        return None
    temporary = hidden_beside(index)
    try:
        try:
            temporary.symlink_to(newest.name)
        except OSError:  # A file system without symbolic links.
            os.link(newest, temporary)
        temporary.replace(index)
    except OSError as error:
        reason = error.strerror or error
        return f"{index} can't be made ({reason}): a handle without a version doesn't work there"
    finally:
        temporary.unlink(missing_ok=True)
    return None


def _versions(model: Path) -> list[Path]:
    return [file for file in model.iterdir() if _is_version(file.name) and file.is_file()]


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _is_ours(index: Path) -> bool:
    """Whether it is a link to a version beside it, whether that is still there or not."""
    if index.is_symlink():
        return _is_version(str(index.readlink()))
    return index.is_file() and any(index.samefile(file) for file in _versions(index.parent))


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
            example = "NAME" if layout is Layout.SERVING else "PUBLISHER/MODEL"
            raise UsageError(
                f"The layout {layout.value} needs a name, and the source tells none",
                hint=f"Add --name {example}.",
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
