"""What environment variables, options and the config file hold, parsed.

Directories, mirrors, variables that turn something on, and the network (certificates, and where
credentials may be).
`hubcli.config.settings` passes the variables; TF_CONFIG is read by TensorFlow.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from hubcli.errors import UsageError
from hubcli.urls import without_secrets

__all__ = [
    "BUCKET_VARIABLES",
    "COLORS",
    "FLAGS",
    "KAGGLE_ENDPOINT",
    "LONGEST_TIMEOUT_S",
    "OFF",
    "BucketConfig",
    "ConfigFile",
    "KaggleAccount",
    "Mirror",
    "NetworkConfig",
    "absolute",
    "in_home",
    "is_on",
    "kaggle_endpoint",
    "on_disk",
    "require_timeout",
    "unclear_flags",
    "user_directory",
]

COLORS = ("auto", "always", "never")
LONGEST_TIMEOUT_S = 365 * 86400
_APP_NAME = "hubcli"
# A Path has already made one slash of two.
_FILE = "file://"
_REMOTE = r"[A-Za-z][A-Za-z0-9+.-]+:/"


class ConfigFile(NamedTuple):
    """The config file at `path`. `values` are parsed, by key; `unknown` are notes on unknown keys.

    `faults` are the errors by key; the key "" stands for the whole file.
    """

    path: Path | None = None
    is_there: bool = False
    values: Mapping[str, Any] = MappingProxyType({})
    faults: Mapping[str, UsageError] = MappingProxyType({})
    unknown: tuple[str, ...] = ()

    def __repr__(self) -> str:  # The values may hold secrets.
        return f"ConfigFile(path={self.path!r}, faults={self.faults!r}, unknown={self.unknown!r})"

    def require_valid(self) -> None:
        """Raises the first of its `faults`, if it has some."""
        for error in self.faults.values():
            raise error

    def get(self, name: str, default: Any = None) -> Any:
        """The value of the key; the default if the file doesn't have it."""
        return self.values.get(name, default)


def require_timeout(seconds: float, option: str = "--timeout") -> None:
    """Raises UsageError unless it is more than 0 s, and at most a year."""
    if not 0 < seconds <= LONGEST_TIMEOUT_S:
        raise UsageError(f"{option} is {seconds:g} s", hint="Use more than 0s and at most 1y.")


def absolute(text: str, source: str) -> Path:
    """The absolute path of the directory or file that an option or variable names: its `source` in messages.

    Raises UsageError.
    """
    if "\0" in text:
        raise UsageError(f"{source} has a NUL character", hint="Specify a directory.")
    if text.startswith(_FILE):
        return _of_address(text, source)
    if not text.startswith("/") and re.match(_REMOTE, text):
        raise UsageError(
            f"{source} is '{without_secrets(text)}', not a local directory",
            hint="Specify a directory on a local or mounted disk.",
        )
    if not text:
        raise UsageError(f"{source} is empty", hint="Specify a directory.")
    try:
        return Path(text).expanduser().absolute()
    except FileNotFoundError as error:
        raise UsageError(
            f"{source} is '{text}', but the working directory no longer exists", hint="Use an absolute path."
        ) from error
    except RuntimeError as error:
        raise UsageError(
            f"{source} is '{text}', the home of an unknown user", hint="Specify a directory."
        ) from error


def _of_address(text: str, source: str) -> Path:
    """The directory of a file:// address as TensorFlow reads it: the path unchanged, without decoding.

    Source: tensorflow/core/platform/path.cc, ParseURI, and file_system.cc, TranslateName. Raises UsageError.
    """
    host, slash, path = text[len(_FILE) :].partition("/")
    if host not in ("", "localhost") or not path.strip("/"):
        raise UsageError(
            f"{source} is '{without_secrets(text)}', which is not a directory on this machine",
            hint="Use file:///absolute/path, or the path itself.",
        )
    return Path(os.path.normpath(slash + path))


