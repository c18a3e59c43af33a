"""Downloads that were interrupted: counted once, named by their handle, taken by `rm` and `gc`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli.cache.gc.plan import Policy
from hubcli.cache.layout import EntryPaths
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.gc import gc
from hubcli.commands.rm import rm
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, IntegrityError
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from tests import models
from tests.conftest import Run
from tests.entries import live_process, lock
from tests.server import HubServer, Reply

LARGE = models.large_archive()


class Enough(Exception):
    """What came is enough."""


class Stopper(ProgressListener):
    """Breaks off once a number of bytes was received."""

    def __init__(self) -> None:
        self.left_bytes = 5 << 20

    def received(self, size_bytes: int) -> None:
        self.left_bytes -= size_bytes
        if self.left_bytes <= 0:
            raise Enough


@pytest.fixture
def partial(server: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    """The handle of a download that was broken off and can be resumed."""
    monkeypatch.setattr("hubcli.net.download.QUICK_S", 0)  # What would be here in a moment is spooled too.
    return broken_off(LARGE, server, settings)


def broken_off(body: bytes, server: HubServer, settings: Settings) -> str:
    """The handle of that body, of which some or all is on the disk."""
    url = server.serve("/maker/model/1", Reply(body, etag='"one"'))
    with pytest.raises(Enough):
        fetch(url, settings, listener=Stopper())
    assert EntryPaths(settings.cache_root, Handle.parse(url).cache_key).spool.exists()
    return url


def names(settings: Settings) -> list[str]:
    return sorted(path.name[40:] for path in settings.cache_root.iterdir() if path.name != "CACHEDIR.TAG")


@pytest.mark.parametrize(
    "spelled",
    [str, lambda url: f"{url}/", lambda url: f"{url}?tf-hub-format=compressed", lambda url: "*maker/model*"],
    ids=["handle", "slash", "query", "glob"],
)
def test_rm_takes_it_by_its_handle(spelled: Callable[[str], str], partial: str, settings: Settings) -> None:
    removal = rm([spelled(partial)], settings)
    assert removal.errors == ()
    assert names(settings) == []
    assert removal.collection.freed_bytes > 1 << 20


def test_rm_takes_one_whose_handle_no_record_tells(partial: str, settings: Settings) -> None:
    """Version 0.1.0 kept none."""
    (record,) = settings.cache_root.glob("*.descriptor.txt")
    record.unlink()
    assert rm([partial], settings).errors == ()
    assert names(settings) == []


def test_rm_of_another_handle_leaves_it(partial: str, settings: Settings) -> None:
    fetch("example://mul/1", settings)
    assert rm(["example://mul/1"], settings).errors == ()
    assert [code.code for _, code in rm(["https://host/other/1"], settings).errors] == ["not-found"]
    assert ".hubcli.part" in names(settings)


def test_rm_leaves_one_that_a_process_is_at(partial: str, settings: Settings) -> None:
    with live_process() as pid:
        lock(settings.cache_root, partial, pid)
        assert [(name, error.code) for name, error in rm([partial], settings).errors] == [
            (partial, "lock-timeout")
        ]
    assert ".hubcli.part" in names(settings)


def test_it_is_one_thing_with_a_name(partial: str, hubcli: Run) -> None:
    output = hubcli("gc", "--keep-partial", "0s", "--dry-run").stdout
    rows = [line for line in output.splitlines() if partial in line]
    assert len(rows) == 1
    assert "not resumed: partial download" in rows[0]
    assert output.splitlines()[-1].startswith("1 partial download, ")
    document = json.loads(hubcli("gc", "--keep-partial", "0s", "--dry-run", "--json").stdout)
    assert document["planned"]["leftovers"] == 1
    assert {item["handle"] for item in document["items"]} == {partial}
    assert {item["reason"] for item in document["items"]} == {"old-partial"}
    removed = hubcli("rm", partial)
    assert removed.returncode == 0
    assert "requested: partial download" in removed.stdout
    assert "Removed 1 partial download: " in removed.stdout


def test_gc_keeps_it_for_its_time_with_its_name_and_takes_both_then(partial: str, settings: Settings) -> None:
    assert gc(settings, Policy()).removed == ()
    assert names(settings) == [".descriptor.txt", ".hubcli.part", ".hubcli.part.journal"]
    gc(settings, Policy(keep_partial_s=0))
    assert names(settings) == []


def test_gc_takes_it_by_its_handle(partial: str, settings: Settings) -> None:
    gc(settings, Policy(keep_partial_s=0), ["https://host/other/1"])
    assert ".hubcli.part" in names(settings)
    gc(settings, Policy(keep_partial_s=0), [partial])
    assert names(settings) == []


def test_a_fetch_that_goes_on_leaves_the_model_alone(
    partial: str, settings: Settings, server: HubServer
) -> None:
    assert fetch(partial, settings).handle == partial
    assert not any("part" in name for name in names(settings))


def test_one_that_is_given_up_leaves_no_name(settings: Settings, server: HubServer) -> None:
    url = broken_off(LARGE[:-100] + bytes(100), server, settings)
    with pytest.raises(IntegrityError):
        fetch(url, settings, FetchOptions(retries=0))
    assert names(settings) == []


def test_of_a_model_that_is_cached_the_download_goes_with_it(server: HubServer, settings: Settings) -> None:
    url = server.serve("/maker/model/1", Reply(models.archive(), etag='"old"'))
    fetch(url, settings)
    spool = EntryPaths(settings.cache_root, Handle.parse(url).cache_key).spool
    spool.write_bytes(b"." * 5000)
    items = rm([url], settings, dry_run=True).collection.plan.items
    assert len(items) == 2
    assert rm([url], settings).errors == ()
    assert not any("part" in name for name in names(settings))


def test_doctor_counts_it_once(partial: str, hubcli: Run) -> None:
    checks = json.loads(hubcli("doctor", "--json").stdout)["checks"]
    (found,) = [check for check in checks if check["name"] == "resumable"]
    assert found["value"]["count"] == 1
    assert not [check for check in checks if check["name"] == "leftovers"]


def test_the_cache_of_an_unmounted_disk_keeps_its_record(
    server: HubServer, settings: Settings, tmp_path: Path
) -> None:
    """A link that leads nowhere now may be a model on a disk that isn't mounted."""
    url = server.serve("/maker/model/1", Reply(status=404))
    paths = EntryPaths(settings.cache_root, Handle.parse(url).cache_key)
    settings.cache_root.mkdir(exist_ok=True)
    paths.model.symlink_to(tmp_path / "unmounted")
    paths.descriptor.write_text("Module: other\n")
    with pytest.raises(HubcliError):
        fetch(url, settings)
    assert paths.descriptor.read_text() == "Module: other\n"
