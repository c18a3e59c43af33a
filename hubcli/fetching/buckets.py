"""What an address in a bucket is: an archive, or a prefix with an unpacked SavedModel below it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from hubcli.archive import Limits
from hubcli.archive.compression import ARCHIVE_SUFFIXES
from hubcli.config.settings import Settings
from hubcli.errors import AuthenticationError, IntegrityError, NotFoundError, UnsafeArchiveError
from hubcli.fetching.byte_sources import Transfer, download_options
from hubcli.formats import MAIN_FILES
from hubcli.net.bucket_source import BucketSource, BucketTree
from hubcli.net.bucket_store import BucketStore
from hubcli.net.byte_source import ByteSource
from hubcli.net.download import Download
from hubcli.net.object_store import ObjectInfo
from hubcli.providers.bucket import BucketAddress

__all__ = ["open_in_bucket"]

_MAX_SUGGESTED, _MAX_LISTED = 3, 1000
# Directories of a SavedModel.
_PARTS = {"variables", "assets", "assets.extra"}


@contextmanager
def open_in_bucket(address: str, settings: Settings, transfer: Transfer) -> Iterator[ByteSource]:
    """The byte source of an object or a prefix, read to its end despite transient errors.

    Raises NotFoundError, AuthenticationError, NetworkError, IntegrityError for objects that are not a tree.
    """
    place = BucketAddress.parse(address)
    bucket = BucketStore(place.container, settings, transfer.retries, counts_together=True)
    source = _source(bucket, place.key, transfer.known_etag)
    download = Download(source, download_options(settings, transfer))
    try:
        yield download
    finally:
        download.close()
        source.close()


def _source(bucket: BucketStore, key: str, known_etag: str | None) -> BucketSource | BucketTree:
    denied = None
    try:
        info = bucket.head(key)
    except AuthenticationError as error:
        # S3 answers 403 instead of 404 to an account that may not list the bucket.
        info, denied = None, error
    if info is not None and info.size_bytes:
        return bucket.source(info, known_etag)
    if not key.endswith(ARCHIVE_SUFFIXES) and _has_model(bucket, key, denied):
        return bucket.tree_source(key, _objects(bucket, key), known_etag)
    if denied is not None:
        raise denied
    what = f"is neither an object nor a directory with {MAIN_FILES[0]}"
    if key.endswith(ARCHIVE_SUFFIXES):
        what = "does not exist" if info is None else "is empty"
    raise NotFoundError(
        f"{bucket.address}/{key} {what}",
        hint=_hint(bucket, key),
    )


def _has_model(bucket: BucketStore, folder: str, denied: AuthenticationError | None) -> bool:
    try:
        return any(bucket.head(f"{folder}/{name}") is not None for name in MAIN_FILES)
    except AuthenticationError as error:
        raise denied or error from error


def _objects(bucket: BucketStore, folder: str) -> list[ObjectInfo]:
    """The files of the model, bounded in number; objects that mark a folder of a console are left out."""
    most = Limits().members
    found = list(islice(bucket.list_objects(f"{folder}/"), most + 1))
    if len(found) > most:
        raise UnsafeArchiveError(
            f"{bucket.address}/{folder} contains more than {most:,} objects",
            hint="Specify the directory of one model.",
        )
    folders = {
        info.key[:position]
        for info in found
        for position, character in enumerate(info.key)
        if character == "/"
    }
    return [info for info in found if info.size_bytes or not _is_marker(bucket, info, folders)]


def _is_marker(bucket: BucketStore, info: ObjectInfo, folders: set[str]) -> bool:
    """Whether an empty object stands for a folder: listings have `a/` as `a`, where no object is."""
    return info.key in folders or bucket.head(info.key) is None


def _hint(bucket: BucketStore, key: str) -> str:
    """What may be meant: a folder below, such as a version, as far as the first page of a listing has it.

    Raises NotFoundError without the bucket.
    """
    try:
        keys = [info.key[len(key) + 1 :] for info in islice(bucket.list_objects(f"{key}/"), _MAX_LISTED)]
    except (AuthenticationError, IntegrityError):
        keys = []
    names = {name for name, slash, _ in (key.partition("/") for key in keys) if slash}
    if names & _PARTS:
        return "It lacks its main file. If an export was interrupted, repeat it with --force."
    found = sorted(names, key=lambda name: (not name.isdecimal(), name))[:_MAX_SUGGESTED]
    if not found:
        return "Check the bucket and the path."
    return f"Specify one of its directories: {', '.join(f'{bucket.address}/{key}/{name}' for name in found)}"
