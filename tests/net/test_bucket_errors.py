"""Errors of buckets: which of ours each status, code and text of obstore becomes."""

from __future__ import annotations

from hubcli.config.buckets import BucketOptions
from hubcli.errors import (
    AuthenticationError,
    BodyChangedError,
    HandleError,
    HubcliError,
    NetworkError,
    NotFoundError,
)
from hubcli.net.bucket_errors import BucketErrors
from tests.cases import each_of

NAME = "s3://bucket/key"


class Errors(BucketErrors):
    """Of a bucket whose credentials come from the environment."""

    name = "s3://bucket"
    scheme = "s3"
    options = BucketOptions({}, "https://s3.us-east-1.amazonaws.com", "the environment")


def answer(status: int, code: str = "") -> str:
    body = f": <Error><Code>{code}</Code></Error>" if code else ""
    return f"Client error with status code: {status}{body}"


def removal(code: str) -> str:
    return f"DeleteObjects request failed for key oauth/token request: words (code: {code})\n\nDebug source"


def translated(text: str, kind: type[Exception] = Exception) -> HubcliError:
    return Errors().translated(kind(text), NAME)


@each_of(
    "status, is_transient", [(s, s in (408, 409, 429) or s >= 500) for s in (407, *range(408, 431), 500, 503)]
)
def test_which_statuses_are_transient(status: int, is_transient: bool) -> None:
    error = translated(answer(status))
    assert type(error) is NetworkError
    assert error.is_transient is is_transient
    assert error.message == f"{NAME} answers {status}"


@each_of(
    "text, kind, message",
    [
        (answer(404), NotFoundError, f"{NAME} does not exist"),
        (answer(404, "NoSuchBucket"), NotFoundError, "s3://bucket does not exist"),
        (answer(404, "ContainerNotFound"), NotFoundError, "s3://bucket does not exist"),
        (answer(301, "PermanentRedirect"), NetworkError, f"{NAME} is in another region"),
        ("is not in the configured region", NetworkError, f"{NAME} is in another region"),
        (answer(400, "InvalidRequest"), NetworkError, f"{NAME} answers 400 InvalidRequest"),
        (answer(403), AuthenticationError, "access is denied to the credentials in the environment"),
        (answer(401), AuthenticationError, "answers 401: AWS rejects the credentials"),
        (answer(403, "InvalidAccessKeyId"), AuthenticationError, "AWS rejects the credentials"),
        (answer(400, "ExpiredToken"), AuthenticationError, "has expired or is invalid"),
        (answer(403, "RequestTimeTooSkewed"), AuthenticationError, "more than 15 minutes off"),
        (answer(400, "UserProjectMissing"), AuthenticationError, "requester-pays bucket"),
        ("token request failed", AuthenticationError, "No AWS credentials found for s3://bucket"),
        ("operation timed out", NetworkError, "Timed out waiting for data"),
        ("Timeout, retry_timeout: 0s", NetworkError, "Timed out waiting for data"),
        ("error, retry_timeout: 0s", NetworkError, "closed the connection"),
        ("tcp connect error", NetworkError, "cannot be reached"),
        ("Generic S3 error: Got invalid list response: words", NetworkError, f"for {NAME} is invalid"),
        ("Generic GCS error: Invalid content length '-1'", NetworkError, f"for {NAME} is invalid"),
        ("Generic S3 error: Content-Length Header missing from", NetworkError, f"for {NAME} is invalid"),
        ("Generic S3 error: Error performing HEAD Got invalid ", NetworkError, "closed the connection"),
        ("Received non-partial response", BodyChangedError, "was sent as a whole"),
        (removal("AccessDenied"), AuthenticationError, "answers 403: access is denied"),
        (removal("SlowDown"), NetworkError, f"{NAME} answers 503 SlowDown"),
        (removal("Unknown"), NetworkError, f"{NAME} answers Unknown"),
    ],
)
def test_each_reason_is_in_the_message(text: str, kind: type[HubcliError], message: str) -> None:
    error = translated(text)
    assert type(error) is kind
    assert message in error.message


def test_a_key_that_obstore_refuses_is_an_invalid_handle() -> None:
    assert type(translated("cannot parse path a//b", ValueError)) is HandleError
    assert type(translated("cannot parse the answer", ValueError)) is NetworkError
    assert type(translated("", FileNotFoundError)) is NotFoundError


def test_credentials_that_are_not_renewed_are_told() -> None:
    kind = type("UnauthenticatedError", (Exception,), {})
    error = translated("External AWS credential provider: AuthenticationError: words", kind)
    assert type(error) is AuthenticationError
    assert error.message == "No AWS credentials found for s3://bucket: the environment gives none"


def test_the_words_of_a_key_are_not_the_reason() -> None:
    url = "https://s3.us-east-1.amazonaws.com/bucket/oauth-connect-timeout"
    error = translated(f"Error performing GET {url} in 5ms - broken pipe")
    assert type(error) is NetworkError
    assert "closed the connection" in error.message
