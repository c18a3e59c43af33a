"""URLs as strings: what may be shown or stored of them, and small edits.

Query strings are edited textually, never parsed and written anew: a signature
may cover their exact spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote, urlsplit, urlunsplit

__all__ = [
    "MASK",
    "address",
    "is_address",
    "matrix_values",
    "origin",
    "printed_url",
    "secret_values",
    "with_query",
    "without_query",
    "without_secrets",
]

MASK = "***"

_UNREADABLE = "(a URL that can't be parsed)"

_DEFAULT_PORTS = {"http": 80, "https": 443}

# Patterns are compiled when they are first used: together they take 2 ms, which most runs don't need.
# Query keys that carry a signature or a token: Google Cloud Storage, Amazon S3,
# Azure SAS, and the names that hosts commonly use.
_CREDENTIAL_KEY = (
    r"(?i)x-goog-.*|x-amz-.*|googleaccessid|awsaccesskeyid|signature|sig|expires|policy|key-pair-id"
    r"|s[ervtp]|spr|sks|skoid|sktid|skt|ske|skv"
    r"|(.*[_-])?(token|secret|password|passwd|pwd|pw|pass|sas|hmac|code|authorization|api_?key|auth|jwt|credentials?|key"
    r"|auth_?token|access_?token|bearer|ticket|otp|[cx]srf|session|(j|php)?sess(ion)?_?id)"
)
# `accessToken` is `access_Token`.
_CAMEL = r"(?<=[a-z0-9])(?=[A-Z])"
# The parameters of a path's segment (RFC 3986, 3.3), such as `;jsessionid=1`, also with the `;` encoded.
_MATRIX = r"(?i)(?:;|%(?:25)*3b)([^/]*)"
# Of an address within a path, as proxies and archives take them: its user info, and its encoded query.
_INNER_USER = r"(?i)(:|%(?:25)*3a)((?:/|%(?:25)*2f){1,2})(?:(?!%(?:25)*2f)[^/])*(?:@|%(?:25)*40)"
_INNER_QUERY = r"(?i)(%(?:25)*3f)([^/]*)"
_INNER_AND = r"(?i)(?:&|%(?:25)*26)"
_INNER_IS = r"(?i)=|%(?:25)*3d"
# `token[]`, `x[token]`, `x.token`, and what some servers read over in front of a key.
_NO_LETTER = r"[\[\].\s+?]+"
_ITEM = r"([&;]?)([^&;]*)"
# What a query may say in print: how the TF Hub protocol asks, and which version of something.
_HARMLESS_KEY = (
    r"(?i)tf-?hub-format|tfhub-redirect|lite-format|tfjs-format|alt|format|generation"
    r"|v|ver|version|rev|revision"
)
_HARMLESS_VALUE = r"[A-Za-z0-9._-]{0,24}"
_MAX_NESTED = 3


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of the URL: what the fetch standard calls its origin."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme)


def without_query(url: str, dropped: re.Pattern[str]) -> str:
    """The URL without the query keys that `dropped` matches whole, and without fragment."""
    parts = urlsplit(url)
    kept_items = [
        item
        for item in parts.query.split("&")
        if item and not dropped.fullmatch(unquote(item.split("=", 1)[0]))
    ]
    return urlunsplit(parts._replace(query="&".join(kept_items), fragment=""))


def with_query(url: str, item: str) -> str:
    """The URL with `item` (`key=value`) at the end of its query, unless it is there already."""
    parts = urlsplit(url)
    if item in parts.query.split("&"):
        return urlunsplit(parts._replace(fragment=""))
    query = f"{parts.query}&{item}" if parts.query else item
    return urlunsplit(parts._replace(query=query, fragment=""))


def without_secrets(url: str) -> str:
    """The URL as it may be stored: no user info, signatures, tokens or matrix parameters.

    What tells two addresses apart otherwise stays. To print it, mask the rest: `printed_url`.

    >>> without_secrets("https://me:pw@host/m.tar.gz;id=7?X-Goog-Signature=abc&v=1")
    'https://host/m.tar.gz?v=1'
    """
    return _without_secrets(url, _MAX_NESTED)


def _without_secrets(url: str, depth: int) -> str:
    try:
        parts = urlsplit(url)
        if not parts.netloc:
            return url
        _ = parts.port  # A password that holds `/`, `?` or `#` is taken for one: then ValueError.
        host, path = parts.netloc.rpartition("@")[2], _path_without_secrets(parts.path)
        query = "&".join(
            filter(None, (_without_secret_parts(item, depth) for item in parts.query.split("&")))
        )
        clean = urlunsplit(parts._replace(netloc=host, path=path, query=query, fragment=""))
        _ = urlsplit(clean)  # Without user info the rest may be read otherwise, or not at all.
    except ValueError:
        return _UNREADABLE
    return clean


def _path_without_secrets(path: str) -> str:
    """The path without matrix parameters, nor what is secret of an address within it."""
    path = re.sub(_INNER_USER, r"\1\2", re.sub(_MATRIX, "", path))
    return re.sub(_INNER_QUERY, _kept_inner, path)


def _kept_inner(found: re.Match[str]) -> str:
    items = re.split(_INNER_AND, found[2])
    kept_items = [
        inner_item for inner_item in items if not _is_secret(re.split(_INNER_IS, inner_item, maxsplit=1)[0])
    ]
    return found[0] if kept_items == items else found[1] + "%26".join(kept_items)


def _without_secret_parts(item: str, depth: int) -> str:
    """What is kept of an item of a query, whose parts some servers take apart at `;` too."""
    if not item:
        return ""
    kept_parts = [part for part in item.split(";") if not _is_secret(part.split("=", 1)[0])]
    key, separator, value = ";".join(kept_parts).partition("=")
    nested = _decoded(value)
    if depth and "://" in nested:
        clean = _without_secrets(nested, depth - 1)
        value = value if clean == nested else quote(clean, safe="")
    return f"{key}{separator}{value}"


def _is_secret(key: str) -> bool:
    key = re.sub(_NO_LETTER, "_", _decoded(key)).strip("_")
    return (
        re.fullmatch(_CREDENTIAL_KEY, key) is not None
        or re.fullmatch(_CREDENTIAL_KEY, re.sub(_CAMEL, "_", key)) is not None
    )


def _decoded(text: str) -> str:
    """The text with its percent encoding undone, also where that was applied a few times."""
    for _ in range(_MAX_NESTED):
        decoded = unquote(text)
        if decoded == text:
            break
        text = decoded
    return text


def secret_values(url: str) -> Iterator[str]:
    """The values in the query that a secret's key stands before."""
    try:
        query = urlsplit(url).query
    except ValueError:
        return
    for _, item in re.findall(_ITEM, query):
        key, _, value = item.partition("=")
        if _is_secret(key):
            yield value


