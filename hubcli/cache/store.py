"""The store: find an entry, stage a new one, publish it with one rename."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hubcli.cache.descriptor import Descriptor
from hubcli.cache.disk import (
    cache_errors,
    exchange,
    not_a_directory,
    remove_tree,
    replace_link,
    write_new,
    write_whole,
)
from hubcli.cache.entry import Entry
from hubcli.cache.layout import TAG_NAME, CacheName, EntryPaths, NameKind
from hubcli.cache.lock import Lock, LockOwner, hold_lock
from hubcli.cache.manifest import Manifest
from hubcli.errors import LockLostError
from hubcli.handle import Handle

__all__ = ["Staging", "Store"]

_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This directory is a cache of TensorFlow SavedModels, made by hubcli.\n"
    "# See https://bford.info/cachedir/\n"
)


class Staging:
    """A model on its way into the cache: `path` is to be filled, then `publish` shows it."""

    def __init__(self, lock: Lock) -> None:
        self._paths = lock.paths
        self.path = lock.staging

    def publish(self, manifest: Manifest) -> Entry:
        """Makes the staged directory the entry, in place of what is there.

        The manifest is written first: a crash between the two steps is
        completed by the next process that holds the lock.
        """
        self._require_whole(manifest)
        paths = self._paths
        descriptor = Descriptor.of_this_process(manifest.handle, manifest.fetched_at_s)
        before = {path: _read_or_none(path) for path in (paths.descriptor, paths.manifest)}
        staged_inode = self.path.stat().st_ino
        try:
            write_whole(paths.descriptor, descriptor.to_text())
            write_whole(paths.manifest, manifest.to_text())
            _move_in(self.path, paths.model)
        except BaseException:
            if not paths.model.exists() or paths.model.stat().st_ino != staged_inode:
                for path, text in before.items():  # The old one stands, or none.
                    _restore(path, text)
            raise
        return Entry.read(paths)

    def _require_whole(self, manifest: Manifest) -> None:
        """Raises LockLostError where another process took the lock over and swept this directory."""
        problem = Entry(self._paths, manifest, None).difference(self.path)
        if problem is not None:
            raise LockLostError(f"Another process took over {manifest.handle}: {problem}")


def _read_or_none(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


def _restore(path: Path, text: str | None) -> None:
    if _read_or_none(path) == text:
        return
    if text is None:
        path.unlink(missing_ok=True)
    else:
        write_whole(path, text)


def _move_in(staged: Path, model: Path) -> None:
    try:
        staged.rename(model)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        exchange(staged, model)


class Store:
    """The cache at `root`. The root is made when something is first written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def paths(self, handle: Handle) -> EntryPaths:
        """Where the handle's entry stands, or would.

        tensorflow_hub may have cached the model under another spelling: then
        that directory is the entry.
        """
        with cache_errors(self.root):
            for key in (handle.cache_key, *handle.alias_keys):
                paths = EntryPaths(self.root, key)
                if paths.model.is_dir() and not paths.model.is_symlink():
                    return paths
        return EntryPaths(self.root, handle.cache_key)

    def find(self, handle: Handle) -> Entry | None:
        """The entry of the handle, whole or not, or None where there is no directory of it."""
        paths = self.paths(handle)
        with cache_errors(self.root):
            return Entry.read(paths) if paths.model.is_dir() else None

    @contextmanager
    def locked(
        self, handle: Handle, *, timeout_s: float, on_wait: Callable[[LockOwner | None], None]
    ) -> Iterator[Lock]:
        """Holds the lock on the handle's entry; first completes what a crash interrupted.

        Raises CacheError where the cache can't be written, LockTimeoutError.
        """
        with cache_errors(self.root):
            self._make_root()
            with hold_lock(self.paths(handle), timeout_s=timeout_s, on_wait=on_wait) as lock:
                _finish_interrupted_publication(lock)
                yield lock

    @contextmanager
    def staged(self, lock: Lock, handle: Handle) -> Iterator[Staging]:
        """An empty directory to fill, removed with all it holds unless it is published.

        The descriptor is written at once, so that a listing can tell what is
        being downloaded.
        """
        staging = Staging(lock)
        paths = lock.paths
        had_descriptor = paths.descriptor.exists()
        try:
            staging.path.mkdir()
            if not had_descriptor:
                write_whole(paths.descriptor, Descriptor.of_this_process(str(handle), time.time()).to_text())
            yield staging
        finally:
            remove_tree(staging.path)
            if not had_descriptor and not paths.model.exists():
                paths.descriptor.unlink(missing_ok=True)

    def link_aliases(self, handle: Handle, entry: Entry) -> bool:
        """Lets `hub.load` find the entry under every other spelling; whether all links stand.

        A directory that tensorflow_hub made under another spelling stays.
        """
        complete = True
        for key in (handle.cache_key, *handle.alias_keys):
            link = self.root / key
            if key == entry.paths.key or (link.is_symlink() and link.readlink() == Path(entry.paths.key)):
                continue
            try:
                replace_link(link, entry.paths.key)
            except FileExistsError:
                continue
            except OSError:
                complete = False
        return complete

    def adopt(self, entry: Entry, manifest: Manifest) -> Entry:
        """Records an entry that another tool made, where the cache can be written and nobody is at it."""
        with suppress(OSError):
            if not entry.paths.lock.exists():
                write_new(entry.paths.manifest, manifest.to_text())
        return Entry.read(entry.paths)

    def _make_root(self) -> None:
        if os.path.lexists(self.root) and not self.root.is_dir():
            raise not_a_directory(self.root)
        if not self.root.is_dir():
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / TAG_NAME).write_text(_TAG, encoding="utf-8")


def _finish_interrupted_publication(lock: Lock) -> None:
    """Does the last step of a publication that a crash cut off, then sweeps what crashes left.

    The manifest names the new files; if they are not in place, but whole in a
    staging directory, they are moved in. Whoever still fills one of the others
    has lost the lock, and will notice when it publishes.
    """
    entry = Entry.read(lock.paths)
    is_cut_off = entry.difference() is not None
    if not is_cut_off and not lock.was_broken:
        return  # The usual case, spared a look at every name in the root.
    for staged in _staging_directories(lock.paths):
        if is_cut_off and entry.difference(staged) is None:
            _move_in(staged, lock.paths.model)
            is_cut_off = False
        remove_tree(staged)


def _staging_directories(paths: EntryPaths) -> list[Path]:
    found = paths.root.glob(f"{paths.key}.*.tmp")
    return [path for path in found if CacheName.parse(path.name).kind is NameKind.STAGING]
