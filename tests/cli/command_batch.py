"""Many command lines in one process of their own: quick, and the tests' own process stays as it is."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from hubcli.cli.app import COMMANDS
from tests.forkserver import run_python

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


class Result(NamedTuple):
    """What came of one command line."""

    status: int
    stdout: str
    stderr: str


def run_many(
    lines: Sequence[Sequence[str]],
    *,
    columns: str = "80",
    cache: Path | None = None,
    with_runners: bool = False,
) -> list[Result]:
    """What came of each command line, in order, on that cache or on that of the environment.

    The processes in which they run models are forked, too, with `with_runners`.
    """
    environment = {**os.environ, **({} if cache is None else {"HUBCLI_CACHE_DIR": str(cache)})}
    given = _input_json(lines, columns)
    return _runs(
        run_python(["-c", _PROGRAM], given=given, env=environment, check=True, with_runners=with_runners)
    )[0]


@functools.cache
def help_texts(columns: str) -> Mapping[str, Result]:
    """What came of `--help` by command, and of that of hubcli itself as "": the same in each test."""
    pages = ["", *COMMANDS]
    runs = run_many([[*filter(None, [page]), "--help"] for page in pages], columns=columns)
    return MappingProxyType(dict(zip(pages, runs, strict=True)))


def run_many_anew(lines: Sequence[Sequence[str]]) -> tuple[list[Result], set[str]]:
    """What came of each in an interpreter that has just started, and the modules that all of them loaded."""
    return _runs(
        subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            input=_input_json(lines, "80"),
            capture_output=True,
            text=True,
            check=True,
        )
    )


def _input_json(lines: Sequence[Sequence[str]], columns: str) -> str:
    return json.dumps([(columns, list(line)) for line in lines])


def _runs(process: subprocess.CompletedProcess[str]) -> tuple[list[Result], set[str]]:
    runs, modules = json.loads(process.stdout)
    return [Result(*run) for run in runs], set(modules)
