"""Servers that never end: bounded by bytes, by number, by time and by rate."""

from __future__ import annotations

import gzip
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.inspect import inspect
from hubcli.config.settings import DEFAULT_MIN_RATE, Settings
from hubcli.errors import HubcliError, NetworkError, TooSlowError, UnsafeArchiveError, UsageError
from hubcli.net import client, rate
from hubcli.net.bounds import UnboundedAnswer, _Head
from hubcli.net.download import DownloadOptions
from hubcli.net.http_source import open_download
from hubcli.net.retries import RetryPolicy
from tests import models
from tests.cases import each_of
from tests.net.raw import raw_server

ARCHIVE = models.pack(models.example_files())
OK = b"HTTP/1.1 200 OK\r\n"
# The servers here never end, and a busy machine may take this long for what takes an idle one a second.
LONG_S = 60.0


def endless(*pieces: bytes, pause_s: float = 0.0) -> Callable[[socket.socket, bytes], None]:
    """Sends the first pieces once and the last one for ever, or until the client hangs up."""
    sent = 0

    def answer(connection: socket.socket, head: bytes) -> None:
        nonlocal sent
        del head
        connection.settimeout(LONG_S)
        for piece in itertools.chain(pieces[:-1], itertools.repeat(pieces[-1])):
            connection.sendall(piece)
            sent += len(piece)
            answer.sent = sent  # type: ignore[attr-defined]
            time.sleep(pause_s)

    answer.sent = 0  # type: ignore[attr-defined]
    return answer


def download(
    url: str, timeout_s: float = LONG_S, min_rate: int = DEFAULT_MIN_RATE, retries: int = 0
) -> bytes:
    options = DownloadOptions(timeout_s, RetryPolicy(retries), min_rate_bytes_s=min_rate)
    with open_download(url, options) as answer:
        return b"".join(answer.read())


# Heads ------------------------------------------------------------------------------------------


