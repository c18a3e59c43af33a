"""Fills what the program knows into the documentation: commands, options, statuses, JSON keys, variables.

`python -m tools.make_docs` writes the blocks between `<!-- generated: NAME -->` and `<!-- end -->` anew,
in the README and in every page below docs/;
and docs/codes.md, the page of every code that a check or an error has;
with `--check` it writes nothing, and exits with 1 where one differs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hubcli.diagnosing.settings import VARIABLES
from hubcli.errors import ExitStatus
from hubcli.issues import codes
from tools.command_pages import options, usage
from tools.generated import write_or_check

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CODES = DOCS / "codes.md"
_BLOCK = re.compile(r"(<!-- generated: ([a-z -]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_EXAMPLE = "example://mul/1"

# One run of each command that prints a document, in an order in which each finds what it needs.
_RUNS: Mapping[str, Sequence[str]] = {
    "fetch": ("fetch", _EXAMPLE),
    "fetch --dry-run": ("fetch", "--dry-run", _EXAMPLE),
    "ls": ("ls",),
    "inspect": ("inspect", _EXAMPLE),
    "inspect --diff": ("inspect", _EXAMPLE, "--diff", _EXAMPLE),
    "run --dry-run": ("run", _EXAMPLE, "--input", "[1]", "--dry-run"),
    "verify": ("verify",),
    "export": ("export", _EXAMPLE, "exported"),
    "search": ("search", "--host", "tree"),
    "versions": ("versions", "tree/maker/mul"),
    "info": ("info", "card"),
    "finetune-export": ("finetune-export", _EXAMPLE, "tuned", "--weights", "exported", "--dry-run"),
    "publish": ("publish", _EXAMPLE, "./www/demo/mul/1", "--dry-run"),
    "publish --check": ("publish", _EXAMPLE, "--check"),
    "pin": ("pin", _EXAMPLE),
    "unpin": ("unpin", _EXAMPLE),
    "gc": ("gc", "--older-than", "0s", "--grace", "0s", "--dry-run"),
    "rm": ("rm", _EXAMPLE, "--dry-run"),
    "doctor": ("doctor",),
}
# The lists of which a document has one row a thing.
_ROWS = ("models", "items", "checks", "versions")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the blocks, or compares them; 1 where one differs."""
    files = {}
    for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        text = path.read_text(encoding="utf-8")
        if "<!-- generated: " in text:
            files[path] = _BLOCK.sub(lambda block: f"{block[1]}{_text_of(block[2])}\n{block[3]}", text)
    files[CODES] = codes_page()
    return write_or_check(files, arguments, __doc__)


def _text_of(block: str) -> str:
    """What stands between the comments: a part of a command's page, or a table of the whole program."""
    part, _, command = block.partition(" of ")
    return {"usage": usage, "options": options}[part](command) if command else _BLOCKS[block]()


def commands() -> str:
    """The commands in the groups of the help of hubcli, with the first sentence of their own."""
    from hubcli.cli.app import GROUPS

    tables = []
    for group, summaries in GROUPS.items():
        rows = [(f"[`hubcli {name}`]({name}.md)", summary) for name, summary in summaries.items()]
        tables.append(f"\n## {group}\n{_table(('command', 'what it does'), rows)}")
    return "".join(tables)


def exit_statuses() -> str:
    """The exit statuses, from the error tree."""
    return _table(("exit", "meaning"), [(str(int(status)), status.meaning) for status in ExitStatus])


def variables() -> str:
    """The environment variables, from the settings."""
    rows = [(", ".join(f"`{name}`" for name in variable.names), variable.meaning) for variable in VARIABLES]
    return _table(("variable", "meaning"), rows)


_TOLD_BY = {
    "inspect --scan": "Findings of `inspect --scan`: `findings[].code`",
    "inspect --check": "Advice of `inspect --check`: `reusable.problems[].code`",
    "publish --check": "Advice of `publish --check`, beside that of `inspect --check`: `issues[].code`",
    "inspect --for": "Obstacles of `inspect --for`: `compatibility[].obstacles[].code`",
    "verify": "Faults of `verify`: `models[].faults[].code`; of an archive also the codes of errors",
    "tier verify": "Faults of `tier verify`: `issues[].code`",
    "doctor": "Checks of `doctor`: `checks[].name`, which are there also where all is well",
    "publish": "Files that `publish` refuses, `issues[].code`, and its `warnings[].code`",
    "errors": "Errors of every command: `error.code`",
}


def codes_page() -> str:
    """The page of every code with its cause and cure, from the registry."""
    parts = [
        "# Codes",
        "Each code of `--json` and of messages, with its cause and cure. Codes never change their meaning; "
        "of a name in `<>` each value is a code. Made by `python -m tools.make_docs` from "
        "`hubcli/issue_codes.tsv`.",
    ]
    for told_by, meanings in codes().items():
        rows = [(f"`{code}`", meaning) for code, meaning in meanings.items()]
        parts += [f"## {_TOLD_BY[told_by]}", _table(("code", "cause and cure"), rows).strip()]
    return "\n\n".join(parts) + "\n"


def file_of(name: str) -> str:
    """A file of docs/, as it stands there."""
    return f"```yaml\n{(DOCS / name).read_text(encoding='utf-8').rstrip()}\n```"


def keys() -> str:
    """The keys of each document, from a run of its command."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "card").mkdir()
        Path(folder, "card", "README.md").write_text("# A model", encoding="utf-8")
        _document(("export", _EXAMPLE, "tree", "--layout", "hub", "--name", "maker/mul"), Path(folder))
        documents = {name: _document(words, Path(folder)) for name, words in _RUNS.items()}
    rows = []
    for name, document in documents.items():
        row = next((key for key in _ROWS if document.get(key)), None)
        of_rows = f"{_names(document[row][0])}" if row is not None else "–"
        rows.append((f"`{name}`", _names(document, but="schema"), of_rows))
    return _table(("document of", "keys, besides `schema`", "keys of each of the rows"), rows)


def _document(words: Sequence[str], folder: Path) -> dict[str, Any]:
    variables = {**os.environ, "HUBCLI_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", "hubcli", *words, "--json"],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    document: dict[str, Any] = json.loads(run.stdout)
    assert "error" not in document, document["error"]
    return document


def _names(document: Mapping[str, Any], but: str = "") -> str:
    return ", ".join(f"`{key}`" for key in document if key != but)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join(["", lines[0], "|" + "---|" * len(head), *lines[1:], ""])


_BLOCKS: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "exit statuses": exit_statuses,
    "keys": keys,
    "variables": variables,
    "workflow": partial(file_of, "github-workflow.yml"),
    "hooks": partial(file_of, "pre-commit-config.yaml"),
    "kubernetes": partial(file_of, "kubernetes.yaml"),
}

if __name__ == "__main__":
    sys.exit(main())
