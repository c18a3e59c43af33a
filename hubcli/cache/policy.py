"""What may be collected, as a person asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hubcli.errors import UsageError
from hubcli.quantity import parse_duration_s, parse_size_bytes

__all__ = ["Policy"]

_FORM = "max-size=20GB,older-than=90d"


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules of collection, each adding to what goes; None where a rule isn't wanted.

    Sizes are bytes on the disk, times are in seconds. `older_than_s` takes what
    wasn't used for so long, `keep_versions` all but the newest so many of each
    model, `is_broken_wanted` what a check condemned. `max_size_bytes` and
    `min_free_bytes` are budgets: then the least recently used go until they are
    met. Nothing goes that was used or changed within `grace_s`.
    """

    older_than_s: float | None = None
    max_size_bytes: int | None = None
    min_free_bytes: int | None = None
    keep_versions: int | None = None
    is_broken_wanted: bool = False
    grace_s: float = 3600.0
    keep_partial_s: float = 7 * 86400.0

    def __post_init__(self) -> None:
        if self.keep_versions is not None and self.keep_versions < 1:
            raise UsageError(
                f"{self.keep_versions} versions can't be kept", hint="Keep one or more: --keep-versions 1."
            )

    @classmethod
    def parse(cls, text: str, source: str) -> Policy:
        """A policy from `max-size=20GB,older-than=90d,broken`; `source` says where that text stands.

        The words are those of the options of `hubcli gc`. Raises UsageError for
        anything else.
        """
        values: dict[str, Any] = {}
        for rule in filter(None, map(str.strip, text.split(","))):
            word, separator, value = (part.strip() for part in rule.partition("="))
            try:
                if word == "broken" and not separator:
                    values["is_broken_wanted"] = True
                    continue
                field, parse = _RULES[word]
                values[field] = parse(value)
            except (KeyError, UsageError) as error:
                reason = f": {error.message}" if isinstance(error, UsageError) else ""
                raise UsageError(
                    f"{source} has the rule '{rule}', which can't be understood{reason}",
                    hint=f"Write it like {_FORM}. Rules: {', '.join(_RULES)}, broken.",
                ) from error
        return cls(**values)


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise UsageError(f"'{text}' is no number of 1 or more")
    return int(text)


_RULES = {
    "older-than": ("older_than_s", parse_duration_s),
    "max-size": ("max_size_bytes", parse_size_bytes),
    "min-free": ("min_free_bytes", parse_size_bytes),
    "keep-versions": ("keep_versions", _parse_count),
    "grace": ("grace_s", parse_duration_s),
    "keep-partial": ("keep_partial_s", parse_duration_s),
}
