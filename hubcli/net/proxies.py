"""By way of whom a URL is asked, as httpx decides it; found out without loading httpx.

Source: `get_environment_proxies` and `URLPattern` of httpx 0.28. A name in NO_PROXY is also meant for
what ends in it behind a dot, `.example.com` for those alone, `*` for all; addresses and `localhost`
are meant for themselves. Networks (`10.0.0.0/8`) and `*.example.com` mean nothing to httpx.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from hubcli.urls import origin

__all__ = ["Proxies", "ProxyRoute"]

_SCHEMES = ("http", "https", "all")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ProxyRoute:
    """The proxy that a URL is asked of, which may hold a password, or None; and the variable that says so."""

    proxy: str | None = None
    source: str | None = None

    @property
    def is_direct(self) -> bool:
        """Whether the host itself is asked."""
        return self.proxy is None


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxy of each scheme with the variable that names it, and what NO_PROXY exempts."""

    by_scheme: Mapping[str, ProxyRoute]
    exempt: tuple[str, ...] = ()

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Proxies:
        """Those of the variables; those of the system where there are none and it keeps some."""
        found = _of_variables(variables)
        if not found and sys.platform in ("darwin", "win32"):
            from urllib.request import getproxies

            found = {name: ProxyRoute(value, "the system") for name, value in getproxies().items() if value}
        exempt = tuple(filter(None, (name.strip() for name in (_no(found)).split(","))))
        routes = {scheme: found[scheme] for scheme in _SCHEMES if scheme in found}
        return cls({} if "*" in exempt else routes, exempt)

    def route(self, url: str) -> ProxyRoute:
        """How the URL is asked. Raises ValueError for what is none."""
        scheme, host, _ = origin(url)
        named = self.by_scheme.get(scheme) or self.by_scheme.get("all")
        if named is None:
            return ProxyRoute()
        port = urlsplit(url).port
        port = None if port == _DEFAULT_PORTS.get(scheme) else port
        if any(_fits(entry, scheme, host, port) for entry in self.exempt):
            return ProxyRoute(None, "NO_PROXY")
        return named


def _no(found: Mapping[str, ProxyRoute]) -> str:
    return (found.get("no") or ProxyRoute()).proxy or ""


def _of_variables(variables: Mapping[str, str]) -> dict[str, ProxyRoute]:
    """By scheme and `no`; small letters count before capitals. Source: urllib.request of Python."""
    found = {}
    for name in sorted(variables):  # Capitals sort first.
        scheme, separator, _ = name.lower().rpartition("_proxy")
        if separator and variables[name]:
            found[scheme] = ProxyRoute(variables[name], name)
    # A server's script gets the header `Proxy:` of whoever asks as HTTP_PROXY.
    if variables.get("REQUEST_METHOD") and not variables.get("http_proxy"):
        found.pop("http", None)
    return found


def _fits(entry: str, scheme: str, host: str, port: int | None) -> bool:
    """Whether the entry of NO_PROXY is meant for that host."""
    entry = entry.lower()
    if "://" in entry:
        parts = urlsplit(entry)
        own_scheme, name, own_port, is_suffix = parts.scheme, parts.hostname or "", parts.port, False
        own_port = None if own_port == _DEFAULT_PORTS.get(own_scheme) else own_port
    elif _is_address(entry) or entry == "localhost":
        own_scheme, name, own_port, is_suffix = "all", entry.partition("/")[0], None, False
    else:
        name, _, number = entry.partition("/")[0].partition(":")
        own_scheme, own_port, is_suffix = "all", int(number) if number.isdecimal() else None, True
    if own_scheme not in ("all", scheme) or own_port not in (None, port):
        return False
    if not is_suffix:
        return name == host
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _is_address(text: str) -> bool:
    import ipaddress  # Needed with NO_PROXY alone.

    try:
        ipaddress.ip_address(text.partition("/")[0])
    except ValueError:
        return False
    return True
