"""Points in time, out and in."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubcli.units import from_iso_utc, to_iso_utc
from tests.cases import each_of


def test_a_time_is_shown_in_utc_to_the_millisecond() -> None:
    assert to_iso_utc(1_700_000_000.125) == "2023-11-14T22:13:20.125Z"


@each_of(
    "text",
    [
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20+00:00",
        "2023-11-14T23:13:20+01:00",
        "2023-11-14T22:13:20",
        "2023-11-14 22:13:20",
        "2023-11-14T22:13:20.000Z",
    ],
)
def test_a_time_of_any_offset_is_read(text: str) -> None:
    assert from_iso_utc(text) == 1_700_000_000


@each_of("text", ["", "yesterday", "2023-13-01T00:00:00Z", "Z", "1700000000.5"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_iso_utc(text)


@given(st.integers(0, 4_000_000_000_000))
@example(1_700_000_000_001)
def test_a_time_survives_to_the_millisecond(milliseconds: int) -> None:
    read = from_iso_utc(to_iso_utc(milliseconds / 1000))

    assert abs(read - milliseconds / 1000) < 0.00101


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_a_time_that_can_be_read_can_be_shown(text: str) -> None:
    try:
        seconds = from_iso_utc(text)
    except ValueError:
        return
    assert to_iso_utc(seconds)


@given(st.text())
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    try:
        from_iso_utc(text)
    except ValueError:
        return
