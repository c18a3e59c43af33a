"""The file of `--map`: which variable gets which value, as JSON or as lines `target = source`."""

from __future__ import annotations

import json
from pathlib import Path

from hubcli.errors import NotFoundError, UsageError
from hubcli.regular_file import read_regular

__all__ = ["read_map"]

_MAX_BYTES = 16 << 20
_HINT = 'Write {"target": "source", …}, or lines such as: kernel = model/dense/kernel'


def read_map(path: Path) -> dict[str, str]:
    """Keys or paths of the model's variables with keys of the weights. Raises UsageError, NotFoundError."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path} is too large for a map", hint=_HINT)
        text = read_regular(path, _MAX_BYTES).decode("utf-8")
    except OSError as error:
        raise NotFoundError(f"{path} can't be read: {error.strerror}", hint="Check the path.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text", hint=_HINT) from error
    pairs = _of_json(path, text) if text.lstrip().startswith("{") else _of_lines(path, text)
    if not pairs:
        raise UsageError(f"{path} names no pairs", hint=_HINT)
    return pairs


def _of_json(path: Path, text: str) -> dict[str, str]:
    try:
        found = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} can't be read as JSON: {error}", hint=_HINT) from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise UsageError(f"{path} holds more than pairs of text", hint=_HINT)
    return found


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a variable stands twice in it")
    return found


def _of_lines(path: Path, text: str) -> dict[str, str]:
    """One pair a line; empty lines and those that begin with # are left out."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        # Names hold an equals sign now and then, but no spaces around it.
        target, middle, source = line.partition(" = ")
        if not middle or not target.strip() or not source.strip():
            raise UsageError(f"{path}, line {number}: no pair", hint=_HINT)
        if target.strip() in pairs:
            raise UsageError(f"{path}, line {number}: {target.strip()} stands twice in it", hint=_HINT)
        pairs[target.strip()] = source.strip()
    return pairs
