"""URLs as strings, small edits of them, and what may be printed or stored without giving a secret away.

Query strings are edited textually: a signature may cover their exact spelling. A server can echo what it
was sent anywhere, so every credential that is sent is remembered by this process, in the spellings in which
it may come back, and taken out of every message.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit, urlunsplit

__all__ = [
    "MASK",
    "address",
    "is_address",
    "matrix_values",
    "origin",
    "printed_url",
    "redacted",
    "remember_secret",
    "remember_url",
    "secret_values",
    "stored_url",
    "with_query",
    "without_known_secrets",
    "without_query",
    "without_secrets",
]

MASK = "***"
_UNREADABLE = "(an invalid URL)"
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
    r"|v|ver|version|rev|revision|mode|lease"
)
_HARMLESS_VALUE = r"[A-Za-z0-9._-]{0,24}"
# An address that is printed as it is. A listing has many, and `printed_url` takes 40 µs for each.
_HARMLESS_ITEM = f"(?:{_HARMLESS_KEY.removeprefix('(?i)')})={_HARMLESS_VALUE}"
_HARMLESS_URL = rf"[a-z]+://[a-z0-9.-]+(?:/[A-Za-z0-9._~-]+)*/?\?{_HARMLESS_ITEM}(?:&{_HARMLESS_ITEM})*"
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
    ('http://proxy:3128', '(an invalid URL)')
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
    """Whether scheme, host and port of the URL can be read; the rest of it may be anything."""
    return address(url) != _UNREADABLE


# Shorter ones are words of every message.
_MIN_SECRET = 4
_MAX_REMEMBERED = 4096
_URL = r"[A-Za-z][A-Za-z0-9+.-]*://\S+"
_MASKABLE = r"(?i)[?;@#]|%(?:25)*(?:3b|3f|40)"
_MASKABLE_MARKS = "?;@#%"
# A byte, or one in percent encoding, which may have been applied several times.
_NESTED = r"(?i)%(?:25)+(?=[0-9a-f]{2})"
_UNIT = rb"(?is)%(?:25)*([0-9a-f]{2})|."
_PUNCTUATION = "'\"`.,:;!)]}>…"

_lock = threading.Lock()
_remembered: dict[str, tuple[str, ...]] = {}  # By secret, its spellings; the oldest first.


def remember_secret(secret: str) -> None:
    """Has the text taken out of everything that is printed and stored from now on."""
    secret = secret.strip()
    if len(secret) < _MIN_SECRET:
        return
    with _lock:
        _remembered.pop(secret, None)
        _remembered[secret] = _spellings(secret)
        while len(_remembered) > _MAX_REMEMBERED:
            del _remembered[next(iter(_remembered))]


def _spellings(secret: str) -> tuple[str, ...]:
    """The forms in which a program may repeat it, the longest first."""
    import base64  # Most runs have no secret.
    import json

    encoded = secret.encode("utf-8", "surrogateescape")
    quoted = {quote(encoded, safe=""), quote(encoded), quote_plus(encoded)}
    based = base64.b64encode(encoded).decode()
    every = {
        secret,
        *quoted,
        *(re.sub("%..", lambda found: found[0].lower(), spelling) for spelling in quoted),
        *(quote(spelling, safe="") for spelling in quoted),
        json.dumps(secret)[1:-1],
        ascii(secret)[1:-1],
        based.rstrip("="),
        base64.urlsafe_b64encode(encoded).decode().rstrip("="),
    }
    return tuple(
        sorted((spelling for spelling in every if len(spelling) >= _MIN_SECRET), key=len, reverse=True)
    )


def remember_url(url: str) -> None:
    """Remembers what the URL of a user holds: a password, signatures, tokens, matrix parameters."""
    for value in _values_in(url):
        remember_secret(value)
        remember_secret(unquote(value))
        remember_secret(unquote_plus(value))


def _values_in(url: str) -> Iterator[str]:
    try:
        user_info = urlsplit(url if "://" in url else f"//{url}").netloc.rpartition("@")[0]
    except ValueError:
        user_info = url.rpartition("@")[0].rpartition("://")[2]
    user, _, password = user_info.partition(":")
    yield password
    if user_info:
        import base64

        # So httpx sends it.
        pair = f"{unquote(user)}:{unquote(password)}".encode("utf-8", "surrogateescape")
        yield base64.b64encode(pair).decode()
        yield "" if password else user
    yield from secret_values(url)
    yield from matrix_values(url)


def without_known_secrets(text: str) -> str:
    """The text with every credential that was sent masked, in whichever spelling."""
    with _lock:
        every = [spelling for spellings in _remembered.values() for spelling in spellings]
        secrets = tuple(_remembered)
    for secret in sorted({secret for secret in every if secret in text}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _without_respelled(text, secrets)


def _without_respelled(text: str, secrets: Iterable[str]) -> str:
    """The text without secrets in another case, as in a host's name, or with any of their bytes as `%XX`."""
    lowered = unquote(re.sub(_NESTED, "%", text)).lower()
    respelled = [secret for secret in secrets if secret.lower() in lowered]
    if not respelled:
        return text
    try:
        data = text.encode("utf-8", "surrogateescape")
        keys = [secret.encode("utf-8", "surrogateescape").lower() for secret in respelled]
    except UnicodeEncodeError:  # Lone surrogates: not a text that came from outside.
        return text
    # Each byte as it was before any percent encoding, and where it ends.
    units = [(int(unit[1], 16) if unit[1] else unit[0][0], unit.start()) for unit in re.finditer(_UNIT, data)]
    plain = bytes(byte for byte, _ in units).lower()
    starts = [start for _, start in units] + [len(data)]
    for first, last in sorted(_places(plain, keys), reverse=True):
        data = data[: starts[first]] + MASK.encode() + data[starts[last] :]
    return data.decode("utf-8", "surrogateescape")


def _places(plain: bytes, keys: Iterable[bytes]) -> list[tuple[int, int]]:
    """Where one of the keys begins and ends, those that overlap as one."""
    found = sorted(match.span() for key in keys for match in re.finditer(re.escape(key), plain))
    merged: list[tuple[int, int]] = []
    for first, last in found:
        start, end = merged.pop() if merged and first < merged[-1][1] else (first, last)
        merged.append((start, max(last, end)))
    return merged


def stored_url(url: str) -> str:
    """The address as it may be stored: without secrets of its own, and without credentials that were sent."""
    # Known secrets first: of one with a `;`, only the part behind it would be masked otherwise.
    scheme, separator, rest = url.partition("://")
    return without_known_secrets(without_secrets(f"{scheme}{separator}{without_known_secrets(rest)}"))


def redacted(text: str) -> str:
    """The text as it may be printed.

    >>> redacted("https://me:pw@host/m;id=7?v=2&who=abc fails")
    'https://host/m;***?v=2&who=*** fails'
    """
    if _remembered:
        text = without_known_secrets(text)
    if "://" not in text or not any(mark in text for mark in _MASKABLE_MARKS):
        return text  # Most long texts: the search takes a hundred times as long.
    if not re.search(_MASKABLE, text):
        return text
    return re.sub(_URL, _masked_match, text)


def _masked_match(found: re.Match[str]) -> str:
    url = found[0].rstrip(_PUNCTUATION)
    if re.fullmatch(_HARMLESS_URL, url):
        return found[0]
    return printed_url(url) + found[0][len(url) :] if re.search(_MASKABLE, url) else found[0]
