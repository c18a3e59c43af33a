"""The documentation as text: its pages, and the blocks of code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCS", "PAGES", "ROOT", "Block", "blocks_of", "command_page", "page"]

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# Every page that a reader may be given, by its path from the top of the repository.
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CODE_OF_CONDUCT.md",
    "benchmarks/README.md",
    "completions/README.md",
    "examples/README.md",
    *(str(path.relative_to(ROOT)) for path in sorted(DOCS.rglob("*.md"))),
)
_BLOCK = re.compile(r"((?:<!-- [a-z]+: [^>]+ -->\n)*)```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!-- ([a-z]+): ([^>]+) -->")


@dataclass(frozen=True)
class Block:
    """A block of code: its language, what is in it, and what the comments before it say.

    `recipe` is its name, "" without one. `needs` is what a test can't have; a block with it is parsed, not
    run. `files` are those that must be there, such as a lock file.
    """

    language: str
    text: str
    recipe: str = ""
    needs: str = ""
    files: tuple[str, ...] = ()


def page(path: str) -> str:
    """The text of the page at this path below docs/."""
    return (DOCS / path).read_text(encoding="utf-8")


def command_page(command: str) -> str:
    """The reference of a command, without what is generated."""
    text = page(f"reference/commands/{command}.md")
    return re.sub(r"<!-- generated: .+? -->.*?<!-- end -->", "", text, flags=re.DOTALL)


def blocks_of(path: str) -> Iterator[Block]:
    """The blocks of code of a page, in their order."""
    text = (ROOT / path).read_text(encoding="utf-8")
    for comments, language, code in _BLOCK.findall(text):
        comments_by_name = dict(_COMMENT.findall(comments))
        files = tuple(comments_by_name.get("files", "").split())
        yield Block(
            language, code, comments_by_name.get("recipe", ""), comments_by_name.get("needs", ""), files
        )
