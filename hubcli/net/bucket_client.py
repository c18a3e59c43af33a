"""obstore, as buckets use it: stores opened, calls that an interrupt ends, errors translated.

obstore's calls delay a signal until they return, so they run on threads of their own. Of retries it makes
those of an upload's parts alone: `RetryPolicy` makes the others, and reports them. A process that was forked
after the first call must make none (obstore 0.12 would hang): hubcli spawns its processes.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hubcli.concurrency import collect_error
from hubcli.config.buckets import (
    BucketOptions,
    amazon_endpoint,
    bucket_options,
    hidden_variables,
    unchanged_environment,
)
from hubcli.config.environment import NetworkConfig
from hubcli.config.settings import Settings
from hubcli.errors import NetworkError, UsageError
from hubcli.net.bucket_errors import NO_BUCKET, OTHER_REGION, BucketErrors, code_of, status_of
from hubcli.net.rate import RateMeter, timed_out
from hubcli.net.retries import RetryPolicy
from hubcli.providers.bucket import BucketAddress
from hubcli.regular_file import read_regular
from hubcli.units import from_http_date

if TYPE_CHECKING:
    from hubcli.net.aws_credentials import ProfileCredentials

__all__ = ["BucketClient", "in_thread", "load_obstore"]

T = TypeVar("T")

_PAGE = 1000
_MAX_REPEATED = 10  # Pages that begin as an earlier one.
_DIRECTORY_BUCKETS = ("--x-s3", "--xa-s3")  # How their names and those of their access points end.
_CLOCK_S = 60.0
# The limit for a page of a listing, or an object that is read as a whole: a server may never end it.
_ANSWER_S = 300.0
_MAX_CERTIFICATES_BYTES = 16 << 20
_UPLOAD_RETRY = timedelta(minutes=3)


def load_obstore() -> Any:
    """The package. Raises UsageError if it isn't installed."""
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


