"""The lease on a download: one machine of a fleet asks the origin, the others wait for the tier to have it.

An object, created where none is and swapped by comparison, whose bytes change with each renewal. The clock
of the store tells how old it is; a waiter that sees it unchanged for its whole time takes it over too, so
that no clock makes anybody wait longer. It saves downloads: nothing that is read depends on it.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum

from hubcli.atomic_files import unique_number
from hubcli.errors import HubcliError, IntegrityError
from hubcli.net.object_store import ObjectInfo, ObjectStore
from hubcli.tiers.layout import MAX_SMALL_BYTES, lease_key, parse_object

__all__ = ["Acquired", "Lease"]

_SCHEMA = 1
_HELD, _RELEASED, _FAILED = "held", "released", "failed"
_SHORTEST_S, _LONGEST_S = 1.0, 600.0
_LONGEST_POLL_S = 1.0
_RELEASES = 3
_MAX_HOST = 255


class Acquired(Enum):
    """The result of acquiring a lease."""

    NEW = "nobody held it before"
    TAKEN = "another machine held it before"
    FOUND = "the tier has the model now"
    FAILED = "the machine that held it could not download the model"
    TIMEOUT = "another machine holds it for longer than one waits"

    @property
    def is_held(self) -> bool:
        """Whether this process holds the lease."""
        return self in (Acquired.NEW, Acquired.TAKEN)


@dataclass(frozen=True, slots=True)
class _Record:
    """What the object holds: the holder of the lease, and how long it is valid after its last change."""

    holder: str
    host: str
    expiry_s: float
    renewals: int = 0
    state: str = _HELD

    @classmethod
    def parse(cls, content: bytes, name: str) -> _Record:
        document = parse_object(content, name)
        try:
            holder, host, expiry_s = document["holder"], document["host"], document["expiry_s"]
            renewals, state = document["renewals"], document["state"]
        except KeyError as error:
            raise IntegrityError(f"Invalid lease {name}: {error} is missing") from error
        is_valid = (
            isinstance(holder, str)
            and isinstance(host, str)
            and len(holder) + len(host) <= 2 * _MAX_HOST
            and host.isprintable()
            and type(renewals) is int
            and type(expiry_s) in (int, float)
            and state in (_HELD, _RELEASED, _FAILED)
        )
        if not is_valid:
            raise IntegrityError(f"Invalid lease {name}")
        # No writer can make others wait for longer than this; NaN counts as the shortest time.
        expiry_s = min(max(expiry_s, _SHORTEST_S), _LONGEST_S) if expiry_s == expiry_s else _SHORTEST_S
        return cls(holder, host, float(expiry_s), renewals, state)

    def to_bytes(self) -> bytes:
        document = {
            "schema": _SCHEMA,
            "holder": self.holder,
            "host": self.host,
            "expiry_s": self.expiry_s,
            "renewals": self.renewals,
            "state": self.state,
        }
        return (json.dumps(document) + "\n").encode()


class Lease:
    """The lease on the model with that cache key, as this process takes it. For one thread."""

    def __init__(self, store: ObjectStore, model: str, expiry_s: float) -> None:
        self._store = store
        self._key = lease_key(model)
        self._record = _Record(unique_number(), socket.gethostname()[:_MAX_HOST], expiry_s)
        self._info: ObjectInfo | None = None
        self._ended = threading.Event()
        self._renewing: threading.Thread | None = None
        self.holder = ""  # The host of the machine that is waited for.

    def acquire(
        self,
        timeout_s: float,
        look: Callable[[], bool],
        on_wait: Callable[[str], None] = lambda host: None,
        check: Callable[[], None] = lambda: None,
    ) -> Acquired:
        """Takes the lease, or waits until `look` tells that the model is there, or for the timeout.

        `on_wait` is called with the host that holds it, `check` raises where the wait is to end. Raises
        UnsupportedError where the store can't compare and swap, NetworkError.
        """
        watch = _Watch()
        until_s = time.monotonic() + timeout_s
        while True:
            check()
            found = self._read()
            if found is None:
                if self._store.create(self._key, self._record.to_bytes()):
                    return self._begin(Acquired.NEW)
            else:
                record, info = found
                if record is not None and record.holder == self._record.holder:
                    return self._begin(Acquired.NEW)  # The answer to its creation was lost.
                if watch.has_waited and look():
                    return Acquired.FOUND
                if record is not None and record.state == _FAILED and record.holder in watch.holders:
                    return Acquired.FAILED
                if record is None or watch.is_over(record, info, self._store):
                    if self._store.replace(self._key, self._record.to_bytes(), info):
                        return self._begin(Acquired.TAKEN)
                elif watch.waits_for(record):
                    self.holder = record.host
                    on_wait(record.host)
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return Acquired.TIMEOUT
            time.sleep(min(left_s, _poll_s(self._record.expiry_s)))

    def release(self, *, has_failed: bool = False) -> None:
        """Lets others have it; those that wait for this holder ask the origin themselves if it failed."""
        self._ended.set()
        if self._renewing is None:
            return
        self._renewing.join(_poll_s(self._record.expiry_s))
        with suppress(HubcliError):  # A lease that isn't released expires.
            for _ in range(_RELEASES):  # A renewal that is on its way may come in between.
                if self._swap(replace(self._record, state=_FAILED if has_failed else _RELEASED)):
                    return

    def _begin(self, acquired: Acquired) -> Acquired:
        self._renewing = threading.Thread(target=self._renew, name="hubcli-lease", daemon=True)
        self._renewing.start()
        return acquired

    def _renew(self) -> None:
        while not self._ended.wait(self._record.expiry_s / 3):
            # A renewal that fails is made again at its next time; two may be lost.
            with suppress(HubcliError):
                if not self._swap(replace(self._record, renewals=self._record.renewals + 1)):
                    return

    def _swap(self, record: _Record) -> bool:
        """Writes the record over this holder's last one; False where another process has taken over."""
        found = self._read()
        if found is None or found[0] is None or found[0].holder != self._record.holder:
            return False
        if self._ended.is_set() and record.state == _HELD:
            return False  # A late renewal would hold what was released.
        self._record = record
        return self._store.replace(self._key, record.to_bytes(), found[1])

    def _read(self) -> tuple[_Record | None, ObjectInfo] | None:
        """The record, None without an object, or for one that isn't a record."""
        found = self._store.read(self._key, MAX_SMALL_BYTES)
        if found is None:
            return None
        content, info = found
        try:
            return _Record.parse(content, self._key), info
        except IntegrityError:
            return None, info


def _poll_s(expiry_s: float) -> float:
    return min(_LONGEST_POLL_S, expiry_s / 5)


class _Watch:
    """What a waiter has seen of the lease."""

    def __init__(self) -> None:
        self.holders: set[str] = set()
        self._seen: tuple[str | None, str | None, int] | None = None
        self._since_s = 0.0

    @property
    def has_waited(self) -> bool:
        return bool(self.holders)

    def waits_for(self, record: _Record) -> bool:
        """Notes the holder; whether it is one that wasn't waited for before."""
        is_new = record.holder not in self.holders
        self.holders.add(record.holder)
        return is_new

    def is_over(self, record: _Record, info: ObjectInfo, store: ObjectStore) -> bool:
        """Whether the lease may be taken: released, or not renewed for its time by either clock."""
        if record.state != _HELD:
            return True
        seen, now_s = (info.etag, info.generation, record.renewals), time.monotonic()
        if seen != self._seen:
            self._seen, self._since_s = seen, now_s
        age_s = (store.now() - info.modified).total_seconds()
        return max(age_s, now_s - self._since_s) > record.expiry_s
