"""Lists every text that a user can see: help, errors, hints, notes, table heads, checks and the rest.

`python -m tools.list_messages` prints a line for each, with tabs between: kind, command, file:line, text;
what an f-string fills in reads `{}`. `--counts` prints how many there are of each kind and command,
`--phrases` those with a phrase that tests/test_messages.py keeps out. The source is read, and not run.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import hubcli

__all__ = ["PHRASES", "Message", "messages", "phrases_in"]

PACKAGE = Path(hubcli.__file__).parent  # The installed one, where there is no other.
ROOT = PACKAGE.parent

# What a user shall not read, as docs and tools of the field don't say it.
PHRASES = (
    *("so many", "so much", "so long", "so few", "whatever", "what is of no use", "of no use"),
    *("is no ", "are no ", "isn't what was", "is another", "can't be understood", "is not understood"),
    *("no sign of life", "goes there", "may go", "must stay", "who is at it"),
    *("bear ", "borne", "believe", "mend", "told", "tells of", "give up", "gives up", "write down"),
    *("all the same", "for certain", "stays as", "in whatever", "no more than"),
    *("takes its place", "put under", "is at it", "takes the place", "goes on", "going on with"),
)
_SEEN_BY = {  # Calls whose texts reach a user, by their last name; classes ending in Error are errors.
    **dict.fromkeys(("note", "detail", "warn", "say", "payload", "announce", "phase"), "note"),
    **dict.fromkeys(("Column",), "head"),
    **dict.fromkeys(("Check", "_check", "check", "Issue", "of_part", "of_file", "Finding", "Fault"), "check"),
    **dict.fromkeys(("Problem", "_problem", "_fault", "_finding", "_warning"), "check"),
    **dict.fromkeys(("Option", "Argument", "option", "value_option", "argument", "CompletionWords"), "help"),
    **dict.fromkeys(("_limit", "_gc_option"), "help"),
    **dict.fromkeys(("Variable",), "variable"),
    **dict.fromkeys(("Interrupted", "transient", "BrokenPipe"), "error"),
}
# "there is no X" and "it is no longer X" are plain words; "X is no Y" is kept out.
_PLAIN = re.compile(r"\bthere (?:is|are) no\b|\b(?:is|are) no longer\b")
_PHRASE = re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(phrase.strip()) for phrase in PHRASES)})(?!\w)")
_UNSEEN = ("compile", "getattr", "setattr", "hasattr", "import_module", "getLogger", "TypeVar", "encode")
_NAMES = (
    r"[a-z0-9_.:/-]+|--?[\w-]+|[A-Z_|.,:=\[\]-]+|[a-z|]+|\[?[A-Z]+(?:\[?:?[a-z|:]+\]?)*\]?|FILE\.py:FUNCTION"
)
_WORDS = re.compile(r"[A-Za-z']{2,}[,:;]? +(?:\{\}|[A-Za-z'(\d])|\{\} [a-z']{2,}|[a-z]{2,}[,:;]? \{\}")
_CODE = re.compile(r"\\[dwsSWb]|\(\?[:P=!<]|\[\^|^\s*[|^]|^[\w./-]+$")


@dataclass(frozen=True, slots=True)
class Message:
    """A text, of which kind it is, and where it stands. `node` is its place in the syntax tree."""

    kind: str
    command: str
    file: str
    line: int
    text: str
    node: ast.expr | None

    @property
    def key(self) -> str:
        """The text alone, by which a list knows it: files, lines and names of variables change."""
        return " ".join(self.text.split())


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tools.list_messages", description=__doc__)
    parser.add_argument("--counts", action="store_true", help="print how many there are")
    parser.add_argument("--phrases", action="store_true", help="print those with a phrase that is kept out")
    options = parser.parse_args(arguments)
    found = list(messages())
    if options.counts:
        _print_counts(found)
        return 0
    for message in found:
        phrases = phrases_in(message.text)
        if not options.phrases or phrases:
            place = f"{message.file}:{message.line}"
            extra = (", ".join(phrases),) * options.phrases
            print(*(message.kind, message.command, place, message.key, *extra), sep="\t")
    return 0


def _print_counts(found: Sequence[Message]) -> None:
    kinds = sorted({message.kind for message in found})
    table = Counter((message.command, message.kind) for message in found)
    print("command".ljust(18), *(kind.rjust(8) for kind in kinds), "all".rjust(8))
    for command in sorted({message.command for message in found}):
        row = [table[command, kind] for kind in kinds]
        print(command.ljust(18), *(str(number).rjust(8) for number in row), str(sum(row)).rjust(8))
    sums = [sum(message.kind == kind for message in found) for kind in kinds]
    print("all".ljust(18), *(str(number).rjust(8) for number in sums), str(len(found)).rjust(8))
    print(f"with a phrase that is kept out: {sum(bool(phrases_in(message.text)) for message in found)}")


def phrases_in(text: str) -> tuple[str, ...]:
    """The phrases of the text that are kept out; as words of their own.

    >>> phrases_in("So many models at a time"), phrases_in("a recommendation")
    (('so many',), ())
    """
    plain = _PLAIN.sub("", " ".join(text.lower().split()))
    if not _PHRASE.search(plain):
        return ()
    return tuple(
        phrase for phrase in PHRASES if re.search(rf"(?<!\w){re.escape(phrase.strip())}(?!\w)", plain)
    )


def messages() -> Iterator[Message]:
    """Every text of the package that a user can see, by file and line."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(ROOT))
        yield from _Reader(name, path.read_text(encoding="utf-8")).messages()
    for path in sorted(PACKAGE.glob("*.tsv")):  # Codes with their causes and cures.
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            text = line.split("\t")[-1]
            if not line.startswith("#") and _is_prose(text, "text"):
                yield Message("code", "(issue codes)", str(path.relative_to(ROOT)), number, text, None)


