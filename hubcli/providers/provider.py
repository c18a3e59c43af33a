"""The interface of a kind of host, and what several kinds share: spellings, versions, refusals.

The hosting protocol: https://www.tensorflow.org/hub/hosting.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

from hubcli.errors import HandleError
from hubcli.providers.handle import Handle
from hubcli.urls import printed_url, with_query

if TYPE_CHECKING:
    from hubcli.config.environment import NetworkConfig

__all__ = [
    "ACCEPTED",
    "ARCHIVE_QUERY",
    "DIRECTORY_QUERY",
    "SEGMENT",
    "Credential",
    "CredentialScope",
    "HttpAnswer",
    "HttpClient",
    "ProtocolHost",
    "Provider",
    "invalid_url",
    "is_number",
    "printed_handle",
    "refusal",
    "spellings",
    "url_segments",
    "version_in",
]

ACCEPTED = (
    "Accepted: https://tfhub.dev/<publisher>/<model>/<version>, a Kaggle model URL or "
    "<owner>/<model>/tensorFlow2/<variation>[/<version>], any https:// URL of a model or tarball, "
    "s3://, gs:// or az:// addresses, example://mul/1, a directory or an archive (./model, ./model.tar.gz)."
)
SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")

ARCHIVE_QUERY, DIRECTORY_QUERY = "tf-hub-format=compressed", "tf-hub-format=uncompressed"
# What a handle may end in that was copied from a log or a browser.
_SUFFIXES = ("", "/", f"?{ARCHIVE_QUERY}", "?tfhub-redirect=true")

Origin = tuple[str, str, "int | None"]


class HttpAnswer(NamedTuple):
    """The body of an answer, and its address without secrets."""

    url: str
    content: bytes


class HttpClient(Protocol):
    """Requests as a provider may send them, with this run's mirrors, retries, limits and credentials."""

    @property
    def access(self) -> NetworkConfig:
        """The network's settings, such as endpoints of hosts."""

    def get(self, url: str, limit_bytes: int) -> HttpAnswer:
        """The answer, cut off at the limit. Raises NotFoundError, AuthenticationError, NetworkError."""


class Credential(NamedTuple):
    """The value of an `Authorization` header, and where it was found. Never print the header."""

    header: str
    place: str

    @classmethod
    def of_pair(cls, username: object, key: object, place: str) -> Credential | None:
        """A user's name and key or password, sent as Basic (RFC 7617); None for invalid ones."""
        if not isinstance(username, str) or not isinstance(key, str) or ":" in username:
            return None
        import base64

        pair = f"{username.strip()}:{key.strip()}".encode()
        return cls(f"Basic {base64.b64encode(pair).decode()}", place)

    def __repr__(self) -> str:
        return f"Credential(place={self.place!r})"


class CredentialScope(NamedTuple):
    """Which origins get the credentials of a kind of host.

    They are sent to `origins` alone, in a chain of redirects that began and stayed at those or at `trusted`
    origins. `read` returns the credential, None without one; raises AuthenticationError.
    """

    origins: frozenset[Origin]
    trusted: frozenset[Origin]
    read: Callable[[], Credential | None]