def in_thread(call: Callable[[], T], limit_s: float | None = None) -> T:
    """What the call returns or raises; an interrupt of the main thread ends the wait at once.

    Raises TimeoutError beyond the limit; the call ends by itself, or with the process.
    """
    if limit_s is None and threading.current_thread() is not threading.main_thread():
        return call()
    results: list[T] = []
    errors: list[BaseException] = []
    work = (lambda: results.append(call()), errors)
    thread = threading.Thread(target=collect_error, args=work, name="hubcli-bucket", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise TimeoutError
    if errors:
        raise errors[0]
    return results[0]


class BucketClient(BucketErrors):
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
        self._address, self.scheme = address, address.scheme
        self._settings = settings
        self._options: BucketOptions | None = None
        self._stores: dict[bool, Any] = {}
        self._lock = threading.Lock()
        self._clock: tuple[float, datetime] | None = None

    def retries(self) -> RetryPolicy:
        """The retries of the next request: its own, unless all requests share theirs."""
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
        config = {**options.config, **({"region": self.region} if self.region else {})}
        if self.region and options.endpoint.endswith(".amazonaws.com"):
            config["endpoint"] = amazon_endpoint(self.region)
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
        more = {} if options.profile is None else {"credential_provider": self._profile(options.profile)}
        retries = {
            "max_retries": self._settings.retries if with_retries else 0,
            "retry_timeout": _UPLOAD_RETRY,
        }
        try:
            with hidden_variables(scheme):
                return kinds[scheme](
                    self._address.bucket, config=config, client_options=client, retry_config=retries, **more
                )
        except self.obstore.exceptions.BaseError as error:
            raise self.translated(error, self.name) from error

    def _profile(self, name: str) -> ProfileCredentials:
        """The provider of the profile's credentials, called once here so that its errors reach the user."""
        from hubcli.net.aws_credentials import ProfileCredentials

        variables, region = self._settings.access.buckets.variables, str(self.options.config["region"])
        provider = ProfileCredentials(name, variables, region, self._access.ca_file, unchanged_environment)
        provider()
        return provider

    def call(self, name: str, action: Callable[[Any], T], **more: Any) -> T:
        """The result of `action` on the store, retried after transient errors; the rest is as in `once`."""
        return self.retries().until_done(lambda: self.once(name, action, **more))

    def once(
        self,
        name: str,
        action: Callable[[Any], T],
        *,
        with_retries: bool = False,
        key: str | None = None,
        is_small: bool = False,
        is_conditional: bool = False,
    ) -> T:
        """The result of `action` on the store, or on that of another region if the bucket is there.

        `name` is the object in messages. `key` is given for a HEAD request, whose answer has no body with the
        reason of an error. A request that `is_small` has a time limit. FileNotFoundError passes through, and
        so do the `condition_errors` of a request that `is_conditional`.
        """
        region, limit_s = self.region, max(_ANSWER_S, 2 * self.timeout_s) if is_small else None
        try:
            return in_thread(lambda: action(self.store(with_retries=with_retries)), limit_s)
        except TimeoutError as error:
            raise timed_out(name) from error
        except self.condition_errors as error:
            if code_of(error) == "ConditionalRequestConflict":
                # Two writes at once: the service asks for another try.
                raise NetworkError(f"{name} is being written by another process").transient() from error
            if is_conditional:
                raise
            raise self.translated(error, name) from error
        except FileNotFoundError as error:
            if code_of(error) not in NO_BUCKET:
                raise
            raise self.missing(name, code_of(error)) from error
        except (self.obstore.exceptions.BaseError, ValueError) as error:
            if region is None and self._is_other_region(error) and (self.region or self._switch_region()):
                return self.once(
                    name,
                    action,
                    with_retries=with_retries,
                    key=key,
                    is_small=is_small,
                    is_conditional=is_conditional,
                )
            raise self.translated(self._with_reason(error, key), name) from error

    @property
    def lists_in_order(self) -> bool:
        """Whether listings are in the order of keys, as Google and AWS promise, but for directory buckets."""
        if self._address.bucket.endswith(_DIRECTORY_BUCKETS):
            return False
        return self.is_google or self.options.endpoint.endswith((".amazonaws.com", ".amazonaws.com.cn"))

    def pages(self, name: str, folder: str, start_after: str | None) -> Iterator[Sequence[Any]]:
        """The objects below the folder, by pages, in the order of the service. Raises NetworkError."""
        listing = self.obstore.list
        stream: Iterator[Any] | None = None
        end, repeated = object(), 0
        begins = set[str]()  # The first key of each page: a few bytes for a thousand objects.

        def first_page(store: Any) -> Any:
            nonlocal stream
            stream = iter(
                listing(store, f"{folder}/" if folder else None, offset=start_after, chunk_size=_PAGE)
            )
            return next(stream, end)

        def next_page(store: Any) -> Any:
            nonlocal stream
            if stream is None:  # A stream that failed looks finished: the rest would be missing.
                raise NetworkError(f"The listing of {name} broke off", hint="Try again.").transient()
            pages, stream = stream, None
            page = next(pages, end)
            stream = pages
            return page

        page = self.once(name, first_page, is_small=True)
        while page is not end:
            first = page[0]["path"] if page else ""
            repeated = repeated + 1 if first in begins else 0
            begins.add(first)
            if repeated > _MAX_REPEATED:
                raise NetworkError(
                    f"{name} lists the same objects over and over", hint="Report it to the host."
                )
            yield page
            page = self.once(name, next_page, is_small=True)

    @property
    def condition_errors(self) -> tuple[type[Exception], ...]:
        """The errors of a conditional request whose condition isn't met."""
        found = self.obstore.exceptions
        return found.AlreadyExistsError, found.PreconditionError

    def _with_reason(self, error: Exception, key: str | None) -> Exception:
        """The error of a GET for the key in place of that of a HEAD, which has no reason."""
        if key is None or code_of(error) or status_of(str(error)) not in (400, 403):
            return error
        options = {"range": (0, 1)}
        try:
            in_thread(lambda: self.obstore.get(self.store(), key, options=options))
        except (self.obstore.exceptions.BaseError, OSError) as other:
            return other if code_of(other) else error
        return error

    # --- Another region, and the clock

    def _is_other_region(self, error: Exception) -> bool:
        """Whether the bucket may be in another region. A HEAD there gets 400 without a reason."""
        if self._address.scheme != "s3":
            return False
        text, code = str(error), code_of(error)
        return code in OTHER_REGION or "configured region" in text or (not code and status_of(text) == 400)

    def _switch_region(self) -> bool:
        """Uses the region that the service names from now on; False if it is the one in use."""
        region = self._bucket_headers().get("x-amz-bucket-region", "")
        if not re.fullmatch(r"[a-z0-9-]{4,40}", region) or region == self.options.config.get("region"):
            return False
        with self._lock:
            self.region = region
            self._stores.clear()
        return True

    def _bucket_headers(self) -> dict[str, str]:
        """The headers of an answer for the bucket, requested without credentials. Raises NetworkError."""
        from hubcli.net.client import open_client  # Most requests are obstore's: httpx takes 80 ms to load.

        url = f"{self.options.endpoint}/{self._address.bucket}"
        with open_client(url, self.timeout_s, self._access) as client:
            response = client.ask_once(url, lambda event, facts: None)
            response.close()
            return {name.lower(): value for name, value in response.headers.items()}

    def now(self) -> datetime:
        """The service's own clock, requested at most once a minute. Raises NetworkError."""
        if self._clock is None or time.monotonic() - self._clock[0] > _CLOCK_S:
            date = from_http_date(self.retries().until_done(self._bucket_headers).get("date"))
            if date is None:
                raise NetworkError(f"{self.name} sends no valid Date header")
            self._clock = time.monotonic(), date
        read_at_s, moment = self._clock
        return moment + timedelta(seconds=time.monotonic() - read_at_s)


def _certificates(path: Path) -> bytes:
    """What the file of certificates holds. Raises UsageError."""
    try:
        return read_regular(path, _MAX_CERTIFICATES_BYTES)
    except OSError as error:
        raise UsageError(
            f"Cannot read the CA certificates in {path}: {error.strerror}",
            hint="Check --cacert and AWS_CA_BUNDLE.",
        ) from error
