"""`hubcli push` and `hubcli tier` as processes, and `fetch --tier`: statuses, JSON, questions."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli.tiers.layout import manifest_key
from tests import models
from tests.entries import key_of
from tests.server import HubServer, Reply
from tests.test_schemas import validate

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tier(tmp_path: Path) -> Path:
    return tmp_path / "tier"


@pytest.fixture
def url(server: HubServer) -> str:
    return server.serve("/model.tar.gz", models.archive())


def test_what_is_pushed_is_fetched_from_the_tier(
    hubcli: Run, url: str, server: HubServer, tier: Path, tmp_path: Path
) -> None:
    assert hubcli("fetch", url).returncode == 0
    pushed = hubcli("push", url, "--tier", str(tier))
    assert (pushed.returncode, pushed.stderr) == (0, "")
    assert pushed.stdout.startswith(f"Pushed to {tier}: {url} (")
    requests = len(server.requests)
    fetched = hubcli("fetch", url, "--tier", str(tier), "--cache-dir", str(tmp_path / "other"), "--json")
    assert fetched.returncode == 0, fetched.stderr
    assert json.loads(fetched.stdout)["models"][0]["source"].startswith(f"{tier.as_uri()}/blobs/sha256/")
    assert len(server.requests) == requests
    listed = hubcli("ls", "--json", "--cache-dir", str(tmp_path / "other"))
    assert json.loads(listed.stdout)["models"][0]["tier"] == str(tier)


def test_the_variable_names_tiers_and_off_none(
    hubcli: Run, url: str, server: HubServer, tier: Path, tmp_path: Path
) -> None:
    variable = f"{tier}?mode=read-write"
    first = hubcli("fetch", url, HUBCLI_TIERS=variable)
    assert f"Note: Pushed {url} to {tier}" in first.stderr
    hubcli("fetch", url, "--cache-dir", str(tmp_path / "b"), HUBCLI_TIERS=variable)
    assert len(server.requests) == 1
    hubcli("fetch", url, "--cache-dir", str(tmp_path / "c"), HUBCLI_TIERS="off")
    assert len(server.requests) == 2


def test_a_tier_that_fails_has_a_status_of_its_own_where_it_is_required(
    hubcli: Run, url: str, server: HubServer
) -> None:
    server.serve("/tier/hubcli-tier.json", Reply(status=403))
    address = f"{server.url}/tier"
    result = hubcli("fetch", url, "--tier", address, "--require-tier", "--json")
    assert result.returncode == 12
    assert json.loads(result.stdout)["error"]["code"] == "tier"
    passed_over = hubcli("fetch", url, "--tier", address)
    assert passed_over.returncode == 0
    assert f"Note: Shared tier {address} failed: " in passed_over.stderr


def test_every_document_is_as_its_schema_says(hubcli: Run, url: str, tier: Path) -> None:
    hubcli("fetch", url)
    for name, status, *words in (
        ("push", 0, "push", "--all"),
        ("push", 4, "push", url, "./nothing"),
        ("tier-ls", 0, "tier", "ls"),
        ("tier-stat", 0, "tier", "stat"),
        ("tier-verify", 0, "tier", "verify"),
        ("tier-gc", 0, "tier", "gc", "--max-count", "0", "--grace", "0s", "--dry-run"),
        ("tier-gc", 9, "tier", "gc", "--max-count", "0", "-y"),
        ("tier-gc", 0, "tier", "gc", "--max-count", "0", "--grace", "0s", "-y"),
    ):
        result = hubcli(*words, "--tier", str(tier), "--json")
        assert result.returncode == status, (words, result.stderr)
        validate(name, json.loads(result.stdout))
    assert not list((tier / "blobs").glob("**/*")) or not any(
        path.is_file() for path in (tier / "blobs").rglob("*")
    )


def test_all_leaves_out_what_no_host_has(hubcli: Run, url: str, tier: Path) -> None:
    assert hubcli("push", "--all", "--tier", str(tier)).stderr == "Note: Nothing to push\n"
    hubcli("fetch", url, "example://mul/1")
    result = hubcli("push", "--all", "--tier", str(tier), "-q")
    assert (result.returncode, result.stdout) == (0, f"{url}\n")


def test_a_lock_file_is_pushed_and_kept(hubcli: Run, url: str, tier: Path, tmp_path: Path) -> None:
    lock = tmp_path / "models.lock"
    hubcli("fetch", url, "--lock", str(lock))
    assert hubcli("push", "--lock", str(lock), "--tier", str(tier)).returncode == 0
    collected = hubcli(
        "tier", "gc", "--tier", str(tier), "--older-than", "0s", "--grace", "0s", "--keep", str(lock)
    )
    assert collected.returncode == 0, collected.stderr
    locked = ("fetch", "--locked", "-r", str(lock), "--tier", str(tier), "--cache-dir", str(tmp_path / "b"))
    assert hubcli(*locked).returncode == 0


def test_without_a_terminal_models_go_with_yes_alone(hubcli: Run, url: str, tier: Path) -> None:
    hubcli("push", url, "--tier", str(tier))
    words = ("tier", "gc", "--tier", str(tier), "--max-count", "0", "--grace", "0s")
    refused = hubcli(*words)
    assert refused.returncode == 2
    assert "Cannot ask before removing 1 model" in refused.stderr
    removed = hubcli(*words, "--yes")
    assert removed.stdout.splitlines()[-1].startswith("Removed 1 model and 1 archive (")
    assert hubcli("tier", "ls", "--tier", str(tier)).stdout == ""


def test_corruption_is_found_and_mended_by_a_forced_push(hubcli: Run, url: str, tier: Path) -> None:
    hubcli("push", url, "--tier", str(tier))
    blob = next(path for path in (tier / "blobs").rglob("*") if path.is_file())
    blob.write_bytes(b"x" * blob.stat().st_size)
    found = hubcli("tier", "verify", "--tier", str(tier), "-q")
    assert (found.returncode, found.stdout) == (9, f"{manifest_key(key_of(url), blob.name)}\n")
    assert hubcli("push", "--force", url, "--tier", str(tier)).returncode == 0
    assert hubcli("tier", "verify", "--tier", str(tier)).stdout == f"No faults in {tier}\n"


def test_a_conflict_is_shown_in_the_list(hubcli: Run, url: str, server: HubServer, tier: Path) -> None:
    server.serve("/maker/model/1", models.archive())
    handle, mirror = "https://tfhub.dev/maker/model/1", ("--mirror", f"https://tfhub.dev={server.url}")
    hubcli("fetch", handle, *mirror, "--tier", f"{tier}?mode=read-write")
    server.serve("/maker/model/1", models.pack({**models.example_files(), "assets/a.txt": b"a"}))
    hubcli("fetch", handle, *mirror, "--force")
    pushed = hubcli("push", handle, "--tier", str(tier), "--json")
    assert pushed.returncode == 6
    assert json.loads(pushed.stdout)["error"]["code"] == "tier-conflict"
    assert hubcli("tier", "ls", "--tier", str(tier)).stdout.count("(conflict)") == 2


def test_wrong_words_say_what_is_right(hubcli_in_turn: Run, tier: Path) -> None:
    for words, status, message in (
        (("tier",), 2, "Missing argument"),
        (("tier", "lss", "--tier", str(tier)), 2, "No such action 'lss'. Did you mean 'ls'?"),
        (("tier", "ls", "--grace", "1d"), 2, "--grace is not an option of hubcli tier ls"),
        (("tier", "ls"), 2, "No shared tier"),
        (("tier", "ls", "--tier", str(tier)), 4, f"{tier} is not a shared tier"),
        (("tier", "gc", "--tier", f"{tier}?mode=read"), 2, "No writable shared tier"),
        (("tier", "gc", "--tier", str(tier), "--grace", "2"), 2, "--grace: "),
        (("tier", "stat", "--tier", "s3:/x"), 2, "--tier is 's3:/x', not an address of a shared tier"),
        (
            ("tier", "stat", "--tier", "https://h.example/x", "--offline"),
            2,
            "--offline and a shared tier on the network",
        ),
        (("push",), 2, "Nothing to push"),
        (("push", "x", "--all"), 2, "TARGET, --all and --lock cannot be used together"),
        (("push", "example://mul/1", "--tier", str(tier)), 2, "no handle that other machines can fetch"),
    ):
        result = hubcli_in_turn(*words)
        assert result.returncode == status, (words, result.stderr)
        assert message in result.stderr, (words, result.stderr)
    assert not os.path.lexists(tier)
