"""Errors of buckets in the words of hubcli: nothing of obstore's text but status, code and a known reason.

Error codes of S3: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from hubcli.config.buckets import BucketOptions, amazon_endpoint
from hubcli.errors import (
    AuthenticationError,
    BodyChangedError,
    HandleError,
    HubcliError,
    IntegrityError,
    NetworkError,
    NotFoundError,
)
from hubcli.net.rate import timed_out

__all__ = ["NO_BUCKET", "OTHER_REGION", "BucketErrors", "code_of", "status_of"]

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<(?:Code|code)>(\w{1,80})</(?:Code|code)>")
# S3 answers a request that removes many objects with 200, and names in the body those that it refuses.
_REMOVAL = re.compile(r"DeleteObjects request failed for key .*\(code: (\w{1,80})\)$", re.M)
_STATUS_OF_CODE = {"AccessDenied": 403, "InternalError": 500, "SlowDown": 503}
OTHER_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken")
_WRONG_KEYS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AuthenticationFailed",
    "UnrecognizedClientException",
)
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
# Questions for a token, to services that only a machine of the cloud reaches.
_TOKEN = re.compile(
    r"token request|169\.254\.|metadata|InstanceCreds|identity|oauth|AzureCLI|azure cli|STS", re.I
)
# obstore names the URL, but for one with a signature.
_REQUEST = re.compile(r"Error performing [A-Z]+ (\S+) in ")
# What obstore says of an answer that it can't read, such as the page of a proxy or a login.
_INVALID_ANSWER = re.compile(
    r"Generic \w+ error: (?:Got invalid |Invalid (?:last modified|content length) |Received header |"
    r"\S+ Header missing )"
)
_NAMES = {"s3": "AWS", "gs": "Google Cloud", "az": "Azure"}


class BucketErrors:
    """The errors of one bucket of a cloud (`scheme`), named `name`; `region` is set where it was moved to."""

    name: str
    scheme: str
    region: str | None = None

    @property
    def options(self) -> BucketOptions:
        """Endpoint and credentials."""
        raise NotImplementedError

    def translated(self, error: Exception, name: str) -> HubcliError:
        """The hubcli error: of obstore's text only status, code and a known reason."""
        text, code = self._without_key(str(error)), code_of(error)
        status = status_of(text) or _STATUS_OF_CODE.get(code)
        if isinstance(error, ValueError) and "parse path" in text:
            return HandleError(f"{name} has an unsupported key", hint="Rename the object.")
        if isinstance(error, FileNotFoundError):
            return self.missing(name, code)
        if type(error).__name__ == "InvalidPathError":
            return IntegrityError(
                f"{name} contains an object whose key has an empty segment, '.', '..' or a control character",
                hint="Rename or remove that object.",
            )
        # A provider of credentials may fail to refresh them.
        has_none = type(error).__name__ == "UnauthenticatedError" or (not code and _TOKEN.search(text))
        if status in (400, 401, 403) or (status is None and has_none):
            return self._denied(name, status, code, text)
        return self._failed(name, status, code, text)

    def _without_key(self, text: str) -> str:
        """The text without the URL of a request to the bucket: the words of a key are not the reason."""
        request = _REQUEST.search(text)
        if request is None:
            return text
        host, own = urlsplit(request[1]).netloc, urlsplit(self.options.endpoint).netloc
        hosts = {own, urlsplit(amazon_endpoint(self.region or "")).netloc}
        if request[1] != "REDACTED" and not any(f".{host}".endswith(f".{known}") for known in hosts):
            return text
        return text[request.start() :].replace(request[1], "")

    def missing(self, name: str, code: str = "") -> NotFoundError:
        """The error for an object, or a bucket, that isn't there."""
        if code in NO_BUCKET:
            return NotFoundError(f"{self.name} does not exist", hint="Check the name of the bucket.")
        return NotFoundError(f"{name} does not exist", hint="Check the bucket and the path.")

    def _denied(self, name: str, status: int | None, code: str, text: str) -> HubcliError:
        cloud, place = _NAMES[self.scheme], self.options.place
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
        if "configured region" in text or code in OTHER_REGION:
            return NetworkError(
                f"{name} is in another region", hint="Set AWS_REGION to the region of the bucket."
            )
        if status == 404:
            return self.missing(name, code)
        if status is not None:
            error = NetworkError(f"{name} answers {status} {code}".rstrip(), hint="Try again later.")
            return error.transient() if status >= 500 or status in (408, 409, 429) else error
        if _REMOVAL.search(text):
            return NetworkError(f"{name} answers {code}", hint="Check the bucket and its permissions.")
        # Its `retry_timeout` stands in each text that tells of its retries.
        if "imeout" in text.replace("retry_timeout", "") or "timed out" in text:
            return timed_out(name).transient()
        if "non-partial" in text:
            return BodyChangedError(
                f"{name} was sent as a whole instead of the requested range",
                hint="Try again.",
                has_ranges=False,
            )
        if _INVALID_ANSWER.match(text):
            return NetworkError(
                f"The answer from {self.options.endpoint} for {name} is invalid",
                hint="Check the endpoint, and whether a proxy or a login page answers in its place.",
            ).transient()
        reason = "cannot be reached" if "connect" in text.lower() else "closed the connection"
        return NetworkError(
            f"{self.options.endpoint}, which has {name}, {reason}",
            hint="Check the network and the endpoint: hubcli doctor --network",
        ).transient()


def code_of(error: Exception) -> str:
    """The code that the service gives in the body of its answer; else nothing."""
    text = str(error)
    found = _CODE.search(text) or _REMOVAL.search(text)
    return found[1] if found else ""


def status_of(text: str) -> int | None:
    """The status of HTTP that the text of an error has."""
    found = _STATUS.search(text)
    return int(found[1]) if found else None
