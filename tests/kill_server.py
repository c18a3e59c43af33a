"""Processes of hubcli that start at once, forked from one that has loaded everything; killed when it is told.

`python -m tests.kill_server` reads lists of orders, a line of JSON each, and answers each with one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.fault_points import activate_fault_points
from tests.forkserver import Process, open_python
from tests.interrupt_injection import InterruptInjection

__all__ = ["CommandResult", "KillServer", "Order"]

_LOOK_S = 0.0005
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Order:
    """A command line, and when its process is killed: after some seconds, or at a number of lines.

    The seconds count from where something in the cache has a name of the pattern `since`.
    `watched` are the files whose lines count, `fault_points` what the process has to live with.
    `patience_s` is the `QUICK_S` of the process, and `piece_bytes` how much of a file it uploads at a time.
    """

    arguments: Sequence[str]
    kill_after_s: float | None = None
    since: str | None = None
    kill_at_line: int | None = None
    watched: Sequence[str] = ()
    fault_points: Sequence[str] = ()
    patience_s: float = 0.0
    piece_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What became of a process: its exit status (the signal's number, negative), and its output.

    `seconds` are those that it took, from where the order's began to count.
    """

    status: int
    output: str
    seconds: float


@dataclass
class KillServer:
    """The process that has loaded everything, on a cache of its own."""

    process: Process | subprocess.Popen[str] = field(repr=False)

    @classmethod
    @contextmanager
    def running(cls, cache: Path) -> Iterator[KillServer]:
        environment = {**os.environ, "HUBCLI_CACHE_DIR": str(cache)}
        # Forked itself: it has loaded all of hubcli, which its processes would each load anew.
        with open_python(
            ["-m", "tests.kill_server"], cwd=ROOT, env=environment, stdin=subprocess.PIPE
        ) as process:
            yield cls(process)
            assert process.stdin is not None
            process.stdin.close()

    def run(self, *arguments: str, **when: Any) -> CommandResult:
        """One process, to its end."""
        return self.run_at_once([Order(arguments, **when)])[0]

    def run_at_once(self, orders: Sequence[Order]) -> list[CommandResult]:
        """All of them, to their ends. Those that are to be killed are so one after the other."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([asdict(order) for order in orders]) + "\n")
        self.process.stdin.flush()
        return [CommandResult(**result) for result in json.loads(self.process.stdout.readline())]


def _obey(orders: list[Order]) -> list[CommandResult]:
    with ExitStack() as opened:
        outputs = [opened.enter_context(tempfile.TemporaryFile()) for _ in orders]
        children = list(map(_forked, orders, outputs))
        return list(map(_result, children, orders, outputs))


def _forked(order: Order, output: IO[bytes]) -> int:
    child = os.fork()
    if not child:
        _be_hubcli(order, output.fileno())
    return child


def _result(child: int, order: Order, output: IO[bytes]) -> CommandResult:
    status, seconds = _watched(child, order)
    output.seek(0)
    return CommandResult(os.waitstatus_to_exitcode(status), output.read().decode(), seconds)


def _watched(child: int, order: Order) -> tuple[int, float]:
    """The status of the child, which is killed in its time, and how long it took."""
    cache, began_s = Path(os.environ["HUBCLI_CACHE_DIR"]), time.monotonic()
    is_counted, pid = order.since is None, 0
    while not pid:
        if not is_counted and any(cache.glob(str(order.since))):
            is_counted, began_s = True, time.monotonic()
        if is_counted and order.kill_after_s is None:
            pid, status = os.waitpid(child, 0)
        elif is_counted and time.monotonic() - began_s >= (order.kill_after_s or 0):
            os.kill(child, signal.SIGKILL)
            pid, status = os.waitpid(child, 0)
        else:
            pid, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0 if pid else _LOOK_S)
    return status, time.monotonic() - began_s


def _be_hubcli(order: Order, output: int) -> None:
    from hubcli.cli.main import main
    from hubcli.net import download, retries
    from hubcli.publishing import blobs

    activate_fault_points(order.fault_points)
    download.QUICK_S, retries.FIRST_WAIT_S = order.patience_s, 0.001
    if order.piece_bytes is not None:
        vars(blobs)["PIECE_BYTES"] = order.piece_bytes
    # A kill loses nothing that was written, synced or not: tests/commands/test_power_loss.py proves syncs.
    vars(os)["fsync"] = lambda descriptor: None
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if order.kill_at_line is not None:
        injection = InterruptInjection(signal.SIGKILL, order.kill_at_line, tuple(order.watched))
        threading.settrace(injection)
        sys.settrace(injection)
    status = 1
    try:
        status = main(order.arguments)
    finally:
        sys.settrace(None)
        os._exit(status)


def _serve() -> None:
    # Loaded once, for all the processes that are forked off.
    import hubcli.cli.app
    import hubcli.cli.fetch
    import hubcli.cli.views.fetch
    import hubcli.commands.fetch
    import hubcli.fetching.sources
    import hubcli.net.http_source  # noqa: F401

    for line in sys.stdin:
        results = _obey([Order(**order) for order in json.loads(line)])
        sys.stdout.write(json.dumps([asdict(result) for result in results]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
