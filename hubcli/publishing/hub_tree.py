"""Publishes a model as `<publisher>/<model>/<version>` in a directory or a bucket that a web server serves.

An archive appears atomically. A version is immutable: its name is taken once, by a hard
link in a directory and by a claim beside it in a bucket, and a publisher of other bytes is refused.
"""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hubcli.archive import FileRecord
from hubcli.archive.pack import PackedArchive, pack
from hubcli.archive.tree import Tree, hashed_files
from hubcli.archive.unpack import require_room
from hubcli.config.settings import Settings
from hubcli.errors import DiskFullError, HandleError, IntegrityError, OutputError, UsageError, means_full
from hubcli.exporting.destination import SEGMENT, VERSION, require_free
from hubcli.exporting.hub_index import (
    INDEX_FILE,
    MAX_INDEX_BYTES,
    IndexEntry,
    add_to_index,
    add_to_stored_index,
    parse_index,
    publish_newest,
)
from hubcli.exporting.staging import Staging, remove_leftovers_of
from hubcli.fetching.sources import unpacked_archive
from hubcli.net.object_store import ObjectStore
from hubcli.progress import ProgressListener
from hubcli.providers import BUCKETS
from hubcli.providers.handle import Handle
from hubcli.providers.kaggle import KaggleModel
from hubcli.publishing.kaggle_creation import VersionExistsError, differences
from hubcli.publishing.upload_files import require_unchanged
from hubcli.regular_file import file_sha256, read_regular

__all__ = ["HubPlace", "TreeUpload", "open_tree", "parse_target"]

_LOCAL = ("/", "./", "../", "~/", "file://")
_SCHEMES = tuple(f"{scheme}://" for scheme in BUCKETS)
_REMOTE = re.compile(rf"(?:{'|'.join(_SCHEMES)})[^/]")
_MAX_CLAIM_BYTES = 4096


@dataclass(frozen=True, slots=True)
class HubPlace:
    """The place of a version: the `root` of the tree, a path or address in a bucket, and its name there."""

    root: str
    name: str
    version: str

    @classmethod
    def parse(cls, text: str) -> HubPlace:
        """The place that `ROOT/publisher/model/version` names. Raises UsageError."""
        parts = text.rstrip("/").split("/")
        if (
            len(parts) < 4
            or not VERSION.fullmatch(parts[-1])
            or not all(map(SEGMENT.fullmatch, parts[-3:-1]))
        ):
            raise UsageError(
                f"Invalid destination '{text}'",
                hint="Use DIR/PUBLISHER/MODEL/VERSION, such as ./www/google/mul/1 or s3://bucket/google/mul/1.",
            )
        root = "/".join(parts[:-3])
        if text.startswith(_SCHEMES) and not _REMOTE.match(root):
            raise UsageError(
                f"'{text}' is missing the bucket", hint="Use s3://BUCKET/PUBLISHER/MODEL/VERSION."
            )
        return cls(root or "/", "/".join(parts[-3:-1]), parts[-1])

    @property
    def is_remote(self) -> bool:
        """Whether the tree is in a bucket."""
        return _REMOTE.match(self.root) is not None

    @property
    def key(self) -> str:
        """Where the archive is in the tree."""
        return f"{self.name}/{self.version}"

    @property
    def address(self) -> str:
        """The whole place, as it is printed."""
        return f"{self.root.rstrip('/')}/{self.key}"


def parse_target(text: str, framework: str | None) -> HubPlace | KaggleModel:
    """Where to publish. Raises UsageError, HandleError."""
    if text.startswith((*_LOCAL, *_SCHEMES)):
        if framework is not None:
            raise UsageError("--framework cannot be used without Kaggle", hint="Remove --framework.")
        if text.startswith("file://"):  # As of a source: escapes are undone, another machine is refused.
            text = str(Handle.parse(text).path)
        return HubPlace.parse(text)
    parts = text.strip("/").split("/")
    if framework is not None and "://" not in text:
        has_version = len(parts) == 4 and parts[3].isdecimal() and parts[2].lower() != framework.lower()
        if len(parts) == 3 or has_version:
            parts.insert(2, framework)
    try:
        model = KaggleModel.of(Handle.parse("/".join(parts) if "://" not in text else text))
    except HandleError as error:
        if len(parts) not in (4, 5):  # Else its own hint says which of the parts is wrong.
            error.hint = "Use OWNER/MODEL/FRAMEWORK/VARIATION on Kaggle, or ./DIR/PUBLISHER/MODEL/VERSION."
        raise
    if model is None:
        raise UsageError(
            f"Cannot publish to {text}: not Kaggle, a directory or a bucket",
            hint="For a host of your own, publish to its directory: ./DIR/PUBLISHER/MODEL/VERSION",
        )
    if framework is not None and framework.lower() != model.framework.lower():
        raise UsageError(
            f"Framework mismatch: {text} and --framework {framework}", hint="Remove one of them."
        )
    return model


