"""`hubcli ls --path` and `--size`: the one thing that a script asks for, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command_batch import run_many
from tests.conftest import Run
from tests.entries import gut_entry, hubcli_entry, key_of, tensorflow_hub_entry

ELMO = "https://tfhub.dev/google/elmo/3"
NNLM = "https://tfhub.dev/google/nnlm/1"


@pytest.fixture
def filled(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    hubcli_entry(cache, ELMO, shard_bytes=1_300_000)
    tensorflow_hub_entry(cache, NNLM)
    gut_entry(hubcli_entry(cache, "https://tfhub.dev/google/gutted/1"))
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(cache))
    return cache


def test_the_path_of_a_model_stands_alone(filled: Path) -> None:
    spellings = [ELMO, f"{ELMO}/", "http://tfhub.dev/google/elmo/3", key_of(ELMO), str(filled / key_of(ELMO))]
    for result in run_many([["ls", "--path", spelling] for spelling in (*spellings, "*elmo*")]):
        assert (result.status, result.stdout, result.stderr) == (0, f"{filled / key_of(ELMO)}\n", "")
    plain, quiet = run_many([["ls", "--path", NNLM, ELMO], ["ls", "--path", "-q", NNLM, ELMO]])
    assert plain.stdout == quiet.stdout == f"{filled / key_of(NNLM)}\n{filled / key_of(ELMO)}\n"


def test_a_script_can_go_there(hubcli: Run, tmp_path: Path, filled: Path) -> None:
    line = f'cd "$({sys.executable} -m hubcli ls --path {ELMO})" && pwd && ls'
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert result.stdout.split()[0].endswith(key_of(ELMO))
    assert "saved_model.pb" in result.stdout


def test_what_is_not_cached_is_4_and_prints_nothing(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    absent = [
        "https://tfhub.dev/google/absent/1",
        "https://tfhub.dev/google/gutted/1",
        "example://mul/1",
        "a" * 40,
        "*absent*",
        "*gutted*",
        str(tmp_path / "model"),
        "/nowhere/model.tar.gz",
    ]
    for target, result in zip(absent, run_many([["ls", "--path", target] for target in absent]), strict=True):
        assert (result.status, result.stdout) == (4, ""), target
        assert result.stderr.startswith("Error: ")
        assert "Hint: " in result.stderr
    assert run_many([["ls", "--path", "google/elmo/3"]])[0].status == 3
    traced = run_many([["ls", "--path", "--debug", "*absent*"]])[0].stderr
    assert traced.startswith("Traceback")
    assert "\nError: Not in the cache: *absent*" in traced


def test_of_several_all_are_told_and_the_first_failure_decides(filled: Path) -> None:
    line = ["ls", "--path", "https://tfhub.dev/google/absent/1", ELMO, "--json"]
    result = run_many([line, line[:-1]])
    document = json.loads(result[0].stdout)
    assert document["paths"] == [str(filled / key_of(ELMO))]
    assert document["error"]["code"] == "not-found"
    assert [run.status for run in result] == [4, 4]
    assert result[1].stdout == f"{filled / key_of(ELMO)}\n"


def test_without_a_handle_it_is_the_directory_of_the_cache(filled: Path, tmp_path: Path) -> None:
    result = run_many([["ls", "--path"], ["ls", "--path", "--json"], ["ls", "--path", "--cache-dir", "/new"]])
    assert result[0].stdout == f"{filled}\n"
    assert json.loads(result[1].stdout) == {"schema": 1, "cache_dir": str(filled), "paths": []}
    assert result[2].stdout == "/new\n"


def test_the_total_size_stands_alone(filled: Path) -> None:
    lines = [
        ["ls", "--size"],
        ["ls", "--size", "-q"],
        ["ls", "--size", "--json"],
        ["ls", "--size", "-q", "*elmo*"],
        ["ls", "--size", "*nothing*"],
        ["ls", "--size", "--filter", "size>1MB", "-q"],
        ["ls", "--json"],
        ["ls", "--json", "*elmo*"],
    ]
    person, script, document, elmo, nothing, large, everything, of_elmo = run_many(lines)
    total, size = json.loads(everything.stdout)["bytes"], json.loads(of_elmo.stdout)["bytes"]
    assert script.stdout == f"{total}\n"
    assert person.stdout in ("1.3 MB\n", "1.4 MB\n")
    assert json.loads(document.stdout)["bytes"] == total
    assert "models" not in json.loads(document.stdout)
    assert elmo.stdout == large.stdout == f"{size}\n"
    assert nothing.stdout == "0 B\n"


def test_what_path_has_no_use_for_is_refused(filled: Path) -> None:
    for more in (["--size"], ["--filter", "size>1GB"], ["--limit", "1"]):
        (result,) = run_many([["ls", "--path", ELMO, *more]])
        assert result.status == 2
        assert f"--path and {more[0]} cannot be used together" in result.stderr


def test_a_pattern_that_fits_nothing_is_told_what_fits_perhaps(filled: Path) -> None:
    suggestions = {
        "google/elmo/3": "Did you mean https://tfhub.dev/google/elmo/3 ?",
        "elmo": "Did you mean '*elmo*'?",
        "*xyzzy*": "",
        "https://tfhub.dev/google/other/1": "",
        "./elmo": "",
    }
    listed = run_many([["ls", pattern] for pattern in suggestions])
    collected = run_many([["gc", pattern, "--dry-run"] for pattern in suggestions])
    for pattern, question, ls, gc in zip(suggestions, suggestions.values(), listed, collected, strict=True):
        tail = f". {question}\n" if question else "\n"
        assert ls.stderr.splitlines()[0] + "\n" == f"Note: No matches in the cache: {filled}{tail}"
        assert f"Note: No cached model matches '{pattern}'{tail}" in gc.stderr


def test_the_state_incomplete_is_the_gutted_of_json(filled: Path, hubcli: Run) -> None:
    spelled, named = (
        hubcli("ls", "--json", "--filter", f"state={state}") for state in ("gutted", "incomplete")
    )
    assert spelled.stdout == named.stdout
    assert {model["state"] for model in json.loads(named.stdout)["models"]} == {"gutted"}
    assert "incomplete: " in hubcli("ls", COLUMNS="200").stdout
