"""What a tier holds is read several objects at a time, in the order of their keys."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from hubcli.tiers.catalog import map_in_order


def test_items_are_mapped_in_order_and_taken_only_as_far_ahead_as_allowed() -> None:
    items_taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            items_taken.append(number)
            yield number

    results = map_in_order(items(), lambda number: number * number, 4, 8)
    assert next(results) == 0
    assert len(items_taken) == 8
    assert list(results) == [number * number for number in range(1, 100)]


def test_an_error_of_an_item_is_raised_in_its_turn_and_begins_no_further_one() -> None:
    started: list[int] = []

    def job(number: int) -> int:
        started.append(number)
        return 1 // (number - 3)

    results = map_in_order(range(100), job, 2, 4)
    assert [next(results) for _ in range(3)] == [-1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert len(started) <= 8


def test_a_job_that_waits_for_its_store_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an interrupt."""
    monkeypatch.setattr("hubcli.tiers.catalog._JOIN_S", 0.01)
    is_waiting, has_answered, is_over = threading.Event(), threading.Event(), threading.Event()

    def job(number: int) -> int:
        if number:
            is_waiting.set()
            has_answered.wait(60)
            is_over.set()
        return number

    results = map_in_order(range(2), job, 2, 4)
    assert next(results) == 0
    assert is_waiting.wait(60)  # One that has not begun is cancelled.
    results.close()
    assert not is_over.is_set()
    has_answered.set()
    assert is_over.wait(60)
