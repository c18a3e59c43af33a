"""The process of a run: what ends it is told in words of ours, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubcli.errors import TensorFlowError
from hubcli.tf.run_process import RunnerError, RunProcess, find_library, one_sentence
from hubcli.tf.run_protocol import ProtocolError, Tensor, receive, send
from tests.installed import require_installed

require_installed("tensorflow")
pytestmark = pytest.mark.tensorflow


@pytest.fixture
def process() -> Iterator[RunProcess]:
    running = RunProcess("c", find_library(), 60)
    yield running
    running.close()


def test_the_library_is_loaded_without_the_python_package(process: RunProcess) -> None:
    assert process.version.startswith("2.")
    maps = Path(f"/proc/{process._process.pid}/maps")
    if maps.exists():
        text = maps.read_text()
        assert "libtensorflow_cc" in text
        assert "_pywrap_tensorflow" not in text
        assert "numpy" not in text


def test_a_model_that_is_not_there_is_an_error_of_tensorflow(process: RunProcess, tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="Could not find SavedModel"):
        process.ask(
            "load",
            doing="loading",
            number=0,
            model=str(tmp_path),
            tags=["serve"],
            libraries=[],
            assets={},
            initializers=[],
            is_once=True,
        )
    assert process.ask("memory", doing="measuring")[0]["peak_bytes"] > 0


def test_a_limit_of_a_year_is_no_longer_than_a_socket_waits(process: RunProcess) -> None:
    process.limit(365 * 86400.0)
    assert process.version.startswith("2.")
    process.limit(0.05)
    os.kill(process._process.pid, signal.SIGSTOP)
    with pytest.raises(TensorFlowError, match=r"Timed out after 0\.05 s measuring"):
        process.ask("memory", doing="measuring")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (signal.SIGKILL, "was killed while running: the machine may have run out of memory"),
        (signal.SIGSEGV, "TensorFlow crashed by SIGSEGV while running"),
        (signal.SIGABRT, "TensorFlow crashed by SIGABRT while running"),
    ],
)
def test_an_end_by_a_signal_is_told(process: RunProcess, number: signal.Signals, message: str) -> None:
    assert process.version
    os.kill(process._process.pid, number)
    with pytest.raises(TensorFlowError, match=message) as caught:
        process.ask("memory", doing="running")
    assert caught.value.exit_status == 7


def test_closing_it_leaves_no_process(process: RunProcess) -> None:
    assert process.version
    pid = process._process.pid
    process.close()
    assert not Path(f"/proc/{pid}").exists()
    process.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_it_ends_when_the_process_that_started_it_is_killed() -> None:
    program = (
        "import time; from hubcli.tf.run_process import RunProcess, find_library; "
        "running = RunProcess('c', find_library(), 60); running.version; "
        "print(running._process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    for _ in range(600):
        if not Path(f"/proc/{pid}/maps").exists() or not Path(f"/proc/{pid}/maps").read_text():
            return
        signal.sigtimedwait([], 0.1)
    raise AssertionError(f"{pid} is still there")


def test_a_library_without_the_c_api_is_refused() -> None:
    library = next(Path("/").glob("lib*/**/libc.so.6"), None)
    if library is None:
        pytest.skip("no other library is at hand")
    running = RunProcess("c", str(library), 60)
    try:
        with pytest.raises(RunnerError, match="has no TF_"):
            assert running.version
    finally:
        running.close()


def test_messages_of_tensorflow_lose_nodes_and_stacks() -> None:
    text = "Graph execution error:\n\nMatrix size-incompatible\n\t [[{{node MatMul}}]]\n<stack traces>"
    assert one_sentence(text) == "Matrix size-incompatible"
    memory = "OOM with shape[3] [[{{node a/b}}]]\nHint: If you want to see more\n\t [[C]]"
    assert one_sentence(memory) == "OOM with shape[3]"
    trace = 'Detected at node P defined at (most recent call last):\n  File "<string>", line 1, in <module>\n'
    assert (
        one_sentence(f"Graph execution error:\n\n{trace}\nnot a vector\n\t [[{{{{node P}}}}]]")
        == "not a vector"
    )
    assert one_sentence("bad shape\n\t [[{{node A}}]]\n [[B/C]] [[D]]") == "bad shape"
    assert one_sentence("value [[1, 2]] is bad [[{{node A}}]]") == "value [[1, 2]] is bad"


# Messages ----------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(60)
        theirs.settimeout(60)
        yield ours, theirs


def test_tensors_arrive_as_they_were_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    numbers = Tensor(1, (2, 1), struct.pack("<2f", 1, 2))
    texts = Tensor(7, (3,), [b"", b"a", b"\xff" * 300])
    send(pair[0], {"order": "run"}, [numbers, texts, Tensor(9, (0, 4), b"")])
    message = receive(pair[1])
    assert message is not None
    header, tensors = message
    assert header == {"order": "run"}
    assert [(tensor.dtype, tensor.shape) for tensor in tensors] == [(1, (2, 1)), (7, (3,)), (9, (0, 4))]
    assert (bytes(tensors[0].data), tensors[1].data) == (numbers.data, texts.data)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 16,
        struct.pack("<QQ", 2, 0) + b"[]",
        struct.pack("<QQ", 4, 0) + b"null",
        struct.pack("<QQ", 2, 5) + b"{}",
        struct.pack("<QQ", 24, 9) + b'{"tensors": [[1, [], 4]]',
        struct.pack("<QQ", 26, 8) + b'{"tensors": [[7, [9], 8]]}' + bytes(8),
        struct.pack("<QQ", 25, 8) + b'{"tensors":[[7, [1], 8]]}' + b"\xff" * 8,
        struct.pack("<QQ", 100, 0) + b"short",
    ],
)
def test_what_is_no_message_is_refused(pair: tuple[socket.socket, socket.socket], data: bytes) -> None:
    pair[0].sendall(data)
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(ProtocolError):
        receive(pair[1])
