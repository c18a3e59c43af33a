"""Where bytes come from, as downloads, spools and unpacking see it: one interface for every kind of place.

With it the checksums that a place sends with a body, and their verification. Sources: RFC 9530
(Repr-Digest), RFC 1864 (Content-MD5), Google Cloud Storage's documentation of `x-goog-hash`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import google_crc32c

from hubcli.errors import ChecksumError

__all__ = ["BodyVerifier", "ByteSource", "Digest", "read_digests"]


class ByteSource(ABC):
    """An opened archive, or a directory. `name` is its address without secrets, sizes are in bytes.

    `etag` is sent with the next request for it; `is_known` says that it is the known one, and no bytes come.
    `digests` are the announced checksums. `redirects` are the addresses that led to it, its own the last. A
    source with a `directory` is walked instead of read. One that `is_private` was read with credentials: no
    tier that others may read gets it.

    Parts can be requested if there is a `validator`: parts with the same one are of the same bytes. `files`
    has start and end of each file of a model by its path, if they are known before a byte is read.
    """

    name: str
    size_bytes: int | None = None
    etag: str | None = None
    validator: str | None = None
    is_known = False
    digests: tuple[Digest, ...] = ()
    redirects: tuple[str, ...] = ()
    directory: Path | None = None
    files: Mapping[str, tuple[int, int]] = MappingProxyType({})
    resumed_bytes = 0
    is_spooled = False
    is_private = False

    @property
    def has_ranges(self) -> bool:
        """Whether `range` may be called: the size is known, too."""
        return self.validator is not None and bool(self.size_bytes)

    @abstractmethod
    def read(self) -> Iterator[bytes]:
        """The bytes from the start, once; an empty block means that none came for a while.

        Raises NotFoundError, TruncatedError, NetworkError: errors of lower layers are translated.
        """

    def range(self, start: int, end: int) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes from `start` up to, not with, `end`, as long as the context lasts.

        May be called from several threads. Raises BodyChangedError if the bytes have changed,
        TruncatedError, NetworkError.
        """
        raise NotImplementedError

    def arrived_bytes(self) -> int:
        """How many bytes have been received, also ahead of the reader; 0 if they come in order."""
        return 0


_REPR_DIGEST = re.compile(r"\s*([a-z0-9-]+)\s*=\s*:([A-Za-z0-9+/=]*):\s*")


class _Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


_ALGORITHMS: dict[str, Callable[[], _Hasher]] = {
    "crc32c": google_crc32c.Checksum,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "sha-256": hashlib.sha256,
    "sha-512": hashlib.sha512,
}


_SIZES_BYTES = {"crc32c": 4, "md5": 16, "sha-256": 32, "sha-512": 64}


@dataclass(frozen=True, slots=True)
class Digest:
    """A checksum that a header announces: the header's name, the algorithm, and the checksum."""

    header: str
    algorithm: str
    value: bytes


def read_digests(headers: Sequence[tuple[str, str]]) -> tuple[Digest, ...]:
    """The checksums in response headers, which may come in several lines; unreadable ones are left out."""
    return tuple(digest for name, value in headers for digest in _read(name.lower(), value))


def _read(name: str, value: str) -> Iterator[Digest]:
    pairs: list[tuple[str, str]] = []
    if name == "x-goog-hash":
        pairs = [
            (key.strip(), encoded) for key, _, encoded in (part.partition("=") for part in value.split(","))
        ]
    elif name == "content-md5":
        pairs = [("md5", value)]
    elif name == "repr-digest":
        pairs = [(match[1], match[2]) for match in map(_REPR_DIGEST.fullmatch, value.split(",")) if match]
    for algorithm, encoded in pairs:
        try:
            decoded = base64.b64decode(encoded.strip(), validate=True)
        except ValueError:  # Not even ASCII, or no base64.
            continue
        if algorithm in _ALGORITHMS and len(decoded) == _SIZES_BYTES[algorithm]:
            yield Digest(name, algorithm, decoded)


class BodyVerifier:
    """Compares the bytes of a body with its announced checksums."""

    def __init__(self, digests: Sequence[Digest]) -> None:
        self._digests = digests
        self._hashers: dict[str, _Hasher] = {
            algorithm: _ALGORITHMS[algorithm]() for algorithm in {digest.algorithm for digest in digests}
        }

    def update(self, chunk: bytes) -> None:
        """Takes the next bytes of the body."""
        for hasher in self._hashers.values():
            hasher.update(chunk)

    def verify(self) -> None:
        """Raises ChecksumError if a checksum differs from the announced one."""
        for digest in self._digests:
            actual = self._hashers[digest.algorithm].digest()
            if actual != digest.value:
                raise ChecksumError(
                    f"{digest.algorithm} mismatch of the response: expected "
                    f"{digest.value.hex()} by the header {digest.header}, got {actual.hex()}",
                    hint="Try again. If it happens again, report it to the host.",
                )
