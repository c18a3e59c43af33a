"""The descriptor: tensorflow_hub's form, in both directions."""

from __future__ import annotations

import os
import socket
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubcli.cache.records import Descriptor
from hubcli.units import to_iso_utc
from tests.cases import each_of

HANDLE = "https://tfhub.dev/google/nnlm/1"
TIME = "2023-11-14 22:13:20.250000"
WHOLE = f"Module: {HANDLE}\nDownload Time: {TIME}\nDownloader Hostname: box.corp (PID:17)"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("descriptors") / "x.descriptor.txt"


def _read(file: Path, content: str | bytes) -> Descriptor | None:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Descriptor.read(file)


def test_each_line_is_read(file: Path) -> None:
    moment = datetime.fromisoformat(TIME).timestamp()  # local time, as tensorflow_hub's

    assert _read(file, WHOLE) == Descriptor(HANDLE, moment, "box.corp", 17)


@pytest.mark.parametrize("text", [f"{WHOLE}\n", WHOLE.replace(".250000", "")])
def test_small_differences_are_no_obstacle(file: Path, text: str) -> None:
    descriptor = _read(file, text)

    assert descriptor is not None
    assert descriptor.handle == HANDLE


@each_of("moment", ["", "yesterday", "0000-00-00 00:00:00", "99999-01-01 00:00:00"])
def test_an_unreadable_time_hides_no_handle(file: Path, moment: str) -> None:
    descriptor = _read(file, WHOLE.replace(TIME, moment))

    assert descriptor == Descriptor(HANDLE, None, "box.corp", 17)


@each_of("moment", ["0001-01-01 00:00:00+14:00", "9999-12-31 23:59:59-12:00", "0001-01-01", "9999-12-31"])
def test_a_time_that_is_read_can_be_shown(file: Path, moment: str) -> None:
    descriptor = _read(file, WHOLE.replace(TIME, moment))

    assert descriptor is not None
    assert descriptor.downloaded_at_s is None or to_iso_utc(descriptor.downloaded_at_s)


def test_a_host_may_look_like_the_rest_of_the_line(file: Path) -> None:
    descriptor = _read(file, WHOLE.replace("box.corp", "a (PID:5) b"))

    assert descriptor is not None
    assert (descriptor.host, descriptor.pid) == ("a (PID:5) b", 17)


@each_of(
    "text",
    [
        "",
        "Module: x",
        WHOLE.replace("Module", "Model"),
        WHOLE.replace("(PID:17)", ""),
        WHOLE.replace("17", "-17"),
        WHOLE.replace("17", "9" * 5000),
        WHOLE.replace("\n", " "),
        "x" * 100_000,
    ],
)
def test_what_is_no_descriptor_is_not_read(file: Path, text: str) -> None:
    assert _read(file, text) is None


def test_a_missing_descriptor_is_none(tmp_path: Path) -> None:
    assert Descriptor.read(tmp_path / "nothing") is None
    assert Descriptor.read(tmp_path) is None


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.integers(0, 10**30).map(lambda n: f"{WHOLE[:-3]}{n})".encode())
)
@example(WHOLE.replace("17", "9" * 5000).encode())
def test_any_bytes_are_a_descriptor_or_not_read(file: Path, content: bytes) -> None:
    _read(file, content)


@given(
    st.from_regex(r"https://[a-z.]{1,9}/[!-~]{1,30}", fullmatch=True),
    st.integers(10**8, 4 * 10**9),
    st.integers(0, 999_999),
)
def test_what_is_written_is_read_again(file: Path, handle: str, seconds: int, microseconds: int) -> None:
    written = Descriptor(handle, seconds + microseconds / 10**6, "box", 1)
    read = _read(file, written.to_text())

    assert read is not None
    assert (read.handle, read.host, read.pid) == (handle, "box", 1)
    assert read.downloaded_at_s == pytest.approx(written.downloaded_at_s, abs=2e-6)


def test_this_process_writes_its_own_name(file: Path) -> None:
    read = _read(file, Descriptor.of_this_process(HANDLE, time.time()).to_text())

    assert read is not None
    assert (read.host, read.pid) == (socket.gethostname(), os.getpid())
    assert read.downloaded_at_s == pytest.approx(time.time(), abs=60)


@pytest.mark.tensorflow
def test_it_is_the_form_of_tensorflow_hub(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_hub")
    from tensorflow_hub import resolver

    resolver._write_module_descriptor_file(HANDLE, str(tmp_path / "model"))
    theirs = tmp_path / "model.descriptor.txt"
    read = Descriptor.read(theirs)

    assert read is not None
    assert (read.handle, read.host, read.pid) == (HANDLE, socket.gethostname(), os.getpid())
    assert read.downloaded_at_s == pytest.approx(time.time(), abs=60)
    assert read.to_text() == theirs.read_text()
