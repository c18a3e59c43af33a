"""Which tests reach a line, by coverage's data, and in which order they run."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from tools.mutants.choose import Mutant

_UNMEASURED_S = 0.5
_UNMEASURED_FILE_S = 10.0


@dataclass(frozen=True, slots=True)
class Reach:
    """Tests by line, seconds by test, and the tests that fail without a mutant."""

    lines: dict[str, dict[int, set[str]]]
    times: dict[str, float]
    failing: frozenset[str]

    @classmethod
    def read(cls, data: Path | None, times: Path | None, failures: Path | None, package: str) -> Reach:
        """Of the files that `measure` writes."""
        lines: dict[str, dict[int, set[str]]] = {}
        if data is not None:
            lines = _read_lines(data, package)
        seconds = {}
        for row in times.read_text().splitlines() if times else []:
            test, *spent = row.split("\t")
            seconds[test] = float(spent[0]) + float(spent[2])
        failing = failures.read_text().splitlines() if failures and failures.exists() else []
        return cls(lines, seconds, frozenset(failing))

    def tests_of(self, mutant: Mutant, root: Path) -> list[str]:
        """Test ids, the quickest files first; without a context, files: see `_unmeasured`."""
        reached = self.lines.get(mutant.file, {}).get(mutant.line, set()) - self.failing
        if not reached:
            return _unmeasured(mutant, root)
        files: dict[str, list[str]] = defaultdict(list)
        for test in reached:
            files[test.partition("::")[0]].append(test)
        order = sorted(files, key=lambda file: (sum(map(self.seconds, files[file])) / len(files[file]), file))
        return [test for file in order for test in sorted(files[file], key=lambda t: (self.seconds(t), t))]

    def seconds(self, test: str) -> float:
        """What a test takes without a mutant."""
        return self.times.get(test, _UNMEASURED_S if "::" in test else _UNMEASURED_FILE_S)


def _read_lines(path: Path, package: str) -> dict[str, dict[int, set[str]]]:
    # Imported here, as the tests of this tool run without it.
    from coverage import CoverageData

    data = CoverageData(str(path))
    data.read()
    lines: dict[str, dict[int, set[str]]] = {}
    for file in data.measured_files():
        parts = Path(file).parts
        if package not in parts:
            continue
        first = len(parts) - 1 - parts[::-1].index(package)
        of_file = lines.setdefault("/".join(parts[first:]), defaultdict(set))
        for line, contexts in data.contexts_by_lineno(file).items():
            of_file[line] |= {test_of(context) for context in contexts} - {""}
    return lines


def test_of(context: str) -> str:
    """The test of a context; of "server's test|test", the second.

    >>> test_of("tests/test_a.py::test_b[1]|tests/test_c.py::test_d (call)")
    'tests/test_c.py::test_d'
    >>> test_of("tests/test_a.py::test_b|run")
    'tests/test_a.py::test_b'
    """
    context = context[context.rfind("|tests/") + 1 :]
    for phase in ("setup", "run", "call", "teardown"):
        context = context.removesuffix(f"|{phase}").removesuffix(f" ({phase})")
    return context


def _unmeasured(mutant: Mutant, root: Path) -> list[str]:
    """The test files that mirror the module, then those that import it, then the others of its room."""
    *package, name = Path(mutant.file).with_suffix("").parts
    if name == "__init__":
        *package, name = package or [name]
    folder = root.joinpath("tests", *Path(mutant.file).parts[1:-1])
    mirrors = re.compile(rf"test_{name}(_\w+)?")
    dotted = re.escape(".".join(package))
    imports = re.compile(rf"\b{dotted}\.{name}\b|\bfrom {dotted} import [^\n]*\b{name}\b")

    def rank(file: Path) -> int | None:
        if file.parent == folder and mirrors.fullmatch(file.stem):
            return 0
        if imports.search(file.read_text(encoding="utf-8")):
            return 1
        return 2 if file.parent == folder else None

    ranked = [(rank(file), file.stat().st_size, file) for file in (root / "tests").rglob("test_*.py")]
    found = sorted((number, size, file) for number, size, file in ranked if number is not None)
    return [file.relative_to(root).as_posix() for _, _, file in found]
