"""The lease: one holder, renewed while it lives, taken over once it is dead, by whichever clock."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from hubcli.commands.fetch import fetch
from hubcli.durability import UNSYNCED
from hubcli.errors import UnsupportedError
from hubcli.net.directory_store import DirectoryStore
from hubcli.net.object_store import ObjectInfo
from hubcli.providers.handle import key_of
from hubcli.tiers import lease as lease_module
from hubcli.tiers.layout import lease_key
from hubcli.tiers.lease import Acquired, Lease
from tests.cases import each_of
from tests.tiers.fleet import HANDLE, Fleet

_MODEL = "0" * 40


class _Store(DirectoryStore):
    """A directory whose clock can be wrong."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@pytest.fixture
def store(tmp_path: Path) -> _Store:
    return _Store(tmp_path / "tier", UNSYNCED)


_leases: list[Lease] = []


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    """Ends the threads that renew the leases of a test: they would write beside later tests."""
    yield
    while _leases:
        _leases.pop().release()


def _lease(store: DirectoryStore, expiry_s: float = 1.0) -> Lease:
    _leases.append(Lease(store, _MODEL, expiry_s))
    return _leases[-1]


def _nothing() -> bool:
    return False


def _dead(store: DirectoryStore, *, expiry_s: float = 1.0, state: str = "held", model: str = _MODEL) -> None:
    """The lease of a holder that was killed just now."""
    record = {"schema": 1, "holder": "dead", "host": "h", "expiry_s": expiry_s, "renewals": 3, "state": state}
    store.put(lease_key(model), json.dumps(record).encode())


def test_the_first_has_it_and_the_next_waits_for_the_model(store: _Store) -> None:
    first, second = _lease(store), _lease(store)
    assert first.acquire(1, _nothing) is Acquired.NEW
    waited: list[str] = []
    assert second.acquire(5, lambda: True, waited.append) is Acquired.FOUND
    assert len(waited) == 1
    first.release()


def test_a_lease_that_was_released_is_taken(store: _Store) -> None:
    first = _lease(store)
    first.acquire(1, _nothing)
    first.release()
    second = _lease(store)
    assert second.acquire(1, _nothing) is Acquired.TAKEN
    second.release()


def test_those_that_wait_for_a_holder_that_fails_go_on_by_themselves(store: _Store) -> None:
    first, found = _lease(store, 5), list[Acquired]()
    first.acquire(1, _nothing)
    waits = threading.Event()

    def wait() -> None:
        found.append(_lease(store).acquire(60, _nothing, lambda host: waits.set()))

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert waits.wait(60)
    first.release(has_failed=True)
    waiter.join()
    assert found == [Acquired.FAILED]
    assert _lease(store).acquire(1, _nothing) is Acquired.TAKEN


@pytest.mark.slow
def test_a_living_holder_keeps_it_beyond_its_time(store: _Store) -> None:
    # It is renewed each second: a busy machine may be two too late.
    holder = _lease(store, 3.0)
    holder.acquire(1, _nothing)
    assert _lease(store).acquire(4.0, _nothing) is Acquired.TIMEOUT
    holder.release()


def test_a_fetch_waits_for_a_holder_no_longer_than_the_lock_timeout(fleet: Fleet) -> None:
    store, model = DirectoryStore(fleet.folder, UNSYNCED), key_of(HANDLE)
    _dead(store, expiry_s=60.0, model=model)
    fetch(HANDLE, replace(fleet.settings(), lock_timeout_s=0.2))
    assert fleet.downloads == 1
    found = store.read(lease_key(model), 1000)
    assert found is not None
    assert json.loads(found[0])["holder"] == "dead"  # It was not taken over, but left.


