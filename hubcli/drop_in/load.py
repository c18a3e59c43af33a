"""`resolve` and `load`, which behave as those of tensorflow_hub's `module_v2.py`.

Their errors are caught by code written for tensorflow_hub: each is hubcli's own class and at the same time
the class that tensorflow_hub 0.16.1 raises for the same cause: `urllib.error.URLError`, an OSError, for the
network, `OSError` for corrupt archives, `ValueError` for tags and handles, TensorFlow's own for what
TensorFlow raised. (None is an `HTTPError`: its `code` is a number, and ours is a word. The number is
`http_status`.) The two meet here alone: within hubcli an `except OSError` is for the disk, and must not take
a checksum that doesn't match for a file that can't be opened.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import URLError

from hubcli.archive.compression import ARCHIVE_SUFFIXES
from hubcli.cache.cached_model import CachedModel
from hubcli.cache.store import Store
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.config.settings import Settings
from hubcli.errors import (
    ArgumentError,
    BrokenModelError,
    CacheError,
    HandleError,
    HubcliError,
    IntegrityError,
    MissingPathError,
    NetworkError,
    NotFoundError,
    OfflineError,
    OutputError,
    TensorFlowError,
    UnsafeArchiveError,
    UsageError,
    about_model,
)
from hubcli.fetching.model_ref import naming
from hubcli.net.retries import RetryPolicy
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.providers.provider import ACCEPTED
from hubcli.tf.loading import copy_file, load_object, require_path

__all__ = ["load", "resolve", "tensorflow_hub_errors"]


def resolve(handle: str, *, settings: Settings | None = None) -> str:
    """The directory of the model, which is fetched and checked if it isn't cached.

    `handle` is any that `hubcli fetch` takes, spelled in any way; a directory is
    its own place, given back as it was typed. `gs://` directories are given back
    too: TensorFlow reads them itself, as it does the directory that the host
    names where TFHUB_MODEL_LOAD_FORMAT is UNCOMPRESSED. What is in the
    cache counts as used now. Settings, cache, offline mode and checks are those
    of the command line.

    >>> resolve(".")
    '.'

    Raises HubcliError of the class that fits, which is also what tensorflow_hub
    raises: HandleError and UsageError are ValueErrors, NetworkError, NotFoundError,
    IntegrityError and CacheError are OSErrors; ArgumentError, a ValueError, for
    what is not a text. Its text names handle and address. The protocol:
    https://www.tensorflow.org/hub/hosting.
    """
    with tensorflow_hub_errors():
        return _resolved(*_understood(handle, settings))


def _understood(handle: str, settings: Settings | None) -> tuple[Handle, Settings]:
    if not isinstance(handle, str):
        raise ArgumentError(f"Expected a string, got {handle}", hint=ACCEPTED)
    return _parse(handle), settings or Settings.read()


def _resolved(parsed: Handle, settings: Settings) -> str:
    with naming(parsed, settings):
        return _place(parsed, settings)


def _place(parsed: Handle, settings: Settings) -> str:
    if parsed.is_directory:
        return _own_place(parsed, settings)
    if parsed.provider.is_read_by_tensorflow:
        is_archive = parsed.canonical.endswith(ARCHIVE_SUFFIXES)
        return _from_bucket(parsed, settings) if is_archive else _in_bucket(parsed, settings)
    if parsed.directory_url is not None and settings.reads_uncompressed:
        return _where_it_lies(parsed, settings)
    return str(fetch(parsed, settings, listener=_Log()).path)


def load(
    handle: str,
    tags: Collection[str] | None = None,
    options: Any = None,
    *,
    settings: Settings | None = None,
) -> Any:
    """The object in the model, as `tensorflow_hub.load` and `tf.saved_model.load` give it.

    Of a Reusable SavedModel it is callable, with `variables`,
    `trainable_variables` and `regularization_losses`; of any model it has
    `signatures`, a dict of functions from tensors by name to tensors by name,
    shaped as `hubcli inspect` tells. Keep it as long as its functions are
    called.

    `tags` choose the graph of a model with several; of the TF1 Hub format
    without them the graph with no tags, that for inference, is loaded.
    `options` is a `tf.saved_model.LoadOptions`.

    Raises what `resolve` does; NoModelError, a ValueError, for a directory
    without a SavedModel; TensorFlowError where TensorFlow isn't installed or
    can't load the model, which is also what TensorFlow raised: a ValueError for
    tags that the model hasn't got.
    """
    with tensorflow_hub_errors():
        parsed, settings = _understood(handle, settings)
        path = _resolved(parsed, settings)
        with about_model(str(parsed), path):
            return load_object(path, None if tags is None else tuple(tags), options)


def _parse(text: str) -> Handle:
    """The handle. Raises MissingPathError, as tensorflow_hub, for a path where nothing is."""
    try:
        handle = Handle.parse(text)
    except HandleError as error:
        if "://" in text or not text.strip():
            raise
        raise MissingPathError(f"{text} does not exist.", hint=error.hint) from error
    if handle.path is not None and not os.path.exists(handle.path):  # noqa: PTH110 - Path.exists may raise
        raise MissingPathError(f"{text} does not exist.", hint="Check the path.")
    return handle


def _own_place(handle: Handle, settings: Settings) -> str:
    """The path as it was typed, unless TensorFlow wouldn't understand it so."""
    path = handle.path
    assert path is not None
    entry = CachedModel.at(path, settings.cache_root)
    if entry is not None:
        entry.touch()
    return handle.text if os.path.exists(handle.text) else str(path)  # noqa: PTH110


