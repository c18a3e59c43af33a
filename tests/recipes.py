"""The recipes of the README, taken out of it as they stand, and what runs them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def recipe(name: str) -> str:
    """The code block that follows the comment `<!-- recipe: NAME -->`."""
    found = re.search(rf"<!-- recipe: {re.escape(name)} -->\n```\w+\n(.+?)```", README, re.DOTALL)
    assert found is not None, name
    return found[1]


@dataclass(frozen=True)
class Block:
    """A code block: its recipe's name, "" without one, its language, and what is in it."""

    name: str
    language: str
    text: str


def blocks() -> list[Block]:
    """All code blocks of the README, in their order."""
    pattern = r"(?:<!-- (?:recipe: |generated: )?([\w.-]+) -->\n)?```(\w+)\n(.+?)```"
    return [Block(*found) for found in re.findall(pattern, README, re.DOTALL)]


def run_shell(script: str, folder: Path, variables: Mapping[str, str]) -> str:
    """What the script prints; it stops at the first command that fails."""
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=dict(variables),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@dataclass
class Image:
    """What a Dockerfile makes, but for its base: files below `root`, and variables.

    The instructions are those that the recipe has: FROM, RUN, ENV, COPY.
    """

    root: Path
    variables: dict[str, str]
    base: str = ""
    _completed: list[str] = field(default_factory=list)

    def build(self, dockerfile: str, context: Path) -> None:
        """Carries out the instructions; paths from / on are below `root`."""
        self.root.mkdir()
        for instruction, rest in _instructions(dockerfile):
            if instruction == "FROM":
                self.base = rest
            elif instruction == "ENV":
                name, _, value = rest.partition("=")
                self.variables[name] = f"{self.root}{value}" if value.startswith("/") else value
            elif instruction == "COPY":
                pattern, target = rest.split()
                sources = list(context.glob(pattern))
                assert sources, pattern
                for source in sources:
                    shutil.copy(source, self.root / target)
            else:
                assert instruction == "RUN", instruction
                run_shell(rest, self.root, self.variables)


def _instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    for line in dockerfile.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            instruction, _, rest = line.partition(" ")
            yield instruction, rest
