"""tfhub.dev, and its mirror for China.

tfhub.dev redirects to Kaggle, where its models are since March 2024. Source of the mirror's address of
archives: https://www.tensorflow.org/hub/hosting and the redirects of hub.tensorflow.google.cn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hubcli.providers.handle import Handle
from hubcli.providers.provider import ProtocolHost, is_number, refusal, spellings, url_segments, version_in

if TYPE_CHECKING:
    from hubcli.config.environment import NetworkConfig

__all__ = ["TfHub", "TfHubChina"]

_SITE = "https://tfhub.dev"
_CHINA_HOST = "hub.tensorflow.google.cn"
_CHINA_ARCHIVE = "https://gcs.tensorflow.google.cn/tfhub-modules/{name}.tar.gz"


class TfHub(ProtocolHost):
    """tfhub.dev: `https://tfhub.dev/<publisher>/<model>/<version>`."""

    name = "tfhub"
    title = "tfhub.dev"

    def parse(self, text: str) -> Handle:
        """The handle of a model's page. Raises HandleError for other pages."""
        segments = _model_segments(text)
        name = "/".join(segments)
        version = version_in(segments) if len(segments) > 2 else None
        canonical, aliases = spellings([f"{_SITE}/{name}", f"http://tfhub.dev/{name}"])
        return Handle(text, self, canonical, version, aliases)

    def suggestion(self, segments: Sequence[str]) -> str | None:
        """The page of `publisher/model` and `publisher/…/version`; None for a path of Kaggle."""
        if segments[0] == "models" and len(segments) in (5, 6):
            return None
        from hubcli.archive.compression import ARCHIVE_SUFFIXES  # Only a suggestion needs it.

        name = "/".join(segments)
        is_version = len(segments) > 2 and is_number(segments[-1])
        is_model = len(segments) == 2 and not name.endswith(ARCHIVE_SUFFIXES)
        return f"{_SITE}/{name}" if is_version or is_model else None

    def hosts(self, access: NetworkConfig) -> tuple[str, ...]:
        """The site."""
        return (f"{_SITE}/",)

    def equivalents(
        self, handle: Handle, redirects: Iterable[str], access: NetworkConfig
    ) -> tuple[Handle, ...]:
        """The version on Kaggle to which tfhub.dev redirects.

        Version numbers differ between the two. Redirects of other hosts prove nothing.
        """
        from hubcli.providers.kaggle import KaggleModel, handle_of  # Once it has redirected.

        model = next(KaggleModel.versions_of(redirects, access.kaggle.endpoint), None)
        return () if model is None else (handle_of(model),)

    def explain(self, url: str, status: int, access: NetworkConfig, place: str | None) -> str | None:
        """Where to look for a missing model."""
        if urlsplit(url).hostname != "tfhub.dev" or status not in (404, 410):
            return None
        return (
            "Search for it on https://www.kaggle.com/models: tfhub.dev removed "
            "models that had not moved to Kaggle in March 2024."
        )


class TfHubChina(ProtocolHost):
    """The mirror of tfhub.dev in China, which has archives in a bucket of its own."""

    name = "tfhub-cn"
    title = _CHINA_HOST

    def parse(self, text: str) -> Handle:
        """The handle of a model's page. Raises HandleError for other pages."""
        segments = _model_segments(text)
        canonical, aliases = spellings([f"https://{_CHINA_HOST}/{'/'.join(segments)}"])
        return Handle(text, self, canonical, version_in(segments), aliases)

    def protocol_url(self, handle: Handle) -> str | None:
        """The archive in the mirror's bucket."""
        return _CHINA_ARCHIVE.format(name=urlsplit(handle.canonical).path.strip("/"))


def _model_segments(text: str) -> list[str]:
    segments = url_segments(text)
    if "collections" in segments[:2]:
        raise refusal(
            text, "is the page of a collection, not a model", "Open it and choose one of its models."
        )
    query = urlsplit(text).query
    if "lite-format=" in query or "tfjs-format=" in query:
        raise refusal(text, "is the address of TF Lite or TF.js files, not of a SavedModel")
    if len(segments) < 2 or (len(segments) == 2 and is_number(segments[1])):
        raise refusal(
            text,
            "is the page of a publisher, not a model",
            f"Use {_SITE}/<publisher>/<model>/<version>.",
        )
    return segments
