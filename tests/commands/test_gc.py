"""`gc`: from settings and a policy to a cache within its bounds; real entries, a real verify."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from hubcli.cache.gc.plan import Plan, Policy
from hubcli.commands.fetch import fetch
from hubcli.commands.gc import Collection, gc
from hubcli.commands.ls import ls
from hubcli.config.settings import Settings
from hubcli.errors import CacheError, UsageError
from hubcli.progress import ProgressListener
from tests import models
from tests.entries import (
    alias_link,
    dead_pid,
    hubcli_entry,
    live_process,
    lock,
    set_access_time,
    snapshot,
    tensorflow_hub_entry,
)

DAY = 86400.0
SMALL = "https://tfhub.dev/google/small/1"
LARGE = "https://tfhub.dev/google/large/1"
MIDDLE = "https://www.kaggle.com/models/google/middle/tensorFlow2/base/1"


def handles(settings: Settings) -> list[str]:
    return [model.handle or model.name for model in ls(settings).models]


def run(settings: Settings, *patterns: str, dry_run: bool = False, **rules: float | bool) -> Collection:
    return gc(settings, Policy(**rules), patterns, dry_run=dry_run)  # type: ignore[arg-type]


@pytest.fixture
def three(settings: Settings, cache: Path) -> Settings:
    now = time.time()
    hubcli_entry(cache, SMALL, fetched_at_s=now - 50 * DAY, last_used_at_s=now - DAY)
    hubcli_entry(cache, LARGE, fetched_at_s=now - 40 * DAY)
    tensorflow_hub_entry(cache, MIDDLE, downloaded_at_s=now - 10 * DAY)
    return settings


def test_an_empty_cache_has_nothing_to_collect(settings: Settings, cache: Path) -> None:
    assert run(settings, max_size_bytes=0).plan.items == ()
    assert not cache.exists()


def test_a_dry_run_changes_nothing(three: Settings, cache: Path) -> None:
    before = snapshot(cache)
    collection = run(three, dry_run=True, max_size_bytes=0)
    assert (len(collection.plan.models), collection.actions, collection.removed) == (3, None, ())
    assert snapshot(cache) == before


def test_nothing_is_done_that_is_not_confirmed(three: Settings, cache: Path) -> None:
    before, seen = snapshot(cache), list[Plan]()

    def refuse(plan: Plan) -> bool:
        seen.append(plan)
        return False

    collection = gc(three, Policy(max_size_bytes=0), confirm=refuse)
    assert (seen, collection.actions) == ([collection.plan], None)
    assert snapshot(cache) == before


def test_what_hub_load_reads_is_used(three: Settings, cache: Path) -> None:
    """It records nothing; the access time of the file that it reads does."""
    paths = hubcli_entry(cache, LARGE, fetched_at_s=time.time() - 40 * DAY)
    set_access_time(paths, time.time() - 2 * DAY)
    run(three, older_than_s=5 * DAY)
    assert handles(three) == [LARGE, SMALL]


def test_patterns_narrow_what_goes(three: Settings, cache: Path) -> None:
    lock(cache, "https://tfhub.dev/google/crashed/1", dead_pid())
    run(three, "*large*", "google/middle/tensorFlow2/base/1", max_size_bytes=0)
    assert handles(three) == [SMALL]
    assert ls(three).leftovers == 1


def test_a_pattern_that_fits_nothing_is_told(three: Settings) -> None:
    collection = run(three, "*large*", "*larg", "https://tfhub.dev/google/absent/1", max_size_bytes=0)
    assert collection.unmatched == ("*larg", "https://tfhub.dev/google/absent/1")
    assert run(three).unmatched == ()


def test_a_model_of_tensorflow_hub_is_meant_by_a_link_to_it(three: Settings, cache: Path) -> None:
    shutil.rmtree(cache)
    paths = tensorflow_hub_entry(cache, "https://models.example/own", descriptor=False)
    alias_link(cache, "https://other.example/spelling", paths.key)
    assert [item.key for item in run(three, "https://other.example/spelling", max_size_bytes=0).removed] == [
        paths.key
    ]


def test_a_pattern_alone_takes_leftovers_of_what_it_names(three: Settings, cache: Path) -> None:
    shutil.rmtree(tensorflow_hub_entry(cache, "https://tfhub.dev/google/one/1").model)
    shutil.rmtree(tensorflow_hub_entry(cache, "https://tfhub.dev/google/other/1").model)
    collection = run(three, "*/one/*", "*small*")
    assert [item.handle for item in collection.removed] == ["https://tfhub.dev/google/one/1"]


def test_what_verify_condemns_goes(settings: Settings, cache: Path, tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(models.archive())
    whole = fetch(str(archive), settings).path
    broken = fetch("example://mul/1", settings).path
    shard = broken / "variables" / "variables.data-00000-of-00001"
    shard.write_bytes(b"\xff" + shard.read_bytes()[1:])
    collection = run(settings, is_broken_wanted=True, grace_s=0)
    (item,) = collection.removed
    assert item.handle == "example://mul/1"
    assert item.detail is not None
    assert "SHA-256" in item.detail
    assert whole.is_dir()


def test_who_listens_knows_when_the_check_is_over_and_a_question_may_come(settings: Settings) -> None:
    fetch("example://mul/1", settings)
    events: list[str] = []

    class RecordingListener(ProgressListener):
        def started(self, handle: str, source: str, size_bytes: int | None) -> None:
            events.append("started")

        def finished(self) -> None:
            events.append("finished")

    def confirm(plan: Plan) -> bool:
        events.append("asked")
        return False

    gc(settings, Policy(is_broken_wanted=True, grace_s=0), confirm=confirm, listener=RecordingListener())
    assert events == ["started", "finished", "asked"]


def test_a_model_that_exceeds_a_limit_of_inspect_is_not_corrupt(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch("example://mul/1", settings).path
    monkeypatch.setattr("hubcli.savedmodel.graph._MAX_OBJECT_BYTES", 8)
    assert run(settings, is_broken_wanted=True, grace_s=0).plan.items == ()
    assert path.is_dir()


def test_what_may_not_go_is_not_verified(settings: Settings, cache: Path) -> None:
    path = fetch("example://mul/1", settings).path
    (path / "variables" / "variables.index").write_bytes(b"broken")
    assert run(settings, is_broken_wanted=True).plan.models == ()


def test_a_budget_that_is_missed_because_a_process_came_is_told(three: Settings, cache: Path) -> None:
    with live_process() as pid:

        def lock_it(plan: Plan) -> bool:
            return lock(cache, LARGE, pid).lock.exists()

        collection = gc(three, Policy(max_size_bytes=0), confirm=lock_it)
    assert [action.result.value for action in collection.actions or ()].count("busy") == 1
    (error,) = collection.errors
    assert (error.code, error.exit_status) == ("budget", 9)
    assert handles(three) == [LARGE]


def test_a_budget_that_another_process_met_is_no_error(three: Settings, cache: Path) -> None:
    collection = gc(
        three, Policy(max_size_bytes=0), confirm=lambda plan: run(three, max_size_bytes=0).removed != ()
    )
    assert {action.result.value for action in collection.actions or ()} == {"gone"}
    assert collection.errors == ()


# --- Roots that are refused


@pytest.mark.parametrize("make", ["file system", "home", "link to the home", "repository", "worktree"])
def test_a_root_that_is_no_caches_alone_is_refused(
    make: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    if make == "file system":
        root = Path("/")
    elif make == "repository":
        (root / ".git").mkdir()
    elif make == "worktree":
        (root / ".git").write_text("gitdir: elsewhere")
    else:
        monkeypatch.setenv("HOME", str(root))
        if make == "link to the home":
            (tmp_path / "link").symlink_to(root)
            root = tmp_path / "link"
    with pytest.raises(UsageError) as refused:
        gc(Settings.read({}, cache_dir=root))
    assert "--cache-dir" in refused.value.hint


def test_a_cache_that_is_a_link_to_itself_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CacheError, match="is not a directory"):
        gc(Settings.read({}, cache_dir=tmp_path / "loop"), dry_run=True)


def test_the_home_of_the_directorys_owner_is_refused() -> None:
    import pwd

    home = next(
        (
            account.pw_dir
            for account in pwd.getpwall()
            if Path(account.pw_dir).is_dir() and account.pw_dir != "/"
        ),
        None,
    )
    if home is None or Path(home).stat().st_uid != next(
        account.pw_uid for account in pwd.getpwall() if account.pw_dir == home
    ):
        pytest.skip("nobody has a home here")
    with pytest.raises(UsageError, match="home directory"):
        gc(Settings.read({}, cache_dir=home), dry_run=True)
