"""A server whose body is another one at each resume: a bounded number of restarts, in bounded memory."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.cache.layout import EntryPaths
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, IntegrityError, NetworkError
from hubcli.net import download, retries
from hubcli.net.retries import RetryPolicy
from hubcli.providers.handle import Handle
from tests import archives, models
from tests.server import HubServer, Reply

ARCHIVE = models.large_archive()
PATH = "/maker/model/1"
RETRIES = 3
# More than what starts the count of failures anew.
_BROUGHT = 60_000

Answer = Callable[[int, dict[str, str]], Reply]


class Changing(Reply):
    """Answers by the number of the request; each answer is cut after some progress."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(ARCHIVE)
        self._answer = answer
        self._numbers = itertools.count()

    def for_request(self, headers: dict[str, str]) -> Reply:
        answered = self._answer(next(self._numbers), headers)
        return replace(answered, cut_at=min(_BROUGHT, len(answered.body)))


def tagged(headers: dict[str, str], etag: str = '"one"', **more_headers: str) -> Reply:
    """The archive, or the range of it that is asked for, with other headers."""
    answer = Reply(ARCHIVE, etag=etag).for_request(headers)
    return replace(
        answer, headers={**answer.headers, **{k.replace("_", "-"): v for k, v in more_headers.items()}}
    )


def _part(headers: dict[str, str], **more_headers: str) -> Reply:
    return tagged(headers, **more_headers) if "Range" in headers else tagged(headers)


def _without_range(number: int, headers: dict[str, str]) -> Reply:
    return tagged({}, '"one"')


HOSTILE: dict[str, Answer] = {
    "another ETag each time": lambda number, headers: tagged(headers, f'"{number}"'),
    "two ETags in turn": lambda number, headers: tagged(headers, f'"{number % 2}"'),
    "an ETag that becomes weak": lambda number, headers: tagged(
        headers, 'W/"one"' if number % 2 else '"one"'
    ),
    "another time": lambda number, headers: _part(headers, ETag=f'"{number}"', Last_Modified=f"{number}"),
    "another range": lambda number, headers: _part(headers, Content_Range=f"bytes 0-9/{len(ARCHIVE)}"),
    "another size": lambda number, headers: _part(headers, Content_Range=f"bytes 0-9/{number}"),
    "no range": lambda number, headers: _part(headers, Content_Range=""),
    "no such range": lambda number, headers: (
        replace(tagged({}), status=416) if "Range" in headers else tagged(headers)
    ),
    "all of it instead of a range": _without_range,
    "a size that grows": lambda number, headers: Reply(
        ARCHIVE + bytes(number), etag=f'"{number}"'
    ).for_request(headers),
    "no ETag any more": lambda number, headers: (
        replace(tagged(headers), headers={"Content-Range": "bytes 60000-60001/9"})
        if number % 2
        else tagged(headers)
    ),
    "no ranges at all": lambda number, headers: Reply(ARCHIVE),
}


