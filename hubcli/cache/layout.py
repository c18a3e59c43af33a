"""Names in the cache root and what they mean, and what the root fails with; no file is touched here."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from hubcli.atomic_files import TEMPORARY_SUFFIX, removal_command
from hubcli.errors import CacheError, DiskFullError, means_full

__all__ = [
    "INDEX_NAME",
    "NEW_INDEX_NAME",
    "TAG_NAME",
    "UPKEEP_NAME",
    "CacheName",
    "EntryPaths",
    "NameKind",
    "RootNames",
    "cache_errors",
    "is_key",
    "leads_out",
    "not_a_directory",
]

TAG_NAME = "CACHEDIR.TAG"
UPKEEP_NAME = "hubcli.upkeep"
INDEX_NAME = "hubcli.index"
NEW_INDEX_NAME = "hubcli.index.new"
_OWN_NAMES = (TAG_NAME, UPKEEP_NAME, INDEX_NAME, NEW_INDEX_NAME)
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class NameKind(Enum):
    """What a name in the cache root stands for."""

    MODEL = "model"
    ALIAS = "alias"  # Spelled as a model: only the disk tells that it is a link.
    DESCRIPTOR = "descriptor"
    MANIFEST = "manifest"
    LOCK = "lock"
    PIN = "pin"
    SPOOL = "spool"
    STAGING = "staging"
    TRASH = "trash"
    LEFTOVER = "leftover"
    TAG = "tag"
    FOREIGN = "foreign"


_SUFFIXES = {
    "": NameKind.MODEL,
    "descriptor.txt": NameKind.DESCRIPTOR,
    "hubcli.json": NameKind.MANIFEST,
    "lock": NameKind.LOCK,
    "hubcli.pin": NameKind.PIN,
    "hubcli.part": NameKind.SPOOL,
    "hubcli.part.journal": NameKind.SPOOL,
    "hubcli.part.json": NameKind.SPOOL,
}
# Compiled at its first use: few roots have such names, and every start would pay for it.
_UNIQUE = (
    r"(?P<staging>[0-9a-f]{32})\.tmp|(?P<trash>[0-9a-f]{32})\.trash"
    r"|(?P<leftover>(?:lock|descriptor\.txt|hubcli\.json|link)" + TEMPORARY_SUFFIX + ")"
)
_KINDS = {"staging": NameKind.STAGING, "trash": NameKind.TRASH, "leftover": NameKind.LEFTOVER}
_KEY_LENGTH = 40
_KEY = re.compile(f"[0-9a-f]{{{_KEY_LENGTH}}}")
_KEY_BYTES = b"0123456789abcdef"
_USUAL_RECORDS = (".hubcli.json", ".descriptor.txt")
# A cache has some seven times as many links as models: a listing, which needs none, keeps no more than these.
_MANY_LINKS = 4096


class CacheName(NamedTuple):
    """A name in the root, understood. `key` is None for what isn't the cache's."""

    text: str
    kind: NameKind
    key: str | None = None

    @classmethod
    def parse(cls, text: str) -> CacheName:
        """What the name means; FOREIGN where nothing of the cache is spelled so."""
        key, _, rest = text.partition(".")
        if _KEY.fullmatch(key) is None:
            return cls(text, NameKind.TAG if text in _OWN_NAMES else NameKind.FOREIGN)
        kind = _SUFFIXES.get(rest)
        if kind is None:
            match = re.fullmatch(_UNIQUE, rest)
            kind = NameKind.FOREIGN if match is None else _KINDS[str(match.lastgroup)]
        if kind is NameKind.FOREIGN or text.endswith("."):
            return cls(text, NameKind.FOREIGN)
        return cls(text, kind, key)


def is_key(name: str) -> bool:
    """Whether the name is that of a model's directory, or of a link to one."""
    return _KEY.fullmatch(name) is not None


def _are_keys(names: list[str]) -> bool:
    """Whether names of the length of a key are keys: all at once, as most are links of other spellings."""
    return not "".join(names).encode("utf-8", "surrogatepass").translate(None, _KEY_BYTES)


class EntryPaths(NamedTuple):
    """Where everything of one entry stands."""

    root: Path
    key: str

    @property
    def model_text(self) -> str:
        """`model` as text: a listing looks at many files, and a Path costs more than a look."""
        return f"{self.root}/{self.key}"

    @property
    def manifest_text(self) -> str:
        """`manifest` as text, likewise."""
        return f"{self.root}/{self.key}.hubcli.json"

    @property
    def model(self) -> Path:
        """The model's directory, or a link to it where another spelling holds the copy."""
        return self.root / self.key

    @property
    def descriptor(self) -> Path:
        """The text file that tells the handle."""
        return self.root / f"{self.key}.descriptor.txt"

    @property
    def manifest(self) -> Path:
        """Hubcli's record of the entry."""
        return Path(self.manifest_text)

    def pending_manifest(self, uid: str) -> Path:
        """The manifest of the model that the holder `uid` of the lock is about to show."""
        return self.root / f"{self.key}.hubcli.json.tmp{uid}"

    @property
    def lock(self) -> Path:
        """The lock file, there while a process downloads."""
        return self.root / f"{self.key}.lock"

    @property
    def pin(self) -> Path:
        """An empty file, there while the entry is pinned."""
        return self.root / f"{self.key}.hubcli.pin"

    def trash(self, uid: str) -> Path:
        """Where the holder `uid` of the lock puts the model before it deletes it."""
        return self.root / f"{self.key}.{uid}.trash"

    @property
    def spool(self) -> Path:
        """The body of a download that may be resumed; its journal has `.journal` behind the name."""
        return self.root / f"{self.key}.hubcli.part"

    def staging(self, uid: str) -> Path:
        """The directory into which the holder `uid` of the lock unpacks."""
        return self.root / f"{self.key}.{uid}.tmp"


