"""URLs as strings: what may be shown or stored of them, and small edits.

Query strings are edited textually, never parsed and written anew: a signature
may cover their exact spelling.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

__all__ = ["address", "is_address", "origin", "with_query", "without_query", "without_secrets"]

_UNREADABLE = "(a URL that can't be parsed)"

_DEFAULT_PORTS = {"http": 80, "https": 443}

# Query keys that carry a signature or a token: Google Cloud Storage, Amazon S3,
# Azure SAS, and the names that hosts commonly use.
_SECRET_KEY = re.compile(
    r"x-goog-.*|x-amz-.*|googleaccessid|awsaccesskeyid|signature|sig|expires|policy|key-pair-id"
    r"|s[ervtp]|spr|sks|skoid|sktid|skt|ske|skv"
    r"|(.*[_-])?(token|secret|password|passwd|pwd|pw|pass|sas|hmac|code|authorization|api_?key|auth|jwt|credential|key)",
    re.IGNORECASE,
)


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of the URL: what the fetch standard calls its origin."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme)


def without_query(url: str, dropped: re.Pattern[str]) -> str:
    """The URL without the query keys that `dropped` matches whole, and without fragment."""
    parts = urlsplit(url)
    kept = [
        item
        for item in parts.query.split("&")
        if item and not dropped.fullmatch(unquote(item.split("=", 1)[0]))
    ]
    return urlunsplit(parts._replace(query="&".join(kept), fragment=""))


def with_query(url: str, item: str) -> str:
    """The URL with `item` (`key=value`) at the end of its query, unless it is there already."""
    parts = urlsplit(url)
    if item in parts.query.split("&"):
        return urlunsplit(parts._replace(fragment=""))
    query = f"{parts.query}&{item}" if parts.query else item
    return urlunsplit(parts._replace(query=query, fragment=""))


def without_secrets(url: str) -> str:
    """The URL as it may be printed and stored: no user info, no signatures, no tokens.

    >>> without_secrets("https://me:pw@host/m.tar.gz?X-Goog-Signature=abc&v=1")
    'https://host/m.tar.gz?v=1'
    """
    try:
        parts = urlsplit(url)
        if not parts.netloc:
            return url
        _ = parts.port  # A password that holds `/`, `?` or `#` is taken for one: then ValueError.
        host = parts.netloc.rpartition("@")[2]
        return without_query(urlunsplit(parts._replace(netloc=host)), _SECRET_KEY)
    except ValueError:
        return _UNREADABLE


def address(url: str) -> str:
    """Scheme, host and port of a URL, which may lack its scheme, and nothing that may be secret.

    >>> address("me:pw@proxy:3128"), address("http://me:p/w@proxy:3128")
    ('http://proxy:3128', "(a URL that can't be parsed)")
    """
    try:
        parts = urlsplit(url.strip() if "://" in url else f"http://{url.strip()}")
        behind = url.rpartition(parts.netloc)[2]
        if (
            not (parts.hostname or "").strip() or "@" in behind
        ):  # There a password would stand that holds `/`, `?` or `#`.
            return _UNREADABLE
        host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
        return f"{parts.scheme}://{host}" + ("" if parts.port is None else f":{parts.port}")
    except ValueError:
        return _UNREADABLE


def is_address(url: str) -> bool:
    """Whether scheme, host and port of the URL are clear, with whatever else in it."""
    return address(url) != _UNREADABLE
