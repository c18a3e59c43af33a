"""`hubcli fetch --dry-run`: what would come, and that nothing does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import models
from tests.cases import each_of
from tests.server import HubServer, Reply

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ARCHIVE = models.archive()


def snapshot(folder: Path) -> list[tuple[str, int, int]]:
    """Every name below the folder with its times and size."""
    found = ((path, path.lstat()) for path in sorted(folder.rglob("*")))
    return [(str(path), status.st_mtime_ns, status.st_size) for path, status in found]


def test_it_tells_handle_size_and_what_and_a_total(server: HubServer, hubcli: Run, tmp_path: Path) -> None:
    folder = models.write_tree(tmp_path / "model", models.example_files())
    url = server.serve("/maker/model/1", ARCHIVE)
    silent = server.serve("/maker/silent/1", Reply(ARCHIVE, sends_length=False))
    hubcli("fetch", "example://mul/1")
    result = hubcli("fetch", "--dry-run", url, silent, "example://mul/1", str(folder))
    assert result.returncode == 0, result.stderr
    _, *rows, total = result.stdout.splitlines()
    assert [row.split()[0] for row in rows] == [url, silent, "example://mul/1", str(folder)]
    assert [row.split("  ")[-1] for row in rows] == ["would fetch", "would fetch", "cached", "local"]
    assert total == f"4 models: 2 to fetch, {len(ARCHIVE) / 1000:.1f} kB, 1 of unknown size"


def test_nothing_is_written_not_even_the_cache(
    server: HubServer, hubcli: Run, cache: Path, tmp_path: Path
) -> None:
    url = server.serve("/maker/model/1", ARCHIVE)
    lock = tmp_path / "models.lock"
    assert hubcli("fetch", "--dry-run", url, "example://mul/1", "--lock", str(lock)).returncode == 0
    assert not cache.exists()
    assert not lock.exists()


def test_a_cache_that_is_there_stays_as_it_is(hubcli: Run, cache: Path, tmp_path: Path) -> None:
    handle = "https://tfhub.dev/maker/model/1"
    file = tmp_path / "model.tar.gz"
    file.write_bytes(ARCHIVE)
    hubcli("fetch", handle, "--from", str(file))
    of_tensorflow_hub = "https://tfhub.dev/maker/other/1"
    key = hashlib.sha1(of_tensorflow_hub.encode()).hexdigest()
    models.write_tree(cache / key, models.example_files())
    before = snapshot(cache)
    for words in ([handle, of_tensorflow_hub, "example://mul/1", str(file)], ["--force", str(file)]):
        result = hubcli("fetch", "--dry-run", *words)
        assert result.returncode == 0, result.stderr
    assert snapshot(cache) == before


def test_quiet_prints_what_would_be_fetched(server: HubServer, hubcli: Run) -> None:
    url = server.serve("/maker/model/1", ARCHIVE)
    hubcli("fetch", "example://mul/1")
    assert hubcli("fetch", "--dry-run", "-q", "example://mul/1", url).stdout == f"{url}\n"
    assert hubcli("fetch", "--dry-run", "-q", "example://mul/1").stdout == ""


def test_json_has_sums_and_errors_in_the_order_given(server: HubServer, hubcli: Run) -> None:
    url = server.serve("/maker/model/1", ARCHIVE)
    absent = server.url + "/absent/1"
    result = hubcli("fetch", "--dry-run", "--json", absent, url, "tfhub.dev/x")
    document = json.loads(result.stdout)
    assert result.returncode == 4
    assert document["dry_run"] is True
    assert document["models"] == [{"handle": url, "what": "would-fetch", "bytes": len(ARCHIVE)}]
    assert document["to_fetch"] == {"models": 1, "bytes": len(ARCHIVE), "unknown": 0}
    assert [error["code"] for error in document["errors"]] == ["not-found", "handle"]


def test_a_broken_copy_and_force_mean_that_it_would_be_fetched(hubcli: Run) -> None:
    model = Path(hubcli("fetch", "example://mul/1").stdout.strip())
    assert hubcli("fetch", "--dry-run", "-q", "--force", "example://mul/1").stdout == "example://mul/1\n"
    (model / "saved_model.pb").unlink()
    assert hubcli("fetch", "--dry-run", "-q", "example://mul/1").stdout == "example://mul/1\n"


def test_offline_and_a_lock_that_is_broken_fail_as_a_fetch_would(hubcli: Run, tmp_path: Path) -> None:
    assert hubcli("fetch", "--dry-run", "--offline", "https://tfhub.dev/a/b/1").returncode == 5
    lock = tmp_path / "models.lock"
    model = Path(hubcli("fetch", "example://mul/1", "--lock", str(lock)).stdout.strip())
    models.write_tree(model, {"assets.extra/more": b""})
    assert hubcli("fetch", "--dry-run", "--locked", "-r", str(lock)).returncode == 6


def without_main_file(folder: Path) -> None:
    (folder / "saved_model.pb").unlink()


def with_a_main_file_that_ends_early(folder: Path) -> None:
    os.truncate(folder / "saved_model.pb", 2000)


def with_an_empty_main_file(folder: Path) -> None:
    os.truncate(folder / "saved_model.pb", 0)


def with_a_fifo_for_its_main_file(folder: Path) -> None:
    without_main_file(folder)
    os.mkfifo(folder / "saved_model.pb")


def with_a_directory_for_its_main_file(folder: Path) -> None:
    without_main_file(folder)
    (folder / "saved_model.pb").mkdir()


def with_a_link_to_itself_for_its_main_file(folder: Path) -> None:
    without_main_file(folder)
    (folder / "saved_model.pb").symlink_to("saved_model.pb")


def with_a_main_file_that_may_not_be_read(folder: Path) -> None:
    (folder / "saved_model.pb").chmod(0)


def that_may_not_be_entered(folder: Path) -> None:
    folder.chmod(0)


@each_of(
    "damage",
    [
        without_main_file,
        with_a_main_file_that_ends_early,
        with_an_empty_main_file,
        with_a_fifo_for_its_main_file,
        with_a_directory_for_its_main_file,
        with_a_link_to_itself_for_its_main_file,
        with_a_main_file_that_may_not_be_read,
        that_may_not_be_entered,
    ],
)
def test_a_local_directory_that_is_no_model_fails_as_a_fetch_would(
    damage: Callable[[Path], None], hubcli_in_turn: Run, cache: Path, tmp_path: Path
) -> None:
    if damage in (with_a_main_file_that_may_not_be_read, that_may_not_be_entered) and os.geteuid() == 0:
        pytest.skip("root may read everything")
    folder = models.write_tree(tmp_path / "model", models.example_files())
    damage(folder)
    foreseen, fetched = (
        hubcli_in_turn("fetch", *words, "--json", str(folder)) for words in (["--dry-run"], [])
    )
    plain = hubcli_in_turn("fetch", "--dry-run", str(folder))
    folder.chmod(0o755)
    document = json.loads(foreseen.stdout)
    assert (foreseen.returncode, document["error"]["code"]) == (6, "broken-model"), document
    assert document["models"] == []
    assert document["error"] == json.loads(fetched.stdout)["error"]
    assert fetched.returncode == plain.returncode == 6
    assert plain.stdout == ""
    assert plain.stderr.startswith(f"Error: {folder}")
    assert not cache.exists()


def test_a_local_directory_that_is_not_there_fails_and_the_others_are_told(
    hubcli: Run, tmp_path: Path
) -> None:
    folder = models.write_tree(tmp_path / "model", models.example_files())
    result = hubcli("fetch", "--dry-run", "--json", f"{tmp_path}/absent", str(folder))
    document = json.loads(result.stdout)
    assert (result.returncode, [error["code"] for error in document["errors"]]) == (4, ["not-found"])
    assert [model["what"] for model in document["models"]] == ["local"]


def test_a_local_directory_with_other_bytes_than_its_lock_fails(hubcli: Run, tmp_path: Path) -> None:
    folder = models.write_tree(tmp_path / "model", models.example_files())
    lock = tmp_path / "models.lock"
    assert hubcli("fetch", "-q", str(folder), "--lock", str(lock)).returncode == 0
    assert hubcli("fetch", "--dry-run", "--locked", "-r", str(lock)).returncode == 0
    with (folder / "fingerprint.pb").open("ab") as file:
        file.write(b".")
    result = hubcli("fetch", "--dry-run", "--locked", "--json", "-r", str(lock))
    assert (result.returncode, json.loads(result.stdout)["error"]["code"]) == (6, "checksum")
