"""hubcli as a process of its own: on a real pseudo-terminal, and in pipes while it runs."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from tests.forkserver import Process, start_python


def run_on_terminal(
    command: Sequence[str], variables: Mapping[str, str], *, columns: int = 100
) -> tuple[int, str]:
    """Exit status, and everything that appeared on the screen, control sequences included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in variables.items() if name not in ("COLUMNS", "LINES")}
    process: Process | subprocess.Popen[bytes]
    if command[0] == sys.executable:
        process = start_python(command[1:], (theirs, theirs, theirs), env=environment)
    else:
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # Linux's way to say that the other side is closed.
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    return process.wait(60), seen.decode().replace("\r\n", "\n")


class Running:
    """A process that runs, its output in pipes: what tests use of `subprocess.Popen`."""

    def __init__(self, process: Process | subprocess.Popen[bytes], stdout: TextIO, stderr: TextIO) -> None:
        self._process, self.stdout, self.stderr = process, stdout, stderr

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(0.001)
        return None

    def wait(self, timeout: float) -> int:
        return self._process.wait(timeout)

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 60) -> tuple[str, str]:
        """All output, once the process has ended.

        Raises:
            subprocess.TimeoutExpired: it was killed after so many seconds.
        """
        with ThreadPoolExecutor(2) as pool, self.stdout, self.stderr:
            texts = [pool.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            return texts[0].result(), texts[1].result()


def start(cache: Path, *arguments: str, stdin: int | None = None) -> Running:
    """A running `hubcli ARGUMENTS…` on that cache."""
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    with Path(os.devnull).open() as nothing:
        streams = (nothing.fileno() if stdin is None else stdin, out_end, err_end)
        environment = {**os.environ, "HUBCLI_CACHE_DIR": str(cache)}
        process = start_python(["-m", "hubcli", *arguments], streams, env=environment)
    os.close(out_end)
    os.close(err_end)
    return Running(process, os.fdopen(out, encoding="utf-8"), os.fdopen(err, encoding="utf-8"))
