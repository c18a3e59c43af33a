"""How large a body is, without fetching it."""

from __future__ import annotations

import re

from hubcli.access import Access
from hubcli.errors import NetworkError
from hubcli.net.client import Client, content_length, open_client
from hubcli.net.retries import Retries

__all__ = ["probe_size"]

_CONTENT_RANGE = re.compile(r"bytes 0-0/(\d{1,19})")


def probe_size(url: str, timeout_s: float, retries: Retries, access: Access) -> int | None:
    """The size in bytes of what `GET url` would answer, None where the host doesn't tell.

    HEAD is asked; where that isn't answered with a size, as by storage whose
    signed addresses are for GET alone, the first byte. What may pass is tried
    again. Raises NotFoundError, AuthenticationError, NetworkError.
    """
    with open_client(url, timeout_s, access) as client:
        return retries.until_done(lambda: _asked_by_head(client, url) or _asked_for_a_byte(client, url))


def _asked_by_head(client: Client, url: str) -> int | None:
    try:
        response = client.follow(url, method="HEAD")
    except NetworkError:  # Some hang up on HEAD: what follows tells.
        return None
    response.close()
    return content_length(response) if response.status_code == 200 else None


def _asked_for_a_byte(client: Client, url: str) -> int | None:
    response = client.follow(url, {"Range": "bytes=0-0"})
    response.close()  # A host without ranges sends all of it: it isn't read.
    if response.status_code == 206:
        told = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
        return int(told[1]) if told is not None else None
    client.check_status(response)
    return content_length(response)
