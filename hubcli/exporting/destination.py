"""Where an export is written: its place by layout and format, staged beside it, moved there by one rename."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hubcli.archive.compression import COMPRESSED_SUFFIXES
from hubcli.atomic_files import exchange, exchange_at_once, move_error, move_new
from hubcli.durability import SYNCED, Durability
from hubcli.errors import DiskFullError, NotFoundError, OutputError, UsageError, means_full
from hubcli.exporting import ExportFormat, Layout
from hubcli.exporting.staging import REPLACED, Staging, remove_leftovers_of
from hubcli.formats import MAIN_FILES
from hubcli.regular_file import NotRegularError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hubcli.providers.handle import Handle

__all__ = ["SEGMENT", "VERSION", "Placement", "require_free", "staged_output"]

# Of the paths of models in a tree.
SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
VERSION = re.compile(r"[0-9]{1,18}")  # TensorFlow Serving reads an int64.
# Of the names in a directory, those that are looked at for models in it.
_MAX_NAMES = 10_000
# One of them is in each directory that is a model; the last is that of TensorFlow 1's hub modules.
_MODEL_FILES = (*MAIN_FILES, "tfhub_module.pb")
# Suffixes of archives that hubcli does not write.
_OTHER_SUFFIXES = (".zip", ".zst", ".7z", *COMPRESSED_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Placement:
    """The place of one model, and how it is written there; in a tree of models, the `tree` that it is in."""

    place: Path
    layout: Layout
    format: ExportFormat
    tree: Path | None = None

    @classmethod
    def plain(cls, destination: Path, form: ExportFormat | None) -> Placement:
        """The destination itself; where no format is given, its name tells.

        Raises UsageError for a name that promises another packing.
        """
        name = destination.name.lower()
        form = form or ExportFormat.of_name(name)
        if form is None and name.endswith(_OTHER_SUFFIXES):
            raise UsageError(
                f"Cannot export to {destination}: unsupported format",
                hint="Use a directory, or a file that ends in .tar.gz, .tar, .tflite or .onnx; "
                "or add --format dir.",
            )
        return cls(destination, Layout.PLAIN, form or ExportFormat.DIRECTORY)

    @classmethod
    def serving(cls, destination: Path, model: _ModelName, form: ExportFormat | None) -> Placement:
        """`DEST/<name>/<version>`, a directory. Source: TensorFlow Serving, "--model_base_path"."""
        if form not in (None, ExportFormat.DIRECTORY):
            raise UsageError("--layout serving writes directories", hint="Remove --format.")
        return cls(destination / model.serving_name / model.version, Layout.SERVING, ExportFormat.DIRECTORY)

    @classmethod
    def hub(cls, destination: Path, model: _ModelName, form: ExportFormat | None) -> Placement:
        """`DEST/<publisher>/<model>/<version>`, a tar.gz: what a host answers at that path.

        Source: https://www.tensorflow.org/hub/hosting, "Protocol".
        """
        if form not in (None, ExportFormat.TAR_GZ):
            raise UsageError("--layout hub writes tar.gz archives", hint="Remove --format.")
        place = destination.joinpath(*model.hub_path, model.version)
        return cls(place, Layout.HUB, ExportFormat.TAR_GZ, destination)

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
        """The place in the layout; `name` and `version` override those of the handle.

        Raises UsageError if they are missing, or don't apply to the layout.
        """
        if layout is Layout.PLAIN:
            if name is not None or version is not None:
                option = "--name" if name is not None else "--version"
                raise UsageError(
                    f"{option} requires a layout of many models",
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
                f"The layout {layout.value} requires a version, and the source has none",
                hint="Add --version N.",
            )
        if not VERSION.fullmatch(version):
            raise UsageError(f"Invalid version '{version}'", hint="Use digits: --version 1.")
        segments = tuple(name.split("/")) if name is not None else known
        if not segments:
            example = "NAME" if layout is Layout.SERVING else "PUBLISHER/MODEL"
            raise UsageError(
                f"The layout {layout.value} requires a name, and the source has none",
                hint=f"Add --name {example}.",
            )
        if not all(map(SEGMENT.fullmatch, segments)):
            raise UsageError(
                f"Invalid model name '{'/'.join(segments)}'",
                hint="Use letters, digits, and . _ + - behind the first: --name PUBLISHER/MODEL.",
            )
        return cls(segments, version, has_publisher=name is None and len(segments) > 1)

    @property
    def serving_name(self) -> str:
        """One name: what the publisher calls it."""
        segments = self.segments[1:] if self.has_publisher else self.segments
        if not self.has_publisher and len(segments) > 1:
            raise UsageError(
                f"Invalid model name '{'/'.join(segments)}': the serving layout has one name",
                hint="Use one name: --name NAME.",
            )
        return "_".join(segments)

    @property
    def hub_path(self) -> tuple[str, ...]:
        """Publisher and model."""
        if len(self.segments) < 2:
            raise UsageError(
                f"Invalid model name '{self.segments[0]}': missing the publisher",
                hint=f"Use --name PUBLISHER/{self.segments[0]}.",
            )
        return self.segments


def require_free(
    destination: Path,
    *,
    cache_root: Path,
    force: bool,
    source: Path | None = None,
    read: Sequence[Path] = (),
) -> Path:
    """The place that the destination means, links followed, if something may be written there.

    Raises OutputError for the cache and what is in it, for what is there already without `force`, and, with
    `force` too, for a place within the `source`, for a device or a pipe, for a directory of other models,
    and for one that holds the source, what else is `read`, the cache, the working or the home directory.
    UsageError for a path that can't be one.
    """
    try:
        return _free_place(destination, cache_root, force, source, read)
    except OSError as error:
        raise _unwritable(destination, error) from error


@contextmanager
def staged_output(
    destination: Path,
    *,
    cache_root: Path,
    force: bool,
    source: Path | None = None,
    read: Sequence[Path] = (),
    durability: Durability = SYNCED,
) -> Iterator[Path]:
    """A path for a directory or a file, which is renamed to the destination at the end of the context.

    The path is a name in a hidden directory beside the destination, which is locked as long as the
    process lives; other names in it but `old` and `lock` are the caller's to use. What killed exports to
    the same destination left beside it is removed first. What `force` replaces stays in
    its place until the rename. However the context ends, an interrupt
    included, the hidden directory goes, with what was replaced; after an error
    the destination is as it was, and so it is after a power loss, or all new: what was made is synced
    before the rename, and the rename before what it replaced is deleted. Raises what
    `require_free` does, OutputError, DiskFullError.
    """
    remove_leftovers_of(_resolved(destination))
    place = require_free(destination, cache_root=cache_root, force=force, source=source, read=read)
    staging = Staging(place)
    folders = [folder for folder in place.parents if not folder.exists()]
    try:
        # Twice: an interrupt may come while the first one cleans up.
        with staging, _swept(staging, folders), _swept(staging, folders):
            staging.make()
            staged = staging.path / "new"
            yield staged
            require_free(destination, cache_root=cache_root, force=force, source=source, read=read)
            if staged.is_dir() and place.is_dir():
                shutil.copymode(place, staged)  # The owner of the empty directory chose who may read it.
            durability.tree(staged)
            durability.directory(staging.path)
            with _empty_directory_kept(place):
                if force:
                    _publish(staged, place)
                else:
                    move_new(staged, place, destination)
                _sync_names(staged, place, folders, durability)
    except NotRegularError as error:  # Raised for files of the source alone.
        raise NotFoundError(
            f"Cannot read {error.filename}: {error.strerror}", hint="Restore the file, and try again."
        ) from error
    except OSError as error:
        raise _unwritable(destination, error) from error


def _free_place(
    destination: Path, cache_root: Path, force: bool, source: Path | None, read: Sequence[Path]
) -> Path:
    place, root = _resolved(destination), _resolved(cache_root)
    protected = [root] if source is None else [root, _resolved(source)]
    if place.is_relative_to(root):
        raise OutputError(
            f"{destination} is inside the cache {cache_root}", hint="Use a path outside of the cache."
        )
    if place.is_relative_to(protected[-1]):
        raise OutputError(f"{destination} is inside the source {source}", hint="Use a path outside of it.")
    for path in map(_resolved, read):
        if path.is_relative_to(place):
            raise _holding(destination, path)
    if place.is_dir():
        _require_replaceable(destination, place, protected)
        if any(place.iterdir()):
            if not force:
                raise _occupied(destination, "exists and is not empty")
            _require_no_models_within(destination, place)
    elif place.exists() and not place.is_file():  # --force must not replace /dev/null.
        raise OutputError(f"{destination} is not a regular file", hint="Use another path.")
    elif os.path.lexists(place) and not force:
        raise _occupied(destination, "already exists")
    return place


def _require_replaceable(destination: Path, place: Path, protected: Sequence[Path]) -> None:
    """Raises OutputError for a directory that must not be replaced, not even an empty one."""
    with suppress(FileNotFoundError):  # The working directory may be gone.
        if place == Path.cwd():
            raise OutputError(
                f"Cannot replace {destination}: it is the working directory",
                hint="Use a directory in it, or change the working directory.",
            )
        protected = [*protected, Path.cwd()]
    with suppress(RuntimeError):  # A user without an entry has no home.
        protected = [*protected, Path.home().resolve()]
    if os.path.ismount(place):
        raise OutputError(
            f"Cannot replace {destination}: it is a mount point",
            hint=f"Use a directory in it: {destination / 'model'}",
        )
    for path in protected:
        if path.is_relative_to(place):
            raise _holding(destination, path)


def _require_no_models_within(destination: Path, place: Path) -> None:
    """Raises OutputError for a directory of models: a path without its last part would lose them all."""
    if _is_model(place):
        return
    names = (name for pattern in ("*", "*/*") for name in islice(place.glob(pattern), _MAX_NAMES))
    found = next(filter(_is_model, names), None)
    if found is not None:
        raise OutputError(
            f"Cannot replace {destination}: it has other models in it, such as {found.relative_to(place)}",
            hint=f"Use a directory in it, such as {destination / 'model'}, or remove it first.",
        )


def _is_model(folder: Path) -> bool:
    return any(os.path.lexists(folder / name) for name in _MODEL_FILES)


def _publish(staged: Path, place: Path) -> None:
    """Renames the staged directory or file to its place; what is there takes the place of the staged one."""
    if os.path.lexists(place) and exchange_at_once(staged, place):
        return
    if not place.is_dir() and not (staged.is_dir() and os.path.lexists(place)):
        staged.replace(place)
        return
    exchange(staged, place, aside=staged.with_name(REPLACED))


def _sync_names(staged: Path, place: Path, folders: Sequence[Path], durability: Durability) -> None:
    """Syncs the directories whose names changed; where the disk fails, puts back what was replaced."""
    try:
        for folder in (place.parent, staged.parent, *(folder.parent for folder in folders)):
            durability.directory(folder)
    except OSError:
        with suppress(OSError):
            if os.path.lexists(staged):
                exchange(staged, place, aside=staged.with_name(REPLACED))
            else:
                place.rename(staged)
        raise


@contextmanager
def _empty_directory_kept(place: Path) -> Iterator[None]:
    """Makes a directory that was at the place again if it is missing after an error."""
    mode = place.stat().st_mode & 0o777 if place.is_dir() else None
    try:
        yield
    except BaseException:
        if mode is not None and not os.path.lexists(place):
            with suppress(OSError):
                place.mkdir(mode)
        raise


@contextmanager
def _swept(staging: Staging, folders: Sequence[Path]) -> Iterator[None]:
    """In the end removes the staging directory, and of those that were made the ones that are empty."""
    try:
        yield
    finally:
        staging.remove()
        with suppress(OSError):
            for folder in folders:
                folder.rmdir()


def _holding(destination: Path, path: Path) -> OutputError:
    return OutputError(f"{destination} contains {path}, which would be replaced", hint="Use another path.")


def _occupied(destination: Path, what: str) -> OutputError:
    return OutputError(f"{destination} {what}", hint="Use another path, or replace it with --force.")


def _unwritable(destination: Path, error: OSError) -> OutputError | DiskFullError:
    if means_full(error):
        return DiskFullError(
            f"Not enough disk space for {destination}: {error.strerror}",
            hint="Free some space, or use another path.",
        )
    return move_error(
        destination, error, f"Check {destination.parent} and its permissions, or use another path."
    )


def _resolved(path: Path) -> Path:
    """The path without links; raises UsageError where it can't be one."""
    try:
        return path.expanduser().resolve()
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"Invalid path {str(path)!r}: {error}", hint="Use another path.") from error
