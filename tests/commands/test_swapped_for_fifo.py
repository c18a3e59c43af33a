"""A file of a model or of the cache becomes a FIFO between the look at it and its opening: nobody waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hubcli
from hubcli.cache.layout import EntryPaths
from hubcli.commands.fetch import fetch
from hubcli.config.settings import Settings
from hubcli.providers.handle import Handle
from tests.entries import SHARD
from tests.models import example_files, write_safetensors, write_tree

Answer = tuple[int, bool, str]
INDEX, MAIN, FINGERPRINT = "variables/variables.index", "saved_model.pb", "fingerprint.pb"
ROOT = Path(__file__).parent.parent.parent


def swapped(*cases: tuple[list[str], Path]) -> list[Answer]:
    """What each command line does whose file becomes a FIFO as it is opened."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.commands.fifo_swap"],
        input=json.dumps([(arguments, str(file)) for arguments, file in cases]),
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
        cwd=ROOT,
        # The FIFO is made in the file system of the files whose place it takes.
        env={**os.environ, "TMPDIR": str(Path(os.environ["HOME"]).parent)},
    )
    return [(status, was_swapped, stderr) for status, was_swapped, stderr in json.loads(result.stdout)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "model", {**example_files(), "assets/words.txt": b"one\ntwo\n"})


@pytest.mark.slow
def test_no_command_waits_for_a_file_of_a_model(model: Path, tmp_path: Path) -> None:
    verbs = {
        "verify": ["verify", str(model), "--cache-dir", str(tmp_path / "cache")],
        "inspect": ["inspect", str(model)],
        "diff": ["inspect", str(model), str(model)],
        "export": ["export", str(model), str(tmp_path / "out")],
        "pack": ["export", str(model), str(tmp_path / "out.tar.gz")],
    }
    cases = [
        ("verify", MAIN),
        ("verify", INDEX),
        ("verify", SHARD),
        ("inspect", MAIN),
        ("inspect", INDEX),
        ("inspect", FINGERPRINT),
        ("export", MAIN),
        ("export", SHARD),
        ("export", "assets/words.txt"),
        ("pack", INDEX),
        ("pack", "assets/words.txt"),
    ]
    answers = swapped(*((verbs[verb], model / file) for verb, file in cases))
    for case, (status, was_swapped, stderr) in zip(cases, answers, strict=True):
        assert was_swapped, case
        assert 0 <= status != 1, (case, status, stderr)
        if case[0] in ("verify", "export", "pack"):
            assert status > 1, (case, stderr)
            is_named = "a FIFO" in stderr or "is not a regular file" in stderr
            assert is_named or case[0] == "verify", (case, stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
def test_no_command_waits_for_a_file_of_the_cache(settings: Settings, cache: Path, tmp_path: Path) -> None:
    entry = fetch("example://mul/1", settings).path
    paths = EntryPaths(cache, entry.name)
    at = ["--cache-dir", str(cache)]
    cases = [
        (["fetch", "example://mul/1", *at], paths.manifest),
        (["ls", *at], paths.manifest),
        (["gc", "--older-than", "1d", "--dry-run", *at], paths.manifest),
        (["rm", "example://mul/1", "--dry-run", *at], paths.manifest),
        (["verify", *at], entry / SHARD),
        (["verify", *at], paths.manifest),
        (["verify", *at], entry / MAIN),
        (["doctor", *at], paths.manifest),
        (["export", "example://mul/1", str(tmp_path / "out"), *at], entry / SHARD),
    ]
    answers = swapped(*cases)
    for (arguments, file), (status, was_swapped, stderr) in zip(cases, answers, strict=True):
        assert 0 <= status != 1, (arguments, file, status, stderr)
        assert was_swapped, (arguments, file)


def test_no_command_waits_for_lists_locks_maps_and_weights(model: Path, tmp_path: Path, cache: Path) -> None:
    weights = write_safetensors(tmp_path / "new.safetensors", a=[1.0])
    lock, pairs = tmp_path / "models.lock", tmp_path / "pairs.txt"
    lock.write_text("{}")
    pairs.write_text("a = b\n")
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(b"\x1f\x8b")
    out, at = str(tmp_path / "out"), ["--cache-dir", str(cache)]
    cases = [
        (["finetune-export", str(model), out, "--weights", str(weights)], weights),
        (["finetune-export", str(model), out, "--weights", str(weights), "--map", str(pairs)], pairs),
        (["fetch", "example://mul/1", "--locked", "--lock", str(lock), *at], lock),
        (["inspect", str(archive)], archive),
        (["export", str(archive), out], archive),
        (["fetch", "example://mul/1", "--from", str(archive), "--timeout", "1s", *at], archive),
    ]
    for (arguments, file), (status, was_swapped, stderr) in zip(cases, swapped(*cases), strict=True):
        assert was_swapped, (arguments, file, stderr)
        assert status > 1, (arguments, file, status, stderr)


def test_a_fifo_with_a_writer_is_a_source_and_a_list(tmp_path: Path, cache: Path) -> None:
    packed = Path(hubcli.__file__).parent / "examples" / "mul-1.tar.gz"
    command = (
        f"{sys.executable} -m hubcli fetch example://mul/1 --from <(cat {packed}) --cache-dir {cache} && "
        f"{sys.executable} -m hubcli fetch -r <(echo example://mul/1) --cache-dir {cache}"
    )
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=250, check=False)
    assert result.returncode == 0, result.stderr
    assert str(cache / Handle.parse("example://mul/1").cache_key) in result.stdout
