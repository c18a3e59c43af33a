"""A body in windows over several connections: whole, or an error; a spool to go on from, or none."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from hubcli.errors import BodyChangedError, CacheError, NetworkError, TruncatedError
from hubcli.net import download as download_module
from hubcli.net import spool as spool_module
from hubcli.net.download import MIN_SEGMENTED_BYTES, DownloadOptions, _RestOfBody, segment_size
from hubcli.net.http_source import open_download
from hubcli.net.retries import RetryPolicy
from hubcli.net.spool import Spool, discard_spool
from tests.cases import each_of
from tests.forkserver import run_python
from tests.server import HubServer, Reply

BODY = random.Random(1).randbytes(MIN_SEGMENTED_BYTES + 1_000_003)
SMALL = BODY[:100_000]
TAGGED = Reply(BODY, etag='"one"')


class RetryLog:
    """What was said of each retry."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, text: str) -> None:
        self.lines.append(text)


def options(
    spool: Path | None,
    *,
    connections: int = 4,
    retries: int = 3,
    timeout_s: float = 60,
    retry_log: RetryLog | None = None,
) -> DownloadOptions:
    return DownloadOptions(timeout_s, RetryPolicy(retries, retry_log or RetryLog()), connections, spool)


def download(url: str, how: DownloadOptions) -> bytes:
    with open_download(url, how) as answer:
        return b"".join(answer.read())


def ranges(server: HubServer) -> list[tuple[int, int]]:
    """The ranges that were asked for, first and last byte."""
    requested_ranges = [request.headers.get("Range", "") for request in server.requests]
    pairs = [byte_range.removeprefix("bytes=").split("-") for byte_range in requested_ranges if byte_range]
    return [(int(first), int(last)) for first, last in pairs]


# What is asked for -------------------------------------------------------------------------------


def test_a_large_body_comes_in_windows_and_each_byte_once(server: HubServer, tmp_path: Path) -> None:
    url = server.serve("/m", TAGGED)
    assert download(url, options(tmp_path / "part")) == BODY
    windows = sorted(ranges(server))
    first = segment_size(0, len(BODY), 4)  # That one is of the answer that came without asking for a range.
    assert [first, *(last + 1 for _, last in windows)] == [*(start for start, _ in windows), len(BODY)]
    assert {request.headers.get("If-Range") for request in server.requests[1:]} == {'"one"'}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(BODY),
        Reply(BODY, etag='W/"weak"'),
        Reply(BODY, headers={"Accept-Ranges": "bytes"}),
        Reply(BODY, etag='"caf\xe9"'),
    ],
    ids=["no ranges", "weak validator", "no validator", "a validator that can't be sent"],
)
def test_without_ranges_and_a_strong_validator_it_comes_in_one_stream(
    reply: Reply, server: HubServer, tmp_path: Path
) -> None:
    assert download(server.serve("/m", reply), options(tmp_path / "part")) == BODY
    assert len(server.requests) == 1
    assert not (tmp_path / "part").exists()


def test_a_small_body_comes_in_one_stream(server: HubServer, tmp_path: Path) -> None:
    assert download(server.serve("/m", Reply(SMALL, etag='"one"')), options(tmp_path / "part")) == SMALL
    assert len(server.requests) == 1
    assert not (tmp_path / "part").exists()


def test_windows_begin_small_grow_and_end_small_within_bounds() -> None:
    size_bytes = 4 << 30
    windows, position = list[int](), 0
    while position < size_bytes:
        windows.append(segment_size(position, size_bytes, 8))
        position += windows[-1]
    largest = windows.index(64 << 20)
    assert windows[:8] == [4 << 20] * 8
    assert windows[:largest] == sorted(windows[:largest])
    assert windows[largest:] == sorted(windows[largest:], reverse=True)
    assert windows[-8:-1] == [4 << 20] * 7
    assert 1 << 20 <= windows[-1] < 5 << 20
    assert len(windows) < 150


def test_the_rest_of_a_body_is_as_many_bytes_as_may_be_kept() -> None:
    rest = _RestOfBody(10)
    for chunk in (b"12345", b"67890"):
        rest.add(chunk)
    assert (rest.start, rest.end, b"".join(rest.chunks)) == (0, 10, b"1234567890")
    rest.add(b"x")
    assert (rest.start, rest.end, b"".join(rest.chunks)) == (5, 11, b"67890x")


def test_one_connection_asks_once_and_no_window_is_a_mere_rest() -> None:
    assert segment_size(0, 4 << 30, 1) == 4 << 30
    assert segment_size(4 << 20, (8 << 20) + 1, 8) == (4 << 20) + 1


