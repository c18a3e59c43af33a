"""Rules of collection as text, `max-size=20GB,older-than=90d`: what HUBCLI_GC and the config file hold.

`hubcli.cache.gc.policy` makes a policy of them; they stand here so that a config file can be checked as a
whole by every command.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hubcli.errors import UsageError
from hubcli.units import parse_duration_s, parse_size_bytes

__all__ = ["parse_retention_rules"]

_FORM = "max-size=20GB,older-than=90d"


def parse_retention_rules(text: str, source: str) -> dict[str, Any]:
    """The fields of a `Policy` by name; `source` says where the text stands.

    The words are those of the options of `hubcli gc`, and sizes and times need a unit there and here.
    Raises UsageError for anything else.
    """
    values: dict[str, Any] = {}
    for rule in filter(None, map(str.strip, text.split(","))):
        word, separator, value = (part.strip() for part in rule.partition("="))
        hint = f"Write it like {_FORM}. Rules: {', '.join(_RULES)}, broken."
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
            raise UsageError(
                f"{source} has the rule '{rule}', which can't be understood{reason}", hint=hint
            ) from error
    return values


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise UsageError(f"'{text}' is no number of 1 or more")
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
