"""The mutants of tools/mutants: stable, real changes, killed by the tests that see them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools.mutants.choose import candidates_in, choose
from tools.mutants.reach import Reach
from tools.mutants.run import Limits, read_results, run_all
from tools.mutants.scratch import Scratch

ROOT = Path(__file__).parent.parent.parent
SAMPLE = "def larger(a, b):\n    return a > b\n\n\ndef unseen(a, b):\n    return a < b\n"
TEST = """from sample.code import larger, unseen

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


@pytest.mark.slow
def test_a_mutant_is_killed_by_a_test_that_sees_it_and_survives_another(tmp_path: Path) -> None:
    project = _sample(tmp_path / "sample")
    mutants = [one for one in candidates_in(project, "sample/code.py") if one.kind == "comparison"]
    (tmp_path / "scratch").mkdir()
    scratch = Scratch.make(tmp_path / "scratch", project, None)
    results = tmp_path / "results.jsonl"
    run_all(mutants, [scratch], Reach({}, {}, frozenset()), results, Limits(100))
    assert [row["status"] for row in read_results(results)] == ["killed", "survived"]
