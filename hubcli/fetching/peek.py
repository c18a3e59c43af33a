"""What a fetch would do, found out without one: nothing stays on the disk, not even the cache's root.

A dry run tells what would be fetched, and its size; a peek reads an archive as far as the structure of a
model needs it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import BinaryIO

from hubcli.archive import Limits, Member, MemberStream
from hubcli.archive.unpack import MemberCheck, require_room
from hubcli.cache.disk_usage import directory_size_bytes
from hubcli.cache.store import Store
from hubcli.config.settings import Settings
from hubcli.errors import (
    AuthenticationError,
    BrokenModelError,
    NotFoundError,
)
from hubcli.fetching.byte_sources import Transfer, size_of
from hubcli.fetching.cached import archive_changed, local_directory, problem_of
from hubcli.fetching.model_ref import archive_address, latest_of, naming
from hubcli.fetching.options import FetchOptions
from hubcli.fetching.sources import OnBytes, members_of, open_source, require_source, temporary_disk_error
from hubcli.fetching.tiers import Tier, TierTurn
from hubcli.formats import INDEX_FILE, MAIN_FILES
from hubcli.net.byte_source import ByteSource
from hubcli.net.retries import RetryPolicy
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.savedmodel.model import ModelFiles

__all__ = ["DryRun", "Peek", "PlannedAction", "dry_run", "peek"]

_SMALL_FILES = ("tfhub_module.pb", "keras_metadata.pb", "fingerprint.pb")
_MAX_TOPS = 100
_WAY_OUT = "set TMPDIR to a directory on another disk"
_TOO_LARGE = "If you trust it, fetch it: hubcli fetch HANDLE --max-unpacked SIZE"
# Until then one connection is enough: others would download bytes that are never read.
_AT_THE_START_BYTES = 16 << 20
_NEEDED_FILES = frozenset({*MAIN_FILES, *_SMALL_FILES, INDEX_FILE})


@dataclass(frozen=True, slots=True)
class Peek:
    """The files that were taken out, of an archive or a directory, and how many bytes came for them."""

    files: ModelFiles
    received_bytes: int
    is_directory: bool = False


@contextmanager
def peek(
    handle: Handle, settings: Settings, listener: ProgressListener, *, graph_alone: bool = False
) -> Iterator[Peek]:
    """Streams the handle's archive until saved_model.pb and variables.index have been read.

    With `graph_alone` it ends behind saved_model.pb, and the small files that follow it. Of a large
    archive in which they come late the rest is fetched as by `fetch`, over several connections.

    The files live as long as the context. Raises what `open_source` does, and
    BrokenModelError where the archive ends without a model; DiskFullError and CacheError of temporary files.
    """
    received = 0

    def on_received(size_bytes: int) -> None:
        nonlocal received
        received += size_bytes
        listener.received(size_bytes)

    retries = RetryPolicy.of(settings, settings.retries, listener.retrying)
    with _disk_errors():
        temporary = tempfile.TemporaryDirectory(prefix="hubcli-", ignore_cleanup_errors=True)
    with (
        temporary as folder,
        open_source(
            handle,
            settings,
            None,
            Transfer(
                retries,
                connections=settings.connections,
                spool=Path(folder) / "spool",
                spool_after_bytes=_AT_THE_START_BYTES,
            ),
        ) as source,
    ):
        if source.files:
            files = _take_by_range(source, Path(folder), retries, on_received, graph_alone=graph_alone)
        else:
            listener.started(str(handle), source.name, source.size_bytes)
            with members_of(source, Limits(), on_received) as members:
                files = _take(members, Path(folder), source.name, graph_alone=graph_alone)
        yield Peek(files, received, bool(source.files))


def _take_by_range(
    source: ByteSource, folder: Path, retries: RetryPolicy, on_received: OnBytes, *, graph_alone: bool
) -> ModelFiles:
    """The needed files of a source that knows the byte range of each: nothing else is requested."""
    sizes = {path: end - start for path, (start, end) in source.files.items()}
    needed = [path for path in sizes if path in _NEEDED_FILES and not (graph_alone and path == INDEX_FILE)]
    require_room(folder, sum(sizes[path] for path in needed), source.name, _WAY_OUT)
    check = MemberCheck(Limits(), _TOO_LARGE)
    for path in needed:
        check.accept(Member(path, False, sizes[path]), iter(()))
        retries.until_done(partial(_copy_range, source, path, folder / "model" / path))
        on_received(sizes[path])
    return ModelFiles(folder / "model", sizes, True)


def _copy_range(source: ByteSource, path: str, target: Path) -> None:
    start, end = source.files[path]
    with _disk_errors(), source.range(start, end) as blocks, _new_file(target) as file:
        for block in blocks:
            file.write(block)


def _take(members: MemberStream, folder: Path, name: str, *, graph_alone: bool) -> ModelFiles:
    """Writes the needed files below the folder, until the last of them is there.

    A model at the top of the archive counts before one in a folder, and
    saved_model.pb before its other forms, as when the archive is unpacked.
    """
    check, sizes, is_complete = MemberCheck(Limits(), _TOO_LARGE), dict[str, int](), True
    tops: dict[str, Path] = {}  # where the files of the top and of each folder are put
    for member, pieces in members:
        segments = check.accept(member, pieces)
        if member.is_directory or segments is None:
            continue
        path = "/".join(segments)
        sizes[path] = member.size_bytes
        inner = _needed_part(segments)
        if graph_alone and inner not in _SMALL_FILES and _has_graph(tops):
            is_complete = False
            break
        if inner is None or len(tops) > _MAX_TOPS:
            _drain(pieces, digest := hashlib.sha256())
            check.note(path, member.size_bytes, digest.hexdigest())
            continue
        require_room(folder, member.size_bytes, name, _WAY_OUT)
        top = tops.setdefault(path.removesuffix(inner), folder / str(len(tops)))
        _write(top / inner, pieces, digest := hashlib.sha256())
        check.note(path, member.size_bytes, digest.hexdigest())
        if (top / MAIN_FILES[0]).is_file() and (top / INDEX_FILE).is_file():
            is_complete = False
            break
    prefixes = sorted(
        prefix for prefix, top in tops.items() if any((top / name).is_file() for name in MAIN_FILES)
    )
    if not prefixes:
        raise BrokenModelError(
            f"{name}: neither {MAIN_FILES[0]} nor {MAIN_FILES[1]} is in the archive",
            hint="Pack saved_model.pb at the root of the archive, or in one top folder.",
        )
    prefix = prefixes[0]
    known = {path.removeprefix(prefix): size for path, size in sizes.items() if path.startswith(prefix)}
    return ModelFiles(tops[prefix], known, is_complete)


def _has_graph(tops: Mapping[str, Path]) -> bool:
    return any((top / MAIN_FILES[0]).is_file() for top in tops.values())


def _write(target: Path, pieces: Iterator[memoryview], digest: hashlib._Hash) -> None:
    with _disk_errors(), _new_file(target) as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)


def _new_file(target: Path) -> BinaryIO:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.open("wb")


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turns errors of the disk with temporary files into ours."""
    try:
        yield
    except OSError as error:
        raise temporary_disk_error("Cannot write to a temporary directory", error) from error


