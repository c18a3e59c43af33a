"""`hubcli gc` as a process: the plan, the question, statuses, JSON; on a terminal and in pipes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases import each_of
from tests.cli.command_batch import run_many
from tests.entries import dead_pid, gut_entry, hubcli_entry, key_of, lock, snapshot, tensorflow_hub_entry
from tests.forkserver import run_python, start_python

Run = Callable[..., "subprocess.CompletedProcess[str]"]
OLD = "https://tfhub.dev/google/old/1"
PINNED = "https://tfhub.dev/google/pinned/1"


@pytest.fixture
def filled(cache: Path) -> Path:
    hubcli_entry(cache, OLD, fetched_at_s=time.time() - 40 * 86400)
    hubcli_entry(cache, PINNED, fetched_at_s=time.time() - 50 * 86400, pinned=True)
    lock(cache, "https://tfhub.dev/google/crashed/1", dead_pid())
    gut_entry(hubcli_entry(cache, "https://tfhub.dev/google/gutted/1"))
    (cache / "notes.txt").write_text("mine")
    return cache


def left(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if not path.is_symlink()}


def test_alone_it_takes_leftovers_and_asks_nobody(filled: Path, hubcli: Run) -> None:
    result = hubcli("gc")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("Removed 3 leftovers: ")
    assert {key_of(OLD), key_of(PINNED), "notes.txt"} < left(filled)
    assert not any(key_of("https://tfhub.dev/google/crashed/1") in name for name in left(filled))
    assert hubcli("gc").stdout == ""


def test_without_a_terminal_models_go_with_yes_alone(filled: Path, hubcli: Run) -> None:
    before = snapshot(filled)
    refused = hubcli("gc", "--older-than", "30d")
    assert (refused.returncode, snapshot(filled)) == (2, before)
    assert "Cannot ask before removing 1 model (8.2 kB)" in refused.stderr
    assert "--yes" in refused.stderr
    assert hubcli("gc", "--older-than", "30d", "-y").returncode == 0
    assert key_of(OLD) not in left(filled)
    assert key_of(PINNED) in left(filled)


@pytest.mark.parametrize("option", [[], ["-q"], ["--json"]])
def test_a_dry_run_shows_the_plan_and_changes_nothing(option: list[str], filled: Path, hubcli: Run) -> None:
    before = snapshot(filled)
    result = hubcli("gc", "--older-than", "30d", "--dry-run", *option)
    assert (result.returncode, snapshot(filled)) == (0, before)
    assert OLD in result.stdout
    assert PINNED not in result.stdout


def test_quiet_prints_the_models_that_went(filled: Path, hubcli: Run) -> None:
    result = hubcli("gc", "--older-than", "30d", "-q", "-y")
    assert set(result.stdout.splitlines()) == {OLD, "https://tfhub.dev/google/gutted/1"}
    assert result.stderr == ""


def test_json_tells_plan_and_outcome(filled: Path, hubcli: Run) -> None:
    result = hubcli("gc", "--older-than", "30d", "-y", "--json")
    document = json.loads(result.stdout)
    assert (document["schema"], document["dry_run"], result.stderr) == (1, False, "")
    assert {item["kind"]: item["reason"] for item in document["items"]} == {
        "lock": "owner-dead",
        "staging": "owner-dead",
        "model": "older-than",
    } | {"model": document["items"][-1]["reason"]}
    assert {item["result"] for item in document["items"]} == {"removed"}
    assert document["planned"] == document["removed"]
    assert document["removed"]["models"] == 1
    assert document["freed_bytes"] == sum(item["freed_bytes"] for item in document["items"])
    assert document["usage_bytes"]["before"] > document["usage_bytes"]["after"]
    assert all(type(value) is int for value in document["free_bytes"].values())


def test_a_budget_that_cannot_be_met_exits_9_with_its_reason(filled: Path, hubcli: Run) -> None:
    result = hubcli("gc", "--max-size", "1kB", "-y", "--json")
    document = json.loads(result.stdout)
    assert result.returncode == 9
    assert document["error"]["code"] == "budget"
    assert "8.2 kB pinned" in document["error"]["message"]
    assert "8.2 kB pinned" in result.stderr
    assert key_of(OLD) not in left(filled)
    assert hubcli("gc", "--min-free", "900PB", "--dry-run").returncode == 9


@each_of(
    "arguments",
    [
        ["--older-than", "soon"],
        ["--max-size", "big"],
        ["--keep-versions", "0"],
        ["--grace", "-1"],
        ["--cache-dir", "/"],
    ],
)
def test_what_cannot_be_understood_is_a_usage_error(arguments: list[str], hubcli_in_turn: Run) -> None:
    result = hubcli_in_turn("gc", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: ")


# --- On a terminal


_ON_ITS_TERMINAL = """
import fcntl, os, runpy, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # So that Ctrl-C reaches it.
runpy.run_module("hubcli", run_name="__main__", alter_sys=True)
"""


def answer(cache: Path, reply: bytes, *arguments: str) -> tuple[int, str]:
    """Exit status and screen of `hubcli ARGUMENTS…`, with that reply typed once it asks."""
    ours, theirs = pty.openpty()
    process = start_python(
        ["-c", _ON_ITS_TERMINAL, *arguments],
        (theirs, theirs, theirs),
        env={**os.environ, "HUBCLI_CACHE_DIR": str(cache)},
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        seen += piece
        if seen.endswith(b"[y/N] "):
            os.write(ours, reply)
    os.close(ours)
    screen = re.sub(r"\x1b\[[0-9;]*m", "", seen.decode("utf-8", "replace"))
    return process.wait(60), screen.replace("\r\n", "\n")


def test_a_bare_number_lists_no_cache_for_removal(filled: Path) -> None:
    """`--older-than 2` was two seconds, `--max-size 20` twenty bytes."""
    options = ("--older-than", "--max-size", "--min-free", "--grace", "--keep-partial")
    lines = [["gc", f"{option}={text}", "--yes"] for option in options for text in ("2", "20.0", "1e3")]
    before = sorted(path.name for path in filled.iterdir())
    for line, result in zip(lines, run_many(lines, cache=filled), strict=True):
        option, _, text = line[1].partition("=")
        assert result.status == 2
        assert result.stderr.startswith(f"Error: {option}: '{text}' has no unit\nHint: Use ")
        assert " or " in result.stderr
        assert result.stdout == ""
    assert sorted(path.name for path in filled.iterdir()) == before


def test_a_rule_of_0_needs_no_unit(filled: Path) -> None:
    lines = [["gc", option, "0", "--dry-run"] for option in ("--older-than", "--max-size", "--min-free")]
    result = run_many([[*line, "--grace", "0", "--cache-dir", str(filled)] for line in lines])
    assert [run.status for run in result] == [0, 9, 0]  # What is pinned stays, and is more than 0 bytes.


def test_on_a_terminal_the_same_plan_is_shown_and_confirmed(filled: Path) -> None:
    status, screen = answer(filled, b"y\n", "gc", "--older-than", "30d")
    assert status == 0
    assert "not used recently" in screen
    assert "Remove 1 model (8.2 kB)? [y/N]" in screen
    assert "Removed 1 model and 3 leftovers" in screen
    assert key_of(OLD) not in left(filled)


@pytest.mark.parametrize(
    ("reply", "status"), [(b"n\n", 0), (b"\n", 0), (b"\xff\n", 0), (b"\x04", 0), (b"\x03", 130)]
)
def test_any_other_answer_removes_nothing(reply: bytes, status: int, filled: Path) -> None:
    before = snapshot(filled)
    assert answer(filled, reply, "gc", "--older-than", "30d", "--max-size", "0")[0] == status
    assert snapshot(filled) == before


def test_a_budget_that_will_not_be_met_is_told_before_the_question(filled: Path) -> None:
    status, screen = answer(filled, b"n\n", "gc", "--max-size", "0")
    assert status == 0
    reason_at, question_at = screen.index("more than 0 B: 8.2 kB pinned"), screen.index("[y/N]")
    assert reason_at < question_at


def test_a_pattern_that_fits_nothing_is_a_note(filled: Path, hubcli: Run) -> None:
    result = hubcli("gc", "*typo*")
    assert (result.returncode, result.stdout) == (0, "")
    assert "Note: No cached model matches '*typo*'" in result.stderr


def test_leftovers_alone_are_not_asked_for(filled: Path) -> None:
    status, screen = answer(filled, b"n\n", "gc")
    assert (status, "[y/N]" in screen) == (0, False)


# As the twentieth model is taken away.
_INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from hubcli.cli.main import main

rename, renamed = Path.rename, []

def rename_and_interrupt(path, target):
    renamed.append(rename(path, target))
    if len(renamed) == 20:
        os.kill(os.getpid(), signal.SIGINT)
    return renamed[-1]

Path.rename = rename_and_interrupt
sys.exit(main(sys.argv[1:]))
"""


