"""Handles: the spellings of a model's name, the kind of host of each, and the model that it names.

Source of the cache keys: tensorflow_hub 0.16.1, `compressed_module_resolver.py`: the key is the SHA-1 of the
handle as typed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hubcli.errors import HandleError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hubcli.providers.provider import Provider

__all__ = [
    "BUCKETS",
    "PATH",
    "Handle",
    "key_of",
    "provider_of",
    "providers",
    "register",
    "registered",
    "scheme_of",
    "unregister",
]

PATH = "/"  # The claim on paths of this machine.
BUCKETS = ("s3", "gs", "az")  # The schemes of object stores of clouds.

_CLAIMS: dict[str, Provider | str] = {}


def register(provider: Provider | str, *claims: str) -> None:
    """Registers the provider for the texts that are claimed; it may be given as `module:Class`.

    A claim is a scheme (`toy://`); a web host at the usual ports (`//models.example`), or those below a
    domain of two labels (`//*.example.com`), which take precedence over the scheme; a number of segments
    without a scheme (`*/*` for `owner/model`); or PATH. Suggestions for a text that none of them claims come
    from the provider that was registered first. Raises ValueError for a claim that is taken.
    """
    if taken := [claim for claim in claims if claim in _CLAIMS]:
        raise ValueError(f"Another provider has {', '.join(taken)}")
    _CLAIMS.update(dict.fromkeys(claims, provider))


def unregister(*claims: str) -> None:
    """Removes the claims."""
    for claim in claims:
        del _CLAIMS[claim]


def registered(claim: str) -> Provider | None:
    """The provider with that claim, its file imported; None without one."""
    provider = _CLAIMS.get(claim)
    if not isinstance(provider, str):
        return provider
    from importlib import import_module

    module, _, name = provider.partition(":")
    found: Provider = getattr(import_module(f"hubcli.providers.{module}"), name)()
    # One object for all of its claims.
    _CLAIMS.update({other: found for other, named in _CLAIMS.items() if named == provider})
    return found


def provider_of(text: str) -> Provider | None:
    """The provider of the text, which is not a path; None without one."""
    scheme = scheme_of(text)
    if scheme is None:
        return registered("/".join("*" for _ in text.strip("/").split("/")))
    of_host = _of_host(_host(text)) if scheme in ("http", "https") else None
    return of_host or registered(f"{scheme}://")


def _of_host(host: str) -> Provider | None:
    """The provider of the host, else that of its domain."""
    return registered(f"//{host}") or registered(f"//*.{'.'.join(host.split('.')[-2:])}")


def providers() -> Iterator[Provider]:
    """Every provider once, for texts that none of them claims."""
    seen: list[Provider] = []
    for claim in list(_CLAIMS):
        provider = registered(claim)
        if provider is not None and provider not in seen:
            seen.append(provider)
            yield provider


def scheme_of(text: str) -> str | None:
    """The scheme of a URL, in lower case; None if the text doesn't begin with one and `://`."""
    scheme, separator, _ = text.partition("://")
    is_one = separator and scheme.isascii() and scheme[:1].isalpha()
    return scheme.lower() if is_one and scheme.translate(_PUNCTUATION).isalnum() else None


_PUNCTUATION = dict.fromkeys(map(ord, "+.-"))


def _host(text: str) -> str:
    """The host at its usual port, else ""; an invalid URL is refused by the scheme's provider."""
    try:
        parts = urlsplit(text)
        is_usual = parts.port in (None, 80, 443)
    except ValueError:
        return ""
    return (parts.hostname or "") if is_usual else ""


@dataclass(frozen=True, slots=True)
class Handle:
    """The name of a model, parsed.

    `text` is the spelling as typed and may hold secrets: print and store `canonical`, which never does.
    `provider` is the kind of host. `aliases` are the other spellings of the same model, without secrets.
    `path` is that of a local model.
    """

    text: str = field(repr=False)
    provider: Provider
    canonical: str
    version: str | None = None
    aliases: tuple[str, ...] = field(default=(), repr=False)
    path: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Handle:
        """The handle that `text` spells; whether it is a path depends on the disk, too.

        Raises HandleError for anything else.
        """
        if not text.strip():
            raise _refused("The handle is empty")
        if "\0" in text:
            raise _refused(f"{text!r} contains a NUL character")
        scheme = scheme_of(text)
        is_path = text.startswith(("/", "./", "../", "~")) or text in (".", "..")
        if is_path or (scheme is None and os.path.exists(text)):  # noqa: PTH110 - Path.exists may raise
            provider = registered(PATH)
            assert provider is not None
            return provider.parse(text)
        if " " in text or not text.isprintable():  # The other spaces are not printable.
            from hubcli.urls import printed_url

            raise _refused(f"{printed_url(text)!r} contains spaces")
        if scheme is None:
            return _parse_bare(text)
        provider = provider_of(text)
        if provider is None:
            raise _unknown_scheme(text)
        return provider.parse(text)

    @property
    def cache_key(self) -> str:
        """Name of the model's directory in the cache: SHA-1 of `canonical`, 40 hex digits."""
        return key_of(self.canonical)

    @property
    def alias_keys(self) -> tuple[str, ...]:
        """Names under which `hub.load` looks for the other spellings, the typed one included."""
        spellings = dict.fromkeys((*self.aliases, self.text) if "://" in self.text else self.aliases)
        return tuple(key_of(spelling) for spelling in spellings if spelling != self.canonical)

    @property
    def archive_url(self) -> str | None:
        """The URL of the archive at a host of the TF Hub protocol; None for other hosts."""
        return self.provider.protocol_url(self)

    @property
    def directory_url(self) -> str | None:
        """The URL at which a host of the TF Hub protocol names the unpacked model's directory; else None."""
        return self.provider.directory(self)

    @property
    def is_remote(self) -> bool:
        """Whether its bytes come over the network."""
        return self.provider.is_remote

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory of this machine, which is never cached."""
        return self.provider.is_directory

    @property
    def is_immutable(self) -> bool:
        """Whether its bytes never change, as those of a version at a model host."""
        return self.provider.is_immutable(self)

    @property
    def needs_version(self) -> bool:
        """Whether it names the latest version, which its host resolves."""
        return self.provider.needs_version(self)

    @property
    def kind(self) -> Any:
        """Deprecated: the HandleKind of a built-in provider, else the provider's name."""
        _warn_of_kinds()
        kinds = _handle_kinds()
        return kinds(self.provider.name) if self.provider.name in set(kinds) else self.provider.name

    def __str__(self) -> str:
        return self.canonical


