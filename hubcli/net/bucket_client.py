"""obstore, as buckets use it: stores opened, calls that an interrupt ends, errors translated.

obstore's calls hold a signal back until they return, so they run on threads of their own. It retries
nothing here but the parts of an upload: `RetryPolicy` does, and tells the user. A process that was forked
after the first call must make none (obstore 0.12 would hang): hubcli starts its processes anew.

Error codes of S3: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from hubcli.config.buckets import BucketOptions, bucket_options, hidden_variables
from hubcli.config.environment import NetworkConfig
from hubcli.config.settings import Settings
from hubcli.errors import (
    AuthenticationError,
    BodyChangedError,
    HandleError,
    HubcliError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    UsageError,
)
from hubcli.net.bounds import RateMeter
from hubcli.net.client import open_client
from hubcli.net.retries import RetryPolicy
from hubcli.providers.bucket import BucketAddress
from hubcli.regular_file import read_regular

__all__ = ["BucketClient", "in_thread", "load_obstore"]

T = TypeVar("T")

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<(?:Code|code)>(\w{1,80})</(?:Code|code)>")
_OTHER_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken")
_WRONG_KEYS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AuthenticationFailed",
    "UnrecognizedClientException",
)
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
# Questions for a token, to services that only a machine of the cloud reaches.
_TOKEN = re.compile(
    r"token request|169\.254\.|metadata|InstanceCreds|identity|oauth|AzureCLI|azure cli|STS", re.I
)
# obstore names the URL, but for one with a signature.
_REQUEST = re.compile(r"Error performing [A-Z]+ (\S+) in ")
_CLOCK_S = 60.0
_MAX_CERTIFICATES_BYTES = 16 << 20
_UPLOAD_RETRY = timedelta(minutes=3)
_NAMES = {"s3": "AWS", "gs": "Google Cloud", "az": "Azure"}


def load_obstore() -> Any:
    """The package. Raises UsageError where it isn't installed."""
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise UsageError(
            "Buckets need the package obstore, which is not installed",
            hint="Run: pip install 'hubcli[buckets]'",
        ) from error
    return obstore


