"""Kaggle's API for finding and publishing models: calls, and values that are parsed at this edge.

REST by `net/json_api`, not Kaggle's `kagglesdk`: that brings requests as a second HTTP library beside httpx,
chooses among fixed servers, and bounds neither the bytes nor the time of an answer. Endpoints and fields
are those of kagglesdk 0.1.38, models/types/model_api_service.py.

Text of an answer is hostile: it has no control characters once it is here, and bounded length; a name that
couldn't stand in a handle drops its whole entry; a number out of range is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from hubcli.config.settings import Settings
from hubcli.errors import AuthenticationError, OfflineError
from hubcli.net.json_api import JsonApi, JsonApiOptions, open_json_api, quoted_path
from hubcli.net.retries import RetryPolicy
from hubcli.providers.kaggle import WHERE, KaggleModel
from hubcli.providers.provider import SEGMENT
from hubcli.publishing.answer_cache import AnswerCache, RememberingApi, account_key
from hubcli.units import from_iso_utc

__all__ = [
    "FRAMEWORKS",
    "SORTS",
    "KaggleApi",
    "KaggleFile",
    "KaggleListing",
    "KaggleVariation",
    "clean_text",
    "framework_of",
    "open_kaggle",
]

FRAMEWORKS = ("tensorFlow2", "tensorFlow1")
# Sort orders by the words of `--sort`, with their names in the API.
SORTS = {
    "hotness": "LIST_MODELS_ORDER_BY_HOTNESS",
    "downloads": "LIST_MODELS_ORDER_BY_DOWNLOAD_COUNT",
    "votes": "LIST_MODELS_ORDER_BY_VOTE_COUNT",
    "created": "LIST_MODELS_ORDER_BY_CREATE_TIME",
    "updated": "LIST_MODELS_ORDER_BY_UPDATE_TIME",
}
_ROOT = "/api/v1/models"
_MAX_SLUG, _MAX_LINE, _MAX_TEXT = 200, 300, 256 << 10
_MAX_ON_PAGE, _MAX_VARIATIONS = 1000, 500
_MAX_VERSIONS, _MAX_FILES = 10_000, 100_000
_MAX_NUMBER = (1 << 63) - 1
_ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?(?:Z|\+00:00)?")


@dataclass(frozen=True, slots=True)
class KaggleVariation:
    """One variation of a model at its latest version. None stands for what the answer lacks."""

    framework: str
    slug: str
    version: int | None = None
    size_bytes: int | None = None
    license_name: str | None = None
    overview: str = ""
    usage: str = ""
    training_data: tuple[str, ...] = ()
    is_fine_tunable: bool | None = None
    base_model_url: str | None = None
    download_count: int | None = None
    version_notes: str = ""


@dataclass(frozen=True, slots=True)
class KaggleListing:
    """A model and its variations. Times are seconds since 1970, None if the answer doesn't say."""

    owner: str
    slug: str
    title: str
    subtitle: str = ""
    description: str = ""
    is_private: bool | None = None
    votes: int | None = None
    download_count: int | None = None
    published_s: float | None = None
    updated_s: float | None = None
    variations: tuple[KaggleVariation, ...] = ()


@dataclass(frozen=True, slots=True)
class KaggleFile:
    """A file of a version, by its path below the model's directory."""

    name: str
    size_bytes: int | None
    created_s: float | None = None


@contextmanager
def open_kaggle(
    settings: Settings,
    on_retry: Callable[[str], None] = lambda text: None,
    answers: AnswerCache | None = None,
) -> Iterator[KaggleApi]:
    """Kaggle's API at the endpoint of the settings; answers may come from the cache `answers`.

    Raises NetworkError, and OfflineError with --offline where there are no `answers`.
    """
    endpoint = settings.access.kaggle.endpoint
    if settings.offline and answers is None:
        raise OfflineError(f"{endpoint} is not available offline", hint="Run it without --offline.")
    retries = RetryPolicy.of(settings, settings.retries, on_retry)
    options = JsonApiOptions(settings.timeout_s, settings.access, retries, settings.min_rate_bytes_s)
    with open_json_api(endpoint, options) as api:
        if answers is not None:
            api = RememberingApi(api, answers, account_key(settings.access.kaggle))
        yield KaggleApi(api)


