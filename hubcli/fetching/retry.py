"""The attempts of one fetch: what is tried again from the start, and what becomes of the spool."""

from __future__ import annotations

import errno
import gc
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hubcli.config.settings import Settings
from hubcli.errors import BodyChangedError, DiskFullError, HubcliError, IntegrityError
from hubcli.net.retries import RetryPolicy, let_go
from hubcli.net.spool import discard_spool

if TYPE_CHECKING:
    from hubcli.fetching.byte_sources import Transfer
    from hubcli.fetching.options import FetchOptions
    from hubcli.net.byte_source import ByteSource

__all__ = ["RetryLoop"]


class RetryLoop:
    """How the next attempt at a body is made, by what became of those before."""

    def __init__(
        self, options: FetchOptions, spool: Path, on_retry: Callable[[str], None], settings: Settings
    ) -> None:
        self._retries = RetryPolicy.of(settings, options.retries, on_retry)
        self._connections = options.connections
        self._spool = spool
        self._has_ranges = options.local is None
        self._has_changed = False
        self._source: ByteSource | None = None

    def transfer(self) -> Transfer:
        """How the body is to come: after doubts about its parts, on one connection."""
        from hubcli.fetching.byte_sources import Transfer  # What is cached comes from none.

        return Transfer(self._retries, self._connections, self._spool if self._has_ranges else None)

    def opened(self, source: ByteSource) -> None:
        """Notes where it comes from."""
        self._source = source

    @contextmanager
    def attempt(self, clear: Callable[[], None]) -> Iterator[None]:
        """One attempt: ends quietly where another is to follow, once `clear` has made room for it.

        Raises the error where none makes sense or is left. The spool stays for
        whoever fetches it next, unless it isn't to be trusted or fills the disk.
        """
        try:
            yield
        except HubcliError as error:
            if isinstance(error, DiskFullError):
                clear()  # What is free without it tells whose fault it is.
            self._after(error)
            clear()
            # httpx's client and its pool are a cycle, and Python's search for garbage is put off in a
            # fetch. Here no thread of the attempt runs any more, and no lock is held.
            let_go(error)
            gc.collect()

    def _after(self, error: HubcliError) -> None:
        if isinstance(error, BodyChangedError):
            self.discard()
            # Twice: perhaps two servers share the address, each with an ETag of its own.
            self._has_ranges &= error.has_ranges and not self._has_changed
            self._has_changed = True
            error.transient()
        elif isinstance(error, DiskFullError) and self._fills_the_disk(error):
            self.discard()
        elif isinstance(error, IntegrityError) and self._was_in_parts and not error.is_transient:
            # Perhaps a part of it was of another body, or damaged: once more, in one piece.
            self.discard()
            self._has_ranges = False
            self._retries.restart(error.transient(), "fetching it once more, on one connection,")
            return
        self._retries.restart(error)

    @property
    def _was_in_parts(self) -> bool:
        return self._source is not None and self._source.is_spooled

    def _fills_the_disk(self, error: DiskFullError) -> bool:
        """Whether the model has no room beside the spool, not even when nothing is unpacked."""
        if not self._spool.exists():
            return False
        free_bytes, cause = shutil.disk_usage(self._spool.parent).free, error.__cause__
        # What a quota leaves isn't told by the disk.
        is_quota = isinstance(cause, OSError) and cause.errno == errno.EDQUOT
        return is_quota or free_bytes < self._spool.stat().st_size

    def discard(self) -> None:
        """Removes the spool, where there is one."""
        if self._spool.exists():
            discard_spool(self._spool)
