"""Cases within one test: each is run, each that fails is told, each has a directory of its own."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from tests.cases import each_of, pass_all


def test_every_case_that_fails_is_told_with_its_value_and_its_message() -> None:
    seen: list[int] = []

    @each_of("number", range(5))
    def is_even(number: int) -> None:
        seen.append(number)
        assert number % 2 == 0, f"{number} is odd"

    with pytest.raises(AssertionError, match=r"^2 of 5 cases failed:") as caught:
        is_even()
    assert seen == [0, 1, 2, 3, 4]
    assert "1: 1\nAssertionError: 1 is odd" in str(caught.value)
    assert "3: 3\nAssertionError: 3 is odd" in str(caught.value)
    assert "1 is odd" in str(caught.value.__cause__)


def test_a_case_that_raises_nothing_hides_no_other_one() -> None:
    @each_of("text", ["1", "x", "2"])
    def is_refused(text: str) -> None:
        with pytest.raises(ValueError, match="invalid"):
            int(text)

    with pytest.raises(AssertionError, match=r"^2 of 3 cases failed:\n\n0: '1'\nFailed: .*\n\n2: '2'\n"):
        is_refused()


def test_a_case_may_have_a_name() -> None:
    @each_of("first, second", [pytest.param(1, 2, id="one and two"), (3, 3)])
    def are_equal(first: int, second: int) -> None:
        assert first == second

    with pytest.raises(AssertionError, match=r"^1 of 2 cases failed:\n\n0: one and two\n"):
        are_equal()


def test_pytest_is_asked_for_fixtures_alone_and_each_case_has_a_directory(tmp_path: Path) -> None:
    @each_of("first, second", [(1, "a"), (2, "b")])
    @each_of("third", "xy")
    def writes(first: int, second: str, third: str, tmp_path: Path) -> None:
        (tmp_path / "file").open("x").write(f"{first}{second}{third}")

    assert list(inspect.signature(writes).parameters) == ["tmp_path"]
    writes(tmp_path=tmp_path)
    assert sorted(file.read_text() for file in tmp_path.rglob("file")) == ["1ax", "1ay", "2bx", "2by"]


def test_a_test_is_skipped_where_each_of_its_cases_is() -> None:
    def skip() -> None:
        pytest.skip("not here")

    pass_all({"skipped": skip, "passed": lambda: None})
    with pytest.raises(pytest.skip.Exception, match="not here"):
        pass_all({"one": skip, "other": skip})


def test_no_cases_are_a_fault_of_the_test() -> None:
    with pytest.raises(AssertionError, match="no cases of number"):
        each_of("number", [])
