"""The mutants of a package: found by `ast`, chosen by a seed, planted as edits that keep line numbers."""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_SKIPPED_FIELDS = ("annotation", "returns", "decorator_list", "type_params")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One edit of one file, named by its path in the project; `start` and `end` are offsets in bytes."""

    id: str
    file: str
    line: int
    kind: str
    start: int
    end: int
    text: str

    def apply(self, source: bytes) -> bytes:
        """The source of the file with the mutant in it."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    @property
    def room(self) -> str:
        """The package below the root that the file belongs to."""
        parts = Path(self.file).parts
        return "/".join(parts[:2]) if len(parts) > 2 else f"{parts[0]}/*.py"


def choose(root: Path, package: str, count: int, seed: int, under: tuple[str, ...] = ("",)) -> list[Mutant]:
    """A sample that the seed fixes, spread over the files by their statements.

    Of files with fewer candidates than their share, the rest goes to the files after them.
    """
    drawn = random.Random(seed)
    files = [path for path in sorted((root / package).rglob("*.py")) if _is_under(path, root, under)]
    names = [path.relative_to(root).as_posix() for path in files]
    # All candidates only of the files that have a share: those of all files take half a minute.
    names = [name for name in names if next(_candidates(root, name), None)]
    candidates_of = functools.cache(functools.partial(candidates_in, root))
    drawn.shuffle(names)
    sizes = [_statements(root / name) for name in names]
    step, begin = sum(sizes) / max(count, 1), drawn.random()
    points = [(begin + number) * step for number in range(count)]
    shares: Counter[str] = Counter()
    reached, left = 0, 0
    for name, size in zip(names, sizes, strict=True):
        wanted_count = left + sum(reached <= point < reached + size for point in points)
        shares[name] = min(wanted_count, len(candidates_of(name))) if wanted_count else 0
        left, reached = wanted_count - shares[name], reached + size
    chosen = [
        candidate
        for name in names
        if shares[name]
        for candidate in drawn.sample(candidates_of(name), shares[name])
    ]
    return sorted(chosen, key=lambda mutant: (mutant.file, mutant.line, mutant.id))


def _is_under(path: Path, root: Path, under: tuple[str, ...]) -> bool:
    return path.relative_to(root).as_posix().startswith(under)


def _statements(path: Path) -> int:
    tree = ast.parse(path.read_bytes())
    return len({node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt)})


def candidates_in(root: Path, name: str) -> list[Mutant]:
    """Every mutant of a file, in the order of the source; those that don't compile are left out."""
    return list(_candidates(root, name))


def _candidates(root: Path, name: str) -> Iterator[Mutant]:
    source = (root / name).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    seen: Counter[str] = Counter()
    for top in ast.parse(source).body:
        # Only the top-level statement is parsed again: a whole file for each mutant takes minutes.
        assert top.end_lineno is not None
        first, last = starts[_first_line(top) - 1], starts[top.end_lineno]
        original = ast.dump(ast.parse(source[first:last]))
        for scope, node, kind, text in _edits(top, ""):
            assert node.end_lineno is not None
            assert node.end_col_offset is not None
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            lines = "\n" * (node.end_lineno - node.lineno - text.count("\n"))
            new = f"({text}{lines})" if isinstance(node, ast.expr) else text + lines
            # Neither the line nor the folder counts, so the name lasts when the file moves a little.
            key = f"{name}|{scope}|{kind}|{source[start:end].decode()}|{text}"
            seen[key] += 1
            digest = hashlib.sha256(f"{key}|{seen[key]}".encode()).hexdigest()[:10]
            mutant = Mutant(digest, name, node.lineno, kind, start, end, new)
            try:
                mutated = ast.dump(ast.parse(mutant.apply(source[:last])[first:]))
            except SyntaxError:
                continue
            if mutated != original:
                yield mutant


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


_Edit = tuple[str, "ast.expr | ast.stmt", str, str]


def _edits(node: ast.AST, scope: str) -> Iterator[_Edit]:
    if _is_skipped(node):
        return
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        scope = f"{scope}.{node.name}"
    if isinstance(node, ast.expr):
        yield from ((scope, node, kind, ast.unparse(new)) for kind, new in _expression_edits(node))
    elif isinstance(node, ast.stmt):
        yield from ((scope, node, kind, text) for kind, text in _statement_edits(node))
    for name, value in ast.iter_fields(node):
        if name in _SKIPPED_FIELDS:
            continue
        if name == "test":
            yield scope, value, "condition negated", f"not ({ast.unparse(value)})"
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _edits(child, scope)


def _is_skipped(node: ast.AST) -> bool:
    """Not what types, representations and texts are made of; f-strings have no positions before 3.12."""
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return node.name == "__repr__"
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    if isinstance(node, ast.AnnAssign):
        return "TypeAlias" in ast.unparse(node.annotation)
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def _expression_edits(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    changed = copy.deepcopy(node)
    if isinstance(changed, ast.Compare):
        changed.ops[0] = _COMPARISONS[type(changed.ops[0])]()
        yield "comparison", changed
    elif isinstance(changed, ast.BoolOp):
        changed.op = ast.And() if isinstance(changed.op, ast.Or) else ast.Or()
        yield "and/or", changed
    elif isinstance(changed, ast.UnaryOp) and isinstance(changed.op, ast.Not):
        yield "not dropped", changed.operand
    elif isinstance(changed, ast.BinOp) and isinstance(changed.op, (ast.Add, ast.Sub)):
        changed.op = ast.Sub() if isinstance(changed.op, ast.Add) else ast.Add()
        yield "+/-", changed
    elif isinstance(changed, ast.Constant):
        value = changed.value
        if isinstance(value, bool):
            yield "boolean", ast.Constant(not value)
        elif isinstance(value, int):
            yield "integer + 1", ast.Constant(value + 1)
            yield "integer - 1", ast.Constant(value - 1)


def _statement_edits(node: ast.stmt) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "call dropped", "pass"
    elif isinstance(node, ast.Return) and node.value is not None:
        yield "return None", "return None"
    elif isinstance(node, ast.Raise):
        yield "raise dropped", "pass"
    elif isinstance(node, ast.Break):
        yield "break/continue", "continue"
    elif isinstance(node, ast.Continue):
        yield "break/continue", "break"
