"""`hubcli run` as a process: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from hubcli.formats.npy import npy_header, read_array
from tests.cli.command_batch import run_many
from tests.conftest import Run
from tests.corpus import corpus_model
from tests.installed import require_installed
from tests.running.ports import dtype_named
from tests.savedmodel.conftest import Zoo, zoo

__all__ = ["zoo"]

require_installed("tensorflow")
pytestmark = pytest.mark.tensorflow

MUL = "example://mul/1"  # Twice its input, [?, 1].
HALF = "serving_half_plus_two"


def document(completed: CompletedProcess[str]) -> dict[str, Any]:
    assert completed.returncode == 0, completed.stderr
    found = json.loads(completed.stdout)
    assert isinstance(found, dict)
    return found


def values(completed: CompletedProcess[str]) -> Any:
    """The values of the only output."""
    (output,) = document(completed)["outputs"].values()
    return output["values"]


# What it gives -----------------------------------------------------------------------------------


def test_a_table_for_a_person(hubcli: Run) -> None:
    completed = hubcli("run", MUL, "--input", "[[1.5], [0.1]]")
    assert completed.returncode == 0, completed.stderr
    assert (
        completed.stdout == "NAME      TYPE     SHAPE   VALUES\noutput_0  float32  [2, 1]  [[3.0], [0.2]]\n"
    )
    assert "Ran the signature serving_default" in completed.stderr
    assert "by its C library" in completed.stderr


def test_a_document_for_a_script(hubcli: Run) -> None:
    found = document(hubcli("run", MUL, "--input", '[[1], ["NaN"], [Infinity]]', "--json"))
    assert found.pop("load_seconds") > 0
    assert found.pop("tensorflow_version").startswith("2.")
    assert found == {
        "schema": 1,
        "target": MUL,
        "signature": "serving_default",
        "runner": "c",
        "outputs": {
            "output_0": {"dtype": "float32", "shape": [3, 1], "values": [[2.0], ["NaN"], ["Infinity"]]}
        },
    }


def test_a_function_without_outputs_says_so_and_prints_nothing(hubcli: Run) -> None:
    command = ("run", str(corpus_model("tfjs_multiple_signatures")), "--function", "mutate", "-i", "3")
    completed = hubcli(*command)
    assert (completed.returncode, completed.stdout) == (0, ""), completed.stderr
    assert completed.stderr.endswith("Note: The function mutate() has no outputs\n")
    assert '  "outputs": {}\n}\n' in hubcli(*command, "--json").stdout


def test_text_for_a_signature_that_takes_examples_leads_to_their_file(hubcli: Run) -> None:
    completed = hubcli("run", str(corpus_model("tfx_keras_serving")), "--input", "a")
    assert completed.returncode == 7
    assert "or a TFRecord file of them: --input NAME=@FILE" in completed.stderr


def test_a_short_run_is_told_in_milliseconds(hubcli: Run) -> None:
    completed = hubcli("run", MUL, "--input", "[[1], [2]]", "--repeat", "20")
    assert re.match(r"Ran the signature serving_default in [\d.]+ ms, 2 rows", completed.stderr)


@pytest.mark.slow
def test_lines_of_json_take_lines_of_json_and_both_fit_together(hubcli: Run, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"x": [{number}]}}\n' for number in range(100)))
    completed = hubcli("run", MUL, "--input", f"@{rows}", "--batch-size", "7", "--json-lines")
    assert [json.loads(line) for line in completed.stdout.splitlines()] == [
        {"output_0": [2.0 * number]} for number in range(100)
    ]
    (tmp_path / "again").write_text(completed.stdout.replace("output_0", "x"))
    again = hubcli("run", MUL, "--input", f"@{tmp_path / 'again'}", "--json-lines", "-q")
    assert json.loads(again.stdout.splitlines()[3]) == {"output_0": [12.0]}


def test_a_row_that_does_not_fit_ends_the_stream_behind_the_rows_before_it(
    hubcli: Run, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("[1]\n[2]\n[3, 4]\n[5]\n")
    completed = hubcli("run", MUL, "--input", f"@{rows}", "--json-lines")
    assert completed.returncode == 2
    assert completed.stdout == '{"output_0": [2.0]}\n{"output_0": [4.0]}\n'
    assert f"{rows}, line 3: A row of x has the shape [1], and the value [2]" in completed.stderr


@pytest.mark.parametrize(
    "name",
    [
        "out.npz",
        "out.csv",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("out.npy", "out.json", "out.jsonl", "out")),
    ],
)
def test_outputs_are_written_whole(hubcli: Run, tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    completed = hubcli("run", MUL, "--input", "[[1], [2]]", "-o", str(target))
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout == f"{target}\n"
    assert list(tmp_path.glob(".*")) == []
    assert written(target) == [[2.0], [4.0]]
    again = hubcli("run", MUL, "--input", "[[3]]", "-o", str(target))
    assert again.returncode == 8
    assert "already exists" in again.stderr
    assert hubcli("run", MUL, "--input", "[[3]]", "-o", str(target), "--force").returncode == 0
    assert written(target) == [[6.0]]


def written(target: Path) -> Any:
    """The values of the output in a file of any form."""
    text = "" if target.suffix in (".npz", ".npy", "") else target.read_text()
    if target.suffix == ".json":
        return json.loads(text)["outputs"]["output_0"]
    if target.suffix == ".csv":
        assert text.splitlines()[0] == "output_0.0"
        return [[float(line)] for line in text.splitlines()[1:]]
    if target.suffix == ".jsonl":
        return [json.loads(line)["output_0"] for line in text.splitlines()]
    if target.suffix == ".npz":
        with zipfile.ZipFile(target) as archive, archive.open("output_0.npy") as file:
            return array(file)
    with (target if target.suffix else target / "output_0.npy").open("rb") as file:
        return array(file)


def array(file: Any) -> Any:
    number, shape, data = read_array(file, "out")
    assert (number, shape[1:]) == (1, (1,))
    return [[value] for value in struct.unpack(f"<{shape[0]}f", data)]


def test_nothing_is_written_where_a_row_does_not_fit(hubcli: Run, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("[1]\n[[2]]\n[]\n")
    completed = hubcli("run", MUL, "--input", f"@{rows}", "-o", str(tmp_path / "out.npz"))
    assert completed.returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["cache", "rows.jsonl"]


def test_times_over_many_runs(hubcli: Run) -> None:
    found = document(hubcli("run", MUL, "--input", "[[1], [2]]", "--repeat", "20", "--json"))
    measured = found["repeat"]
    assert measured["runs"] == 20
    assert measured["rows"] == 2
    assert 0 < measured["p50_seconds"] <= measured["p95_seconds"] <= measured["p99_seconds"]
    assert measured["rate"] == pytest.approx(2 / measured["mean_seconds"])
    assert measured["peak_memory_bytes"] > 50_000_000


@pytest.mark.slow
def test_the_best_classes_with_their_labels(hubcli: Run, zoo: Zoo, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\ufeffcat\r\ndog\r\nbird\r\n")
    model = str(zoo("keras3_export"))
    found = document(
        hubcli("run", model, "-i", "[1, 2, 3, 4]", "--top", "2", "--labels", str(labels), "--json")
    )
    (best,) = found["outputs"]["hidden"]["top"]
    assert [ranking["label"] for ranking in best] == [
        ["cat", "dog", "bird"][ranking["index"]] for ranking in best
    ]
    assert best[0]["value"] >= best[1]["value"]
    labels.write_text("cat\n")
    wrong = hubcli("run", model, "-i", "[1, 2, 3, 4]", "--top", "2", "--labels", str(labels))
    assert wrong.returncode == 2
    assert "The file has 1 label, and" in wrong.stderr


# What is run -------------------------------------------------------------------------------------


def test_several_signatures_are_listed_where_none_is_meant(hubcli: Run) -> None:
    completed = hubcli("run", str(corpus_model("java_python_model")), "--input", "1")
    assert completed.returncode == 2
    assert "has 5 signatures, and no default" in completed.stderr
    assert "add(a: float32[...], b: float32[...])" in completed.stderr


def test_an_unknown_signature_gets_a_suggestion(hubcli: Run) -> None:
    completed = hubcli("run", MUL, "--signature", "serving_defualt", "--input", "[1]")
    assert completed.returncode == 2
    assert "has no signature 'serving_defualt'. Did you mean 'serving_default'?" in completed.stderr


def test_a_trace_is_chosen_by_its_arguments(hubcli: Run, zoo: Zoo) -> None:
    model = str(zoo("keyword_arguments"))
    plain = hubcli("run", model, "--function", "only", "-i", "3", "--json")
    both = hubcli(
        "run", model, "--function", "only", "-i", "x=3", "-i", "y=1", "--arg", "scale=0.5", "--json"
    )
    assert (values(plain), values(both)) == (3.0, 2.0)
    wrong = hubcli("run", model, "--function", "only", "-i", "3", "--arg", "scale=2.0")
    assert wrong.returncode == 2
    assert "only was not traced with scale=2.0" in wrong.stderr
    assert "The closest traces: " in wrong.stderr
    assert "scale=0.5" in wrong.stderr


def test_a_metagraph_is_chosen_by_its_tags(hubcli: Run, zoo: Zoo) -> None:
    model = str(zoo("tf1_tag_sets"))
    assert values(hubcli("run", model, "-i", "[[4]]", "--json")) == [[4.0]]
    completed = hubcli("run", model, "-i", "[[4]]", "--tag-set", "nowhere")
    assert completed.returncode == 2
    assert "--tag-set" in completed.stderr


@pytest.mark.parametrize("runner", ["c", pytest.param("python", marks=pytest.mark.slow)])
def test_the_runners_give_the_same(hubcli: Run, zoo: Zoo, runner: str) -> None:
    words = ["run", str(zoo("reusable")), "-i", "[1, 2, 3]", "--runner", runner, "--json"]
    found = document(hubcli(*words, HUBCLI_TEST_FORKS="0"))
    assert found["runner"] == runner
    assert found["function"] == "__call__"
    assert found["arguments"] == {"training": "False"}
    assert found["outputs"]["output_0"]["values"] == [[6.5, 5.5]]


@pytest.mark.slow
def test_python_takes_over_where_the_library_can_not_run_a_model(hubcli: Run, zoo: Zoo) -> None:
    model = str(zoo("tf1_assets"))
    completed = hubcli("run", model, "-i", "a", "--json")
    assert document(completed)["runner"] == "python"
    assert "Running in TensorFlow's Python package" in completed.stderr
    refused = hubcli("run", model, "-i", "a", "--runner", "c")
    assert refused.returncode == 7


def test_a_library_may_be_named_and_must_be_there(hubcli: Run, tmp_path: Path) -> None:
    completed = hubcli("run", MUL, "-i", "[1]", HUBCLI_TENSORFLOW_LIB=str(tmp_path))
    assert completed.returncode == 7
    assert "HUBCLI_TENSORFLOW_LIB" in completed.stderr


def test_an_archive_is_run_without_a_cache(hubcli: Run, tmp_path: Path, cache: Path) -> None:
    # Without TensorFlow, whose import takes three seconds of a processor.
    (exported,) = run_many([["export", MUL, str(tmp_path / "mul.tar.gz")]], cache=cache)
    assert exported.status == 0, exported.stderr
    before = sorted(cache.iterdir())
    assert values(hubcli("run", str(tmp_path / "mul.tar.gz"), "-i", "[3]", "--json")) == [[6.0]]
    assert sorted(cache.iterdir()) == before


# Failures ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_model_that_never_ends_is_stopped(hubcli: Run, zoo: Zoo) -> None:
    model = str(zoo("control_flow"))
    completed = hubcli("run", model, "-i", "x=-1e30", "-i", "branch_index=0", "--timeout", "6s")
    assert completed.returncode == 7
    assert "Timed out after 6 s running the signature serving_default" in completed.stderr


def test_a_model_that_runs_python_is_refused(hubcli: Run, zoo: Zoo) -> None:
    completed = hubcli("run", str(zoo("python_op")), "-i", "1", "--json")
    assert completed.returncode == 10
    error = json.loads(completed.stdout)["error"]
    assert error["code"] == "unsafe-model"
    assert "runs Python code" in error["message"]
    assert "--unsafe" in error["hint"]


def test_with_unsafe_it_is_tried(hubcli: Run, zoo: Zoo) -> None:
    completed = hubcli("run", str(zoo("python_op")), "-i", "[1, 2, 3]", "--unsafe")
    assert completed.returncode == 7
    assert "PyFunc" in completed.stderr


def test_what_tensorflow_writes_is_shown_with_debug_alone(hubcli: Run) -> None:
    quiet = hubcli("run", MUL, "-i", "[1]")
    assert len(quiet.stderr.splitlines()) == 1
    loud = hubcli("run", MUL, "-i", "[1]", "--debug", TF_CPP_MIN_LOG_LEVEL="0")
    assert len(loud.stderr.splitlines()) > 1


def test_a_broken_library_ends_in_words_of_ours(hubcli: Run, tmp_path: Path) -> None:
    library = tmp_path / "libtensorflow_cc.so.2"
    library.write_bytes(b"\x7fELF" + bytes(100))
    completed = hubcli("run", MUL, "-i", "[1]", "--runner", "c", HUBCLI_TENSORFLOW_LIB=str(library))
    assert completed.returncode == 7
    assert "Traceback" not in completed.stderr


def test_an_output_that_is_an_object_of_tensorflow_is_refused(hubcli: Run, zoo: Zoo) -> None:
    completed = hubcli("run", str(zoo("composite_specs")), "--function", "optional", "-i", "[1, 2]")
    assert completed.returncode == 7
    assert "an output is a variant, which has no values outside of TensorFlow" in completed.stderr
    assert completed.stdout == ""


def test_rows_go_in_where_the_signature_leaves_the_shape_out(hubcli: Run) -> None:
    model = str(corpus_model("serving_half_plus_three"))
    assert values(hubcli("run", model, "-i", "[[1], [2]]", "--json")) == [[3.5], [4.0]]


# Faults of saved_model_cli run, done better --------------------------------------------------------


def test_a_semicolon_in_a_text_splits_nothing(hubcli: Run, zoo: Zoo) -> None:
    found = document(hubcli("run", str(zoo("static_vocabulary")), "-i", "a good; film", "--json"))
    assert len(next(iter(found["outputs"].values()))["values"]) == 1


def test_an_archive_of_several_arrays_gives_each_to_its_input(hubcli: Run, zoo: Zoo, tmp_path: Path) -> None:
    path = tmp_path / "inputs.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy_header(dtype_named("float32"), ()) + struct.pack("<f", 3))
        archive.writestr("branch_index.npy", npy_header(dtype_named("int32"), ()) + struct.pack("<i", 1))
    found = hubcli("run", str(zoo("control_flow")), "--input", f"@{path}", "--json")
    assert values(found) == -12.0


def test_an_input_with_a_default_may_be_left_out(hubcli: Run, zoo: Zoo) -> None:
    found = document(hubcli("run", str(zoo("signature_defaults")), "-i", "x=3", "--json"))
    assert found["outputs"]["word"]["values"] == ["höflich"]
    assert found["outputs"]["sum"]["values"] == [-2.5]


def test_an_input_that_is_left_out_is_named(hubcli: Run, zoo: Zoo) -> None:
    completed = hubcli("run", str(zoo("control_flow")), "-i", "x=1")
    assert completed.returncode == 2
    assert "requires a value for branch_index" in completed.stderr
    assert "Traceback" not in completed.stderr


def test_more_than_a_thousand_values_are_all_there(hubcli: Run) -> None:
    many = json.dumps([[number] for number in range(5000)])
    assert values(hubcli("run", MUL, "-i", many, "--json"))[4999] == [9998.0]


@pytest.mark.parametrize("example", ["[]", "[1, 2.5]", "[true]"])
def test_odd_examples_end_in_an_error_of_ours(hubcli: Run, example: str) -> None:
    completed = hubcli("run", MUL, "-i", example)
    assert completed.returncode in (0, 2)
    assert "Traceback" not in completed.stderr


# Requests of TensorFlow Serving ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ({"instances": [[1.0], [2.0]]}, {"predictions": [[2.5], [3.0]]}),
        ({"instances": [{"x": [1.0]}]}, {"predictions": [[2.5]]}),
        pytest.param({"inputs": [[1.0], [2.0]]}, {"outputs": [[2.5], [3.0]]}, marks=pytest.mark.slow),
        ({"inputs": {"x": [[4]]}, "signature_name": "serving_default"}, {"outputs": [[4.0]]}),
    ],
)
def test_a_request_is_answered_as_serving_answers(
    hubcli: Run, tmp_path: Path, request_: Any, answer: Any
) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps(request_))
    completed = hubcli("run", str(corpus_model(HALF)), "--request", str(path))
    assert completed.returncode == 0, completed.stderr
    assert json.loads(completed.stdout) == answer


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"instances": [[1]], "inputs": [[1]]}', "has both 'instances' and 'inputs'"),
        ('{"instances": [[1], {"y": [2]}]}', "element: 1 of 'instances' list: keys must be equal to: x"),
        ('{"instances": [["a"]]}', "is not a number"),
        ("[", "is not JSON"),
        ("[" * 10_000, "nested too deeply"),
        ('{"instances": [[1]], "signature_name": "nowhere"}', "has no signature 'nowhere'"),
    ],
)
def test_a_request_that_can_not_be_answered_gets_an_error(
    hubcli: Run, tmp_path: Path, request_: str, error: str
) -> None:
    path = tmp_path / "request.json"
    path.write_text(request_)
    completed = hubcli("run", str(corpus_model(HALF)), "--request", str(path))
    assert completed.returncode == 2
    assert error in json.loads(completed.stdout)["error"]


# Images and sound ------------------------------------------------------------------------------------


def png(width: int, height: int, color: tuple[int, int, int]) -> bytes:
    rows = b"".join(b"\0" + bytes(color) * width for _ in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with signatures that take images and sound."""
    import tensorflow as tf

    root, target = tf.Module(), tmp_path_factory.mktemp("images") / "model"

    def signature(function: Any, shape: list[int | None], dtype: Any) -> Any:
        return tf.function(function, input_signature=[tf.TensorSpec(shape, dtype, name="images")])

    root.floats = signature(lambda images: {"y": images + 0.0}, [None, 4, 4, 3], tf.float32)
    root.bytes = signature(lambda images: {"y": images + 0}, [None, None, None, 3], tf.uint8)
    root.files = signature(lambda images: {"y": tf.strings.length(images)}, [None], tf.string)
    root.sound = signature(lambda images: {"y": tf.reduce_max(images)}, [None], tf.float32)
    names = ("floats", "bytes", "files", "sound")
    tf.saved_model.save(root, str(target), signatures={name: getattr(root, name) for name in names})
    return target


