"""The server behind `tests.forkserver`: `python -m tests.forked_python PID MODULE…`, where PID started it.

It imports the modules and all of hubcli, and forks a process for each order. Standard input is a socket
that listens. Over each connection, which is a worker of pytest, come orders in JSON, each with the file
descriptors of the process: its three streams, sockets that it gets besides, and that of the process that
waits for it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import hubcli

MAX_ORDER_BYTES = 1 << 22
# An argument that stands for the number of a socket that came with the order.
SOCKET_ARGUMENT = "{socket}"
# With TensorFlow, on a machine that is busy.
START_S = 120
_LOOK_S = 0.5
# What commands import when they need it, but for what reads the environment when it is imported.
LIBRARIES = (
    "_sha1",
    "_strptime",
    "encodings.ascii",
    "encodings.idna",
    "encodings.utf_8_sig",
    "google.protobuf.descriptor_pool",
    "google.protobuf.message_factory",
    "importlib.readers",
    "pickletools",
    "platformdirs.unix",
    "resource",
    "rich._emoji_codes",
    "rich.columns",
    "rich.live",
    "rich.markdown",
    "rich.panel",
    "rich.progress",
    "rich.table",
    "rich.traceback",
    "tarfile",
    "tests.forked_runners",
    "typer._click._textwrap",
    "typer._click.decorators",
)


def _serve(starter: int, modules: Sequence[str]) -> None:
    # A runner by TensorFlow's library needs nothing else.
    others = () if "tests.loaded_library" in modules else (*LIBRARIES, *_hubcli_modules())
    for module in (*modules, *others):
        # One that isn't installed, or that is being written, fails in the process that needs it.
        with suppress(Exception):
            importlib.import_module(module)
    if others:
        with suppress(Exception):
            _read_certificates()
            _fill_caches()
    # A collection in a child would copy every page that the server has filled.
    gc.collect()
    gc.freeze()
    listener = socket.socket(fileno=os.dup(0))
    listener.setblocking(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wakes, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, socket.socket] = {}
    workers: list[socket.socket] = []
    deadline_s = time.monotonic() + START_S
    while True:
        sources: list[Any] = [listener, wakes, *workers]
        ready = select.select(sources, [], [], None if workers else _LOOK_S)[0]
        if wakes in ready:
            os.read(wakes, 4096)
            _report(children)
        if listener in ready:
            with suppress(BlockingIOError):
                worker = listener.accept()[0]
                worker.send(b"ready")
                workers.append(worker)
        for worker in [worker for worker in workers if worker in ready]:
            if not _fork_one(worker, [listener, *workers], children):
                workers.remove(worker)
                if not workers:
                    _ended.append(worker)
                    return
                worker.close()
        # One that no test needed would hold the output of the worker open that started it ahead.
        is_late = os.getppid() != starter or time.monotonic() > deadline_s
        if not ready and not workers and is_late:
            return


# The connection of the last worker, which closes when the process has ended: the worker waits for that.
_ended: list[socket.socket] = []


def _read_certificates() -> None:
    """What the first request over HTTP in each process would read again, in 25 ms.

    Where SSL_CERT_FILE is set, as in many containers, the tests have that, too.
    """
    from hubcli.config.environment import NetworkConfig
    from hubcli.errors import HubcliError
    from hubcli.net.connections import trusted_context

    for variables in (dict[str, str](), os.environ):
        with suppress(OSError, HubcliError):
            trusted_context(NetworkConfig.read(variables))


def _fill_caches() -> None:
    """What each process would make again, alike: protobuf's descriptors, the table of ops, patterns of `re`.

    No help is printed here: what that imports reads the environment.
    """
    from hubcli.cli.app import COMMANDS
    from hubcli.cli.entrypoint import command_of
    from hubcli.formats.protos import is_slow
    from hubcli.savedmodel.nodes import op_classes
    from hubcli.units import parse_size_bytes
    from hubcli.urls import printed_url, redacted, secret_values

    op_classes()
    is_slow()
    for name in COMMANDS:
        command_of(name)
        command_of(name, others="names")
    parse_size_bytes("1GB")
    for url in (
        "https://host.example/m/1?tf-hub-format=compressed",
        "https://u:p@host.example/m;v=1?k=secret",
    ):
        printed_url(url)
        redacted(url)
        list(secret_values(url))


def _hubcli_modules() -> list[str]:
    """All but those that run when they are imported, or import TensorFlow or Keras."""
    names = (module.name for module in pkgutil.walk_packages(hubcli.__path__, "hubcli."))
    return [name for name in names if not name.endswith((".__main__", ".keras_layer", ".keras.layer"))]


def _report(children: dict[int, socket.socket]) -> None:
    """Tells of each child that has ended how it did."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with children.pop(pid) as asker, suppress(BrokenPipeError):  # The test doesn't want to know.
            asker.send(str(status).encode())


