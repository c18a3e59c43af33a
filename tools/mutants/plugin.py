"""A pytest plugin of `tools.mutants`: runs the chosen tests only, or says to coverage which test it is in.

`--mutant-tests FILE` gives the tests and their order. `--mutant-failures FILE` collects the failed ones, and
gives each test's name as context to the processes that it starts, where these inherit its environment.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the two options."""
    parser.addoption("--mutant-tests", metavar="FILE", help="run the tests that FILE lists, in its order")
    parser.addoption("--mutant-failures", metavar="FILE", help="measure processes too; list failures in FILE")


def pytest_configure(config: pytest.Config) -> None:
    """Registers what the options ask for, and lets signals end processes again."""
    # A shell has its background jobs ignore these, which the tests of interrupts fail at, with any mutant.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    if config.getoption("--mutant-failures"):
        config.pluginmanager.register(_Measure(config))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the listed tests; of a file none of whose listed tests exist, all."""
    path = config.getoption("--mutant-tests")
    if not path:
        return
    order = {name: number for number, name in enumerate(Path(path).read_text().splitlines())}
    matched = {_file(item.nodeid) for item in items if item.nodeid in order}
    chosen = [item for item in items if item.nodeid in order or _file(item.nodeid) not in matched]
    chosen.sort(key=lambda item: order.get(item.nodeid, len(order)))
    config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
    items[:] = chosen


def _file(test: str) -> str:
    return test.partition("::")[0]


class _Measure:
    def __init__(self, config: pytest.Config) -> None:
        self._path = Path(config.getoption("--mutant-failures"))
        self._is_worker = hasattr(config, "workerinput")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        # Imported here, as runs of mutants don't measure.
        from coverage import Coverage

        measured = Coverage.current()
        if measured is not None and "COVERAGE_PROCESS_CONFIG" in os.environ:
            before = measured.config.context
            measured.config.context = item.nodeid
            os.environ["COVERAGE_PROCESS_CONFIG"] = measured.config.serialize()
            measured.config.context = before
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self._is_worker:
            with self._path.open("a") as stream:
                stream.write(report.nodeid + "\n")
