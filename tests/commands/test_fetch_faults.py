"""Faults of the server, the network or a kill in a large download: a whole model, or none, and why."""

from __future__ import annotations

import gzip
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest

from hubcli.cache.layout import EntryPaths
from hubcli.commands.fetch import FetchOptions, FetchResult, fetch
from hubcli.config.settings import Settings
from hubcli.errors import DiskFullError, IntegrityError
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from tests import models
from tests.cli.terminal import start
from tests.conftest import Run
from tests.disks import mounted
from tests.entries import ends_beyond
from tests.server import HubServer, Reply

SIZE = 9 << 20
LARGE = models.large_content()
FILES = {**models.example_files(), "assets.extra/large": LARGE}
ARCHIVE = models.large_archive()
ENCODED = gzip.compress(ARCHIVE, 0)
TAGGED = Reply(ARCHIVE, etag='"one"')
PATH = "/maker/model/1"


class RecordingListener(ProgressListener):
    """What was said."""

    def __init__(self) -> None:
        self.retries: list[str] = []
        self.notes: list[str] = []

    def retrying(self, text: str) -> None:
        self.retries.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


def names(settings: Settings) -> list[str]:
    """What is in the cache beside its tag, by the end of each name."""
    key_digits = 40
    found = (path.name for path in settings.cache_root.iterdir() if path.name != "CACHEDIR.TAG")
    return sorted({name[key_digits:] for name in found})


def require_whole(result: FetchResult, files: dict[str, bytes] = FILES) -> None:
    assert models.tree_files(result.path) == files


def twisted(twist: Callable[[Reply], Reply]) -> Reply:
    """Parts of the archive that the server sends otherwise than it should; the whole comes as it is."""

    class Twisted(Reply):
        def for_request(self, headers: dict[str, str]) -> Reply:
            answer = TAGGED.for_request(headers)
            return twist(answer) if answer.status == 206 else answer

    return Twisted(ARCHIVE)


def two_servers() -> Reply:
    """Two that take turns at one address, each with an ETag of its own."""
    turns = cycle([TAGGED, replace(TAGGED, etag='"two"')])

    class Shared(Reply):
        def for_request(self, headers: dict[str, str]) -> Reply:
            return next(turns).for_request(headers)

    return Shared(ARCHIVE)


def telling(name: str, value: str | None) -> Reply:
    """Parts with another header of that name, or without it."""

    def twist(part: Reply) -> Reply:
        others = {key: header for key, header in part.headers.items() if key != name}
        return replace(part, headers=others if value is None else {**others, name: value})

    return twisted(twist)


# Faults of the server ----------------------------------------------------------------------------


def test_a_large_model_comes_in_windows_and_leaves_no_spool(settings: Settings, server: HubServer) -> None:
    require_whole(fetch(server.serve(PATH, TAGGED), settings))
    assert len(server.requests) > 1
    assert names(settings) == ["", ".descriptor.txt", ".hubcli.json"]


def test_one_connection_is_enough(settings: Settings, server: HubServer) -> None:
    require_whole(fetch(server.serve(PATH, TAGGED), settings, FetchOptions(connections=1)))


