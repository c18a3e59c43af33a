"""Sizes, durations, counts and times, as people and records write them.

Sizes follow the units of the International System (`GB` is 10⁹ bytes) and
their binary counterparts (`GiB` is 2³⁰ bytes), see IEC 80000-13.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from hubcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from fractions import Fraction

__all__ = [
    "first_few",
    "format_age",
    "format_duration",
    "format_elapsed",
    "format_size",
    "from_http_date",
    "from_iso_utc",
    "parse_duration_s",
    "parse_rate",
    "parse_size_bytes",
    "plural",
    "to_iso_utc",
]

_SIZE_UNITS = {
    "": 1,
    "b": 1,
    **{prefix: 1000**power for power, prefix in enumerate("kmgtp", start=1)},
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgtp", start=1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgtp", start=1)},
}
_DURATION_UNITS = {
    "": 1,
    "s": 1,
    "m": 60,
    "min": 60,
    "h": 3600,
    "d": 86400,
    "w": 7 * 86400,
    "y": 365 * 86400,
}
_MAX_DIGITS = 40
_QUANTITY = r"(?a)(\d+(?:\.\d+)?)\s*([A-Za-z]*)"
# Also numbers that no quantity may be, such as 1e3 or +2: the error about them should name the unit. The
# group is what can be written before a unit.
_BARE_NUMBER = r"(?a)[+]?0*(\d{1,40}(?:\.\d{1,40})?)|[+]?[\d_,]*\.?\d+\.?(?:[eE][+-]?\d+)?"
# From these numbers on, the small units are the likely ones.
_LARGE_SIZE = 100_000
_LARGE_DURATION = 3600
_HIGHEST_RATE = 10**12


def parse_size_bytes(text: str, *, needs_unit: bool = False) -> int:
    """A size such as `20GB`, `1.5GiB`, `300M` or `4096`, in bytes.

    Raises UsageError for anything else, and with `needs_unit` for a bare number other than 0:
    where models are removed, 20 is not meant in bytes.

    >>> parse_size_bytes("1.5kB"), parse_size_bytes("1KiB")
    (1500, 1024)
    """
    if needs_unit:
        _require_unit(text, _likely_sizes)
    return int(_parse(text, _SIZE_UNITS, "size", "20GB, 1.5GiB, 300M" + ("" if needs_unit else ", 4096")))


def parse_duration_s(text: str, *, needs_unit: bool = False) -> float:
    """A duration such as `30d`, `12h`, `10m` or `90`, in seconds.

    Raises UsageError for anything else, and with `needs_unit` for a bare number other than 0.

    >>> parse_duration_s("10m")
    600.0
    """
    if needs_unit:
        _require_unit(text, _likely_durations)
    return float(_parse(text, _DURATION_UNITS, "duration", "30d, 12h, 10m, 90s"))


def _require_unit(text: str, likely: Callable[[str, float], str]) -> None:
    """Raises UsageError for a number without a unit, in any form that a person or a program writes one."""
    match = re.fullmatch(_BARE_NUMBER, text.strip())
    if match is None or not match[0].strip("+0._,"):
        return
    try:
        number = float(match[0].replace(",", "").replace("_", ""))
    except ValueError:  # Two decimal separators: the parser refuses it.
        return
    digits = match[1] or f"{number:g}"
    if not digits.replace(".", "", 1).isdecimal():  # Too large or too small to be meant.
        digits, number = "30", 30.0
    raise UsageError(f"'{text}' has no unit", hint=f"Use {likely(digits, number)}.")


def _likely_sizes(digits: str, number: float) -> str:
    units = ("GB", "MB") if number < _LARGE_SIZE else ("B", "kB")
    return f"{digits}{units[0]} or {digits}{units[1]}"


def _likely_durations(digits: str, number: float) -> str:
    if number < _LARGE_DURATION:
        return f"{digits}d (days) or {digits}h (hours)"
    return f"{digits}s (seconds) or {digits}m (minutes)"


def _parse(text: str, units: dict[str, int], what: str, examples: str) -> Fraction | int:
    match = re.fullmatch(_QUANTITY, text.strip())
    if match is None or match[2].lower() not in units or len(match[1]) > _MAX_DIGITS:
        raise UsageError(f"Invalid {what} '{text}'", hint=f"Use a value like {examples}.")
    whole, _, decimals = match[1].partition(".")
    scaled = int(whole + decimals) * units[match[2].lower()]
    scale: int = 10 ** len(decimals)
    if scaled % scale == 0:
        return scaled // scale
    from fractions import Fraction  # Takes 3 ms to load, and no option's default needs it.

    return Fraction(scaled, scale)


def format_size(size_bytes: int) -> str:
    """The size with three significant digits and a decimal unit.

    >>> format_size(999), format_size(1_304_000), format_size(999_999)
    ('999 B', '1.3 MB', '1.0 MB')
    """
    if size_bytes < 1000:
        return f"{size_bytes} B"
    value, units = size_bytes / 1000, ["TB", "GB", "MB", "kB"]
    unit = units.pop()
    while units and round(value) >= 1000:
        value, unit = value / 1000, units.pop()
    return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"


def format_duration(seconds: float) -> str:
    """The time that is left, as a clock shows it.

    >>> format_duration(5), format_duration(3725), format_duration(0.4)
    ('0:05', '1:02:05', '0.4 s')
    """
    if 0 < seconds < 1:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_elapsed(seconds: float) -> str:
    """How long something took, or will take.

    >>> format_elapsed(0.04), format_elapsed(12.34), format_elapsed(185), format_elapsed(3725)
    ('0.0 s', '12.3 s', '3m 5s', '1h 2m')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s"


