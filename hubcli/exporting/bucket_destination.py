"""An export into a bucket: written to a temporary directory first, then uploaded, the main file last.

A bucket has no rename. An archive is one object, which appears with its last part; TensorFlow Serving and
`hub.load` know a directory by its saved_model.pb, which comes when all else is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hubcli.concurrency import run_in_threads
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, OutputError, UsageError
from hubcli.exporting import Layout
from hubcli.exporting.hub_index import (
    INDEX_FILE,
    MAX_INDEX_BYTES,
    NEWEST_FILE,
    add_to_stored_index,
    parse_index,
)
from hubcli.fetching.byte_sources import first_bytes
from hubcli.formats import MAIN_FILES
from hubcli.net.bucket_store import PART_BYTES, BucketStore
from hubcli.net.object_store import ObjectInfo
from hubcli.net.retries import RetryPolicy
from hubcli.progress import ProgressListener
from hubcli.providers.bucket import BucketAddress
from hubcli.regular_file import read_regular

if TYPE_CHECKING:
    from hubcli.commands.export import ExportOptions, ExportResult

__all__ = ["export_to_bucket"]

_AT_A_TIME = 4
# A main file up to this size is created in one request, which fails where another export came first.
_CREATED_BYTES = 64 << 20
_MAX_LISTED = 100_000
_COMPARED_BYTES = 64 << 10
_TAKEN = "Use another path, or replace it with --force."


def export_to_bucket(
    destination: str,
    settings: Settings,
    options: ExportOptions,
    listener: ProgressListener,
    write: Callable[[Path], ExportResult],
) -> ExportResult:
    """What `write` writes to a temporary directory, uploaded to the address `destination`.

    Raises OutputError for a destination that is there already, unless `options.force`; what `write` does;
    HandleError, AuthenticationError, NotFoundError, NetworkError of the bucket.
    """
    started_at = time.monotonic()
    address = BucketAddress.parse(destination)
    is_tree = options.layout is not Layout.PLAIN
    if not address.key and not is_tree:
        raise UsageError(f"{address} is a bucket, not an object in it", hint=f"Use {address}/NAME.")
    bucket = BucketStore(
        address.container, settings, RetryPolicy.of(settings, settings.retries, listener.retrying)
    )
    upload = _Upload(bucket, listener, force=options.force)
    with TemporaryDirectory(prefix="hubcli-") as folder:
        top = Path(folder).resolve() / "export"
        local = top if is_tree else top / address.key.rpartition("/")[2]
        public = str(address) if is_tree else str(address).rpartition("/")[0]
        with _naming(str(top), public):
            if not is_tree and not options.dry_run:
                upload.require_free(address.key)  # Before anything is fetched.
            result = write(local)
        if options.dry_run:
            return replace(result, destination=str(address))
        place = Path(result.destination)
        names = place.relative_to(top).parts if is_tree else ()
        key = "/".join(filter(None, (address.key, *names)))
        newest = upload.index_of(key) if options.layout is Layout.HUB else None
        upload.publish(place, key)
        if newest is not None and upload.is_newest(key):
            upload.put_index(place, newest)
        if options.layout is Layout.HUB:
            upload.list_versions(top, address.key)
        seconds = time.monotonic() - started_at
        return replace(result, destination=str(address._replace(key=key)), seconds=seconds)


@contextmanager
def _naming(path: str, public: str) -> Iterator[None]:
    """Errors name the place in the bucket in the place of the temporary one."""
    try:
        yield
    except HubcliError as error:
        error.message = error.message.replace(path, public)
        error.hint = error.hint.replace(path, public)
        raise


class _Upload:
    """Writes a file or a directory under keys of a bucket, and takes back what it wrote after an error."""

    def __init__(self, bucket: BucketStore, listener: ProgressListener, *, force: bool) -> None:
        self._bucket = bucket
        self._listener = listener
        self._force = force
        self._written: list[str] = []

    def _name(self, key: str) -> str:
        return f"{self._bucket.address}/{key}"

    def require_free(self, key: str) -> None:
        """Raises OutputError if an object, or objects below it, are there and must not be replaced."""
        if self._force:
            return
        if self._bucket.head(key) is not None:
            raise OutputError(f"{self._name(key)} already exists", hint=_TAKEN)
        if next(self._bucket.list_objects(f"{key}/"), None) is not None:
            raise OutputError(f"{self._name(key)} exists and is not empty", hint=_TAKEN)

    def publish(self, place: Path, key: str) -> None:
        """The file or directory under the key. Raises OutputError, and what the bucket does."""
        self.require_free(key)
        size_bytes = sum(file.stat().st_size for file in _files(place))
        self._listener.started(place.name, self._name(key), size_bytes)
        if place.is_file():
            self._put(place, key, PART_BYTES)
        else:
            self._publish_tree(place, key)

    def _publish_tree(self, top: Path, folder: str) -> None:
        files = {f"{folder}/{path.relative_to(top).as_posix()}": path for path in _files(top)}
        last = [f"{folder}/{name}" for name in MAIN_FILES if f"{folder}/{name}" in files]
        before = [info.key for info in self._bucket.list_objects(f"{folder}/")] if self._force else []
        # What is replaced is removed first: no reader may get a mixture of two models.
        for key in [f"{folder}/{name}" for name in MAIN_FILES if f"{folder}/{name}" in before]:
            self._bucket.delete(key)
        try:
            # Small ones first: an export that loses them to another one has not yet overwritten any of its
            # large ones, and removes none.
            large = {key for key, path in files.items() if path.stat().st_size > PART_BYTES}
            for keys in (files.keys() - large - set(last), large - set(last)):
                run_in_threads(
                    [partial(self._put, files[key], key, PART_BYTES) for key in sorted(keys)], _AT_A_TIME
                )
            for key in last:
                self._put(files[key], key, _CREATED_BYTES)
        except BaseException:
            self._take_back()
            raise
        run_in_threads([partial(self._bucket.delete, key) for key in before if key not in files], _AT_A_TIME)

    def _put(self, path: Path, key: str, limit_bytes: int) -> None:
        size_bytes = path.stat().st_size
        if self._force or size_bytes > limit_bytes:
            self._written.append(key)
            self._bucket.upload(key, path, self._listener.received)
            return
        if not self._bucket.create(key, path.read_bytes()):
            raise OutputError(f"{self._name(key)} was created by another process", hint=_TAKEN)
        self._written.append(key)
        self._listener.received(size_bytes)

    def _take_back(self) -> None:
        for key in self._written:
            with suppress(HubcliError):
                self._bucket.delete(key)

    def index_of(self, key: str) -> str | None:
        """The key of `index.html` beside the version, if the version is the newest, of which that is a copy.

        One that is not a copy of a version belongs to the user, and stays.
        """
        folder, _, version = key.rpartition("/")
        beside = self._objects_beside(folder)
        versions, index = _versions(beside), beside.get(NEWEST_FILE)
        if any(number > int(version) for number in versions):
            return None
        if index is not None and not self._is_copy(index, versions):
            self._listener.note(
                f"{self._name(folder)}/{NEWEST_FILE} was not created by hubcli and was kept: "
                "a handle without a version does not work there"
            )
            return None
        return f"{folder}/{NEWEST_FILE}"

    def is_newest(self, key: str) -> bool:
        """Whether no later version is beside this one."""
        folder, _, version = key.rpartition("/")
        return all(number <= int(version) for number in _versions(self._objects_beside(folder)))

    def _is_copy(self, index: ObjectInfo, versions: Mapping[int, ObjectInfo]) -> bool:
        """Whether the index is a copy of one of them.

        Where each write has an ETag of its own, as on Azure and under some encryption, archives of one size
        that begin with the same bytes are taken for copies.
        """
        same_size = [versions[number] for number in sorted(versions, reverse=True)]
        same_size = [info for info in same_size if info.size_bytes == index.size_bytes]
        if index.etag is not None and any(info.etag == index.etag for info in same_size):
            return True
        return bool(same_size) and self._start(index) in map(self._start, same_size)

    def _start(self, info: ObjectInfo) -> bytes:
        with self._bucket.open(info.key) as source:
            return first_bytes(source, _COMPARED_BYTES)[:_COMPARED_BYTES]

    def put_index(self, place: Path, key: str) -> None:
        """Has a handle without a version mean this archive. Raises what the bucket does."""
        self._bucket.upload(key, place)

    def list_versions(self, top: Path, folder: str) -> None:
        """Has the index of the tree name what that of the tree in the directory `top` names.

        Where that fails, a note says so: the archive itself is there.
        """
        try:
            content = read_regular(top / INDEX_FILE, MAX_INDEX_BYTES + 1)
            add_to_stored_index(self._bucket, folder, parse_index(content, INDEX_FILE))
        except (OSError, HubcliError) as error:
            self._listener.note(f"{error}: hubcli search --host will not find the version")

    def _objects_beside(self, folder: str) -> dict[str, ObjectInfo]:
        found = islice(self._bucket.list_objects(f"{folder}/"), _MAX_LISTED)
        names = ((info.key[len(folder) + 1 :], info) for info in found)
        return {name: info for name, info in names if "/" not in name}


def _versions(objects: Mapping[str, ObjectInfo]) -> dict[int, ObjectInfo]:
    return {int(name): info for name, info in objects.items() if name.isascii() and name.isdecimal()}


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return sorted(path for path in place.rglob("*") if path.is_file())
