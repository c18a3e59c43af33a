"""Where a model is asked for: mirrors, the address of its archive, and errors that name both; light."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from hubcli.config.settings import Settings
from hubcli.errors import about_model
from hubcli.net.retries import RetryPolicy
from hubcli.providers.handle import Handle, HandleKind
from hubcli.urls import without_secrets

if TYPE_CHECKING:
    from hubcli.fetching.model_ref import ModelRef

__all__ = ["archive_address", "is_mirrored", "latest_of", "naming", "naming_target"]


def naming(handle: Handle, settings: Settings) -> AbstractContextManager[None]:
    """A context whose errors name the handle, and the address that is asked for its bytes.

    A path is named as it was typed; secrets are left out.
    """
    is_path = handle.kind is HandleKind.PATH or (handle.path is not None and "://" not in handle.text)
    return about_model(handle.text if is_path else str(handle), _shown_address(handle, settings))


def naming_target(target: ModelRef, settings: Settings) -> AbstractContextManager[None]:
    """The same for a target; of what is on the disk the address is its path."""
    if target.handle is not None and target.directory is None and target.archive is None:
        return naming(target.handle, settings)
    return about_model(target.name, str(target.directory or target.archive or ""))


def _shown_address(handle: Handle, settings: Settings) -> str:
    if handle.archive_url is None:
        return str(handle.path or "")
    model = handle.kaggle
    if model is not None and model.version is None and not is_mirrored(handle, settings):
        return without_secrets(settings.mirrored(model.latest_url(settings.access.kaggle.endpoint)))
    return without_secrets(archive_address(handle, settings))


def is_mirrored(handle: Handle, settings: Settings) -> bool:
    """Whether a mirror is asked, rather than the host that the handle names."""
    url = handle.archive_url
    return url is not None and settings.mirrored(url) != url


def archive_address(handle: Handle, settings: Settings) -> str:
    """Where the archive of the handle is; of one on Kaggle, which must have a version, at the API.

    Both of Kaggle's addresses serve the archive of a public model to whoever asks: the model's page
    with `?tf-hub-format=compressed`, as `hub.load` asks, and the API, as kagglehub does. The API alone
    takes a token, and says by 401 and 403 that a model wants one. A mirror is a host of the TF Hub
    protocol, and is asked for the page.
    """
    assert handle.archive_url is not None
    if handle.kaggle is None or is_mirrored(handle, settings):
        return settings.mirrored(handle.archive_url)
    return settings.mirrored(handle.kaggle.download_url(settings.access.kaggle.endpoint))


def latest_of(handle: Handle, settings: Settings, retries: RetryPolicy) -> Handle:
    """The handle, with the latest version where it names a model on Kaggle and no version.

    Asks Kaggle then. Raises NotFoundError, NetworkError.
    """
    model = handle.kaggle
    if model is None or model.version is not None or is_mirrored(handle, settings):
        return handle
    from hubcli.net.download import DownloadOptions  # A hit in the cache needs no HTTP.
    from hubcli.net.kaggle_api import latest_version

    options = DownloadOptions(
        settings.timeout_s, retries, access=settings.access, min_rate_bytes_s=settings.min_rate_bytes_s
    )
    url = settings.mirrored(model.latest_url(settings.access.kaggle.endpoint))
    return Handle.of_kaggle(model.at_version(latest_version(model, url, options)))
