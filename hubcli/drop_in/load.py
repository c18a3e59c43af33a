"""`resolve` and `load`: what Python programs come for, in the way of tensorflow_hub's `module_v2.py`."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hubcli.cache.cached_model import CachedModel
from hubcli.cache.store import Store
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.config.settings import Settings
from hubcli.drop_in.errors import tensorflow_hub_errors
from hubcli.errors import ArgumentError, HandleError, MissingPathError, about_model
from hubcli.fetching.addresses import naming
from hubcli.fetching.sources import offline_miss
from hubcli.net.retries import RetryPolicy
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.providers.provider import ACCEPTED, ARCHIVE_SUFFIXES
from hubcli.tf.loading import copy_file, load_object, require_path

__all__ = ["load", "resolve"]


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
    what is no text. Its text names handle and address. The protocol:
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
        raise offline_miss(handle)
    return require_path(handle.canonical)


def _from_bucket(handle: Handle, settings: Settings) -> str:
    """The directory in the cache of an archive that TensorFlow reads from its bucket."""
    if Store(settings.cache_root).find(handle) is not None:
        return str(fetch(handle, settings, listener=_Log()).path)
    if settings.offline:
        raise offline_miss(handle)
    with TemporaryDirectory() as folder:
        file = Path(folder) / handle.canonical.rpartition("/")[2]
        copy_file(handle.canonical, file)
        return str(fetch(handle, settings, FetchOptions(local=str(file)), _Log()).path)


def _where_it_lies(handle: Handle, settings: Settings) -> str:
    if settings.offline:
        raise offline_miss(handle)
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
