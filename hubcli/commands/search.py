"""`search`: SavedModels on Kaggle, or on a host that has an index."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from hubcli.config.settings import Settings
from hubcli.errors import UsageError, did_you_mean
from hubcli.progress import ProgressListener
from hubcli.publishing.answer_cache import AnswerCache
from hubcli.publishing.kaggle_api import SORTS, KaggleListing, open_kaggle
from hubcli.publishing.listings import ModelHit, kaggle_hits, read_index
from hubcli.urls import without_secrets

__all__ = ["DEFAULT_LIMIT", "ORDERS", "SearchQuery", "SearchResult", "framework_named", "search"]

DEFAULT_LIMIT = 20
_PAGE_SIZE = 50
# Kaggle's API has no filter by framework, so a search may examine many models for a few hits.
_MAX_EXAMINED = 1000
_FRAMEWORKS = {
    "tf2": "tensorFlow2", "tensorflow2": "tensorFlow2", "tf1": "tensorFlow1", "tensorflow1": "tensorFlow1",
}  # fmt: skip
# Orders that are made here, of all that was found; the others are Kaggle's.
_OWN_ORDERS: dict[str, Callable[[ModelHit], tuple[object, ...]]] = {
    "name": lambda hit: (hit.name.lower(), hit.name),
    "size": lambda hit: (hit.size_bytes is None, hit.size_bytes or 0, hit.name),
    "updated": lambda hit: (hit.updated_s is None, -(hit.updated_s or 0), hit.name),
}
ORDERS = (*SORTS, *(order for order in _OWN_ORDERS if order not in SORTS))


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """The query: `words` that all must match, and conditions; sizes in bytes.

    `sort` is one of `ORDERS`; None stands for Kaggle's hotness, and by name on a `host`.
    """

    words: str = ""
    owner: str | None = None
    framework: str | None = None
    max_size_bytes: int | None = None
    sort: str | None = None
    limit: int = DEFAULT_LIMIT
    host: str | None = None

    def __post_init__(self) -> None:
        if self.sort is not None and self.sort not in ORDERS:
            raise UsageError(
                f"Invalid sort order '{self.sort}'{did_you_mean(self.sort, ORDERS)}",
                hint=f"Use {', '.join(ORDERS[:-1])} or {ORDERS[-1]}.",
            )
        if self.host is not None and self.sort not in (None, *_OWN_ORDERS):
            *others, last = _OWN_ORDERS
            raise UsageError(
                f"--sort {self.sort} and --host cannot be used together",
                hint=f"Use {', '.join(others)} or {last} with --host.",
            )

    def accepts(self, hit: ModelHit) -> bool:
        """Whether a model meets the conditions; one whose size isn't known exceeds no size."""
        is_small = self.max_size_bytes is None or (hit.size_bytes or 0) <= self.max_size_bytes
        is_owned = self.owner is None or hit.owner == self.owner
        return is_small and is_owned and self.framework in (None, hit.framework)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The models in order. `source` is the address of the host; `is_complete` says that no others match.

    `cached_at_s` is when the oldest cached answer came, in seconds since 1970; None if none was used.
    """

    source: str
    hits: tuple[ModelHit, ...]
    is_complete: bool
    cached_at_s: float | None = None


def framework_named(text: str) -> str:
    """Kaggle's name of a framework of SavedModels. Raises UsageError for any other word."""
    found = _FRAMEWORKS.get(text.lower())
    if found is None:
        raise UsageError(
            f"Invalid framework '{text}'{did_you_mean(text, _FRAMEWORKS)}",
            hint="Use tensorFlow2 or tensorFlow1.",
        )
    return found


def search(
    query: SearchQuery,
    settings: Settings | None = None,
    listener: ProgressListener | None = None,
    *,
    refresh: bool = False,
) -> SearchResult:
    """The SavedModels that fit. Answers of the last ten minutes are used again, unless `refresh` is set.

    Raises NetworkError, OfflineError if nothing is cached; NotFoundError and IntegrityError of a host
    without an index.
    """
    settings, listener = settings or Settings.read(), listener or ProgressListener()
    answers = AnswerCache.of(settings, is_refreshed=refresh)
    if query.host is not None:
        index = read_index(query.host, settings, answers, listener.retrying)
        hits: Iterable[ModelHit] = filter(_fits(query.words), index.hits())
        found, is_complete = _chosen(query, hits, query.sort or "name")
        return SearchResult(without_secrets(index.root), found, is_complete, answers.oldest_s)
    with open_kaggle(settings, listener.retrying, answers) as api:
        server_order = query.sort if query.sort in SORTS else "hotness"
        listings = api.models(query.words, query.owner or "", server_order or "hotness", _PAGE_SIZE)
        examined = _Counted(listings, _MAX_EXAMINED)
        hits = itertools.chain.from_iterable(map(kaggle_hits, examined))
        found, is_complete = _chosen(query, hits, query.sort if query.sort not in SORTS else None)
        return SearchResult(
            settings.access.kaggle.endpoint, found, is_complete and not examined.is_cut, answers.oldest_s
        )


class _Counted:
    """The first items of an iterator, up to a limit, and whether there are more."""

    def __init__(self, items: Iterator[KaggleListing], limit: int) -> None:
        self._items, self._limit = items, limit
        self.is_cut = False

    def __iter__(self) -> Iterator[KaggleListing]:
        for count, item in enumerate(self._items):
            if count >= self._limit:
                self.is_cut = True
                return
            yield item


def _chosen(
    query: SearchQuery, hits: Iterable[ModelHit], own_order: str | None
) -> tuple[tuple[ModelHit, ...], bool]:
    """The first models that meet the conditions, and whether these are all."""
    accepted: Iterable[ModelHit] = filter(query.accepts, hits)
    if own_order is not None:
        accepted = sorted(accepted, key=_OWN_ORDERS[own_order])
    found = tuple(itertools.islice(accepted, query.limit + 1))
    return found[: query.limit], len(found) <= query.limit


def _fits(words: str) -> Callable[[ModelHit], bool]:
    """Whether a model has each word in its name or title, in any case."""
    terms = words.lower().split()
    return lambda hit: all(word in f"{hit.name} {hit.title}".lower() for word in terms)
