"""Kaggle: how models are named, where their bytes and latest versions are, and what its errors mean.

kagglehub writes `owner/model/framework/variation[/version]`; the site has the same as a short address, and a
long one with `frameworks`, `variations` and `versions` in it. Source of the API, and that its `versionNumber`
is the latest: kagglehub's `http_resolver.py`. Credentials: `kaggle_credentials`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hubcli.errors import HandleError, NetworkError
from hubcli.providers.handle import Handle, registered
from hubcli.providers.kaggle_credentials import TOKENS_PAGE, WHERE, kaggle_credential
from hubcli.providers.provider import (
    CredentialScope,
    HttpClient,
    ProtocolHost,
    is_number,
    printed_handle,
    spellings,
    url_segments,
)
from hubcli.urls import origin

if TYPE_CHECKING:
    from hubcli.config.environment import NetworkConfig

__all__ = ["TOKENS_PAGE", "WHERE", "Kaggle", "KaggleModel", "handle_of", "kaggle_credential"]

_HOSTS = ("www.kaggle.com", "kaggle.com")
_SITE = f"https://{_HOSTS[0]}"
# Frameworks with SavedModels, as Kaggle writes them, by their lower case.
_FRAMEWORKS = {"tensorflow2": "tensorFlow2", "tensorflow1": "tensorFlow1"}
# All frameworks of Kaggle: a path with one of them is not a model of tfhub.dev.
_ALL_FRAMEWORKS = (
    *("tensorflow1", "tensorflow2", "tflite", "tfjs", "coral", "keras", "jax", "flax", "pytorch"),
    *("transformers", "scikitlearn", "gemmacpp", "gguf", "maxtext", "onnx", "triton", "other"),
)
_API_VERBS = ("download", "get", "files", "list")
_TFHUB = "https://tfhub.dev"
_MAX_ANSWER_BYTES = 4 << 20
_MAX_VERSION = 10**9


@dataclass(frozen=True, slots=True)
class KaggleModel:
    """One variation of a model, at one version or, where that is None, the latest."""

    owner: str
    model: str
    framework: str
    variation: str
    version: str | None = None

    @classmethod
    def of(cls, handle: Handle) -> KaggleModel | None:
        """The model that the handle names; None for a handle of another host."""
        return cls.of_url(handle.canonical, _SITE) if handle.provider.name == Kaggle.name else None

    @classmethod
    def of_parts(cls, parts: Sequence[str], printed: str) -> KaggleModel:
        """The model that kagglehub's four or five parts name.

        Raises HandleError, which quotes `printed`, for a framework without
        SavedModels and a version that is not a number.
        """
        owner, model, framework, variation, *version = parts
        cased = _FRAMEWORKS.get(framework.lower())
        if cased is None:
            raise HandleError(
                f"'{printed}' has the framework '{framework}', which has no SavedModels",
                hint="Use tensorFlow2 or tensorFlow1.",
            )
        if version and not is_number(version[0]):
            raise HandleError(
                f"'{printed}' has the invalid version '{version[0]}'",
                hint="Use a whole number, or no version for the latest one.",
            )
        return cls(owner, model, cased, variation, version[0] if version else None)

    @classmethod
    def of_path(cls, segments: Sequence[str], printed: str) -> KaggleModel:
        """The model that the path of an address names: long, short, or of the download API.

        Raises HandleError, which quotes `printed`, for every other page of Kaggle.
        """
        if list(segments[:3]) == ["api", "v1", "models"]:
            segments = segments[2:-1] if segments[-1] in _API_VERBS else segments[2:]
        if segments[0] != "models":
            raise HandleError(
                f"'{printed}' is not the Kaggle page of a model",
                hint="Use a model of Kaggle, https://www.kaggle.com/models/<owner>/<model>/tensorFlow2/…",
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
                    f"'{printed}' is a Kaggle page, but not of a single variation of a model",
                    hint="Open it, choose framework and variation, and copy that address: "
                    "https://www.kaggle.com/models/<owner>/<model>/tensorFlow2/<variation>/<version>",
                )
        return cls.of_parts(parts, printed)

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
        """The models with a version that the URLs name, in their order."""
        for url in urls:
            model = cls.of_url(url, endpoint)
            if model is not None and model.version is not None:
                yield model

    def at_version(self, version: str | None) -> KaggleModel:
        """The variation at that version, or at the latest."""
        return replace(self, version=version)

    @property
    def page(self) -> str:
        """The page on which a user accepts its license."""
        return f"{_SITE}/models/{self._path}"

    @property
    def _path(self) -> str:
        return f"{self.owner}/{self.model}/{self.framework}/{self.variation}"

    def latest_url(self, endpoint: str) -> str:
        """The API's URL of the variation's metadata, `versionNumber` among them."""
        return f"{endpoint}/api/v1/models/{self._path}/get"

    def download_url(self, endpoint: str) -> str:
        """The API's URL of this version's archive."""
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


class Kaggle(ProtocolHost):
    """Kaggle, whose pages speak the TF Hub protocol, and whose API knows versions and accounts.

    Both serve the archive of a public model without credentials: the page with `?tf-hub-format=compressed`,
    which `hub.load` requests, and the API, which kagglehub uses. Only the API accepts a token, and answers
    401 or 403 if a model needs one. A mirror is a host of the TF Hub protocol: it has the page.
    """

    name = "kaggle"
    title = "Kaggle"

    def parse(self, text: str) -> Handle:
        """The handle of a page, an address of the API, or kagglehub's spelling. Raises HandleError."""
        if "://" in text:
            return handle_of(KaggleModel.of_path(url_segments(text), printed_handle(text)), text)
        segments = text.strip("/").split("/")
        try:
            return handle_of(KaggleModel.of_parts(segments, printed_handle(text)), text)
        except HandleError as error:
            if is_number(segments[-1]) and segments[2].lower() not in _ALL_FRAMEWORKS:
                error.hint = f"Did you mean {_TFHUB}/{'/'.join(segments)} ? {error.hint}"
            raise

    def suggestion(self, segments: Sequence[str]) -> str | None:
        """The page of `models/<owner>/<model>/<framework>/<variation>[/<version>]`."""
        is_page = segments[0] == "models" and len(segments) in (5, 6)
        return f"{_SITE}/{'/'.join(segments)}" if is_page else None

    def model_name(self, handle: Handle) -> tuple[str, ...]:
        """Without the `models` that each page has."""
        return super().model_name(handle)[1:]

    def archive(self, handle: Handle, access: NetworkConfig) -> str:
        """The API's URL of the archive; for a handle without a version, that of the page."""
        model = _model(handle)
        return super().archive(handle, access) if model.version is None else model.download_url(_api(access))

    def hosts(self, access: NetworkConfig) -> tuple[str, ...]:
        """The API's."""
        return (f"{_api(access)}/",)

    def needs_version(self, handle: Handle) -> bool:
        """Whether the handle has no version, and so names the latest."""
        return handle.version is None

    def version_url(self, handle: Handle, access: NetworkConfig) -> str:
        """The API's URL of the variation, whose answer has the latest version."""
        return _model(handle).latest_url(_api(access))

    def resolve(self, handle: Handle, client: HttpClient) -> Handle:
        """The handle of the latest version. Raises NetworkError also if the answer doesn't have it."""
        model = _model(handle)
        answer = client.get(self.version_url(handle, client.access), _MAX_ANSWER_BYTES)
        try:
            number = json.loads(answer.content)["versionNumber"]
        except (ValueError, KeyError, TypeError, RecursionError):
            number = None
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= _MAX_VERSION:
            raise NetworkError(
                f"{answer.url} reports no latest version of {model.page}",
                hint=f"Specify the version: hubcli fetch {model.page}/<version>",
            )
        return handle_of(model.at_version(str(number)))

    def versions(self, handle: Handle, texts: Iterable[str]) -> Iterator[Handle]:
        """Those of the handle's variation."""
        variation = _model(handle).at_version(None)
        models = KaggleModel.versions_of(texts)
        return (handle_of(model) for model in models if model.at_version(None) == variation)

    def credentials(self, access: NetworkConfig) -> CredentialScope:
        """The account's credentials for Kaggle's own origins, to which tfhub.dev may redirect."""
        read = partial(kaggle_credential, access.kaggle)
        return CredentialScope(_origins(access), frozenset({origin(_TFHUB)}), read)

    def explain(self, url: str, status: int, access: NetworkConfig, place: str | None) -> str | None:
        """A hint: Kaggle answers 403 for a license that wasn't accepted, 403 or 404 for a private model."""
        if status not in (401, 403, 404) or origin(url) not in _origins(access):
            return None
        model = KaggleModel.of_url(url, _api(access))
        page = TOKENS_PAGE if model is None else model.page
        if status == 404:
            hint = "Check the handle and its version"
            return f"{hint}." if place else f"{hint}; if it is private, {WHERE}."
        if place is None:
            return f"The model requires consent or is private: accept its license on {page}, then {WHERE}."
        if status == 401:
            return f"Kaggle rejects the credentials of {place}: {WHERE}."
        return (
            f"Accept the license on {page} with the account of {place}, or {WHERE} that may read the model."
        )


def handle_of(model: KaggleModel, text: str | None = None) -> Handle:
    """The handle of the model; without a `text` that was typed, spelled as its canonical address."""
    canonical, aliases = spellings(model.addresses)
    provider = registered(f"//{_HOSTS[0]}")
    assert provider is not None
    return Handle(text or canonical, provider, canonical, model.version, aliases)


def _model(handle: Handle) -> KaggleModel:
    model = KaggleModel.of(handle)
    assert model is not None
    return model


def _api(access: NetworkConfig) -> str:
    return access.kaggle.endpoint


def _origins(access: NetworkConfig) -> frozenset[tuple[str, str, int | None]]:
    """The origin of the API; for Kaggle's own, those of both names of the site."""
    usual = [f"https://{host}" for host in _HOSTS] if _api(access) == _SITE else [_api(access)]
    return frozenset(map(origin, usual))
