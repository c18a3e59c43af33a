"""A process that a server of `tests.forked_python` has forked, and the order for it."""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from tests.forked_python import MAX_ORDER_BYTES

__all__ = ["Process", "connected", "send_order"]


class Process:
    """A process that runs, or has run; used as `subprocess.Popen` is."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self._connection = connection
        self.returncode: int | None = None
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, or the negative number of the signal that ended it.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                answer = self._connection.recv(64)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
            self._connection.close()
            assert answer, "the fork server has ended"
            self.returncode = os.waitstatus_to_exitcode(int(answer))
        return self.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def communicate(self, given: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """What it writes until it ends to standard output and to standard error.

        Raises:
            subprocess.TimeoutExpired: it still writes after `timeout` seconds.
        """
        texts: dict[str, str] = {}

        def read(name: str, stream: IO[str]) -> None:
            texts[name] = stream.read()

        assert self.stdout is not None
        assert self.stderr is not None
        readers = [
            threading.Thread(target=read, args=(name, stream), daemon=True)
            for name, stream in (("stdout", self.stdout), ("stderr", self.stderr))
        ]
        for reader in readers:
            reader.start()
        if self.stdin is not None:
            with suppress(BrokenPipeError):
                self.stdin.write(given or "")
                self.stdin.close()
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        self.wait(timeout)
        return texts["stdout"], texts["stderr"]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_raised: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        self.wait()


def connected(name: str) -> socket.socket | None:
    """A connection to the server of that name; None where there is none, or it is just ending."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_ORDER_BYTES)
    with suppress(OSError):
        connection.connect(name)
        if connection.recv(16) == b"ready":
            return connection
    connection.close()
    return None


def send_order(connection: socket.socket, order: Mapping[str, Any], files: Sequence[int]) -> Process:
    """The process that the server has forked for the order, with the three streams and a socket besides."""
    # Packets: the number of the process and its status may come at once, and stay apart.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        numbers = array.array("i", [*files, theirs.fileno()])
        text = json.dumps(order).encode()
        connection.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])
    pid = ours.recv(16)
    assert pid, "the fork server has ended"
    return Process(int(pid), ours)
