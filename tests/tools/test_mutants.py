"""The mutants of tools/mutants: stable, real changes, killed by the tests that see them."""

from __future__ import annotations

import argparse
import ast
import json
import signal
from pathlib import Path

import pytest

from tools.mutants.__main__ import _compare, _report
from tools.mutants.choose import candidates_in, choose
from tools.mutants.reach import Reach
from tools.mutants.run import Limits, read_results, run_all
from tools.mutants.scratch import Scratch

ROOT = Path(__file__).parent.parent.parent
SAMPLE = "def larger(a, b):\n    return a > b\n\n\ndef unseen(a, b):\n    return a < b\n"
TEST = """import signal

from sample.code import larger, unseen

def test_interrupts():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

def test_it():
    unseen(1, 1)
    assert not larger(1, 1)
"""


def _sample(root: Path) -> Path:
    for name, text in {
        "sample/__init__.py": "",
        "sample/code.py": SAMPLE,
        "tests/test_code.py": TEST,
        "tools/__init__.py": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    mutants = root / "tools" / "mutants"
    mutants.mkdir()
    (mutants / "__init__.py").write_text("")
    (mutants / "plugin.py").write_text((ROOT / "tools/mutants/plugin.py").read_text())
    return root


@pytest.mark.slow
def test_every_mutant_compiles_differs_and_keeps_the_lines(tmp_path: Path) -> None:
    name = "tools/mutants/choose.py"
    source = (ROOT / name).read_bytes()
    mutants = candidates_in(ROOT, name)
    assert len(mutants) > 20
    for mutant in mutants:
        mutated = mutant.apply(source)
        assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(source))
        assert mutated.count(b"\n") == source.count(b"\n")


@pytest.mark.slow
def test_a_seed_fixes_the_choice() -> None:
    chosen = choose(ROOT, "tools/mutants", 6, 1)
    assert chosen == choose(ROOT, "tools/mutants", 6, 1)
    assert chosen != choose(ROOT, "tools/mutants", 6, 2)
    assert len({mutant.id for mutant in chosen}) == 6
    under = ("tools/mutants/r", "tools/mutants/scratch")
    files = {mutant.file for mutant in choose(ROOT, "tools/mutants", 30, 1, under)}
    assert files == {f"tools/mutants/{name}.py" for name in ("reach", "run", "scratch")}


@pytest.mark.slow
def test_a_mutant_is_killed_by_a_test_that_sees_it_and_survives_another(tmp_path: Path) -> None:
    project = _sample(tmp_path / "sample")
    mutants = [mutant for mutant in candidates_in(project, "sample/code.py") if mutant.kind == "comparison"]
    (tmp_path / "scratch").mkdir()
    scratch = Scratch.make(tmp_path / "scratch", project, None)
    results = tmp_path / "results.jsonl"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # As in a background job of a shell.
    try:
        run_all(mutants, [scratch], Reach({}, {}, frozenset()), results, Limits(100))
    finally:
        signal.signal(signal.SIGINT, before)
    assert [row["status"] for row in read_results(results)] == ["killed", "survived"]


def test_where_nothing_is_measured_the_mirror_comes_first_then_what_imports_the_module_then_its_room(
    tmp_path: Path,
) -> None:
    (mutant, *_) = candidates_in(_sample(tmp_path), "sample/code.py")
    for name, text in {
        "test_code_more.py": "# Longer than the other mirror." + " " * 500,
        "test_a.py": "# The rest of the room.",
        "test_codes.py": "# The rest.",
        "other/test_b.py": "from sample import (other, code)",
        "other/test_c.py": "import sample.code as renamed",
        "other/test_d.py": "from sample import codes",
        "other/helper.py": "import sample.code",
    }.items():
        (tmp_path / "tests" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "tests" / name).write_text(text)
    assert Reach({}, {}, frozenset()).tests_of(mutant, tmp_path) == [
        *("tests/test_code.py", "tests/test_code_more.py"),
        *("tests/other/test_c.py", "tests/other/test_b.py"),
        *("tests/test_codes.py", "tests/test_a.py"),
    ]


def _row(number: int, status: str) -> str:
    row = {"id": str(number), "name": f"sample/code.py:{number}", "room": "sample", "status": status}
    return json.dumps({**row, "tests": 1, "tests_left_out": 0, "diff": f"-{number}"})


def test_a_run_goes_on_where_its_results_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mutants = candidates_in(_sample(tmp_path / "sample"), "sample/code.py")
    results = tmp_path / "results.jsonl"
    rows = [json.dumps({"id": mutant.id, "status": "killed"}) for mutant in mutants]
    results.write_text("\n".join(rows) + "\n")
    # Without a scratch copy, it would wait for one forever.
    run_all(mutants, [Scratch(tmp_path / "none", tmp_path)], Reach({}, {}, frozenset()), results, Limits(100))
    assert len(read_results(results)) == len(mutants)
    assert capsys.readouterr().out == ""


def test_the_tests_of_another_directory_are_what_a_copy_has(tmp_path: Path) -> None:
    project, others = _sample(tmp_path / "sample"), tmp_path / "others"
    others.mkdir()
    (others / "test_old.py").write_text("def test_old(): pass\n")
    (tmp_path / "scratch").mkdir()
    scratch = Scratch.make(tmp_path / "scratch", project, others)
    assert [path.name for path in (scratch.root / "tests").iterdir()] == ["test_old.py"]


def test_two_runs_are_compared_by_what_one_of_them_kills_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    old.write_text("\n".join([_row(1, "killed"), _row(2, "survived"), _row(3, "killed"), _row(4, "killed")]))
    new.write_text("\n".join([_row(1, "timeout"), _row(2, "killed"), _row(3, "survived")]))
    _compare(argparse.Namespace(results=[old, new]))
    output = capsys.readouterr().out
    assert output == (
        f"3 mutants in both\nkilled by {old} alone:\n  sample/code.py:3\n"
        f"killed by {new} alone:\n  sample/code.py:2\n"
    )


def test_a_report_counts_by_room_and_shows_the_survivors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, equivalents = tmp_path / "results.jsonl", tmp_path / "equivalent.tsv"
    statuses = ["killed", "timeout", "survived", "not reached", "survived"]
    results.write_text("\n".join(_row(number, status) for number, status in enumerate(statuses, 1)))
    # The first is killed none the less.
    equivalents.write_text("1\tcode.py\tnever seen\n5\tcode.py\tno clock ticks so\n")
    _report(results, equivalents)
    output = capsys.readouterr().out
    assert "| sample | 5 | 2 | 1 | 1 | 1 |\n| all | 5 | 2 | 1 | 1 | 1 |" in output
    assert "survived: sample/code.py:3 (1 tests)\n-3" in output
    assert "equivalent: sample/code.py:5\n-5\nno clock ticks so" in output
    assert "-1" not in output


@pytest.mark.slow
def test_each_mutant_that_is_called_equivalent_is_one_of_its_file_as_it_is() -> None:
    names: dict[str, set[str]] = {}
    for line in (ROOT / "tools/mutants/equivalent.tsv").read_text().splitlines():
        name, file, reason = line.split("\t")
        if file not in names:
            names[file] = {mutant.id for mutant in candidates_in(ROOT, file)}
        assert name in names[file], line
        assert reason.endswith("."), line
