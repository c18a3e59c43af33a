"""Ctrl-C in a fetch: what is in the cache, what the next run resumes; and the bar of a resumed download."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from hubcli.cache.layout import EntryPaths
from hubcli.cli.multi_progress import ModelBars
from hubcli.cli.output import Output
from hubcli.cli.progress import Transferred, multi_progress_for, short
from hubcli.commands.fetch import fetch
from hubcli.config.settings import Settings
from hubcli.fetching.cached import PartialDownload, resume_notes
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.units import format_size
from tests import models
from tests.cli.terminal import start
from tests.conftest import Run
from tests.server import HubServer, Reply

# More than one block that is written at once: the first of them has been counted then.
_WRITTEN_BYTES = 300_000
LARGE = models.large_archive()
SLOW = Reply(LARGE, etag='"one"', stall_at=1 << 20)


def _has_bytes(spool: Path) -> bool:
    """Whether some of the body was written; the file is as long as the body from the start."""
    with suppress(FileNotFoundError):
        return spool.stat().st_blocks * 512 > _WRITTEN_BYTES
    return False


def interrupted(server: HubServer, cache: Path, *arguments: str) -> str:
    """What a fetch that is stalled says at Ctrl-C, once some of it is on the disk."""
    process = start(cache, "fetch", *arguments)
    spools = [EntryPaths(cache, Handle.parse(word).cache_key).spool for word in arguments if "://" in word]
    while not any(map(_has_bytes, spools)) or not server.stalled.is_set():
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    return stderr


def test_a_download_that_is_kept_is_said_to_resume_and_does(
    server: HubServer, cache: Path, hubcli: Run
) -> None:
    url = server.serve("/m/1", SLOW)
    stderr = interrupted(server, cache, url)
    assert f"Error: Interrupted: {url} is not in the cache" in stderr
    assert "Run the same command again to resume from " in stderr
    assert f" of {format_size(len(LARGE))}" in stderr
    server.serve("/m/1", Reply(LARGE, etag='"one"'))
    again = hubcli("fetch", url)
    assert (again.returncode, "Resuming" in again.stderr) == (0, True), again.stderr


def test_with_force_the_cached_copy_is_said_to_be_kept(server: HubServer, cache: Path, hubcli: Run) -> None:
    url = server.serve("/m/1", Reply(models.archive(), etag='"old"'))
    assert hubcli("fetch", url).returncode == 0
    server.serve("/m/1", SLOW)
    stderr = interrupted(server, cache, "--force", url)
    assert f"Interrupted: the cached copy of {url} is kept" in stderr
    assert "to resume from " in stderr
    assert "not in the cache" not in stderr
    assert hubcli("fetch", "--offline", url).returncode == 0


def test_what_cannot_resume_is_not_said_to(server: HubServer, cache: Path) -> None:
    url = server.serve("/m/1", Reply(models.archive(), stall_at=100))
    process = start(cache, "fetch", url)
    assert server.stalled.wait(120)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert stderr == f"Error: Interrupted: {url} is not in the cache\n"


def test_of_several_those_that_ran_are_counted(server: HubServer, cache: Path) -> None:
    urls = [server.serve(f"/m{number}/1", SLOW) for number in range(3)]
    stderr = interrupted(server, cache, "--jobs", "3", "example://mul/1", *urls)
    assert "Interrupted: 3 models are not in the cache\n" in stderr


def test_those_that_were_not_begun_are_told(server: HubServer, cache: Path) -> None:
    urls = [server.serve(f"/m{number}/1", SLOW) for number in range(3)]
    stderr = interrupted(server, cache, "--jobs", "1", *urls)
    assert f"Interrupted: {urls[0]} is not in the cache and 2 were not started\n" in stderr


def test_before_the_first_is_begun_that_is_all_there_is_to_tell() -> None:
    assert resume_notes([], 3) == ("Interrupted: 3 models were not started", "")
    assert resume_notes([], 1) == ("Interrupted: 1 model was not started", "")
    assert resume_notes([]) == ("Interrupted", "")


@pytest.mark.parametrize(
    "journal",
    [
        b"",
        b"{}\n0 5\n",
        b"[" * 100_000,
        b'{"version":1,"size":"9","validator":1}\n',
        b"\xff\n",
        b'{"size":-1,"validator":""}\n',
    ],
)
def test_a_journal_that_tells_nothing_promises_nothing(journal: bytes, cache: Path) -> None:
    handle = Handle.parse("https://host/m/1")
    spool = EntryPaths(cache, handle.cache_key).spool
    cache.mkdir(exist_ok=True)
    spool.write_bytes(b"bytes")
    spool.with_name(f"{spool.name}.journal").write_bytes(journal)
    assert PartialDownload.of(handle, cache) == PartialDownload(handle, is_cached=False)


def test_a_journal_that_is_a_fifo_is_not_waited_for(cache: Path) -> None:
    handle = Handle.parse("https://host/m/1")
    spool = EntryPaths(cache, handle.cache_key).spool
    cache.mkdir(exist_ok=True)
    spool.write_bytes(b"bytes")
    os.mkfifo(spool.with_name(f"{spool.name}.journal"))
    assert PartialDownload.of(handle, cache) == PartialDownload(handle, is_cached=False)


class TestRates:
    def test_bytes_that_were_here_are_no_rate(self) -> None:
        transferred = Transferred(received=90_000_000, resumed=60_000_000, total=120_000_000)
        assert transferred.counts(2.0) == "90.0 MB of 120 MB  15.0 MB/s  0:02 left"

    @pytest.mark.parametrize("columns", [40, 60, 79])
    def test_a_narrow_terminal_shows_them_whole_and_leaves_room_for_an_interrupt(self, columns: int) -> None:
        transferred = Transferred(99_900_000, 0, 999_900_000, is_open=True)
        name = short("https://host/some-publisher/some-model/1", columns)
        counts = transferred.counts(5.0, columns=columns)
        assert len(f"{name} {counts}^C") <= columns
        assert counts.startswith("99.9 MB of 1.0 GB+")
        assert counts.endswith("+ left")
        assert name.endswith("del/1")

    def test_until_the_network_brings_something_no_time_is_left(self) -> None:
        assert Transferred(5_000_000, 60_000_000, 120_000_000).counts(1.0) == "60.0 MB of 120 MB  0 B/s"

    def test_what_comes_ahead_of_the_reader_counts(self, server: HubServer, cache: Path) -> None:
        """Several connections fill windows, while the first of them holds the reader up."""

        class RecordingListener(ProgressListener):
            largest, received_bytes = 0, 0

            def arrived(self, total_bytes: int) -> None:
                assert total_bytes >= self.received_bytes
                self.largest = max(self.largest, total_bytes)

            def received(self, size_bytes: int) -> None:
                self.received_bytes += size_bytes

        first = Reply(LARGE, etag='"one"', stall_at=1 << 20)
        url, listener = server.serve("/m/1", Reply(LARGE, etag='"one"', first=[first])), RecordingListener()
        settings = Settings.read({}, cache_dir=cache, timeout_s=1)
        fetch(url, settings, listener=listener)
        assert listener.largest == listener.received_bytes == len(LARGE)

    def test_a_line_in_a_log_tells_the_networks_rate(self, capsys: pytest.CaptureFixture[str]) -> None:
        from hubcli.cli.progress import _LineListener

        listener = _LineListener(Output())
        listener.started("https://host/m/1", "https://host/m/1", 120_000_000)
        listener.resumed(60_000_000)
        listener.started_at = listener.shown_at = listener.started_at - 10
        listener.received(80_000_000)
        assert "80.0 MB of 120 MB, 2.0 MB/s" in capsys.readouterr().err

    def test_the_row_of_all_has_total_and_time_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ModelBars, "show", lambda self: None)
        monkeypatch.setattr("time.monotonic", lambda: 1000.0)  # A loaded machine must not change the rate.
        board = ModelBars(Output(), 3)
        board._started_at -= 10
        with board.listener("a") as first_listener, board.listener("b") as second_listener:
            first_listener.started("a", "a", 100_000_000)
            first_listener.resumed(40_000_000)
            first_listener.received(60_000_000)
            second_listener.started("b", "b", 200_000_000)
            second_listener.received(80_000_000)
            rows = list(board._rows.values())
            assert board._total(rows) == "140 MB of 300 MB+  10.0 MB/s  0:16+ left"  # The third is unknown.
            board.reported(failed=False)
            assert board._total(rows) == "140 MB of 300 MB  10.0 MB/s  0:16 left"
            second_listener.received(120_000_000)
        assert board._total([]).startswith("260 MB of 260 MB+")
        board.reported(failed=False)
        board.reported(failed=True)
        assert board._total([]) == "260 MB of 260 MB  22.0 MB/s  0:00 left  1 failed"

    def test_without_a_terminal_there_is_no_such_row(self) -> None:
        with multi_progress_for(Output(), 2) as board:
            assert not isinstance(board, ModelBars)