def _fork_one(worker: socket.socket, others: list[socket.socket], children: dict[int, socket.socket]) -> bool:
    """Whether there was an order: there is none any more once the worker has ended."""
    try:
        text, files, _, _ = socket.recv_fds(worker, MAX_ORDER_BYTES, 5)
    except ConnectionError:  # It was killed.
        return False
    if not text:
        return False
    asker = socket.socket(fileno=files.pop())
    pid = os.fork()
    if not pid:
        for other in (*others, asker, *children.values()):
            other.close()
        _be_python(json.loads(text), files[:3], files[3:])
    children[pid] = asker
    asker.send(str(pid).encode())
    for file in files:
        os.close(file)
    return True


def _be_python(order: dict[str, Any], streams: list[int], sockets: list[int]) -> NoReturn:
    """Runs the order as an interpreter would that has just started, and ends the process."""
    status = 1
    try:
        _set_up(order, streams)
        if order.get("runners"):
            from tests.forked_runners import fork_runners

            fork_runners(order["runners"])
        status = _exit_status(
            [str(sockets.pop()) if word == SOCKET_ARGUMENT else word for word in order["arguments"]]
        )
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        status = max(status, _flush_status())
    finally:
        os._exit(status)


def _set_up(order: dict[str, Any], streams: list[int]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    atexit._clear()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    os.chdir(order["directory"])
    folders = order["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [folder for folder in folders if folder and folder not in sys.path]
    _follow_coverage()
    # By the locale, bytes that are no text are an error or are kept.
    unclear = sys.stdin.errors
    sys.stdin = open(0, encoding="utf-8", errors=unclear, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", 1 if os.isatty(1) else -1, "utf-8", unclear, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))


def _exit_status(arguments: list[str]) -> int:
    try:
        if arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            sys.path.insert(0, "")
            module = type(sys)("__main__")
            sys.modules["__main__"] = module
            exec(compile(arguments[1], "<string>", "exec"), module.__dict__)
        elif arguments[0] == "-m":
            sys.argv = arguments[1:]
            sys.path.insert(0, str(Path.cwd()))
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            sys.path.insert(0, str(Path(arguments[0]).parent))
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as exit_:
        if isinstance(exit_.code, str):
            print(exit_.code, file=sys.stderr)  # noqa: T201
            return 1
        return exit_.code or 0
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001 - as the interpreter does at its end
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _flush_status() -> int:
    """0, or 120 where the output can't be written, as Python itself ends."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # It is None where it was closed from the start.
                stream.flush()
    except (OSError, ValueError, AttributeError):
        return 120
    return 0


def _follow_coverage() -> None:
    """What is measured from here on belongs to the test that asked for the process."""
    coverage = sys.modules.get("coverage")
    measured = coverage.Coverage.current() if coverage else None
    if measured is not None:
        measured.switch_context(os.environ.get("PYTEST_CURRENT_TEST", ""))


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2:])
