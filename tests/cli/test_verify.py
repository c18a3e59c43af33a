"""`hubcli verify` as a process: statuses of several targets, interrupts, JSON of faults."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import models
from tests.cli.terminal import start
from tests.entries import SHARD
from tests.savedmodel.bundles import write_bundle_model
from tests.server import HubServer, Reply

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A model whose first tensor is damaged."""
    model = write_bundle_model(tmp_path / "broken", {"first": bytes(40), "second": bytes(8)})
    (model / SHARD).write_bytes(b"!" + (model / SHARD).read_bytes()[1:])
    return model


def test_what_is_broken_is_told_with_file_tensor_and_bytes(broken: Path, hubcli: Run) -> None:
    result = hubcli("verify", "--json", str(broken))
    document = json.loads(result.stdout)
    assert result.returncode == 9
    assert "error" not in document
    assert document["broken"] == 1
    assert document["models"][0]["faults"] == [
        {
            "code": "tensor",
            "message": "checksum mismatch with the index",
            "file": SHARD,
            "tensor": "first",
            "start": 0,
            "end": 40,
        }
    ]


@pytest.mark.parametrize("first", ["broken", "absent"])
def test_all_targets_are_checked_and_the_first_failure_decides(first: str, broken: Path, hubcli: Run) -> None:
    absent = "https://tfhub.dev/maker/absent/1"
    hubcli("fetch", "example://mul/1")
    targets = [str(broken), absent] if first == "broken" else [absent, str(broken)]
    result = hubcli("verify", "--json", *targets, "example://mul/1")
    document = json.loads(result.stdout)
    assert result.returncode == (9 if first == "broken" else 4)
    assert [model["ok"] for model in document["models"]] == [False, True]
    assert [(error["handle"], error["code"]) for error in document["errors"]] == [(absent, "not-found")]


def test_quiet_names_what_is_broken_alone(broken: Path, hubcli: Run) -> None:
    hubcli("fetch", "example://mul/1")
    result = hubcli("verify", "-q", "example://mul/1", str(broken))
    assert (result.returncode, result.stdout, result.stderr) == (9, f"{broken}\n", "")


def test_an_empty_cache_is_whole(hubcli: Run, cache: Path) -> None:
    result = hubcli("verify")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == f"Note: The cache is empty: {cache}\n"
    assert json.loads(hubcli("verify", "--json").stdout)["models"] == []


def test_only_twenty_faults_are_told_to_a_person(tmp_path: Path, hubcli: Run) -> None:
    model = write_bundle_model(tmp_path / "model", {f"t{number:02}": bytes(4) for number in range(30)})
    (model / SHARD).write_bytes(b"!" * (model / SHARD).stat().st_size)
    lines = hubcli("verify", str(model)).stdout.splitlines()
    assert len(lines) == 23
    assert lines[-2] == "  and 10 more: see --json"
    assert len(json.loads(hubcli("verify", "--json", str(model)).stdout)["models"][0]["faults"]) == 30


def test_a_name_that_would_command_the_terminal_is_escaped(tmp_path: Path, hubcli: Run) -> None:
    model = write_bundle_model(tmp_path / "model", {"\x1b[2J": bytes(4)})
    (model / SHARD).write_bytes(b"!" * 8)
    result = hubcli("verify", str(model))
    assert "\\x1b[2J" in result.stdout
    assert "\x1b" not in result.stdout


def test_an_interrupted_repair_tells_what_was_checked_and_exits_130(
    server: HubServer, hubcli: Run, cache: Path
) -> None:
    hubcli("fetch", "example://mul/1")
    packed = models.archive(assets__large=os.urandom(300_000))
    url = server.serve("/m/1", packed)
    model = Path(hubcli("fetch", url).stdout.strip())
    (model / SHARD).unlink()
    server.serve("/m/1", Reply(packed, stall_at=100_000))
    process = start(cache, "verify", "--json", "--repair", "example://mul/1", url)
    assert server.stalled.wait(120)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    document = json.loads(stdout)
    assert process.returncode == 130, stderr
    assert [found["target"] for found in document["models"]] == ["example://mul/1"]
    assert document["error"]["code"] == "interrupted"
    assert not list(cache.glob("*.tmp"))
    assert not list(cache.glob("*.lock"))
