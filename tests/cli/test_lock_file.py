"""`hubcli fetch --lock` and `--locked`: the same bytes everywhere, or exit 6."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubcli.archive.tree import hashed_files, tree_digest
from tests import models
from tests.cases import each_of
from tests.cli.command_batch import run_many
from tests.cli.terminal import start
from tests.server import HubServer, Reply

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ARCHIVE = models.archive()
OTHER = models.archive(assets__more=b"other")


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "models.lock"


@pytest.fixture(scope="module")
def example_lock(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The lock file of example://mul/1."""
    folder = tmp_path_factory.mktemp("lock")
    file = folder / "models.lock"
    run_many([["fetch", "example://mul/1", "--lock", str(file)]], cache=folder / "cache")
    return file.read_text()


def locked(lock: Path) -> dict[str, dict[str, Any]]:
    """The models of the file, by handle."""
    return {model["handle"]: model for model in json.loads(lock.read_text())["models"]}


# What is written


def test_a_lock_file_tells_which_bytes_each_model_had(server: HubServer, hubcli: Run, lock: Path) -> None:
    url = server.serve("/maker/model/3", ARCHIVE)
    result = hubcli("fetch", url, "example://mul/1", "--lock", str(lock))
    assert result.returncode == 0, result.stderr
    files = models.example_files()
    tree = tree_digest(hashed_files(Path(result.stdout.splitlines()[0])))
    assert list(locked(lock)) == ["example://mul/1", url]
    assert locked(lock)[url] == {
        "handle": url,
        "resolved": url,
        "archive": {"sha256": hashlib.sha256(ARCHIVE).hexdigest(), "bytes": len(ARCHIVE)},
        "tree": {"sha256": tree, "bytes": sum(map(len, files.values())), "files": len(files)},
    }


def test_a_lock_file_that_is_a_link_to_itself_is_refused(hubcli: Run, lock: Path) -> None:
    lock.symlink_to(lock.name)
    result = hubcli("fetch", "example://mul/1", "--lock", str(lock))
    assert result.returncode == 2
    assert "a link to itself" in result.stderr


def test_a_handle_without_a_version_is_locked_by_its_bytes_alone(
    server: HubServer, hubcli: Run, lock: Path
) -> None:
    url = server.serve("/maker/model", ARCHIVE)
    hubcli("fetch", url, "--lock", str(lock))
    assert locked(lock)[url]["resolved"] is None


def test_the_same_models_give_the_same_bytes(server: HubServer, hubcli: Run, lock: Path, cache: Path) -> None:
    urls = [server.serve(f"/m{number}/1", ARCHIVE) for number in range(3)]
    hubcli("fetch", *urls, "--lock", str(lock))
    before = lock.read_bytes()
    shutil.rmtree(cache)
    hubcli("fetch", *reversed(urls), "--jobs", "3", "--lock", str(lock))
    assert lock.read_bytes() == before
    lock.unlink()
    hubcli("fetch", *urls[1:], urls[0], "--lock", str(lock))
    assert lock.read_bytes() == before


def test_models_that_were_not_named_stay_and_those_that_failed_too(
    server: HubServer, hubcli: Run, lock: Path
) -> None:
    urls = [server.serve(f"/m{number}/1", ARCHIVE) for number in range(3)]
    hubcli("fetch", *urls, "--lock", str(lock))
    before = locked(lock)
    server.serve("/m0/1", OTHER)
    server.serve("/m1/1", Reply(status=404))
    result = hubcli("fetch", "--force", *urls[:2], "--lock", str(lock))
    assert result.returncode == 4
    assert f"Note: {lock}: the archive of {urls[0]} changed" in result.stderr
    after = locked(lock)
    assert list(after) == list(before)
    assert [after[url] == before[url] for url in urls] == [False, True, True]


def test_an_entry_of_tensorflow_hub_is_hashed_now(hubcli: Run, cache: Path, lock: Path) -> None:
    handle = "https://tfhub.dev/maker/model/1"
    folder = models.write_tree(cache / hashlib.sha1(handle.encode()).hexdigest(), models.example_files())
    result = hubcli("fetch", "--offline", handle, "--lock", str(lock))
    assert result.returncode == 0, result.stderr
    assert locked(lock)[handle]["archive"] is None
    assert locked(lock)[handle]["tree"]["sha256"] == tree_digest(hashed_files(folder))
    assert hubcli("fetch", "--offline", "--locked", "-r", str(lock)).returncode == 0


def test_a_local_directory_can_be_locked(hubcli: Run, tmp_path: Path, lock: Path) -> None:
    folder = models.write_tree(tmp_path / "model", models.example_files())
    hubcli("fetch", str(folder), "--lock", str(lock))
    assert hubcli("fetch", "--locked", "-r", str(lock)).returncode == 0
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "more").write_bytes(b"")
    assert hubcli("fetch", "--locked", "-r", str(lock)).returncode == 6


