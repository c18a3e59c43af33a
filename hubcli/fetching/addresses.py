"""Where a model is asked for: mirrors, the address of its archive, and errors that name both; light."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from hubcli.config.settings import Settings
from hubcli.errors import about_model
from hubcli.net.retries import RetryPolicy
from hubcli.providers.handle import Handle
from hubcli.urls import without_secrets

if TYPE_CHECKING:
    from hubcli.config.network import NetworkConfig
    from hubcli.fetching.model_ref import ModelRef
    from hubcli.providers.provider import HttpAnswer

__all__ = ["archive_address", "is_mirrored", "latest_of", "naming", "naming_target"]


def naming(handle: Handle, settings: Settings) -> AbstractContextManager[None]:
    """A context whose errors name the handle, and the address that is asked for its bytes.

    A path is named as it was typed; secrets are left out.
    """
    return about_model(handle.provider.display_name(handle), _shown_address(handle, settings))


def naming_target(target: ModelRef, settings: Settings) -> AbstractContextManager[None]:
    """The same for a target; of what is on the disk the address is its path."""
    if target.handle is not None and target.directory is None and target.archive is None:
        return naming(target.handle, settings)
    return about_model(target.name, str(target.directory or target.archive or ""))


def _shown_address(handle: Handle, settings: Settings) -> str:
    if not handle.is_remote:
        return str(handle.path or "")
    if handle.needs_version and not is_mirrored(handle, settings):
        return without_secrets(settings.mirrored(handle.provider.version_url(handle, settings.access)))
    return without_secrets(archive_address(handle, settings))


def is_mirrored(handle: Handle, settings: Settings) -> bool:
    """Whether a mirror is asked, rather than the host that the handle names."""
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
        from hubcli.fetching.byte_sources import Transfer, download_options
        from hubcli.net.http_source import open_download  # A hit in the cache needs no HTTP.
        from hubcli.providers.provider import HttpAnswer

        content, options = b"", download_options(self._settings, Transfer(self._retries))
        with open_download(self._settings.mirrored(url), options) as download:
            for chunk in download.read():
                content += chunk
                if len(content) > limit_bytes:
                    break
            return HttpAnswer(download.name, content)
