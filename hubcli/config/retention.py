"""Rules by which gc collects, as text: in HUBCLI_GC and in the config file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hubcli.errors import UsageError
from hubcli.units import parse_duration_s, parse_size_bytes

__all__ = ["parse_retention_rules"]

_FORM = "max-size=20GB,older-than=90d"


def parse_retention_rules(text: str, source: str) -> dict[str, Any]:
    """The fields of a `Policy` by name; `source` says where the text is from.

    The rules have the names of the options of `hubcli gc`; sizes and times need a unit, as they do there.
    Raises UsageError for anything else.
    """
    values: dict[str, Any] = {}
    for rule in filter(None, map(str.strip, text.split(","))):
        word, separator, value = (part.strip() for part in rule.partition("="))
        hint = f"Use a rule like {_FORM}. Rules: {', '.join(_RULES)}, broken."
        try:
            if word == "broken" and not separator:
                values["is_broken_wanted"] = True
                continue
            field, parse = _RULES[word]
            values[field] = parse(value)
        except (KeyError, UsageError) as error:
            reason = ""
            if isinstance(error, UsageError):
                reason, hint = f": {error.message}", error.hint or hint
            raise UsageError(f"{source} has the invalid rule '{rule}'{reason}", hint=hint) from error
    return values


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise UsageError(f"'{text}' is not a number of 1 or more")
    return int(text)


_Parse = Callable[[str], Any]
_duration: _Parse = partial(parse_duration_s, needs_unit=True)
_size: _Parse = partial(parse_size_bytes, needs_unit=True)
_RULES: dict[str, tuple[str, _Parse]] = {
    "older-than": ("older_than_s", _duration),
    "max-size": ("max_size_bytes", _size),
    "min-free": ("min_free_bytes", _size),
    "keep-versions": ("keep_versions", _parse_count),
    "grace": ("grace_s", _duration),
    "keep-partial": ("keep_partial_s", _duration),
}
