"""`hubcli finetune-export` as a process: streams, statuses, screens of 80 columns, documents."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import models
from tests.cases import each_of
from tests.cli.terminal import run_on_terminal
from tests.conftest import Run
from tests.corpus import corpus_model

EXAMPLE = "example://mul/1"
REWRITE = ("--weights", "tuned.safetensors", "--method", "rewrite")
KEY = "v/.ATTRIBUTES/VARIABLE_VALUE"
PAIR = {"variable": "v", "key": KEY, "from": "v", "dtype": "float32", "shape": [], "found_by": "key"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with tuned values of the example."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    models.write_safetensors(Path("tuned.safetensors"), v=[3.0])
    return tmp_path / "here"


def test_the_path_is_the_payload_and_the_report_is_told_beside_it(here: Path, hubcli: Run) -> None:
    result = hubcli("finetune-export", EXAMPLE, "tuned", *REWRITE)
    assert (result.returncode, result.stdout) == (0, f"{here / 'tuned'}\n")
    assert re.sub(r"\d\.\d s", "N s", result.stderr).splitlines() == [
        "Found values for 1 variable by their keys",
        "  values    1 of 1 trainable variable changed",
        "            by up to 1  v  float32 []",
        "  kept      every byte but the values'",
        "Exported example://mul/1 by rewrite  14.5 kB, 4 files, N s",
    ]


def test_quiet_prints_the_path_alone(here: Path, hubcli: Run) -> None:
    result = hubcli("finetune-export", "-q", EXAMPLE, "tuned", *REWRITE)
    assert (result.stdout, result.stderr) == (f"{here / 'tuned'}\n", "")


def test_the_document_tells_of_every_value(here: Path, hubcli: Run) -> None:
    document = json.loads(hubcli("finetune-export", "--json", EXAMPLE, "tuned", *REWRITE).stdout)
    assert document.pop("seconds") >= 0
    assert document.pop("bytes") == sum(map(len, models.tree_files(here / "tuned").values()))
    changed = {"variable": "v", "key": KEY, "dtype": "float32", "shape": []}
    assert document == {
        "schema": 1,
        "source": EXAMPLE,
        "destination": str(here / "tuned"),
        "method": "rewrite",
        "requested_method": "rewrite",
        "method_reason": None,
        "format": "dir",
        "files": 4,
        "sha256": None,
        "mapping": {"root": None, "pairs": [PAIR], "kept": [], "unused": []},
        "values": {
            "changed": [{**changed, "trainable": True, "largest_change": 1.0}],
            "unchanged": [],
            "trainable": 1,
        },
        "compared": [],
        "not_compared": [],
        "kept": ["every byte but the values'"],
        "carried": [],
        "not_kept": [],
    }


def test_weights_are_written_in_place_of_the_old_ones_unless_it_is_asked_otherwise(
    here: Path, cache: Path
) -> None:
    """Without TensorFlow: the default needs none."""
    arguments = ["finetune-export", EXAMPLE, "tuned", *REWRITE[:2], "--json", "--cache-dir", str(cache)]
    program = (
        f"import sys; from hubcli.cli.main import main\nstatus = main({arguments!r})\n"
        "assert not {'tensorflow', 'keras', 'h5py', 'httpx', 'rich'} & set(sys.modules); sys.exit(status)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    document = json.loads(result.stdout)
    assert (document["method"], document["requested_method"], document["method_reason"]) == (
        "rewrite",
        "auto",
        None,
    )
    again = [
        sys.executable,
        "-c",
        program.replace("'--json'", "'--dry-run', '--json'").replace("'tuned', ", ""),
    ]
    document = json.loads(subprocess.run(again, capture_output=True, text=True, check=True).stdout)
    assert (document["method"], document["requested_method"]) == ("rewrite", "auto")


def test_a_plan_is_a_table_in_the_payload_and_tells_no_export(here: Path, hubcli: Run) -> None:
    result = hubcli("finetune-export", EXAMPLE, *REWRITE, "--dry-run")
    assert (result.returncode, result.stderr) == (0, "Found values for 1 variable by their keys\n")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["VARIABLE", "VALUE", "FROM", "DTYPE", "SHAPE", "FOUND", "BY"],
        ["v", "v", "float32", "[]", "key"],
    ]
    document = json.loads(hubcli("finetune-export", EXAMPLE, *REWRITE, "--dry-run", "--json").stdout)
    assert (document["mapping"]["pairs"], document["destination"], document["values"]) == ([PAIR], None, None)
    assert os.listdir(here) == ["tuned.safetensors"]


def test_reports_and_plans_fit_on_a_screen_of_80_columns(here: Path, cache: Path) -> None:
    """A model of 24 variables with long names, written with its own values."""
    source = str(corpus_model("basic_pitch_nmp"))
    Path("model").symlink_to(source, target_is_directory=True)
    command = [sys.executable, "-m", "hubcli", "finetune-export", "model", "tuned", "--weights", source]
    command += ["--method", "rewrite", "--cache-dir", str(cache)]
    for options in (["--dry-run"], ["--allow-unchanged"]):
        status, screen = run_on_terminal([*command, *options], os.environ, columns=80)
        lines = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", screen).splitlines()
        assert status == 0
        assert len(lines) > 3
        assert [line for line in lines if len(line) > 80 and str(here) not in line] == []


@each_of(
    "arguments, status, code",
    [
        ((EXAMPLE, "out"), 2, "usage"),
        ((EXAMPLE, *REWRITE), 2, "usage"),
        ((EXAMPLE, "out", "--weights", "absent"), 4, "not-found"),
        ((EXAMPLE, "out", *REWRITE, "--root", "x"), 2, "usage"),
        ((EXAMPLE, "out", *REWRITE, "--map", "absent"), 4, "not-found"),
        ((EXAMPLE, "out", "--weights", "other.safetensors", "--method", "rewrite"), 2, "mapping"),
        ((EXAMPLE, "out", "--weights", "nan.safetensors", "--method", "rewrite"), 6, "values"),
        ((EXAMPLE, "out", "--weights", "same.safetensors", "--method", "rewrite"), 2, "unchanged"),
        ((EXAMPLE, "out", "--weights", "cut.safetensors", "--method", "rewrite"), 6, "broken-model"),
        ((EXAMPLE, "out", "--train", "absent.py:train"), 4, "not-found"),
        ((EXAMPLE, "out", "--train", "train.py"), 2, "usage"),
        ((EXAMPLE, "full", *REWRITE), 8, "output"),
        (("./absent", "out", *REWRITE), 4, "not-found"),
        (("no handle", "out", *REWRITE), 3, "handle"),
        (("https://tfhub.dev/maker/absent/1", "out", *REWRITE, "--offline"), 5, "offline"),
    ],
)
def test_each_refusal_has_its_status_and_a_hint(
    arguments: tuple[str, ...], status: int, code: str, here: Path, hubcli_in_turn: Run
) -> None:
    models.write_tree(here / "full", {"file": b"old"})
    for name, values in (("other", [1.0, 2.0]), ("nan", [float("nan")]), ("same", [2.0])):
        models.write_safetensors(here / f"{name}.safetensors", **{"w" if name == "other" else "v": values})
    Path("cut.safetensors").write_bytes(Path("tuned.safetensors").read_bytes()[:-1])
    before = sorted(os.listdir(here))
    result = hubcli_in_turn("finetune-export", *arguments, "--json")
    assert (result.returncode, "Traceback" in result.stderr) == (status, False), result.stderr
    assert "\nHint: " in result.stderr
    error = json.loads(result.stdout)["error"]
    assert error["code"] == code
    assert error["hint"]
    assert sorted(os.listdir(here)) == before
    assert models.tree_files(here / "full") == {"file": b"old"}


def test_paths_that_are_no_text_are_read_and_written(here: Path, cache: Path) -> None:
    Path("tuned.safetensors").rename(os.fsdecode(b"caf\xe9.safetensors"))
    options = ("--method", "rewrite", "--cache-dir", cache, "--weights", b"caf\xe9.safetensors")
    result = subprocess.run(
        [sys.executable, "-m", "hubcli", "finetune-export", EXAMPLE, b"tun\xe9", *options],
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(b"/tun\xe9\n")


def test_nothing_heavy_is_loaded_to_rewrite_values(here: Path, cache: Path) -> None:
    arguments = ["finetune-export", EXAMPLE, "tuned", *REWRITE, "-q", "--cache-dir", str(cache)]
    program = (
        f"import sys; from hubcli.cli.main import main\nstatus = main({arguments!r})\n"
        "assert not {'tensorflow', 'keras', 'h5py', 'httpx', 'rich'} & set(sys.modules); sys.exit(status)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