class Provider:
    """A kind of host. The defaults are right for one without versions and credentials of its own.

    `name` identifies the kind, `title` is the host's name in messages. An `is_remote` host gets no requests
    offline. A directory (`is_directory`) is never copied into the cache. With `is_read_by_tensorflow`,
    `hubcli.load` may read an uncompressed model at its address.
    """

    name: str
    title: str
    is_remote = True
    is_directory = False
    is_read_by_tensorflow = False

    def __repr__(self) -> str:
        return f"<{self.name}>"

    # Handles are compared, pickled and copied, with the providers in them.
    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(self.name)

    # --- Spelling

    def parse(self, text: str) -> Handle:
        """The handle of a text that the provider claims. Raises HandleError."""
        raise NotImplementedError

    def suggestion(self, segments: Sequence[str]) -> str | None:
        """The URL that was probably meant by a path with these segments; None for no idea."""
        return None

    def display_name(self, handle: Handle) -> str:
        """The handle's name in errors, without secrets."""
        return handle.canonical

    def is_immutable(self, handle: Handle) -> bool:
        """Whether the bytes of the handle never change."""
        return handle.version is not None

    def model_name(self, handle: Handle) -> tuple[str, ...]:
        """Publisher and model, the folders of a tree of models; () if the handle doesn't name them."""
        from hubcli.archive.compression import ARCHIVE_SUFFIXES  # Few commands need the name.

        segments = [segment for segment in self._name_path(handle).split("/") if segment]
        if not segments or segments[-1].endswith(ARCHIVE_SUFFIXES):
            return ()
        if handle.version is not None and segments[-1] == handle.version:
            del segments[-1]
        return tuple(segments)

    def _name_path(self, handle: Handle) -> str:
        parts = urlsplit(handle.canonical)
        return f"{parts.netloc}{parts.path}"

    # --- Bytes

    def archive(self, handle: Handle, access: NetworkConfig) -> str:
        """The address of the bytes; its scheme decides which byte source reads it."""
        return handle.canonical

    def private_address(self, handle: Handle, access: NetworkConfig) -> str | None:
        """Another address of the same bytes, for users with an account; used if `archive` is denied."""
        return None

    def protocol_url(self, handle: Handle) -> str | None:
        """The archive's URL in the TF Hub protocol, which a mirror has too; None for other hosts."""
        return None

    def directory(self, handle: Handle) -> str | None:
        """The URL at which the TF Hub protocol names the unpacked model's directory; None for other hosts."""
        return None

    def hosts(self, access: NetworkConfig) -> tuple[str, ...]:
        """The URLs of the hosts at which downloads begin, if they are the same for every handle."""
        return ()

    # --- Versions

    def needs_version(self, handle: Handle) -> bool:
        """Whether `resolve` must find the version of the handle."""
        return False

    def version_url(self, handle: Handle, access: NetworkConfig) -> str:
        """The URL that `resolve` requests for a handle that needs a version."""
        return self.archive(handle, access)

    def resolve(self, handle: Handle, client: HttpClient) -> Handle:
        """The handle of the version that is the latest now. Raises NotFoundError, NetworkError."""
        return handle

    def versions(self, handle: Handle, texts: Iterable[str]) -> Iterator[Handle]:
        """The handles, among the texts, of versions of the model that the handle names."""
        return iter(())

    def equivalents(
        self, handle: Handle, redirects: Iterable[str], access: NetworkConfig
    ) -> tuple[Handle, ...]:
        """The handles of the very same bytes, as the URLs of its redirects prove."""
        return ()

    # --- Credentials and errors

    def credentials(self, access: NetworkConfig) -> CredentialScope | None:
        """Which hosts get which credentials; None for hosts that get those of `~/.netrc`."""
        return None

    def explain(self, url: str, status: int, access: NetworkConfig, place: str | None) -> str | None:
        """What a user can do about the HTTP status of a URL of this host; None for others, or for no idea.

        `place` is the place of the credentials that were sent to the URL, None without any.
        """
        return None


class ProtocolHost(Provider):
    """A host of the TF Hub protocol: a query on the handle requests the archive or the directory."""

    def _name_path(self, handle: Handle) -> str:
        return urlsplit(handle.canonical).path

    def archive(self, handle: Handle, access: NetworkConfig) -> str:
        """The archive's URL in the TF Hub protocol."""
        url = self.protocol_url(handle)
        assert url is not None
        return url

    def protocol_url(self, handle: Handle) -> str | None:
        """The handle with the query for its archive."""
        return with_query(handle.canonical, ARCHIVE_QUERY)

    def directory(self, handle: Handle) -> str | None:
        """The handle with the query for its uncompressed directory."""
        return with_query(handle.canonical, DIRECTORY_QUERY)


def printed_handle(text: str) -> str:
    """The text without secrets, also for a URL without its scheme."""
    if "://" in text or text.startswith(("/", ".", "~")):
        return printed_url(text)
    # `user:password@host` is secret without slashes, too.
    return printed_url(f"//{re.sub(r'^.*:.*@', '', text, flags=re.DOTALL)}").removeprefix("//")


def refusal(text: str, what: str, hint: str = ACCEPTED) -> HandleError:
    """The error for a text that is not a handle."""
    return HandleError(f"'{printed_handle(text)}' {what}", hint=hint)


def invalid_url(text: str) -> HandleError:
    """The error for a URL that can't be parsed; it isn't shown, since it may have credentials anywhere."""
    return HandleError(
        f"'{text.partition('://')[0]}://…' is not a valid URL: check its host and port", hint=ACCEPTED
    )


def url_segments(text: str) -> list[str]:
    """The segments of a URL's path. Raises HandleError for one that no model can have."""
    segments = urlsplit(text).path.strip("/").split("/")
    if segments != [""] and not all(map(SEGMENT.fullmatch, segments)):
        raise refusal(text, "contains a character that is invalid in model names")
    return segments


def is_number(text: str) -> bool:
    """Whether the text has ASCII digits alone."""
    return text.isascii() and text.isdecimal()


def version_in(segments: Sequence[str]) -> str | None:
    """The last of several segments, if it is a number."""
    named = [segment for segment in segments if segment]
    return named[-1] if len(named) > 1 and is_number(named[-1]) else None


def spellings(bases: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The canonical spelling, which is the first base, and all others: bases with copied suffixes."""
    every = dict.fromkeys(base + suffix for suffix, base in itertools.product(_SUFFIXES, bases))
    canonical, *aliases = every
    return canonical, tuple(aliases)
