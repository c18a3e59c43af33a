"""Answers that are kept: for minutes, privately, bounded; offline for longer."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.config.environment import KaggleAccount
from hubcli.config.settings import Settings
from hubcli.config.user_directories import answer_cache_folder
from hubcli.errors import OfflineError
from hubcli.publishing import answer_cache
from hubcli.publishing.answer_cache import FRESH_S, AnswerCache, account_key
from tests.cases import each_of


class Clock:
    def __init__(self) -> None:
        self.now_s = 1e9

    def __call__(self) -> float:
        return self.now_s


class Host:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> bytes:
        self.count += 1
        return f"answer {self.count}".encode()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def cache_at(
    folder: Path | None, clock: Clock, *, offline: bool = False, refresh: bool = False
) -> AnswerCache:
    return AnswerCache(folder, offline=offline, is_refreshed=refresh, clock=clock)


def test_an_answer_is_kept_for_minutes(tmp_path: Path, clock: Clock) -> None:
    host = Host()
    for passed_s, expected in ((0, b"answer 1"), (FRESH_S - 1, b"answer 1"), (2, b"answer 2")):
        clock.now_s += passed_s
        assert cache_at(tmp_path / "a", clock).get(("x",), "x", host) == expected
    assert cache_at(tmp_path / "a", clock).get(("y",), "y", host) == b"answer 3"
    assert cache_at(tmp_path / "a", clock, refresh=True).get(("x",), "x", host) == b"answer 4"


def test_offline_any_age_will_do_and_is_told(tmp_path: Path, clock: Clock) -> None:
    host = Host()
    cache_at(tmp_path / "a", clock).get(("x",), "x", host)
    saved_s, clock.now_s = clock.now_s, clock.now_s + 20 * 86400
    offline = cache_at(tmp_path / "a", clock, offline=True, refresh=True)
    assert offline.get(("x",), "x", host) == b"answer 1"
    assert offline.oldest_s == saved_s
    with pytest.raises(OfflineError, match="No cached answer from the host"):
        offline.get(("y",), "the host", host)
    assert host.count == 1


def test_a_clock_that_was_set_back_makes_no_answer_young(tmp_path: Path, clock: Clock) -> None:
    host = Host()
    cache_at(tmp_path / "a", clock).get(("x",), "x", host)
    clock.now_s -= 3600
    assert cache_at(tmp_path / "a", clock).get(("x",), "x", host) == b"answer 2"


def test_nobody_else_can_read_them(tmp_path: Path, clock: Clock) -> None:
    before = os.umask(0)
    try:
        cache_at(tmp_path / "a", clock).get(("x",), "x", Host())
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "a").iterdir()] == [0o600]


@each_of("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_may_enter_is_not_used(mode: int, tmp_path: Path) -> None:
    clock, host, folder = Clock(), Host(), tmp_path / "a"
    folder.mkdir()
    folder.chmod(mode)
    for expected in (b"answer 1", b"answer 2"):
        assert cache_at(folder, clock).get(("x",), "x", host) == expected
    assert list(folder.iterdir()) == []


def test_a_link_a_file_and_no_home_hold_nothing(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "there").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "there")
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "link", tmp_path / "file", None):
        host = Host()
        for expected in (b"answer 1", b"answer 2"):
            assert cache_at(folder, clock).get(("x",), "x", host) == expected
    assert list((tmp_path / "there").iterdir()) == []


@each_of(
    "damage", [b"", b"{}", b"\n", b"[" * 300, b'{"version": 1, "saved_at": 1, "bytes": 3}\nab', b"\xff\n"]
)
def test_a_damaged_file_is_no_answer(damage: bytes, tmp_path: Path) -> None:
    clock, host, folder = Clock(), Host(), tmp_path / "a"
    cache_at(folder, clock).get(("x",), "x", host)
    next(folder.iterdir()).write_bytes(damage)
    assert cache_at(folder, clock).get(("x",), "x", host) == b"answer 2"


def test_an_answer_of_which_a_byte_changed_on_the_disk_is_no_answer(tmp_path: Path) -> None:
    clock, host, folder = Clock(), Host(), tmp_path / "a"
    cache_at(folder, clock).get(("x",), "x", host)
    file = next(folder.iterdir())
    file.write_bytes(file.read_bytes().replace(b"answer", b"answes"))
    assert cache_at(folder, clock).get(("x",), "x", host) == b"answer 2"


def test_the_oldest_go_beyond_the_bounds(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_cache, "_MAX_FILES", 3)
    folder = tmp_path / "a"
    for number in range(6):
        cache_at(folder, clock).get((str(number),), "x", Host())
        newest = max(folder.glob("*.answer"), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (clock.now_s - 100 + number,) * 2)
    assert len(list(folder.iterdir())) == 3
    (folder / "killed.tmp").write_bytes(b"x")
    os.utime(folder / "killed.tmp", (clock.now_s - 2 * FRESH_S,) * 2)
    (folder / "of-somebody-else").write_bytes(b"x")
    monkeypatch.setattr(answer_cache, "_MAX_BYTES", 0)
    cache_at(folder, clock).get(("more",), "x", Host())
    assert [path.name for path in folder.iterdir()] == ["of-somebody-else"]


def test_accounts_do_not_share_answers(tmp_path: Path) -> None:
    file = tmp_path / "access_token"
    without = KaggleAccount(token_file=file)
    keys = {
        account_key(without),
        account_key(KaggleAccount(token="a")),
        account_key(KaggleAccount(token="b")),
    }
    file.write_text("t")
    keys.add(account_key(without))
    assert len(keys) == 4


def test_it_is_beside_the_default_cache_and_not_in_it(settings: Settings) -> None:
    folder = answer_cache_folder()
    assert folder is not None
    assert folder.name == "hubcli-answers"
    offline = AnswerCache.of(replace(settings, offline=True))
    with pytest.raises(OfflineError):
        offline.get(("x",), "x", Host())