def on_disk(name: str) -> str:
    """The name, which archives and records have in UTF-8, in the form that the system takes in any locale.

    In the C locale without UTF-8 mode Python's file names are ASCII, and other bytes are escaped.
    """
    return name if name.isascii() else os.fsdecode(name.encode("utf-8", "surrogateescape"))


def in_home(name: str) -> Path | None:
    """The path in the user's home; None for a user without one."""
    try:
        return Path.home() / name
    except RuntimeError:
        return None


def user_directory(kind: str, what: str, where: str) -> Path:
    """The user's directory of the kind `cache`, `config` or `state`. Raises UsageError without a home."""
    path = _on_linux(kind)
    if path is None:
        import platformdirs

        try:
            path = Path(getattr(platformdirs, f"user_{kind}_path")(_APP_NAME, appauthor=False))
        except RuntimeError:
            path = Path("~")
    if not path.is_absolute():
        raise UsageError(f"No home directory for {what}", hint=f"Specify a directory in {where}.")
    return path


_LINUX_FOLDERS = {"cache": ".cache", "config": ".config", "state": ".local/state"}


def _on_linux(kind: str) -> Path | None:
    """The directory as platformdirs finds it on Linux, without its import, which takes 4 ms at each start.

    None for rare values of the variables, which versions of platformdirs read in different ways.
    """
    named = os.environ.get(f"XDG_{kind.upper()}_HOME", "")
    if not sys.platform.startswith("linux") or named != named.strip() or os.environ.get("HOME") == "":
        return None
    folder = Path(named) if named else in_home(_LINUX_FOLDERS[kind])
    return folder / _APP_NAME if folder is not None and folder.is_absolute() else None


# Any word but those that mean off has always counted as on. A user who writes `n` or `none` means
# something else, and gets a warning.
OFF = ("", "0", "false", "no", "off")
_ON = ("1", "true", "yes", "on", "t", "y")
FLAGS = (
    "HUBCLI_OFFLINE",
    "HUBCLI_NO_PROGRESS",
    "HUBCLI_NO_SYNC",
    "HUBCLI_BUCKET_ANONYMOUS",
    "HUBCLI_BUCKET_REQUESTER_PAYS",
)
_MAX_SHOWN = 60


def is_on(env: Mapping[str, str], variable: str, default: bool) -> bool:
    """Whether the variable is on; the default if it is not set, or empty."""
    text = env.get(variable, "").strip().lower()
    return text not in OFF if text else default


def unclear_flags(env: Mapping[str, str]) -> dict[str, str]:
    """The values, shortened, of the variables that have another word than those for on and off, by name."""
    found = {name: env.get(name, "").strip() for name in FLAGS}
    return {name: text[:_MAX_SHOWN] for name, text in found.items() if text.lower() not in (*OFF, *_ON)}


_EXAMPLE = "https://tfhub.dev=https://mirror.example/tfhub"


class Mirror(NamedTuple):
    """A mirror: URLs that begin with `prefix` are requested from `replacement` instead."""

    prefix: str
    replacement: str

    def __repr__(self) -> str:
        return f"Mirror(prefix={self.prefix!r})"  # The replacement may hold user and password.

    @classmethod
    def parse(cls, text: str, source: str = "--mirror") -> Mirror:
        """A mirror from `PREFIX=URL`; raises UsageError for anything else.

        `source` is the option, the variable or the key of a config file that has the text.
        """
        prefix, separator, replacement = text.strip().partition("=")
        if not separator or "://" not in prefix or "://" not in replacement:
            # In a text that can't be parsed, credentials can't be separated from the rest.
            subject = "(not shown: it has an '@')" if "@" in text else f"'{without_secrets(text)}'"
            place = "" if source == "--mirror" else f"{source}: "
            raise UsageError(f"{place}Invalid mirror {subject}", hint=_hint(source))
        return cls(prefix.rstrip("/"), replacement.rstrip("/"))

    def rewrite(self, url: str) -> str | None:
        """The URL to request instead of `url`, or None if this mirror doesn't apply."""
        if not url.startswith(self.prefix):
            return None
        rest = url[len(self.prefix) :]
        return self.replacement + rest if rest[:1] in ("", "/", "?") else None


