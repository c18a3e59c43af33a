"""Which tests reach a line, by coverage's data, and in which order they run."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from tools.mutants.choose import Mutant

_UNMEASURED_S = 0.5


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
        """Test ids, the quickest files first; without a context, the files that mirror the module."""
        reached = self.lines.get(mutant.file, {}).get(mutant.line, set()) - self.failing
        if not reached:
            return _mirrored(mutant, root)
        files: dict[str, list[str]] = defaultdict(list)
        for test in reached:
            files[test.partition("::")[0]].append(test)
        order = sorted(files, key=lambda file: (sum(map(self.seconds, files[file])) / len(files[file]), file))
        return [test for file in order for test in sorted(files[file], key=lambda t: (self.seconds(t), t))]

    def seconds(self, test: str) -> float:
        """What a test takes without a mutant."""
        return self.times.get(test, _UNMEASURED_S)


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


def _mirrored(mutant: Mutant, root: Path) -> list[str]:
    """The test files of the module, or else of its room."""
    path = Path(mutant.file)
    folder = root.joinpath("tests", *path.parts[1:-1])
    exact = sorted(folder.glob(f"test_{path.stem}*.py"))
    return [found.relative_to(root).as_posix() for found in exact or sorted(folder.glob("test_*.py"))]
