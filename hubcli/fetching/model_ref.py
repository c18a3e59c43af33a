"""What a person names as a model, and the address that it comes from.

A reference to a cached model, a directory, an archive or a handle, or a pattern of handles; mirrors, the
address of a handle's archive, and errors that name both. Light: every listing loads it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import translate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hubcli.config.settings import Settings
from hubcli.errors import HandleError, HubcliError, NotFoundError
from hubcli.urls import without_secrets

if TYPE_CHECKING:
    from hubcli.cache.cached_model import CachedModel
    from hubcli.cache.catalog import CachedModelInfo
    from hubcli.config.environment import NetworkConfig
    from hubcli.net.retries import RetryPolicy
    from hubcli.providers.handle import Handle
    from hubcli.providers.provider import HttpAnswer

__all__ = [
    "CachedModelRefs",
    "ModelRef",
    "Pattern",
    "archive_address",
    "cached_model_refs",
    "entry_behind",
    "is_mirrored",
    "latest_of",
    "naming",
    "naming_target",
]

_KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
_KEY = r"[0-9a-f]{40}"


class ModelRef(NamedTuple):
    """A TARGET of the command line, resolved.

    `name` is the canonical handle or the path. One of `directory` (with `entry`
    where it is a cached model) and `archive` (a local file) is set; neither is
    for a handle that isn't cached.
    """

    name: str
    handle: Handle | None
    directory: Path | None = None
    archive: Path | None = None
    entry: CachedModel | None = None

    @property
    def is_keras_file(self) -> bool:
        """Whether it is a file of Keras's own kinds, by its name."""
        return self.archive is not None and self.archive.name.lower().endswith(_KERAS_SUFFIXES)

    @property
    def local_directory(self) -> Path | None:
        """The directory that needs no look whether it is whole in the cache; None for a handle's."""
        return self.directory if self.handle is None or self.handle.is_directory else None

    @classmethod
    def of_directory(cls, text: str, settings: Settings) -> ModelRef | None:
        """The directory that the text names, without its handle; None for all else, and where it isn't sure.

        As `resolve` finds it, but no provider is asked, which takes 2 ms. Raises CacheError.
        """
        # What has these may be an address or somebody's home, and a text of spaces is an empty handle.
        if "://" in text or "~" in text or not text.strip() or not os.path.isdir(text):  # noqa: PTH112 - no error
            return None
        try:
            path = Path(os.path.abspath(text))  # noqa: PTH100 - As typed: links aren't resolved.
        except OSError:  # The working directory is gone.
            return None
        # Behind a link, `..` leads elsewhere.
        return (
            cls(str(path), None, directory=path, entry=_entry_at(path, settings)) if path.is_dir() else None
        )

    @classmethod
    def resolve(cls, text: str, settings: Settings) -> ModelRef:
        """The target that the text names: any spelling of a handle, a cache key, a path.

        Raises HandleError, NotFoundError for a path that isn't there, CacheError.
        """
        from hubcli.providers.handle import Handle

        handle = None if re.fullmatch(_KEY, text) and not Path(text).exists() else Handle.parse(text)
        if handle is not None and handle.is_directory:
            directory = _existing(handle)
            return cls(str(handle), handle, directory=directory, entry=_entry_at(directory, settings))
        if handle is not None and handle.path is not None:
            return cls(str(handle), handle, archive=_existing(handle))
        return cls._cached(text, handle, settings)

    @classmethod
    def _cached(cls, text: str, handle: Handle | None, settings: Settings) -> ModelRef:
        # Imported here: a directory or an archive needs no cache, which takes 10 ms to load.
        from hubcli.cache.cached_model import CachedModel
        from hubcli.cache.layout import EntryPaths
        from hubcli.cache.store import Store

        store = Store(settings.cache_root)
        if handle is not None:
            cached = store.find(handle)
            return cls(str(handle), handle, directory=cached.path if cached else None, entry=cached)
        paths = EntryPaths(store.root, text)
        if not paths.model.is_dir():
            raise NotFoundError(f"No cached model has the key {text}", hint="See: hubcli ls")
        entry = CachedModel.read(EntryPaths(store.root, paths.model.resolve().name))
        return cls(entry.handle or text, None, directory=entry.path, entry=entry)


