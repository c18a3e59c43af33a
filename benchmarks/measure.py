"""Whole processes, timed in interleaved rounds, and the table that compares them."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "Contender",
    "Cost",
    "compare",
    "free_port",
    "median_seconds",
    "options_parser",
    "print_ratios",
    "print_table",
    "report_ratios",
    "tool_beside",
    "wait_for_port",
]

_READ_BYTES = 1 << 20
# Linux counts ru_maxrss in KiB, macOS in bytes: getrusage(2) of each.
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


def options_parser(name: str, description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has: `rounds`, `python` and `work_dir`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="counted rounds, after one to warm up")
    parser.add_argument(
        "--python", type=Path, default=Path(sys.executable), help="interpreter whose tools are measured"
    )
    parser.add_argument("--work-dir", type=Path, help="where the files go (default: temp directory)")
    return parser


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process cost, its children included where it waited for them.

    Linux never reports a peak below that of the process that started it: a
    benchmark must stay small itself, and import nothing heavy.
    """

    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    output_bytes: int


@dataclass(frozen=True, slots=True)
class Contender:
    """A command that is measured. `command` gets the fresh directory that one run may fill.

    `bound` is what hubcli's median may be of this one's: a share of it for a
    peer, None where the design page names none. `check` raises where a run did
    not do the work; a run that ends with another than `exit_status` ends the benchmark.
    """

    name: str
    command: Callable[[Path], Sequence[str]]
    environment: Callable[[Path], Mapping[str, str]] = field(default=lambda folder: {})
    check: Callable[[Path], None] = field(default=lambda folder: None)
    bound: float | None = None
    exit_status: int = 0


def tool_beside(python: Path, name: str) -> str:
    """The console script `name` of the interpreter's environment; exits if it is missing."""
    script = python.with_name(name)
    if not script.is_file():
        sys.exit(f"{name} is not installed beside {python}")
    return str(script)


def compare(
    contenders: Sequence[Contender],
    rounds: int,
    work: Path,
    *,
    tells_rounds: bool = True,
    warms_up: bool = True,
) -> dict[str, list[Cost]]:
    """The costs of every contender by name: each once per round, after a round that is not counted.

    The order turns by one from round to round, so that nobody always comes
    after the same other. Directories are made and removed outside of the timing.
    Where a round takes a minute, `warms_up` may be left out.
    """
    costs: dict[str, list[Cost]] = {contender.name: [] for contender in contenders}
    for number in range(0 if warms_up else 1, rounds + 1):
        shift = number % len(contenders)
        for contender in (*contenders[shift:], *contenders[:shift]):
            cost = _run_in_fresh_directory(contender, work)
            if number:
                costs[contender.name].append(cost)
        if tells_rounds:
            note = "" if number else " (warm-up, not counted)"
            print(f"round {number} of {rounds}{note}", file=sys.stderr)
    return costs


def _run_in_fresh_directory(contender: Contender, work: Path) -> Cost:
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=work))
    try:
        cost = _run(contender.command(folder), contender.environment(folder), contender.exit_status)
        contender.check(folder)
        return cost
    finally:
        shutil.rmtree(folder)


def _run(command: Sequence[str], environment: Mapping[str, str], exit_status: int) -> Cost:
    """Runs the command with its output in a pipe that is read to the end; exits where it fails."""
    env = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **environment}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # An installed package is compiled: the warm-up does it.
    with tempfile.TemporaryFile() as errors:
        started_at = time.perf_counter()
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=errors, bufsize=0)
        assert process.stdout is not None
        output_bytes = 0
        with process.stdout as output:
            while chunk := output.read(_READ_BYTES):
                output_bytes += len(chunk)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started_at
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != exit_status:
            errors.seek(0)
            sys.exit(f"{command} failed with {process.returncode}:\n{errors.read().decode(errors='replace')}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _RSS_UNIT_BYTES, output_bytes)


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints the rows with aligned columns, the first to the left, the others to the right."""
    widths = [max(map(len, cells)) for cells in zip(titles, *rows, strict=True)]
    for cells in (titles, *rows):
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        print("  ".join(padded).rstrip())


def median_seconds(costs: Sequence[Cost]) -> float:
    """The median of the wall-clock times."""
    return statistics.median(cost.seconds for cost in costs)


def report_ratios(
    contenders: Sequence[Contender], costs: Mapping[str, Sequence[Cost]], memory_bound_bytes: int
) -> int:
    """Prints the first contender's time as a share of each one's, and its peak memory; 1 beyond a bound."""
    own = costs[contenders[0].name]
    own_s = median_seconds(own)
    all_met = print_ratios(contenders, costs, "hubcli / it", lambda seconds: own_s / seconds)
    peak = max(cost.peak_rss_bytes for cost in own)
    is_small = peak <= memory_bound_bytes
    bound = f"bound {memory_bound_bytes / 1e6:.0f} MB: {_verdict(is_small)}"
    print(f"peak memory of hubcli {peak / 1e6:.0f} MB, {bound}", flush=True)
    return 0 if all_met and is_small else 1


def print_ratios(
    contenders: Sequence[Contender],
    costs: Mapping[str, Sequence[Cost]],
    title: str,
    ratio_of: Callable[[float], float],
) -> bool:
    """Prints what each contender cost, with a ratio of its median seconds; whether every bound is met."""
    rows, all_met = [], True
    for contender in contenders:
        theirs = costs[contender.name]
        ratio = ratio_of(median_seconds(theirs))
        met = contender.bound is None or ratio <= contender.bound
        all_met &= met
        rows.append(
            (
                contender.name,
                f"{median_seconds(theirs):.3f}",
                f"{statistics.median(cost.cpu_seconds for cost in theirs):.2f}",
                f"{max(cost.peak_rss_bytes for cost in theirs) / 1e6:.0f}",
                f"{ratio:.2f}",
                "" if contender.bound is None else f"{contender.bound:.2f}",
                "" if contender.bound is None else _verdict(met),
            )
        )
    print_table(("command", "median s", "CPU s", "peak MB", title, "bound", "verdict"), rows)
    return all_met


def _verdict(met: bool) -> str:
    return "met" if met else "not met"


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(name: str, port: int, server: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Waits until the server listens; ends this process where it doesn't."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"{name} does not start")
