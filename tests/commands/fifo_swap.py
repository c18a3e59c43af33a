"""Runs command lines, each in a process in which a file becomes a FIFO just before it is opened first.

`python -m tests.commands.fifo_swap` reads a JSON list of [arguments, file] from standard input and writes
a JSON list of [exit status, whether the file was swapped, standard error]. Who waits for the FIFO is ended
by a signal, and has a negative status. The file is then put back as it was.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

_PATIENCE_S = 60


def main() -> None:
    """Answers the list."""
    from hubcli.cli import entrypoint as loaded_once
    from hubcli.commands import export, inspect, verify

    assert loaded_once
    assert export
    assert inspect
    assert verify
    answers = [_run(arguments, Path(file)) for arguments, file in json.load(sys.stdin)]
    json.dump(answers, sys.stdout)


def _run(arguments: list[str], file: Path) -> tuple[int, bool, str]:
    content, times = file.read_bytes(), file.stat()
    with tempfile.TemporaryFile("w+") as stderr_file:
        child = os.fork()
        if not child:
            _become(arguments, str(file), stderr_file.fileno())
        _, status = os.waitpid(child, 0)
        stderr_file.seek(0)
        text = stderr_file.read()
    swapped = file.is_fifo()
    file.unlink(missing_ok=True)
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    return os.waitstatus_to_exitcode(status), swapped, text


def _become(arguments: list[str], file: str, stderr_fd: int) -> None:
    try:
        signal.alarm(_PATIENCE_S)
        os.dup2(stderr_fd, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _swap_at_open(file)
        from hubcli.cli.main import main as hubcli

        status = hubcli(arguments)
    except BaseException:  # noqa: BLE001 - this process is a copy, and must not go on as the other.
        status = 99
    os._exit(status)


def _swap_at_open(file: str) -> None:
    is_swapped = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal is_swapped
        if event != "open" or is_swapped or not isinstance(arguments[0], str | os.PathLike):
            return
        if Path(os.fspath(arguments[0])).absolute() == Path(file):
            is_swapped = True
            Path(file).unlink()
            os.mkfifo(file)

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
