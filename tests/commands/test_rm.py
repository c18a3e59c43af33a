"""`rm`: models by name, whole and with all that belongs to them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.cache.gc.plan import Plan, Policy
from hubcli.commands.fetch import fetch
from hubcli.commands.gc import gc
from hubcli.commands.ls import ls
from hubcli.commands.rm import Removal, rm
from hubcli.config.settings import Settings
from hubcli.errors import UsageError
from hubcli.exit_status import ExitStatus
from hubcli.providers.handle import Handle
from tests.disks import overlaid
from tests.entries import (
    dead_pid,
    gut_entry,
    hubcli_entry,
    key_of,
    live_process,
    lock,
    snapshot,
    tensorflow_hub_entry,
)

SMALL = "https://tfhub.dev/google/small/1"
LARGE = "https://tfhub.dev/google/large/1"
MIDDLE = "https://www.kaggle.com/models/google/middle/tensorFlow2/base/1"


@pytest.fixture
def three(settings: Settings, cache: Path) -> Settings:
    hubcli_entry(cache, SMALL)
    hubcli_entry(cache, LARGE, pinned=True)
    tensorflow_hub_entry(cache, MIDDLE)
    (cache / "notes.txt").write_text("mine")
    return settings


def handles(settings: Settings) -> set[str]:
    return {model.handle or model.name for model in ls(settings).models}


def codes(removal: Removal) -> list[tuple[str, str]]:
    return [(name, error.code) for name, error in removal.errors]


@pytest.mark.parametrize(
    "target",
    [
        *(SMALL, f"{SMALL}/", SMALL.replace("https", "http"), f"{SMALL}?tfhub-redirect=true", "*small*"),
        *(key_of(SMALL), Handle.parse(SMALL).alias_keys[0]),
    ],
)
def test_any_spelling_removes_the_one_copy_with_its_links(target: str, three: Settings, cache: Path) -> None:
    removal = rm([target], three)
    assert removal.errors == ()
    assert handles(three) == {LARGE, MIDDLE, "notes.txt"}
    assert not [path for path in cache.iterdir() if path.is_symlink() and not path.exists()]
    assert not any(key_of(SMALL) in name for name in os.listdir(cache))


def test_the_printed_path_names_the_model(settings: Settings) -> None:
    path = fetch("example://mul/1", settings).path
    assert rm([str(path)], settings).errors == ()
    assert not path.exists()


def test_an_entry_of_tensorflow_hub_goes_by_another_spelling(three: Settings) -> None:
    rm(["google/middle/tensorFlow2/base/1"], three)
    assert handles(three) == {SMALL, LARGE, "notes.txt"}


def test_a_pinned_model_goes_by_force_alone_and_its_pin_with_it(three: Settings, cache: Path) -> None:
    assert codes(rm([LARGE], three)) == [(LARGE, "pinned")]
    assert LARGE in handles(three)
    assert rm([LARGE], three, force=True).errors == ()
    assert LARGE not in handles(three)
    assert not list(cache.glob("*.pin"))


def test_all_that_can_be_is_removed_and_the_rest_is_told(three: Settings) -> None:
    removal = rm(["*", "https://tfhub.dev/google/absent/1", "tfhub.dev/x", "*nothing*", ""], three)
    assert codes(removal) == [
        (LARGE, "pinned"),
        ("https://tfhub.dev/google/absent/1", "not-found"),
        ("tfhub.dev/x", "handle"),
        ("*nothing*", "not-found"),
        ("", "not-found"),
    ]
    assert handles(three) == {LARGE, "notes.txt"}


def test_what_is_fresh_gutted_or_twice_named_goes(three: Settings, cache: Path) -> None:
    gut_entry(hubcli_entry(cache, SMALL))
    path = fetch("example://mul/1", three).path
    assert rm([SMALL, SMALL, "*small*", "example://mul/1"], three).errors == ()
    assert not path.exists()
    assert SMALL not in handles(three)


def test_what_a_process_is_at_stays(three: Settings, cache: Path) -> None:
    with live_process() as pid:
        held = lock(cache, SMALL, pid)
        removal = rm([SMALL], three)
        assert codes(removal) == [(SMALL, "lock-timeout")]
        assert f":{pid}" in removal.errors[0][1].message
        held.lock.unlink()

        def lock_it(plan: Plan) -> bool:
            return lock(cache, MIDDLE, pid).lock.exists()

        assert codes(rm([MIDDLE], three, confirm=lock_it)) == [(MIDDLE, "lock-timeout")]
    assert {SMALL, MIDDLE} < handles(three)


def test_what_a_dead_process_left_of_it_goes_too(three: Settings, cache: Path) -> None:
    lock(cache, SMALL, dead_pid())
    rm([SMALL], three)
    assert not any(key_of(SMALL) in name for name in os.listdir(cache))


@pytest.mark.parametrize("target", ["notes.txt", "*.txt", "e" * 40, "*eee*"])
def test_what_is_not_the_caches_is_never_removed(target: str, three: Settings, cache: Path) -> None:
    (cache / ("e" * 40)).mkdir()
    (cache / ("e" * 40) / "thesis.tex").write_text("mine")
    before = snapshot(cache)
    assert rm([target], three, force=True).errors != ()
    assert snapshot(cache) == before


def test_a_dry_run_and_a_no_change_nothing(three: Settings, cache: Path) -> None:
    before = snapshot(cache)
    assert len(rm(["*"], three, force=True, dry_run=True).collection.plan.items) == 3
    rm(["*"], three, force=True, confirm=lambda plan: False)
    assert snapshot(cache) == before


def test_a_root_that_is_no_caches_alone_is_refused(three: Settings, cache: Path) -> None:
    (cache / ".git").mkdir()
    with pytest.raises(UsageError, match="Git"):
        rm(["*"], three)


def test_a_model_in_a_layer_of_an_image_is_not_removed_but_the_hint_says_how(
    three: Settings, cache: Path
) -> None:
    with overlaid(cache) as merged:
        settings = replace(three, cache_root=merged)
        before = handles(settings)
        hint = f"While no process uses the cache, remove it yourself: rm -r {merged / key_of(SMALL)}"
        ((_, error),) = rm([SMALL], settings).errors
        assert (error.hint, error.exit_status) == (hint, ExitStatus.CACHE)
        assert hint in {error.hint for error in gc(settings, Policy(max_size_bytes=0, grace_s=0)).errors}
        assert handles(settings) == before
