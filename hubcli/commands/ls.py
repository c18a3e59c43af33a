"""`ls`: what is in the cache."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from hubcli.cache.cached_model import CachedModel
from hubcli.cache.catalog import CachedModelInfo, EntryState, read_catalog
from hubcli.config.settings import Settings
from hubcli.errors import HandleError, NotFoundError, UsageError, did_you_mean
from hubcli.fetching.model_ref import Pattern
from hubcli.formats import MAIN_FILES
from hubcli.units import parse_duration_s, parse_size_bytes

__all__ = ["CachedModel", "Filter", "Listing", "SortOrder", "cached_path", "ls"]


@dataclass(frozen=True, slots=True)
class Listing:
    """The rows in order, and the whole cache's root and leftovers.

    `matched` and `size_bytes` speak of all rows that fit, before `--limit`.
    """

    root: Path
    models: tuple[CachedModelInfo, ...]
    matched: int
    size_bytes: int
    leftovers: int


_SORT_KEYS: dict[str, tuple[Callable[[CachedModelInfo], tuple[bool, float | str]], bool]] = {
    # What has no value comes last in both directions: see SortOrder.apply.
    "name": (lambda model: (model.handle is None, model.handle or model.name), False),
    "size": (lambda model: (model.size_bytes is None, model.size_bytes or 0), True),
    "fetched": (lambda model: (model.fetched_at_s is None, model.fetched_at_s or 0), True),
    "used": (lambda model: (model.last_used_at_s is None, model.last_used_at_s or 0), True),
}


class SortOrder(NamedTuple):
    """By what the rows are sorted, and whether the largest or newest comes first."""

    key: str
    descending: bool

    @classmethod
    def parse(cls, text: str) -> SortOrder:
        """An order from `size`, `used:asc`, …; raises UsageError for anything else."""
        key, separator, direction = text.partition(":")
        if key not in _SORT_KEYS or (separator and direction not in ("asc", "desc")):
            raise UsageError(
                f"Invalid sort order '{text}'{did_you_mean(text, cls.words())}",
                hint="Use name, size, fetched or used, then :asc or :desc.",
            )
        return cls(key, direction == "desc" if separator else _SORT_KEYS[key][1])

    @staticmethod
    def words() -> list[str]:
        """Every order, spelled as `parse` reads it."""
        return [key + direction for key in _SORT_KEYS for direction in ("", ":asc", ":desc")]

    def apply(self, models: Sequence[CachedModelInfo]) -> list[CachedModelInfo]:
        """The rows in this order; what has no value comes last, equal ones stand by name."""
        value = _SORT_KEYS[self.key][0]
        if self == ("name", False):  # The default, by one sort.
            return sorted(models, key=lambda model: (*value(model), model.name))
        by_name = sorted(models, key=lambda model: (model.handle or model.name, model.name))
        valued = [(*value(model), model) for model in by_name]
        ordered = sorted(valued, key=itemgetter(1), reverse=self.descending)
        return [row[2] for row in ordered if not row[0]] + [row[2] for row in ordered if row[0]]


_FILTER = r"\s*(\w+)\s*(<=|>=|!=|=|<|>)\s*(.+?)\s*"
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
INCOMPLETE = "incomplete"  # What people read and type for the state that JSON calls `gutted`.
_NUMERIC = ("size", "used", "fetched")
_TEXTUAL = ("kind", "state", "pinned")


class Filter(NamedTuple):
    """A condition on rows: `size>1GB`, `used>30d` (not used for 30 days), `kind=TF2`, `state!=ok`."""

    key: str
    operator: str
    value: float | str

    @classmethod
    def parse(cls, text: str) -> Filter:
        """A filter from its text; raises UsageError for anything else."""
        match = re.fullmatch(_FILTER, text)
        if match is None or match[1] not in (*_NUMERIC, *_TEXTUAL):
            suggestion = "" if match is None else did_you_mean(match[1], (*_NUMERIC, *_TEXTUAL))
            raise UsageError(
                f"Invalid filter '{text}'{suggestion}",
                hint="Use 'size>1GB', 'used>30d', 'fetched<7d', 'kind=TF2', 'state=ok' or 'pinned=yes'.",
            )
        key, operator, value = match.groups()
        if key in _NUMERIC:
            return cls(key, operator, _number(key, operator, value))
        if operator not in ("=", "!="):
            raise UsageError(
                f"Invalid filter '{text}': text has no order", hint=f"Use {key}={value} or {key}!={value}."
            )
        known = _words_of(key)
        word = value.lower()
        if (key, word) == ("state", EntryState.GUTTED.value):
            word = INCOMPLETE
        if word not in map(str.lower, known):
            raise UsageError(
                f"Invalid filter '{text}'{did_you_mean(value, known)}",
                hint=f"Use {key}={', '.join(known[:-1])} or {known[-1]}.",
            )
        return cls(key, operator, EntryState.GUTTED.value if word == INCOMPLETE else word)

    @staticmethod
    def words() -> list[str]:
        """Every condition on words, and the beginnings of those on numbers, as `parse` reads them."""
        numeric = [key + comparison for key in _NUMERIC for comparison in "<>"]
        return numeric + [f"{key}={word}" for key in _TEXTUAL for word in _words_of(key)]

    def accepts(self, model: CachedModelInfo, now_s: float) -> bool:
        """Whether the row fits; one without the value that is asked for doesn't."""
        if isinstance(self.value, str):
            words = {"kind": model.kind or "", "state": model.state.value, "pinned": _yes_no(model.pinned)}
            return (words[self.key].lower() == self.value) == (self.operator == "=")
        moments = {"used": model.last_used_at_s, "fetched": model.fetched_at_s}
        if self.key == "size":
            actual: float | None = model.size_bytes
        else:
            moment = moments[self.key]
            actual = None if moment is None else now_s - moment
        return actual is not None and _COMPARISONS[self.operator](actual, self.value)