def test_images_are_brought_to_the_size_and_range_of_the_signature(
    hubcli: Run, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "red").write_bytes(png(7, 5, (255, 0, 51)))
    (tmp_path / "green").write_bytes(png(4, 4, (0, 255, 0)))
    arguments = ["-i", f"images=@{tmp_path / 'red'}", "-i", f"images=@{tmp_path / 'green'}"]
    found = values(hubcli("run", str(images), "--signature", "floats", *arguments, "--json"))
    assert [len(found), len(found[0]), len(found[0][0])] == [2, 4, 4]
    assert found[0][0][0] == pytest.approx([1.0, 0.0, 0.2])
    assert found[1][3][3] == [0.0, 1.0, 0.0]
    scaled = values(hubcli("run", str(images), "--signature", "floats", *arguments, "--scale=-1,1", "--json"))
    assert scaled[1][0][0] == pytest.approx([-1.0, 1.0, -1.0])


@pytest.mark.slow
def test_bytes_of_an_image_are_its_colors_and_a_text_its_file(
    hubcli: Run, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "red").write_bytes(png(3, 2, (255, 0, 51)))
    given = ["-i", f"@{tmp_path / 'red'}", "--json"]
    found = values(hubcli("run", str(images), "--signature", "bytes", *given))
    assert found == [[[[255, 0, 51]] * 3] * 2]
    sized = values(hubcli("run", str(images), "--signature", "bytes", *given, "--image-size", "1x2"))
    assert sized == [[[[255, 0, 51]] * 2]]
    length = os.stat(tmp_path / "red").st_size  # noqa: PTH116
    assert values(hubcli("run", str(images), "--signature", "files", *given)) == [length]