@pytest.mark.parametrize(
    "fault",
    [
        replace(TAGGED, cut_at=2_000_000),
        replace(TAGGED, reset_at=2_000_000),
        replace(TAGGED, first=[TAGGED, Reply(b"busy", 429, headers={"Retry-After": "0"})]),
        replace(TAGGED, first=[TAGGED, Reply(b"broken", 500), Reply(b"broken", 502)]),
        replace(TAGGED, first=[Reply(b"broken", 503)]),
        Reply(ARCHIVE, first=[Reply(ARCHIVE, cut_at=5_000_000)]),
        Reply(ARCHIVE, headers={"ETag": '"one"'}, first=[TAGGED]),
        Reply(ARCHIVE, etag='"two"', first=[TAGGED]),
        telling("Content-Range", f"bytes 0-9/{len(ARCHIVE)}"),
        telling("Content-Range", f"bytes 4194304-8388607/{len(ARCHIVE) + 1}"),
        telling("Content-Range", None),
        telling("ETag", None),
        telling("ETag", 'W/"one"'),
        telling("Content-Encoding", "gzip"),
        two_servers(),
    ],
    ids=[
        "cuts each connection",
        "resets each connection",
        "asks for patience",
        "fails in a window",
        "fails at first",
        "cuts once, without ranges",
        "answers 200 to a range",
        "has another file now",
        "sends another range",
        "lies about the total",
        "tells no range",
        "tells no validator with a part",
        "tells a weak validator with a part",
        "packs parts",
        "is two servers",
    ],
)
def test_a_fault_that_passes_ends_in_a_whole_model(
    fault: Reply, settings: Settings, server: HubServer
) -> None:
    listener = RecordingListener()
    # A reset takes along what was still on its way: some attempts bring nothing.
    require_whole(fetch(server.serve(PATH, fault), settings, FetchOptions(retries=20), listener))
    assert listener.retries
    assert names(settings) == ["", ".descriptor.txt", ".hubcli.json"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(ENCODED, headers={"Content-Encoding": "gzip"}),
        Reply(ENCODED, headers={"Content-Encoding": "gzip"}, etag='W/"one"'),
        Reply(ENCODED, headers={"Content-Encoding": "gzip"}, sends_length=False),
        Reply(ARCHIVE, headers={"Content-Encoding": "x-gzip"}, etag='"one"'),
        Reply(ARCHIVE, etag='W/"one"'),
        Reply(ARCHIVE, headers={"Accept-Ranges": "bytes"}),
    ],
    ids=["packed", "packed, weak", "packed, no length", "packed in name alone", "weak ETag", "no ETag"],
)
def test_what_a_server_does_of_its_own_ends_in_a_whole_model(
    reply: Reply, settings: Settings, server: HubServer
) -> None:
    require_whole(fetch(server.serve(PATH, reply), settings))
    assert names(settings) == ["", ".descriptor.txt", ".hubcli.json"]


def test_the_file_that_is_there_now_is_fetched_not_a_mixture(settings: Settings, server: HubServer) -> None:
    new = {**FILES, "assets.extra/large": LARGE[::-1]}
    url = server.serve(PATH, Reply(models.pack(new, level=0), etag='"two"', first=[TAGGED]))
    require_whole(fetch(url, settings), new)


def test_a_server_that_stalls_in_a_window_is_asked_again(server: HubServer, cache: Path) -> None:
    impatient = Settings.read({}, cache_dir=cache, timeout_s=1)
    stalling = replace(TAGGED, first=[TAGGED, replace(TAGGED, stall_at=1000)])
    require_whole(fetch(server.serve(PATH, stalling), impatient))


def test_garbage_in_one_window_is_found_and_all_is_fetched_once_more(
    settings: Settings, server: HubServer
) -> None:
    listener = RecordingListener()
    garbage = twisted(lambda part: replace(part, body=part.body[::-1]))
    url = server.serve(PATH, replace(TAGGED, first=[TAGGED, garbage]))
    require_whole(fetch(url, settings, listener=listener))
    assert "again, on one connection" in listener.retries[-1]


def test_garbage_each_time_is_refused_and_nothing_stays(settings: Settings, server: HubServer) -> None:
    wrong = Reply(ARCHIVE[:-100] + bytes(100), etag='"one"')
    with pytest.raises(IntegrityError):
        fetch(server.serve(PATH, wrong), settings)
    assert names(settings) == []


def test_what_lasts_ends_in_an_error_and_a_spool_for_the_next(settings: Settings, server: HubServer) -> None:
    url = server.serve(PATH, replace(TAGGED, cut_at=0, first=[TAGGED]))
    with pytest.raises(IntegrityError):
        fetch(url, settings, FetchOptions(retries=1))
    assert names(settings) == [".descriptor.txt", ".hubcli.part", ".hubcli.part.journal"]
    listener = RecordingListener()
    before = len(server.requests)
    require_whole(fetch(server.serve(PATH, TAGGED), settings, listener=listener))
    assert "Resuming" in listener.notes[0]
    # The first window is there already.
    assert not any("bytes=0-" in request.headers.get("Range", "") for request in server.requests[before:])


class Filler(RecordingListener):
    """Fills the disk once the first bytes have come."""

    def __init__(self, disk: Path) -> None:
        super().__init__()
        self.disk = disk

    def received(self, size_bytes: int) -> None:
        with suppress(OSError), (self.disk / "filler").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))


def test_a_disk_that_becomes_full_leaves_nothing(server: HubServer, tmp_path: Path) -> None:
    url = server.serve(PATH, TAGGED)
    with mounted(tmp_path / "disk", "size=60m") as disk:
        settings = Settings.read({}, cache_dir=disk / "cache", timeout_s=60)
        with pytest.raises(DiskFullError):
            fetch(url, settings, listener=Filler(disk))
        assert names(settings) == []


class Enough(Exception):
    """What came is enough."""


