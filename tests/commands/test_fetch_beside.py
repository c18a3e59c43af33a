"""Many processes at one model: one download, one entry; on file systems over a network too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hubcli.cache.layout import CacheName, NameKind
from hubcli.commands.verify import verify
from hubcli.config.settings import Settings
from hubcli.providers.handle import Handle
from tests import models
from tests.cli.terminal import start
from tests.fault_points import NFS
from tests.kill_server import KillServer, Order
from tests.server import HubServer, Reply

SMALL = models.example_files()
LARGE = {**SMALL, "assets.extra/large": models.large_content()}
PATH = "/maker/model/1"
ENTRY = [NameKind.DESCRIPTOR, NameKind.MANIFEST, NameKind.MODEL, NameKind.TAG]


@pytest.fixture
def kill_server(cache: Path) -> Iterator[KillServer]:
    with KillServer.running(cache) as running:
        yield running


def fetch_at_once(
    number: int, kill_server: KillServer, url: str, *options: str, fault_points: Sequence[str] = ()
) -> str:
    """What several processes printed, each the same; each ended well."""
    results = kill_server.run_at_once(
        [Order(("fetch", url, "-q", *options), fault_points=fault_points)] * number
    )
    assert [result.status for result in results] == [0] * number, results
    (output,) = {result.output for result in results}
    return output.strip()


def kinds(cache: Path) -> list[NameKind]:
    """What the names in the cache are; links of other spellings aside."""
    names = (CacheName.parse(path.name) for path in cache.iterdir() if not path.is_symlink())
    return sorted((name.kind for name in names), key=lambda kind: kind.name)


def require_one_entry(url: str, cache: Path, settings: Settings, files: dict[str, bytes]) -> None:
    assert models.tree_files(cache / Handle.parse(url).cache_key) == files
    assert kinds(cache) == ENTRY
    assert not verify(url, settings).faults


@pytest.mark.slow
@pytest.mark.parametrize(
    "reply", [Reply(models.pack(SMALL)), Reply(models.pack(LARGE, level=0), etag='"one"')]
)
def test_sixteen_processes_download_once(
    reply: Reply, server: HubServer, kill_server: KillServer, cache: Path, settings: Settings
) -> None:
    url = server.serve(PATH, reply)
    assert fetch_at_once(16, kill_server, url) == str(cache / Handle.parse(url).cache_key)
    require_one_entry(url, cache, settings, SMALL if reply.etag is None else LARGE)
    assert len([request for request in server.requests if "Range" not in request.headers]) == 1
    # Of what was sent, some was under way when it was no longer wanted.
    assert server.sent_bytes < 2 * len(reply.body)


def test_sixteen_that_are_started_by_hand_do_so_too(
    server: HubServer, cache: Path, settings: Settings
) -> None:
    url = server.serve(PATH, models.pack(SMALL))
    running = [start(cache, "fetch", url, "-q") for _ in range(16)]
    outputs = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0] * 16, outputs
    assert len({output for output, _ in outputs}) == 1
    require_one_entry(url, cache, settings, SMALL)
    assert len(server.requests) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault_points", [NFS, ("no locks", "no hard links")], ids=["as on NFS", "without hard links"]
)
def test_no_lock_of_the_systems_is_needed(
    fault_points: Sequence[str], server: HubServer, kill_server: KillServer, cache: Path, settings: Settings
) -> None:
    url = server.serve(PATH, models.pack(SMALL))
    fetch_at_once(16, kill_server, url, fault_points=fault_points)
    require_one_entry(url, cache, settings, SMALL)
    assert len(server.requests) == 1


@pytest.mark.slow
@pytest.mark.parametrize("forced", [False, True], ids=["nothing there", "--force"])
@pytest.mark.parametrize("etag", [None, '"one"'], ids=["one stream", "windows"])
def test_where_the_lock_is_worth_nothing_the_entry_is_whole_all_the_same(
    etag: str | None,
    forced: bool,
    server: HubServer,
    kill_server: KillServer,
    cache: Path,
    settings: Settings,
) -> None:
    """Work is done several times then, and that is all."""
    url = server.serve(PATH, Reply(models.pack(LARGE, level=0), etag=etag))
    options = ["--force"] if forced else []
    if forced:
        fetch_at_once(1, kill_server, url)
    fetch_at_once(8, kill_server, url, *options, fault_points=["worthless lock"])
    require_one_entry(url, cache, settings, LARGE)
