"""Which byte source reads an address, by its scheme, and the byte sources of this machine.

A scheme has a line at the end; another package's is added by `register_scheme`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

from hubcli.concurrency import stage_bytes
from hubcli.config.settings import Settings
from hubcli.durability import UNSYNCED
from hubcli.errors import HandleError, NotFoundError, UsageError
from hubcli.net.byte_source import ByteSource
from hubcli.net.file_source import FileSource
from hubcli.net.retries import DEFAULT_RETRIES, RetryPolicy
from hubcli.providers import BUCKETS, scheme_of
from hubcli.regular_file import open_regular, open_stream
from hubcli.urls import printed_url

if TYPE_CHECKING:
    from hubcli.net.download import DownloadOptions

__all__ = [
    "Transfer",
    "download_options",
    "open_bytes",
    "open_path",
    "open_standard_input",
    "register_scheme",
    "size_of",
    "unregister_scheme",
]

_EXAMPLES = {"mul": "mul-1.tar.gz", "mul/1": "mul-1.tar.gz"}


@dataclass(frozen=True, slots=True)
class Transfer:
    """How a body comes from a host: attempts, connections, and the path of a spool where there may be one.

    A body that has the `known_etag` still isn't fetched again. The spool is used from `spool_after_bytes` on.
    """

    retries: RetryPolicy = field(default_factory=lambda: RetryPolicy(DEFAULT_RETRIES))
    connections: int = 1
    spool: Path | None = None
    known_etag: str | None = None
    spool_after_bytes: int = 0


Opener: TypeAlias = Callable[[str, Settings, Transfer], AbstractContextManager[ByteSource]]
"""Opens the byte source of an address. Raises NotFoundError, NetworkError, HandleError."""

SizeProbe: TypeAlias = Callable[[str, Settings, RetryPolicy], "int | None"]
"""The size in bytes of what an address has, without reading it; None if it is unknown."""


class _Scheme(NamedTuple):
    open: Opener
    size: SizeProbe | None


class DirectorySource(ByteSource):
    """A directory of this machine: its files are walked, it has no archive to read."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory

    def read(self) -> Iterator[bytes]:
        """No bytes."""
        return iter(())


def open_bytes(address: str, settings: Settings, transfer: Transfer) -> AbstractContextManager[ByteSource]:
    """The byte source of the address. Raises what its scheme's opener does, HandleError without one."""
    return _scheme(address).open(address, settings, transfer)


def size_of(address: str, settings: Settings, retries: RetryPolicy) -> int | None:
    """The size in bytes of what the address has, None if it is unknown. Raises as `open_bytes`."""
    scheme = _scheme(address)
    if scheme.size is not None:
        return scheme.size(address, settings, retries)
    with scheme.open(address, settings, Transfer(retries)) as source:
        return source.size_bytes


def first_bytes(source: ByteSource, limit_bytes: int) -> bytes:
    """The bytes of the source: all of them, or if it has more than the limit, at most a block beyond it."""
    content = bytearray()
    for block in source.read():
        content += block
        if len(content) > limit_bytes:
            break
    return bytes(content)


def _scheme(address: str) -> _Scheme:
    scheme = _SCHEMES.get(scheme_of(address) or "")
    if scheme is None:
        raise HandleError(
            f"Unsupported URL scheme: {printed_url(address)}",
            hint="Copy it to a local file, then: hubcli fetch HANDLE --from FILE",
        )
    return scheme


def _open_http(address: str, settings: Settings, transfer: Transfer) -> AbstractContextManager[ByteSource]:
    # Imported here: a hit in the cache needs no HTTP, and httpx takes 80 ms to load.
    from hubcli.net.connections import preload_context

    preload_context(settings.access)
    from hubcli.net.http_source import open_download

    return open_download(address, download_options(settings, transfer))


def download_options(settings: Settings, transfer: Transfer) -> DownloadOptions:
    """How a source that may fail on the way is read to its end, by a `Download` over it."""
    from hubcli.net.download import DownloadOptions

    return DownloadOptions(
        settings.timeout_s,
        transfer.retries,
        transfer.connections,
        transfer.spool,
        access=settings.access,
        known_etag=transfer.known_etag,
        min_rate_bytes_s=settings.min_rate_bytes_s,
        # What is only looked at is spooled late, and needs to survive nothing.
        durability=UNSYNCED if transfer.spool is None or transfer.spool_after_bytes else settings.durability,
        spool_after_bytes=transfer.spool_after_bytes,
        kept_bytes=stage_bytes(settings.jobs),
    )


def _size_by_http(address: str, settings: Settings, retries: RetryPolicy) -> int | None:
    from hubcli.net.probes import probe_size

    return probe_size(address, settings.timeout_s, retries, settings.access)


def _open_in_bucket(
    address: str, settings: Settings, transfer: Transfer
) -> AbstractContextManager[ByteSource]:
    # Imported here: obstore, which it uses, is an extra, and takes 100 ms to load.
    from hubcli.fetching.buckets import open_in_bucket

    return open_in_bucket(address, settings, transfer)


def _open_file(address: str, settings: Settings, transfer: Transfer) -> AbstractContextManager[ByteSource]:
    return open_path(Path(os.fsdecode(unquote_to_bytes(address.removeprefix("file://")))))


@contextmanager
def open_path(path: Path, fifo_wait_s: float | None = None) -> Iterator[ByteSource]:
    """The file or directory; a FIFO too where a wait is given, in seconds, for its first byte."""
    try:
        name = path.resolve().as_uri()
        size = path.stat().st_size
        file = None
        if not path.is_dir():
            file = open_regular(path) if fifo_wait_s is None else open_stream(path, fifo_wait_s)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NotFoundError(f"Cannot open {path}: {reason}", hint="Check the path.") from error
    if file is None:
        yield DirectorySource(name, path)
        return
    with file:
        yield FileSource(name, file, size, path)


@contextmanager
def open_standard_input() -> Iterator[ByteSource]:
    """Standard input without a buffer: its lock would not survive an interrupt."""
    if sys.stdin is None:
        raise UsageError("Standard input is closed", hint="Pipe an archive into hubcli fetch HANDLE --from -")
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as file:
        yield FileSource("standard input", file, None)


@contextmanager
def _open_example(address: str, settings: Settings, transfer: Transfer) -> Iterator[ByteSource]:
    from importlib import resources

    name = _EXAMPLES.get(address.split("://", 1)[1])
    if name is None:
        raise NotFoundError(f"{address} is not a built-in example", hint="Use example://mul/1.")
    with resources.as_file(resources.files("hubcli.examples") / name) as path, open_path(path) as source:
        source.name = address
        yield source


_SCHEMES: dict[str, _Scheme] = {}


def register_scheme(scheme: str, opener: Opener, size: SizeProbe | None = None) -> None:
    """Has addresses of the scheme opened so; their size is what `size` tells, else the opened source.

    Raises ValueError if the scheme has an opener already.
    """
    if scheme in _SCHEMES:
        raise ValueError(f"Another byte source reads {scheme}://")
    _SCHEMES[scheme] = _Scheme(opener, size)


def unregister_scheme(scheme: str) -> None:
    """Takes the scheme out again."""
    del _SCHEMES[scheme]


register_scheme("https", _open_http, _size_by_http)
register_scheme("http", _open_http, _size_by_http)
for _bucket in BUCKETS:
    register_scheme(_bucket, _open_in_bucket)
register_scheme("file", _open_file)
register_scheme("example", _open_example)
