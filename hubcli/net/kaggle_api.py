"""Kaggle's API, as far as a download needs it: which version of a model is the latest.

The address, and that the answer's `versionNumber` is it: kagglehub's `http_resolver.py`.
"""

from __future__ import annotations

import json

from hubcli.errors import NetworkError
from hubcli.net.download import DownloadOptions, open_download
from hubcli.providers.kaggle import KaggleModel

__all__ = ["latest_version"]

_MAX_BYTES = 4 << 20
_MAX_NUMBER = 10**9


def latest_version(model: KaggleModel, url: str, options: DownloadOptions) -> str:
    """The number of the model's latest version, as the API tells at the URL.

    Raises NotFoundError, AuthenticationError, and NetworkError, also for an answer without that number.
    """
    content = b""
    with open_download(url, options) as download:
        for chunk in download.chunks():
            content += chunk
            if len(content) > _MAX_BYTES:
                break
        shown = download.url
    try:
        number = json.loads(content)["versionNumber"]
    except (ValueError, KeyError, TypeError, RecursionError):
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= _MAX_NUMBER:
        raise NetworkError(
            f"{shown} doesn't tell the latest version of {model.page}",
            hint=f"Name the version: hubcli fetch {model.page}/<version>",
        )
    return str(number)
