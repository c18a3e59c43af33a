"""Kaggle's account: where kagglehub and Kaggle's own command keep it, and how it is sent.

The order is kagglehub's: `KAGGLE_API_TOKEN` (a token, or a file that holds one), `~/.kaggle/access_token`,
`KAGGLE_USERNAME` with `KAGGLE_KEY`, `kaggle.json`. Last comes `~/.kaggle/credentials.json`, which
`kaggle auth login` writes and kagglehub does not read: its token is used until it expires, and renewed by
Kaggle's command alone. A token is sent as Bearer, a user's name and key as Basic. Messages name only the
place of a credential: the reason why it is invalid may reveal a part of it.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hubcli.errors import AuthenticationError
from hubcli.providers.provider import Credential
from hubcli.regular_file import is_hidden, read_stream
from hubcli.units import from_iso_utc

if TYPE_CHECKING:
    from hubcli.config.environment import KaggleAccount

__all__ = ["TOKENS_PAGE", "WHERE", "KaggleLogin", "kaggle_credential"]

TOKENS_PAGE = "https://www.kaggle.com/settings"
WHERE = f"create a token on {TOKENS_PAGE} and save it in KAGGLE_API_TOKEN or ~/.kaggle/access_token"
_MAX_BYTES = 64 << 10
_WAIT_S = 10.0  # For a FIFO, such as a shell's `<(command)` that asks a password manager.


def kaggle_credential(account: KaggleAccount) -> Credential | None:
    """The first credential in kagglehub's order; None without any. Raises AuthenticationError."""
    if account.token is not None:
        return _of_token_variable(account.token)
    if account.token_file is not None:
        text = _content(account.token_file)
        if text is not None:
            return _bearer(text, str(account.token_file))
    if account.username is not None and account.key is not None:
        return _pair(account.username, account.key, "KAGGLE_USERNAME and KAGGLE_KEY")
    found = None if account.key_file is None else _of_key_file(account.key_file)
    if found is None and account.login_file is not None:
        login = KaggleLogin.read(account.login_file)
        found = None if login is None else login.credential()
    return found


# The least time that a token must be valid for: it might expire during a request.
_LEAST_S = 60.0


class KaggleLogin(NamedTuple):
    """What `kaggle auth login` wrote: a token, None if it is invalid, and when it expires.

    Source: kagglesdk 0.1.38, kaggle_creds.py.
    """

    file: Path
    token: str | None
    expires_s: float

    @classmethod
    def read(cls, file: Path) -> KaggleLogin | None:
        """The login in the file, None without the file; an invalid one has no token."""
        try:
            text = _content(file)
            if text is None:
                return None
            document: Any = json.loads(text)
            token, expires_s = document["access_token"], from_iso_utc(document["access_token_expiration"])
            _bearer(token, str(file))
        except (AuthenticationError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return cls(file, None, 0.0)
        return cls(file, token, expires_s)

    def __repr__(self) -> str:
        return f"KaggleLogin(file={self.file!r}, expires_s={self.expires_s!r})"

    @property
    def is_valid(self) -> bool:
        """Whether the token can be used now."""
        return self.token is not None and self.expires_s > time.time() + _LEAST_S

    def credential(self) -> Credential | None:
        """The token, None after it has expired: public models need none."""
        return _bearer(self.token, str(self.file)) if self.is_valid and self.token is not None else None


def _of_token_variable(value: str) -> Credential:
    place = "KAGGLE_API_TOKEN"
    if value.startswith(("/", "~", "./", "../")):
        try:
            file = Path(value).expanduser()
        except RuntimeError:
            raise _unusable(place) from None
        text = _content(file)
        if text is None:
            raise _unusable(f"{place}, the path of a file that does not exist,")
        return _bearer(text, f"{place} ({file})")
    try:
        text = _content(Path(value))  # The value may be a relative path.
    except (AuthenticationError, ValueError):
        text = None
    return _bearer(value if text is None else text, place)


def _of_key_file(file: Path) -> Credential | None:
    text = _content(file)
    if text is None:
        return None
    try:
        document = json.loads(text)
        return _pair(document["username"], document["key"], str(file))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _unusable(str(file)) from None


def _content(file: Path) -> str | None:
    """The text of the file, None if it is absent. Raises AuthenticationError if it can't be read."""
    try:
        return read_stream(file, _MAX_BYTES, _WAIT_S).decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        if is_hidden(file):
            return None
        raise _unusable(str(file)) from None


def _bearer(text: str, place: str) -> Credential:
    token = text.strip()
    # httpx's error for a line break would print the token.
    if not token.isascii() or not token.isprintable() or " " in token or not token:
        raise _unusable(place)
    return Credential(f"Bearer {token}", place)


def _pair(username: object, key: object, place: str) -> Credential:
    found = Credential.of_pair(username, key, place)
    if found is None:
        raise _unusable(place)
    return found


def _unusable(place: str) -> AuthenticationError:
    return AuthenticationError(
        f"Cannot use the credentials in {place}", hint=f"Correct or remove them: {WHERE}."
    )
