"""The environment as the doctor looks at it: the variables that a download or a load depends on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hubcli.settings import environment
from hubcli.url import address, without_secrets

__all__ = ["Surroundings", "clean"]

_OF_INTEREST = re.compile(
    r"(HUBCLI|TFHUB|KAGGLE|KAGGLEHUB)_.*|NETRC|SSL_CERT_(FILE|DIR)|(REQUESTS_CA|CURL_CA)_BUNDLE"
    r"|KERAS_(BACKEND|HOME)|TF_USE_LEGACY_KERAS|PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
    r"|XDG_(CACHE|CONFIG)_HOME|PYTHON(PATH|HOME|NOUSERSITE)"
)
_OF_PROXIES = re.compile(r"(http|https|all|no)_proxy", re.IGNORECASE)
# What every environment has, or what tells a person nothing.
_UNTOLD = ("NO_COLOR", "REQUEST_METHOD", "TEMP", "TERM", "TMP", "TMPDIR", "VIRTUAL_ENV")
_SECRET = re.compile(r"KAGGLE_(API_TOKEN|KEY|USERNAME)|.*(TOKEN|SECRET|PASSWORD|_KEY)")
_HIDDEN = "(set, not shown)"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The variables as they stand; some hold secrets."""

    variables: Mapping[str, str] = field(repr=False)

    @classmethod
    def read(cls, variables: Mapping[str, str] | None = None) -> Surroundings:
        """Those of this process, or the given ones; without what is empty."""
        env = environment() if variables is None else variables
        names = [name for name in env if name in _UNTOLD or _is_told(name)]
        return cls({name: env[name] for name in sorted(names) if env[name]})

    def get(self, name: str) -> str:
        """The value of the variable; empty where it isn't set."""
        return self.variables.get(name, "")

    @property
    def has_proxies(self) -> bool:
        """Whether something is said of proxies."""
        return any(map(_OF_PROXIES.fullmatch, self.variables))

    def shown(self) -> dict[str, str]:
        """What can be told: of secrets that they are set, of addresses no credentials."""
        return {name: _shown(name, value) for name, value in self.variables.items() if _is_told(name)}


def _is_told(name: str) -> bool:
    return bool(_OF_INTEREST.fullmatch(name) or _OF_PROXIES.fullmatch(name))


def _shown(name: str, value: str) -> str:
    if _SECRET.fullmatch(name):
        return _HIDDEN
    if name.lower().endswith("_proxy") and name.lower() != "no_proxy":
        return address(value)
    if name == "HUBCLI_MIRRORS":
        mirrors = (text.partition("=") for text in value.replace(",", " ").split())
        return " ".join(f"{clean(prefix)}={clean(replacement)}" for prefix, _, replacement in mirrors)
    return clean(value)


def clean(value: str) -> str:
    """A path or a rule as it is; an address without credentials, and with an `@` nothing but its host."""
    if "://" in value:
        return address(value) if "@" in value else without_secrets(value)
    return _HIDDEN if "@" in value and ":" in value else value