def _number(key: str, operator: str, value: str) -> float:
    """Bytes or seconds; raises UsageError, for a bare number too."""
    parse = parse_size_bytes if key == "size" else parse_duration_s
    try:
        return parse(value, needs_unit=True)
    except UsageError as error:
        raise UsageError(
            f"Invalid filter '{key}{operator}{value}': {error.message}", hint=error.hint
        ) from error


def _words_of(key: str) -> list[str]:
    if key == "kind":
        from hubcli.savedmodel.layout import ModelFormat

        return list(dict.fromkeys(known.kind for known in ModelFormat))
    if key == "state":
        return [INCOMPLETE if state is EntryState.GUTTED else state.value for state in EntryState]
    return ["yes", "no"]


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def ls(
    settings: Settings | None = None,
    patterns: Sequence[str] = (),
    *,
    filters: Sequence[Filter] = (),
    sort: SortOrder | None = None,
    limit: int | None = None,
) -> Listing:
    """The cached models whose handle fits one of the patterns, and that every filter accepts.

    A pattern is a glob over the whole handle (`*` crosses slashes), or any
    spelling of a handle. Raises CacheError if the root can't be read.
    """
    root = (settings or Settings.read()).cache_root
    catalog = read_catalog(root)
    models = list(catalog.models)
    if patterns:
        parsed = [Pattern.parse(pattern) for pattern in patterns]
        models = [
            model
            for model in models
            if any(pattern.fits(model.name, model.handle, model.aliases) for pattern in parsed)
        ]
    now_s = time.time()
    if filters:
        models = [model for model in models if all(condition.accepts(model, now_s) for condition in filters)]
    ordered = (sort or SortOrder.parse("name")).apply(models)
    limited = ordered if limit is None else ordered[:limit]
    size_bytes = sum(model.size_bytes or 0 for model in models)
    return Listing(root, tuple(limited), len(models), size_bytes, catalog.leftovers)


def cached_path(target: str, settings: Settings | None = None) -> Path:
    """The directory of the cached model that the target names: any spelling of a handle, a key or a path.

    Raises NotFoundError if it isn't cached, or is incomplete; HandleError, CacheError.
    """
    from hubcli.fetching.model_ref import ModelRef, Pattern  # Not for a listing.
    from hubcli.providers.handle import Handle

    settings = settings or Settings.read()
    try:
        found = ModelRef.resolve(target, settings)
    except HandleError as error:
        raise Pattern.refusal(target, error) from error
    entry = found.entry
    if entry is None and found.archive is not None:  # It is cached under the handle that its path makes.
        from hubcli.cache.store import Store

        entry = Store(settings.cache_root).find(Handle.parse(target))
    if entry is None:
        is_path = found.handle is not None and found.handle.is_directory
        hint = "Use the path of the directory itself." if is_path else f"Run: hubcli fetch {found.name}"
        raise NotFoundError(f"Not in the cache: {found.name}", hint=hint)
    problem = _incomplete(entry)
    if problem is not None:
        raise NotFoundError(
            f"Incomplete in the cache: {found.name}: {problem}", hint=f"Run: hubcli fetch {found.name}"
        )
    return entry.path


def _incomplete(model: CachedModel) -> str | None:
    """What is missing, as far as a listing looks: it opens no file of the model."""
    if model.manifest is not None:
        return model.difference()
    has_main = any((model.path / name).is_file() for name in MAIN_FILES)
    return None if has_main else f"{MAIN_FILES[0]} is missing"