class TreeUpload:
    """The upload of one version: `existing` compares, `publish` writes. Both raise VersionExistsError."""

    def __init__(self, place: HubPlace, tree: Tree, settings: Settings, listener: ProgressListener) -> None:
        self.place = place
        self.tree = tree
        self.settings = settings
        self.listener = listener
        self.license_name: str | None = None
        self.title: str | None = None

    def existing(self) -> PackedArchive | None:
        """The archive that is there already, if its files are the same; else None."""
        raise NotImplementedError

    def publish(self) -> PackedArchive:
        """Writes the archive, then the index; what is there already with the same files stays."""
        raise NotImplementedError

    def add_to_index(self, packed: PackedArchive) -> None:
        """Has the index name the version, which a run that was cut may have left out."""
        raise NotImplementedError

    def _require_same(self, found: tuple[FileRecord, ...]) -> None:
        difference = differences(hashed_files(self.tree.top), found)
        if difference:
            raise VersionExistsError(
                f"{self.place.address} exists with other files ({difference})",
                hint="Publish the next version: versions are immutable.",
            )

    def _compared(self, archive: Path) -> PackedArchive:
        """The archive, if it has the same files. Raises VersionExistsError."""
        try:
            with unpacked_archive(archive, self.settings, ProgressListener()) as folder:
                self._require_same(hashed_files(folder))
        except IntegrityError as error:
            raise VersionExistsError(
                f"{self.place.address} exists, and is not a valid archive: {error.message}",
                hint="Publish it under the next version, or remove that archive.",
            ) from error
        return PackedArchive(archive.stat().st_size, file_sha256(archive))

    def _entry(self, packed: PackedArchive) -> IndexEntry:
        return IndexEntry(
            name=self.place.name,
            version=self.place.version,
            archive_bytes=packed.size_bytes,
            model_bytes=self.tree.size_bytes,
            sha256=packed.sha256,
            published_s=time.time(),
            title=self.title,
            license=self.license_name,
        )


class _DirectoryUpload(TreeUpload):
    """Into a directory of this machine."""

    def __init__(self, place: HubPlace, tree: Tree, settings: Settings, listener: ProgressListener) -> None:
        super().__init__(place, tree, settings, listener)
        # Links are kept: behind one to another disk, the directories above are not those of the tree.
        self.root = Path(place.root).expanduser().absolute()
        self.path = self.root / place.key
        # Not in the cache, nor in the model; what is there already is compared, and never replaced.
        require_free(self.path, cache_root=settings.cache_root, force=True, source=tree.top)

    def existing(self) -> PackedArchive | None:
        if not os.path.lexists(self.path):
            return None
        if not self.path.is_file():
            raise OutputError(f"{self.path} is not an archive", hint="Remove it, or publish another version.")
        return self._compared(self.path)

    def publish(self) -> PackedArchive:
        try:
            return self._write()
        except OSError as error:
            kind = DiskFullError if means_full(error) else OutputError
            raise kind(
                f"Cannot write {self.path}: {error.strerror or error}",
                hint=f"Check the permissions of {self.path.parent}, or use another directory.",
            ) from error

    def _write(self) -> PackedArchive:
        durability = self.settings.durability
        remove_leftovers_of(self.path)
        with Staging(self.path) as staging:
            try:
                staging.make()
                staged = staging.path / "new"
                packed = pack(self.tree, staged, on_bytes=self.listener.received, durability=durability)
                durability.path(staged)
                require_unchanged(self.tree)
                _take_name(staged, self.path)
                durability.directory(self.path.parent)
            except FileExistsError:  # Another process was first.
                packed = self.existing() or packed
            finally:
                staging.remove()
        self.add_to_index(packed)
        return packed

    def add_to_index(self, packed: PackedArchive) -> None:
        entry = self._entry(packed)
        problems = [publish_newest(self.path.parent)]
        try:
            known = parse_index(read_regular(self.root / INDEX_FILE, MAX_INDEX_BYTES + 1), INDEX_FILE)
        except (OSError, IntegrityError):
            known = ()
        if not _is_listed(entry, known):
            problems.append(add_to_index(self.root, entry, self.settings.durability))
        for problem in filter(None, problems):
            self.listener.note(problem)


