"""`hubcli export` to LiteRT and ONNX as a process: usage, dry runs, and conversions by TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cases import each_of
from tests.installed import require_installed

if TYPE_CHECKING:
    import subprocess

    Run = Callable[..., "subprocess.CompletedProcess[str]"]

EXAMPLE = "example://mul/1"


@each_of(
    "words, message",
    [
        (("mul", "--opset", "18"), "--opset requires a conversion to LiteRT or ONNX"),
        (("mul", "--opset", "0"), "--opset requires a conversion to LiteRT or ONNX"),
        (("mul.tar", "--inputs", "x.npz"), "--inputs requires a conversion to LiteRT or ONNX"),
        (("mul.tflite", "--opset", "18"), "--opset requires a DEST that ends in .onnx"),
        (("mul.onnx", "--quantize", "int8"), "--quantize requires a DEST that ends in .tflite"),
        (("mul.tflite", "--half", "float16"), "--half cannot be used with the converted model mul.tflite"),
        (("mul.tflite", "--layout", "serving", "--format", "tflite"), "--layout serving writes directories"),
        (("mul.tflite", "--quantize", "int4"), "int4"),
        (("mul.tflite", "--timeout", "soon"), "soon"),
        (("mul.tflite", "--signature", "x"), "has no signature 'x'"),
        (
            ("mul.tflite", "--quantize", "int8"),
            "requires representative inputs of the signature serving_default",
        ),
    ],
)
def test_a_wrong_command_line_is_refused(
    hubcli_in_turn: Run, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    place, *options = words
    if "serving" in options:
        options += ["--name", "mul", "--version", "1"]
    result = hubcli_in_turn("export", EXAMPLE, str(tmp_path / place), *options)
    assert (result.returncode, message in result.stderr) == (2, True), result.stderr
    assert list(tmp_path.glob("mul*")) == []


def test_a_dry_run_lists_the_signatures(hubcli: Run, tmp_path: Path) -> None:
    result = hubcli("export", EXAMPLE, str(tmp_path / "mul.tflite"), "--dry-run")
    assert result.stdout == "signature serving_default: (x: float32[?, 1]) -> (output_0: float32[?, 1])\n"
    assert f"Would convert {EXAMPLE} to {tmp_path / 'mul.tflite'}" in result.stderr
    document = json.loads(hubcli("export", EXAMPLE, str(tmp_path / "m.onnx"), "--dry-run", "--json").stdout)
    assert (document["dry_run"], document["format"], document["files"]) == (True, "onnx", 0)
    (signature,) = document["conversion"]["signatures"]
    assert signature["outputs"] == [
        {"name": "output_0", "dtype": "float32", "shape": [None, 1], "error": None}
    ]
    assert (signature["compared_on"], document["conversion"]["largest_error"]) == (None, None)
    assert list(tmp_path.glob("m*")) == []


def test_finetune_export_converts_nothing(hubcli: Run, tmp_path: Path) -> None:
    result = hubcli("finetune-export", EXAMPLE, str(tmp_path / "mul.tflite"), "--weights", "w.npz")
    assert result.returncode == 2
    assert "finetune-export writes only SavedModels" in result.stderr
    assert f"hubcli export DIR {tmp_path / 'mul.tflite'}" in result.stderr


@pytest.mark.tensorflow
@pytest.mark.slow
class TestByTensorFlow:
    @pytest.fixture(autouse=True, scope="class")
    def _installed(self) -> None:
        require_installed("tensorflow", "numpy")

    def test_a_model_is_converted_and_compared(self, hubcli: Run, tmp_path: Path) -> None:
        import numpy as np

        place, inputs = tmp_path / "mul.tflite", tmp_path / "x.npz"
        np.savez(inputs, x=np.arange(40, dtype=np.float32).reshape(40, 1))
        words = ("--inputs", str(inputs), "--json")
        document = json.loads(hubcli("export", EXAMPLE, str(place), *words, HUBCLI_TEST_FORKS="0").stdout)
        assert document["bytes"] == place.stat().st_size
        conversion = document["conversion"]
        assert conversion["converter"].startswith("TensorFlow 2.")
        assert (conversion["signatures"][0]["compared_on"], conversion["signatures"][0]["runs"]) == (
            "given",
            2,
        )
        assert conversion["largest_error"] <= 1e-6
        assert place.read_bytes()[4:8] == b"TFL3"
        assert b"hubcli.origin" in place.read_bytes()

    def test_int8_is_calibrated_on_the_representative_inputs(self, hubcli: Run, tmp_path: Path) -> None:
        (tmp_path / "x.jsonl").write_text("".join(f'{{"x": [{n / 10}]}}\n' for n in range(50)))
        words = ("--quantize", "int8", "--representative", str(tmp_path / "x.jsonl"))
        result = hubcli("export", EXAMPLE, str(tmp_path / "mul.tflite"), *words)
        assert result.returncode == 0, result.stderr
        assert "(output output_0 of serving_default, given inputs)" in result.stderr
        assert list(tmp_path.glob("mul*")) == [tmp_path / "mul.tflite"]

    def test_a_keras_file_and_an_archive_of_its_export_give_the_same_file(
        self, hubcli: Run, tmp_path: Path
    ) -> None:
        import keras

        model = keras.Sequential([keras.Input((3,), name="features"), keras.layers.Dense(2, name="scores")])
        model.save(tmp_path / "model.keras")
        for source, place in (("model.keras", "model.tar.gz"), ("model.keras", "1"), ("model.tar.gz", "2")):
            place = place if "." in place else f"{place}.tflite"
            result = hubcli("export", str(tmp_path / source), str(tmp_path / place))
            assert result.returncode == 0, result.stderr
        sizes = [(tmp_path / f"{number}.tflite").stat().st_size for number in (1, 2)]
        assert abs(sizes[0] - sizes[1]) <= 64, "they differ by the names of the two sources"

    def test_a_conversion_that_takes_too_long_ends(self, hubcli: Run, tmp_path: Path) -> None:
        result = hubcli("export", EXAMPLE, str(tmp_path / "mul.tflite"), "--timeout", "0.05")
        assert result.returncode == 7
        assert "Timed out after 0.05 s" in result.stderr
        assert "--timeout" in result.stderr
        assert list(tmp_path.glob("*mul*")) == []

    def test_an_onnx_file_needs_its_packages_or_is_compared(self, hubcli: Run, tmp_path: Path) -> None:
        from importlib.util import find_spec

        result = hubcli("export", EXAMPLE, str(tmp_path / "mul.onnx"))
        if find_spec("tf2onnx") is None:
            assert result.returncode == 7
            assert "pip install 'hubcli[onnx]'" in result.stderr
        else:
            assert result.returncode == 0, result.stderr
            assert "Largest error" in result.stderr