class Stopper(ProgressListener):
    """Breaks off once a number of bytes was received."""

    def __init__(self, enough_bytes: int) -> None:
        self.left_bytes = enough_bytes

    def received(self, size_bytes: int) -> None:
        self.left_bytes -= size_bytes
        if self.left_bytes <= 0:
            raise Enough


@pytest.mark.parametrize("is_kept", [True, False], ids=["that leaves room for it", "that it fills"])
def test_a_spool_stays_on_a_disk(is_kept: bool, server: HubServer, tmp_path: Path) -> None:
    """It goes where the model couldn't be had beside it, not even when nothing is unpacked yet."""
    url = server.serve(PATH, TAGGED)
    with mounted(tmp_path / "disk", "size=60m") as disk:
        settings = Settings.read({}, cache_dir=disk / "cache", timeout_s=60)
        with pytest.raises(Enough):
            fetch(url, settings, listener=Stopper(5 << 20))
        assert names(settings) == [".descriptor.txt", ".hubcli.part", ".hubcli.part.journal"]
        left = len(ARCHIVE) + (1 << 20 if is_kept else -(1 << 20))
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - left))
        with pytest.raises(DiskFullError):
            fetch(url, settings)
        suffixes = [".descriptor.txt", ".hubcli.part", ".hubcli.part.journal"]
        assert names(settings) == (suffixes if is_kept else [])
        (disk / "filler").unlink()
        require_whole(fetch(url, settings))


class Squeezer(ProgressListener):
    """Limits the free space on the disk once the first bytes were received."""

    def __init__(self, disk: Path, left_bytes: int) -> None:
        self.disk = disk
        self.left_bytes = left_bytes

    def received(self, size_bytes: int) -> None:
        filler = self.disk / "filler"
        if not filler.exists():
            filler.write_bytes(bytes(shutil.disk_usage(self.disk).free - self.left_bytes))


def test_what_is_left_is_held_against_the_free_space_while_it_comes(
    server: HubServer, tmp_path: Path
) -> None:
    parts = {f"assets.extra/{number}": models.large_content() for number in range(5)}
    url = server.serve(PATH, Reply(models.pack({**models.example_files(), **parts}, level=0)))
    with mounted(tmp_path / "disk", "size=100m") as disk:
        settings = Settings.read({}, cache_dir=disk / "cache", timeout_s=60)
        with pytest.raises(DiskFullError, match="Not enough disk space for the rest of"):
            fetch(url, settings, listener=Squeezer(disk, 40 << 20))
        assert names(settings) == []


def test_a_model_that_takes_most_of_the_disk_is_fetched(tmp_path: Path) -> None:
    files = {**FILES, **{f"assets.extra/{number}": LARGE for number in range(4)}}
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(models.pack(files, level=0))
    with mounted(tmp_path / "disk", "size=90m") as disk:
        settings = Settings.read({}, cache_dir=disk / "cache")
        local = FetchOptions(local=str(archive))
        require_whole(fetch("https://tfhub.dev/maker/model/1", settings, local), files)


def test_each_retry_is_said_and_bounded(server: HubServer, hubcli: Run) -> None:
    url = server.serve(PATH, Reply(b"busy", 503))
    result = hubcli("fetch", url, "--retries", "1")
    assert result.returncode == 5
    assert "retrying in" in result.stderr
    assert "(1 of 1)" in result.stderr
    assert len(server.requests) == 2


# A kill ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_download_goes_on_where_it_was(server: HubServer, cache: Path, settings: Settings) -> None:
    url = server.serve(PATH, replace(TAGGED, first=[replace(TAGGED, stall_at=5_000_000)]))
    process = start(cache, "fetch", url, "-q", "--connections", "1")
    journal = EntryPaths(cache, Handle.parse(url).cache_key).spool.with_suffix(".part.journal")
    patience_until = time.monotonic() + 120
    while not ends_beyond(4_000_000, journal):
        assert time.monotonic() < patience_until
    process.kill()
    process.communicate()
    before = len(server.requests)
    server.release.set()
    listener = RecordingListener()
    require_whole(fetch(server.serve(PATH, TAGGED), settings, listener=listener))
    assert "Resuming" in listener.notes[0]
    requested_ranges = [request.headers.get("Range", "") for request in server.requests[before:]]
    assert requested_ranges[0] == ""
    assert requested_ranges[1].startswith(("bytes=4", "bytes=5"))
    assert names(settings) == ["", ".descriptor.txt", ".hubcli.json"]