@pytest.mark.parametrize(
    "quick_s",
    [
        pytest.param(0.0, id="by way of the spool"),
        pytest.param(3.0, id="straight", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", HOSTILE)
def test_restarts_count_against_the_retries_whatever_came_between(
    name: str, quick_s: float, settings: Settings, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "QUICK_S", quick_s)
    url = server.serve(PATH, Changing(HOSTILE[name]))
    with pytest.raises(HubcliError) as caught:
        fetch(url, settings, FetchOptions(retries=RETRIES))
    assert isinstance(caught.value, (NetworkError, IntegrityError))
    # Each start asks once for the whole and a few times for parts.
    assert len(server.requests) <= (RETRIES + 1) * (RETRIES + 2) + 8


def test_a_redirect_that_leads_elsewhere_each_time_counts_as_well(
    settings: Settings, server: HubServer
) -> None:
    numbers = itertools.count()

    class Elsewhere(Reply):
        def for_request(self, headers: dict[str, str]) -> Reply:
            number = next(numbers)
            server.serve(f"/real{number}", Changing(lambda n, headers: tagged(headers, f'"{number}-{n}"')))
            return Reply(status=302, headers={"Location": f"/real{number}"})

    with pytest.raises(HubcliError):
        fetch(server.serve(PATH, Elsewhere()), settings, FetchOptions(retries=RETRIES))
    assert next(numbers) <= 2 * (RETRIES + 1)


def test_nothing_is_left_to_resume_of_a_body_that_changed(
    settings: Settings, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "QUICK_S", 0.0)  # All of it is spooled.
    url = server.serve(PATH, Changing(HOSTILE["another ETag each time"]))
    with pytest.raises(NetworkError, match="changed during the download"):
        fetch(url, settings, FetchOptions(retries=1))
    assert len(server.requests) > 1
    assert not EntryPaths(settings.cache_root, Handle.parse(url).cache_key).spool.exists()


def test_without_retries_nothing_is_begun_again(settings: Settings, server: HubServer) -> None:
    url = server.serve(
        PATH, replace(Reply(ARCHIVE, etag='"two"'), first=[Reply(ARCHIVE, etag='"one"', cut_at=9)])
    )
    with pytest.raises(HubcliError):
        fetch(url, settings, FetchOptions(retries=0))
    assert len(server.requests) == 1


def test_a_body_that_changed_once_is_fetched_whole(settings: Settings, server: HubServer) -> None:
    url = server.serve(
        PATH, replace(Reply(ARCHIVE, etag='"two"'), first=[Reply(ARCHIVE, etag='"one"', cut_at=99_999)])
    )
    assert fetch(url, settings, FetchOptions(retries=2)).size_bytes > 9 << 20


def test_waits_between_attempts_are_no_longer_than_the_timeout(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_S", 0.5)
    short, usual = (
        RetryPolicy.of(replace(settings, timeout_s=2.0), 9),
        RetryPolicy.of(replace(settings, timeout_s=30.0), 9),
    )
    for failures in range(1, 9):
        assert (short._delay_s(failures, None) or 0) <= 2.0
    assert (usual._delay_s(8, None) or 0) >= 15.0
    assert short._delay_s(1, 7.0) == 7.0  # What the server asks for is obeyed.


# In a process of its own, whose memory is its own.
_CHILD = """
import re, sys, tempfile
from pathlib import Path
from hubcli.cli.main import reduce_garbage_collection
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.progress import ProgressListener
from hubcli.errors import NetworkError
from hubcli.net import download, retries
from hubcli.config.settings import Settings

reduce_garbage_collection()
retries.FIRST_WAIT_S = retries._LONGEST_WAIT_S = 0.0
download.QUICK_S = float(sys.argv[3])
restarts = 0

class RecordingListener(ProgressListener):
    def retrying(self, text):
        global restarts
        restarts += "changed during" in text or "different range" in text

try:
    fetch(sys.argv[1], Settings.read({}, cache_dir=tempfile.mkdtemp(dir=sys.argv[4])),
          FetchOptions(retries=int(sys.argv[2])), RecordingListener())
except NetworkError:
    print(restarts, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def _peak_mb(server: HubServer, answer: Answer, restarts: int, folder: Path) -> float:
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process's memory is read from /proc")
    url = server.serve(PATH, Changing(answer))
    result = subprocess.run(
        [sys.executable, "-c", _CHILD, url, str(restarts), "3.0", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.fullmatch(r"(\d+) (\d+)\n", result.stdout)
    assert found is not None, result.stderr[-2000:]
    assert int(found[1]) == restarts
    return int(found[2]) / 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["another ETag each time", "another range"])
def test_fifty_restarts_take_no_more_memory_than_five(name: str, server: HubServer, tmp_path: Path) -> None:
    few, many = (_peak_mb(server, HOSTILE[name], n, tmp_path) for n in (5, 50))
    assert many < few + 5
    assert many <= 120


@pytest.mark.soak  # Fifty that take no more than five show it too.
@pytest.mark.parametrize("name", ["another ETag each time", "another range"])
def test_a_thousand_restarts_stay_below_120_mb(name: str, server: HubServer, tmp_path: Path) -> None:
    assert _peak_mb(server, HOSTILE[name], 1000, tmp_path) <= 120


def test_the_version_that_kaggle_tells_is_asked_for_a_bounded_number_of_times(
    settings: Settings, server: HubServer
) -> None:
    from tests.kaggle import API, NAME, kaggle_at

    server.serve(f"{API}/get", Changing(lambda number, headers: tagged(headers, f'"{number}"')))
    with pytest.raises(NetworkError):
        fetch(NAME, kaggle_at(server, settings), FetchOptions(retries=RETRIES))
    assert len(server.requests) <= RETRIES + 3


def test_inspect_of_an_archive_elsewhere_ends_too(settings: Settings, server: HubServer) -> None:
    from hubcli.commands.inspect import inspect

    first = archives.file("assets.extra/large", random.Random(4).randbytes(9 << 20))
    packed = archives.gzipped(archives.tar(first, archives.file("saved_model.pb", b"")))
    numbers = itertools.count()

    class Elsewhere(Reply):
        def for_request(self, headers: dict[str, str]) -> Reply:
            return Reply(packed, etag=f'"{next(numbers)}"', cut_at=_BROUGHT).for_request(headers)

    with pytest.raises(NetworkError, match="changed during the download"):
        inspect(server.serve(PATH, Elsewhere()), settings)
    assert len(server.requests) <= 8
