"""Models on Kaggle: what names one, and how that name is spelled in addresses.

kagglehub writes `owner/model/framework/variation[/version]`; the site has the
same as a short address, and a long one with `frameworks`, `variations` and
`versions` in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from hubcli.errors import HandleError

__all__ = ["KaggleModel"]

_HOSTS = ("www.kaggle.com", "kaggle.com")
_SITE = f"https://{_HOSTS[0]}"
# Kaggle's own casing, by what people type.
_FRAMEWORKS = {"tensorflow2": "tensorFlow2", "tensorflow1": "tensorFlow1"}
_API_VERBS = ("download", "get", "files", "list")


@dataclass(frozen=True, slots=True)
class KaggleModel:
    """One variation of a model, at one version or, where that is None, the latest."""

    owner: str
    model: str
    framework: str
    variation: str
    version: str | None = None

    @classmethod
    def of_parts(cls, parts: Sequence[str], shown: str) -> KaggleModel:
        """The model that kagglehub's four or five parts name.

        Raises HandleError, which quotes `shown`, for a framework without
        SavedModels and a version that is no number.
        """
        owner, model, framework, variation, *version = parts
        cased = _FRAMEWORKS.get(framework.lower())
        if cased is None:
            raise HandleError(
                f"'{shown}' has the framework '{framework}', which holds no SavedModels",
                hint="The frameworks with SavedModels are tensorFlow2 and tensorFlow1.",
            )
        if version and not (version[0].isascii() and version[0].isdecimal()):
            raise HandleError(
                f"'{shown}' has the version '{version[0]}', which is no number",
                hint="Accepted: a whole number, or no version for the latest one.",
            )
        return cls(owner, model, cased, variation, version[0] if version else None)

    @classmethod
    def of_path(cls, segments: Sequence[str], shown: str) -> KaggleModel:
        """The model that the path of an address names: long, short, or of the download API.

        Raises HandleError, which quotes `shown`, for every other page of Kaggle.
        """
        if list(segments[:3]) == ["api", "v1", "models"]:
            segments = segments[2:-1] if segments[-1] in _API_VERBS else segments[2:]
        if segments[0] != "models":
            raise HandleError(
                f"'{shown}' is a Kaggle page, but not one of a model",
                hint="Accepted: a model of Kaggle, https://www.kaggle.com/models/<owner>/<model>/tensorFlow2/…",
            )
        match segments[1:]:
            case [owner, model, "frameworks", framework, "variations", variation]:
                parts = [owner, model, framework, variation]
            case [owner, model, "frameworks", framework, "variations", variation, "versions", version]:
                parts = [owner, model, framework, variation, version]
            case [_, _, _, _] | [_, _, _, _, _]:
                parts = list(segments[1:])
            case _:
                raise HandleError(
                    f"'{shown}' is a Kaggle page that names no single variation of a model",
                    hint="Open it, choose framework and variation, and copy that address: "
                    "https://www.kaggle.com/models/<owner>/<model>/tensorFlow2/<variation>/<version>",
                )
        return cls.of_parts(parts, shown)

    @classmethod
    def of_url(cls, url: str, endpoint: str) -> KaggleModel | None:
        """The model that an address of Kaggle, or of its API at `endpoint`, names; None for others."""
        try:
            parts = urlsplit(url)
            if parts.scheme == "https" and parts.hostname in _HOSTS and parts.port in (None, 443):
                path = parts.path
            elif url.startswith(f"{endpoint}/"):
                path = urlsplit(url.removeprefix(endpoint)).path
            else:
                return None
            return cls.of_path(path.strip("/").split("/"), url)
        except (HandleError, ValueError):
            return None

    @classmethod
    def versions_of(cls, urls: Iterable[str], endpoint: str = _SITE) -> Iterator[KaggleModel]:
        """The models with a version that are among the addresses, each as often as it is."""
        for url in urls:
            model = cls.of_url(url, endpoint)
            if model is not None and model.version is not None:
                yield model

    def at_version(self, version: str | None) -> KaggleModel:
        """The variation at that version, or at whatever is the latest."""
        return replace(self, version=version)

    @property
    def page(self) -> str:
        """The page in a browser, where its licence is accepted."""
        return f"{_SITE}/models/{self._path}"

    @property
    def _path(self) -> str:
        return f"{self.owner}/{self.model}/{self.framework}/{self.variation}"

    def latest_url(self, endpoint: str) -> str:
        """Where the API tells the variation's facts, `versionNumber` among them."""
        return f"{endpoint}/api/v1/models/{self._path}/get"

    def download_url(self, endpoint: str) -> str:
        """Where the API sends the archive of this version."""
        assert self.version is not None
        return f"{endpoint}/api/v1/models/{self._path}/{self.version}/download"

    @property
    def addresses(self) -> list[str]:
        """Every address of the model, the canonical one first: both forms, hosts and casings."""
        found = []
        capital = self.framework[0].upper() + self.framework[1:]
        for framework, host in itertools.product((self.framework, capital), _HOSTS):
            page = f"https://{host}/models/{self.owner}/{self.model}"
            short = f"{page}/{framework}/{self.variation}"
            long = f"{page}/frameworks/{framework}/variations/{self.variation}"
            if self.version is not None:
                short, long = f"{short}/{self.version}", f"{long}/versions/{self.version}"
            found += [short, long]
        return found
