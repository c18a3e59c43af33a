"""Mirrors: where to ask instead of the host that a handle names."""

from __future__ import annotations

from dataclasses import dataclass, field

from hubcli.errors import UsageError
from hubcli.url import without_secrets

__all__ = ["Mirror"]

_EXAMPLE = "https://tfhub.dev=https://mirror.example/tfhub"


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where to ask instead: URLs that begin with `prefix` are asked at `replacement`."""

    prefix: str
    replacement: str = field(repr=False)  # May hold user and password.

    @classmethod
    def parse(cls, text: str, source: str = "--mirror") -> Mirror:
        """A mirror from `PREFIX=URL`; raises UsageError for anything else, which names the `source`.

        The source is the option, the variable or the key of a config file that holds the text.
        """
        prefix, separator, replacement = text.strip().partition("=")
        if not separator or "://" not in prefix or "://" not in replacement:
            # Credentials can't be told from the rest of what can't be understood.
            shown = "A mirror with an '@'" if "@" in text else f"'{without_secrets(text)}'"
            place = "" if source == "--mirror" else f"{source}: "
            raise UsageError(f"{place}{shown} is no mirror", hint=_hint(source))
        return cls(prefix.rstrip("/"), replacement.rstrip("/"))

    def rewrite(self, url: str) -> str | None:
        """The URL to ask instead of `url`, or None where this mirror doesn't apply."""
        if not url.startswith(self.prefix):
            return None
        rest = url[len(self.prefix) :]
        return self.replacement + rest if rest[:1] in ("", "/", "?") else None


def _hint(source: str) -> str:
    if source == "--mirror":
        return f"Write --mirror {_EXAMPLE}."
    if source.isupper():
        return f"Write {source}={_EXAMPLE}."
    return f'Write mirrors = ["{_EXAMPLE}"].'