def test_an_interrupt_tells_what_had_gone(cache: Path) -> None:
    for number in range(40):
        tensorflow_hub_entry(cache, f"https://tfhub.dev/google/model-{number}/1")
    environment = {**os.environ, "HUBCLI_CACHE_DIR": str(cache)}
    result = run_python(["-c", _INTERRUPTED, "gc", "--max-size", "0", "-y", "--json"], env=environment)
    document = json.loads(result.stdout)
    assert result.returncode == 130
    assert document["error"]["code"] == "interrupted"
    assert 0 < document["removed"]["models"] < 40


# --- rm, pin and unpin


def test_rm_asks_on_a_terminal_and_needs_yes_without_one(filled: Path, hubcli: Run) -> None:
    before = snapshot(filled)
    assert hubcli("rm", OLD).returncode == 2
    assert hubcli("rm", OLD, "--json").returncode == 2
    assert answer(filled, b"n\n", "rm", OLD)[0] == 0
    assert snapshot(filled) == before
    status, screen = answer(filled, b"yes\n", "rm", OLD)
    assert (status, "Removed 1 model" in screen) == (0, True)
    assert key_of(OLD) not in left(filled)


def test_rm_json_tells_what_went_and_what_did_not(filled: Path, hubcli: Run) -> None:
    result = hubcli("rm", "*", "-y", "--json")
    document = json.loads(result.stdout)
    assert result.returncode == 2
    assert document["error"] == document["errors"][0]
    assert (document["error"]["code"], document["error"]["handle"]) == ("pinned", PINNED)
    assert {item["handle"] for item in document["items"]} == {OLD, "https://tfhub.dev/google/gutted/1"}
    assert document["removed"]["models"] == 2


def test_pins_are_set_shown_and_taken_off(filled: Path, hubcli: Run) -> None:
    assert hubcli("pin", OLD).stdout == f"Pinned {OLD}\n"
    assert hubcli("pin", OLD).stdout == f"Already pinned: {OLD}\n"
    assert [line.endswith("ok, pinned") for line in hubcli("ls", OLD).stdout.splitlines()] == [
        *(False, True, False)
    ]
    assert json.loads(hubcli("ls", OLD, "--json").stdout)["models"][0]["pinned"] is True
    assert hubcli("unpin", "-q", "*").stdout.splitlines() == sorted(
        [OLD, PINNED, "https://tfhub.dev/google/gutted/1"], key=key_of
    )
    assert hubcli("ls", "--filter", "pinned=yes", "-q").stdout == ""


def test_fetch_pins(hubcli: Run, cache: Path) -> None:
    hubcli("fetch", "--pin", "example://mul/1")
    assert hubcli("ls", "--filter", "pinned=yes", "-q").stdout == "example://mul/1\n"
