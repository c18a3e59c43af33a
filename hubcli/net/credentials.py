"""Credentials: which are sent to which host, and to no other.

A provider says where an account of its own is, and which hosts get it. Every other host gets the
entry of `~/.netrc` for it.

Messages name only the place of a credential: the reason why it is invalid may reveal a part of it.
"""

from __future__ import annotations

import base64
import io
import locale
import netrc
from collections.abc import Callable
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from hubcli.config.environment import NetworkConfig
from hubcli.errors import AuthenticationError
from hubcli.providers import providers
from hubcli.providers.provider import Credential, CredentialScope
from hubcli.regular_file import is_hidden, read_stream
from hubcli.urls import origin, remember_secret, stored_url

__all__ = ["Credentials", "answer_text", "netrc_names", "remember_authorization", "standard_phrase"]


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
    """A sentence with URL and status. The answer's own reason phrase may echo a credential."""
    return f"{stored_url(url)} answers {status} {standard_phrase(status)}".rstrip()


_MAX_NETRC_BYTES = 16 << 20
_WAIT_S = 10.0  # For a FIFO, such as a shell's `<(command)` that asks a password manager.
_REFUSED = (401, 403, 404)


class Credentials:
    """The credentials for one download, which begins at `url`.

    A provider's are sent to the origins of its scope alone, in a chain of redirects that began at those or
    at origins that it trusts, and never left them. The entry of a netrc file is sent to the origin of
    `url` alone: an entry `default` would otherwise be sent to every storage that a host redirects to.
    """

    def __init__(self, access: NetworkConfig, url: str) -> None:
        self._access = access
        self._providers = tuple(providers())
        scopes = list(filter(None, (provider.credentials(access) for provider in self._providers)))
        self._accounts = [_Account(scope) for scope in scopes]
        home = origin(url)
        within = [scope.origins | scope.trusted for scope in scopes]
        self._allowed_origins = frozenset({home}).union(*(origins for origins in within if home in origins))

    def may_go_to(self, url: str) -> bool:
        """Whether a chain of redirects keeps its credentials if it leads to the URL."""
        return origin(url) in self._allowed_origins

    def header(self, url: str) -> str | None:
        """The `Authorization` header for a request to the URL, or None.

        None if the URL itself has credentials. Raises AuthenticationError if credentials are there that
        can't be used.
        """
        if not self.may_go_to(url) or "@" in urlsplit(url).netloc:
            return None
        account = self._account_at(url)
        found = account.credential if account is not None else self._of_netrc(url)
        if found is None:
            return None
        remember_authorization(found.header)
        return found.header

    def hint(self, url: str, status: int) -> str | None:
        """What a user can do about the status, as the URL's provider says; None if it has no hint."""
        account = self._account_at(url)
        found = account.credential if account is not None and status in _REFUSED else None
        place = found.place if found is not None else None
        hints = (provider.explain(url, status, self._access, place) for provider in self._providers)
        return next(filter(None, hints), None)

    def _account_at(self, url: str) -> _Account | None:
        accounts = (account for account in self._accounts if origin(url) in account.scope.origins)
        return next(accounts, None)

    @cached_property
    def _entries(self) -> netrc.netrc | None:
        """The netrc file, read once: a FIFO can't be read again."""
        return _read_netrc(self._access.netrc, is_named=self._access.is_netrc_named)

    def _of_netrc(self, url: str) -> Credential | None:
        """The entry of the netrc file for the host of the URL."""
        file = self._access.netrc
        found = None if self._entries is None else self._entries.authenticators(urlsplit(url).hostname or "")
        if found is None or not found[2]:
            return None
        credential = Credential.of_pair(found[0] or "", found[2], str(file))
        if credential is None:
            raise AuthenticationError(
                f"Cannot use the credentials in {file}", hint="Correct or remove the entry."
            )
        return credential


class _Account:
    """The credential of a scope, read once: a FIFO can't be read again."""

    def __init__(self, scope: CredentialScope) -> None:
        self.scope = scope

    @cached_property
    def credential(self) -> Credential | None:
        """The credential, None without one. Raises AuthenticationError."""
        return self.scope.read()


def netrc_names(access: NetworkConfig) -> frozenset[str]:
    """The hosts that the netrc file has credentials for, `default` among them where it has such an entry.

    In a file that is written wrongly a password may be taken for a host: don't show them.
    Raises AuthenticationError if the file is there, or is named, and can't be understood.
    """
    entries = _read_netrc(access.netrc, is_named=access.is_netrc_named)
    return frozenset() if entries is None else frozenset(entries.hosts)


def _read_netrc(file: Path | None, *, is_named: bool) -> netrc.netrc | None:
    """The file; None if it is absent and was not named. Raises AuthenticationError."""
    if file is None:
        return None
    try:
        return _Netrc(file)
    except (FileNotFoundError, NotADirectoryError):  # HOME=/dev/null, as some services have it.
        if is_named:
            raise _bad_netrc(file, "does not exist") from None
        return None
    except netrc.NetrcParseError as error:
        # The error quotes what it didn't expect, which may be a password.
        raise _bad_netrc(file, f"has a syntax error near line {error.lineno}") from None
    except (OSError, ValueError):
        if not is_named and is_hidden(file):
            return None
        raise _bad_netrc(file, "cannot be read") from None


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
        f"{file} {what}", hint="Correct it, or set NETRC to another file (such as /dev/null)."
    )


def remember_authorization(header: str) -> None:
    """Remembers the value of an Authorization header: its token, and the password within a Basic one."""
    scheme, _, token = header.partition(" ")
    remember_secret(token)
    if scheme.lower() != "basic":
        return
    try:
        pair = base64.b64decode(token).decode("utf-8", "surrogateescape")
    except ValueError:
        return
    remember_secret(pair)
    remember_secret(pair.partition(":")[2])
