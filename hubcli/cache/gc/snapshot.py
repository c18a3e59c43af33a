"""A snapshot of the cache for a collection: every fact that a plan may need, none that it can change.

And which directories are never collected, as they were probably named by mistake.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from hubcli._moved import renamed
from hubcli.cache.cached_model import CachedModel
from hubcli.cache.catalog import CachedModelInfo
from hubcli.cache.disk_usage import Footprint, measure
from hubcli.cache.layout import CacheName, EntryPaths, NameKind, RootNames, cache_errors, is_key, leads_out
from hubcli.cache.lock import last_activity_s
from hubcli.cache.record_index import RecordReader
from hubcli.cache.records import LockOwner
from hubcli.config.environment import in_home
from hubcli.errors import UsageError

TYPE_CHECKING = False  # Each listing would pay for typing.

__all__ = ["Fragment", "Holder", "LockFacts", "Snapshot", "require_collectable", "take_snapshot"]


class Holder(Enum):
    """What is known of the process that a lock names."""

    DEAD = "dead"
    ALIVE = "alive"
    UNKNOWN = "unknown"  # Of another host, or the lock names none.


class LockFacts(NamedTuple):
    """A lock: who holds it, and when it or what its holder unpacks last changed."""

    owner: LockOwner | None
    holder: Holder
    changed_at_s: float


class Fragment(NamedTuple):
    """A name of the cache that is not a model; `key` is that of the model it belongs to.

    `is_complete` says of a temp directory that it holds a whole model, whose
    publication was cut off: the next fetch of it puts it in place.
    """

    name: str
    key: str
    kind: NameKind
    footprint: Footprint
    changed_at_s: float
    handle: str | None = None
    is_complete: bool = False


class Snapshot(NamedTuple):
    """The cache at one moment. `free_bytes` is what the disk has left for this user.

    `fragments` are those that may be leftovers: all of a key without a model, and
    locks, temp files and spools of any other.
    """

    root: Path
    now_s: float
    free_bytes: int
    models: tuple[CachedModelInfo, ...]
    fragments: tuple[Fragment, ...]
    locks: Mapping[str, LockFacts] = MappingProxyType({})


_RECORDS = (NameKind.MANIFEST, NameKind.DESCRIPTOR, NameKind.PIN)


def take_snapshot(root: Path, *, with_index: bool = False, with_links: bool = True) -> Snapshot:
    """The cache at `root` as it is now; empty without the directory.

    Reads names, sizes and records, never a model, and changes nothing. `with_index` is for a dry run: it
    takes records that haven't changed from the index of the listings, and nothing can be removed by it.
    Without `with_links` the models have no links of other spellings: of these, all but a few are looked at
    and forgotten. Raises CacheError if the root can't be read.
    """
    names = RootNames.read(root, with_links=True)
    with cache_errors(root):
        now_s = time.time()
        if not root.is_dir():
            return Snapshot(root, now_s, 0, (), ())
        links = _Links(names, by_model=with_links)
        names.links.clear()  # The names of the seven links of a model take as much memory as the model.
        locks = {key: _lock_facts(EntryPaths(root, key)) for key in names.locked}
        with RecordReader(names, with_index=with_index) as records:
            models = [
                model
                for key in (*names.models, *names.moved)
                if (model := CachedModelInfo.for_collection(names, key, links.of(key), records)) is not None
            ]
        fragments = [
            fragment
            for key in names.fragments
            for fragment in _fragments(names, key, has_model=links.has_model(key))
        ]
        fragments += links.without_model()
        free_bytes = shutil.disk_usage(root).free
    return Snapshot(root, now_s, free_bytes, tuple(models), tuple(fragments), locks)


class _Links:
    """Where the links of other spellings lead; `by_model` says that those of each model are of interest."""

    def __init__(self, names: RootNames, *, by_model: bool) -> None:
        self._names = names
        self._by_model: dict[str, list[str]] = {}
        self._ends: dict[str, str | None] = {}
        self._dangling: list[str] = []
        indirect = self._sort(by_model=by_model)
        self._targets = indirect | self._passed(indirect)
        for link in indirect:
            end = self._end(link)
            if end is None:
                self._dangling.append(link)
            elif end and by_model:
                self._by_model.setdefault(end, []).append(link)

    def _sort(self, *, by_model: bool) -> dict[str, str | None]:
        """The targets of the links that lead to no model's directory; the others, if asked for, by model."""
        indirect: dict[str, str | None] = {}
        names, folder = self._names, f"{self._names.root}/"
        is_model, links_of = names.models.__contains__, self._by_model.setdefault
        with _link_reader(folder) as read:
            for link in names.links:
                try:
                    target = read(link)
                except OSError:  # It was removed meanwhile.
                    target = ""
                if not is_model(target):
                    indirect[link] = target if is_key(target) else _target(folder + link)
                elif by_model:  # The usual case, some seven times a model.
                    links_of(target, []).append(link)
        return indirect

    def _passed(self, indirect: Mapping[str, str | None]) -> dict[str, str | None]:
        """The targets of links to a model that these links or fragments go by."""
        names, folder = self._names, f"{self._names.root}/"
        passed = names.fragments.keys() | {*indirect.values()} - {None}
        passed -= indirect.keys() | names.models | names.moved
        return {link: _target(folder + link) for link in (names.links if passed else ()) if link in passed}

    def of(self, key: str) -> tuple[str, ...]:
        """The links that lead to the model."""
        links = self._by_model.get(key)
        return () if links is None else tuple(sorted(links))

    def has_model(self, key: str) -> bool:
        """Whether a model stands at that name, or may.

        A link out of the root may lead to a disk that isn't mounted now.
        """
        if key in self._names.models or key in self._names.moved:
            return True
        return key in self._targets and self._end(key) is not None

    def without_model(self) -> list[Fragment]:
        """The links that lead to no model."""
        root = self._names.root
        return [
            Fragment(link, link, NameKind.ALIAS, found.footprint, found.changed_at_s)
            for link in self._dangling
            for found in [measure(root / link)]
        ]

    def _end(self, link: str) -> str | None:
        """The key of the model that the link leads to; empty where it leads out, None if nowhere."""
        key: str | None = link
        passed = []
        while key is not None and key in self._targets and key not in self._ends:
            self._ends[key] = None  # Links in a circle lead nowhere.
            passed.append(key)
            key = self._targets[key]
        if key is None:
            end: str | None = ""
        elif key in self._names.models or key in self._names.moved:
            end = key
        else:
            end = self._ends.get(key)
        # Each is followed once: of a chain of a hundred thousand links, no link is followed to the end again.
        self._ends.update(dict.fromkeys(passed, end))
        return end