def _in_bucket(handle: Handle, settings: Settings) -> str:
    if settings.offline:
        raise OfflineError.of_missing(handle)
    return require_path(handle.canonical)


def _from_bucket(handle: Handle, settings: Settings) -> str:
    """The directory in the cache of an archive that TensorFlow reads from its bucket."""
    if Store(settings.cache_root).find(handle) is not None:
        return str(fetch(handle, settings, listener=_Log()).path)
    if settings.offline:
        raise OfflineError.of_missing(handle)
    with TemporaryDirectory() as folder:
        file = Path(folder) / handle.canonical.rpartition("/")[2]
        copy_file(handle.canonical, file)
        return str(fetch(handle, settings, FetchOptions(local=str(file)), _Log()).path)


def _where_it_lies(handle: Handle, settings: Settings) -> str:
    if settings.offline:
        raise OfflineError.of_missing(handle)
    from hubcli.net.probes import ask_directory  # What is cached needs no HTTP.

    url = handle.directory_url
    assert url is not None
    with tensorflow_hub_errors(ValueError):  # For each answer that names no directory.
        retries = RetryPolicy.of(settings, settings.retries)
        directory = ask_directory(settings.mirrored(url), settings.timeout_s, retries, settings.access)
    return require_path(directory)


class _Log(ProgressListener):
    """Tells a program's log what the command line tells its user."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("hubcli")

    def started(self, handle: str, source: str, size_bytes: int | None) -> None:
        self._logger.info("Fetching %s from %s", handle, source)

    def waiting(self, handle: str, holder: str) -> None:
        self._logger.warning("Waiting for %s, which is fetching %s", holder, handle)

    def retrying(self, text: str) -> None:
        self._logger.warning("%s", text)

    def note(self, text: str) -> None:
        self._logger.info("%s", text)


_Bases = tuple[type[BaseException], ...]

# Ours, the most special first, and theirs: module by module of tensorflow_hub 0.16.1.
_THEIRS: tuple[tuple[type[HubcliError], _Bases], ...] = (
    # resolver.py: IOError of tarfile.ReadError; file_utils.py: ValueError for members that lead out.
    (UnsafeArchiveError, (OSError, ValueError)),
    # module_v2.py: ValueError without a model; TensorFlow: OSError for a file that can't be parsed.
    (BrokenModelError, (OSError, ValueError)),
    (IntegrityError, (OSError,)),
    (NetworkError, (URLError,)),
    (NotFoundError, (OSError,)),
    # urllib: ValueError for what is not a URL, URLError for a scheme or a host that can't be.
    (HandleError, (OSError, ValueError)),
    (UsageError, (ValueError,)),
    (CacheError, (OSError,)),
    (OutputError, (OSError,)),
)
# What TensorFlow, its import and its file systems raise; the rest is a TensorFlowError alone.
_OF_TENSORFLOW = (OSError, ValueError, RuntimeError, TypeError, LookupError, ImportError)
_THEIR_MODULES = ("builtins", "tensorflow.python.framework.errors_impl")


@contextmanager
def tensorflow_hub_errors(*also: type[BaseException]) -> Iterator[None]:
    """Raises each HubcliError of the context as one that is tensorflow_hub's class, and `also`, too.

    Message, hint, exit status, cause and traceback stay.
    """
    try:
        yield
    except HubcliError as error:
        bases = _missing_bases(error, also)
        if not bases:
            raise
        raise _as_one_of(error, bases).with_traceback(error.__traceback__) from error.__cause__


def _missing_bases(error: HubcliError, also: _Bases) -> _Bases:
    bases_of_theirs = next((bases for ours, bases in _THEIRS if isinstance(error, ours)), ())
    if isinstance(error, TensorFlowError):
        bases_of_theirs = _bases_of_cause(error.__cause__)
    elif error.http_status is not None:
        bases_of_theirs = (URLError,)
    return tuple(base for base in dict.fromkeys((*bases_of_theirs, *also)) if not isinstance(error, base))


def _bases_of_cause(cause: BaseException | None) -> _Bases:
    if cause is None:
        return ()
    kind = type(cause)
    if kind.__module__ in _THEIR_MODULES and issubclass(kind, Exception) and kind is not Exception:
        return (kind,)
    return tuple(base for base in _OF_TENSORFLOW if isinstance(cause, base))[:1]


def _as_one_of(error: HubcliError, bases: _Bases) -> HubcliError:
    """The same error in a class that has the bases too; what these hold comes from what was raised."""
    cause = error.__cause__
    state = dict(error.__dict__)
    if isinstance(cause, bases):
        state = {**getattr(cause, "__dict__", {}), **state}
    if isinstance(cause, OSError) and cause.errno is not None:
        state["errno"] = cause.errno
    return _restored(type(error), bases, state)


def _restored(kind: type[HubcliError], bases: _Bases, state: dict[str, Any]) -> HubcliError:
    """The error of that class and these bases; what pickle makes one from again."""
    key: Any = kind  # mypy takes no class for hashable.
    combined: Any = _combined(key, bases)
    # By the base that lays out the memory, which needn't be the first that has a `__new__`.
    error: HubcliError = combined.__base__.__new__(combined)
    error.args = (state["message"],)
    if isinstance(error, URLError):
        error.reason = state["message"]
    for name, value in state.items():
        setattr(error, name, value)
    return error


@functools.lru_cache(maxsize=64)
def _combined(kind: type[HubcliError], bases: _Bases) -> type[HubcliError]:
    """A class that prints as `kind`, and is caught as the others too."""
    names = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        # TensorFlow's errors have a property of this name, which can't be set.
        "message": "",
        "__reduce__": _reduce,
        "__str__": HubcliError.__str__,
    }
    return type(kind.__name__, (kind, *bases), names)


def _reduce(error: HubcliError) -> tuple[Any, ...]:
    kind, *bases = type(error).__bases__
    state = {**error.__dict__, **({"errno": error.errno} if isinstance(error, OSError) else {})}
    return _restored, (kind, tuple(bases), state)
