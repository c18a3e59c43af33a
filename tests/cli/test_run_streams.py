"""Streams of rows: in constant memory, one answer behind the other, cut off wherever the reader goes away."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.forkserver import run_python
from tests.installed import require_installed

require_installed("tensorflow")
pytestmark = pytest.mark.tensorflow

MUL = "example://mul/1"


@contextmanager
def running(cache: Path, *arguments: str, out: int = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "hubcli", "run", MUL, *arguments]
    environment = {**os.environ, "HUBCLI_CACHE_DIR": str(cache)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()
            if process.stdin is not None:
                with suppress(BrokenPipeError):  # What it didn't read any more.
                    process.stdin.close()


def test_rows_are_read_from_standard_input_where_no_input_is_given(cache: Path) -> None:
    command = ["-m", "hubcli", "run", MUL, "--json-lines", "--batch-size", "2"]
    environment = {**os.environ, "HUBCLI_CACHE_DIR": str(cache)}
    out = run_python(command, env=environment, given="[1]\n[2]\n[3]\n", with_runners=True).stdout
    assert [json.loads(line)["output_0"] for line in out.splitlines()] == [[2.0], [4.0], [6.0]]


def test_a_slow_writer_gets_answers_before_its_end(cache: Path) -> None:
    with running(cache, "--json-lines", "--batch-size", "1") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"[1]\n[2]\n[3]\n[4]\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["output_0"] == [2.0]


def test_a_reader_that_goes_away_ends_it(cache: Path) -> None:
    with running(cache, "--json-lines", "--batch-size", "1") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"[1]\n" * 1000)
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        with suppress(BrokenPipeError):
            for _ in range(100):
                process.stdin.write(b"[1]\n" * 1000)
                process.stdin.flush()
            process.stdin.close()
        assert process.wait(timeout=120) == 120


def test_an_interrupt_ends_it_and_its_process(cache: Path) -> None:
    with running(cache, "--json-lines", "--batch-size", "1") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"[1]\n[2]\n[3]\n")
        process.stdin.flush()
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        pids = children.read_text().split() if children.exists() else []
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize(
    "rows", [pytest.param(400_000, marks=pytest.mark.slow), pytest.param(10_000_000, marks=pytest.mark.soak)]
)
@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the memory of a process")
def test_rows_without_end_take_constant_memory(cache: Path, rows: int) -> None:
    options = ("--json-lines", "--batch-size", "1024")
    with Path(os.devnull).open("wb") as sink, running(cache, *options, out=sink.fileno()) as process:
        assert process.stdin is not None

        def peak_kilobytes_after(rows: int) -> list[int]:
            """Of the command, and of the process in which the model runs."""
            assert process.stdin is not None
            for start in range(0, rows, 1000):
                process.stdin.write(
                    b"".join(b'{"x": [%d]}\n' % number for number in range(start, start + 1000))
                )
            process.stdin.flush()
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            peaks = []
            for pid in (process.pid, *children):
                found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
                assert found is not None
                peaks.append(int(found[1]))
            return peaks

        first = peak_kilobytes_after(30_000)
        last = peak_kilobytes_after(rows)
        assert len(first) == len(last) == 2
        assert max(after - before for before, after in zip(first, last, strict=True)) < 4000
        process.stdin.close()
        assert process.wait(timeout=300) == 0
