"""Cases that differ in data alone, as one test: pytest takes 5 ms of a processor for each test of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

__all__ = ["each_of", "pass_all"]

_SHOWN_FAILURES = 20
_SKIPPED = pytest.skip.Exception
_Param = type(pytest.param())
_Test = Callable[..., None]


def each_of(names: str, values: Iterable[Any]) -> Callable[[_Test], _Test]:
    """Like `pytest.mark.parametrize`, in one test, which tells every case that fails.

    All cases share the fixtures, but for `tmp_path`, of which each has a directory of its own. A case of
    `pytest.param` is known by its `id`.
    """
    words = [name.strip() for name in names.split(",")]
    cases = [_case(value, len(words)) for value in values]
    assert cases, f"no cases of {names}"

    def decorate(test: _Test) -> _Test:
        signature = inspect.signature(test)

        @functools.wraps(test)
        def run(**fixtures: Any) -> None:
            def start(number: int, values: tuple[Any, ...]) -> None:
                own = dict(fixtures)
                if "tmp_path" in own:
                    own["tmp_path"] = folder = Path(own["tmp_path"]) / f"case-{number}"
                    folder.mkdir()
                test(**own, **dict(zip(words, values, strict=True)))

            pass_all(
                {
                    f"{number}: {name or ', '.join(map(repr, values))}"[:300]: functools.partial(
                        start, number, values
                    )
                    for number, (name, values) in enumerate(cases)
                }
            )

        parameters = [parameter for name, parameter in signature.parameters.items() if name not in words]
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return run

    return decorate


def _case(value: Any, count: int) -> tuple[str, tuple[Any, ...]]:
    """The name of the case, which may be empty, and its values."""
    if isinstance(value, _Param):
        assert not value.marks, "a case has no marks of its own"
        return str(value.id or ""), tuple(value.values)
    return "", (value,) if count == 1 else tuple(value)


def pass_all(cases: Mapping[str, Callable[[], None]]) -> None:
    """Runs all of the cases, and fails with the name and the message of each one that fails."""
    outcomes = {name: error for name, case in cases.items() if (error := _outcome(case)) is not None}
    failures = {name: error for name, error in outcomes.items() if not isinstance(error, _SKIPPED)}
    if failures:
        descriptions = [f"{name}\n{type(error).__name__}: {error}" for name, error in failures.items()]
        head = f"{len(failures)} of {len(cases)} cases failed:"
        # The traceback of the first stands above.
        raise AssertionError("\n\n".join([head, *descriptions[:_SHOWN_FAILURES]])) from next(
            iter(failures.values())
        )
    if outcomes and len(outcomes) == len(cases):
        raise next(iter(outcomes.values()))  # Each of them is skipped.


def _outcome(case: Callable[[], None]) -> BaseException | None:
    """The failure, the skip, or none."""
    try:
        case()
    # `pytest.fail` and what `pytest.raises` misses are no `Exception`.
    except (Exception, pytest.fail.Exception, _SKIPPED) as error:  # noqa: BLE001 - the next case may fail too
        return error
    return None
