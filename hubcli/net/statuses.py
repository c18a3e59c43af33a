"""What a status of HTTP means, in the words of the standard: never in those of the server."""

from __future__ import annotations

from http import HTTPStatus

from hubcli.redaction import stored_url

__all__ = ["answer_text", "standard_phrase"]


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
