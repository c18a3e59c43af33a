"""The store: find an entry, stage a new one, publish it with one rename."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hubcli.atomic_files import exchange, remove_tree, replace_link, write_new, write_whole
from hubcli.cache.cached_model import CachedModel
from hubcli.cache.layout import (
    TAG_NAME,
    CacheName,
    EntryPaths,
    NameKind,
    cache_errors,
    is_key,
    not_a_directory,
)
from hubcli.cache.lock import Lock, hold_lock
from hubcli.cache.records import Descriptor, LockOwner, Manifest
from hubcli.durability import SYNCED, UNSYNCED, Durability
from hubcli.errors import LockLostError
from hubcli.providers.handle import Handle, key_of
from hubcli.regular_file import read_regular

__all__ = ["Staging", "Store"]

_MAX_RECORD_BYTES = 1 << 27
_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This directory is a cache of TensorFlow SavedModels, made by hubcli.\n"
    "# See https://bford.info/cachedir/\n"
)


class Staging:
    """A model on its way into the cache: `path` is to be filled, then `publish` shows it.

    `is_published` says whether that was done.
    """

    def __init__(self, lock: Lock, durability: Durability = SYNCED) -> None:
        self._lock = lock
        self._durability = durability
        self._paths = lock.paths
        self.path = lock.staging
        self.spool = lock.paths.spool
        self.is_published = False
        # One that an interrupted download left names its spool, and goes with it.
        self._had_descriptor = lock.paths.descriptor.exists() and not lock.paths.spool.exists()
        self._is_abandoned = False
        self._at_end = threading.Lock()  # It is published or removed, never both at once.

    def open(self, handle: Handle) -> None:
        """Makes the empty directory, and tells at once, by the descriptor, what is being downloaded."""
        self.path.mkdir()
        if not self._paths.descriptor.exists():
            descriptor = Descriptor.of_this_process(str(handle), time.time())
            # Not synced: it tells of a download that a power loss ends. `publish` writes it anew.
            write_whole(self._paths.descriptor, descriptor.to_text(), UNSYNCED)

    def remove(self) -> None:
        """Removes all of it that isn't published; the descriptor of a download that can be resumed stays."""
        with self._at_end:
            remove_tree(self.path)
            is_named = self._had_descriptor or self._paths.spool.exists()
            if not is_named and not os.path.lexists(self._paths.model):
                self._paths.descriptor.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Removes all of it, and the lock, while another thread is at it, which can't publish it any more."""
        with self._at_end:
            self._is_abandoned = True
            trash = self._paths.trash(self._lock.owner.uid)
            with suppress(OSError):
                self.path.rename(trash)  # From now on nothing can be made in it.
        remove_tree(trash)
        self.remove()
        self._lock.release()

    def clear(self) -> None:
        """Empties the directory, for another attempt. Raises LockLostError if another process swept it."""
        try:
            for path in self.path.iterdir():
                remove_tree(path)
        except FileNotFoundError as error:
            raise LockLostError("Another process took over the lock") from error

    def publish(self, manifest: Manifest) -> CachedModel:
        """Makes the staged directory the entry, in place of what is there.

        Where nothing is there, the manifest is written first: a crash between the two steps is
        completed by the next process that holds the lock. Where another model is there, its manifest
        goes before it does, and the new one comes last: a crash must not leave the record of one
        model with the files of another, which may have the same sizes. What has no manifest is taken
        as tensorflow_hub's models are.

        The same holds after a power loss: the files are synced before anything names them, and the
        root after each step whose order counts. What it replaces is deleted last. Raises OSError
        where the disk fails, with the old entry in its place, or none.
        """
        try:
            self._durability.tree(self.path)  # Takes long: outside of the lock of `abandon`.
        except FileNotFoundError as error:
            raise LockLostError(f"Another process took over {manifest.handle}") from error
        with self._at_end:
            return self._publish(manifest)

    def _publish(self, manifest: Manifest) -> CachedModel:
        self._require_whole(manifest)
        paths = self._paths
        descriptor = Descriptor.of_this_process(manifest.handle, manifest.fetched_at_s)
        before = {path: _read_or_none(path) for path in (paths.descriptor, paths.manifest)}
        staged_inode, pending = self.path.stat().st_ino, paths.pending_manifest(self._lock.owner.uid)
        is_new, synced = not os.path.lexists(paths.model), self._durability
        try:
            write_whole(paths.descriptor, descriptor.to_text(), synced)
            synced.write_file(pending, manifest.to_text())
            if not is_new:
                paths.manifest.unlink(missing_ok=True)
            # From here on the staged files, and the new manifest under its first name, outlast a power loss.
            synced.directory(paths.root)
            if is_new:
                pending.replace(paths.manifest)
                _move_in(self.path, paths.model)
            else:
                _move_in(self.path, paths.model)
                synced.directory(paths.root)  # Else the new manifest might be kept with the old files.
                pending.replace(paths.manifest)
            synced.directory(paths.root)
        except BaseException as error:
            pending.unlink(missing_ok=True)
            if isinstance(error, OSError) and _inode(paths.model) == staged_inode:
                self._take_back(is_new)
            if _inode(paths.model) != staged_inode:
                for path, text in before.items():  # The old one stands, or none.
                    _restore(path, text, synced)
            raise
        self.is_published = True
        return CachedModel.read(paths)

    def _take_back(self, is_new: bool) -> None:
        """Puts back what stood there before: the disk failed before the new model was safe on it."""
        with suppress(OSError):
            if is_new:
                self._paths.model.rename(self.path)
            else:
                exchange(self.path, self._paths.model)

    def _require_whole(self, manifest: Manifest) -> None:
        """Raises LockLostError if another process took the lock over and swept this directory."""
        problem = CachedModel(self._paths, manifest, None).difference(self.path)
        if self._is_abandoned:
            problem = "this process lost the lock"
        if problem is not None:
            raise LockLostError(f"Another process took over {manifest.handle}: {problem}")


