"""Where bytes come from, as downloads, spools and unpacking see it: one interface for every kind of place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hubcli.net.checksums import Digest

__all__ = ["ByteSource"]


class ByteSource(ABC):
    """An opened archive, or a directory. `name` is its address without secrets, sizes are in bytes.

    `etag` is what the place says of its bytes, to be told the next time; they are the known ones where
    `is_known`, and don't come then. `digests` are the checksums that it announces. `redirects` are the
    addresses that led to it, its own the last. What is a `directory` is walked instead of read.

    Parts can be asked for where there is a `validator`: parts with the same one are of the same bytes.
    """

    name: str
    size_bytes: int | None = None
    etag: str | None = None
    validator: str | None = None
    is_known = False
    digests: tuple[Digest, ...] = ()
    redirects: tuple[str, ...] = ()
    directory: Path | None = None
    resumed_bytes = 0
    is_spooled = False

    @property
    def has_ranges(self) -> bool:
        """Whether `range` may be called: the size is known, too."""
        return self.validator is not None and bool(self.size_bytes)

    @abstractmethod
    def read(self) -> Iterator[bytes]:
        """The bytes from the start, once; an empty block says that none came for a while.

        Raises NotFoundError, TruncatedError, NetworkError: whatever fails below is translated.
        """

    def range(self, start: int, end: int) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes from `start` up to, not with, `end`, as long as the context lasts.

        May be called from several threads. Raises BodyChangedError where the bytes are others now,
        TruncatedError, NetworkError.
        """
        raise NotImplementedError

    def arrived_bytes(self) -> int:
        """How many bytes are on this machine, ahead of the reader too; 0 where they come in order."""
        return 0
