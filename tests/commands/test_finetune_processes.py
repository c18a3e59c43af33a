"""`finetune-export --train` as a process: what the function prints, raises, closes; interrupts and kills."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from hubcli.commands.finetune_export import Method
from hubcli.commands.inspect import inspect
from hubcli.savedmodel.diff import compare
from tests.commands.test_finetune_export import value_in
from tests.conftest import ROOT, Run

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("needs_tensorflow")]


def command(model: Path, out: Path, script: Path, function: str, *options: str) -> list[str]:
    return ["finetune-export", str(model), str(out / "tuned"), "--train", f"{script}:{function}", *options]


def test_what_the_function_prints_is_seen_and_is_no_payload(
    model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    ran = hubcli(*command(model, out, script, "add", "--arg", "by=0.25", "--arg", "names=words", "--json"))
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["destination"] == str(out / "tuned")
    assert document["values"]["changed"][0]["largest_change"] == 0.25
    assert "adding 0.25\n" in ran.stderr
    assert "a child speaks\n" in ran.stderr
    # TensorFlow's own talk is not shown.
    assert "oneDNN" not in ran.stderr
    assert "CUDA" not in ran.stderr


@pytest.mark.parametrize("close", ["true", "false"])
def test_the_payload_is_written_whatever_the_function_does_to_its_streams(
    close: str, model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    ran = hubcli(*command(model, out, script, "replace_streams", "--arg", f"close={close}", "-q"))
    assert (ran.returncode, ran.stdout) == (0, f"{out / 'tuned'}\n")


def test_whatever_the_function_raises_is_shown_as_its_own(
    model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    ran = hubcli(*command(model, out, script, "fail_hard"))
    assert ran.returncode == 7
    assert "CancelledError: the worker went away" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_exception_is_shown_as_the_functions_own(
    model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    ran = hubcli(*command(model, out, script, "fail"))
    assert ran.returncode == 7
    lines = script.read_text().splitlines()
    line = lines.index('    raise ValueError("the data is not there")') + 1
    assert f"{script}:{line}: ValueError: the data is not there" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Traceback" in hubcli(*command(model, out, script, "fail", "--debug")).stderr
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_leaves_nothing(
    number: signal.Signals, model: Path, script: Path, out: Path, cache: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "hubcli", *command(model, out, script, "wait")],
        env={**os.environ, "HUBCLI_CACHE_DIR": str(cache)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    ) as running:
        assert running.stderr is not None
        assert any("training begins" in line for line in running.stderr)
        assert [path.name.endswith(".hubcli-tmp") for path in out.iterdir()] == [True]
        running.send_signal(number)
        assert running.wait(60) == 130
    assert list(out.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("lines", range(5, 125, 24))
@pytest.mark.parametrize("method", Method)
def test_a_killed_export_leaves_the_place_absent_or_whole(
    method: Method, lines: int, model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    options = ("--arg", f"lines={lines}", "--method", method.value)
    ran = hubcli(*command(model, out, script, "to_the_last", *options))
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    beside = [path.name for path in out.iterdir() if path.name != "tuned"]
    assert all(name.endswith(".hubcli-tmp") for name in beside)
    if (out / "tuned").exists():
        assert value_in(out / "tuned") == struct.pack("<f", 3.0)
        assert {one.part for one in compare(inspect(str(model)).info, inspect(str(out / "tuned")).info)} == {
            "value"
        }