def _read_or_none(path: Path) -> str | None:
    try:
        return read_regular(path, _MAX_RECORD_BYTES).decode("utf-8", "surrogateescape")
    except OSError:
        return None


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _restore(path: Path, text: str | None, durability: Durability) -> None:
    if _read_or_none(path) == text:
        return
    if text is None:
        path.unlink(missing_ok=True)
    else:
        write_whole(path, text, durability)


def _move_in(staged: Path, model: Path) -> None:
    try:
        staged.rename(model)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        exchange(staged, model)


class Store:
    """The cache at `root`. The root is made when something is first written.

    `durability` says whether what is written stays through a power loss.
    """

    def __init__(self, root: Path, durability: Durability = SYNCED) -> None:
        self.root = root
        self._durability = durability

    def paths(self, handle: Handle) -> EntryPaths:
        """Where the handle's entry stands, or would.

        tensorflow_hub may have cached the model under another spelling: then
        that directory is the entry. Else one that another handle of the same
        model was fetched for may be linked to.
        """
        with cache_errors(self.root):
            every = [EntryPaths(self.root, key) for key in (handle.cache_key, *handle.alias_keys)]
            for paths in every:
                if paths.model.is_dir() and not paths.model.is_symlink():
                    return paths
            for paths in every:
                linked = _linked_entry(paths)
                if linked is not None:
                    return linked
        return EntryPaths(self.root, handle.cache_key)

    def find(self, handle: Handle) -> CachedModel | None:
        """The entry of the handle, complete or not; None if it has no directory."""
        paths = self.paths(handle)
        with cache_errors(self.root):
            return CachedModel.read(paths) if paths.model.is_dir() else None

    @contextmanager
    def locked(
        self, handle: Handle, *, timeout_s: float, on_wait: Callable[[LockOwner | None], None]
    ) -> Iterator[Lock]:
        """Holds the lock on the handle's entry; first completes what a crash interrupted.

        Raises CacheError if the cache can't be written, LockTimeoutError.
        """
        with cache_errors(self.root):
            self._make_root()
            with hold_lock(self.paths(handle), timeout_s=timeout_s, on_wait=on_wait) as lock:
                _finish_interrupted_publication(lock, self._durability)
                yield lock

    @contextmanager
    def staged(self, lock: Lock, handle: Handle) -> Iterator[Staging]:
        """An empty directory to fill, removed with all it holds unless it is published.

        The descriptor is written at once, so that a listing can tell what is
        being downloaded.
        """
        staging = Staging(lock, self._durability)
        try:
            staging.open(handle)
            yield staging
        finally:
            staging.remove()

    def link_aliases(self, handle: Handle, entry: CachedModel) -> bool:
        """Lets `hub.load` find the entry under every other spelling; whether all links stand.

        A directory that tensorflow_hub made under another spelling stays.
        """
        complete, is_changed = True, False
        for key in (handle.cache_key, *handle.alias_keys):
            link = self.root / key
            if key == entry.paths.key or (link.is_symlink() and link.readlink() == Path(entry.paths.key)):
                continue
            try:
                replace_link(link, entry.paths.key)
                is_changed = True
            except FileExistsError:
                continue
            except OSError:
                complete = False
        if is_changed:
            with cache_errors(self.root):
                self._durability.directory(self.root)
        return complete

    def unlink_aliases(self, spellings: Iterable[str], entry: CachedModel) -> None:
        """Takes the entry's links of these spellings away. Raises CacheError if that can't be done.

        Not synced: `publish` syncs the root before another model takes the entry's place.
        """
        with cache_errors(self.root):
            for link in (self.root / key_of(spelling) for spelling in spellings):
                if link.is_symlink() and link.readlink() == Path(entry.paths.key):
                    link.unlink()

    def adopt(self, entry: CachedModel, manifest: Manifest) -> CachedModel:
        """Records an entry that another tool made, if the cache is writable and no process has the lock.

        tensorflow_hub syncs nothing: its files are synced before a record counts on their sizes.
        """
        with suppress(OSError):
            if not entry.paths.lock.exists() and os.access(self.root, os.W_OK):
                self._durability.tree(entry.path)
                self._durability.directory(self.root)
                write_new(entry.paths.manifest, manifest.to_text(), self._durability)
                self._durability.directory(self.root)
        return CachedModel.read(entry.paths)

    def pin(self, paths: EntryPaths) -> bool:
        """Keeps the entry from collection; whether it wasn't pinned before.

        The file comes first and the look at the model second, as a collection does it
        the other way round: a pin of a model that is there then is never overlooked.
        Raises CacheError if the cache can't be written.
        """
        with cache_errors(self.root):
            try:
                paths.pin.touch(exist_ok=False)
            except FileExistsError:
                return False
            finally:
                self._durability.directory(self.root)  # Also of a pin that another process is just making.
            return True

    def unpin(self, paths: EntryPaths) -> bool:
        """Takes the pin off; whether there was one. Raises CacheError if the cache can't be written."""
        with cache_errors(self.root):
            try:
                paths.pin.unlink()
            except FileNotFoundError:
                return False
            self._durability.directory(self.root)
            return True

    def _make_root(self) -> None:
        if os.path.lexists(self.root) and not self.root.is_dir():
            raise not_a_directory(self.root)
        if not self.root.is_dir():
            self._durability.make_directory(self.root)
            self._durability.write_file(self.root / TAG_NAME, _TAG)


