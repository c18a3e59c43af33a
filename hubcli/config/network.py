"""How hosts are met: by whose word they are believed, and where credentials for them may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from hubcli.config.environment import absolute, in_home
from hubcli.errors import UsageError
from hubcli.urls import without_secrets

__all__ = ["KAGGLE_ENDPOINT", "KaggleAccount", "NetworkConfig", "kaggle_endpoint"]

KAGGLE_ENDPOINT = "https://www.kaggle.com"


@dataclass(frozen=True, slots=True)
class KaggleAccount:
    """Where Kaggle is, and where credentials for it may be; no file has been read yet.

    The variables, files and their order are kagglehub's: `token` is the value of KAGGLE_API_TOKEN,
    a token or the path of one; then `token_file`, `username` with `key`, and `key_file`.
    """

    endpoint: str = KAGGLE_ENDPOINT
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    username: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    key_file: Path | None = None

    @classmethod
    def read(cls, env: Mapping[str, str], default_endpoint: str = KAGGLE_ENDPOINT) -> KaggleAccount:
        """What the variables say. Raises UsageError for an endpoint that credentials can't be sent to."""
        named = env.get("HUBCLI_KAGGLE_ENDPOINT")
        folder = in_home(".kaggle")
        config = env.get("KAGGLE_CONFIG_DIR")
        key_folder = absolute(config, "KAGGLE_CONFIG_DIR") if config else folder
        return cls(
            endpoint=kaggle_endpoint(named, "HUBCLI_KAGGLE_ENDPOINT") if named else default_endpoint,
            token=env.get("KAGGLE_API_TOKEN") or None,
            token_file=folder and folder / "access_token",
            username=env.get("KAGGLE_USERNAME") or None,
            key=env.get("KAGGLE_KEY") or None,
            key_file=key_folder and key_folder / "kaggle.json",
        )


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """How hosts are met: by whose word they are believed, and with which credentials.

    `ca_file` and `ca_folder` take the place of the authorities that the system and the
    certifi package trust. `netrc` is a file, `is_netrc_named` whether the user chose it.
    """

    ca_file: Path | None = None
    ca_folder: Path | None = None
    netrc: Path | None = None
    is_netrc_named: bool = False
    kaggle: KaggleAccount = field(default_factory=KaggleAccount)

    @classmethod
    def read(
        cls,
        env: Mapping[str, str],
        ca_file: str | None = None,
        *,
        default_ca_file: Path | None = None,
        default_endpoint: str = KAGGLE_ENDPOINT,
    ) -> NetworkConfig:
        """What the flag `--cacert` and the variables say, else these defaults. Raises UsageError."""
        bundle = ca_file or env.get("SSL_CERT_FILE")
        folder, netrc = env.get("SSL_CERT_DIR"), env.get("NETRC")
        default = None if folder else default_ca_file
        found = cls(
            ca_file=absolute(bundle, "--cacert" if ca_file else "SSL_CERT_FILE") if bundle else default,
            ca_folder=absolute(folder, "SSL_CERT_DIR") if folder and not bundle else None,
            netrc=absolute(netrc, "NETRC") if netrc else in_home(".netrc"),
            is_netrc_named=bool(netrc),
            kaggle=KaggleAccount.read(env, default_endpoint),
        )
        if ca_file and found.ca_file is not None and not found.ca_file.is_file():
            raise UsageError(
                f"--cacert {ca_file} is no file", hint="Name a file of certificates in PEM form."
            )
        return found


def kaggle_endpoint(text: str, source: str) -> str:
    """The address of Kaggle's API in the setting `source`; UsageError where no credentials may be sent."""
    printed = without_secrets(text)
    try:
        parts = urlsplit(text)
        is_open = parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost")
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_open = is_address = False
    if not is_address or is_open or parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            f"{source} is '{printed}', to which no credentials may be sent"
            if is_open
            else f"{source} is '{printed}', which is no address of an API",
            hint=f"Write an https:// address, such as {KAGGLE_ENDPOINT}.",
        )
    return text.rstrip("/")
