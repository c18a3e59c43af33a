"""`pin` and `unpin`: what is pinned stays pinned, whoever writes the entry anew."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli.cache.gc.plan import Policy
from hubcli.cache.layout import EntryPaths
from hubcli.cache.lock import hold_lock
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.gc import gc
from hubcli.commands.ls import ls
from hubcli.commands.pin import pin, unpin
from hubcli.commands.verify import VerifyOptions, verify
from hubcli.config.settings import Settings
from hubcli.errors import CacheError, HandleError, NotFoundError, UsageError
from tests import models
from tests.disks import mounted
from tests.entries import gut_entry, hubcli_entry, key_of, tensorflow_hub_entry

SMALL = "https://tfhub.dev/google/small/1"
EVERYTHING = Policy(max_size_bytes=0, grace_s=0)


def pinned(settings: Settings) -> list[str]:
    return [model.handle or model.name for model in ls(settings).models if model.pinned]


@pytest.mark.parametrize("make", [hubcli_entry, tensorflow_hub_entry])
@pytest.mark.parametrize(
    "target",
    [
        *(SMALL, f"{SMALL}/", SMALL.replace("https", "http"), f"{SMALL}?tf-hub-format=compressed"),
        *("*small*", "https://*/smal?/?", "https://tfhub.dev/google/smal?/1", key_of(SMALL)),
    ],
)
def test_any_spelling_pins_the_one_copy(
    make: Callable[[Path, str], EntryPaths], target: str, settings: Settings, cache: Path
) -> None:
    make(cache, SMALL)
    (pinning,) = pin(target, settings)
    assert (pinning.handle, pinning.is_pinned, pinning.was_pinned) == (SMALL, True, False)
    assert pinned(settings) == [SMALL]
    assert pin(target, settings)[0].was_pinned
    assert unpin(target, settings)[0].was_pinned
    assert pinned(settings) == []
    assert not unpin(target, settings)[0].was_pinned


def test_a_key_is_a_key_whatever_is_called_so_in_the_working_directory(
    settings: Settings, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hubcli_entry(cache, SMALL)
    (tmp_path / key_of(SMALL)).touch()
    monkeypatch.chdir(tmp_path)
    assert [pinning.handle for pinning in pin(key_of(SMALL), settings)] == [SMALL]


def test_the_printed_path_names_the_model(settings: Settings) -> None:
    path = fetch("example://mul/1", settings).path
    assert pin(str(path), settings)[0].handle == "example://mul/1"


def test_an_entry_of_an_unknown_handle_is_pinned_by_its_key(settings: Settings, cache: Path) -> None:
    paths = tensorflow_hub_entry(cache, SMALL, descriptor=False)
    assert pin(paths.key, settings)[0].name == paths.key
    assert gc(settings, EVERYTHING).plan.items == ()


def test_what_is_not_cached_cannot_be_pinned_and_leaves_nothing(settings: Settings, cache: Path) -> None:
    hubcli_entry(cache, SMALL)
    before = set(os.listdir(cache))
    for verb in (pin, unpin):
        for target in ("https://tfhub.dev/google/other/1", "*other*", "0" * 40, str(cache)):
            with pytest.raises(NotFoundError):
                verb(target, settings)
        with pytest.raises(HandleError):
            verb("tfhub.dev/x", settings)
    assert set(os.listdir(cache)) == before


def test_pinning_is_no_use_and_changes_no_record(settings: Settings, cache: Path) -> None:
    paths = hubcli_entry(cache, SMALL)
    before = paths.manifest.stat().st_mtime_ns, paths.manifest.read_bytes()
    pin(SMALL, settings)
    unpin(SMALL, settings)
    assert (paths.manifest.stat().st_mtime_ns, paths.manifest.read_bytes()) == before
    (model,) = ls(settings).models
    assert model.last_used_at_s == 1_700_000_000


@pytest.mark.parametrize(
    "command", ["fetch --force", "fetch a hit", "verify --repair", "fetch what is gutted"]
)
def test_a_pin_outlives_whatever_writes_the_entry_anew(command: str, settings: Settings) -> None:
    path = fetch("example://mul/1", settings).path
    pin("example://mul/1", settings)
    if command == "verify --repair":
        (path / "saved_model.pb").write_bytes(b"broken")
        assert verify("example://mul/1", settings, VerifyOptions(repair=True)).was_repaired
    else:
        if command == "fetch what is gutted":
            gut_entry(EntryPaths(path.parent, path.name))
        fetch("example://mul/1", settings, FetchOptions(force=command == "fetch --force"))
    assert pinned(settings) == ["example://mul/1"]
    assert gc(settings, EVERYTHING).plan.items == ()


def test_a_pin_outlives_an_adoption(settings: Settings, cache: Path) -> None:
    paths = EntryPaths(cache, key_of(SMALL))
    models.write_tree(paths.model, models.example_files())
    pin(SMALL, settings)
    assert not paths.manifest.exists()
    fetch(SMALL, settings)
    assert paths.manifest.exists()
    assert pinned(settings) == [SMALL]


@pytest.mark.parametrize("cached", [False, True])
def test_a_fetch_can_pin(cached: bool, settings: Settings) -> None:
    if cached:
        fetch("example://mul/1", settings)
    fetch("example://mul/1", settings, FetchOptions(pin=True))
    assert pinned(settings) == ["example://mul/1"]


def test_a_local_directory_cannot_be_pinned(settings: Settings, tmp_path: Path) -> None:
    folder = models.write_tree(tmp_path / "model", models.example_files())
    with pytest.raises(UsageError, match="Cannot pin"):
        fetch(str(folder), settings, FetchOptions(pin=True))


def test_a_pin_of_a_model_that_was_put_aside_waits_for_the_collection(
    settings: Settings, cache: Path
) -> None:
    """The collection holds the lock; when it lets go, the model is there again, or gone."""
    paths = hubcli_entry(cache, SMALL)
    for is_put_back in (True, False):
        with hold_lock(paths, timeout_s=1) as lock:
            trash = paths.trash(lock.owner.uid)
            entry_was_found, outcome = threading.Event(), list[str]()

            def pin_it(found: threading.Event = entry_was_found, results: list[str] = outcome) -> None:
                from hubcli.cache.cached_model import CachedModel
                from hubcli.commands.pin import _pin

                entry = CachedModel.read(paths)
                found.set()
                try:
                    results.append(str(_pin(entry, settings).is_pinned))
                except NotFoundError as error:
                    results.append(error.code)

            paths.model.rename(trash)
            thread = threading.Thread(target=pin_it)
            thread.start()
            assert entry_was_found.wait(60)
            if is_put_back:
                trash.rename(paths.model)
        thread.join()
        assert outcome == ["True" if is_put_back else "not-found"]
        assert paths.pin.exists() == is_put_back
        if is_put_back:
            unpin(SMALL, settings)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=4m") as disk:
        hubcli_entry(disk, SMALL)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(CacheError, match="Read-only"):
            pin(SMALL, Settings.read({}, cache_dir=disk))
