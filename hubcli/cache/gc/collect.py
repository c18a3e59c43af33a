"""Acts on a plan: each entry under its own lock, looked at once more, renamed aside, deleted.

The order makes a crash harmless at every step. Links of other spellings go first:
one that leads nowhere would keep tensorflow_hub from downloading. The rename takes
the model away whole; what it leaves are records without a model and a directory
`<sha1>.<uid>.trash`, which the next collection takes. Before a file is deleted the root is synced:
after a power loss a model is in its place with all its files, or it isn't there.

A process that uses or pins an entry says so in a file first and looks for the model then;
here the model is taken away first, and those files are looked at then. So one of the
two always notices the other: the model is put back, or fetched again. tensorflow_hub
says nothing, but lists the directory before it reads a file of it: where the mount
keeps access times, that is noticed too, if it comes after the snapshot.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from pathlib import Path

from hubcli.atomic_files import replace_link
from hubcli.cache.cached_model import CachedModel
from hubcli.cache.catalog import CachedModelInfo
from hubcli.cache.disk_usage import measure
from hubcli.cache.gc.plan import Plan, PlannedItem, Reason
from hubcli.cache.layout import (
    IN_LOWER_LAYER,
    CacheName,
    EntryPaths,
    NameKind,
    cache_errors,
    is_key,
    removal_hint,
)
from hubcli.cache.lock import Lock, lock_at_once
from hubcli.durability import SYNCED, Durability

__all__ = ["ActionResult", "CompletedAction", "collect"]

# hub.load reads a model some milliseconds after it has listed the directory. A program that lists it only
# to see how large it is does not use it, and may list it again.
_LOOK_TO_READ_S = 2.0
_ALREADY_REMOVED = "already removed"


class ActionResult(str, Enum):
    """What became of a planned item, in words that scripts may rely on."""

    REMOVED = "removed"
    BUSY = "busy"
    CHANGED = "changed"
    GONE = "gone"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CompletedAction:
    """An item that was dealt with. `freed_bytes` is what the disk got back, `detail` why it stays.

    `hint` says what to do about one that failed.
    """

    item: PlannedItem
    result: ActionResult
    freed_bytes: int = 0
    detail: str | None = None
    hint: str = "Check its owner and permissions."


def collect(
    plan: Plan,
    on_done: Callable[[CompletedAction], None] = lambda action: None,
    durability: Durability = SYNCED,
) -> list[CompletedAction]:
    """Removes what the plan says, as far as it is still so; what became of each item, in its order.

    Never waits for a lock. `on_done` is called for each item at once. Raises CacheError
    where the root can't be written.
    """
    outcome: list[CompletedAction] = []
    by_key = groupby(sorted(plan.items, key=lambda item: item.key), key=lambda item: item.key)
    groups = {key: tuple(items) for key, items in by_key}
    for key in dict.fromkeys(item.key for item in plan.items):
        with cache_errors(plan.snapshot.root):
            for action in _Collection(plan, EntryPaths(plan.snapshot.root, key), durability).run(groups[key]):
                outcome.append(action)
                on_done(action)
    place = {item.name: number for number, item in enumerate(plan.items)}
    return sorted(outcome, key=lambda action: place[action.item.name])


class _Collection:
    """The collection of one entry."""

    def __init__(self, plan: Plan, paths: EntryPaths, durability: Durability) -> None:
        self.policy = plan.policy
        self.paths = paths
        self.durability = durability

    def run(self, items: tuple[PlannedItem, ...]) -> Iterator[CompletedAction]:
        with lock_at_once(self.paths, silence_s=self.policy.grace_s) as lock:
            if lock is None:
                for item in items:
                    yield CompletedAction(item, ActionResult.BUSY, detail="another process holds its lock")
                return
            for item in items:
                yield self._collect_item(item, lock)

    def _collect_item(self, item: PlannedItem, lock: Lock) -> CompletedAction:
        try:
            return self._model(item, item.model, lock) if item.model else self._fragment(item, lock)
        except OSError as error:
            if error.errno == errno.EROFS:
                raise
            if error.errno == errno.EXDEV:
                return CompletedAction(
                    item, ActionResult.FAILED, detail=IN_LOWER_LAYER, hint=removal_hint(self.paths.model)
                )
            return CompletedAction(
                item, ActionResult.FAILED, detail=f"it cannot be removed: {error.strerror}"
            )

    # --- Models

    def _model(self, item: PlannedItem, model: CachedModelInfo, lock: Lock) -> CompletedAction:
        why_not = self._changed(item, model, self.paths.model)
        if why_not is not None:
            is_gone = not os.path.lexists(self.paths.model)
            return CompletedAction(
                item, ActionResult.GONE if is_gone else ActionResult.CHANGED, detail=why_not
            )
        links = self._unlink(model.links)
        if links:
            self.durability.directory(self.paths.root)  # Before the model that they lead to is removed.
        trash = self.paths.trash(lock.owner.uid)
        try:
            self.paths.model.rename(trash)
        except FileNotFoundError:  # Another process was faster: the lock was taken over, or the disk full.
            return CompletedAction(item, ActionResult.GONE, detail=_ALREADY_REMOVED)
        except OSError:
            self._link(links)
            raise
        if item.reason is Reason.ASKED_FOR:
            self.paths.pin.unlink(missing_ok=True)
        # From here on the model can't be found: what may put it back is checked first.
        why_not = self._changed(item, model, trash)
        if why_not is not None and self._put_back(trash, links):
            return CompletedAction(item, ActionResult.CHANGED, detail=why_not)
        if not os.path.lexists(self.paths.model):  # Nobody took the lock over meanwhile and published.
            for record in (self.paths.manifest, self.paths.descriptor):
                _delete(record)
        self.durability.directory(self.paths.root)
        return self._deleted(item, trash)

    def _changed(self, item: PlannedItem, model: CachedModelInfo, place: Path) -> str | None:
        """Why the model at `place` must not go any more, None if it is still what was planned."""
        try:
            status = os.lstat(place)
        except FileNotFoundError:
            return _ALREADY_REMOVED
        if status.st_ino != model.inode:
            return "it was fetched again meanwhile"
        if item.reason is Reason.ASKED_FOR:
            return None
        is_new_look = status.st_atime_ns != model.listed_at_ns
        if is_new_look and abs(time.time() - status.st_atime) < _LOOK_TO_READ_S:
            return "it was opened just now"
        if os.path.lexists(self.paths.pin):
            return "it was pinned meanwhile"
        entry = CachedModel.read(self.paths)
        look = entry.look(place)
        use = entry.last_use_with(look.accessed_at_s)
        if use is not None and (model.last_used_at_s is None or use.at_s > model.last_used_at_s):
            return "it was used meanwhile"
        if item.reason is Reason.GUTTED and entry.manifest is not None and look.problem is None:
            return "it is complete again"
        return None

    def _unlink(self, aliases: tuple[str, ...]) -> list[tuple[Path, str]]:
        """Removes the links of other spellings that still lead here; which, and where they led."""
        removed = []
        for key in aliases:
            link = self.paths.root / key
            with suppress(OSError):
                target = str(link.readlink())
                if is_key(target.rpartition("/")[2]):
                    link.unlink()
                    removed.append((link, target))
        return removed

    def _put_back(self, trash: Path, links: list[tuple[Path, str]]) -> bool:
        """Whether the model is in its place again, not another that came there meanwhile."""
        if os.path.lexists(self.paths.model):
            return False
        trash.rename(self.paths.model)
        self._link(links)
        self.durability.directory(self.paths.root)
        return True

    def _link(self, links: list[tuple[Path, str]]) -> None:
        """Makes links again that were removed."""
        for link, target in links:
            with suppress(OSError):
                replace_link(link, target)

    # --- Fragments

    def _fragment(self, item: PlannedItem, lock: Lock) -> CompletedAction:
        fragment = item.fragment
        assert fragment is not None
        path = self.paths.root / fragment.name
        if fragment.kind is NameKind.LOCK:  # Taken over, and released when all is done.
            freed = fragment.footprint.freed_bytes if lock.was_broken else 0
            return CompletedAction(
                item, ActionResult.REMOVED if lock.was_broken else ActionResult.GONE, freed
            )
        if not os.path.lexists(path):
            return CompletedAction(item, ActionResult.GONE, detail=_ALREADY_REMOVED)
        needs_no_model = fragment.kind in (
            NameKind.ALIAS,
            NameKind.DESCRIPTOR,
            NameKind.MANIFEST,
            NameKind.PIN,
        )
        if needs_no_model and self.paths.model.is_dir():
            return CompletedAction(item, ActionResult.CHANGED, detail="it has a model again")
        if fragment.kind is NameKind.ALIAS and not path.is_symlink():
            return CompletedAction(item, ActionResult.CHANGED, detail="it is no longer a link")
        if fragment.kind is NameKind.SPOOL and measure(path).changed_at_s > fragment.changed_at_s:
            return CompletedAction(item, ActionResult.CHANGED, detail="it was written to meanwhile")
        return self._deleted(item, path)

    def _deleted(self, item: PlannedItem, path: Path) -> CompletedAction:
        assert CacheName.parse(path.name).key == self.paths.key
        before = measure(path).footprint.freed_bytes
        _delete(path)
        if not os.path.lexists(path):
            return CompletedAction(item, ActionResult.REMOVED, before)
        after = measure(path).footprint.freed_bytes
        return CompletedAction(
            item,
            ActionResult.FAILED,
            before - after,
            f"{path.name} could not be emptied: check its permissions",
        )


def _delete(path: Path) -> None:
    """Removes a file or link itself, or a directory with all in it, write-protected or not.

    Follows no link: shutil.rmtree goes by file descriptors, and refuses a link in place of a directory.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)
    if not os.path.lexists(path):
        return
    for folder, _, _ in os.walk(path):
        with suppress(OSError):
            inner = Path(folder)
            inner.chmod(stat.S_IMODE(inner.lstat().st_mode) | stat.S_IRWXU)
    shutil.rmtree(path, ignore_errors=True)
