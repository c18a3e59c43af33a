"""Objects under keys, as a bucket has them: one interface for buckets, directories and web servers.

A key is relative to the address that the store was opened with: segments joined by `/`, none of them empty,
`.` or `..`. Bytes of large objects come by a `ByteSource`, so that they resume and are fetched in parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hubcli.concurrency import run_in_threads

if TYPE_CHECKING:
    from hubcli.net.byte_source import ByteSource

__all__ = ["DELETES_AT_A_TIME", "ObjectInfo", "ObjectStore"]

DELETES_AT_A_TIME = 16


class ObjectInfo(NamedTuple):
    """What a store says of an object: key, size, time of its last change by the store's clock.

    `etag` changes with the bytes; None if the store has none. `generation` is what Google's buckets
    compare in its place.
    """

    key: str
    size_bytes: int
    modified: datetime
    etag: str | None = None
    generation: str | None = None


class ObjectStore(ABC):
    """Objects under keys below one address. May be used from several threads.

    `address` is printed and stored: it has no secrets and no slash at its end. Every method raises
    AuthenticationError if the store denies access, NetworkError if it can't be reached, is too slow or sends
    an invalid answer. A lost race is a return value, not an error.
    """

    address: str
    is_writable = True
    # A file system of this machine: no proxy and no login page answers in its place.
    is_local = False

    @property
    def refuses_other_clocks(self) -> bool:
        """Whether its service refuses requests from a machine whose clock is off by an hour or more.

        With such a store, the clock of this machine is right, or every request fails anyway.
        """
        return False

    @abstractmethod
    def head(self, key: str) -> ObjectInfo | None:
        """What is under the key now; None if nothing is."""

    @abstractmethod
    def read(self, key: str, limit_bytes: int) -> tuple[bytes, ObjectInfo] | None:
        """A small object as a whole; None if nothing is. Raises IntegrityError beyond the limit."""

    @abstractmethod
    def open(self, key: str, spool: Path | None = None) -> AbstractContextManager[ByteSource]:
        """The bytes of an object, in parts, with retries; resumed in `spool`. Raises NotFoundError."""

    @abstractmethod
    def list_objects(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        """The objects whose keys begin with the prefix, page by page, in their order if it has one."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Writes a small object where none is; False if one is already. Exactly one of many wins."""

    @abstractmethod
    def replace(self, key: str, data: bytes, expected: ObjectInfo) -> bool:
        """Replaces the object if it is the one that `expected` describes; False if it was changed or removed.

        Raises UnsupportedError if the store can't compare and swap.
        """

    def require_conditional_writes(self) -> None:  # noqa: B027 - most stores compare as they should
        """Raises UnsupportedError if `create` overwrites what is there: such a store can't be shared.

        Writes an object to find out, and removes it.
        """

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Writes a small object, over what is there."""

    @abstractmethod
    def upload(
        self, key: str, path: Path, on_sent: Callable[[int], None] = lambda size_bytes: None
    ) -> ObjectInfo:
        """Writes a file of any size, by several parts at a time; nothing is seen before its end.

        `on_sent` is called with the size of each part that was sent, and may raise an error to abort.
        """

    @abstractmethod
    def delete(self, key: str) -> bool:
        """Removes an object; False if none was there (a store may not tell, and says True)."""

    def delete_all(self, keys: Sequence[str]) -> None:
        """Removes the objects, in any order; missing ones are ignored."""
        run_in_threads([partial(self.delete, key) for key in keys], DELETES_AT_A_TIME)

    def sweep(self) -> None:  # noqa: B027 - most stores have none
        """Removes temporary files of killed writers that are older than a day."""

    @abstractmethod
    def now(self) -> datetime:
        """The store's own clock, by its latest answer; that of this machine where it has none."""
