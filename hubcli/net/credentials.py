"""Credentials: what each host may be told of who asks, and nobody else.

Kaggle's places, in kagglehub's order: `KAGGLE_API_TOKEN` (a token, or a file that holds one),
`~/.kaggle/access_token`, `KAGGLE_USERNAME` with `KAGGLE_KEY`, `kaggle.json`. A token is sent as
Bearer, a user's name and key as Basic. Every other host has the entries of `~/.netrc`.

No message tells more than the place: what is wrong with a secret may be shown by what it is.
"""

from __future__ import annotations

import base64
import io
import json
import locale
import netrc
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from hubcli.config.network import KAGGLE_ENDPOINT, KaggleAccount, NetworkConfig
from hubcli.errors import AuthenticationError, HubcliError, NotFoundError
from hubcli.providers.kaggle import KaggleModel
from hubcli.redaction import remember_authorization, stored_url
from hubcli.regular_file import read_stream
from hubcli.urls import origin

__all__ = ["Credentials", "answer_text", "kaggle_place", "netrc_names", "standard_phrase"]


def standard_phrase(status: int) -> str:
    """The standard's phrase for the status, empty where it has none.

    >>> standard_phrase(404), standard_phrase(599)
    ('Not Found', '')
    """
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def answer_text(url: str, status: int) -> str:
    """A sentence that says who answers what. The reason phrase of the answer may echo a credential."""
    return f"{stored_url(url)} answers {status} {standard_phrase(status)}".rstrip()


_MAX_BYTES, _MAX_NETRC_BYTES = 64 << 10, 16 << 20
_WAIT_S = 10.0  # For a FIFO, such as a shell's `<(command)` that asks a password manager.
_TFHUB = ("https", "tfhub.dev", 443)
_TOKENS_PAGE = "https://www.kaggle.com/settings"
_WHERE = f"make a token on {_TOKENS_PAGE} and put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token"


@dataclass(frozen=True, slots=True)
class _Credential:
    header: str = field(repr=False)
    place: str


class Credentials:
    """Those for one download, which begins at `url`: its host's own, for its own origin.

    Kaggle's go to Kaggle's origins alone, in a chain of redirects that began there or at tfhub.dev
    and never left. The entries of a netrc file go to the origin of `url` alone: an entry
    `default` would else be sent to every storage that a host redirects to.
    """

    def __init__(self, access: NetworkConfig, url: str) -> None:
        self._access = access
        kaggle = access.kaggle.endpoint
        self._kaggle = {origin(kaggle)} | (
            {origin("https://kaggle.com")} if kaggle == KAGGLE_ENDPOINT else set()
        )
        home = origin(url)
        self._homes = self._kaggle | {_TFHUB} if home in (*self._kaggle, _TFHUB) else {home}
        self._read: _Credential | None = None
        self._is_read = False
        self._entries: netrc.netrc | None = None
        self._are_entries_read = False

    def may_go_to(self, url: str) -> bool:
        """Whether a chain of redirects that comes there still holds its credentials."""
        return origin(url) in self._homes

    def header(self, url: str) -> str | None:
        """The `Authorization` of a request to the URL, None where there is none.

        What the URL holds itself goes before. Raises AuthenticationError where
        a place of credentials is there and can't be understood.
        """
        if not self.may_go_to(url) or "@" in urlsplit(url).netloc:
            return None
        found = self._of_kaggle() if origin(url) in self._kaggle else self._of_netrc(url)
        if found is None:
            return None
        remember_authorization(found.header)
        return found.header

    def refusal(self, url: str, status: int) -> HubcliError | None:
        """The error for Kaggle's 401, 403 or 404 that says what to do; None for another host's, or status.

        Kaggle says 403 of a model whose licence wasn't accepted, and 403 or 404 of a private one.
        """
        if origin(url) not in self._kaggle:
            return None
        said = answer_text(url, status)
        model = KaggleModel.of_url(url, self._access.kaggle.endpoint)
        credential, page = self._of_kaggle(), _TOKENS_PAGE if model is None else model.page
        if status == 404:
            hint = "Check the spelling and the version of the handle"
            return NotFoundError(
                said, hint=f"{hint}." if credential else f"{hint}; if it is private, {_WHERE}."
            )
        if status not in (401, 403):
            return None
        if credential is None:
            hint = f"The model asks for consent or is private: accept its licence on {page}, then {_WHERE}."
        elif status == 401:
            hint = f"Kaggle doesn't know the credentials of {credential.place}: {_WHERE}."
        else:
            hint = (
                f"Accept the licence on {page} with the account of {credential.place}, "
                f"or {_WHERE} that may read the model."
            )
        return AuthenticationError(said, hint=hint)

    def _of_kaggle(self) -> _Credential | None:
        if not self._is_read:
            self._read, self._is_read = _of_account(self._access.kaggle), True
        return self._read

    def _of_netrc(self, url: str) -> _Credential | None:
        """The entry of the netrc file, which is read once: a FIFO can't be read again."""
        file = self._access.netrc
        if not self._are_entries_read:
            self._entries = _read_netrc(file, is_named=self._access.is_netrc_named)
            self._are_entries_read = True
        found = None if self._entries is None else self._entries.authenticators(urlsplit(url).hostname or "")
        if found is None or not found[2]:
            return None
        return _basic(found[0] or "", found[2], str(file))