@each_of("ahead_s", [0.0, -3600.0, 3600.0])
def test_a_dead_holder_is_waited_for_no_longer_than_its_time_and_a_poll(
    ahead_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, waited_s = _Store(tmp_path, UNSYNCED), 0.0
    store.ahead = timedelta(seconds=ahead_s)

    def sleep(seconds: float) -> None:
        """Time passes at no other place, on a busy machine either."""
        nonlocal waited_s
        waited_s += seconds
        store.ahead += timedelta(seconds=seconds)

    _dead(store)
    monkeypatch.setattr(lease_module, "time", SimpleNamespace(monotonic=lambda: waited_s, sleep=sleep))
    lease = _lease(store)
    assert lease.acquire(10, _nothing) is Acquired.TAKEN
    assert waited_s <= (0 if ahead_s > 0 else 1.0 + 0.2 + 0.001)
    lease.release()


def test_one_of_many_takes_a_dead_holder_over(store: _Store) -> None:
    _dead(store, state="released")
    leases = [_lease(store, 5) for _ in range(6)]
    found: list[Acquired] = []
    threads = [
        threading.Thread(target=lambda lease=lease: found.append(lease.acquire(0.4, _nothing)))
        for lease in leases
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(acquired.name for acquired in found) == ["TAKEN"] + ["TIMEOUT"] * 5
    for lease in leases:
        lease.release()


def test_a_holder_that_was_overtaken_does_not_take_it_back(store: _Store) -> None:
    slow, quick = _lease(store, 60), _lease(store, 60)
    slow.acquire(1, _nothing)
    _dead(store, state="released")
    assert quick.acquire(1, _nothing) is Acquired.TAKEN
    slow.release(has_failed=True)
    found = store.read(lease_key(_MODEL), 1000)
    assert found is not None
    assert json.loads(found[0])["state"] == "held"
    quick.release()


_RECORD = {"schema": 1, "holder": "a", "host": "b", "expiry_s": 1e9, "renewals": 0, "state": "held"}


@each_of(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 60000,
        json.dumps({**_RECORD, "state": "forever"}).encode(),
        json.dumps({**_RECORD, "expiry_s": "long"}).encode(),
        json.dumps({**_RECORD, "holder": "a" * 1000}).encode(),
        json.dumps({**_RECORD, "expiry_s": float("nan")}).encode(),
    ],
)
def test_what_is_no_lease_holds_nobody_up(content: bytes, tmp_path: Path) -> None:
    store = _Store(tmp_path, UNSYNCED)
    store.put(lease_key(_MODEL), content)
    store.ahead = timedelta(seconds=2)
    lease = _lease(store)
    assert lease.acquire(5, _nothing) is Acquired.TAKEN
    lease.release()


def test_a_holder_that_claims_a_year_is_waited_for_ten_minutes(store: _Store) -> None:
    _dead(store, expiry_s=1e9)
    store.ahead = timedelta(seconds=601)
    lease = _lease(store)
    assert lease.acquire(5, _nothing) is Acquired.TAKEN
    lease.release()


def test_a_store_without_swaps_gives_no_lease(tmp_path: Path) -> None:
    class Simple(DirectoryStore):
        def replace(self, key: str, data: bytes, expected: ObjectInfo) -> bool:
            raise UnsupportedError("cannot")

    store = Simple(tmp_path, UNSYNCED)
    _dead(store, state="released")
    with pytest.raises(UnsupportedError):
        _lease(store).acquire(1, _nothing)


def test_a_release_wins_over_a_renewal_that_is_on_its_way(tmp_path: Path) -> None:
    class Renewing(_Store):
        lost = 1

        def replace(self, key: str, data: bytes, expected: ObjectInfo) -> bool:
            self.lost -= 1
            return self.lost < 0 and super().replace(key, data, expected)

    store = Renewing(tmp_path, UNSYNCED)
    lease = _lease(store, 60)
    lease.acquire(1, _nothing)
    lease.release()
    lease._swap(replace(lease._record, state="held"))
    found = store.read(lease_key(_MODEL), 1000)
    assert found is not None
    assert json.loads(found[0])["state"] == "released"
