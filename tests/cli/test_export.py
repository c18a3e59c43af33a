"""`hubcli export` as a process: streams, statuses, paths as people type them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import models
from tests.cases import each_of

Run = Callable[..., "subprocess.CompletedProcess[str]"]
EXAMPLE = "example://mul/1"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return tmp_path / "here"


@pytest.mark.parametrize("typed", ["mul", "./mul", "mul/", "below/../mul", "below/mul", "../here/mul"])
def test_the_path_is_printed_and_a_line_is_said(typed: str, here: Path, hubcli: Run) -> None:
    result = hubcli("export", EXAMPLE, typed)
    assert result.returncode == 0, result.stderr
    assert models.tree_files(Path(result.stdout.rstrip("\n"))) == models.example_files()
    assert result.stderr.splitlines()[-1].startswith(f"Exported {EXAMPLE}  14.5 kB, 4 files, ")


def test_quiet_prints_the_path_alone(here: Path, hubcli: Run) -> None:
    result = hubcli("export", "-q", EXAMPLE, "mul")
    assert (result.stdout, result.stderr) == (f"{here / 'mul'}\n", "")


def test_the_document_tells_the_hash_of_an_archive(here: Path, hubcli: Run) -> None:
    document = json.loads(hubcli("export", "--json", EXAMPLE, "mul.tgz").stdout)
    content = (here / "mul.tgz").read_bytes()
    assert document.pop("seconds") >= 0
    assert document == {
        "schema": 1,
        "source": EXAMPLE,
        "destination": str(here / "mul.tgz"),
        "layout": "plain",
        "format": "tar.gz",
        "bytes": len(content),
        "files": 4,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert json.loads(hubcli("export", "--json", EXAMPLE, "mul").stdout)["sha256"] is None


@each_of(
    "arguments, status, code",
    [
        (("https://tfhub.dev/maker/absent/1", "out", "--offline"), 5, "offline"),
        (("./absent", "out"), 4, "not-found"),
        (("no handle", "out"), 3, "handle"),
        ((EXAMPLE, "full"), 8, "output"),
        ((EXAMPLE, ""), 2, "usage"),
        ((EXAMPLE, "a\x7f.zip"), 2, "usage"),
        ((EXAMPLE, "out", "--layout", "hub"), 2, "usage"),
        ((EXAMPLE, "out", "--format", "zip"), 2, "usage"),
        (("full", "out"), 6, "broken-model"),
        (("~nobody-of-this-name/x", "out"), 3, "handle"),
        ((EXAMPLE, "~nobody-of-this-name/x"), 2, "usage"),
        (("archive.tar.gz", "out", "--output-layer", "x"), 2, "usage"),
    ],
)
@each_of("as_json", [False, True])
def test_each_refusal_has_its_status_and_a_hint(
    arguments: tuple[str, ...], status: int, code: str, as_json: bool, here: Path, hubcli_in_turn: Run
) -> None:
    models.write_tree(here / "full", {"file": b"old"})
    (here / "archive.tar.gz").write_bytes(models.archive())
    result = hubcli_in_turn("export", *arguments, *(["--json"] if as_json else []))
    assert (result.returncode, "Traceback" in result.stderr) == (status, False), result.stderr
    assert "\nHint: " in result.stderr
    assert "\x7f" not in result.stderr
    if as_json:
        assert json.loads(result.stdout)["error"]["code"] == code
    assert sorted(os.listdir(here)) == ["archive.tar.gz", "full"]
    assert models.tree_files(here / "full") == {"file": b"old"}


def test_force_replaces(here: Path, hubcli: Run) -> None:
    models.write_tree(here / "full", {"file": b"old"})
    assert hubcli("export", "--force", EXAMPLE, "full").returncode == 0
    assert models.tree_files(here / "full") == models.example_files()


def test_the_cache_is_not_written_to(here: Path, hubcli: Run, cache: Path) -> None:
    (here / "way").symlink_to(cache, target_is_directory=True)
    for place in (cache, cache / "below", here / "way" / "below"):
        assert hubcli("export", "--force", EXAMPLE, str(place)).returncode == 8
    assert not cache.exists()


def test_the_cache_is_found_by_a_link_to_it(here: Path, hubcli: Run, cache: Path) -> None:
    cache.mkdir()
    (here / "way").symlink_to(cache, target_is_directory=True)
    result = hubcli("export", EXAMPLE, str(cache / "below"), "--cache-dir", "way")
    assert result.returncode == 8, result.stderr
    assert hubcli("export", EXAMPLE, "out", "--cache-dir", "way").returncode == 0


def test_a_path_that_is_no_text_is_written_to(here: Path, cache: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "hubcli", "export", EXAMPLE, b"caf\xe9", "--cache-dir", cache],
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(b"/caf\xe9\n")


def test_keras_is_not_loaded_for_anything_else(here: Path, cache: Path) -> None:
    program = (
        "import sys; from hubcli.cli.main import main\n"
        f"status = main(['export', {EXAMPLE!r}, 'mul.tar.gz', '-q', '--cache-dir', {str(cache)!r}])\n"
        "assert not {'tensorflow', 'keras', 'numpy', 'httpx', 'rich'} & set(sys.modules); sys.exit(status)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


EDITS = ("--serving", "--clear-devices", "--rename-signature", "serving_default=predict")


def test_an_edited_export_tells_what_it_lost(here: Path, hubcli: Run) -> None:
    result = hubcli("export", EXAMPLE, "out", *EDITS, "--no-compare", "--json")
    assert result.returncode == 0, result.stderr
    edited = json.loads(result.stdout)["edited"]
    assert edited["signatures"] == {"serving_default": "predict"}
    assert {loss["kind"] for loss in edited["lost"]} >= {"functions", "variables", "files"}
    assert all(f"Note: {loss['text']}" in result.stderr for loss in edited["lost"])
    assert edited["bytes_after"] < edited["bytes_before"]
    assert (edited["compared"], edited["largest_error"]) == ([], None)
    assert "fingerprint.pb" not in models.tree_files(here / "out")


def test_half_weights_without_tensorflow_need_no_compare(here: Path, cache: Path) -> None:
    arguments = ["export", EXAMPLE, "out", "--half", "float16", "-q", "--cache-dir", str(cache)]
    program = (
        "import sys; sys.modules['tensorflow'] = None\n"  # Nor is it found.
        "from hubcli.cli.main import main\n"
        f"first = main({arguments!r}); print(first, main([*{arguments!r}, '--no-compare']))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--half compares the export with its source, and TensorFlow is not installed" in result.stderr
    assert "skip the comparison: --no-compare" in result.stderr
    assert result.stdout.splitlines()[-1] == "2 0"
    assert os.listdir(here) == ["out"]


def test_a_dry_run_lists_what_would_be_lost_and_writes_nothing(here: Path, hubcli: Run) -> None:
    result = hubcli("export", EXAMPLE, "out", *EDITS, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "Removed 1 variable (8 B): save_counter" in result.stdout
    assert f"Would export {EXAMPLE}  14.5 kB to " in result.stderr
    document = json.loads(hubcli("export", EXAMPLE, "out", *EDITS, "--dry-run", "--json").stdout)
    assert document["dry_run"] is True
    assert document["bytes"] == document["edited"]["bytes_after"]
    assert os.listdir(here) == []


def test_an_archive_is_edited_into_an_archive(here: Path, hubcli: Run) -> None:
    assert hubcli("export", EXAMPLE, "mul.tar.gz").returncode == 0
    for name in ("first.tar.gz", "second.tar.gz"):
        result = hubcli("export", "mul.tar.gz", name, *EDITS, "--no-compare")
        assert result.returncode == 0, result.stderr
    assert (here / "first.tar.gz").read_bytes() == (here / "second.tar.gz").read_bytes()
    assert hubcli("inspect", "first.tar.gz", "--signatures").stdout.count("predict") > 1
    assert sorted(os.listdir(here)) == ["first.tar.gz", "mul.tar.gz", "second.tar.gz"]


def test_fine_tuned_values_and_edits_are_one_pass(here: Path, hubcli: Run) -> None:
    models.write_safetensors(here / "tuned.safetensors", **{"v/.ATTRIBUTES/VARIABLE_VALUE": [7.0]})
    command = ("finetune-export", EXAMPLE, "out", "--weights", "tuned.safetensors", *EDITS, "--no-compare")
    result = hubcli(*command, "--json")
    assert result.returncode == 0, result.stdout
    document = json.loads(result.stdout)
    assert document["edited"]["signatures"] == {"serving_default": "predict"}
    assert b"\x00\x00\xe0\x40" in models.tree_files(here / "out")["variables/variables.data-00000-of-00001"]
    assert sorted(os.listdir(here)) == ["out", "tuned.safetensors"]


@each_of(
    "options, status, words",
    [
        (("--signature", "absent"), 2, "The model has no signature 'absent'"),
        (
            ("--drop-signature", "serving_default"),
            2,
            "No signature would remain: the model has serving_default",
        ),
        (("--rename-signature", "serving_default"), 2, "Invalid --rename-signature 'serving_default'"),
        (("--rename-signature", "a=b", "--rename-signature", "a=c"), 2, "is given twice"),
        (("--add-defaults", "serving_default.x=[[1, 2]]"), 2, "x has the shape"),
        (("--warmup", ""), 2, "--warmup is empty"),
        (("--warmup", "0"), 2, "Invalid number of requests 0"),
        (("--warmup", "absent.json"), 4, "absent.json"),
        (("--tolerance", "0.1"), 2, "--tolerance requires --half"),
        (("--half", "float16", "--tolerance", "nan"), 2, "Invalid tolerance nan"),
        (("--half", "float64"), 2, "float64"),
    ],
)
def test_an_edit_that_cannot_be_is_refused(
    options: tuple[str, ...], status: int, words: str, here: Path, hubcli_in_turn: Run
) -> None:
    compared = () if "--half" in options else ("--no-compare",)
    result = hubcli_in_turn("export", EXAMPLE, "out", *options, *compared)
    assert result.returncode == status, result.stderr
    assert words in result.stderr
    assert os.listdir(here) == []


def test_a_dash_is_not_the_name_of_a_directory_unless_it_is_typed_as_a_path(
    here: Path, hubcli: Run, hubcli_in_turn: Run
) -> None:
    for command in (
        ("export",),
        ("export", "--layout", "serving"),
        ("finetune-export", "--weights", "w"),
    ):
        result = hubcli_in_turn(*command, EXAMPLE, "-")
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("Error: Cannot export to standard output\nHint: ")
    assert hubcli("export", EXAMPLE, "./-").returncode == 0
    assert os.listdir(here) == ["-"]