def kaggle_place(account: KaggleAccount) -> str | None:
    """Where the credentials are that Kaggle would be told; None without any. Raises AuthenticationError."""
    found = _of_account(account)
    return None if found is None else found.place


def netrc_names(access: NetworkConfig) -> frozenset[str]:
    """The hosts that the netrc file has credentials for, `default` among them where it has such an entry.

    In a file that is written wrongly a password may be taken for a host: don't show them.
    Raises AuthenticationError where the file is there, or is named, and can't be understood.
    """
    entries = _read_netrc(access.netrc, is_named=access.is_netrc_named)
    return frozenset() if entries is None else frozenset(entries.hosts)


def _of_account(account: KaggleAccount) -> _Credential | None:
    """The first that is there, in kagglehub's order."""
    if account.token is not None:
        return _of_token_variable(account.token)
    if account.token_file is not None:
        text = _content(account.token_file)
        if text is not None:
            return _bearer(text, str(account.token_file))
    if account.username is not None and account.key is not None:
        return _basic(account.username, account.key, "KAGGLE_USERNAME and KAGGLE_KEY")
    return None if account.key_file is None else _of_key_file(account.key_file)


def _of_token_variable(value: str) -> _Credential:
    place = "KAGGLE_API_TOKEN"
    if value.startswith(("/", "~", "./", "../")):
        try:
            file = Path(value).expanduser()
        except RuntimeError:
            raise _unusable(place) from None
        text = _content(file)
        if text is None:
            raise _unusable(f"{place}, the path of a file that isn't there,")
        return _bearer(text, f"{place} ({file})")
    try:
        text = _content(Path(value))  # A path may be relative; a token is the name of no file.
    except (AuthenticationError, ValueError):
        text = None
    return _bearer(value if text is None else text, place)


def _of_key_file(file: Path) -> _Credential | None:
    text = _content(file)
    if text is None:
        return None
    try:
        document = json.loads(text)
        return _basic(document["username"], document["key"], str(file))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _unusable(str(file)) from None


def _content(file: Path) -> str | None:
    """The text of the file, None where there is none. Raises AuthenticationError where it can't be read."""
    try:
        return read_stream(file, _MAX_BYTES, _WAIT_S).decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        raise _unusable(str(file)) from None


def _bearer(text: str, place: str) -> _Credential:
    token = text.strip()
    # A line end would be told by the HTTP library's error, and the token with it.
    if not token.isascii() or not token.isprintable() or " " in token or not token:
        raise _unusable(place)
    return _Credential(f"Bearer {token}", place)


def _basic(username: object, key: object, place: str) -> _Credential:
    if not isinstance(username, str) or not isinstance(key, str) or ":" in username:
        raise _unusable(place)
    pair = f"{username.strip()}:{key.strip()}".encode()
    return _Credential(f"Basic {base64.b64encode(pair).decode()}", place)


def _unusable(place: str) -> AuthenticationError:
    return AuthenticationError(
        f"The credentials in {place} can't be used", hint=f"Mend or remove them: {_WHERE}."
    )


def _read_netrc(file: Path | None, *, is_named: bool) -> netrc.netrc | None:
    """The file, None where there is none and nobody named it. Raises AuthenticationError."""
    if file is None:
        return None
    try:
        return _Netrc(file)
    except FileNotFoundError:
        if is_named:
            raise _bad_netrc(file, "isn't there") from None
        return None
    except netrc.NetrcParseError as error:
        # The error quotes what it didn't expect, which may be a password.
        raise _bad_netrc(file, f"can't be understood, near line {error.lineno}") from None
    except (OSError, ValueError):
        raise _bad_netrc(file, "can't be read") from None


class _Netrc(netrc.netrc):
    """The entries of the file, which may be a FIFO or `/dev/null`; the library's own opening would wait."""

    def __init__(self, file: Path) -> None:
        self.hosts, self.macros = {}, {}
        content = read_stream(file, _MAX_NETRC_BYTES, _WAIT_S)
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = content.decode(locale.getpreferredencoding(False))
        parse: Callable[[str, TextIO, bool], None] = self._parse  # type: ignore[attr-defined]
        parse(str(file), io.StringIO(text), False)


def _bad_netrc(file: Path, what: str) -> AuthenticationError:
    return AuthenticationError(
        f"{file} {what}", hint="Mend it, or let NETRC name another file (/dev/null has no entries)."
    )