def _entry_at(directory: Path, settings: Settings) -> CachedModel | None:
    """The entry whose printed path names the directory; most directories are none, and need no cache."""
    if not re.fullmatch(_KEY, directory.name):
        return None
    from hubcli.cache.cached_model import CachedModel

    return CachedModel.at(directory, settings.cache_root)


def entry_behind(directory: Path, settings: Settings) -> CachedModel | None:
    """The entry that the directory is once links are followed, None for most directories."""
    try:
        return _entry_at(directory.resolve(), settings)
    except (OSError, RuntimeError):
        return None


def _key_at(directory: Path, root: Path) -> set[str]:
    """The key of the entry in the root whose path names the directory, if one does."""
    from hubcli.cache.cached_model import CachedModel  # A handle or a glob needs none of it.

    entry = CachedModel.at(directory, root)
    return set() if entry is None else {entry.paths.key}


def _existing(handle: Handle) -> Path:
    path = handle.path
    assert path is not None
    try:
        if path.exists():
            return path
    except OSError as error:
        raise NotFoundError(f"Cannot open {path}: {error.strerror}", hint="Check its permissions.") from error
    raise NotFoundError(f"{path} does not exist", hint="Check the path.")


_SUGGESTION = r"Did you mean https://\S+ \?"
_WORD = r"[\w.-]+"


class Pattern(NamedTuple):
    """A glob over the whole handle (`*` crosses slashes), any spelling of a handle, or a name in the root."""

    text: str
    keys: frozenset[str]
    spellings: frozenset[str]
    glob: re.Pattern[str] | None

    @classmethod
    def parse(cls, text: str, root: Path | None = None) -> Pattern:
        """The pattern of a text; a path, as `hubcli fetch` prints it, is understood where `root` is given."""
        from hubcli.providers.handle import Handle

        keys, spellings = {text}, {text}
        with suppress(HandleError):  # "?" stands in globs, and in handles with a query left in.
            handle = Handle.parse(text)
            keys |= {handle.cache_key, *handle.alias_keys}
            spellings |= {handle.canonical, *handle.aliases}
            if handle.path is not None and root is not None:
                keys |= _key_at(handle.path, root)
        is_glob = any(character in text for character in "*?[")
        return cls(
            text, frozenset(keys), frozenset(spellings), re.compile(translate(text)) if is_glob else None
        )

    @staticmethod
    def suggestion(text: str) -> str:
        """The question whether another pattern is meant, for one that fits nothing; "" where none is near."""
        from hubcli.providers.handle import Handle

        if any(character in text for character in "*?["):
            return ""
        try:
            Handle.parse(text)
        except HandleError as error:
            hint_match = re.match(_SUGGESTION, error.hint)
            if hint_match:
                return f". {hint_match[0]}"
            return f". Did you mean '*{text}*'?" if re.fullmatch(_WORD, text) else ""
        return ""

    @staticmethod
    def refusal(text: str, error: HandleError) -> HandleError:
        """The error of a text that is not a handle, for a command that looks only into the cache.

        Its hint leads to what is cached, where the error's own would list every form of a handle.
        """
        question = "" if re.match(_SUGGESTION, error.hint) else Pattern.suggestion(text)
        return HandleError(f"{error.message}{question}", hint="See: hubcli ls") if question else error

    def means(self, model: CachedModelInfo) -> bool:
        """Whether the cached model is meant, by its handle or that of a link to it."""
        is_linked = not self.keys.isdisjoint(model.links)
        return is_linked or self.fits(model.key, model.handle, model.aliases)

    def fits(self, name: str, handle: str | None, spellings: Iterable[str] = ()) -> bool:
        """Whether the entry of that name in the root, with that handle and its other spellings, is meant."""
        spellings = tuple(spellings)
        if name in self.keys or handle in self.spellings or not self.spellings.isdisjoint(spellings):
            return True
        return self.glob is not None and any(map(self.glob.match, (handle or name, *spellings)))