def test_after_an_interrupt_it_is_as_it_was(server: HubServer, hubcli: Run, lock: Path, cache: Path) -> None:
    url = server.serve("/stuck/1", Reply(OTHER, stall_at=1000))
    hubcli("fetch", "example://mul/1", "--lock", str(lock))
    before = lock.read_bytes()
    process = start(cache, "fetch", "example://mul/1", url, "--lock", str(lock))
    assert server.stalled.wait(120)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert lock.read_bytes() == before


def test_where_nothing_was_fetched_none_is_written(server: HubServer, hubcli: Run, lock: Path) -> None:
    result = hubcli("fetch", server.url + "/absent/1", "--lock", str(lock))
    assert result.returncode == 4
    assert not lock.exists()
    assert [path.name for path in lock.parent.iterdir() if "models.lock" in path.name] == []


def test_a_lock_file_that_cannot_be_written_is_exit_8_and_the_models_are_there(hubcli: Run) -> None:
    result = hubcli("fetch", "--json", "example://mul/1", "--lock", "/proc/self/models.lock")
    assert result.returncode == 8
    assert len(json.loads(result.stdout)["models"]) == 1


def test_a_link_stays_a_link(hubcli: Run, tmp_path: Path, lock: Path) -> None:
    lock.symlink_to(tmp_path / "real.lock")
    hubcli("fetch", "example://mul/1", "--lock", str(lock))
    assert lock.is_symlink()
    assert "example://mul/1" in locked(tmp_path / "real.lock")


# What is fetched by it


def test_what_is_locked_is_fetched_on_another_machine(
    server: HubServer, hubcli: Run, lock: Path, cache: Path
) -> None:
    urls = [server.serve(f"/m{number}/1", ARCHIVE) for number in range(2)]
    first = hubcli("fetch", *urls, "--lock", str(lock))
    shutil.rmtree(cache)
    before = lock.read_bytes()
    result = hubcli("fetch", "--locked", "-r", str(lock))
    assert (result.returncode, result.stdout) == (0, first.stdout)
    assert lock.read_bytes() == before


def test_an_archive_that_changed_is_exit_6_and_nothing_is_cached(
    server: HubServer, hubcli: Run, lock: Path, cache: Path
) -> None:
    url = server.serve("/m/1", ARCHIVE)
    hubcli("fetch", url, "--lock", str(lock))
    shutil.rmtree(cache)
    server.serve("/m/1", models.pack(models.example_files(), prefix=""))
    result = hubcli("fetch", "--locked", "-r", str(lock))
    assert result.returncode == 6
    assert set(os.listdir(cache)) <= {"CACHEDIR.TAG"}


def test_files_that_differ_are_exit_6_where_no_archive_is_locked(
    server: HubServer, hubcli: Run, lock: Path, cache: Path, tmp_path: Path
) -> None:
    url = server.serve("/m/1", OTHER)
    folder = models.write_tree(tmp_path / "model", models.example_files())
    hubcli("fetch", url, "--from", str(folder), "--lock", str(lock))
    assert locked(lock)[url]["archive"] is None
    shutil.rmtree(cache)
    result = hubcli("fetch", "--locked", "-r", str(lock))
    assert result.returncode == 6
    assert "differs from the lock file" in result.stderr
    assert set(os.listdir(cache)) <= {"CACHEDIR.TAG"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("flip", "variables/variables.data-00000-of-00001 differs from what was fetched"),
        ("add", "assets.extra/more was added"),
    ],
)
def test_a_cached_model_that_differs_is_exit_6_and_stays(
    damage: str, message: str, server: HubServer, hubcli: Run, lock: Path
) -> None:
    url = server.serve("/m/1", ARCHIVE)
    model = Path(hubcli("fetch", url, "--lock", str(lock)).stdout.strip())
    shard = model / "variables" / "variables.data-00000-of-00001"
    if damage == "flip":
        shard.write_bytes(b"\xff" + shard.read_bytes()[1:])
    else:
        models.write_tree(model, {"assets.extra/more": b""})
    before = models.tree_files(model)
    result = hubcli("fetch", "--locked", "-r", str(lock))
    assert result.returncode == 6
    assert message in result.stderr
    assert "--force" in result.stderr
    assert models.tree_files(model) == before
    assert hubcli("fetch", "--locked", "--force", "-r", str(lock)).returncode == 0
    assert models.tree_files(model) == models.example_files()


def test_another_version_of_the_model_in_the_cache_is_exit_6(
    server: HubServer, hubcli: Run, lock: Path
) -> None:
    url = server.serve("/m", ARCHIVE)
    hubcli("fetch", url, "--lock", str(lock))
    server.serve("/m", OTHER)
    hubcli("fetch", "--force", url)
    result = hubcli("fetch", "--locked", "--json", "-r", str(lock))
    assert result.returncode == 6
    assert json.loads(result.stdout)["error"]["code"] == "checksum"


def test_it_needs_no_network_where_all_is_cached(server: HubServer, hubcli: Run, lock: Path) -> None:
    url = server.serve("/m/1", ARCHIVE)
    hubcli("fetch", url, "--lock", str(lock))
    requests = len(server.requests)
    assert hubcli("fetch", "--locked", "--offline", "-r", str(lock)).returncode == 0
    assert len(server.requests) == requests


