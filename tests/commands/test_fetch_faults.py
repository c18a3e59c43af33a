"""Whatever the server, the network or a kill does to a large download: a whole model, or none, and why."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.cache.layout import EntryPaths
from hubcli.commands.fetch import FetchOptions, FetchResult, fetch
from hubcli.commands.listener import Listener
from hubcli.errors import DiskFullError, IntegrityError
from hubcli.handle import Handle
from hubcli.settings import Settings
from tests import models
from tests.cli.terminal import start
from tests.conftest import Run
from tests.disks import mounted
from tests.server import HubServer, Reply

SIZE = 9 << 20
LARGE = random.Random(3).randbytes(SIZE)
FILES = {**models.example_files(), "assets.extra/large": LARGE}
ARCHIVE = models.pack(FILES)
TAGGED = Reply(ARCHIVE, etag='"one"')
PATH = "/maker/model/1"


class Heard(Listener):
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
    ],
)
def test_a_fault_that_passes_ends_in_a_whole_model(
    fault: Reply, settings: Settings, server: HubServer
) -> None:
    heard = Heard()
    # A reset takes along what was still on its way: some attempts bring nothing.
    require_whole(fetch(server.serve(PATH, fault), settings, FetchOptions(retries=20), heard))
    assert heard.retries
    assert names(settings) == ["", ".descriptor.txt", ".hubcli.json"]


def test_the_file_that_is_there_now_is_fetched_not_a_mixture(settings: Settings, server: HubServer) -> None:
    new = {**FILES, "assets.extra/large": LARGE[::-1]}
    url = server.serve(PATH, Reply(models.pack(new), etag='"two"', first=[TAGGED]))
    require_whole(fetch(url, settings), new)


def test_a_server_that_stalls_in_a_window_is_asked_again(server: HubServer, cache: Path) -> None:
    impatient = Settings.read({}, cache_dir=cache, timeout_s=0.3)
    stalling = replace(TAGGED, first=[TAGGED, replace(TAGGED, stall_at=1000)])
    require_whole(fetch(server.serve(PATH, stalling), impatient))


def garbage() -> Reply:
    """A window's answer, right in all but its bytes."""

    class Garbage(Reply):
        def for_request(self, headers: dict[str, str]) -> Reply:
            answer = super().for_request(headers)
            return replace(TAGGED, etag=None, body=answer.body[::-1], status=206, headers=answer.headers)

    return Garbage(ARCHIVE, etag='"one"')


def test_garbage_in_one_window_is_found_and_all_is_fetched_once_more(
    settings: Settings, server: HubServer
) -> None:
    heard = Heard()
    require_whole(
        fetch(server.serve(PATH, replace(TAGGED, first=[TAGGED, garbage()])), settings, listener=heard)
    )
    assert "once more, on one connection" in heard.retries[-1]


def test_garbage_each_time_is_refused_and_nothing_stays(settings: Settings, server: HubServer) -> None:
    wrong = Reply(ARCHIVE[:-100] + bytes(100), etag='"one"')
    with pytest.raises(IntegrityError):
        fetch(server.serve(PATH, wrong), settings)
    assert names(settings) == []


def test_what_lasts_ends_in_an_error_and_a_spool_for_the_next(settings: Settings, server: HubServer) -> None:
    url = server.serve(PATH, replace(TAGGED, cut_at=0, first=[TAGGED]))
    with pytest.raises(IntegrityError):
        fetch(url, settings, FetchOptions(retries=1))
    assert names(settings) == [".hubcli.part", ".hubcli.part.journal"]
    heard = Heard()
    before = len(server.requests)
    require_whole(fetch(server.serve(PATH, TAGGED), settings, listener=heard))
    assert "Going on with" in heard.notes[0]
    # The first window is there already.
    assert not any("bytes=0-" in request.headers.get("Range", "") for request in server.requests[before:])


class Filler(Heard):
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
        settings = Settings.read({}, cache_dir=disk / "cache", timeout_s=5)
        with pytest.raises(DiskFullError):
            fetch(url, settings, listener=Filler(disk))
        assert names(settings) == []


def test_each_retry_is_said_and_bounded(server: HubServer, hubcli: Run) -> None:
    url = server.serve(PATH, Reply(b"busy", 503))
    ran = hubcli("fetch", url, "--retries", "1")
    assert ran.returncode == 5
    assert "trying again in" in ran.stderr
    assert "(1 of 1)" in ran.stderr
    assert len(server.requests) == 2


# A kill ------------------------------------------------------------------------------------------


def test_a_killed_download_goes_on_where_it_was(server: HubServer, cache: Path, settings: Settings) -> None:
    url = server.serve(PATH, replace(TAGGED, first=[replace(TAGGED, stall_at=5_000_000)]))
    process = start(cache, "fetch", url, "-q", "--connections", "1")
    journal = EntryPaths(cache, Handle.parse(url).cache_key).spool.with_suffix(".part.journal")
    patience_until = time.monotonic() + 30
    while not journal.exists() or b" 4" not in journal.read_bytes():
        assert time.monotonic() < patience_until
    process.kill()
    process.communicate()
    before = len(server.requests)
    server.release.set()
    heard = Heard()
    require_whole(fetch(server.serve(PATH, TAGGED), settings, listener=heard))
    assert "Going on with" in heard.notes[0]
    asked = [request.headers.get("Range", "") for request in server.requests[before:]]
    assert asked[0] == ""
    assert asked[1].startswith(("bytes=4", "bytes=5"))
    assert names(settings) == ["", ".descriptor.txt", ".hubcli.json"]
