"""What may be collected, as a person asks for it."""

from __future__ import annotations

from dataclasses import dataclass

from hubcli.config.retention import parse_retention_rules
from hubcli.errors import UsageError

__all__ = ["Policy"]


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
        return cls(**parse_retention_rules(text, source))