def test_a_gutted_copy_is_fetched_anew_with_a_note(server: HubServer, hubcli: Run, lock: Path) -> None:
    url = server.serve("/m/1", ARCHIVE)
    model = Path(hubcli("fetch", url, "--lock", str(lock)).stdout.strip())
    (model / "saved_model.pb").unlink()
    result = hubcli("fetch", "--locked", "-r", str(lock))
    assert result.returncode == 0, result.stderr
    assert "is corrupt" in result.stderr


def test_a_list_beside_the_lock_file_chooses_among_its_models(
    server: HubServer, hubcli: Run, lock: Path, tmp_path: Path
) -> None:
    urls = [server.serve(f"/m{number}/1", ARCHIVE) for number in range(2)]
    hubcli("fetch", *urls, "--lock", str(lock))
    (tmp_path / "models.txt").write_text(f"{urls[1]}/\n")
    words = ("fetch", "--locked", "--lock", str(lock))
    result = hubcli(*words, "-r", str(tmp_path / "models.txt"))
    assert [Path(line).name for line in result.stdout.splitlines()] == [
        hashlib.sha1(urls[1].encode()).hexdigest()
    ]
    absent = hubcli(*words, urls[0], "example://mul/1")
    assert absent.returncode == 2
    assert f"example://mul/1 is not in {lock}" in absent.stderr
    assert len(absent.stdout.splitlines()) == 1


def test_without_locked_a_lock_file_is_a_list_of_handles(server: HubServer, hubcli: Run, lock: Path) -> None:
    url = server.serve("/m", ARCHIVE)
    hubcli("fetch", url, "--lock", str(lock))
    server.serve("/m", OTHER)
    result = hubcli("fetch", "--force", "-r", str(lock), "--lock", str(lock))
    assert result.returncode == 0, result.stderr
    assert locked(lock)[url]["archive"]["sha256"] == hashlib.sha256(OTHER).hexdigest()


def test_a_hash_in_a_list_that_contradicts_the_lock_file_is_a_usage_error(
    hubcli: Run, lock: Path, tmp_path: Path
) -> None:
    hubcli("fetch", "example://mul/1", "--lock", str(lock))
    (tmp_path / "models.txt").write_text(f"example://mul/1 --sha256={'0' * 64}\n")
    result = hubcli("fetch", "--locked", "--lock", str(lock), "-r", str(tmp_path / "models.txt"))
    assert result.returncode == 2
    assert "different expected SHA-256" in result.stderr


# What can't be understood


@each_of(
    "text",
    [
        "",
        "[]",
        "{}",
        "{",
        '{"hubcli_lock": "1", "models": []}',
        '{"hubcli_lock": 2, "models": []}',
        '{"hubcli_lock": 1}',
        '{"hubcli_lock": 1, "models": [1]}',
        '{"hubcli_lock": 1, "models": [{"handle": "example://mul/1"}]}',
        "[" * 100_000,
        "CONFLICT",
        "DOUBLED",
        "NO-HASH",
        "NO-HANDLE",
    ],
)
def test_a_file_that_is_no_lock_file_is_a_usage_error_and_stays(
    text: str, example_lock: str, hubcli_in_turn: Run, lock: Path
) -> None:
    lock.write_text(example_lock)
    document = json.loads(example_lock)
    if text == "CONFLICT":
        first, *rest = lock.read_text().splitlines(keepends=True)
        text = "".join([first, "<<<<<<< HEAD\n", *rest, "=======\n", *rest, ">>>>>>> theirs\n"])
    if text == "DOUBLED":
        document["models"] *= 2
    elif text == "NO-HASH":
        document["models"][0]["tree"]["sha256"] = "0"
    elif text == "NO-HANDLE":
        document["models"][0]["handle"] = "tfhub.dev/x"
    lock.write_text(json.dumps(document) if text.isupper() else text)
    before = lock.read_bytes()
    words = ["--lock", str(lock), "example://mul/1"]
    for command in (["fetch", "--locked"], ["fetch"]):
        result = hubcli_in_turn(*command, *words)
        assert result.returncode == 2, result.stderr
        assert str(lock) in result.stderr
        assert "Traceback" not in result.stderr
    assert lock.read_bytes() == before


@each_of(
    "words, message",
    [
        (["--lock", "models.toml"], "lock files are JSON"),
        (["--lock", "nowhere/models.lock"], "is not a directory"),
        (["--lock", "."], "Cannot read the lock file .: Is a directory"),
        (["--locked"], "--locked requires a lock file"),
        (["--locked", "--lock", "nowhere.lock"], "Cannot read the lock file"),
    ],
)
def test_what_does_not_fit_together_is_told_before_anything_is_fetched(
    words: list[str], message: str, hubcli_in_turn: Run, cache: Path
) -> None:
    result = hubcli_in_turn("fetch", "example://mul/1", *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr
    assert not cache.exists()
