"""Words of a model for shell completion: `hubcli __complete KIND WORD…` prints them, one a line.

KIND is `signatures`, `functions` or `inputs`; the words are those of the line behind `hubcli`, up to the one
at the cursor. It is silent where the model can't be read, and must start within 150 ms: no Typer here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

__all__ = ["KINDS", "model_words", "print_model_words"]

KINDS = ("signatures", "functions", "inputs")
# Names that a model chose must not command a terminal, nor be split by a shell.
_PLAIN = re.compile(r"[!-~]{1,200}")
# Options of `run` without a value: the word behind one may be the target.
_FLAGS = frozenset(
    {"--force", "--json-lines", "--dry-run", "--unsafe", "--json", "--quiet", "-q", "--offline", "--debug"}
    | {"--no-color", "--no-progress"}
)


def print_model_words(arguments: Sequence[str]) -> int:
    """Prints the words; the exit status, which is always 0."""
    from hubcli.errors import HubcliError

    with suppress(HubcliError, OSError, ValueError, RecursionError, IndexError):
        words = [word for word in model_words(arguments[0], arguments[1:]) if _PLAIN.fullmatch(word)]
        sys.stdout.write("".join(f"{word}\n" for word in words))
    return 0


def model_words(kind: str, line: Sequence[str]) -> Iterator[str]:
    """The words of that kind for the model on the line. Raises HubcliError, OSError."""
    from hubcli.config.settings import Settings
    from hubcli.fetching.model_ref import ModelRef
    from hubcli.running.words import function_paths, input_names, signature_names

    options, targets = _parsed(line)
    settings = Settings.read(cache_dir=options.get("--cache-dir"), offline=True)
    directory = ModelRef.resolve(targets[1], settings).directory
    if directory is None:
        return
    if kind == "signatures":
        yield from signature_names(directory)
    elif kind == "functions":
        yield from function_paths(directory)
    elif kind == "inputs":
        for name in input_names(directory, options.get("--signature"), options.get("--function")):
            yield f"{name}="


def _parsed(line: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The options with values, and what stands beside them: the command first, then the target."""
    options: dict[str, str] = {}
    others: list[str] = []
    pending = ""
    for word in line:
        if pending:
            options[pending], pending = word, ""
        elif word.startswith("--") and "=" in word:
            name, _, value = word.partition("=")
            options[name] = value
        elif word.startswith("-") and word != "-":
            pending = "" if word in _FLAGS else word
        else:
            others.append(word)
    return options, others
