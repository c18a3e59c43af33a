"""Sizes, durations and times as people and hosts write and read them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubcli.errors import ExitStatus, UsageError
from hubcli.units import format_age, format_size, from_http_date, parse_duration_s, parse_size_bytes
from tests.cases import each_of

DAY = 86400


@each_of(
    "text, size_bytes",
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("1k", 1000),
        ("1kB", 1000),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("300M", 300_000_000),
        ("20GB", 20 * 10**9),
        (" 20 gb ", 20 * 10**9),
        ("1.5GiB", 3 * 2**29),
        ("2TiB", 2**41),
        ("1PB", 10**15),
        ("1.005kB", 1005),
        ("9007199254740993", 2**53 + 1),
    ],
)
def test_a_size_is_read_to_the_byte(text: str, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes


@each_of(
    "text, duration_s",
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("10min", 600),
        ("12h", 43200),
        ("30d", 30 * DAY),
        ("1.5W", 10.5 * DAY),
    ],
)
def test_a_duration_is_read(text: str, duration_s: float) -> None:
    assert parse_duration_s(text) == duration_s


@each_of("text", ["", "GB", "-1", "1e3", "1,5GB", "1..5", ".5GB", "1 G B", "5X", "５", "nan", "inf"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_size_bytes(text)

    assert refused.value.exit_status is ExitStatus.USAGE
    assert f"Invalid size '{text}'" in refused.value.message
    assert "20GB" in refused.value.hint


@each_of("text", ["", "d", "-1d", "1GB", "1month", "1d2h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="Invalid duration"):
        parse_duration_s(text)


@given(st.text() | st.from_regex(r"[0-9]{1,4}(\.[0-9]+)? ?[kmgtpib]{0,3}", fullmatch=True))
@example("9" * 400)
@example("9" * 5000)
@example("9" * 400 + "y")
@pytest.mark.parametrize("parse", [parse_size_bytes, parse_duration_s])
def test_any_text_is_a_quantity_or_refused(parse: Callable[[str], float], text: str) -> None:
    try:
        quantity = parse(text)
    except UsageError:
        return
    assert quantity >= 0


@given(st.integers(0, 10**15))
def test_a_size_in_kilobytes_with_three_digits_is_exact(size_bytes: int) -> None:
    assert parse_size_bytes(f"{size_bytes // 1000}.{size_bytes % 1000:03}kB") == size_bytes


@each_of(
    "size_bytes, text",
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_600, "1.0 MB"),
        (999_999, "1.0 MB"),
        (1_304_000, "1.3 MB"),
        (999_949_999, "1.0 GB"),
        (2 * 10**12, "2.0 TB"),
    ],
)
def test_a_size_is_shown_in_three_digits(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


@given(st.integers(0, 10**15 - 10**12))
def test_no_shown_size_has_more_than_three_digits(size_bytes: int) -> None:
    number, _, unit = format_size(size_bytes).partition(" ")

    assert re.fullmatch(r"\d{1,3}|\d{1,2}\.\d", number)
    assert abs(parse_size_bytes(f"{number}{unit}") - size_bytes) <= size_bytes * 0.05


@each_of(
    "seconds, text",
    [
        (-5, "now"),
        (59.9, "now"),
        (60, "1m ago"),
        (3599, "59m ago"),
        (3600, "1h ago"),
        (DAY - 1, "23h ago"),
        (DAY, "1d ago"),
        (700 * DAY, "700d ago"),
        (730 * DAY, "2y ago"),
    ],
)
def test_an_age_is_shown_in_its_largest_unit(seconds: float, text: str) -> None:
    assert format_age(seconds) == text


@each_of(
    "text, time",
    [
        ("Sun, 01 Nov 2026 12:00:00 GMT", datetime(2026, 11, 1, 12, tzinfo=timezone.utc)),
        ("Sun, 01 Nov 2026 12:00:00 -0000", datetime(2026, 11, 1, 12, tzinfo=timezone.utc)),
        ("Sun, 01 Nov 2026 12:00:00 +0200", datetime(2026, 11, 1, 10, tzinfo=timezone.utc)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", datetime(9998, 12, 31, 23, 59, 59, tzinfo=timezone.utc)),
        ("Fri, 31 Dec 9999 23:59:59 -2300", datetime(9998, 12, 31, 23, 59, 59, tzinfo=timezone.utc)),
        ("Sun, 31 Foo 2026 12:00:00 GMT", None),
        ("Sun, 01 Nov 99999999999999999999 12:00:00 GMT", None),
        ("Sun, 01 Nov 2026 12:00:00 +99999999999999999999", None),
        ("now", None),
        (None, None),
    ],
)
def test_a_date_of_http_is_read_as_utc(text: str | None, time: datetime | None) -> None:
    assert from_http_date(text) == time


# --- Where a number alone would be bytes or seconds, and means gigabytes or days


BARE = ["2", " 2 ", "02", "+2", "2.0", "2.", "1e3", "1E3", "1_000", "1,000", "86400", "9" * 400, ".5", "1e-3"]


@each_of("text", BARE)
@each_of("parse", [parse_size_bytes, parse_duration_s])
def test_a_bare_number_is_refused_where_a_unit_is_needed(parse: Callable[..., float], text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(text, needs_unit=True)

    assert refused.value.message == f"'{text}' has no unit"
    first, second = re.findall(r"[\d.]+[A-Za-z]+", refused.value.hint)
    assert parse(first, needs_unit=True) != parse(second, needs_unit=True)


@each_of(
    "parse, text, hint",
    [
        (parse_size_bytes, "20", "Use 20GB or 20MB."),
        (parse_size_bytes, "20000000000", "Use 20000000000B or 20000000000kB."),
        (parse_size_bytes, "1e3", "Use 1000GB or 1000MB."),
        (parse_duration_s, "2", "Use 2d (days) or 2h (hours)."),
        (parse_duration_s, "86400", "Use 86400s (seconds) or 86400m (minutes)."),
    ],
)
def test_the_hint_has_the_two_likely_readings(parse: Callable[..., float], text: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(text, needs_unit=True)
    assert refused.value.hint == hint


@each_of("text", ["0", " 0 ", "00", "0.0", "0B", "0s"])
def test_nothing_needs_no_unit(text: str) -> None:
    parse: Callable[..., float] = parse_duration_s if text.endswith("s") else parse_size_bytes
    assert parse(text, needs_unit=True) == 0


@each_of("text", [".1.", "1.2.3", "..", "1._.2"])
def test_points_in_two_places_are_refused_as_no_quantity(text: str) -> None:
    for parse in (parse_size_bytes, parse_duration_s):
        with pytest.raises(UsageError):
            parse(text, needs_unit=True)
