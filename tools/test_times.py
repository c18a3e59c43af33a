"""A pytest plugin that shows where a run's minutes went: `pytest -p tools.test_times --times FILE`.

Wall and processor time of every test, set-up and teardown apart, with the processor time of the processes
that it started and waited for. With pytest-xdist the workers measure, and the controller writes.

FILE gets a line a test, with tabs: test, wall s, processor s, set-up wall s, set-up processor s (teardown
counts as set-up). A table by file is printed at the end of the run.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

_SHOWN_FILES = 25
_PROPERTY = "hubcli-times"


@dataclass
class Spent:
    """Seconds of one test or of one file."""

    wall: float = 0.0
    processor: float = 0.0
    setup_wall: float = 0.0
    setup_processor: float = 0.0

    def add(self, when: str, wall: float, processor: float) -> None:
        """Counts one phase of a test: `setup`, `call` or `teardown`."""
        if when == "call":
            self.wall += wall
            self.processor += processor
        else:
            self.setup_wall += wall
            self.setup_processor += processor

    def __iadd__(self, other: Spent) -> Spent:
        self.wall += other.wall
        self.processor += other.processor
        self.setup_wall += other.setup_wall
        self.setup_processor += other.setup_processor
        return self

    @property
    def total_wall(self) -> float:
        """Of the test and what stands around it."""
        return self.wall + self.setup_wall


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--times FILE`."""
    parser.addoption(
        "--times", metavar="FILE", help="write the seconds of every test to FILE, and print a table"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Measures where tests run, which with pytest-xdist is in its workers; collects where reports arrive."""
    if config.getoption("--times"):
        config.pluginmanager.register(_Times(config))


class _Times:
    def __init__(self, config: pytest.Config) -> None:
        self._path = Path(config.getoption("--times"))
        self._is_worker = hasattr(config, "workerinput")
        self._tests: dict[str, Spent] = defaultdict(Spent)

    def _measured(self, item: pytest.Item, when: str) -> Iterator[None]:
        wall, processor = time.perf_counter(), _processor_s()
        yield
        spent = (when, time.perf_counter() - wall, _processor_s() - processor)
        item.user_properties.append((_PROPERTY, spent))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        return (yield from self._measured(item, "setup"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        return (yield from self._measured(item, "call"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        return (yield from self._measured(item, "teardown"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._is_worker or report.when != "teardown":
            return
        for name, value in report.user_properties:
            if name == _PROPERTY:
                when, wall, processor = cast("tuple[str, float, float]", value)
                self._tests[report.nodeid].add(when, wall, processor)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._is_worker:
            return
        with self._path.open("w") as stream:
            for test, spent in self._tests.items():
                stream.write(
                    f"{test}\t{spent.wall:.3f}\t{spent.processor:.3f}\t"
                    f"{spent.setup_wall:.3f}\t{spent.setup_processor:.3f}\n"
                )
        files: dict[str, Spent] = defaultdict(Spent)
        counts: dict[str, int] = defaultdict(int)
        for test, spent in self._tests.items():
            file = test.partition("::")[0]
            files[file] += spent
            counts[file] += 1
        terminalreporter.section("where the time went")
        write = terminalreporter.write_line
        write(f"{'tests':>6} {'wall s':>8} {'cpu s':>8} {'set-up wall':>12} {'set-up cpu':>11}  file")
        whole = Spent()
        for spent in files.values():
            whole += spent
        largest = sorted(files, key=lambda file: files[file].total_wall, reverse=True)[:_SHOWN_FILES]
        for file in largest:
            write(_row(counts[file], files[file], file))
        write(_row(len(self._tests), whole, f"all {len(files)} files"))


def _row(count: int, spent: Spent, name: str) -> str:
    return (
        f"{count:>6} {spent.wall:>8.1f} {spent.processor:>8.1f} {spent.setup_wall:>12.1f} "
        f"{spent.setup_processor:>11.1f}  {name}"
    )


def _processor_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