def test_who_waited_at_the_first_look_has_all_connections_begin(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "QUICK_S", 3.0)
    monkeypatch.setattr(spool_module, "_MAX_WAIT_S", 60.0)  # What the reader waits later is never told.
    url = server.serve("/m", replace(TAGGED, first=[replace(TAGGED, stall_at=100_000)]))
    assert download(url, options(tmp_path / "part", timeout_s=1)) == BODY
    starts = [start for start, _ in ranges(server)]
    assert starts[0] > 4 << 20
    assert starts[1] < 4 << 20  # The one that stalled is asked for again once its time is up.


# Failures that pass ------------------------------------------------------------------------------


def test_a_dropped_connection_goes_on_at_its_byte(server: HubServer) -> None:
    retry_log = RetryLog()
    cut = Reply(SMALL, etag='"one"', cut_at=70_001)
    url = server.serve("/m", Reply(SMALL, etag='"one"', first=[cut]))
    assert download(url, options(None, retry_log=retry_log)) == SMALL
    assert ranges(server) == [(70_001, len(SMALL) - 1)]
    assert len(retry_log.lines) == 1
    assert "70001 of" in retry_log.lines[0]


@pytest.mark.parametrize("spooled", [False, True])
def test_a_server_that_cuts_every_connection_is_worn_down(
    spooled: bool, server: HubServer, tmp_path: Path
) -> None:
    reply = replace(TAGGED, cut_at=1_500_000)
    assert download(server.serve("/m", reply), options(tmp_path / "part" if spooled else None)) == BODY


def test_a_server_that_gives_a_little_each_time_is_left_in_the_end(server: HubServer, tmp_path: Path) -> None:
    with pytest.raises(TruncatedError):
        download(server.serve("/m", replace(TAGGED, cut_at=100)), options(tmp_path / "part", retries=3))
    assert len(server.requests) < 20


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(status: int, server: HubServer) -> None:
    retry_log = RetryLog()
    url = server.serve("/m", Reply(SMALL, first=[Reply(b"busy", status), Reply(b"busy", status)]))
    assert download(url, options(None, retry_log=retry_log)) == SMALL
    assert [f"({number} of 3)" in line for number, line in enumerate(retry_log.lines, 1)] == [True, True]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501 - 96])
def test_a_refusal_is_not_asked_again(status: int, server: HubServer) -> None:
    with pytest.raises(Exception, match=str(status)):
        download(server.serve("/m", Reply(b"no", status)), options(None))
    assert len(server.requests) == 1


def test_a_server_may_say_how_long_it_wants_to_be_left_alone(server: HubServer) -> None:
    busy = Reply(b"busy", 429, headers={"Retry-After": "1"})
    url = server.serve("/m", Reply(SMALL, first=[busy]))
    started_at = time.monotonic()
    assert download(url, options(None)) == SMALL
    assert time.monotonic() - started_at >= 1.0


def test_a_server_that_asks_for_too_much_patience_is_left(server: HubServer) -> None:
    busy = Reply(b"busy", 503, headers={"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"})
    with pytest.raises(NetworkError, match="503"):
        download(server.serve("/m", busy), options(None))
    assert len(server.requests) == 1


def test_what_is_stopped_says_nothing_of_connections_that_were_closed() -> None:
    retry_log, stop = RetryLog(), threading.Event()
    stop.set()
    RetryPolicy(3, retry_log).wait(NetworkError("Bad file descriptor").transient(), stop=stop)
    assert retry_log.lines == []


def test_retries_are_bounded(server: HubServer) -> None:
    with pytest.raises(NetworkError, match="503"):
        download(server.serve("/m", Reply(b"busy", 503)), options(None, retries=4))
    assert len(server.requests) == 5


def test_a_window_that_stalls_is_asked_for_again(server: HubServer, tmp_path: Path) -> None:
    retry_log = RetryLog()
    whole = replace(TAGGED, first=[TAGGED, replace(TAGGED, stall_at=10)])
    url = server.serve("/m", whole)
    assert download(url, options(tmp_path / "part", timeout_s=1, retry_log=retry_log)) == BODY
    assert any("Timed out waiting for data from" in line for line in retry_log.lines)


@pytest.mark.parametrize("status", [400, 403])
def test_an_expired_address_is_asked_for_anew(
    status: int, server: HubServer, other_server: HubServer, tmp_path: Path
) -> None:
    fresh = other_server.serve("/fresh?X-Goog-Signature=2", TAGGED)
    other_server.serve("/fresh", TAGGED)
    other_server.serve("/old", replace(TAGGED, first=[TAGGED], status=status))
    url = server.serve(
        "/m",
        Reply(
            status=302,
            headers={"Location": fresh},
            first=[Reply(status=302, headers={"Location": f"{other_server.url}/old?X-Goog-Signature=1"})],
        ),
    )
    assert download(url, options(tmp_path / "part")) == BODY