def matrix_values(url: str) -> Iterator[str]:
    """The values of the parameters within the path."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return
    for found in re.findall(_MATRIX, path):
        yield _decoded(found).rpartition("=")[2]


def printed_url(url: str) -> str:
    """The URL as it may be printed: without secrets, each value masked that isn't known to be harmless.

    >>> printed_url("https://host/m;id=7?v=1&who=abc&sig=abc")
    'https://host/m;***?v=1&who=***'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return _UNREADABLE
    if not parts.netloc:
        return url
    path = re.sub(_INNER_USER, r"\1\2", re.sub(_MATRIX, f";{MASK}", parts.path))
    path = re.sub(_INNER_QUERY, rf"\1{MASK}", path)
    clean = _without_secrets(url, 0)
    if clean == _UNREADABLE:
        return clean
    stored = urlsplit(clean)
    query = re.sub(_ITEM, lambda found: found[1] + _masked(found[2]), stored.query)
    return urlunsplit(stored._replace(path=path, query=query))


def _masked(item: str) -> str:
    key, separator, value = item.partition("=")
    if not item or (re.fullmatch(_HARMLESS_KEY, key) and re.fullmatch(_HARMLESS_VALUE, value)):
        return item
    # Without a value, or an `=` that may be the padding of a token, the key may be the secret.
    return f"{key}={MASK}" if separator and value.strip("=") else MASK


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