class CachedModelRefs(NamedTuple):
    """The models in the order of their handles, and the names of those that are being downloaded."""

    targets: tuple[ModelRef, ...]
    downloading: tuple[str, ...]


def cached_model_refs(settings: Settings | None = None) -> CachedModelRefs:
    """What is cached, foreign names left out. Raises CacheError."""
    from hubcli.cache.cached_model import CachedModel
    from hubcli.cache.catalog import EntryState, read_catalog

    catalog = read_catalog((settings or Settings.read()).cache_root)
    targets, downloading = [], []
    for model in catalog.models:
        if model.state is EntryState.DOWNLOADING:
            downloading.append(model.title)
        elif model.is_model:
            entry = CachedModel.read(model.paths)
            # The index is a hint: what is published or repaired has the handle of its record.
            targets.append(ModelRef(entry.title, None, directory=model.path, entry=entry))
    return CachedModelRefs(tuple(sorted(targets, key=lambda ref: ref.name)), tuple(sorted(downloading)))


@contextmanager
def naming(handle: Handle, settings: Settings) -> Iterator[None]:
    """A context whose errors name the handle, and the address of its bytes.

    A path is named as it was typed; secrets are left out.
    """
    try:
        yield
    except HubcliError as error:
        _name_handle(error, handle, settings)
        raise


@contextmanager
def naming_target(target: ModelRef, settings: Settings) -> Iterator[None]:
    """A context whose errors name the target, and its address, or its path if it is on the disk."""
    try:
        yield
    except HubcliError as error:
        if target.handle is not None and target.directory is None and target.archive is None:
            _name_handle(error, target.handle, settings)
        else:
            error.name_model(target.name, str(target.directory or target.archive or ""))
        raise


def _name_handle(error: HubcliError, handle: Handle, settings: Settings) -> None:
    error.name_model(handle.provider.display_name(handle), _shown_address(handle, settings))


def _shown_address(handle: Handle, settings: Settings) -> str:
    if not handle.is_remote:
        return str(handle.path or "")
    if handle.needs_version and not is_mirrored(handle, settings):
        return without_secrets(settings.mirrored(handle.provider.version_url(handle, settings.access)))
    return without_secrets(archive_address(handle, settings))


def is_mirrored(handle: Handle, settings: Settings) -> bool:
    """Whether a mirror stands in for the host that the handle names."""
    url = handle.archive_url
    return url is not None and settings.mirrored(url) != url


def archive_address(handle: Handle, settings: Settings) -> str:
    """Where the archive is: at a mirror by the TF Hub protocol, else where the provider says."""
    url = handle.archive_url
    if url is None or not is_mirrored(handle, settings):
        url = handle.provider.archive(handle, settings.access)
    return settings.mirrored(url) if handle.is_remote else url


def latest_of(handle: Handle, settings: Settings, retries: RetryPolicy) -> Handle:
    """The handle, with the latest version where its host knows which it means without one.

    Asks the host then. Raises NotFoundError, NetworkError.
    """
    if not handle.needs_version or is_mirrored(handle, settings):
        return handle
    return handle.provider.resolve(handle, _Http(settings, retries))


class _Http:
    """HTTP as providers may use it: a small answer, by mirrors, retries and credentials of the settings."""

    def __init__(self, settings: Settings, retries: RetryPolicy) -> None:
        self._settings = settings
        self._retries = retries

    @property
    def access(self) -> NetworkConfig:
        """How hosts are met."""
        return self._settings.access

    def get(self, url: str, limit_bytes: int) -> HttpAnswer:
        """The answer, cut behind the limit. Raises NotFoundError, AuthenticationError, NetworkError."""
        from hubcli.fetching.byte_sources import Transfer, download_options, first_bytes
        from hubcli.net.http_source import open_download  # A hit in the cache needs no HTTP.
        from hubcli.providers.provider import HttpAnswer

        options = download_options(self._settings, Transfer(self._retries))
        with open_download(self._settings.mirrored(url), options) as download:
            return HttpAnswer(download.name, first_bytes(download, limit_bytes))