def in_thread(call: Callable[[], T]) -> T:
    """What the call returns or raises; an interrupt of the main thread ends the wait at once."""
    if threading.current_thread() is not threading.main_thread():
        return call()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - any error is the caller's
            errors.append(error)

    thread = threading.Thread(target=run, name="hubcli-bucket", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


class BucketClient:
    """The requests to one bucket. May be shared between threads; opened by the first call."""

    def __init__(
        self,
        address: BucketAddress,
        settings: Settings,
        retries: RetryPolicy,
        *,
        counts_together: bool = False,
    ) -> None:
        self.obstore = load_obstore()
        self.name = str(address.container)
        self.meter = RateMeter(settings.min_rate_bytes_s)
        self.timeout_s = settings.timeout_s
        self._retries = retries
        self._counts_together = counts_together
        self.is_google = address.scheme == "gs"
        self.is_anonymous = settings.access.buckets.anonymous
        self._address = address
        self._settings = settings
        self._options: BucketOptions | None = None
        self._stores: dict[bool, Any] = {}
        self._region: str | None = None
        self._lock = threading.Lock()
        self._clock: tuple[float, datetime] | None = None

    def retries(self) -> RetryPolicy:
        """The attempts of the next request: its own, unless those of all requests count together."""
        return self._retries if self._counts_together else self._retries.anew()

    @property
    def options(self) -> BucketOptions:
        """Endpoint and credentials. Raises AuthenticationError, UsageError."""
        if self._options is None:
            buckets = self._settings.access.buckets
            self._options = bucket_options(buckets, self._address.scheme, self._address.account)
        return self._options

    @property
    def _access(self) -> NetworkConfig:
        """The network's settings, with the authorities that the AWS CLI would trust."""
        access = self._settings.access
        return replace(access, ca_file=access.ca_file or self.options.ca_file)

    def store(self, *, with_retries: bool = False) -> Any:
        """The store of obstore; one `with_retries` is for uploads, whose parts are its own."""
        with self._lock:
            if with_retries not in self._stores:
                self._stores[with_retries] = self._opened(with_retries)
            return self._stores[with_retries]

    def _opened(self, with_retries: bool) -> Any:
        stores, options, scheme = self.obstore.store, self.options, self._address.scheme
        kinds = {"s3": stores.S3Store, "gs": stores.GCSStore, "az": stores.AzureStore}
        config = {**options.config, **({"region": self._region} if self._region else {})}
        if self._region and options.endpoint.endswith(".amazonaws.com"):
            config["endpoint"] = f"https://s3.{self._region}.amazonaws.com"
        timeout = timedelta(seconds=self.timeout_s)
        client: dict[str, Any] = {
            # That of a whole request, with its body: silence is bounded by the other one.
            "timeout": timedelta(days=1),
            "read_timeout": timeout,
            "connect_timeout": timeout,
            "allow_http": options.is_plain_http,
            "user_agent": "hubcli",
        }
        if options.headers:
            client["default_headers"] = dict(options.headers)
        ca_file = self._access.ca_file
        if ca_file is not None:
            client["root_certificate"] = _certificates(ca_file)
        retries = {
            "max_retries": self._settings.retries if with_retries else 0,
            "retry_timeout": _UPLOAD_RETRY,
        }
        try:
            with hidden_variables(scheme):
                return kinds[scheme](
                    self._address.bucket, config=config, client_options=client, retry_config=retries
                )
        except self.obstore.exceptions.BaseError as error:
            raise self.translated(error, self.name) from error

    def call(
        self, name: str, action: Callable[[Any], T], *, with_retries: bool = False, key: str | None = None
    ) -> T:
        """What the action makes of the store, tried again after a transient error.

        `name` is that of the object in messages; `key` is given of a question whose answer has no body to
        say why it is refused. FileNotFoundError and what is `lost` are left to the caller.
        """
        return self.retries().until_done(lambda: self.once(name, action, with_retries=with_retries, key=key))

    def once(
        self, name: str, action: Callable[[Any], T], *, with_retries: bool = False, key: str | None = None
    ) -> T:
        """The same, tried once; a bucket that turns out to be in another region is asked there."""
        try:
            return in_thread(lambda: action(self.store(with_retries=with_retries)))
        except self.lost as error:
            if _code(error) != "ConditionalRequestConflict":
                raise
            # Two writes at once: the service asks for another try.
            raise NetworkError(f"{name} is being written by another process").transient() from error
        except FileNotFoundError as error:
            if _code(error) not in _NO_BUCKET:
                raise
            raise self.missing(name, _code(error)) from error
        except (self.obstore.exceptions.BaseError, ValueError) as error:
            if self._is_elsewhere(error) and self._move():
                return in_thread(lambda: action(self.store(with_retries=with_retries)))
            raise self.translated(self._with_words(error, key), name) from error

    @property
    def lost(self) -> tuple[type[Exception], ...]:
        """What a condition that isn't met raises."""
        found = self.obstore.exceptions
        return found.AlreadyExistsError, found.PreconditionError

    def _with_words(self, error: Exception, key: str | None) -> Exception:
        """The error of a request whose answer says why, where that of a HEAD can't."""
        if key is None or _code(error) or _status(str(error)) not in (400, 403):
            return error
        options = {"range": (0, 1)}
        try:
            in_thread(lambda: self.obstore.get(self.store(), key, options=options))
        except (self.obstore.exceptions.BaseError, OSError) as other:
            return other if _code(other) else error
        return error

    # --- Another region, and the clock

    def _is_elsewhere(self, error: Exception) -> bool:
        """Whether the bucket may be in another region. Its answer to HEAD has no words: 400 alone."""
        if self._address.scheme != "s3" or self._region is not None:
            return False
        text, code = str(error), _code(error)
        return code in _OTHER_REGION or "configured region" in text or (not code and _status(text) == 400)

    def _move(self) -> bool:
        """Goes to the region that the service tells; whether there is another one than before."""
        region = self._ask().get("x-amz-bucket-region", "")
        if not re.fullmatch(r"[a-z0-9-]{4,40}", region) or region == self.options.config.get("region"):
            return False
        with self._lock:
            self._region = region
            self._stores.clear()
        return True

    def _ask(self) -> dict[str, str]:
        """The headers of an answer about the bucket, asked for without credentials. Raises NetworkError."""
        url = f"{self.options.endpoint}/{self._address.bucket}"
        with open_client(url, self.timeout_s, self._access) as client:
            response = client.ask_once(url, lambda event, facts: None)
            response.close()
            return {name.lower(): value for name, value in response.headers.items()}

    def now(self) -> datetime:
        """The service's own clock, asked once a minute. Raises NetworkError."""
        if self._clock is None or time.monotonic() - self._clock[0] > _CLOCK_S:
            try:
                moment = parsedate_to_datetime(self.retries().until_done(self._ask)["date"])
            except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
                raise NetworkError(f"{self.name} sends no valid Date header") from error
            moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
            self._clock = time.monotonic(), moment.astimezone(timezone.utc)
        asked_s, moment = self._clock
        return moment + timedelta(seconds=time.monotonic() - asked_s)

    # --- Errors

    def translated(self, error: Exception, name: str) -> HubcliError:
        """The error as one of ours: nothing of obstore's text but status, code and a known reason."""
        text, code = self._without_key(str(error)), _code(error)
        status = _status(text)
        if isinstance(error, ValueError) and "parse path" in text:
            return HandleError(f"{name} has an unsupported key", hint="Rename the object.")
        if isinstance(error, FileNotFoundError):
            return self.missing(name, code)
        if type(error).__name__ == "InvalidPathError":
            return IntegrityError(
                f"{name} contains an object whose key has an empty segment, '.', '..' or a control character",
                hint="Rename or remove that object.",
            )
        if status in (400, 401, 403) or (status is None and _TOKEN.search(text)):
            return self._denied(name, status, code, text)
        return self._failed(name, status, code, text)

    def _without_key(self, text: str) -> str:
        """The text without the URL of a request to the bucket: the words of a key are no reason."""
        request = _REQUEST.search(text)
        if request is None:
            return text
        host, own = urlsplit(request[1]).netloc, urlsplit(self.options.endpoint).netloc
        hosts = {own, f"s3.{self._region}.amazonaws.com"}
        if request[1] != "REDACTED" and not any(f".{host}".endswith(f".{known}") for known in hosts):
            return text
        return text[request.start() :].replace(request[1], "")

    def missing(self, name: str, code: str = "") -> NotFoundError:
        """The error for an object, or a bucket, that isn't there."""
        if code in _NO_BUCKET:
            return NotFoundError(f"{self.name} does not exist", hint="Check the name of the bucket.")
        return NotFoundError(f"{name} does not exist", hint="Check the bucket and the path.")

    def _denied(self, name: str, status: int | None, code: str, text: str) -> HubcliError:
        cloud, place = _NAMES[self._address.scheme], self.options.place
        if code == "RequestTimeTooSkewed":
            return AuthenticationError(
                f"{name} answers 403: the clock of this machine is more than 15 minutes off",
                hint="Set the clock: sudo timedatectl set-ntp true",
            )
        if code == "UserProjectMissing":
            return AuthenticationError(f"{name} is in a requester-pays bucket", hint="Add --requester-pays.")
        if code in _EXPIRED:
            return AuthenticationError(
                f"{name} answers {status}: the session token in {place} has expired or is invalid",
                hint="Renew it, for example: aws sso login",
            )
        if status is None or (_TOKEN.search(text.partition("status code")[0]) and not code):
            return AuthenticationError(
                f"No {cloud} credentials found for {self.name}: {place} gives none",
                hint="For a public bucket, add --anonymous. See: hubcli doctor",
            )
        if code in _WRONG_KEYS or status == 401:
            return AuthenticationError(
                f"{name} answers {status}: {cloud} rejects the credentials in {place}",
                hint="Check them: hubcli doctor",
            )
        if status == 400:
            return NetworkError(
                f"{name} answers 400 {code}".rstrip(), hint="Check the bucket and its region."
            )
        access = "without credentials" if place == "none" else f"to the credentials in {place}"
        return AuthenticationError(
            f"{name} answers 403: access is denied {access}",
            hint="Check the permissions; for a requester-pays bucket, add --requester-pays.",
        )

    def _failed(self, name: str, status: int | None, code: str, text: str) -> HubcliError:
        if "configured region" in text or code in _OTHER_REGION:
            return NetworkError(
                f"{name} is in another region", hint="Set AWS_REGION to the region of the bucket."
            )
        if status == 404:
            return self.missing(name, code)
        if status is not None:
            error = NetworkError(f"{name} answers {status} {code}".rstrip(), hint="Try again later.")
            return error.transient() if status >= 500 or status in (408, 409, 429) else error
        # Its `retry_timeout` stands in each text that tells of its retries.
        if "imeout" in text.replace("retry_timeout", "") or "timed out" in text:
            return NetworkError(
                f"Timed out waiting for data from {name}",
                hint="Try again, or wait longer with --timeout SECONDS.",
            ).transient()
        if "non-partial" in text:
            return BodyChangedError(
                f"{name} was sent as a whole instead of the requested range",
                hint="Try again.",
                has_ranges=False,
            )
        reason = "cannot be reached" if "connect" in text.lower() else "closed the connection"
        return NetworkError(
            f"{self.options.endpoint}, which has {name}, {reason}",
            hint="Check the network and the endpoint: hubcli doctor --network",
        ).transient()


def _certificates(path: Path) -> bytes:
    """What the file of certificates holds. Raises UsageError."""
    try:
        return read_regular(path, _MAX_CERTIFICATES_BYTES)
    except OSError as error:
        raise UsageError(
            f"Cannot read the CA certificates in {path}: {error.strerror}",
            hint="Check --cacert and AWS_CA_BUNDLE.",
        ) from error


def _code(error: Exception) -> str:
    found = _CODE.search(str(error))
    return found[1] if found else ""


def _status(text: str) -> int | None:
    found = _STATUS.search(text)
    return int(found[1]) if found else None