def format_age(seconds: float) -> str:
    """How long ago, in the largest unit that fits.

    >>> format_age(59), format_age(7200), format_age(86400 * 40)
    ('now', '2h ago', '40d ago')
    """
    if seconds < 60:
        return "now"
    for unit, length in (("y", 365 * 86400), ("d", 86400), ("h", 3600)):
        if seconds >= length * (2 if unit == "y" else 1):
            return f"{int(seconds // length)}{unit} ago"
    return f"{int(seconds // 60)}m ago"


def plural(count: int, noun: str, separator: str = "") -> str:
    """The count and the noun in its number; `separator` stands between thousands.

    >>> plural(1, "trace"), plural(1200, "loss", ",")
    ('1 trace', '1,200 losses')
    """
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:{separator}} {noun}{ending}"


def first_few(names: Sequence[str], most: int = 3) -> str:
    """The first of the names, and how many more there are.

    >>> first_few(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def parse_rate(text: str, source: str) -> int:
    """Bytes a second from a size such as `1KiB`, with or without a trailing `/s`; raises UsageError."""
    try:
        rate = parse_size_bytes(text.strip().removesuffix("/s"))
    except UsageError:
        rate = -1
    if not 0 <= rate <= _HIGHEST_RATE:
        raise UsageError(f"{source} is '{text}', not a rate", hint="Use a value like 1KiB, 50kB or 0.")
    return rate


# The years 1 to 9999, which datetime knows.
_EARLIEST_S, _LATEST_S = -62135596800, 253402300799


def to_iso_utc(seconds: float) -> str:
    """The time as ISO 8601 in UTC, to the millisecond; a time outside of the years 1 to 9999 as their end.

    >>> to_iso_utc(0)
    '1970-01-01T00:00:00.000Z'
    >>> to_iso_utc(300_000_000_000)
    '9999-12-31T23:59:59.000Z'
    """
    moment = datetime.fromtimestamp(min(max(seconds, _EARLIEST_S), _LATEST_S), timezone.utc)
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


_LATEST_DATE = datetime(9998, 12, 31, 23, 59, 59, tzinfo=timezone.utc)


def to_utc(seconds: float) -> datetime:
    """The time in UTC; one outside of the years 1 to 9998 as their end: a sum with it stays in range.

    >>> to_utc(300_000_000_000).year
    9998
    """
    return datetime.fromtimestamp(min(max(seconds, _EARLIEST_S), _LATEST_DATE.timestamp()), timezone.utc)


def from_http_date(text: str | None) -> datetime | None:
    """The time in a header such as `Date`, in UTC; None without a header, and for an invalid date.

    Later ones than the year 9998 are its end: a sum with them would be out of range. Source: RFC 9110, 5.6.7.
    """
    from email.utils import parsedate_to_datetime  # Few commands need it, and it loads slowly.

    try:
        moment = parsedate_to_datetime(text or "")
    # Python's parser raises each of these for some date that a server may send.
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
    return min(moment, _LATEST_DATE).astimezone(timezone.utc)
