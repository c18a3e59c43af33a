"""`fetch`: a model into the cache, whole or not at all."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hubcli.archive.limits import Limits
from hubcli.archive.members import FileRecord
from hubcli.archive.unpack import lift_wrapping_folder, require_room
from hubcli.cache.disk import file_sizes
from hubcli.cache.entry import Entry
from hubcli.cache.lock import LockOwner
from hubcli.cache.manifest import Manifest
from hubcli.cache.store import Staging, Store
from hubcli.commands.listener import Listener
from hubcli.commands.sources import Source, open_source, unreadable_bucket
from hubcli.errors import (
    BrokenModelError,
    ChecksumError,
    LockLostError,
    NotFoundError,
    OfflineError,
    UsageError,
)
from hubcli.handle import Handle, HandleKind
from hubcli.savedmodel.integrity import ModelCheck
from hubcli.savedmodel.structure import check_structure
from hubcli.settings import Settings

__all__ = ["FetchOptions", "FetchResult", "fetch"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_LOST_LOCKS = 3


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """What the caller asks for beyond the handle.

    `local` is an archive, a directory, or `-` for standard input, to be put
    under the handle; `sha256` is the hash that the archive must have, in hex.
    """

    local: str | None = None
    sha256: str | None = None
    force: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.local == "":
            raise UsageError(
                "--from is empty", hint="Name an archive or a directory, or - for standard input."
            )
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise UsageError(f"'{self.sha256}' is no SHA-256", hint="It has 64 digits, 0-9 and a-f.")


@dataclass(frozen=True, slots=True)
class FetchResult:
    """A model that is in the cache now. `size_bytes` is what its files take, unpacked."""

    handle: str
    path: Path
    source: str | None
    size_bytes: int
    file_count: int
    archive_sha256: str | None
    seconds: float
    was_cached: bool


def fetch(
    handle: Handle | str,
    settings: Settings | None = None,
    options: FetchOptions | None = None,
    listener: Listener | None = None,
) -> FetchResult:
    """Makes sure that the model is in the cache, where `hub.load` finds it, and says where.

    A local directory is its own place. Raises HubcliError of the class that
    fits: HandleError, NotFoundError, NetworkError, IntegrityError, CacheError.
    """
    parsed = Handle.parse(handle) if isinstance(handle, str) else handle
    verb = _Fetch(parsed, settings or Settings.read(), options or FetchOptions(), listener or Listener())
    return verb.run()


class _Fetch:
    """One run of the verb."""

    def __init__(self, handle: Handle, settings: Settings, options: FetchOptions, listener: Listener) -> None:
        self.handle = handle
        self.settings = settings
        self.options = options
        self.listener = listener
        self.store = Store(settings.cache_root)
        self.started_at = time.monotonic()

    def run(self) -> FetchResult:
        if self.handle.kind is HandleKind.PATH:
            return self._local()
        entry = None if self.options.force else self._hit()
        if entry is not None:
            if self.options.local is not None:
                self.listener.note(
                    f"{self.handle} is cached already; --force puts {self.options.local} there"
                )
            return self._finish(entry, was_cached=True)
        self._require_source()
        for _ in range(_MAX_LOST_LOCKS):
            with suppress(LockLostError):
                return self._fetch_under_lock()
        return self._fetch_under_lock()

    def _require_source(self) -> None:
        """Raises what can be known before the cache is touched."""
        local = self.options.local
        if local is None and self.handle.kind is HandleKind.GCS:
            raise unreadable_bucket(self.handle)
        if local is None and self.settings.offline and self.handle.is_remote:
            raise OfflineError(
                f"{self.handle} is not in the cache, and --offline forbids to fetch it",
                hint=f"Without it: hubcli fetch {self.handle}",
            )
        if local not in (None, "-") and _lies_within(self.store.root, str(local)):
            raise UsageError(
                f"The cache {self.store.root} lies within {local}", hint="Name the model's own directory."
            )

    def _fetch_under_lock(self) -> FetchResult:
        with self.store.locked(
            self.handle, timeout_s=self.settings.lock_timeout_s, on_wait=self._waiting
        ) as lock:
            # Another process may have fetched it while this one waited.
            entry = None if self.options.force else self._hit(quiet=True)
            was_cached = entry is not None
            if entry is None:
                with self.store.staged(lock, self.handle) as staging:
                    entry = self._stage_and_publish(staging)
        return self._finish(entry, was_cached=was_cached)

    def _local(self) -> FetchResult:
        path = self.handle.path
        assert path is not None
        if self.options.local is not None:
            raise UsageError(
                f"--from can't put anything under {self.handle}, which is a directory of its own",
                hint="Give the handle under which hub.load will ask for it.",
            )
        try:
            if not path.is_dir():
                raise NotFoundError(f"{path} doesn't exist", hint="Check the path.")
        except OSError as error:
            raise NotFoundError(
                f"{path} can't be opened: {error.strerror}", hint="Check its mode."
            ) from error
        try:
            check_structure(path)
        except BrokenModelError as error:
            raise BrokenModelError(f"{path}: {error.message}", hint=error.hint) from error
        sizes = file_sizes(path)
        return FetchResult(
            str(path), path, None, sum(sizes.values()), len(sizes), None, self._seconds(), was_cached=True
        )

    def _hit(self, *, quiet: bool = False) -> Entry | None:
        """The entry, if it is whole and still what the handle names."""
        entry = self.store.find(self.handle)
        if entry is None or self._archive_changed(entry):
            return None
        problem = _problem(entry)
        if problem is not None:
            if not quiet:
                self.listener.note(
                    f"The cached copy of {self.handle} is broken ({problem}): fetching it anew"
                )
            return None
        if entry.manifest is None:
            entry = self.store.adopt(entry, self._manifest_of_adopted(entry))
        self._check_promised_hash(entry)
        entry.touch()
        return entry

    def _archive_changed(self, entry: Entry) -> bool:
        """Whether a local archive was changed since it was unpacked into the entry."""
        path, manifest = self.handle.path, entry.manifest
        if path is None or manifest is None or not path.is_file():
            return False
        stat = path.stat()
        return stat.st_size != manifest.archive_bytes or stat.st_mtime > manifest.fetched_at_s

    def _check_promised_hash(self, entry: Entry) -> None:
        promised = self.options.sha256
        known = entry.manifest.archive_sha256 if entry.manifest is not None else None
        if promised is None or promised == known:
            return
        what = "of an archive with another SHA-256" if known else "without a record of its archive's SHA-256"
        raise ChecksumError(
            f"The cached copy of {self.handle} is {what}" + (f": {known}" if known else ""),
            hint=f"To fetch it again: hubcli fetch --force --sha256 {promised} {self.handle}",
        )

    def _manifest_of_adopted(self, entry: Entry) -> Manifest:
        """A manifest with what the files of another tool's entry tell: no hashes."""
        fetched_at_s = entry.fetched_at_s() or time.time()
        sizes = sorted(file_sizes(entry.path).items())
        return Manifest(
            handle=str(self.handle),
            aliases=self.handle.aliases,
            source="tensorflow_hub",
            kind=check_structure(entry.path).value,
            files=tuple(FileRecord(path, size, None) for path, size in sizes),
            fetched_at_s=fetched_at_s,
            last_used_at_s=fetched_at_s,
        )

    def _waiting(self, owner: LockOwner | None) -> None:
        self.listener.waiting(str(self.handle), str(owner) if owner else "an unknown process")

    def _stage_and_publish(self, staging: Staging) -> Entry:
        with open_source(self.handle, self.settings, self.options.local) as source:
            self.listener.started(str(self.handle), source.name, source.size_bytes)
            if source.size_bytes is not None:
                require_room(staging.path, source.size_bytes, source.name)
            try:
                files = source.unpack_into(
                    staging.path,
                    self.options.limits,
                    on_received=self.listener.received,
                    on_unpacked=self.listener.unpacked,
                )
            except FileNotFoundError as error:
                raise LockLostError(f"Another process took over {self.handle}") from error
            manifest = self._checked(source, staging.path, files)
        return staging.publish(manifest)

    def _checked(self, source: Source, staged: Path, files: tuple[FileRecord, ...]) -> Manifest:
        """The manifest of what was staged, once it has passed every check."""
        promised = self.options.sha256
        if promised is not None and promised != source.archive_sha256:
            raise ChecksumError(
                f"{source.name} has the SHA-256 {source.archive_sha256 or '(none)'}, not {promised}",
                hint="Somebody changed the archive, or the promised hash is of another one.",
            )
        wrapping, files = lift_wrapping_folder(staged, files)
        if wrapping is not None:
            self.listener.note(f"The archive wraps its content in one folder, '{wrapping}': taken off")
        try:
            kind = check_structure(staged)
            self._check_content(staged)
        except BrokenModelError as error:
            raise BrokenModelError(f"{source.name}: {error.message}", hint=error.hint) from error
        now_s = time.time()
        return Manifest(
            handle=str(self.handle),
            aliases=self.handle.aliases,
            source=source.name,
            kind=kind.value,
            files=files,
            fetched_at_s=now_s,
            last_used_at_s=now_s,
            etag=source.etag,
            archive_sha256=source.archive_sha256,
            archive_bytes=source.archive_bytes,
        )

    def _check_content(self, staged: Path) -> None:
        """Every tensor against its checksum; assets that lead out are refused, missing ones are said."""
        for fault in ModelCheck(staged).run().faults:
            if fault.code == "missing":
                self.listener.note(f"{self.handle} is not whole: {fault}")
            else:
                raise BrokenModelError(str(fault))

    def _finish(self, entry: Entry, *, was_cached: bool) -> FetchResult:
        if not self.store.link_aliases(self.handle, entry) and not was_cached:
            self.listener.note(
                "No links can be made here: hub.load finds the model under "
                f"{self.handle} alone, not under its other spellings"
            )
        manifest = entry.manifest
        if manifest is not None:
            sizes = [file.size_bytes for file in manifest.files]
        else:
            sizes = list(file_sizes(entry.path).values())
        return FetchResult(
            handle=str(self.handle),
            path=entry.path,
            source=manifest.source if manifest is not None else None,
            size_bytes=sum(sizes),
            file_count=len(sizes),
            archive_sha256=manifest.archive_sha256 if manifest is not None else None,
            seconds=self._seconds(),
            was_cached=was_cached,
        )

    def _seconds(self) -> float:
        return time.monotonic() - self.started_at


def _lies_within(root: Path, local: str) -> bool:
    try:
        return root.resolve().is_relative_to(Path(local).expanduser().resolve())
    except (OSError, RuntimeError):
        return False


def _problem(entry: Entry) -> str | None:
    """Why the entry can't be used, or None where it can."""
    if entry.manifest is not None:
        return entry.difference()
    try:
        check_structure(entry.path)
    except BrokenModelError as error:
        return error.message
    return None
