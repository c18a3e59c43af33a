"""What is in a tier by its listings alone, in a database on this disk: 100,000 models in bounded memory.

Sizes are bytes, times seconds since 1970 by the store's clock. A manifest's time is that of its last use.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

from hubcli.errors import DiskFullError, NetworkError
from hubcli.net.object_store import ObjectInfo, ObjectStore
from hubcli.tiers.layout import (
    BLOBS,
    LEASES,
    LISTED,
    MODELS,
    ORPHANS,
    ManifestKey,
    blob_of_key,
    blob_of_mark,
    is_lease,
    model_of_current,
)

__all__ = ["Inventory", "TierStat"]

_BATCH = 1000
_MAX_BYTES = (1 << 63) - 1
_SCHEMA = """
CREATE TABLE manifests (
    model TEXT, sha256 TEXT, used_s REAL, etag TEXT, is_kept INTEGER DEFAULT 0, reason TEXT,
    PRIMARY KEY (model, sha256)
) WITHOUT ROWID;
CREATE INDEX manifests_by_archive ON manifests (sha256);
CREATE INDEX manifests_by_use ON manifests (used_s);
CREATE TABLE currents (model TEXT PRIMARY KEY, modified_s REAL) WITHOUT ROWID;
CREATE TABLE blobs (sha256 TEXT PRIMARY KEY, bytes INTEGER, modified_s REAL) WITHOUT ROWID;
CREATE TABLE orphans (sha256 TEXT PRIMARY KEY, since_s REAL) WITHOUT ROWID;
CREATE TABLE leases (key TEXT PRIMARY KEY, modified_s REAL) WITHOUT ROWID;
"""
_ORPHANED = "sha256 NOT IN (SELECT sha256 FROM manifests WHERE reason IS NULL)"


class OrphanedBlob(NamedTuple):
    """An archive that no manifest names; `since_s` is when it was marked as such, None if it wasn't yet."""

    sha256: str
    size_bytes: int
    modified_s: float
    since_s: float | None


class TierStat(NamedTuple):
    """A tier in numbers: handles, archives that their manifests name, blobs, and blobs that none names."""

    models: int
    manifests: int
    blobs: int
    blob_bytes: int
    orphans: int
    orphan_bytes: int
    missing: int
    leases: int
    oldest_use_s: float | None
    newest_use_s: float | None


