"""Kinds of hosts, one file each: how handles are spelled, where bytes are, what versions and errors mean.

Each kind has one line below, with the texts that are its own; another package's is added by `register`.
Its file is imported when such a text comes: most commands meet one kind of host, or none.
"""

from __future__ import annotations

from urllib.parse import urlsplit

TYPE_CHECKING = False  # Every start pays for what is imported here.
if TYPE_CHECKING:
    from collections.abc import Iterator

    from hubcli.providers.provider import Provider

__all__ = ["BUCKETS", "PATH", "provider_of", "providers", "register", "registered", "scheme_of", "unregister"]

PATH = "/"  # The claim on paths of this machine.
BUCKETS = ("s3", "gs", "az")  # The schemes of what is read and written by an account of a cloud.

_CLAIMS: dict[str, Provider | str] = {}


def register(provider: Provider | str, *claims: str) -> None:
    """Has the provider understand the texts that are claimed; one may be named as `module:Class`.

    A claim is a scheme (`toy://`); a web host at the usual ports (`//models.example`), or those below a
    domain of two labels (`//*.example.com`), which go before the scheme; a number of segments without a
    scheme (`*/*` for `owner/model`); or PATH. Of near misses the provider that was registered first is
    asked first. Raises ValueError for what is claimed already.
    """
    if taken := [claim for claim in claims if claim in _CLAIMS]:
        raise ValueError(f"Another provider has {', '.join(taken)}")
    _CLAIMS.update(dict.fromkeys(claims, provider))


def unregister(*claims: str) -> None:
    """Takes claims back."""
    for claim in claims:
        del _CLAIMS[claim]


register("tfhub:TfHub", "//tfhub.dev")
register("kaggle:Kaggle", "//www.kaggle.com", "//kaggle.com", "*/*/*/*", "*/*/*/*/*")
register("tfhub:TfHubChina", "//hub.tensorflow.google.cn")
register("web:WebHost", "https://", "http://")
register("bucket:Bucket", "s3://")
register("bucket:GoogleBucket", "gs://")
register("bucket:AzureContainer", "az://")
register(
    "bucket:BucketHost",
    "//storage.googleapis.com",
    "//*.googleapis.com",
    "//*.amazonaws.com",
    "//*.windows.net",
)
register("local:LocalDirectory", PATH, "file://")
register("example:Example", "example://")


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
    """Every provider once, for what isn't known to be of one."""
    seen: list[Provider] = []
    for claim in list(_CLAIMS):
        provider = registered(claim)
        if provider is not None and provider not in seen:
            seen.append(provider)
            yield provider


def scheme_of(text: str) -> str | None:
    """The scheme of a URL, in small letters; None where the text doesn't begin with one and `://`."""
    scheme, separator, _ = text.partition("://")
    is_one = separator and scheme.isascii() and scheme[:1].isalpha()
    return scheme.lower() if is_one and scheme.translate(_PUNCTUATION).isalnum() else None


_PUNCTUATION = dict.fromkeys(map(ord, "+.-"))


def _host(text: str) -> str:
    """The host at its usual port, "" for others; what can't be parsed is for who has the scheme to refuse."""
    try:
        parts = urlsplit(text)
        is_usual = parts.port in (None, 80, 443)
    except ValueError:
        return ""
    return (parts.hostname or "") if is_usual else ""
