"""`hubcli inspect --for` as a process: its table, its document, its exit statuses, and what is refused."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import jsonschema

from tests.cases import each_of
from tests.conftest import Run
from tests.golden import compare_golden
from tests.savedmodel.protos import (
    FLOAT,
    Func,
    Objects,
    Spec,
    call_signature,
    function,
    graph,
    index,
    meta_graph,
    node,
    write_model,
)

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "inspect.json"


def model_with(folder: Path, *ops: str, **devices: str) -> Path:
    """A model whose signature calls a function with those ops."""
    objects = Objects()
    objects.function("__call__", objects.concrete("f", Spec(FLOAT, (None, 4), "x")))
    body = [node(f"n{place}", op) for place, op in enumerate(ops)]
    for op_node in body:
        op_node.device = devices.get(op_node.op, "")
    encoded = meta_graph(
        graph(node("o", "StatefulPartitionedCall", f=Func("f")), functions=[function("f", *body)]),
        objects,
        version="2.21.0",
        signature_def={"serving_default": call_signature("o:0")},
    )
    return write_model(folder, encoded, index_bytes=index())


def archive_of(model: Path) -> Path:
    """The model in an archive beside it."""
    archive = model.with_suffix(".tar.gz")
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(model, ".")
    return archive


def test_the_table_names_releases_verdicts_places_and_cures(hubcli: Run, tmp_path: Path) -> None:
    model = model_with(tmp_path / "m", "DisableCopyOnRead", "CaseFoldUTF8", "MatMul")
    result = hubcli("inspect", str(model), "--for", "tensorflow>=2.9,serving==2.12,session==2.9,litert,cpu")
    assert result.returncode == 9
    compare_golden("inspect-for.pipe.txt", result.stdout.replace(str(tmp_path), "FOLDER"))


def test_the_document_is_what_its_schema_says(hubcli: Run, tmp_path: Path) -> None:
    model = model_with(tmp_path / "m", "CaseFoldUTF8")
    result = hubcli("inspect", str(model), "--for", "tensorflow==2.15,litert,hub.KerasLayer", "--json")
    assert result.returncode == 9
    document = json.loads(result.stdout)
    if SCHEMA.is_file():
        jsonschema.validate(document, json.loads(SCHEMA.read_text(encoding="utf-8")))
    tensorflow, litert, layer = document["compatibility"]
    assert tensorflow["releases"] == [{"release": "2.15", "verdict": "cannot-load"}]
    (found,) = tensorflow["obstacles"]
    assert found["code"] == "custom-op"
    assert found["where"] == "function f"
    assert found["node"] == "n0"
    assert "pip install 'tensorflow-text==2.15.*'" in found["remedy"]
    assert litert["verdict"] == "cannot-load"
    assert (layer["kind"], layer["releases"]) == ("hub.KerasLayer", [])


def test_without_targets_the_document_has_no_such_key(hubcli: Run, tmp_path: Path) -> None:
    assert "compatibility" not in json.loads(
        hubcli("inspect", str(model_with(tmp_path / "m")), "--json").stdout
    )


def test_no_obstacle_is_all_that_is_said_of_a_model_that_fits(hubcli: Run, tmp_path: Path) -> None:
    model = model_with(tmp_path / "m", "MatMul")
    result = hubcli("inspect", str(model), "--for", "tensorflow>=2.4,cpu,litert")
    assert result.returncode == 0
    assert result.stdout.count("no obstacle found") == 3
    assert "works" not in result.stdout


def test_an_archive_is_read_up_to_its_graph(hubcli: Run, tmp_path: Path) -> None:
    model = model_with(tmp_path / "m", "CaseFoldUTF8")
    archive = archive_of(model)
    result = hubcli("inspect", str(archive), "--for", "tensorflow==2.15")
    assert result.returncode == 9
    assert "[custom-op]" in result.stdout
    assert hubcli("inspect", "example://mul/1", "--for", "tensorflow>=2.10,serving==2.19").returncode == 0


@each_of(
    "options, message",
    [
        (("--for", "onnx"), "Unknown target 'onnx'"),
        (("--for", "tensorflow==1.15"), "No known release fits"),
        (("--try",), "--try requires --for litert"),
        (("--for", "cpu", "--diff", "example://mul/1"), "--for and --diff cannot be used together"),
        (("--for", "tensorflow>=2.12,<2.16"), "Invalid target '<2.16': it has no name"),
        (("--for", "cpu", "--try"), "--try requires --for litert"),
    ],
)
def test_what_does_not_fit_is_a_fault_of_the_command_line(
    hubcli_in_turn: Run, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = hubcli_in_turn("inspect", str(model_with(tmp_path / "m")), *options)
    assert result.returncode == 2
    assert message in result.stderr


def test_a_trial_needs_the_whole_model_on_the_disk(hubcli: Run, tmp_path: Path) -> None:
    archive = archive_of(model_with(tmp_path / "m", "MatMul"))
    result = hubcli("inspect", str(archive), "--for", "litert", "--try")
    assert result.returncode == 2
    assert "--try requires an unpacked model" in result.stderr


def test_a_model_in_which_the_scan_finds_something_is_not_converted(hubcli: Run, tmp_path: Path) -> None:
    result = hubcli("inspect", str(model_with(tmp_path / "m", "WriteFile")), "--for", "litert", "--try")
    assert result.returncode == 10
    assert "the scan found high: WriteFile" in result.stderr
    assert "hubcli export --unsafe" in result.stderr


def test_the_scan_tells_who_has_an_unknown_op(hubcli: Run, tmp_path: Path) -> None:
    result = hubcli("inspect", str(model_with(tmp_path / "m", "CaseFoldUTF8")), "--scan")
    assert "TensorFlow 2.21 has no op CaseFoldUTF8; tensorflow-text has it" in result.stdout