class Inventory:
    """The objects of a tier as they were listed, without those of other programs. To be closed."""

    def __init__(self, store: ObjectStore, on_objects: Callable[[int], None] = lambda count: None) -> None:
        self.now_s = store.now().timestamp()
        # An empty name is a private database, which moves to the disk as it grows, and ends with it.
        self.database = sqlite3.connect("")
        self._on_objects = on_objects
        self._copies = 0
        self._listed = set[str]()
        try:
            with _disk_errors():
                self._read(store)
        except BaseException:
            self.database.close()
            raise

    @classmethod
    def to_collect(cls, store: ObjectStore, *, dry_run: bool = False) -> Inventory:
        """The inventory of a tier from which something is removed by what its listings lack.

        Raises NetworkError where they lack what is there: for a page in place of a listing, such as that of a
        login, all models or all archives would seem to be gone. A dry run writes nothing, and looks for the
        objects that an earlier collection has written.
        """
        required = set[str]()
        for key in () if store.is_local else LISTED:
            if store.head(key) is not None:
                required.add(key)
            elif not dry_run:
                store.create(key, b"")
                required.add(key)
        inventory = cls(store)
        if inventory._listed >= required:
            return inventory
        inventory.database.close()
        raise NetworkError(
            f"The listing of {store.address} lacks objects that are there: nothing was removed",
            hint="Check the endpoint, and whether a proxy or a login page answers in its place.",
        )

    def _objects(self, store: ObjectStore, prefix: str) -> Iterator[ObjectInfo]:
        for info in store.list_objects(prefix):
            if info.key in LISTED:
                self._listed.add(info.key)
            else:
                yield info

    def _read(self, store: ObjectStore) -> None:
        self.database.executescript(_SCHEMA)
        # Archives first: one that comes with its manifest meanwhile is named, never the other way round.
        self._fill("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", map(_blob, self._objects(store, BLOBS)))
        self._fill("INSERT OR REPLACE INTO orphans VALUES (?, ?)", map(_orphan, store.list_objects(ORPHANS)))
        self._fill("INSERT OR REPLACE INTO leases VALUES (?, ?)", map(_lease, store.list_objects(LEASES)))
        self._read_models(store)

    def __enter__(self) -> Inventory:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.database.close()
        if isinstance(error, sqlite3.OperationalError):
            raise _full(error) from error

    def _fill(self, statement: str, rows: Iterable[tuple[Any, ...] | None]) -> None:
        found = (row for row in rows if row is not None)
        while batch := list(islice(found, _BATCH)):
            self.database.executemany(statement, batch)
            self._on_objects(len(batch))

    def _read_models(self, store: ObjectStore) -> None:
        currents: list[tuple[str, float]] = []

        def manifests() -> Iterator[tuple[Any, ...] | None]:
            for info in self._objects(store, MODELS):
                key = ManifestKey.parse(info.key)
                if key is not None:
                    yield (*key, _time_s(info), info.etag, 0, None)
                elif (model := model_of_current(info.key)) is not None:
                    currents.append((model, _time_s(info)))
                    if len(currents) >= _BATCH:
                        self._fill("INSERT OR REPLACE INTO currents VALUES (?, ?)", currents)
                        currents.clear()

        self._fill("INSERT OR REPLACE INTO manifests VALUES (?, ?, ?, ?, ?, ?)", manifests())
        self._fill("INSERT OR REPLACE INTO currents VALUES (?, ?)", currents)

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, a thousand at a time."""
        cursor = self.database.execute(query, values)
        while batch := cursor.fetchmany(_BATCH):
            yield from batch

    def copied(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of a query as they are now, while the tables that it reads are changed."""
        self._copies += 1
        name = f"copy_{self._copies}"
        self.database.execute(f"CREATE TABLE {name} AS {query}", values)
        yield from self.rows(f"SELECT * FROM {name} ORDER BY rowid")  # noqa: S608 - a name of ours

    def number(self, query: str, *values: Any) -> int:
        """The one number that a query gives, 0 where it gives none."""
        found = self.database.execute(query, values).fetchone()
        return int(found[0] or 0)

    @property
    def named_bytes(self) -> int:
        """What the archives take that manifests name, each once."""
        return self.number(f"SELECT total(bytes) FROM blobs WHERE NOT ({_ORPHANED})")  # noqa: S608 - ours

    def orphaned(self) -> Iterator[OrphanedBlob]:
        """The archives that no manifest names."""
        query = "SELECT sha256, bytes, modified_s, (SELECT since_s FROM orphans o WHERE o.sha256 = b.sha256)"
        return map(OrphanedBlob._make, self.rows(f"{query} FROM blobs b WHERE b.{_ORPHANED}"))

    def sum_of_planned(self) -> tuple[int, int]:
        """How many manifests have a reason to go, and what their archives take that none else names."""
        count = self.number("SELECT count(*) FROM manifests WHERE reason IS NOT NULL")
        going = f"{_ORPHANED} AND sha256 IN (SELECT sha256 FROM manifests)"  # noqa: S608 - ours
        return count, self.number(f"SELECT total(bytes) FROM blobs WHERE {going}")  # noqa: S608 - ours

    def sum_of_orphans(self) -> tuple[int, int]:
        """How many archives no manifest names, and what they take; without those that are about to be."""
        alone = "sha256 NOT IN (SELECT sha256 FROM manifests)"
        count = self.number(f"SELECT count(*) FROM blobs WHERE {alone}")  # noqa: S608 - ours
        return count, self.number(f"SELECT total(bytes) FROM blobs WHERE {alone}")  # noqa: S608 - ours

    def stat(self) -> TierStat:
        """The tier in numbers."""
        oldest, newest = self.database.execute("SELECT min(used_s), max(used_s) FROM manifests").fetchone()
        return TierStat(
            models=self.number("SELECT count(DISTINCT model) FROM manifests"),
            manifests=self.number("SELECT count(*) FROM manifests"),
            blobs=self.number("SELECT count(*) FROM blobs"),
            blob_bytes=self.number("SELECT total(bytes) FROM blobs"),
            orphans=self.number(f"SELECT count(*) FROM blobs WHERE {_ORPHANED}"),  # noqa: S608
            orphan_bytes=self.number(f"SELECT total(bytes) FROM blobs WHERE {_ORPHANED}"),  # noqa: S608
            missing=self.number(
                "SELECT count(*) FROM manifests WHERE sha256 NOT IN (SELECT sha256 FROM blobs)"
            ),
            leases=self.number("SELECT count(*) FROM leases"),
            oldest_use_s=oldest,
            newest_use_s=newest,
        )


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turns the database's errors of a full disk into ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise _full(error) from error


def _full(error: sqlite3.OperationalError) -> DiskFullError:
    return DiskFullError(
        f"Cannot write the list of objects in a temporary file: {error}",
        hint="Use a directory with enough space: SQLITE_TMPDIR=DIR hubcli tier …",
    )


def _time_s(info: ObjectInfo) -> float:
    return info.modified.timestamp()


def _blob(info: ObjectInfo) -> tuple[str, int, float] | None:
    sha256 = blob_of_key(info.key)
    # A store may claim more than the database can hold.
    return None if sha256 is None else (sha256, min(info.size_bytes, _MAX_BYTES), _time_s(info))


def _orphan(info: ObjectInfo) -> tuple[str, float] | None:
    sha256 = blob_of_mark(info.key)
    return None if sha256 is None else (sha256, _time_s(info))


def _lease(info: ObjectInfo) -> tuple[str, float] | None:
    return (info.key, _time_s(info)) if is_lease(info.key) else None