@dataclass(frozen=True, slots=True)
class RootNames:
    """The names of the root at one moment.

    `models` are the keys of directories, `moved` those of links that lead out of
    the root and have records here: models that somebody moved to another disk.
    `links` are the keys of all other links, where they were asked for. `fragments` is
    everything else with a key, by that key, but for manifest and descriptor of a
    directory that is there; `foreign` is what isn't the cache's.
    """

    root: Path
    models: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fragments: dict[str, list[CacheName]] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)
    pinned: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, root: Path, *, with_links: bool = False) -> RootNames:
        """The names in `root`; none without the directory.

        Raises CacheError if it can't be read.
        """
        names = cls(root)
        with cache_errors(root):
            if not os.path.lexists(root):
                return names
            if not root.is_dir():
                raise not_a_directory(root)
            for name in names._sort(with_links=with_links):
                # The usual case, of which there are twice as many as models.
                if name[_KEY_LENGTH:] not in _USUAL_RECORDS or name[:_KEY_LENGTH] not in names.models:
                    names._add(CacheName.parse(name))
            for key in names.fragments.keys() - names.models:
                if leads_out(root / key) and (root / key).is_dir():
                    names.moved.add(key)
            if names.moved and with_links:
                names.links[:] = [key for key in names.links if key not in names.moved]
        return names

    def _sort(self, *, with_links: bool) -> list[str]:
        """What is neither a link nor a model's directory; the names of those are dealt with."""
        links: list[str] = []
        folders: list[str] = []
        others: list[str] = []
        with os.scandir(self.root) as children:
            for child in children:
                name = child.name
                if len(name) != _KEY_LENGTH:
                    others.append(name)
                elif child.is_symlink():
                    links.append(name)
                    if len(links) == _MANY_LINKS and not with_links:
                        self._keys_of(links)
                        links.clear()
                elif child.is_dir():
                    folders.append(name)
                else:
                    others.append(name)
        self.models.update(self._keys_of(folders))
        keys = self._keys_of(links)
        if with_links:
            self.links.extend(keys)
        return others

    def _keys_of(self, names: list[str]) -> list[str]:
        """Those of the names that are keys; the others may be anything, and are added as such."""
        if _are_keys(names):
            return names
        for name in names:
            if not is_key(name):
                self._add(CacheName.parse(name))
        return [name for name in names if is_key(name)]

    def _add(self, name: CacheName) -> None:
        if name.key is not None and name.kind is not NameKind.MODEL:
            self.fragments.setdefault(name.key, []).append(name)
            if name.kind is NameKind.LOCK:
                self.locked.add(name.key)
            elif name.kind is NameKind.PIN:
                self.pinned.add(name.key)
        elif name.kind is not NameKind.TAG:
            self.foreign.add(name.text)


def leads_out(link: Path) -> bool:
    """Whether the link names something outside of its own directory."""
    try:
        target = os.readlink(link)  # noqa: PTH115 - a Path would tidy it
    except OSError:
        return False
    folder, separator, name = target.rpartition("/")
    is_beside = not separator or folder == "." or Path(folder or "/") == link.parent
    return name in ("", ".", "..") or not is_beside


@contextmanager
def cache_errors(root: Path) -> Iterator[None]:
    """Translates errors of the disk into those of hubcli."""
    try:
        yield
    except OSError as error:
        if means_full(error):
            raise DiskFullError(
                f"The disk of {root} is full", hint="Free some space, or use another --cache-dir."
            ) from error
        if error.errno in _READ_ONLY:
            raise CacheError(
                f"Cannot access the cache {root}: {error.strerror}",
                hint="Check its owner and permissions, or use another --cache-dir.",
            ) from error
        if error.errno == errno.EXDEV and error.filename is not None:
            path = os.fsdecode(error.filename)
            raise CacheError(f"Cannot move {path}: {IN_LOWER_LAYER}", hint=removal_hint(path)) from error
        raise CacheError(
            f"The cache {root} failed: {error.strerror or error}",
            hint="Check the disk, or use another --cache-dir.",
        ) from error


# Overlayfs renames no directory of a lower layer; without a rename nothing is replaced or removed at once.
IN_LOWER_LAYER = "it is in a lower layer of overlayfs, such as that of an image"


def removal_hint(path: Path | str) -> str:
    """What to do with a directory of a lower layer."""
    return f"While no process uses the cache, remove it yourself: {removal_command(path)}"


def not_a_directory(root: Path) -> CacheError:
    """The error for a root that is something else."""
    return CacheError(f"The cache {root} is not a directory", hint="Specify a directory with --cache-dir.")
