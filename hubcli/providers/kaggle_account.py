"""The account at Kaggle: its places in kagglehub's order, and what is sent of it.

`KAGGLE_API_TOKEN` (a token, or a file that holds one), `~/.kaggle/access_token`, `KAGGLE_USERNAME` with
`KAGGLE_KEY`, `kaggle.json`. A token is sent as Bearer, a user's name and key as Basic.

No message tells more than the place: what is wrong with a secret may be shown by what it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from hubcli.errors import AuthenticationError
from hubcli.providers.provider import Credential
from hubcli.regular_file import read_stream

if TYPE_CHECKING:
    from hubcli.config.network import KaggleAccount

__all__ = ["TOKENS_PAGE", "WHERE", "kaggle_credential"]

TOKENS_PAGE = "https://www.kaggle.com/settings"
WHERE = f"make a token on {TOKENS_PAGE} and put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token"
_MAX_BYTES = 64 << 10
_WAIT_S = 10.0  # For a FIFO, such as a shell's `<(command)` that asks a password manager.


def kaggle_credential(account: KaggleAccount) -> Credential | None:
    """The first that is there, in kagglehub's order; None without any. Raises AuthenticationError."""
    if account.token is not None:
        return _of_token_variable(account.token)
    if account.token_file is not None:
        text = _content(account.token_file)
        if text is not None:
            return _bearer(text, str(account.token_file))
    if account.username is not None and account.key is not None:
        return _pair(account.username, account.key, "KAGGLE_USERNAME and KAGGLE_KEY")
    return None if account.key_file is None else _of_key_file(account.key_file)


def _of_token_variable(value: str) -> Credential:
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
    """The text of the file, None where there is none. Raises AuthenticationError where it can't be read."""
    try:
        return read_stream(file, _MAX_BYTES, _WAIT_S).decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        raise _unusable(str(file)) from None


def _bearer(text: str, place: str) -> Credential:
    token = text.strip()
    # A line end would be told by the HTTP library's error, and the token with it.
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
        f"The credentials in {place} can't be used", hint=f"Mend or remove them: {WHERE}."
    )
