"""A bucket as an object store, on obstore; and the one place that opens a store by its address.

Conditional writes: S3 and Azure compare ETags, Google generations. Ceph 16 takes only an ETag without quotes;
s3rver ignores conditions, which `require_conditional_writes` finds out.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, IntegrityError, NetworkError, UnsupportedError
from hubcli.net.bucket_client import BucketClient
from hubcli.net.bucket_source import BucketSource, BucketTree, plain_etag, quoted_etag
from hubcli.net.byte_source import ByteSource
from hubcli.net.download import Download, DownloadOptions
from hubcli.net.object_store import ObjectInfo, ObjectStore
from hubcli.net.retries import OnRetry, RetryPolicy
from hubcli.providers import BUCKETS, scheme_of
from hubcli.providers.bucket import BucketAddress

__all__ = ["PART_BYTES", "BucketStore", "open_store"]

PART_BYTES, _PARTS_AT_A_TIME = 16 << 20, 4


def open_store(address: str, settings: Settings, on_retry: OnRetry = lambda text: None) -> ObjectStore:
    """The store at the address: `s3://`, `gs://`, `az://`, a path or `file://`, `http(s)://` (read-only).

    No request is sent yet. Raises HandleError, AuthenticationError, UsageError if obstore isn't installed.
    """
    scheme = scheme_of(address)
    if scheme in BUCKETS:
        retries = RetryPolicy.of(settings, settings.retries, on_retry)
        return BucketStore(BucketAddress.parse(address), settings, retries)
    if scheme in ("http", "https"):
        from hubcli.net.web_store import WebStore

        return WebStore(
            address, lambda: _options(settings, RetryPolicy.of(settings, settings.retries, on_retry))
        )
    from hubcli.net.directory_store import DirectoryStore

    return DirectoryStore(Path(unquote(address[7:]) if scheme == "file" else address), settings.durability)


def _options(settings: Settings, retries: RetryPolicy, spool: Path | None = None) -> DownloadOptions:
    return DownloadOptions(
        settings.timeout_s,
        retries,
        settings.connections,
        spool,
        access=settings.access,
        min_rate_bytes_s=settings.min_rate_bytes_s,
        durability=settings.durability,
    )


class BucketStore(ObjectStore):
    """The objects below an address such as `s3://models/hub`.

    Each request has its own `retries`, unless `counts_together`: then all share them.
    """

    def __init__(
        self,
        address: BucketAddress,
        settings: Settings,
        retries: RetryPolicy,
        *,
        counts_together: bool = False,
    ) -> None:
        self.address = str(address)
        self._place = address
        self._settings = settings
        self._retries = retries
        self._client = BucketClient(address, settings, retries, counts_together=counts_together)
        self._is_unquoted = False

    def _key(self, key: str) -> str:
        return self._place.below(key).key

    def _name(self, key: str) -> str:
        return str(self._place.below(key))

    def _call(self, key: str, action: Callable[[Any, str], Any], **more: Any) -> Any:
        full = self._key(key)
        return self._client.call(self._name(key), lambda store: action(store, full), **more)

    def head(self, key: str) -> ObjectInfo | None:
        """What is under the key now; None where nothing is."""
        head = self._client.obstore.head
        full = self._key(key)
        try:
            found = self._client.call(
                self._name(key), lambda store: head(store, full), key=full, is_small=True
            )
        except FileNotFoundError:
            return None
        return self._info(found)

    def _info(self, found: Any) -> ObjectInfo:
        prefix = f"{self._place.key}/" if self._place.key else ""
        return ObjectInfo(
            found["path"].removeprefix(prefix),
            found["size"],
            found["last_modified"],
            found.get("e_tag"),
            found.get("version"),
        )

    def read(self, key: str, limit_bytes: int) -> tuple[bytes, ObjectInfo] | None:
        """A small object as a whole; None where nothing is. Raises IntegrityError beyond the limit."""
        get = self._client.obstore.get

        def read(store: Any, full: str) -> tuple[bytes, Any]:
            result = get(store, full)
            if result.meta["size"] > limit_bytes:
                raise IntegrityError(
                    f"{self._name(key)} has {result.meta['size']:,} bytes, more than {limit_bytes:,}"
                )
            return bytes(result.bytes()), result.meta

        try:
            content, meta = self._call(key, read, is_small=True)
        except FileNotFoundError:
            return None
        return content, self._info(meta)

    @contextmanager
    def open(self, key: str, spool: Path | None = None) -> Iterator[ByteSource]:
        """The bytes of an object, in parts, with retries; resumed in `spool`. Raises NotFoundError."""
        info = self.head(key)
        if info is None:
            raise self._client.missing(self._name(key))
        source = self.source(info)
        download = Download(source, _options(self._settings, self._retries.anew(), spool))
        try:
            yield download
        finally:
            download.close()
            source.close()

    def source(self, info: ObjectInfo, known_etag: str | None = None) -> BucketSource:
        """The bytes of the object that `info` describes; raises BodyChangedError once it has changed."""
        full = info._replace(key=self._key(info.key))
        return BucketSource(self._client, self._name(info.key), full, known_etag)

    def tree_source(
        self, folder: str, infos: Iterable[ObjectInfo], known_etag: str | None = None
    ) -> BucketTree:
        """The .tar of these objects below the folder. Raises IntegrityError if they are not a tree."""
        start = len(folder) + 1 if folder else 0
        files = [(info.key[start:], info._replace(key=self._key(info.key))) for info in infos]
        return BucketTree(self._client, self._name(folder), files, known_etag)

    def list_objects(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        """The objects whose keys begin with the prefix, page by page, in the order of the service.

        That is the order of their keys, but for S3's directory buckets and services that sort each folder by
        itself. Raises IntegrityError where one of them has a key that obstore can't spell, NetworkError where
        the last object before a failure is not listed again.
        """
        folder = self._key(prefix.rpartition("/")[0])
        name, retries = str(self._place.container._replace(key=folder)), self._client.retries()
        begin, last, is_repeated = start_after, "", False
        while True:
            pages = self._client.pages(name, folder, begin and self._key(begin))
            try:
                for page in pages:
                    for found in page:
                        info = self._info(found)
                        # Azurite ignores where to start.
                        is_listed = info.key.startswith(prefix) and (begin is None or info.key > begin)
                        if is_listed and not is_repeated and info.key != last:
                            last = info.key
                            yield info
                        is_repeated &= info.key != last
                    if not is_repeated:
                        retries = self._client.retries()  # A page is progress.
                if is_repeated:
                    raise NetworkError(
                        f"The objects in {name} changed while they were listed", hint="Try again."
                    )
            except HubcliError as error:
                retries.wait(error)
                # In an unknown order, lower keys may be missing, too: the listing begins anew.
                is_repeated = bool(last) and not self._client.lists_in_order
                begin = begin if is_repeated else last or begin
            else:
                return

    def create(self, key: str, data: bytes) -> bool:
        """Writes a small object where none is; False where one is already. Exactly one of many wins."""
        return self._put_if(key, data, "create")

    def _put_if(self, key: str, data: bytes, mode: str | dict[str, str]) -> bool:
        """Whether the condition in `mode` was met, and the object has these bytes now."""
        attempts = 0

        def put(store: Any, full: str) -> None:
            nonlocal attempts
            attempts += 1
            self._client.obstore.put(store, full, data, mode=mode, use_multipart=False)

        try:
            self._call(key, put, is_conditional=True)
        except self._client.condition_errors:
            return attempts > 1 and self._holds(key, data)
        return True

    def _holds(self, key: str, data: bytes) -> bool:
        """Whether the object has these bytes: the answer to an earlier attempt may have been lost."""
        with suppress(IntegrityError):  # A larger one is another object.
            found = self.read(key, len(data))
            return found is not None and found[0] == data
        return False

    def replace(self, key: str, data: bytes, expected: ObjectInfo) -> bool:
        """Replaces the object if it is the one that `expected` describes; False if it was changed or removed.

        False too where the answer was lost and another process wrote over it before it was asked again.
        Raises UnsupportedError where the store can't compare and swap.
        """
        if self._swap(key, data, expected):
            return True
        if self._client.is_google or self._is_unquoted:
            return False
        now = self.head(key)
        if now is None or plain_etag(now.etag) != plain_etag(expected.etag):
            return False
        # Refused although unchanged: the server may accept only an ETag without its quotes.
        self._is_unquoted = True
        try:
            self._require_swap(key)
        except UnsupportedError:
            self._is_unquoted = False
            raise
        return self._swap(key, data, expected)

    def _swap(self, key: str, data: bytes, expected: ObjectInfo) -> bool:
        if self._client.is_google:
            mode = {"version": expected.generation or ""}
        elif expected.etag:
            quoted = quoted_etag(expected.etag)
            mode = {"e_tag": quoted.strip('"') if self._is_unquoted else quoted}
        else:
            raise UnsupportedError(f"{self._name(key)} has no ETag to compare with")
        try:
            return self._put_if(key, data, mode)
        except FileNotFoundError:  # S3 has no ETag to compare with where nothing is.
            return False

    def _require_swap(self, key: str) -> None:
        """Raises UnsupportedError unless the store refuses a wrong ETag and takes the right one."""
        probe = f"{key}.probe-{secrets.token_hex(8)}"
        self.put(probe, b"1")
        try:
            right = self.head(probe)
            wrong = right and right._replace(etag='"' + "0" * 32 + '"')
            if right is None or wrong is None or self._swap(probe, b"2", wrong):
                raise UnsupportedError(f"{self.address} ignores conditional writes")
            if not self._swap(probe, b"3", right):
                raise UnsupportedError(f"{self.address} does not support compare-and-swap")
        finally:
            with suppress(HubcliError):
                self.delete(probe)

    def require_conditional_writes(self) -> None:
        """Raises UnsupportedError where `create` overwrites what is there: such a store can't be shared."""
        probe = f"hubcli-probe-{secrets.token_hex(8)}"
        self.put(probe, b"1")
        try:
            if self.create(probe, b"2"):
                raise UnsupportedError(
                    f"{self.address} does not support conditional writes",
                    hint="Use it with mode=read, or use a server with conditional writes.",
                )
        finally:
            with suppress(HubcliError):
                self.delete(probe)

    def put(self, key: str, data: bytes) -> None:
        """Writes a small object, over what is there."""
        put = self._client.obstore.put
        with self._write_errors(key):
            self._call(
                key, lambda store, full: put(store, full, data, use_multipart=False), is_conditional=True
            )

    def upload(
        self, key: str, path: Path, on_sent: Callable[[int], None] = lambda size_bytes: None
    ) -> ObjectInfo:
        """Writes a file of any size, by several parts at a time; nothing is seen before its end.

        An interrupt, or an error of `on_sent`, aborts it, and the service drops its parts.
        """
        put = self._client.obstore.put

        def upload(store: Any, full: str) -> None:
            with path.open("rb", buffering=0) as file:
                first = file.read(PART_BYTES)
                if len(first) < PART_BYTES:
                    on_sent(len(first))
                    put(store, full, first, use_multipart=False)
                    return
                parts = sender.parts(first, file)
                put(store, full, parts, chunk_size=PART_BYTES, max_concurrency=_PARTS_AT_A_TIME)

        sender = _Sender(on_sent)
        with self._write_errors(key):
            try:
                self._call(key, upload, with_retries=True, is_conditional=True)
            finally:
                sender.is_stopped = True
        info = self.head(key)
        if info is None or info.size_bytes != path.stat().st_size:
            raise IntegrityError(
                f"{self._name(key)} has another size than the uploaded file", hint="Try again."
            )
        return info

    @contextmanager
    def _write_errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise self._client.missing(self._name(key), "NoSuchBucket") from error
        except self._client.condition_errors as error:
            raise UnsupportedError(f"{self._name(key)} cannot be overwritten") from error

    def delete(self, key: str) -> bool:
        """Removes an object; False where none was there (a store may not tell, and says True)."""
        delete = self._client.obstore.delete
        try:
            self._call(key, lambda store, full: delete(store, full))
        except FileNotFoundError:
            return False
        return True

    def delete_all(self, keys: Sequence[str]) -> None:
        """Removes the objects, on S3 a thousand with one request; missing ones are ignored."""
        if self._client.scheme != "s3":
            super().delete_all(keys)
            return
        delete, names = self._client.obstore.delete, [self._key(key) for key in keys]
        try:
            self._client.call(self.address, lambda store: delete(store, names))
        except FileNotFoundError as error:  # The bucket is missing: a missing object raises nothing here.
            raise self._client.missing(self.address) from error

    @property
    def refuses_other_clocks(self) -> bool:
        """Whether each request is signed with its time, or by a token that was."""
        return self._client.options.is_signed_with_time

    def now(self) -> datetime:
        """The store's own clock. Raises NetworkError."""
        return self._client.now()


class _Sender:
    """Gives the parts of a file to an upload; once it is stopped, the next part aborts the upload."""

    def __init__(self, on_sent: Callable[[int], None]) -> None:
        self.is_stopped = False
        self._on_sent = on_sent

    def parts(self, first: bytes, file: Any) -> Iterator[bytes]:
        part = first
        while part:
            if self.is_stopped:
                raise InterruptedError
            yield part
            self._on_sent(len(part))
            part = file.read(PART_BYTES)
