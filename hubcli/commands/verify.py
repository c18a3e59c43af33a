"""`verify`: whether models are intact, file by file and tensor by tensor."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from hubcli.archive import FileRecord
from hubcli.cache.cached_model import CachedModel
from hubcli.cache.layout import EntryPaths
from hubcli.cache.records import Manifest
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, IntegrityError, NotFoundError, OfflineError
from hubcli.fetching.model_ref import ModelRef, naming_target
from hubcli.formats.tensor_values import keep_freed_memory
from hubcli.issues import Issue
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.savedmodel.checks.integrity import Integrity, ModelCheck

__all__ = ["Verification", "VerifyOptions", "verify"]


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """`quick` checks tensors, not the SHA-256 of their shards; `repair` fetches corrupt models again."""

    quick: bool = False
    repair: bool = False


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found in one model. `name` is its handle, or its path where it has none.

    `faults` are those that are left, or with `was_repaired` those that were
    repaired. `error` is why the repair failed. `size_bytes` is how much was
    compared with a checksum or a hash.
    """

    name: str
    handle: str | None
    path: Path
    faults: tuple[Issue, ...]
    file_count: int
    tensor_count: int
    size_bytes: int
    seconds: float
    notes: tuple[str, ...] = ()
    was_repaired: bool = False
    error: HubcliError | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is corrupt, or all of it was repaired."""
        return self.was_repaired or not self.faults


def verify(
    target: ModelRef | str,
    settings: Settings | None = None,
    options: VerifyOptions | None = None,
    listener: ProgressListener | None = None,
) -> Verification:
    """Checks one model: a handle that is cached, a directory or an archive.

    Reads every byte, and changes nothing unless `options.repair`. Raises
    HandleError, NotFoundError for what isn't cached or isn't there, CacheError;
    corruption of a model is not an exception, but in the result.
    """
    settings = settings or Settings.read()
    options = options or VerifyOptions()
    verb = _Verify(settings, options, listener or ProgressListener())
    target = ModelRef.resolve(target, settings) if isinstance(target, str) else target
    with naming_target(target, settings):
        found = verb.run(target)
    return verb.repair(found) if options.repair and not found.is_whole else found


class _Verify:
    """One run of the verb."""

    def __init__(self, settings: Settings, options: VerifyOptions, listener: ProgressListener) -> None:
        self.settings = settings
        self.options = options
        self.listener = listener
        self.started_at = time.monotonic()

    def run(self, target: ModelRef) -> Verification:
        if target.archive is not None:
            return self._result(target.name, None, target.archive, self._check_archive(target.archive))
        if target.directory is None:
            raise NotFoundError(f"Not in the cache: {target.name}", hint=f"Run: hubcli fetch {target.name}")
        entry = target.entry or CachedModel.at(target.directory, self.settings.cache_root)
        if entry is None:
            found = self._check(target.name, target.directory, ())
            return self._result(target.name, None, target.directory, found)
        return self._check_entry(target.name, entry)

    def repair(self, broken: Verification) -> Verification:
        """The result after the model was fetched again; as it was, with the reason, where that failed."""
        from hubcli.commands.fetch import FetchOptions, fetch  # A check alone fetches nothing.

        if broken.handle is None:
            self.listener.note(f"{broken.name} cannot be repaired: its source is unknown")
            return broken
        try:
            handle = Handle.parse(broken.handle)
            if self.settings.offline and handle.is_remote:
                raise OfflineError(
                    f"{handle} is corrupt, and --offline is set",
                    hint=f"Run without --offline: hubcli verify --repair {handle}",
                )
            path = fetch(handle, self.settings, FetchOptions(force=True), self.listener).path
            again = self._check_entry(
                broken.name, CachedModel.read(EntryPaths(self.settings.cache_root, path.name))
            )
        except HubcliError as error:
            return replace(broken, error=error)
        return replace(again, faults=broken.faults, was_repaired=True) if again.is_whole else again

    def _result(self, name: str, handle: str | None, path: Path, found: Integrity) -> Verification:
        return Verification(
            name=name,
            handle=handle,
            path=path,
            faults=found.faults,
            file_count=found.file_count,
            tensor_count=found.tensor_count,
            size_bytes=found.size_bytes,
            seconds=time.monotonic() - self.started_at,
            notes=found.notes,
        )

    def _check(self, name: str, directory: Path, records: tuple[FileRecord, ...]) -> Integrity:
        quick = self.options.quick
        check = ModelCheck(directory, records, quick=quick, definitions=not quick)
        self.listener.started(name, str(directory), check.size_bytes)
        keep_freed_memory()  # Of the pieces; a fetch of several models at a time would keep too much.
        return check.run(self.listener.received)

    def _check_entry(self, name: str, entry: CachedModel) -> Verification:
        """No lock is held: an entry that another process replaced meanwhile is checked once more."""
        for _ in range(2):
            before = _stamp(entry)
            manifest = before[-1]
            found = self._check(name, entry.path, manifest.files if manifest is not None else ())
            if before == _stamp(entry):
                break
        if not entry.path.is_dir():
            raise NotFoundError(
                f"{name} was removed from the cache during verification", hint="See: hubcli ls"
            )
        return self._result(name, entry.handle, entry.path, found)

    def _check_archive(self, archive: Path) -> Integrity:
        # Imported here: without an archive no unpacker is needed, and start-up is half of a short check.
        from hubcli.fetching.sources import unpacked_archive

        try:
            with unpacked_archive(archive, self.settings, self.listener) as folder:
                return self._check(str(archive), folder, ())
        except IntegrityError as error:
            return Integrity((Issue.of_file(error.code, error.message),), 0, 0, 0)


def _stamp(entry: CachedModel) -> tuple[int, int, Manifest | None]:
    """What changes when an entry is replaced: which directory it is, and its record."""
    try:
        status = entry.path.stat()
    except OSError:
        return 0, 0, None
    return status.st_dev, status.st_ino, CachedModel.read(entry.paths).manifest