# Another body than before ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "has_ranges"),
    [
        (Reply(BODY[::-1], etag='"two"'), True),
        (Reply(BODY, headers={"ETag": '"one"'}), False),
        (Reply(b"x", 206, headers={"ETag": '"one"', "Content-Range": "bytes 0-0/1"}), False),
        (Reply(b"x", 206, headers={"ETag": '"one"'}), False),
        (
            Reply(b"x", 206, headers={"ETag": '"one"', "Content-Type": "multipart/byteranges; boundary=x"}),
            False,
        ),
        (Reply(b"x", 206, headers={"Content-Range": f"bytes 4194304-8388607/{len(BODY)}"}), False),
        (Reply(b"", 416), True),
    ],
    ids=[
        "changed",
        "200 to a range",
        "another range",
        "no range told",
        "several ranges",
        "no validator told",
        "no such range",
    ],
)
def test_parts_of_another_body_are_never_put_together(
    other: Reply, has_ranges: bool, server: HubServer, tmp_path: Path
) -> None:
    url = server.serve("/m", replace(other, first=[TAGGED]))
    with pytest.raises(BodyChangedError) as caught:
        download(url, options(tmp_path / "part", retries=0))
    assert caught.value.has_ranges is has_ranges


def test_a_lie_about_the_total_is_noticed(server: HubServer, tmp_path: Path) -> None:
    lie = Reply(BODY[:10], 206, headers={"ETag": '"one"', "Content-Range": f"bytes 0-9/{len(BODY) + 1}"})
    with pytest.raises(BodyChangedError):
        download(server.serve("/m", replace(lie, first=[TAGGED])), options(tmp_path / "part", retries=0))


# The spool ---------------------------------------------------------------------------------------


def interrupted(url: str, spool: Path, taken: int) -> None:
    """A download whose reader takes a number of bytes, and then closes it."""
    with open_download(url, options(spool)) as answer:
        chunks = answer.read()
        while taken > 0:
            taken -= len(next(chunks))
        chunks.close()


def test_a_download_goes_on_where_another_ended(server: HubServer, tmp_path: Path) -> None:
    url, spool = server.serve("/m", TAGGED), tmp_path / "part"
    interrupted(url, spool, 6 << 20)
    before = len(server.requests)
    with open_download(url, options(spool)) as answer:
        # Where all of the body has come by then, the last 4 MiB aren't noted any more.
        assert answer.resumed_bytes >= 4 << 20
        resumed = answer.resumed_bytes
        assert b"".join(answer.read()) == BODY
    requested_bytes = sum(last - first + 1 for first, last in ranges(server)[before - 1 :])
    assert requested_bytes == len(BODY) - resumed


def test_another_body_is_fetched_from_its_start(server: HubServer, tmp_path: Path) -> None:
    spool = tmp_path / "part"
    interrupted(server.serve("/m", TAGGED), spool, 6 << 20)
    other = BODY[::-1]
    url = server.serve("/m", Reply(other, etag='"two"'))
    with open_download(url, options(spool)) as answer:
        assert answer.resumed_bytes == 0
        assert b"".join(answer.read()) == other


def spooled(path: Path, body: bytes = BODY, segment_bytes: int = 1 << 20) -> Spool:
    return Spool(path, len(body), '"one"', lambda start: segment_bytes)


def damage_of(name: str) -> Callable[[Path], None]:
    journal = "part.journal"

    def damage(folder: Path) -> None:
        text = (folder / journal).read_bytes()
        if name == "no journal":
            (folder / journal).unlink()
        elif name == "no spool":
            (folder / "part").unlink()
        elif name == "short spool":
            os.truncate(folder / "part", 10)
        elif name == "another version":
            (folder / journal).write_bytes(text.replace(b'"version": 2', b'"version": 3'))
        elif name == "not JSON":
            (folder / journal).write_bytes(b"\xff" + text)
        elif name == "deep JSON":
            (folder / journal).write_bytes(b"[" * 100_000 + b"\n" + text)
        elif name == "a link":
            (folder / "part").rename(folder / "elsewhere")
            (folder / "part").symlink_to(folder / "elsewhere")

    return damage


@each_of("name", ["no journal", "no spool", "short spool", "another version", "not JSON", "deep JSON"])
def test_a_spool_that_is_not_whole_is_begun_anew(name: str, tmp_path: Path) -> None:
    with spooled(tmp_path / "part") as spool:
        spool.write(spool.segments[0], BODY[: 1 << 20])
    damage_of(name)(tmp_path)
    with spooled(tmp_path / "part") as spool:
        assert spool.resumed_bytes == 0