class KaggleApi:
    """The calls that read; `json` is what others are made by. Errors are those of `JsonApi`.

    Kaggle answers 403 also for what isn't there; the errors say both.
    """

    def __init__(self, json: JsonApi) -> None:
        self.json = json

    def models(
        self, search: str = "", owner: str = "", sort: str = "hotness", page_size: int = 20
    ) -> Iterator[KaggleListing]:
        """The models that fit, best first, page by page. It has no filter by framework."""
        query = {"sortBy": SORTS[sort], "pageSize": str(page_size)}
        query |= {key: text for key, text in (("search", search), ("owner", owner)) if text}
        pages = self.json.pages(f"{_ROOT}/list", query)
        while True:
            with _explained():
                page = next(pages, None)
            if page is None:
                return
            yield from filter(None, map(_listing, _objects(page.document, "models", _MAX_ON_PAGE)))

    def model(self, owner: str, slug: str) -> KaggleListing:
        """A model, with its variations."""
        with _explained(f"{owner}/{slug}"):
            document = self.json.get(f"{_ROOT}{quoted_path(owner, slug)}/get")
        return _listing(document) or KaggleListing(owner, slug, slug)

    def variation(self, model: KaggleModel) -> KaggleVariation:
        """A variation at its latest version."""
        with _explained(f"{model.owner}/{model.model}"):
            document = self.json.get(f"{variation_path(model)}/get")
        found = _variation(document)
        return found or KaggleVariation(model.framework, model.variation)

    def versions(self, model: KaggleModel) -> list[int]:
        """The numbers of the variation's versions, the newest first."""
        found: set[int] = set()
        with _explained(f"{model.owner}/{model.model}"):
            for page in self.json.pages(f"{variation_path(model)}/list", {"pageSize": "100"}):
                inner = page.document.get("versionList")
                values = _objects(
                    inner if isinstance(inner, dict) else page.document, "versions", _MAX_VERSIONS
                )
                found.update(filter(None, (_number(value.get("versionNumber")) for value in values)))
                if len(found) >= _MAX_VERSIONS:
                    break
        return sorted(found, reverse=True)

    def files(self, model: KaggleModel) -> list[KaggleFile]:
        """The files of the version that the model names."""
        assert model.version is not None
        found: list[KaggleFile] = []
        path = f"{variation_path(model)}{quoted_path(model.version)}/files"
        with _explained(f"{model.owner}/{model.model}"):
            for page in self.json.pages(path, {"pageSize": "1000"}):
                for value in _objects(page.document, "files", _MAX_FILES):
                    name = clean_text(value.get("name"), 4096)
                    size = _number(value.get("size", value.get("totalBytes")))
                    found.append(KaggleFile(name, size, _time_s(value.get("creationDate"))))
                if len(found) >= _MAX_FILES:
                    break
        return found


def variation_path(model: KaggleModel) -> str:
    """The path of the variation's calls."""
    return _ROOT + quoted_path(model.owner, model.model, model.framework, model.variation)


@contextmanager
def _explained(name: str | None = None) -> Iterator[None]:
    """Says in the hint of a 403 what Kaggle means by it, of a model of that name where there is one."""
    try:
        yield
    except AuthenticationError as error:
        if error.http_status == 403 and name is None:
            error.hint = f"Kaggle denies the list: {WHERE}."
        elif error.http_status == 403:
            page = f"https://www.kaggle.com/models/{name}"
            error.hint = (
                f"The model does not exist, is private, or requires consent: check the name, "
                f"accept the license on {page}, or {WHERE}."
            )
        raise