@each_of(
    "pieces, message",
    [
        ((b"HTTP/1.1 100 Continue\r\n\r\n" * 100,), "informational answers"),
        ((b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",), "informational answers"),
        ((b"HTTP/1.1 102 Processing\r\nX: " + b"x" * 9000 + b"\r\n\r\n",), "KiB of headers|informational"),
        ((b"HTTP/1.1 199 \r\n\r\n",), "informational answers"),
        ((OK, b"X: y\r\n" * 1000), "KiB of headers|not valid HTTP"),
        ((OK, b"X: " + b"y" * 65536), "KiB of headers|not valid HTTP"),
        ((OK + b"X: ", b"y" * 65536), "KiB of headers|not valid HTTP"),
        ((OK, b" folded\r\n" * 1000), "KiB of headers|not valid HTTP"),
        ((OK, b"Set-Cookie: a=b\r\n" * 1000), "KiB of headers|not valid HTTP"),
        ((b"\r\n" * 5000,), "KiB of headers|not valid HTTP"),
        ((b"H" * 65536,), "KiB of headers|not valid HTTP"),
    ],
)
def test_an_endless_head_ends(pieces: tuple[bytes, ...], message: str) -> None:
    answer = endless(*pieces)
    began_s = time.monotonic()
    with raw_server(answer) as server, pytest.raises(NetworkError, match=message) as caught:
        download(f"{server.url}/x")
    assert caught.value.exit_status == 5
    assert time.monotonic() - began_s < LONG_S


def test_informational_answers_of_a_real_server_are_passed_over() -> None:
    response = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + OK + b"Content-Length: 2\r\n\r\nok"
    with raw_server(lambda connection, _: connection.sendall(response)) as server:
        assert download(f"{server.url}/x") == b"ok"


def test_a_head_of_128_kib_is_taken_and_no_more() -> None:
    head = _Head()
    head.take(OK + b"X: ".ljust((128 << 10) - len(OK), b"y"))
    head.check()
    head.take(b"y")
    with pytest.raises(UnboundedAnswer, match="more than 128 KiB of headers"):
        head.check()


def test_a_body_that_looks_like_informational_answers_is_none() -> None:
    body = b"HTTP/1.1 100 Continue\r\n\r\n" * 1000
    response = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with raw_server(lambda connection, _: connection.sendall(response)) as server:
        assert download(f"{server.url}/x") == body


@pytest.mark.parametrize("first", [OK + b"X: ", b"", b"HTTP/1.1 100 Continue\r\nX: "])
def test_a_head_that_trickles_ends_after_the_timeout(first: bytes) -> None:
    began_s = time.monotonic()
    with raw_server(endless(first, b"y", pause_s=0.1)) as server, pytest.raises(NetworkError):
        download(f"{server.url}/x", timeout_s=1.0)
    assert time.monotonic() - began_s < LONG_S


def test_informational_answers_that_trickle_end_after_the_timeout() -> None:
    with raw_server(endless(b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.3)) as server:
        began_s = time.monotonic()
        with pytest.raises(NetworkError, match="Timed out"):
            download(f"{server.url}/x", timeout_s=1.0)
    assert time.monotonic() - began_s < LONG_S


def test_a_handshake_that_trickles_ends_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
                while True:
                    connection.sendall(b"\0")
                    time.sleep(0.1)

        threading.Thread(target=trickle, daemon=True).start()
        began_s = time.monotonic()
        with pytest.raises(NetworkError):
            download(f"https://127.0.0.1:{listener.getsockname()[1]}/x", timeout_s=1.0)
        assert time.monotonic() - began_s < LONG_S


@pytest.mark.parametrize(
    "answered", [b"HTTP/1.1 100 Continue\r\n\r\n" * 50, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 999]
)
def test_a_proxy_that_never_ends_is_left(answered: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(endless(answered)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        began_s = time.monotonic()
        with pytest.raises(NetworkError):
            download("https://host.invalid/x")
    assert time.monotonic() - began_s < LONG_S


def test_the_body_of_a_redirect_or_an_error_is_not_read() -> None:
    for line in (b"302 Found\r\nLocation: /y", b"500 x", b"404 x", b"401 x"):
        answer = endless(b"HTTP/1.1 " + line + b"\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65536)
        with raw_server(answer) as server, pytest.raises(HubcliError):
            download(f"{server.url}/x")
        assert answer.sent < 200 << 20  # type: ignore[attr-defined]


def test_a_chain_of_redirects_that_each_take_long_ends_after_two_timeouts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 302 x\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n")

    with raw_server(answer) as server:
        # Each answer takes 8 s of this clock, and nothing of a busy machine's.
        clock = SimpleNamespace(monotonic=lambda: 8.0 * len(server.requests))
        monkeypatch.setattr(client, "time", clock)
        with pytest.raises(NetworkError, match="take too long"):
            download(f"{server.url}/x", timeout_s=10)
    assert len(server.requests) == 3


@each_of(
    "value",
    [
        "Fri, 31 Dec 99999 23:59:59 GMT",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Mon, 01 Jan 2024 00:00:00 +" + "9" * 40,
        "Mon, 99 Jan 2024 99:99:99 GMT",
        "-5",
        "1e9999",
        "nan",
        "inf",
        "٣",
        "³",
        "0\r\nRetry-After: Fri, 31 Dec 99999 23:59:59 GMT",
        ",",
        "Mon",
        "",
    ],
)
def test_a_moment_to_retry_at_that_cannot_be_is_passed_over(value: str) -> None:
    busy = f"HTTP/1.1 503 x\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n".encode()
    answers = iter([busy, OK + b"Content-Length: 2\r\n\r\nok"])
    with raw_server(lambda connection, _: connection.sendall(next(answers))) as server:
        assert download(f"{server.url}/x", retries=1) == b"ok"


@each_of("value", ["301", "9" * 400, "9" * 6000, "Fri, 31 Dec 9999 23:59:59 -2359"])
def test_a_server_that_asks_for_too_long_a_wait_is_left(value: str) -> None:
    busy = f"HTTP/1.1 503 x\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n".encode()
    with raw_server(lambda connection, _: connection.sendall(busy)) as server, pytest.raises(NetworkError):
        download(f"{server.url}/x", retries=1)
    assert len(server.requests) == 1


# Bodies -----------------------------------------------------------------------------------------


@each_of(
    "pieces",
    [
        (b"1;" + b"x" * 60_000 + b"\r\na\r\n",),
        (b"1;" + b"x" * 65536, b"x" * 65536),
        (b"0" * 65536,),
        (b"2\r\nab\r\n0\r\n", b"X: y\r\n" * 1000),
        (b"1\r\na\r\n0\r\nX: ", b"y" * 65536),
    ],
)
def test_chunks_that_are_nearly_all_framing_end(pieces: tuple[bytes, ...]) -> None:
    answer = endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", *pieces)
    with (
        raw_server(answer) as server,
        pytest.raises(NetworkError, match="empty chunks|not valid HTTP"),
    ):
        download(f"{server.url}/x")
    assert answer.sent < 64 << 20  # type: ignore[attr-defined]


def test_one_byte_a_chunk_is_taken() -> None:
    body = b"x" * 10_000
    response = OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * len(body) + b"0\r\n\r\n"
    with raw_server(lambda connection, _: connection.sendall(response)) as server:
        assert download(f"{server.url}/x") == body


@each_of(
    "headers",
    [
        b"Content-Length: -1",
        b"Content-Length: " + b"9" * 5000,
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Content-Length: 1, 2",
        b"Content-Length: +5",
        b"Content-Length: 99\r\nTransfer-Encoding: gzip",
    ],
)
def test_a_length_that_is_none_is_refused(headers: bytes) -> None:
    response = OK + headers + b"\r\n\r\n" + b"x" * 50
    with (
        raw_server(lambda connection, _: connection.sendall(response)) as server,
        pytest.raises(HubcliError) as caught,
    ):
        download(f"{server.url}/x")
    assert caught.value.exit_status in (5, 6)


def test_cookies_are_let_go_before_they_are_many() -> None:
    seen: list[int] = []

    def answer(connection: socket.socket, head: bytes) -> None:
        seen.append(len(head))
        cookies = b"".join(b"Set-Cookie: c%d-%d=%s\r\n" % (len(seen), n, b"v" * 1000) for n in range(60))
        connection.sendall(b"HTTP/1.1 302 x\r\nLocation: /y\r\nContent-Length: 0\r\n" + cookies + b"\r\n")

    with raw_server(answer) as server, pytest.raises(NetworkError, match="more than 10"):
        download(f"{server.url}/x")
    assert max(seen) < 32 << 10


# Rate -------------------------------------------------------------------------------------------


@pytest.fixture
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "WINDOW_S", 1.0)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 99999999\r\n\r\n",
        b"Connection: close\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["with a length", "until the end", "chunked"],
)
def test_a_body_slower_than_the_minimum_rate_ends(head: bytes, short_window: None) -> None:
    piece = b"1\r\nx\r\n" if b"chunked" in head else b"x"
    with (
        raw_server(endless(OK + head, piece, pause_s=0.05)) as server,
        pytest.raises(
            TooSlowError, match=r"is too slow after .* bytes in \d s, less than --min-rate"
        ) as caught,
    ):
        download(f"{server.url}/x")
    assert caught.value.is_transient
    assert (caught.value.code, int(caught.value.exit_status)) == ("too-slow", 5)


@pytest.mark.slow
def test_zero_turns_the_minimum_rate_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "WINDOW_S", 1.5)  # In which a busy machine still gets some bytes.
    body = b"x" * 40

    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(OK + b"Content-Length: 40\r\n\r\n")
        for _ in body:
            connection.sendall(b"x")
            time.sleep(0.05)

    with raw_server(answer) as server:
        assert download(f"{server.url}/x", min_rate=0) == body
        with pytest.raises(TooSlowError):
            download(f"{server.url}/x", min_rate=1024)
        assert download(f"{server.url}/x", min_rate=2) == body


@pytest.mark.slow
def test_a_slow_server_is_left_after_the_retries(short_window: None) -> None:
    positions = []

    def answer(connection: socket.socket, head: bytes) -> None:
        positions.append(head)
        start = int(head.partition(b"bytes=")[2].partition(b"-")[0] or 0)
        status_line = (
            b"HTTP/1.1 206 x\r\nContent-Range: bytes %d-9999999/10000000\r\n" % start if start else OK
        )
        length = b"Content-Length: %d\r\n" % (10_000_000 - start)
        connection.sendall(status_line + length + b'ETag: "a"\r\nAccept-Ranges: bytes\r\n\r\n')
        for number in range(10_000):
            connection.sendall(gzip.compress(b"")[:1] if number + start else b"\x1f")
            time.sleep(0.02)

    with raw_server(answer) as server, pytest.raises(TooSlowError):
        download(f"{server.url}/x", retries=2)
    assert len(positions) == 3


def test_progress_below_the_minimum_rate_starts_no_count_anew() -> None:
    retries = RetryPolicy(2)
    error = NetworkError("cut").transient()
    for _ in range(2):
        retries.wait(error, progress_bytes=20_000, seconds=50)
    with pytest.raises(NetworkError):
        retries.wait(error, progress_bytes=20_000, seconds=50)
    retries.wait(error, progress_bytes=20_000, seconds=5)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGSTOP is of POSIX")
def test_a_stopped_process_goes_on_and_is_not_too_slow(tmp_path: Path) -> None:
    ready = threading.Event()

    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(ARCHIVE) + ARCHIVE[:300])
        ready.set()
        resumed.wait(LONG_S)
        connection.sendall(ARCHIVE[300:])

    resumed = threading.Event()
    code = """if True:
        import sys
        from hubcli.net import rate
        rate.WINDOW_S = 1.0
        from hubcli.cli.main import main
        sys.exit(main())
    """
    with raw_server(answer) as server:
        command = [sys.executable, "-c", code, "fetch", f"{server.url}/m.tar.gz", "--retries", "0"]
        child = subprocess.Popen(command, env={**os.environ, "HUBCLI_CACHE_DIR": f"{tmp_path}/cache"})
        assert ready.wait(LONG_S)
        child.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        resumed.set()
        child.send_signal(signal.SIGCONT)
        assert child.wait(LONG_S) == 0


@each_of(
    "text, expected",
    [("1KiB", 1024), ("1KB", 1000), ("0", 0), ("2MB/s", 2_000_000), ("300", 300), (" 1.5k ", 1500)],
)
def test_the_minimum_rate_is_a_size(text: str, expected: int) -> None:
    assert Settings.read({}, cache_dir="/c", min_rate=text).min_rate_bytes_s == expected
    assert Settings.read({"HUBCLI_MIN_RATE": text}, cache_dir="/c").min_rate_bytes_s == expected


def test_the_option_stands_before_the_variable_and_both_before_the_default() -> None:
    assert Settings.read({}, cache_dir="/c").min_rate_bytes_s == 1024
    assert Settings.read({"HUBCLI_MIN_RATE": "5"}, cache_dir="/c", min_rate="7").min_rate_bytes_s == 7


@each_of("text", ["", "-1", "fast", "1 parsec", "9" * 30, "nan", "1e3"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--min-rate is"):
        Settings.read({}, cache_dir="/c", min_rate=text)


# Padding ----------------------------------------------------------------------------------------


def test_a_gzip_followed_by_endless_nuls_ends(settings: Settings) -> None:
    answer = endless(OK + b"Connection: close\r\n\r\n", ARCHIVE, bytes(65536))
    with raw_server(answer) as server, pytest.raises(UnsafeArchiveError, match="padding") as caught:
        fetch(f"{server.url}/m.tar.gz", settings, FetchOptions(retries=0))
    assert int(caught.value.exit_status) == 6
    assert answer.sent < 64 << 20  # type: ignore[attr-defined]


def test_inspect_ends_at_endless_padding_too(settings: Settings) -> None:
    answer = endless(OK + b"Connection: close\r\n\r\n", gzip.compress(bytes(512))[:-8], b"\0\0\0\xff\xff")
    with raw_server(answer) as server, pytest.raises(HubcliError) as caught:
        inspect(f"{server.url}/m.tar.gz", settings)
    assert int(caught.value.exit_status) in (5, 6)
