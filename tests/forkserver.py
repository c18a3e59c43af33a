"""Python processes that start at once: forked from a server that has imported hubcli, or TensorFlow too.

`run_python` stands for `subprocess.run([sys.executable, …])` where a test wants a process of its own but not
the start of an interpreter: 10 ms instead of 200, and 20 ms instead of 5 s with TensorFlow. An order whose
PYTHON* variables or locale differ from those of the tests gets a real interpreter; a test of what an import
costs or changes asks for one itself. With HUBCLI_TEST_FORKS=0, and where there is no Linux, all are real.

Each worker of pytest has servers of its own, which end with it. `python -m tests.forkserver MODULE…` is the
server: standard input is a socket with orders in JSON, each with the file descriptors of the process.
"""

from __future__ import annotations

import array
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
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

import hubcli

__all__ = ["Process", "open_python", "run_python", "start_python"]

ROOT = Path(__file__).parent.parent
_TENSORFLOW = ("tensorflow", "keras", "tf_keras", "tensorflow_hub")
# What commands import when they need it.
_LIBRARIES = (
    "google.protobuf.message_factory",
    "google.protobuf.descriptor_pool",
    "rich.progress",
    "rich.table",
    "rich.live",
)
_MAX_ORDER_BYTES = 1 << 22


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
_STARTED_WITH = dict(os.environ)


def _needs_interpreter(environment: Mapping[str, str], with_tensorflow: bool) -> bool:
    start_variables = _start_variables(environment, with_tensorflow)
    return not _FORKS or start_variables != _start_variables(_STARTED_WITH, with_tensorflow)


_servers: dict[tuple[str, ...], _Server] = {}


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


def run_python(
    arguments: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    given: str = "",
    timeout: float = 120,
    check: bool = False,
    with_tensorflow: bool = False,
) -> subprocess.CompletedProcess[str]:
    """What came of `python ARGUMENTS…`: `-m MODULE …`, `-c CODE …` or `FILE …`, its output captured as text.

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
        process = start_python(words, streams, env=env, cwd=cwd, with_tensorflow=with_tensorflow)
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
) -> Process | subprocess.Popen[bytes]:
    """`python ARGUMENTS…` on three open file descriptors, which stay open here."""
    words = [os.fspath(argument) for argument in arguments]
    environment = dict(os.environ if env is None else env)
    if _needs_interpreter(environment, with_tensorflow):
        stdin, stdout, stderr = streams
        return subprocess.Popen(
            [sys.executable, *words], stdin=stdin, stdout=stdout, stderr=stderr, env=environment, cwd=cwd
        )
    order = {"arguments": words, "environment": environment, "directory": os.fspath(cwd or Path.cwd())}
    return _server(_TENSORFLOW if with_tensorflow else ()).start(order, streams)


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


# The client's side --------------------------------------------------------------------------------


class _Server:
    def __init__(self, modules: tuple[str, ...]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for side in (self._socket, theirs):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_ORDER_BYTES)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forkserver", *modules], cwd=ROOT, stdin=theirs.fileno()
            )
        assert self._socket.recv(16) == b"ready", "the fork server did not start"

    def start(self, order: Mapping[str, Any], streams: tuple[int, int, int]) -> Process:
        # Of packets: the number of the process and its status may come at once.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            files = array.array("i", [*streams, theirs.fileno()])
            text = json.dumps(order).encode()
            self._socket.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        pid = ours.recv(16)
        assert pid, "the fork server has ended"
        return Process(int(pid), ours)

    def close(self) -> None:
        self._socket.close()
        self._process.wait(10)


def _server(modules: tuple[str, ...]) -> _Server:
    if modules not in _servers:
        if not _servers:
            atexit.register(_close_all)
        _servers[modules] = _Server(modules)
    return _servers[modules]


def _close_all() -> None:
    for server in _servers.values():
        server.close()


# The server's side --------------------------------------------------------------------------------


def _serve(modules: Sequence[str]) -> None:
    for module in (*modules, *_LIBRARIES, *_hubcli_modules()):
        # One that isn't installed is missed by the process that needs it.
        with suppress(ImportError):
            importlib.import_module(module)
    # A collection in a child would copy every page that the server has filled.
    gc.collect()
    gc.freeze()
    orders = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wakes, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, socket.socket] = {}
    orders.send(b"ready")
    sources: list[Any] = [orders, wakes]
    is_asked = True
    while is_asked:
        ready = select.select(sources, [], [])[0]
        if wakes in ready:
            os.read(wakes, 4096)
            _report(children)
        if orders in ready:
            is_asked = _fork_one(orders, children)


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


def _fork_one(orders: socket.socket, children: dict[int, socket.socket]) -> bool:
    """Whether there was an order: there is none any more once the tests have ended."""
    text, files, _, _ = socket.recv_fds(orders, _MAX_ORDER_BYTES, 4)
    if not text:
        return False
    asker = socket.socket(fileno=files.pop())
    pid = os.fork()
    if not pid:
        for other in (orders, asker, *children.values()):
            other.close()
        _be_python(json.loads(text), files)
    children[pid] = asker
    asker.send(str(pid).encode())
    for file in files:
        os.close(file)
    return True


def _be_python(order: dict[str, Any], streams: list[int]) -> NoReturn:
    """Runs the order as an interpreter would that has just started, and ends the process."""
    status = 1
    try:
        _set_up(order, streams)
        status = _exit_status(order["arguments"])
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
    _serve(sys.argv[1:])
