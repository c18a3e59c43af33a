"""Upkeep: what HUBCLI_GC and the config file make a fetch do, and what they never do to it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli.config.settings import AutoGcRules
from hubcli.errors import UsageError
from tests.cases import each_of
from tests.disks import mounted
from tests.entries import dead_pid, hubcli_entry, key_of, lock

Run = Callable[..., "subprocess.CompletedProcess[str]"]
OLD = "https://tfhub.dev/google/old/1"
EVERYTHING = "max-size=0,grace=0s"


@pytest.fixture
def old(cache: Path) -> Path:
    return hubcli_entry(cache, OLD).model


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    from platformdirs import user_config_path

    file = user_config_path("hubcli", appauthor=False) / "config.toml"
    file.parent.mkdir(parents=True)
    return file


def test_a_fetch_collects_by_the_rules_but_not_what_it_fetched(old: Path, hubcli: Run, cache: Path) -> None:
    result = hubcli("fetch", "example://mul/1", HUBCLI_GC=EVERYTHING)
    assert result.returncode == 0
    assert not old.exists()
    assert Path(result.stdout.strip()).is_dir()
    assert "Automatic gc by HUBCLI_GC removed 1 model: 8.2 kB freed" in result.stderr


def test_a_fetch_that_hits_keeps_what_it_found(old: Path, hubcli: Run) -> None:
    result = hubcli("fetch", OLD, HUBCLI_GC=EVERYTHING)
    assert (result.returncode, old.is_dir()) == (0, True)


def test_it_runs_once_a_day(old: Path, hubcli: Run, cache: Path) -> None:
    hubcli("fetch", "example://mul/1", HUBCLI_GC="older-than=1d")
    assert not old.exists()
    again = hubcli_entry(cache, OLD).model
    hubcli("fetch", "example://mul/1", HUBCLI_GC="older-than=1d")
    assert again.is_dir()
    yesterday = time.time() - 86401
    os.utime(cache / "hubcli.upkeep", (yesterday, yesterday))
    hubcli("fetch", "example://mul/1", HUBCLI_GC="older-than=1d")
    assert not again.exists()


def test_without_rules_a_fetch_collects_nothing(old: Path, hubcli: Run, cache: Path) -> None:
    lock(cache, "https://tfhub.dev/google/crashed/1", dead_pid())
    before = set(os.listdir(cache))
    hubcli("fetch", "example://mul/1")
    assert before < set(os.listdir(cache))
    assert not (cache / "hubcli.upkeep").exists()


def test_a_fetch_that_fails_collects_nothing(old: Path, hubcli: Run) -> None:
    assert hubcli("fetch", "/nowhere.tar.gz", HUBCLI_GC=EVERYTHING).returncode == 4
    assert old.is_dir()


def test_a_budget_that_cannot_be_met_does_not_fail_the_fetch(old: Path, hubcli: Run) -> None:
    result = hubcli("fetch", "example://mul/1", "--json", HUBCLI_GC=EVERYTHING)
    assert result.returncode == 0
    assert "failed: The cache still takes" in result.stderr
    assert "error" not in json.loads(result.stdout)


def test_a_root_that_is_refused_does_not_fail_the_fetch(old: Path, hubcli: Run, cache: Path) -> None:
    (cache / ".git").mkdir()
    result = hubcli("fetch", "example://mul/1", HUBCLI_GC=EVERYTHING)
    assert (result.returncode, old.is_dir()) == (0, True)
    assert "failed: Refusing to remove anything from the cache" in result.stderr


def test_a_cache_that_cannot_be_written_is_not_collected(tmp_path: Path, hubcli: Run) -> None:
    with mounted(tmp_path / "disk", "size=200m") as disk:
        hubcli("fetch", "example://mul/1", HUBCLI_CACHE_DIR=str(disk))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        result = hubcli("fetch", "-q", "example://mul/1", HUBCLI_CACHE_DIR=str(disk), HUBCLI_GC=EVERYTHING)
        assert (result.returncode, result.stderr) == (0, "")


def test_pins_hold_in_an_upkeep(hubcli: Run, cache: Path) -> None:
    pinned = hubcli_entry(cache, OLD, pinned=True)
    hubcli("fetch", "example://mul/1", HUBCLI_GC=EVERYTHING)
    assert pinned.model.is_dir()


def test_rules_that_cannot_be_understood_are_told_before_anything_is_fetched(
    hubcli: Run, cache: Path
) -> None:
    result = hubcli("fetch", "example://mul/1", HUBCLI_GC="max-size=much")
    assert result.returncode == 2
    assert "HUBCLI_GC has the invalid rule 'max-size=much'" in result.stderr
    assert not cache.exists()


@each_of("rule", ["older-than=2", "max-size=20", "min-free=1e3", "grace=+2", "keep-partial=02"])
def test_rules_with_bare_numbers_fetch_nothing_and_remove_nothing(
    rule: str, old: Path, hubcli_in_turn: Run, cache: Path
) -> None:
    result = hubcli_in_turn("fetch", "example://mul/1", HUBCLI_GC=f"keep-versions=3, {rule}")
    assert result.returncode == 2
    assert f"HUBCLI_GC has the invalid rule '{rule}'" in result.stderr
    assert re.search(r"Hint: Use [\d.]+(d \(days\)|GB) or [\d.]+(h \(hours\)|MB)\.", result.stderr)
    assert old.is_dir()


# --- The config file


def test_rules_come_from_the_config_file(config: Path, old: Path, hubcli: Run) -> None:
    config.write_text('# mine\n\n gc = "older-than=1d"  # every day\n')
    result = hubcli("fetch", "example://mul/1")
    assert not old.exists()
    assert f"gc in {config}" in result.stderr


def test_the_variable_comes_before_the_file_and_can_turn_it_off(config: Path) -> None:
    config.write_text("gc = 'older-than=1d'")
    rules = AutoGcRules.read({"HUBCLI_GC": "max-size=1GB"})
    assert rules is not None
    assert (rules.text, rules.source) == ("max-size=1GB", "HUBCLI_GC")
    assert AutoGcRules.read({"HUBCLI_GC": "off"}) is None
    assert AutoGcRules.read({"HUBCLI_GC": ""}) == AutoGcRules("older-than=1d", f"gc in {config}")


def test_no_file_and_an_empty_one_ask_for_nothing(config: Path) -> None:
    assert AutoGcRules.read({}) is None
    config.write_text('gc = ""\n')
    assert AutoGcRules.read({}) is None


@pytest.mark.parametrize("content", [b"gc = 5", b"gc", b"[gc]", b'gc = "a" b', b"\xff\xfe"])
def test_a_file_that_cannot_be_understood_is_told(content: bytes, config: Path) -> None:
    config.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        AutoGcRules.read({})
    assert str(config) in refused.value.message


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.parent.chmod(0)])
def test_a_file_that_cannot_be_read_is_told_or_absent(make: Callable[[Path], None], config: Path) -> None:
    make(config)
    try:
        if config.is_dir():
            with pytest.raises(UsageError, match="Cannot read"):
                AutoGcRules.read({})
    finally:
        config.parent.chmod(0o700)


def test_the_stamp_is_no_row_of_a_listing(old: Path, hubcli: Run) -> None:
    hubcli("fetch", "example://mul/1", HUBCLI_GC="older-than=9y")
    assert hubcli("ls", "-q", "--filter", "state=foreign").stdout == ""
    assert key_of(OLD) in hubcli("ls", "--json").stdout


def test_a_link_in_place_of_the_stamp_is_not_followed(
    old: Path, hubcli: Run, cache: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.touch()
    os.utime(mine, (1, 1))
    (cache / "hubcli.upkeep").symlink_to(mine)
    os.utime(cache / "hubcli.upkeep", (1, 1), follow_symlinks=False)
    hubcli("fetch", "example://mul/1", HUBCLI_GC="older-than=1d")
    assert mine.stat().st_mtime == 1
    assert not old.exists()
