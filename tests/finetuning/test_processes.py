"""`finetune-export --train` as a process: what the function prints, raises, closes; interrupts and kills."""

from __future__ import annotations

import json
import os
import shlex
import signal
import struct
import subprocess
from pathlib import Path

import pytest

from hubcli.commands.finetune_export import Method
from hubcli.commands.inspect import inspect
from hubcli.savedmodel.compare.diff import compare
from tests.commands.test_finetune_export import value_in
from tests.conftest import ROOT, Run
from tests.forkserver import Process, open_python, run_python

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("needs_tensorflow")]


def command(model: Path, out: Path, script: Path, function: str, *options: str) -> list[str]:
    return ["finetune-export", str(model), str(out / "tuned"), "--train", f"{script}:{function}", *options]


def test_what_the_function_prints_is_seen_and_is_no_payload(
    model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    result = hubcli(*command(model, out, script, "add", "--arg", "by=0.25", "--arg", "names=words", "--json"))
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["destination"] == str(out / "tuned")
    assert document["values"]["changed"][0]["largest_change"] == 0.25
    assert "adding 0.25\n" in result.stderr
    assert "a child speaks\n" in result.stderr
    # TensorFlow's own talk is not shown.
    assert "oneDNN" not in result.stderr
    assert "CUDA" not in result.stderr


@pytest.mark.parametrize("close", ["true", "false"])
def test_the_payload_is_written_whatever_the_function_does_to_its_streams(
    close: str, model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    result = hubcli(*command(model, out, script, "replace_streams", "--arg", f"close={close}", "-q"))
    assert (result.returncode, result.stdout) == (0, f"{out / 'tuned'}\n")


def test_whatever_the_function_raises_is_shown_as_its_own(
    model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    result = hubcli(*command(model, out, script, "fail_hard"))
    assert result.returncode == 7
    assert "CancelledError: the worker went away" in result.stderr
    assert "Traceback" not in result.stderr


def test_what_tensorflow_loaded_is_left_out_of_garbage_collection(
    model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    result = hubcli(*command(model, out, script, "add_with_frozen_objects", "-q"))
    assert (result.returncode, result.stdout) == (0, f"{out / 'tuned'}\n"), result.stderr


def test_an_exception_is_shown_as_the_functions_own(
    model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    result = hubcli(*command(model, out, script, "fail"))
    assert result.returncode == 7
    lines = script.read_text().splitlines()
    line = lines.index('    raise ValueError("the data is not there")') + 1
    assert f"{script}:{line}: ValueError: the data is not there" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in hubcli(*command(model, out, script, "fail", "--debug")).stderr
    assert list(out.iterdir()) == []


def started(cache: Path, *arguments: str) -> Process | subprocess.Popen[str]:
    """`hubcli ARGUMENTS…`, which runs."""
    environment = {**os.environ, "HUBCLI_CACHE_DIR": str(cache)}
    command_line = ["-m", "hubcli", *arguments]
    return open_python(command_line, env=environment, cwd=ROOT, stdin=subprocess.PIPE, with_tensorflow=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_leaves_nothing(
    number: signal.Signals, model: Path, script: Path, out: Path, cache: Path
) -> None:
    with started(cache, *command(model, out, script, "wait")) as running:
        assert running.stderr is not None
        assert any("training begins" in line for line in running.stderr)
        assert [path.name.endswith(".hubcli-tmp") for path in out.iterdir()] == [True]
        running.send_signal(number)
        assert running.wait(250) == 130
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_training_that_changed_values_keeps_them(
    number: signal.Signals, model: Path, script: Path, out: Path, cache: Path
) -> None:
    with started(cache, *command(model, out, script, "add_and_wait", "--json")) as running:
        assert running.stderr is not None
        assert running.stdout is not None
        assert any("training begins" in line for line in running.stderr)
        running.send_signal(number)
        assert running.wait(250) == 130
        error = json.loads(running.stdout.read())["error"]
    assert error["code"] == "interrupted"
    assert "the values of the unfinished training are kept in" in error["message"]
    assert [path.name for path in out.iterdir()] == ["tuned.trained-values"]
    require_exported(error["export_command"], out)


def require_exported(line: str, out: Path) -> None:
    """Runs the command that an error named: the value is the one that was trained."""
    program, *words = shlex.split(line)
    run_python(["-m", program, *words], cwd=ROOT, check=True, with_tensorflow=True)
    assert value_in(out / "tuned") == struct.pack("<f", 3.0)


def test_values_of_a_training_that_raises_are_kept_beside_those_of_the_one_before(
    model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    first, second = (hubcli(*command(model, out, script, "add_and_fail", "--json")) for _ in range(2))
    assert (first.returncode, second.returncode) == (7, 7)
    for result, name in ((first, "tuned.trained-values"), (second, "tuned.trained-values-2")):
        error = json.loads(result.stdout)["error"]
        assert "ValueError: the data is not there" in error["message"]
        assert error["trained_values"] == str(out / name)
        line = (out / name / "README.txt").read_text()
        assert f"hubcli finetune-export {model} {out / 'tuned'} --weights {out / name}" in line
    require_exported(error["export_command"], out)
    assert sorted(path.name for path in out.iterdir()) == [
        "tuned", "tuned.trained-values", "tuned.trained-values-2"
    ]  # fmt: skip


def test_the_command_that_exports_kept_values_has_the_edits_of_the_training(
    model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    edits = ["--rename-signature", "serving_default=odd name", "--clear-devices", "--no-compare"]
    result = hubcli(*command(model, out, script, "add_and_fail", "--json", *edits))
    assert result.returncode == 7, result.stderr
    require_exported(json.loads(result.stdout)["error"]["export_command"], out)
    (graph,) = inspect(str(out / "tuned")).info.meta_graphs
    assert [signature.name for signature in graph.signatures] == ["odd name"]


def test_the_command_that_exports_kept_values_lacks_an_edit_that_failed(
    model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    edits = ["--half", "float16", "--tolerance", "0"]
    result = hubcli(*command(model, out, script, "add", "--arg", "by=0.1", "--json", *edits))
    assert result.returncode != 0, result.stderr
    error = json.loads(result.stdout)["error"]
    assert "--half" not in error["export_command"]
    program, *words = shlex.split(error["export_command"])
    run_python(["-m", program, *words], cwd=ROOT, check=True, with_tensorflow=True)


def test_a_signature_that_is_not_there_is_reported_before_the_training(
    model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    result = hubcli(*command(model, out, script, "add", "--signature", "absent", "--json"))
    assert result.returncode == 2, result.stderr
    assert "adding" not in result.stderr
    assert json.loads(result.stdout)["error"].get("trained_values") is None
    assert list(out.iterdir()) == []


def test_a_fault_after_the_training_keeps_the_values(
    model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    result = hubcli(*command(model, out, script, "fail_to_compare", "--json"))
    assert result.returncode == 1
    error = json.loads(result.stdout)["error"]
    assert "ZeroDivisionError: a fault; the trained values are kept in" in error["message"]
    require_exported(error["export_command"], out)


def test_a_destination_that_is_taken_meanwhile_keeps_the_values(
    model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    result = hubcli(*command(model, out, script, "take", "--arg", f"place={out / 'tuned'}", "--json"))
    assert result.returncode == 8
    error = json.loads(result.stdout)["error"]
    (out / "tuned" / "file").unlink()
    require_exported(error["export_command"], out)


@pytest.mark.slow
@pytest.mark.parametrize("lines", range(3, 220, 31))
def test_sigterm_at_any_moment_after_a_training_keeps_the_values_or_leaves_the_export(
    lines: int, model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    options = ("--arg", f"lines={lines}", "--arg", f"number={int(signal.SIGTERM)}", "--json")
    result = hubcli(*command(model, out, script, "to_the_last", *options))
    names = {path.name for path in out.iterdir()}
    if result.returncode == 0:
        assert names == {"tuned"}
        return
    assert result.returncode == 130, result.stderr
    error = json.loads(result.stdout)["error"]
    if "tuned" in names:  # It was there already.
        assert value_in(out / "tuned") == struct.pack("<f", 3.0)
        return
    assert names == {"tuned.trained-values"}
    require_exported(error["export_command"], out)


@pytest.mark.slow
@pytest.mark.parametrize("lines", range(5, 125, 24))
@pytest.mark.parametrize("method", Method)
def test_a_killed_export_leaves_the_place_absent_or_whole(
    method: Method, lines: int, model: Path, script: Path, out: Path, hubcli: Run
) -> None:
    options = ("--arg", f"lines={lines}", "--method", method.value)
    result = hubcli(*command(model, out, script, "to_the_last", *options))
    assert result.returncode == -signal.SIGKILL, result.stderr
    beside = [path.name for path in out.iterdir() if path.name != "tuned"]
    assert all(name.endswith((".hubcli-tmp", ".trained-values")) for name in beside)
    if (out / "tuned").exists():
        assert value_in(out / "tuned") == struct.pack("<f", 3.0)
        assert {
            difference.part
            for difference in compare(inspect(str(model)).info, inspect(str(out / "tuned")).info)
        } == {"value"}