def framework_of(value: object) -> str:
    """Kaggle's casing of a framework, from what any of its clients and answers call it.

    >>> framework_of("MODEL_FRAMEWORK_TENSOR_FLOW_2"), framework_of("TensorFlow1"), framework_of("jax")
    ('tensorFlow2', 'tensorFlow1', 'jax')
    """
    text = clean_text(value, _MAX_SLUG)
    plain = re.sub(r"[^a-z0-9]", "", text.lower()).removeprefix("modelframework")
    return next((name for name in FRAMEWORKS if name.lower() == plain), plain)


def clean_text(value: object, limit: int = _MAX_LINE, *, lines: bool = False) -> str:
    r"""The text that a server sent, without control characters; in one line unless `lines`; '' for no text.

    >>> clean_text("a\x1b[31m b\n c")
    'a[31m b c'
    """
    if not isinstance(value, str):
        return ""
    # Surrogates can't be printed; bidirectional controls and other format characters (Cf) reorder the line.
    clean = "".join(
        char if char.isprintable() else "\n" if char in "\n\r" else " " if char.isspace() else ""
        for char in value[:limit].replace("\r\n", "\n")
    )
    return clean.strip("\n") if lines else " ".join(clean.split())


def _listing(value: dict[str, Any]) -> KaggleListing | None:
    """The model of an answer, None if its names can't stand in a handle."""
    owner, slug = _slug(value.get("ownerSlug")), _slug(value.get("slug"))
    # `ref` is owner/model; `author` is the owner's display name.
    reference = value.get("ref")
    if isinstance(reference, str) and reference.count("/") == 1:
        first, _, last = reference.partition("/")
        owner, slug = owner or _slug(first), slug or _slug(last)
    if owner is None or slug is None:
        return None
    variations = (_variation(item) for item in _objects(value, "instances", _MAX_VARIATIONS))
    private = value.get("isPrivate")
    return KaggleListing(
        owner,
        slug,
        clean_text(value.get("title")) or slug,
        clean_text(value.get("subtitle")),
        clean_text(value.get("description"), _MAX_TEXT, lines=True),
        private if isinstance(private, bool) else None,
        _number(value.get("voteCount")),
        _number(value.get("downloadCount")),
        _time_s(value.get("publishTime")),
        _time_s(value.get("updateTime")),
        tuple(item for item in variations if item is not None),
    )


def _variation(value: dict[str, Any]) -> KaggleVariation | None:
    slug, framework = _slug(value.get("slug")), framework_of(value.get("framework"))
    if slug is None or not SEGMENT.fullmatch(framework):
        return None
    data, tunable = value.get("trainingData"), value.get("fineTunable")
    texts = data if isinstance(data, list) else [data]
    return KaggleVariation(
        framework,
        slug,
        _number(value.get("versionNumber")) or None,
        _number(value.get("totalUncompressedBytes")),
        clean_text(value.get("licenseName")) or None,
        clean_text(value.get("overview"), _MAX_TEXT, lines=True),
        clean_text(value.get("usage"), _MAX_TEXT, lines=True),
        tuple(filter(None, (clean_text(text) for text in texts[:100]))),
        tunable if isinstance(tunable, bool) else None,
        clean_text(value.get("externalBaseModelUrl")) or None,
        _number(value.get("downloadCount")),
        clean_text(value.get("versionNotes"), _MAX_TEXT, lines=True),
    )


def _objects(document: dict[str, Any], key: str, limit: int) -> list[dict[str, Any]]:
    values = document.get(key)
    return [value for value in values[:limit] if isinstance(value, dict)] if isinstance(values, list) else []


def _slug(value: object) -> str | None:
    is_slug = isinstance(value, str) and len(value) <= _MAX_SLUG and SEGMENT.fullmatch(value)
    return str(value) if is_slug else None


def _number(value: object) -> int | None:
    """A count or size, which JSON made by protobuf may hold as text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    is_number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_NUMBER
    return int(value) if is_number else None  # type: ignore[call-overload]


def _time_s(value: object) -> float | None:
    found = _ISO.fullmatch(value) if isinstance(value, str) and len(value) < 64 else None
    if found is None:
        return None
    with suppress(ValueError, OverflowError):
        return max(0.0, from_iso_utc(found[1]))
    return None
