"""What may be printed: text without credentials that were sent, and without what URLs may hold of them.

A server can echo what it was sent anywhere: in a redirect, an ETag, a page. So whatever is sent as a
credential is remembered by this process, in the spellings in which it may come back, and taken out of
every message. Of URLs in a text, the values that aren't known to be harmless are masked too.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

from hubcli.urls import MASK, matrix_values, printed_url, secret_values, without_secrets

__all__ = [
    "redacted",
    "remember_authorization",
    "remember_cookie",
    "remember_secret",
    "remember_url",
    "stored_url",
    "without_known_secrets",
]

# Shorter ones are words of every message.
_MIN_SECRET = 4
_MAX_REMEMBERED = 4096
# Cookies are the server's choice: only what no word of a message or an address looks like.
_COOKIE = r"(?a)(?=[^\d]*\d)[\w+=%~-]{12,4096}"
_URL = r"[A-Za-z][A-Za-z0-9+.-]*://\S+"
_MASKABLE = r"(?i)[?;@#]|%(?:25)*(?:3b|3f|40)"
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


def remember_authorization(header: str) -> None:
    """Remembers the value of an Authorization header: its token, and the password within a Basic one."""
    scheme, _, token = header.partition(" ")
    remember_secret(token)
    if scheme.lower() != "basic":
        return
    try:
        pair = base64.b64decode(token).decode("utf-8", "surrogateescape")
    except ValueError:
        return
    remember_secret(pair)
    remember_secret(pair.partition(":")[2])


def remember_cookie(value: str) -> None:
    """Remembers a cookie that may be sent back, where it looks like a token."""
    if re.fullmatch(_COOKIE, value):
        remember_secret(value)


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
    found = sorted({secret for secret in every if secret in text}, key=len, reverse=True)
    for secret in found:
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
    except UnicodeEncodeError:  # No text that came from outside.
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
        if merged and first < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def stored_url(url: str) -> str:
    """The address as it may be stored: without secrets of its own, and none of ours that it echoes.

    Ours go first: of one that holds a `;`, what is in front of that would else be left.
    """
    scheme, separator, rest = url.partition("://")
    return without_known_secrets(without_secrets(f"{scheme}{separator}{without_known_secrets(rest)}"))


def redacted(text: str) -> str:
    """The text as it may be printed.

    >>> redacted("https://me:pw@host/m;id=7?v=2&who=abc fails")
    'https://host/m;***?v=2&who=*** fails'
    """
    if _remembered:
        text = without_known_secrets(text)
    if "://" not in text or not re.search(_MASKABLE, text):
        return text
    return re.sub(_URL, _masked, text)


def _masked(found: re.Match[str]) -> str:
    url = found[0].rstrip(_PUNCTUATION)
    return printed_url(url) + found[0][len(url) :] if re.search(_MASKABLE, url) else found[0]