def test_an_image_that_is_a_bomb_is_refused(hubcli: Run, images: Path, tmp_path: Path) -> None:
    bomb = bytearray(png(4, 4, (0, 0, 0)))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    (tmp_path / "bomb").write_bytes(bomb)
    completed = hubcli("run", str(images), "--signature", "bytes", "-i", f"@{tmp_path / 'bomb'}")
    assert completed.returncode == 2
    assert "60000x60000 pixels" in completed.stderr


def test_a_damaged_image_is_refused(hubcli: Run, images: Path, tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(png(40, 40, (1, 2, 3))[:60])
    completed = hubcli("run", str(images), "--signature", "bytes", "-i", f"@{tmp_path / 'cut'}")
    assert completed.returncode == 2
    assert "TensorFlow failed decoding" in completed.stderr


def test_sound_is_samples_between_minus_one_and_one(hubcli: Run, images: Path, tmp_path: Path) -> None:
    samples = struct.pack("<100h", *([0, 0x4000] * 50))
    form = struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    header = b"RIFF" + struct.pack("<I", 236) + b"WAVEfmt " + form + b"data" + struct.pack("<I", 200)
    (tmp_path / "tone.wav").write_bytes(header + samples)
    arguments = ["--signature", "sound", "-i", f"@{tmp_path / 'tone.wav'}", "--json"]
    assert values(hubcli("run", str(images), *arguments)) == 0.5
    dry = hubcli("run", str(images), *arguments, "--dry-run")
    assert json.loads(dry.stdout)["inputs"][0]["given"] == [100], dry.stderr
