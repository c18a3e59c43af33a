"""Words of a model for shell completion: `hubcli __complete KIND WORD…` prints them, one a line.

KIND is `signatures`, `functions` or `inputs`; the words are those of the line behind `hubcli`, up to the one
at the cursor. It is silent where the model can't be read, and must start within 150 ms: no Typer here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from hubcli.config.settings import Settings
from hubcli.errors import HubcliError
from hubcli.fetching.model_ref import ModelRef
from hubcli.running.model import Selection, read_runnable
from hubcli.savedmodel.functions import read_functions, read_signatures
from hubcli.savedmodel.graph import read_outline
from hubcli.savedmodel.objects import ObjectGraph

__all__ = ["KINDS", "model_words", "print_model_words"]

KINDS = ("signatures", "functions", "inputs")
_MAX_WORDS = 1000
# Names that a model chose must not command a terminal, nor be split by a shell.
_PLAIN = re.compile(r"[!-~]{1,200}")
# Options of `run` without a value: the word behind one may be the target.
_FLAGS = frozenset(
    {"--force", "--json-lines", "--dry-run", "--unsafe", "--json", "--quiet", "-q", "--offline", "--debug"}
    | {"--no-color", "--no-progress"}
)


def print_model_words(arguments: Sequence[str]) -> int:
    """Prints the words; the exit status, which is always 0."""
    with suppress(HubcliError, OSError, ValueError, RecursionError, IndexError):
        words = [word for word in model_words(arguments[0], arguments[1:]) if _PLAIN.fullmatch(word)]
        sys.stdout.write("".join(f"{word}\n" for word in words))
    return 0


def model_words(kind: str, line: Sequence[str]) -> Iterator[str]:
    """The words of that kind for the model on the line. Raises HubcliError, OSError."""
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


def signature_names(model: Path) -> list[str]:
    """The signatures of all MetaGraphs, each once. Raises BrokenModelError, OSError."""
    with read_outline(model) as outlines:
        names = [
            signature.name
            for outline in outlines
            for signature in read_signatures(outline.rest.signature_def)
            if signature.outputs
        ]
    return list(dict.fromkeys(names))[:_MAX_WORDS]


def function_paths(model: Path) -> list[str]:
    """The functions that were traced, those of submodules too. Raises BrokenModelError, OSError."""
    with read_outline(model) as outlines:
        objects = next((outline.objects for outline in outlines if outline.objects is not None), None)
        functions = () if objects is None else read_functions(ObjectGraph(objects), submodules=True)
    return [function.path for function in functions if function.variants][:_MAX_WORDS]


def input_names(model: Path, signature: str | None, function: str | None) -> list[str]:
    """The inputs of a signature or function; of every signature where several could be meant."""
    try:
        selection = Selection(signature=signature, function=function)
        endpoint = read_runnable("", model, selection, is_dry=True).endpoints[0]
        return [port.name for port in endpoint.inputs][:_MAX_WORDS]
    except HubcliError:
        if signature is not None or function is not None:
            raise
    with read_outline(model) as outlines:
        names = [
            tensor.name
            for outline in outlines
            for signature_of_outline in read_signatures(outline.rest.signature_def)
            for tensor in signature_of_outline.inputs
        ]
    return list(dict.fromkeys(names))[:_MAX_WORDS]