def _command_of(file: str) -> str:
    """The command whose file it is, else the room."""
    _, room, *rest = file.split("/")
    if room in ("cli", "commands") and rest:
        return rest[-1].removesuffix(".py").replace("_", "-")
    return f"({room.removesuffix('.py')})"


class _Reader:
    """Finds the texts of one file."""

    def __init__(self, file: str, source: str) -> None:
        self._file = file
        self._nodes: list[ast.AST] = [ast.parse(source)]  # In the order of `ast.walk`.
        self._parents: dict[ast.AST, ast.AST] = {}
        for node in self._nodes:
            children = list(ast.iter_child_nodes(node))
            self._parents.update(dict.fromkeys(children, node))
            self._nodes += children
        self._docstrings = {id(node) for node in self._documentation()}

    def messages(self) -> Iterator[Message]:
        found = []
        for node in self._nodes:
            if not isinstance(node, ast.JoinedStr) and not _is_text(node):
                continue
            assert isinstance(node, ast.expr)
            if _is_text(node) and isinstance(self._parents.get(node), ast.JoinedStr):
                continue  # A piece of an f-string, which is listed as a whole.
            kind = self._kind(node)
            text = _template(node)
            if kind is not None and (kind == "head" or _is_prose(text, kind)):
                found.append(Message(kind, _command_of(self._file), self._file, node.lineno, text, node))
        return iter(sorted(found, key=lambda message: message.line))

    def _documentation(self) -> Iterator[ast.expr]:
        """Docstrings, but those that are the help of a command."""
        for node in self._nodes:
            body = getattr(node, "body", None)
            if isinstance(body, list):
                for statement in body:
                    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                        yield statement.value

    def _kind(self, node: ast.expr) -> str | None:
        """What the text is; None where no user sees it."""
        if id(node) in self._docstrings:
            owner = self._parents[self._parents[node]]
            is_command = isinstance(owner, ast.FunctionDef) and (
                re.fullmatch(r"[a-z]\w*_command", owner.name)
                or (owner.name == "root" and self._file.endswith("app.py"))
            )
            return "help" if is_command else None
        child: ast.AST = node
        parent = self._parents.get(child)
        while parent is not None and not isinstance(parent, ast.stmt):
            if isinstance(parent, ast.keyword) and parent.arg == "hint":
                return "hint"
            if isinstance(parent, ast.keyword) and parent.arg == "help":
                return "help"
            if isinstance(parent, (ast.Compare, ast.Subscript)) or (
                isinstance(parent, ast.Dict) and isinstance(self._parents[parent], ast.keyword)
            ):
                return None  # A word that is compared or looked up, or a style of a column.
            if isinstance(parent, ast.Call) and child is not parent.func:
                name = _called(parent.func)
                if name in _UNSEEN or name in ("fullmatch", "match", "search", "startswith", "split"):
                    return None
                kind = _SEEN_BY.get(name) or ("error" if name.endswith("Error") else None)
                if kind is not None:
                    return kind
            child, parent = parent, self._parents.get(parent)
        if isinstance(parent, ast.Assert) or (
            isinstance(parent, ast.AnnAssign) and child is parent.annotation
        ):
            return None
        return "text"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _template(node: ast.expr) -> str:
    """The text, with `{}` for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        pieces = (_template(part) if _is_text(part) else "{}" for part in node.values)
        return "".join(pieces)
    assert isinstance(node, ast.Constant)
    return str(node.value)


def _is_prose(text: str, kind: str) -> bool:
    """Whether it is something to read, rather than a name, a pattern or a piece of a path."""
    if kind in ("error", "hint", "help", "note", "check", "variable"):
        return bool(re.search(r"[A-Za-z]{2,}", text)) and not re.fullmatch(_NAMES, text)
    return bool(_WORDS.search(text)) and not _CODE.search(text)


if __name__ == "__main__":
    sys.exit(main())