def key_of(spelling: str) -> str:
    """The cache key of a spelling, which is tensorflow_hub's: its SHA-1 as 40 hex digits."""
    # Python's own module, which `random` uses too: hashlib loads OpenSSL in 3 ms, a twentieth of a start.
    try:
        from _sha1 import sha1  # type: ignore[import-not-found]
    except ImportError:  # A Python that was built without it.
        from hashlib import sha1

    # A path may have bytes that are not UTF-8.
    key: str = sha1(spelling.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()
    return key


def _refused(message: str) -> HandleError:
    from hubcli.providers.provider import ACCEPTED

    return HandleError(message, hint=ACCEPTED)


def _unknown_scheme(text: str) -> HandleError:
    from hubcli.errors import nearest
    from hubcli.providers.provider import ACCEPTED
    from hubcli.urls import printed_url, without_secrets

    scheme = text.partition("://")[0]
    nearest_scheme = nearest(scheme, ("http", "https"))
    question = (
        f"Did you mean {nearest_scheme}{without_secrets(text)[len(scheme) :]} ? " if nearest_scheme else ""
    )
    return HandleError(
        f"Unsupported URL scheme '{scheme}': '{printed_url(text)}'",
        hint=f"{question}Copy it to a local file, then: hubcli fetch HANDLE --from FILE. " + ACCEPTED,
    )


def _parse_bare(text: str) -> Handle:
    """The handle of a text without a scheme that is not an existing path. Raises HandleError."""
    from hubcli.archive.compression import ARCHIVE_SUFFIXES
    from hubcli.providers.provider import SEGMENT, printed_handle, refusal

    host, _, path = text.partition("/")
    if path and registered(f"//{host.lower()}") is not None:
        raise refusal(text, "has no scheme", f"Did you mean https://{printed_handle(text)} ?")
    provider = provider_of(text)
    if provider is not None and all(map(SEGMENT.fullmatch, text.strip("/").split("/"))):
        return provider.parse(text)
    if text.endswith(ARCHIVE_SUFFIXES):
        raise refusal(text, "is not an existing file", "Check the path, or start it with ./ or /.")
    raise refusal(text, "is neither a handle nor an existing directory", _suggestion(text))


def _suggestion(text: str) -> str:
    """A hint with the address that was probably meant, else with every accepted form."""
    import re

    from hubcli.providers.provider import ACCEPTED, SEGMENT, printed_handle

    mistyped = re.fullmatch(
        r"(?:h?t?tps?|htt?ps?|hhtps?)(?::/?|//)((?:[a-z0-9-]+\.)+[a-z]+/\S+)", text, re.IGNORECASE
    )
    if mistyped:
        return f"Did you mean https://{printed_handle(mistyped[1])} ?"
    name = re.sub(r"@(\d+)$", r"/\1", text.split("?")[0].split("#")[0].strip("/"), flags=re.ASCII)
    segments = name.split("/")
    if not all(map(SEGMENT.fullmatch, segments)):
        return ACCEPTED
    suggestions = (provider.suggestion(segments) for provider in providers())
    suggestion = next(filter(None, suggestions), None)
    if suggestion is None:
        return ACCEPTED
    if len(segments) == 2:
        return f"Did you mean {suggestion} ? For a local directory, use ./{name}. {ACCEPTED}"
    return f"Did you mean {suggestion} ?"


@cache
def _handle_kinds() -> Any:
    from enum import Enum

    names = ("path", "archive", "tfhub", "tfhub-cn", "kaggle", "http", "gcs", "example")
    return Enum("HandleKind", {name.upper().replace("-", "_"): name for name in names}, type=str)


def _warn_of_kinds() -> None:
    import warnings

    warnings.warn("HandleKind is handle.provider.name since hubcli 0.2", DeprecationWarning, stacklevel=3)


def __getattr__(name: str) -> Any:
    """HandleKind, for one more release: a kind of host is a provider."""
    if name != "HandleKind":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    _warn_of_kinds()
    return _handle_kinds()
