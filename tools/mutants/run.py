"""Runs the tests of each mutant in scratch copies, several at a time; results go to a file of JSON lines."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import queue
import signal
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.mutants.choose import Mutant
from tools.mutants.reach import Reach
from tools.mutants.scratch import Scratch

_FLOOR_S = 30.0
_FACTOR = 5
_NO_TESTS = (4, 5)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: for all mutants, and for one."""

    whole_s: float
    mutant_s: float = 240.0


def run_all(
    mutants: Sequence[Mutant], scratches: Sequence[Scratch], reach: Reach, results: Path, limits: Limits
) -> None:
    """Runs the mutants that the file of results doesn't have yet, until the time is over."""
    completed_ids = {row["id"] for row in read_results(results)}
    free: queue.Queue[Scratch] = queue.Queue()
    for scratch in scratches:
        free.put(scratch)
    end = time.monotonic() + limits.whole_s

    def run_one(mutant: Mutant) -> dict[str, Any] | None:
        left = end - time.monotonic()
        if left < _FLOOR_S:
            return None
        scratch = free.get()
        try:
            return _run(mutant, scratch, reach, min(limits.mutant_s, left))
        finally:
            free.put(scratch)

    with ThreadPoolExecutor(len(scratches)) as pool, results.open("a") as stream:
        waiting = [mutant for mutant in mutants if mutant.id not in completed_ids]
        for number, row in enumerate(pool.map(run_one, waiting), len(completed_ids) + 1):
            if row is not None:
                stream.write(json.dumps(row) + "\n")
                stream.flush()
                print(
                    f"{number}/{len(mutants)} {row['status']:<11} {row['name']} {row['seconds']:.1f} s",
                    flush=True,
                )


def read_results(path: Path) -> list[dict[str, Any]]:
    """The rows so far; none without a file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _run(mutant: Mutant, scratch: Scratch, reach: Reach, budget_s: float) -> dict[str, Any]:
    original = (scratch.root / mutant.file).read_bytes()
    mutated = mutant.apply(original)
    tests = reach.tests_of(mutant, scratch.root)
    tests_run, normal_s = _within(tests, reach, budget_s / 2)
    began_s = time.monotonic()
    status, output = "not reached", ""
    if tests_run:
        scratch.write(mutant.file, mutated)
        try:
            limit_s = min(_FACTOR * normal_s + _FLOOR_S, budget_s)
            status, output = _run_tests(scratch, tests_run, limit_s)
        finally:
            scratch.write(mutant.file, original)
    before, after = original.decode().splitlines(), mutated.decode().splitlines()
    diff = "\n".join(difflib.unified_diff(before, after, mutant.file, mutant.file, lineterm="", n=1))
    return {
        "id": mutant.id,
        "name": f"{mutant.file}:{mutant.line} {mutant.kind} {mutant.id}",
        "room": mutant.room,
        "status": status,
        "seconds": round(time.monotonic() - began_s, 2),
        "tests": len(tests_run),
        "tests_left_out": len(tests) - len(tests_run),
        "by_context": bool(tests) and "::" in tests[0],
        "diff": diff,
        "output": output,
    }


def _within(tests: list[str], reach: Reach, budget_s: float) -> tuple[list[str], float]:
    """The first tests that fit into the time, at least one, and their seconds."""
    tests_within: list[str] = []
    total_s = 0.0
    for test in tests:
        if tests_within and total_s + reach.seconds(test) > budget_s:
            break
        tests_within.append(test)
        total_s += reach.seconds(test)
    return tests_within, total_s


def _run_tests(scratch: Scratch, tests: list[str], limit_s: float) -> tuple[str, str]:
    listed = scratch.root.parent / "tests.txt"
    listed.write_text("\n".join(tests))
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    files = [file for file in files if (scratch.root / file).exists()]
    if not files:
        # Without a file, pytest would run everything.
        return "not reached", "none of the test files exists"
    command = [str(scratch.python), "-m", "pytest", "-o", "addopts=", "-x", "-q", "--no-header", "--tb=line"]
    command += ["-p", "no:randomly", "-p", "no:cacheprovider", "-p", "tools.mutants.plugin"]
    command += ["--mutant-tests", str(listed), *files]
    # A file, since a process that a test leaves behind would hold a pipe open.
    log = scratch.root.parent / "output.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=scratch.root,
            env=scratch.environment(),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return "timeout", ""
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    output = log.read_text(errors="replace")[-600:]
    if code in _NO_TESTS and "error" not in output.lower():
        return "not reached", output
    return ("killed" if code else "survived"), output if code else ""
