"""Python processes that start at once: forked from a server that has imported hubcli, or TensorFlow too.

`run_python` stands for `subprocess.run([sys.executable, …])` where a test wants a process of its own but not
the start of an interpreter: 10 ms instead of 200, and 20 ms instead of 5 s with TensorFlow. An order whose
PYTHON* variables or locale differ from those of the tests gets a real interpreter; a test of what an import
costs or changes asks for one itself. With HUBCLI_TEST_FORKS=0, for all tests or for an order, and on other
systems than Linux, every process is a new interpreter.

All workers of a run of pytest share the servers (`tests.forked_python`), which end with the last of them.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from typing import Any

from tests.forked_process import Process, connected, send_order
from tests.forked_python import START_S

__all__ = [
    "Process",
    "forked_commands",
    "open_python",
    "run_python",
    "runner_servers",
    "start_python",
    "start_tensorflow_ahead",
    "wait_for_tensorflow",
]

ROOT = Path(__file__).parent.parent
_TENSORFLOW = ("tensorflow", "keras", "tf_keras", "tensorflow_hub")
_LIBRARY = ("tests.loaded_library",)

# What tests/conftest.py sets.
_OF_EVERY_TEST = ("TF_CPP_MIN_LOG_LEVEL", "KERAS_HOME")


def _start_variables(environment: Mapping[str, str], with_tensorflow: bool) -> dict[str, str]:
    """What an interpreter reads when it starts, but where it keeps bytecode, and TensorFlow's import."""
    ignored = ("PYTHONPATH", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE", *_OF_EVERY_TEST)
    starts = ("PYTHON", "TF_", "KERAS_", "XLA_", "CUDA_") if with_tensorflow else ("PYTHON",)
    return {
        name: value
        for name, value in environment.items()
        if (name.startswith(starts) and name not in ignored) or name in ("LANG", "LC_ALL", "LC_CTYPE")
    }


_FORKS = sys.platform == "linux" and os.environ.get("HUBCLI_TEST_FORKS") != "0"
# Containers set it; without it, as users have it, Python writes again at exit what could not be written.
os.environ.pop("PYTHONUNBUFFERED", None)
_STARTED_WITH = dict(os.environ)


def _needs_interpreter(environment: Mapping[str, str], with_tensorflow: bool) -> bool:
    if not _FORKS or environment.get("HUBCLI_TEST_FORKS") == "0":
        return True
    start_variables = _start_variables(environment, with_tensorflow)
    return start_variables != _start_variables(_STARTED_WITH, with_tensorflow)


def _fits_library(environment: Mapping[str, str]) -> bool:
    """Whether TensorFlow would be loaded with these variables as the servers have loaded it."""
    level = "TF_CPP_MIN_LOG_LEVEL"
    return environment.get(level) == os.environ.get(level) and not _needs_interpreter(environment, True)


_servers: dict[tuple[str, ...], _Server] = {}


def run_python(
    arguments: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    given: str = "",
    timeout: float = 120,
    check: bool = False,
    with_tensorflow: bool = False,
    with_runners: bool = False,
) -> subprocess.CompletedProcess[str]:
    """What came of `python ARGUMENTS…`: `-m MODULE …`, `-c CODE …` or `FILE …`, its output captured as text.

    The processes in which it runs models are forked, too, with `with_runners`.

    Raises:
        subprocess.TimeoutExpired: it was killed after `timeout` seconds.
        subprocess.CalledProcessError: `check` is set, and the exit status isn't 0.
    """
    words = [os.fspath(argument) for argument in arguments]
    with (
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        stdin.write(given.encode())
        stdin.seek(0)
        streams = (stdin.fileno(), stdout.fileno(), stderr.fileno())
        process = start_python(
            words, streams, env=env, cwd=cwd, with_tensorflow=with_tensorflow, with_runners=with_runners
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            raise
        texts = []
        for stream in (stdout, stderr):
            stream.seek(0)
            texts.append(stream.read().decode())
    result = subprocess.CompletedProcess([sys.executable, *words], status, *texts)
    if check:
        result.check_returncode()
    return result


def start_python(
    arguments: Sequence[str | os.PathLike[str]],
    streams: tuple[int, int, int],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    with_tensorflow: bool = False,
    with_runners: bool = False,
) -> Process | subprocess.Popen[bytes]:
    """`python ARGUMENTS…` on three open file descriptors, which stay open here."""
    words = [os.fspath(argument) for argument in arguments]
    environment = dict(os.environ if env is None else env)
    if _needs_interpreter(environment, with_tensorflow):
        stdin, stdout, stderr = streams
        return subprocess.Popen(
            [sys.executable, *words], stdin=stdin, stdout=stdout, stderr=stderr, env=environment, cwd=cwd
        )
    server = _server(_TENSORFLOW if with_tensorflow else ())
    order = {"arguments": words, "environment": environment, "directory": os.fspath(cwd or Path.cwd())}
    if with_runners and _fits_library(environment):
        order["runners"] = runner_servers()
    return server.start(order, streams)


def open_python(
    arguments: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    stdin: int | None = None,
    with_tensorflow: bool = False,
) -> Process | subprocess.Popen[str]:
    """`python ARGUMENTS…` with its streams in pipes, as of `subprocess.Popen(…, text=True)`.

    Standard input is empty, an open file descriptor, or with `subprocess.PIPE` a pipe too.
    """
    words = [os.fspath(argument) for argument in arguments]
    pipe = subprocess.PIPE
    if _needs_interpreter(os.environ if env is None else env, with_tensorflow):
        source = subprocess.DEVNULL if stdin is None else stdin
        return subprocess.Popen(
            [sys.executable, *words], env=env, cwd=cwd, stdin=source, stdout=pipe, stderr=pipe, text=True
        )
    with ExitStack() as theirs:
        write_in = None
        if stdin == pipe:
            read_in, write_in = os.pipe()
        else:
            read_in = os.open(os.devnull, os.O_RDONLY) if stdin is None else os.dup(stdin)
        read_out, write_out = os.pipe()
        read_err, write_err = os.pipe()
        for file in (read_in, write_out, write_err):
            theirs.callback(os.close, file)
        process = start_python(
            words, (read_in, write_out, write_err), env=env, cwd=cwd, with_tensorflow=with_tensorflow
        )
    assert isinstance(process, Process)
    process.stdin = None if write_in is None else os.fdopen(write_in, "w")
    process.stdout, process.stderr = os.fdopen(read_out), os.fdopen(read_err)
    return process


def forked_commands(folder: Path) -> Path:
    """The folder, for the PATH of a script: with `hubcli`, which is forked where processes are.

    What it prints and its exit status are those of `hubcli`; signals of a terminal don't reach it.
    """
    folder.mkdir(exist_ok=True)
    if _FORKS:
        file = folder / "hubcli"
        # Without `site`, and with no more imports than it needs, it starts in 15 ms.
        file.write_text(f"#!{sys.executable} -IS\n{_COMMAND.format(name=_server(()).name)}")
        file.chmod(0o755)
    return folder


_COMMAND = """
import array, json, os, sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair
server = socket(AF_UNIX, SOCK_SEQPACKET)
server.connect({name!r})
server.recv(16)
ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
order = dict(arguments=["-m", "hubcli", *sys.argv[1:]], environment=dict(os.environ), directory=os.getcwd())
files = array.array("i", [0, 1, 2, theirs.fileno()])
server.sendmsg([json.dumps(order).encode()], [(SOL_SOCKET, SCM_RIGHTS, files)])
theirs.close()
ours.recv(16)
status = os.waitstatus_to_exitcode(int(ours.recv(64)))
if status < 0:
    os.kill(os.getpid(), -status)
os._exit(status)
"""


class _Server:
    """A connection to a server, which the first worker of the run starts."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self.name = _server_name(modules)
        deadline = time.monotonic() + START_S
        while not self._connect(modules):
            assert time.monotonic() < deadline, "the fork server did not start"
            time.sleep(0.01)

    def _connect(self, modules: tuple[str, ...]) -> bool:
        """Whether a server answers, which this may have started; none does where the last is just ending."""
        _begin(self.name, modules)
        connection = connected(self.name)
        if connection is None:
            return False
        self._socket = connection
        return True

    def start(self, order: Mapping[str, Any], streams: Sequence[int]) -> Process:
        return send_order(self._socket, order, streams)

    def close(self) -> None:
        """Ends the server where no other worker is left, and waits until it has ended."""
        with self._socket, suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(10)
            self._socket.recv(16)


def _server_name(modules: tuple[str, ...]) -> str:
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()}-{time.monotonic_ns()}"
    # A run within a test has other packages, and so a server of its own.
    packages = hashlib.sha1(f"{sys.executable} {_STARTED_WITH.get('PYTHONPATH')}".encode()).hexdigest()
    # An abstract name: it is free again once the server has ended, and leaves no file.
    return "\0" + "-".join(("hubcli-forks", run, packages[:8], *modules))


def _begin(name: str, modules: tuple[str, ...], **variables: str) -> None:
    """Starts the server of that name where none has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener, suppress(OSError):
        listener.bind(name)  # By one worker alone.
        listener.listen(64)
        command = [sys.executable, "-m", "tests.forked_python", str(os.getpid()), *modules]
        environment = {**os.environ, **variables}
        subprocess.Popen(command, cwd=ROOT, stdin=listener.fileno(), env=environment)


_ahead: list[str] = []


def start_tensorflow_ahead() -> None:
    """Starts the server with TensorFlow for all workers of this run, without waiting for it.

    Where there is no bytecode of TensorFlow yet, it writes that in six seconds of a processor.
    """
    if _FORKS and "PYTEST_XDIST_TESTRUNUID" in os.environ and find_spec("tensorflow") is not None:
        _ahead.append(_server_name(_TENSORFLOW))
        # Keras finds no place there for a file of settings. The tests set these variables, too.
        _begin(_ahead[0], _TENSORFLOW, KERAS_HOME=os.devnull, TF_CPP_MIN_LOG_LEVEL="3")


def wait_for_tensorflow() -> None:
    """Waits for the server that was started ahead where it still compiles: else each worker would, too."""
    last = find_spec(_TENSORFLOW[-1]) if _ahead else None
    if last is not None and last.origin is not None and not Path(cache_from_source(last.origin)).exists():
        _server(_TENSORFLOW)


def runner_servers(*, with_package: bool = False) -> dict[str, str]:
    """The names of the servers that fork runners, by which `tests.forked_runners` finds them.

    That with TensorFlow's package starts in five seconds: without `with_package` it is there when another
    process has needed it.
    """
    if not _FORKS:
        return {}
    servers = {"c": _server(_LIBRARY).name}
    if with_package or _TENSORFLOW in _servers:
        servers["python"] = _server(_TENSORFLOW).name
    return servers


def _server(modules: tuple[str, ...]) -> _Server:
    if modules not in _servers:
        if not _servers:
            atexit.register(_close_all)
        _servers[modules] = _Server(modules)
    return _servers[modules]


def _close_all() -> None:
    for server in _servers.values():
        server.close()
