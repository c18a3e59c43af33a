"""The doctor on the cache: where it is, whether it can be written, and what is wrong with what it holds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hubcli.cache.layout import EntryPaths
from hubcli.commands.doctor import Diagnosis
from hubcli.diagnosing.context import Status
from tests import entries
from tests.cases import each_of
from tests.conftest import Run
from tests.disks import mounted
from tests.doctor import check_named, diagnose, names

HANDLE = "https://tfhub.dev/google/elmo/3"


def of_cache(cache: Path, **variables: str) -> Diagnosis:
    return diagnose({"TFHUB_CACHE_DIR": str(cache), **variables})


# Where it is -------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["--cache-dir", "HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR"])
def test_it_says_who_names_the_cache(source: str, cache: Path) -> None:
    cache.mkdir()
    is_flag = source == "--cache-dir"
    found = diagnose({} if is_flag else {source: str(cache)}, cache_dir=str(cache) if is_flag else None)
    assert check_named(found, "root").value == {"path": str(cache), "source": source, "exists": True}
    assert check_named(found, "root").status is Status.OK


def test_without_any_it_is_the_users_own() -> None:
    check = check_named(diagnose(), "root")
    assert check.value["source"] == "default"
    assert check.value["exists"] is False
    assert "the first fetch creates it" in check.message


@pytest.mark.parametrize("variable", ["HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR"])
def test_a_bucket_is_a_problem_and_ends_nothing(variable: str) -> None:
    found = diagnose({variable: "gs://bucket/cache"})
    assert check_named(found, "root").status is Status.PROBLEM
    assert "not a local directory" in check_named(found, "root").message
    assert check_named(found, "root").hint
    assert "writable" not in names(found)
    assert {"proxies", "kaggle", "tensorflow"} <= names(found)


def test_a_bucket_for_hub_load_alone_is_a_warning(cache: Path) -> None:
    found = diagnose({"HUBCLI_CACHE_DIR": str(cache), "TFHUB_CACHE_DIR": "gs://bucket/cache"})
    assert check_named(found, "root").status is Status.OK
    assert check_named(found, "hub-load").status is Status.WARNING
    assert "gs://bucket/cache, which hubcli cannot use" in check_named(found, "hub-load").message


def test_a_file_in_its_place_is_a_problem(cache: Path) -> None:
    cache.write_text("")
    found = of_cache(cache)
    assert check_named(found, "root").status is Status.PROBLEM
    assert "is not a directory" in check_named(found, "root").message
    assert not {"writable", "entries"} & names(found)


def test_a_link_to_nothing_in_its_place_is_a_problem(cache: Path) -> None:
    cache.symlink_to("gone")
    assert "a broken link" in check_named(of_cache(cache), "root").message


def test_a_repository_is_no_place_that_gc_would_touch(cache: Path) -> None:
    (cache / ".git").mkdir(parents=True)
    assert check_named(of_cache(cache), "collectable").status is Status.WARNING


# Whether it can be written -----------------------------------------------------------------------


def test_writing_is_tried_and_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    deep = cache / "not" / "there"
    assert check_named(of_cache(deep), "writable").value is True
    assert list(tmp_path.iterdir()) == []
    deep.mkdir(parents=True)
    entries.hubcli_entry(deep, HANDLE)
    before = {path: path.lstat().st_mtime_ns for path in deep.rglob("*")}
    assert check_named(of_cache(deep), "writable").value is True
    assert {path: path.lstat().st_mtime_ns for path in deep.rglob("*")} == before


def test_a_disk_that_is_mounted_to_be_read_is_a_problem(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ro,size=1m") as disk:
        found = of_cache(disk)
        assert check_named(found, "writable").status is Status.PROBLEM
        assert "Read-only file system" in check_named(found, "writable").message
        assert check_named(found, "disk").value["read_only"] is True
        assert check_named(of_cache(disk / "below"), "writable").status is Status.PROBLEM


def test_a_disk_with_little_room_is_told(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=1m") as disk:
        check = check_named(of_cache(disk), "disk")
        assert check.status is Status.PROBLEM
        assert check.value["type"] == "tmpfs"
        assert check.value["total_bytes"] == 1 << 20
        assert "hubcli gc" in check.hint
        (disk / "full").write_bytes(bytes(check.value["free_bytes"]))
        assert "No space left" in check_named(of_cache(disk), "writable").message


def test_a_disk_without_room_for_another_file_is_told(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "nr_inodes=1") as disk:
        assert "no free inodes" in check_named(of_cache(disk), "disk").message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another")
def test_a_directory_of_another_user_is_a_problem(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o755)
    for path in (tmp_path, *tmp_path.parents[:-1]):
        if path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o055)
    program = (
        "import os, sys\n"
        "from hubcli.commands.doctor import doctor\n"
        "os.setuid(65534)\n"
        f"found = doctor(environment={{'TFHUB_CACHE_DIR': {str(cache)!r}}})\n"
        "print([check.message for check in found.checks if check.name == 'writable'])\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "no: Permission denied" in result.stdout


# What becomes of it -------------------------------------------------------------------------------


def test_a_cache_among_temporary_files_is_warned_of(cache: Path, tmp_path: Path) -> None:
    check = check_named(of_cache(cache, TMPDIR=str(tmp_path)), "lifetime")
    assert check.status is Status.WARNING
    assert check.value == str(tmp_path)
    assert "cleaners" in check.message


def test_the_default_of_tensorflow_hub_is_warned_of(tmp_path: Path) -> None:
    """hub.load finds it there by itself, and so do the cleaners."""
    found = diagnose({"HUBCLI_CACHE_DIR": str(tmp_path / "tfhub_modules"), "TMPDIR": str(tmp_path)})
    assert check_named(found, "hub-load").status is Status.OK
    assert check_named(found, "lifetime").status is Status.WARNING


@each_of("variable", ["HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR"])
def test_another_directory_is_set_by_the_variable_that_decides(variable: str, tmp_path: Path) -> None:
    root = tmp_path / "cache"
    file = tmp_path / "file"
    file.touch()
    temporary = {"TMPDIR": str(tmp_path), variable: str(root)}
    hint = check_named(diagnose(temporary), "lifetime").hint
    assert hint == f"Keep models elsewhere: export {variable}=~/.cache/hubcli"
    assert check_named(diagnose({variable: str(file)}), "root").hint.endswith(f"export {variable}=DIR")


# Who else looks there -----------------------------------------------------------------------------


def test_hub_load_that_is_told_of_the_cache_is_fine(cache: Path) -> None:
    assert check_named(of_cache(cache), "hub-load").status is Status.OK


def test_hub_load_that_is_not_told_is_given_the_line_to_type(tmp_path: Path) -> None:
    root = tmp_path / "my cache"
    temporary = tmp_path / "tmp"
    entries.tensorflow_hub_entry(temporary / "tfhub_modules", HANDLE)
    check = check_named(diagnose({"TMPDIR": str(temporary)}, cache_dir=str(root)), "hub-load")
    assert check.status is Status.WARNING
    assert f"{temporary}/tfhub_modules, not here (1 model there)" in check.message
    assert check.hint == f"export TFHUB_CACHE_DIR='{root}'"


@pytest.mark.parametrize(
    ("text", "problem"),
    [("~/models", "is not expanded there"), ("models", "relative to its")],
)
def test_a_name_that_tensorflow_hub_understands_otherwise_is_told(text: str, problem: str) -> None:
    check = check_named(diagnose({"TFHUB_CACHE_DIR": text}), "hub-load")
    assert check.status is Status.WARNING
    assert problem in check.message
    assert check.hint.startswith("export TFHUB_CACHE_DIR=/")


@each_of(
    "word, status",
    [
        ("UNCOMPRESSED", Status.WARNING),
        ("uncompressed", Status.PROBLEM),
        ("AUTO", None),
        ("COMPRESSED", None),
    ],
)
def test_the_format_of_loading_is_explained(word: str, status: Status | None) -> None:
    found = [
        check for check in diagnose({"TFHUB_MODEL_LOAD_FORMAT": word}).checks if check.name == "load-format"
    ]
    assert [check.status for check in found] == ([] if status is None else [status])


def test_certificates_that_hub_load_does_not_check_are_told() -> None:
    found = diagnose({"TFHUB_DISABLE_CERT_VALIDATION": "true"})
    assert check_named(found, "load-certificates").status is Status.WARNING


def test_the_cache_of_kagglehub_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "kh" / "models" / "google" / "nnlm" / "tensorFlow2" / "en-dim50"
    (folder / "1").mkdir(parents=True)
    (folder / "1.complete").touch()
    (folder / "2").mkdir()
    found = diagnose({"KAGGLEHUB_CACHE": str(tmp_path / "kh")})
    assert check_named(found, "kagglehub-cache").value == {"path": str(tmp_path / "kh"), "models": 1}


def test_a_bucket_for_kagglehub_is_a_problem() -> None:
    assert check_named(diagnose({"KAGGLEHUB_CACHE": "gs://b/c"}), "kagglehub-cache").status is Status.PROBLEM


# What it holds ------------------------------------------------------------------------------------


def test_models_are_counted(cache: Path) -> None:
    entries.hubcli_entry(cache, HANDLE, pinned=True)
    entries.tensorflow_hub_entry(cache, "https://tfhub.dev/google/spice/2")
    found = of_cache(cache)
    assert (check_named(found, "entries").value["models"], check_named(found, "entries").value["pinned"]) == (
        2,
        1,
    )
    assert check_named(found, "locks").status is Status.OK
    assert not {"gutted", "leftovers"} & names(found)


def test_a_gutted_model_is_a_problem_with_a_remedy(cache: Path, hubcli: Run) -> None:
    entries.gut_entry(entries.hubcli_entry(cache, HANDLE))
    check = check_named(of_cache(cache), "gutted")
    assert check.status is Status.PROBLEM
    assert HANDLE in check.message
    assert f"hubcli fetch {HANDLE}" in check.hint
    assert check.value == [HANDLE]


def test_the_lock_of_a_process_that_is_gone_is_a_problem_that_gc_mends(cache: Path, hubcli: Run) -> None:
    pid = entries.dead_pid()
    entries.lock(cache, HANDLE, pid)
    check = check_named(of_cache(cache), "locks")
    assert check.status is Status.PROBLEM
    assert f":{pid}, which has ended, last active now" in check.message
    assert "hubcli gc" in check.hint
    assert check.value[0]["holder"] == "dead"
    assert hubcli("gc").returncode == 0
    assert check_named(of_cache(cache), "locks").status is Status.OK


def test_the_lock_of_another_host_is_stale_when_it_is_silent(cache: Path) -> None:
    paths = entries.lock(cache, HANDLE, 17, host="elsewhere")
    assert check_named(of_cache(cache), "locks-in-use").status is Status.INFO
    long_ago = time.time() - 3 * 3600
    for path in (paths.lock, *cache.rglob("*.tmp"), *cache.rglob("saved_model.pb")):
        os.utime(path, (long_ago, long_ago))
    check = check_named(of_cache(cache), "locks")
    assert check.status is Status.PROBLEM
    assert "elsewhere:17, last active 3h ago" in check.message


def test_the_lock_of_a_process_that_runs_is_told(cache: Path) -> None:
    with entries.live_process() as pid:
        entries.lock(cache, HANDLE, pid)
        found = of_cache(cache)
        assert f":{pid}, which runs" in check_named(found, "locks-in-use").message
        assert found.problems == ()


def test_leftovers_are_counted_and_a_download_to_resume_is_none(cache: Path) -> None:
    entries.hubcli_entry(cache, HANDLE)
    paths = EntryPaths(cache, entries.key_of("https://tfhub.dev/google/spice/2"))
    paths.pin.touch()
    paths.spool.write_bytes(b"." * 5000)
    found = of_cache(cache)
    assert check_named(found, "leftovers").value["count"] == 1
    assert check_named(found, "leftovers").status is Status.WARNING
    assert check_named(found, "resumable").value["count"] == 1


def test_many_are_named_by_the_first_three(cache: Path) -> None:
    for number in range(5):
        entries.gut_entry(entries.hubcli_entry(cache, f"https://tfhub.dev/google/elmo/{number + 1}"))
    check = check_named(of_cache(cache), "gutted")
    assert "; and 2 more" in check.message
    assert len(check.value) == 5
    assert "hubcli verify --repair" in check.hint


# Exports -----------------------------------------------------------------------------------------


def test_of_many_leftovers_of_exports_three_are_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        (tmp_path / f".model{number}.{'a' * 12}.hubcli-tmp").mkdir()
    check = check_named(of_cache(cache), "exports")
    assert (check.status, len(check.value)) == (Status.INFO, 3)
    assert check.message.count(" (last changed ") == 3
    assert "more" not in check.message
    for number in range(3, 5):
        (tmp_path / f".model{number}.{'a' * 12}.hubcli-tmp").mkdir()
    check = check_named(of_cache(cache), "exports")
    assert len(check.value) == 5
    assert check.message.count(" (last changed ") == 3
    assert check.message.endswith("; and 2 more")
