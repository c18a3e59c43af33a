"""Many command lines in one process of their own: quick, and the tests' own process stays as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

_PROGRAM = """
import contextlib, io, json, os, sys
runs = []
for columns, arguments in json.load(sys.stdin):
    os.environ["COLUMNS"] = columns
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        from hubcli.cli.main import main
        status = main(arguments)
    runs.append([status, out.getvalue(), err.getvalue()])
print(json.dumps([runs, sorted(sys.modules)]))
"""


class Ran(NamedTuple):
    """What came of one command line."""

    status: int
    stdout: str
    stderr: str


def run_many(lines: Sequence[Sequence[str]], *, columns: str = "80") -> tuple[list[Ran], set[str]]:
    """What came of each command line, in order, and the modules that all of them loaded."""
    asked = json.dumps([(columns, list(line)) for line in lines])
    told = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=asked, capture_output=True, text=True, check=True
    )
    runs, modules = json.loads(told.stdout)
    return [Ran(*one) for one in runs], set(modules)
