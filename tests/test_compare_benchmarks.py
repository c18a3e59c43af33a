"""benchmarks/compare.py: which rows it calls worse, and whose hubcli it measures."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.compare import Comparison, console_script
from benchmarks.measure import Cost
from tests.cases import each_of

TOP = Path(__file__).parent.parent


def costs(*seconds: float, cpu: float = 1.0) -> list[Cost]:
    return [Cost(second, cpu, 1000, 0) for second in seconds]


@each_of("new, is_worse", [(1.0, False), (0.5, False), (1.049, False), (1.06, True)])
def test_a_row_is_worse_by_more_than_a_twentieth_of_the_median(new: float, is_worse: bool) -> None:
    comparison = Comparison("ls", costs(0.1, 1.0, 9.0), costs(0.1, new, 90.0))
    assert comparison.is_worse is is_worse
    assert ("WORSE" in comparison.cells()) is is_worse


def test_processor_time_decides_where_it_is_asked_to() -> None:
    old, new = costs(1.0, cpu=1.0), costs(9.0, cpu=1.01)
    assert Comparison("ls", old, new).is_worse
    assert not Comparison("ls", old, new, by_cpu=True).is_worse


def test_what_is_measured_again_is_judged_by_all_rounds() -> None:
    first = Comparison("ls", costs(1.0), costs(2.0))
    again = Comparison("ls", costs(1.0, 1.0), costs(1.0, 1.0))
    assert first.is_worse
    assert not first.joined(again).is_worse


def test_a_checkout_runs_its_own_hubcli(tmp_path: Path) -> None:
    """With any hubcli installed, started in any directory."""
    checkout = tmp_path / "checkout"
    (checkout / "hubcli").mkdir(parents=True)
    (checkout / "hubcli" / "__init__.py").touch()
    (checkout / "hubcli" / "entry.py").write_text("def run():\n    print('that of the checkout')\n")
    (checkout / "pyproject.toml").write_text('[project.scripts]\nhubcli = "hubcli.entry:run"\n')
    script = console_script(checkout, tmp_path / "bin")
    assert subprocess.check_output([script], cwd=TOP, text=True) == "that of the checkout\n"


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(SystemExit, match="is no checkout of hubcli"):
        console_script(tmp_path, tmp_path / "bin")