def _is_listed(entry: IndexEntry, known: tuple[IndexEntry, ...]) -> bool:
    return any((item.path, item.sha256) == (entry.path, entry.sha256) for item in known)


def _take_name(staged: Path, place: Path) -> None:
    """Gives the file its name, unless something has it: then FileExistsError."""
    try:
        os.link(staged, place)
    except FileExistsError:
        raise
    except OSError:  # A file system without hard links.
        with _locked(place.parent):
            if os.path.lexists(place):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place)) from None
            staged.rename(place)  # On Windows it never replaces.


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds a lock of the directory, where the system has such; readers and a crash see no half of a file."""
    try:
        from fcntl import LOCK_EX, flock
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            flock(descriptor, LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class _StoreUpload(TreeUpload):
    """Into a bucket, or what else keeps objects.

    The claim beside the archive says which bytes the version has: it is created once, before the archive is
    written, so that two publishers can't write one version. A publisher that was killed finds its own claim.
    """

    def __init__(
        self, place: HubPlace, tree: Tree, settings: Settings, listener: ProgressListener, store: ObjectStore
    ) -> None:
        super().__init__(place, tree, settings, listener)
        self.store = store
        self.claim_key = f"{place.name}/.{place.version}.hubcli.json"

    def existing(self) -> PackedArchive | None:
        found = self.store.head(self.place.key)
        if found is None:
            return None
        with self._temporary_archive() as archive:
            require_room(
                archive.parent,
                found.size_bytes,
                self.place.address,
                "set TMPDIR to a directory on another disk",
            )
            with self.store.open(self.place.key) as source, self._disk_errors(), archive.open("wb") as file:
                for block in source.read():
                    file.write(block)
            return self._compared(archive)

    def publish(self) -> PackedArchive:
        self.store.require_conditional_writes()
        with self._temporary_archive() as archive:
            with self._disk_errors():
                packed = pack(self.tree, archive)
            require_unchanged(self.tree)
            self._claim(packed)
            found = self.existing()
            if found is None:
                self.store.upload(self.place.key, archive, self.listener.received)
        self.add_to_index(found or packed)
        return found or packed

    @contextmanager
    def _temporary_archive(self) -> Iterator[Path]:
        """A path for the archive, in a directory that is removed at the end. Raises OutputError."""
        with self._disk_errors():
            temporary = tempfile.TemporaryDirectory(prefix="hubcli-", ignore_cleanup_errors=True)
        with temporary as folder:
            yield Path(folder, "archive.tar.gz")

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Turns errors of the disk with temporary files into ours."""
        try:
            yield
        except OSError as error:
            kind = DiskFullError if means_full(error) else OutputError
            raise kind(
                f"Cannot write the archive of {self.place.address} in a temporary directory: "
                f"{error.strerror or error}",
                hint="Use a directory with enough space: TMPDIR=DIR hubcli publish …",
            ) from error

    def _claim(self, packed: PackedArchive) -> None:
        """Takes the version for these bytes. Raises VersionExistsError if others have it."""
        claim = json.dumps({"schema": 1, "sha256": packed.sha256}).encode()
        if self.store.create(self.claim_key, claim):
            return
        found = self.store.read(self.claim_key, _MAX_CLAIM_BYTES)
        if found is None or found[0] != claim:
            raise VersionExistsError(
                f"{self.place.address} is reserved for other files by {self.claim_key}",
                hint="Publish the next version, or remove that object if no archive is there.",
            )

    def add_to_index(self, packed: PackedArchive) -> None:
        """By compare and swap. Somebody else's `index.json` stays, as in a directory."""
        try:
            add_to_stored_index(self.store, "", [self._entry(packed)])
        except IntegrityError as error:
            self.listener.note(
                f"{error.message}: it was kept, and hubcli search --host will not find {self.place.key}"
            )


@contextmanager
def open_tree(
    place: HubPlace, tree: Tree, settings: Settings, listener: ProgressListener
) -> Iterator[TreeUpload]:
    """The upload to that place. Raises what opening a bucket does."""
    if not place.is_remote:
        yield _DirectoryUpload(place, tree, settings, listener)
        return
    from hubcli.net.bucket_store import open_store  # A directory needs no bucket.

    yield _StoreUpload(place, tree, settings, listener, open_store(place.root, settings, listener.retrying))