def _linked_entry(paths: EntryPaths) -> EntryPaths | None:
    """The entry that the name is a link to, None if it is none."""
    if not paths.model.is_symlink():
        return None
    target = EntryPaths(paths.root, paths.model.readlink().name)
    is_entry = is_key(target.key) and target.model.is_dir() and not target.model.is_symlink()
    return target if is_entry and paths.model.readlink() == Path(target.key) else None


def _finish_interrupted_publication(lock: Lock, durability: Durability) -> None:
    """Does the last step of a publication that a crash cut off, then sweeps what crashes left.

    The manifest names the new files; if they are not in place, but whole in a
    staging directory, they are moved in. A process that still fills one of the others
    has lost the lock, and will notice when it publishes.
    """
    if lock.was_broken and not os.path.lexists(lock.paths.model):
        _show_pending(lock.paths, durability)
    entry = CachedModel.read(lock.paths)
    is_cut_off = entry.difference() is not None
    if not is_cut_off and not lock.was_broken:
        return  # The usual case, spared a look at every name in the root.
    for staged in _staging_directories(lock.paths):
        if is_cut_off and entry.difference(staged) is None:
            durability.tree(staged)  # The interrupted process may not have.
            _move_in(staged, lock.paths.model)
            durability.directory(lock.paths.root)
            is_cut_off = False
        remove_tree(staged)


def _show_pending(paths: EntryPaths, durability: Durability) -> None:
    """Shows the model that was about to be when a crash came, the one before it already put aside.

    That one may be whole in a staging directory too: the name of the manifest tells which is the new one.
    """
    for staged in _staging_directories(paths):
        pending = paths.pending_manifest(staged.name.split(".")[1])
        manifest = Manifest.read(pending)
        if manifest is not None and CachedModel(paths, manifest, None).difference(staged) is None:
            durability.tree(staged)
            _move_in(staged, paths.model)
            durability.directory(paths.root)
            pending.replace(paths.manifest)
            durability.directory(paths.root)
            return


def _staging_directories(paths: EntryPaths) -> list[Path]:
    found = paths.root.glob(f"{paths.key}.*.tmp")
    return [path for path in found if CacheName.parse(path.name).kind is NameKind.STAGING]