def _drain(pieces: Iterator[memoryview], digest: hashlib._Hash) -> None:
    """Reads what isn't needed: a copy of it may come later, and must be the same."""
    for piece in pieces:
        digest.update(piece)


def _needed_part(segments: tuple[str, ...]) -> str | None:
    """The path within the model, at the top of the archive or in one folder; None for other files."""
    for start in (0, 1):
        inner = "/".join(segments[start:])
        if inner in _NEEDED_FILES:
            return inner
    return None


class PlannedAction(str, Enum):
    """What a fetch would do with a model."""

    CACHED = "cached"
    WOULD_FETCH = "would-fetch"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class DryRun:
    """A model that a fetch would find or bring.

    `size_bytes` is that of its files where they are here already, of the
    archive where that would come; None if the host doesn't say.
    """

    handle: str
    action: PlannedAction
    size_bytes: int | None

    @property
    def is_to_fetch(self) -> bool:
        """Whether it would come from elsewhere."""
        return self.action is PlannedAction.WOULD_FETCH


def dry_run(
    handle: Handle,
    settings: Settings,
    options: FetchOptions,
    listener: ProgressListener | None = None,
    tiers: Sequence[Tier] = (),
) -> DryRun:
    """Looks into the cache, then queries the tiers, then the host. Raises what `fetch` would."""
    listener = listener or ProgressListener()
    if handle.is_directory:
        with naming(handle, settings):  # As a fetch of it does.
            local = local_directory(handle, options, listener.received)
        return DryRun(str(handle), PlannedAction.LOCAL, local.size_bytes)
    entry = None if options.force else Store(settings.cache_root).find(handle)
    if entry is not None and not archive_changed(handle, entry) and problem_of(entry) is None:
        options.expected.check_entry(str(handle), entry, listener.received)
        manifest = entry.manifest
        size_bytes = directory_size_bytes(entry.path) if manifest is None else manifest.size_bytes
        return DryRun(str(handle), PlannedAction.CACHED, size_bytes)
    for _, model in TierTurn(tiers, handle, options, settings, listener).found():
        return DryRun(str(handle), PlannedAction.WOULD_FETCH, model.archive_bytes)
    require_source(handle, settings, options.local)
    return DryRun(str(handle), PlannedAction.WOULD_FETCH, _size_bytes(handle, settings, options, listener))


def _size_bytes(
    handle: Handle, settings: Settings, options: FetchOptions, listener: ProgressListener
) -> int | None:
    if options.local is None:
        retries = RetryPolicy.of(settings, options.completed(settings).retries, listener.retrying)
        latest = latest_of(handle, settings, retries)
        with suppress(AuthenticationError, NotFoundError):  # Perhaps the user's own account may.
            return size_of(archive_address(latest, settings), settings, retries)
        with open_source(latest, settings, None, Transfer(retries)) as source:
            return source.size_bytes
    if options.local == "-":
        return None
    with open_source(handle, settings, options.local) as source:
        return source.size_bytes
