"""Points in time: seconds since 1970 inside, ISO 8601 in UTC outside."""

from __future__ import annotations

from datetime import datetime, timezone

__all__ = ["from_iso_utc", "to_iso_utc"]


def to_iso_utc(seconds: float) -> str:
    """The time as ISO 8601 in UTC, to the millisecond.

    >>> to_iso_utc(0)
    '1970-01-01T00:00:00.000Z'
    """
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_iso_utc(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 time; one without an offset is taken as UTC.

    Raises ValueError for anything else.
    """
    moment = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] == "Z" else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    try:
        return moment.astimezone(timezone.utc).timestamp()
    except OverflowError as error:  # Its offset leads out of the years 1 to 9999.
        raise ValueError(f"'{text}' is out of range") from error