def _hint(source: str) -> str:
    if source == "--mirror":
        return f"Use --mirror {_EXAMPLE}."
    if source.isupper():
        return f"Use {source}={_EXAMPLE}."
    return f'Use mirrors = ["{_EXAMPLE}"].'


KAGGLE_ENDPOINT = "https://www.kaggle.com"


class KaggleAccount(NamedTuple):
    """Kaggle's endpoint, and where credentials for it may be; no file has been read yet.

    The variables, files and their order are kagglehub's: `token` is the value of KAGGLE_API_TOKEN,
    a token or the path of one; then `token_file`, `username` with `key`, and `key_file`. The last is
    `login_file`, which `kaggle auth login` writes.
    """

    endpoint: str = KAGGLE_ENDPOINT
    token: str | None = None
    token_file: Path | None = None
    username: str | None = None
    key: str | None = None
    key_file: Path | None = None
    login_file: Path | None = None

    def __repr__(self) -> str:
        return f"KaggleAccount(endpoint={self.endpoint!r})"  # The others may be secrets.

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
            login_file=folder and folder / "credentials.json",
        )


# The variables that the clouds' own tools read begin with these.
BUCKET_VARIABLES = (
    "AWS_",
    "GOOGLE_",
    "CLOUDSDK_",
    "AZURE_",
    "IDENTITY_ENDPOINT",
    "MSI_ENDPOINT",
    "STORAGE_EMULATOR_",
)


class BucketConfig(NamedTuple):
    """What options and environment say of buckets; `hubcli.config.buckets` finds the credentials.

    `anonymous` sends none; with `requester_pays` the account that reads pays for the traffic.
    """

    anonymous: bool = False
    requester_pays: bool = False
    variables: Mapping[str, str] = MappingProxyType({})

    def __repr__(self) -> str:  # The variables hold credentials.
        return f"BucketConfig(anonymous={self.anonymous}, requester_pays={self.requester_pays})"

    @classmethod
    def read(
        cls, env: Mapping[str, str], *, anonymous: bool = False, requester_pays: bool = False
    ) -> BucketConfig:
        """The options, and those variables that the clouds' own tools read."""
        found = {name: value for name, value in env.items() if value and name.startswith(BUCKET_VARIABLES)}
        return cls(anonymous, requester_pays, found)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """How hosts are contacted: the certificate authorities to trust, and the credentials to send.

    `ca_file` or `ca_folder` replaces the authorities that the system and the certifi package trust.
    `is_netrc_named` says whether the user chose the `netrc` file.
    """

    ca_file: Path | None = None
    ca_folder: Path | None = None
    netrc: Path | None = None
    is_netrc_named: bool = False
    kaggle: KaggleAccount = KaggleAccount()  # noqa: RUF009 - a frozen value
    buckets: BucketConfig = BucketConfig()  # noqa: RUF009 - a frozen value

    @classmethod
    def read(
        cls,
        env: Mapping[str, str],
        ca_file: str | None = None,
        *,
        default_ca_file: Path | None = None,
        default_endpoint: str = KAGGLE_ENDPOINT,
        anonymous: bool = False,
        requester_pays: bool = False,
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
            buckets=BucketConfig.read(env, anonymous=anonymous, requester_pays=requester_pays),
        )
        if ca_file and found.ca_file is not None and not found.ca_file.is_file():
            raise UsageError(
                f"--cacert {ca_file} is not a file", hint="Specify a file of certificates in PEM form."
            )
        return found


def kaggle_endpoint(text: str, source: str) -> str:
    """The URL of Kaggle's API in the setting `source`; UsageError if credentials may not be sent there."""
    printed = without_secrets(text)
    try:
        parts = urlsplit(text)
        is_open = parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost")
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_open = is_address = False
    if not is_address or is_open or parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            f"{source} is '{printed}', which may not get credentials"
            if is_open
            else f"{source} is '{printed}', not the URL of an API",
            hint=f"Use an https:// URL, such as {KAGGLE_ENDPOINT}.",
        )
    return text.rstrip("/")