def test_a_link_in_the_place_of_the_spool_is_replaced_not_followed(tmp_path: Path) -> None:
    with spooled(tmp_path / "part") as spool:
        spool.write(spool.segments[0], BODY[: 1 << 20])
    damage_of("a link")(tmp_path)
    before = (tmp_path / "elsewhere").read_bytes()
    with spooled(tmp_path / "part") as spool:
        assert spool.resumed_bytes == 0
    assert (tmp_path / "elsewhere").read_bytes() == before
    assert not (tmp_path / "part").is_symlink()


def test_what_is_begun_anew_is_out_of_the_reach_of_who_lost_the_lock(tmp_path: Path) -> None:
    with (
        spooled(tmp_path / "part") as lost,
        Spool(tmp_path / "part", 4 << 20, '"two"', lambda start: 1 << 20) as new,
    ):
        new.write(new.segments[0], bytes(1 << 20))
        lost.write(lost.segments[0], BODY[: 1 << 20])
        assert b"".join(islice(new.chunks(), 4)) == bytes(1 << 20)


@each_of("seed", range(50))
def test_a_damaged_journal_names_no_byte_that_is_not_there(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    with spooled(tmp_path / "part") as spool:
        for segment in chance.sample(spool.segments, 4):
            spool.write(segment, BODY[segment.start : segment.start + chance.randrange(1, 1 << 20)])
        there = {
            place for segment in spool.segments for place in range(segment.start, segment.position, 4096)
        }
    journal = tmp_path / "part.journal"
    text = bytearray(journal.read_bytes())
    head = text.index(b"\n")
    if seed % 2:  # Cut off, as by a crash.
        del text[chance.randrange(head, len(text)) :]
        journal.write_bytes(text)
        with spooled(tmp_path / "part") as spool:
            for restored in spool.segments:
                assert set(range(restored.start, restored.position, 4096)) <= there
    else:
        text[chance.randrange(len(text))] ^= 1 << chance.randrange(8)
        journal.write_bytes(text)
        with spooled(tmp_path / "part") as spool:
            assert sum(segment.end - segment.start for segment in spool.segments) == len(BODY)


# The second of its segments is noted once it is synced, on another thread; what little came later is not.
_KILLED = """
import os, sys
from pathlib import Path
from hubcli.net import spool as spool_module

spool_module._MAX_UNNOTED_S = 600.0
path, size_bytes = Path(sys.argv[1]), int(sys.argv[2])
spool = spool_module.Spool(path, size_bytes, '"one"', lambda start: 2 << 20)
spool.write(spool.segments[1], bytes(2 << 20))
while len(path.with_name("part.journal").read_bytes().splitlines()) < 2:
    pass
spool.write(spool.segments[0], bytes(1 << 10))
os.kill(os.getpid(), 9)
"""


def test_what_was_written_is_known_to_the_next_after_a_kill(tmp_path: Path) -> None:
    assert run_python(["-c", _KILLED, tmp_path / "part", str(len(BODY))]).returncode == -9
    with spooled(tmp_path / "part") as spool:
        assert [(segment.start, segment.end) for segment in spool.segments if segment.is_done] == [
            (2 << 20, 4 << 20)
        ]


def test_many_writers_and_one_reader_agree(tmp_path: Path) -> None:
    with spooled(tmp_path / "part", segment_bytes=100_000) as spool:
        waiting = list(spool.segments)
        random.Random(2).shuffle(waiting)
        lock = threading.Lock()

        def write() -> None:
            while True:
                with lock:
                    if not waiting:
                        return
                    segment = waiting.pop()
                while not segment.is_done:
                    end = min(segment.position + 33_333, segment.end)
                    spool.write(segment, BODY[segment.position : end])

        writers = [threading.Thread(target=write) for _ in range(6)]
        for writer in writers:
            writer.start()
        assert b"".join(spool.chunks()) == BODY
        for writer in writers:
            writer.join()


def test_a_closed_spool_takes_nothing_more(tmp_path: Path) -> None:
    spool = spooled(tmp_path / "part")
    spool.close()
    assert not spool.write(spool.segments[0], b"late")
    with pytest.raises(CacheError, match="closed"):
        next(spool.chunks())
    spool.close()


def test_a_discarded_spool_is_gone(tmp_path: Path) -> None:
    with spooled(tmp_path / "part"):
        pass
    discard_spool(tmp_path / "part")
    discard_spool(tmp_path / "part")
    assert list(tmp_path.iterdir()) == []
