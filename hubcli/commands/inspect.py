"""`inspect`: what a model is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hubcli.config.settings import Settings
from hubcli.errors import BrokenModelError, NotFoundError, OfflineError, UsageError
from hubcli.fetching.model_ref import ModelRef, naming_target
from hubcli.formats.protos import is_slow
from hubcli.progress import ProgressListener
from hubcli.savedmodel.model import ModelFiles, SavedModelInfo
from hubcli.savedmodel.reader import read_model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hubcli.savedmodel.targets.target import Target

__all__ = ["InspectOptions", "Inspection", "inspect"]


@dataclass(frozen=True, slots=True)
class InspectOptions:
    """Options of an inspection.

    `submodules` reads the functions of every object, not of the root alone;
    `tag_set` chooses a MetaGraph; `fetch` caches a model that isn't cached;
    `hash_assets` takes the SHA-256 of assets, for a comparison. `graph_alone` reads of the variables
    only what the graph tells: an archive is read up to its graph.
    `targets` are those that may load it; `try_conversion` runs LiteRT's converter for such a target.
    """

    submodules: bool = False
    tag_set: frozenset[str] | None = None
    fetch: bool = False
    hash_assets: bool = False
    graph_alone: bool = False
    targets: tuple[Target, ...] = ()
    try_conversion: bool = False


class Inspection(NamedTuple):
    """A model by its name, its directory (None for an archive) and what it is made of.

    `received_bytes` is what came over the network or from an archive for it; `read_from` says of which.
    """

    target: str
    path: Path | None
    info: SavedModelInfo
    received_bytes: int | None = None
    read_from: str = "the archive"


def inspect(
    target: str,
    settings: Settings | None = None,
    options: InspectOptions | None = None,
    listener: ProgressListener | None = None,
) -> Inspection:
    """Reads the model: a cached one, a directory, an archive, or the first bytes of one elsewhere.

    Needs no TensorFlow. Raises HubcliError of the class that fits: HandleError,
    NotFoundError, NetworkError, BrokenModelError, UsageError for tags that no
    MetaGraph has.
    """
    settings, options = settings or Settings.read(), options or InspectOptions()
    resolved = ModelRef.of_directory(target, settings) or ModelRef.resolve(target, settings)
    listener = listener or ProgressListener()
    if is_slow():
        listener.note("protobuf runs in pure Python: large models load about 70 times slower")
    with naming_target(resolved, settings), _opened(resolved, settings, options, listener) as opened:
        try:
            info = read_model(
                opened.files,
                submodules=options.submodules,
                tag_set=options.tag_set,
                hash_assets=options.hash_assets,
                targets=options.targets,
            )
        except BrokenModelError as error:
            hint = f"Run: hubcli verify --repair {resolved.name}" if resolved.entry else error.hint
            raise BrokenModelError(f"{resolved.name}: {error.message}", hint=hint) from error
    if options.try_conversion:
        info = _with_conversion(info, resolved.name, opened.path, options.tag_set)
    return Inspection(resolved.name, opened.path, info, opened.received_bytes, opened.read_from)


def _with_conversion(
    info: SavedModelInfo, name: str, path: Path | None, tag_set: frozenset[str] | None
) -> SavedModelInfo:
    """The model with what LiteRT's converter makes of it, which loads and runs parts of it.

    Raises UnsafeModelError if the scan found what is `high` or worse, UsageError for a model that isn't
    on the disk as a whole, TensorFlowError.
    """
    from hubcli.savedmodel.targets.target import TargetKind

    if path is None:
        raise UsageError(
            f"--try requires an unpacked model, which {name} is not",
            hint=f"Fetch it: hubcli inspect --fetch --for litert --try {name}, or unpack the archive",
        )
    # Imported here: it takes what converts models, which nothing else of an inspection needs.
    from hubcli.exporting.conversion_job import try_conversion

    conversion = try_conversion(name, path, tag_set)
    reports = (
        report.with_conversion(conversion) if report.target.kind is TargetKind.LITERT else report
        for report in info.compatibility or ()
    )
    return info._replace(compatibility=tuple(reports))


class _Opened(NamedTuple):
    files: ModelFiles
    path: Path | None
    received_bytes: int | None = None
    read_from: str = "the archive"


@contextmanager
def _opened(
    target: ModelRef, settings: Settings, options: InspectOptions, listener: ProgressListener
) -> Iterator[_Opened]:
    """The target's files, for as long as the context lasts."""
    directory = target.directory
    if directory is None and options.fetch and target.handle is not None:
        from hubcli.commands.fetch import fetched_directory

        directory = fetched_directory(target, settings, listener)
    if directory is not None:
        if target.entry is not None:
            target.entry.touch()
        yield _Opened(_files_of(directory), directory)
        return
    assert target.handle is not None
    if settings.offline and target.handle.is_remote:
        raise OfflineError.of_missing(target.name, "inspect")
    # Imported here: what is cached needs no archives and no sources, which take 40 ms to load.
    from hubcli.fetching.peek import peek

    with peek(target.handle, settings, listener, graph_alone=options.graph_alone) as found:
        read_from = "the directory" if found.is_directory else "the archive"
        yield _Opened(found.files, None, found.received_bytes, read_from)


def _files_of(directory: Path) -> ModelFiles:
    try:
        return ModelFiles.of_directory(directory)
    except OSError as error:
        raise NotFoundError(
            f"Cannot read {error.filename or directory}: {error.strerror}", hint="Check its permissions."
        ) from error
