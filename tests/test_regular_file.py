"""Files are opened without waiting, and nothing but regular files is."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import socket
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli.formats.array_files import read_npz, read_safetensors
from hubcli.formats.bundles import Bundle
from hubcli.formats.tensor_values import file_pieces
from hubcli.regular_file import (
    contents,
    open_regular,
    open_stream,
    read_record,
    read_regular,
    read_stream,
    write_all,
)
from tests.cases import each_of


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_link_to_fifo(path: Path) -> None:
    os.mkfifo(path.with_name("fifo"))
    path.symlink_to("fifo")


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)


def mapped(path: Path) -> None:
    with contents(path):
        pass


def open_files(path: Path) -> list[str]:
    """The descriptors of this process that are of the file; other threads open files of their own."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # Closed by another thread, or the listing itself.
            if Path(f"/proc/self/fd/{descriptor}").samefile(path):
                found.append(descriptor)
    return found


KINDS: list[Callable[[Path], None]] = [
    make_fifo,
    make_link_to_fifo,
    make_device,
    make_socket,
    Path.mkdir,
]
READERS: list[Callable[[Path], object]] = [
    open_regular,
    read_regular,
    read_record,
    mapped,
    read_npz,
    read_safetensors,
    lambda path: list(file_pieces(path, 0, 1)),
    lambda path: Bundle.open(path.parent, path.name.removesuffix(".index")),
    # A shell's pipes and terminals are streams, and a device that gives bytes is one.
    lambda path: open_regular(path) if path.resolve() == Path("/dev/zero") else open_stream(path, 0.05),
]


@each_of("kind", KINDS)
@each_of("number", range(len(READERS)))
@pytest.mark.timeout(60)
def test_what_is_no_regular_file_is_an_error_at_once(
    number: int, kind: Callable[[Path], None], tmp_path: Path
) -> None:
    kind(tmp_path / "x.index")
    with pytest.raises(OSError) as caught:  # noqa: PT011 - each kind has its own
        READERS[number](tmp_path / "x.index")
    assert caught.value.strerror
    assert not open_files(tmp_path / "x.index")


def test_a_fifo_that_somebody_holds_open_for_writing_is_refused_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    writer = os.open(tmp_path / "x", os.O_RDWR | os.O_NONBLOCK)
    try:
        with pytest.raises(OSError, match="a FIFO"):
            open_regular(tmp_path / "x")
        with pytest.raises(TimeoutError, match="no data for"):
            open_stream(tmp_path / "x", 0.05)
    finally:
        os.close(writer)


def test_a_regular_file_is_read_whole_or_up_to_the_bound(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to("x")
    assert read_regular(tmp_path / "link") == b"0123456789"
    assert read_regular(tmp_path / "x", 4) == b"0123"


def test_a_stream_waits_for_a_writer_that_comes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    writer = threading.Thread(target=lambda: (tmp_path / "x").write_bytes(b"all of it"))
    writer.start()
    with open_stream(tmp_path / "x", 10) as file:
        assert file.read(100) == b"all of it"
        assert file.read(100) == b""
    writer.join()


def test_a_stream_that_comes_in_pieces_ends_at_the_bound(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    is_read = threading.Event()

    def write() -> None:
        with (tmp_path / "x").open("wb", buffering=0) as fifo:
            fifo.write(b"a" * 60)
            while select.select([], [fifo], [], 1)[1] and not is_empty(fifo.fileno()):
                os.sched_yield()
            fifo.write(b"b" * 60)
            is_read.wait(60)

    writer = threading.Thread(target=write)
    writer.start()
    assert read_stream(tmp_path / "x", 100, 10) == b"a" * 60 + b"b" * 40
    is_read.set()
    writer.join()


def is_empty(fifo: int) -> bool:
    """Whether all that was written was read: FIONREAD counts what is left."""
    left = array.array("i", [0])
    fcntl.ioctl(fifo, termios.FIONREAD, left)
    return left[0] == 0


def test_a_small_stream_is_read_to_its_end_or_bound(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    writer = threading.Thread(target=lambda: (tmp_path / "x").write_bytes(b"all of it"))
    writer.start()
    assert read_stream(tmp_path / "x", 100, 10) == b"all of it"
    writer.join()
    writer = threading.Thread(target=lambda: (tmp_path / "x").write_bytes(b"all of it" * 20))
    writer.start()
    assert read_stream(tmp_path / "x", 100, 10) == (b"all of it" * 20)[:100]
    writer.join()
    assert read_stream(Path("/dev/null"), 100, 10) == b""
    assert read_stream(Path("/dev/zero"), 100, 10) == bytes(100)


def test_a_stream_that_does_not_end_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    writer = os.open(tmp_path / "x", os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(writer, b"half of it")
        with pytest.raises(TimeoutError, match=r"does not end within 0\.05 s"):
            read_stream(tmp_path / "x", 100, 0.05)
    finally:
        os.close(writer)


def test_all_is_written_where_one_call_of_the_system_writes_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    reading, writing = os.pipe()
    write_all(writing, b"ten bytes.")
    assert os.read(reading, 100) == b"ten bytes."
    os.close(reading)
    os.close(writing)
