"""Any host of the TF Hub protocol, and archives at any web address: the URL is requested as typed."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from hubcli.archive.compression import ARCHIVE_SUFFIXES
from hubcli.providers.handle import Handle
from hubcli.providers.provider import (
    ARCHIVE_QUERY,
    DIRECTORY_QUERY,
    ProtocolHost,
    invalid_url,
    refusal,
    spellings,
    version_in,
)
from hubcli.urls import with_query, without_query, without_secrets

__all__ = ["WebHost"]

_LEFT_IN = re.compile(r"tf-hub-format|tfhub-redirect")


class WebHost(ProtocolHost):
    """Any other web host. A number in its paths may not be a version: the bytes may change."""

    name = "http"
    title = "the host"

    def parse(self, text: str) -> Handle:
        """The handle of the URL, without credentials and signatures. Raises HandleError."""
        try:
            parts = urlsplit(text)
            _ = parts.port
        except ValueError as error:
            raise invalid_url(text) from error
        if not parts.hostname:
            raise refusal(text, "has no host")
        if not parts.path.strip("/"):
            raise refusal(text, "has a host, but no model")
        clean = _cleaned(parts)
        if not clean.path:
            raise refusal(text, "has a host, but no model")
        canonical = without_query(clean.geturl(), _LEFT_IN)
        if urlsplit(canonical).query or clean.path.endswith(ARCHIVE_SUFFIXES):
            aliases: tuple[str, ...] = (with_query(canonical, ARCHIVE_QUERY),)
        else:
            canonical, aliases = spellings([canonical])
        return Handle(text, self, canonical, version_in(clean.path.split("/")), aliases)

    def is_immutable(self, handle: Handle) -> bool:
        """Never: nothing is known about the host."""
        return False

    def protocol_url(self, handle: Handle) -> str | None:
        """The URL as typed, with its credentials, and the query for an archive."""
        # A signed URL of a tarball may cover its whole query: nothing is added to it.
        if urlsplit(handle.canonical).path.endswith(ARCHIVE_SUFFIXES):
            return handle.text.partition("#")[0]
        return with_query(handle.text, ARCHIVE_QUERY)

    def directory(self, handle: Handle) -> str | None:
        """The URL as typed, with the query for its uncompressed directory."""
        return with_query(handle.text.partition("#")[0], DIRECTORY_QUERY)


def _cleaned(parts: SplitResult) -> SplitResult:
    """The address with a host in lower case, without secrets, and without slashes at its end."""
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else str(parts.hostname)
    netloc = f"{host}:{parts.port}" if parts.port else host
    tidy = parts._replace(scheme=parts.scheme.lower(), netloc=netloc, path=parts.path.rstrip("/"))
    clean = urlsplit(without_secrets(tidy.geturl()))
    return clean._replace(path=clean.path.rstrip("/"))
