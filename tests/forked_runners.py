"""The processes in which models run, forked from servers that have loaded TensorFlow: 20 ms instead of 300.

`fork_runners` has this process start them so; a runner of TensorFlow's package, which takes five seconds, is
forked too where a server has imported it. What a new interpreter does differently, the tests of
`hubcli.tf.run_process` show.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from typing import cast

from hubcli.tf import run_child
from hubcli.tf.run_child import library_in, package_folder, start_process
from tests.forked_process import Process, connected, send_order
from tests.forked_python import SOCKET_ARGUMENT

__all__ = ["ForkedRunners", "fork_runners"]

_PROGRAM = "from hubcli.tf.run_server import main; main()"


class ForkedRunners:
    """Stands for `start_process` of `hubcli.tf.run_child`; `servers` are names, of `c` and of `python`."""

    def __init__(self, servers: Mapping[str, str]) -> None:
        self._servers = dict(servers)

    def __call__(self, runner: str, library: str, connection: socket.socket) -> subprocess.Popen[bytes]:
        server = self._server(runner, library)
        if server is None:
            return start_process(runner, library, connection)
        with server:
            # It has every attribute of Popen that is used.
            return cast("subprocess.Popen[bytes]", _forked(server, runner, library, connection))

    def _server(self, runner: str, library: str) -> socket.socket | None:
        folder = package_folder("tensorflow")
        if runner == "c" and (folder is None or library != library_in(folder)):
            return None
        name = self._servers.get("c" if runner == "c" else "python")
        return None if name is None else connected(name)


def _forked(server: socket.socket, runner: str, library: str, connection: socket.socket) -> Process:
    order = {
        "arguments": ["-c", _PROGRAM, SOCKET_ARGUMENT, runner, library],
        "environment": {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ},
        "directory": os.getcwd(),  # noqa: PTH109 - as text
    }
    with ExitStack() as theirs:
        reading, writing = os.pipe()
        theirs.callback(os.close, writing)
        empty = os.open(os.devnull, os.O_RDONLY)
        theirs.callback(os.close, empty)
        process = send_order(server, order, [empty, writing, writing, connection.fileno()])
    process.stdout = os.fdopen(reading)
    return process


def fork_runners(servers: Mapping[str, str]) -> None:
    """Has this process fork its runners from now on."""
    run_child.start_process = ForkedRunners(servers)