@contextmanager
def _link_reader(folder: str) -> Iterator[Callable[[str], str]]:
    """A function that reads a link in the folder by its name: for many, Paths would cost more than that.

    The folder is opened: for a whole path, the system looks up each of its parts again.
    """
    read = os.readlink
    if read not in os.supports_dir_fd:
        yield lambda link: read(folder + link)
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        yield partial(read, dir_fd=opened)
    finally:
        os.close(opened)


def _target(link: str) -> str | None:
    try:
        target = os.readlink(link)  # noqa: PTH115 - a Path would tidy it
    except OSError:
        return None
    if "/" not in target:
        return target if target not in ("", ".", "..") else None
    return None if leads_out(Path(link)) else target.rpartition("/")[2]


def _lock_facts(paths: EntryPaths) -> LockFacts:
    owner = LockOwner.read(paths.lock)
    if owner is None or not owner.is_here:
        holder = Holder.UNKNOWN
    else:
        holder = Holder.DEAD if owner.is_dead(paths.lock) else Holder.ALIVE
    return LockFacts(owner, holder, last_activity_s(paths, owner))


def _fragments(names: RootNames, key: str, *, has_model: bool) -> Iterable[Fragment]:
    kinds = {name.kind for name in names.fragments[key]}
    if has_model and kinds <= set(_RECORDS):
        return  # The usual case.
    record = CachedModel.read(EntryPaths(names.root, key))
    may_be_cut_off = NameKind.STAGING in kinds and record.difference() is not None
    for name in names.fragments[key]:
        if not has_model or name.kind not in _RECORDS:
            yield _fragment(names.root / name.text, name, record, may_be_cut_off=may_be_cut_off)


def _fragment(path: Path, name: CacheName, record: CachedModel, *, may_be_cut_off: bool) -> Fragment:
    found = measure(path)
    is_staging = name.kind is NameKind.STAGING and not path.is_symlink()
    return Fragment(
        name=name.text,
        key=record.key,
        kind=name.kind,
        footprint=found.footprint,
        changed_at_s=found.changed_at_s,
        handle=record.handle,
        is_complete=is_staging and may_be_cut_off and record.difference(path) is None,
    )


def require_collectable(root: Path) -> None:
    """Raises UsageError if the root is `/`, somebody's home, or the top of a repository.

    Its names differ from the cache's, but the root was probably given by mistake.
    """
    resolved = _real(root)
    if resolved == Path(resolved.anchor):
        what = "the root of the file system"
    elif resolved in _homes(resolved):
        what = "a home directory"
    elif os.path.lexists(resolved / ".git"):
        what = "the top of a Git repository"
    else:
        return
    raise UsageError(
        f"Refusing to remove anything from the cache {root}: it is {what}",
        hint="Use a directory of its own for the cache: --cache-dir DIR",
    )


def _homes(root: Path) -> set[Path]:
    """The homes of this user and of the directory's owner, by the environment and by the system's list."""
    own = in_home(".")
    homes = set() if own is None else {_real(own)}
    try:
        import pwd

        for user in (os.getuid(), root.stat().st_uid):
            homes.add(_real(Path(pwd.getpwuid(user).pw_dir)))
    except (ImportError, KeyError, OSError):  # Another system, a user without a name, no such root.
        pass
    return homes


def _real(path: Path) -> Path:
    """Where it is; unlike Path.resolve, this accepts links that lead to themselves."""
    return Path(os.path.realpath(path))


if not TYPE_CHECKING:  # What only runs: to the type checker the old names are gone.

    def __getattr__(name: str) -> object:
        return renamed(__name__, name)
