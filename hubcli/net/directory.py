"""Where a host has the unpacked directory of a model, by the TF Hub protocol.

`GET <handle>?tf-hub-format=uncompressed` is answered by 303 with the directory in the body, such as
`gs://bucket/folder`. Source: https://www.tensorflow.org/hub/hosting and tensorflow_hub 0.16.1,
`uncompressed_module_resolver.py`.
"""

from __future__ import annotations

import httpx

from hubcli.config.network import NetworkConfig
from hubcli.errors import NetworkError
from hubcli.net.client import open_client, translate
from hubcli.net.retries import RetryPolicy
from hubcli.redaction import redacted, stored_url

__all__ = ["ask_directory"]

_SEE_OTHER = 303
_MAX_BYTES = 4096
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


def ask_directory(url: str, timeout_s: float, retries: RetryPolicy, access: NetworkConfig) -> str:
    """The directory that the host tells at the URL, redirects of other kinds followed.

    A directory in a bucket is believed of every host, one on this disk of this
    machine alone. Raises NotFoundError, AuthenticationError, and NetworkError,
    also for an answer that is no 303 or names no directory.
    """
    with open_client(url, timeout_s, access) as client:

        def asked() -> tuple[str, httpx.Response]:
            response = client.follow(url, redirects=(301, 302, 307, 308))
            try:
                client.check_status(response, _SEE_OTHER)
                return _body(response), response
            finally:
                response.close()

        told, response = retries.until_done(asked)
    is_here = told.startswith("/") and response.url.host in _THIS_MACHINE
    if not told.startswith("gs://") and not is_here:
        shown = redacted(told)[:80]  # Cut before, a credential in it might not be known for one.
        raise NetworkError(
            f"{stored_url(str(response.url))} names no directory in a bucket, but {shown!r}",
            hint="Have it fetched instead: unset TFHUB_MODEL_LOAD_FORMAT.",
        )
    return told


def _body(response: httpx.Response) -> str:
    """The text of the body, as far as it could be an address."""
    content = b""
    try:
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > _MAX_BYTES:
                break
    except (httpx.HTTPError, OSError) as error:
        raise translate(error, stored_url(str(response.url))) from error
    return content[:_MAX_BYTES].decode("utf-8", "replace").strip()
