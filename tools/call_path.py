"""Shows the way of one command through the package: `python -m tools.call_path inspect DIR`.

Runs the command in this process under `sys.setprofile`, and prints to standard error which of hubcli's
files it enters, in order, with the first function entered, then the calls that go up: from a room to one
that stands above it in import-linter's layers. Imports and class bodies don't count, nor what these call,
such as the constants of a module: they depend on what was imported before. A call through a library (a
callback, a context manager) counts as one from the nearest frame of hubcli.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import hubcli
from hubcli.cli.main import main as run_hubcli

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PACKAGE = Path(hubcli.__file__).parent
_PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


@dataclass
class CallPath:
    """Files of hubcli in the order in which a run entered them, and calls from a room to a higher one."""

    levels: dict[str, int]
    entered: dict[str, str] = field(default_factory=dict)
    upward: Counter[tuple[str, str]] = field(default_factory=Counter)

    def follow(self, frame: FrameType, event: str, _argument: Any) -> None:
        """What `sys.setprofile` calls."""
        file = _own_file(frame) if event == "call" else None
        if file is None or frame.f_locals.get("name") == "__path__":  # Each import asks a module for it.
            return
        caller = frame.f_back
        while caller is not None and _own_file(caller) is None:
            if caller.f_code.co_filename.startswith("<frozen importlib"):
                return
            caller = caller.f_back
        self.entered.setdefault(file, frame.f_code.co_name)
        if caller is not None:
            above = _own_file(caller)
            if above is not None and above != file and self._level(file) < self._level(above):
                self.upward[above, file] += 1

    def _level(self, file: str) -> int:
        parts = Path(file).with_suffix("").parts
        return self.levels.get(parts[0], len(self.levels))


def layers() -> dict[str, int]:
    """The rooms, with 0 for the highest, as import-linter's contract has them."""
    contracts = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (rows,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return {
        room.strip().removeprefix("hubcli."): level
        for level, row in enumerate(rows)
        for room in row.replace("|", "\n").splitlines()
    }


def call_path(arguments: Sequence[str]) -> CallPath:
    """The way of `hubcli ARGUMENTS…`, which is run."""
    path = CallPath(layers())
    threading.setprofile(path.follow)
    sys.setprofile(path.follow)
    try:
        run_hubcli(arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return path


def main(arguments: Sequence[str]) -> int:
    """Runs the command and prints its way."""
    path = call_path(arguments)
    for number, (file, function) in enumerate(path.entered.items(), 1):
        print(f"{number:>3}  {file:<44} {function}", file=sys.stderr)
    print(f"{sum(path.upward.values())} calls upward", file=sys.stderr)
    for (caller, callee), count in path.upward.most_common():
        print(f"{count:>5}  {caller} -> {callee}", file=sys.stderr)
    return 0


def _own_file(frame: FrameType) -> str | None:
    """The frame's file below the package; None for a library's, an import's or a class body's."""
    return _file_of(frame.f_code)


@cache
def _file_of(code: CodeType) -> str | None:
    # Comprehensions stand in modules, too; class bodies have no fast locals.
    if code.co_name.startswith("<") or not code.co_flags & inspect.CO_NEWLOCALS:
        return None
    try:
        return Path(code.co_filename).relative_to(_PACKAGE).as_posix()
    except ValueError:
        return None


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
