"""Draws the rooms of hubcli into CONTRIBUTING.md: from the import contract in pyproject.toml and the imports.

`python -m tools.make_rooms` writes the block between `<!-- rooms -->` and `<!-- end -->` anew; with `--check`
it writes nothing, and exits with 1 where the block differs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import hubcli
from tools.generated import write_or_check

ROOT = Path(__file__).parent.parent
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PACKAGE = Path(hubcli.__file__).parent
_BLOCK = re.compile(r"(<!-- rooms -->\n).*?(<!-- end -->)", re.DOTALL)
_LAYERS = re.compile(r'type = "layers"\nlayers = \[\n(.*?)\n\]', re.DOTALL)
_WIDTH = 15


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the drawing, or compares it; 1 where it differs."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    drawing = "\n".join(_drawing())
    filled = _BLOCK.sub(lambda block: f"{block[1]}```text\n{drawing}\n```\n{block[2]}", text)
    return write_or_check({CONTRIBUTING: filled}, arguments, __doc__)


def _layers() -> list[list[str]]:
    """The rooms of each layer, the highest first: as import-linter holds them."""
    found = _LAYERS.search((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert found is not None, "pyproject.toml has no contract of layers"
    lines = [line.strip(' ",') for line in found[1].splitlines()]
    return [[room.removeprefix("hubcli.") for room in line.split(" | ")] for line in lines]


def _drawing() -> Iterator[str]:
    layers = _layers()
    rooms = [room for layer in layers for room in layer]
    for number, layer in enumerate(layers):
        for room in layer:
            files = _files(room)
            imports = sorted(_imported(files, rooms) - {room}, key=rooms.index)
            size = f"{len(files):3} file{'s' if len(files) > 1 else ' '} {_lines(files):6,} lines"
            yield f"{room:{_WIDTH}}{size}   {_sentence(room)}"
            if imports:
                yield from _folded(imports)
        if number < len(layers) - 1:
            yield "  │"


def _folded(imports: Sequence[str], width: int = 100) -> Iterator[str]:
    """The rooms that a room imports, in lines of that width."""
    line = f"{'':{_WIDTH}}→"
    for room in imports:
        if len(line) + len(room) + 2 > width:
            yield line
            line = f"{'':{_WIDTH}} "
        line += f" {room}"
    yield line


def _files(room: str) -> list[Path]:
    folder = PACKAGE / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def _lines(files: Sequence[Path]) -> int:
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def _sentence(room: str) -> str:
    """The first line of what the room says of itself."""
    folder = PACKAGE / room
    source = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    doc = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return doc.splitlines()[0].rstrip(".")


def _imported(files: Sequence[Path], rooms: Sequence[str]) -> set[str]:
    """The rooms that those files import when they run, at their top or within a function."""
    return {name for file in files for name in _imported_by(file)} & set(rooms)


@cache
def _imported_by(file: Path) -> frozenset[str]:
    found = set()
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        # Expressions, of which there are most, hold no statements.
        waiting += (child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr))
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name.split(".")[1] for name in names if name.startswith("hubcli.")}
    return frozenset(found)


if __name__ == "__main__":
    raise SystemExit(main())
