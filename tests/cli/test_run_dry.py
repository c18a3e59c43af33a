"""`hubcli run` where TensorFlow isn't needed: dry runs, and what is refused before a model is started."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.corpus import corpus_model

MUL = "example://mul/1"


def test_a_dry_run_checks_the_inputs_and_completes_the_command(hubcli: Run) -> None:
    completed = hubcli("run", MUL, "--input", "[[1], [2]]", "--dry-run")
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.splitlines() == [
        "Would run the signature serving_default",
        "  x: float32[?, 1] gets [2, 1]",
        f"hubcli run {MUL} --signature serving_default --input 'x=[[1], [2]]'",
    ]


def test_a_dry_run_finds_what_does_not_fit(hubcli: Run) -> None:
    completed = hubcli("run", MUL, "--input", "[[1, 2]]", "--dry-run", "--json")
    assert completed.returncode == 2
    assert json.loads(completed.stdout)["error"]["code"] == "input"


def test_a_dry_run_reads_every_row(hubcli: Run, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("[1]\n[2]\n")
    completed = hubcli("run", MUL, "--input", f"@{rows}", "--dry-run")
    assert "  x: float32[?, 1] gets 2 rows\n" in completed.stdout
    rows.write_text("[1]\n[2, 3]\n")
    completed = hubcli("run", MUL, "--input", f"@{rows}", "--dry-run")
    assert completed.returncode == 2
    assert "rows.jsonl, line 2: A row of x has the shape [1], and the value [2]" in completed.stderr


def test_a_dry_run_as_a_document(hubcli: Run) -> None:
    completed = hubcli("run", MUL, "--input", "[3]", "--dry-run", "--json")
    found = json.loads(completed.stdout)
    assert found["inputs"] == [{"name": "x", "dtype": "float32", "shape": [None, 1], "given": [1, 1]}]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--signature", "serving_default", "--function", "__call__"],
        ["--arg", "training=false"],
        ["--function", "__call__", "--arg", "training"],
        ["--runner", "rust"],
        ["--batch-size", "0"],
        ["--json", "--json-lines"],
        ["--json-lines", "-o", "out.npz"],
        ["--labels", "labels.txt"],
        ["--top", "3", "-o", "out.npz"],
        ["--top", "3", "--repeat", "3"],
        ["--force"],
        ["--request", "-", "--input", "1"],
        ["--image-size", "0"],
        ["--scale", "1,1"],
        ["-o", "out.xyz"],
        ["--repeat", "3", "--json-lines"],
    ],
)
def test_options_that_contradict_each_other_are_refused(hubcli: Run, arguments: list[str]) -> None:
    completed = hubcli("run", MUL, *arguments)
    assert completed.returncode == 2
    assert "Hint: " in completed.stderr


def test_a_handle_that_is_not_cached_is_not_fetched_offline(hubcli: Run) -> None:
    completed = hubcli("run", "https://tfhub.dev/google/nnlm-en-dim50/2", "--offline", "-i", "a")
    assert completed.returncode == 5
    assert "Not in the cache" in completed.stderr


def test_a_function_of_a_graph_of_tensorflow_1_is_refused(hubcli: Run) -> None:
    completed = hubcli("run", str(corpus_model("serving_half_plus_two")), "--function", "f", "--dry-run")
    assert completed.returncode == 2
    assert "TensorFlow 1" in completed.stderr


def test_an_unknown_function_gets_a_suggestion(hubcli: Run) -> None:
    completed = hubcli("run", MUL, "--function", "__cal__", "--dry-run")
    assert completed.returncode == 2
    assert "Did you mean '__call__'?" in completed.stderr


def test_a_model_that_reads_files_is_named_by_the_scan(hubcli: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    completed = hubcli("run", str(tmp_path / "empty"), "-i", "1", "--dry-run")
    assert completed.returncode == 6


def test_a_dry_run_prints_the_options_that_are_given(hubcli: Run) -> None:
    options = ["--batch-size", "2", "--runner", "c", "--timeout", "90s", "--scale=-1,1", "--unsafe"]
    output = ["--output", "y.npz", "--force"]
    completed = hubcli("run", MUL, "-i", "[1]", "--dry-run", *options, *output)
    command = shlex.split(completed.stdout.splitlines()[-1])
    assert command[-len(options + output) :] == options + output
    completed = hubcli("run", MUL, "-i", "[1]", "--dry-run", "--top", "2", "--json-lines")
    assert completed.stdout.splitlines()[-1].endswith("--top 2 --json-lines")


def test_a_dry_run_of_a_request_checks_it(hubcli: Run, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text('{"instances": [[1], [2]]}')
    completed = hubcli("run", MUL, "--request", str(request), "--dry-run")
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.splitlines()[1:] == [
        "  x: float32[?, 1] gets [2, 1]",
        f"hubcli run {MUL} --signature serving_default --request {request}",
    ]
    request.write_text('{"instances": [[1, 2]]}')
    assert hubcli("run", MUL, "--request", str(request), "--dry-run").returncode == 2


def test_a_dry_run_fails_where_the_run_could_not_write_or_name_its_classes(hubcli: Run) -> None:
    for options, status in ((("-o", "missing/y.npz"), 8), (("--top", "1", "--labels", "missing"), 4)):
        completed = hubcli("run", MUL, "-i", "[1]", "--dry-run", *options)
        assert completed.returncode == status, completed.stderr


def test_a_keras_file_is_converted_first(hubcli: Run, tmp_path: Path) -> None:
    (tmp_path / "my.keras").write_bytes(b"PK\3\4")
    completed = hubcli("run", str(tmp_path / "my.keras"), "-i", "1")
    assert completed.returncode == 2
    assert "my.keras is a Keras file, not a SavedModel\n" in completed.stderr
    assert f"Hint: Convert it first: hubcli export {tmp_path}/my.keras DIR" in completed.stderr
