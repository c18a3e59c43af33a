"""hubcli as a process of its own: on a real pseudo-terminal, and in pipes while it runs."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.forkserver import Process, open_python, start_python


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
    seen = b"".join(_pieces(ours))
    os.close(ours)
    return process.wait(60), seen.decode().replace("\r\n", "\n")


def _pieces(terminal: int) -> Iterator[bytes]:
    """What appears on the terminal, until its other side is closed."""
    with suppress(OSError):  # Linux's way to say that it is closed.
        while piece := os.read(terminal, 4096):
            yield piece


_ON_ITS_TERMINAL = """
import fcntl, os, runpy, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # So that Ctrl-C reaches it.
runpy.run_module("hubcli", run_name="__main__", alter_sys=True)
"""


def run_answered(cache: Path, replies: Sequence[str], *arguments: str) -> tuple[int, str]:
    """Exit status and screen of `hubcli ARGUMENTS…`, with the next reply typed at each question."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "HUBCLI_CACHE_DIR": str(cache)}
    process = start_python(["-c", _ON_ITS_TERMINAL, *arguments], (theirs, theirs, theirs), env=environment)
    os.close(theirs)
    seen, left = b"", list(replies)
    for piece in _pieces(ours):
        seen += piece
        if seen.endswith(b"[y/N] "):
            os.write(ours, f"{left.pop(0)}\n".encode())
    os.close(ours)
    return process.wait(60), seen.decode(errors="replace").replace("\r\n", "\n")


def start(cache: Path, *arguments: str, stdin: int | None = None) -> Process | subprocess.Popen[str]:
    """A running `hubcli ARGUMENTS…` on that cache, its output in pipes."""
    environment = {**os.environ, "HUBCLI_CACHE_DIR": str(cache)}
    return open_python(["-m", "hubcli", *arguments], env=environment, stdin=stdin)
