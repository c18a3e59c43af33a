"""What a start loads: the budget that keeps hubcli quick."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hubcli import __version__
from hubcli.cli.app import COMMANDS
from tests import models
from tests.cli.many import run_many_anew

HEAVY = {
    *("tensorflow", "keras", "tf_keras", "tensorflow_hub", "numpy", "h5py", "safetensors"),
    *("google.protobuf", "httpx", "httpcore", "isal", "google_crc32c", "ssl", "platformdirs"),
}
_LOADED = """
import sys
before = set(sys.modules)
from hubcli.cli.main import main
"""
_TELL = """
print(status, *sorted(set(sys.modules) - before))
"""


def test_the_version_is_told_before_anything_else_is_loaded() -> None:
    program = f"{_LOADED}status = main(['--version']){_TELL}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    told, loaded = ran.stdout.splitlines()
    assert told == f"hubcli {__version__}"
    assert loaded == "0 __future__ hubcli hubcli._moved hubcli.cli hubcli.cli.main"


def test_a_run_loads_no_other_command() -> None:
    program = f"{_LOADED}status = main(['ls', '-q']){_TELL}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert "hubcli.cli.ls" in loaded
    assert not loaded & {f"hubcli.cli.{name}" for name in {*COMMANDS.values()} - {"ls"}}


def test_no_help_needs_protobuf_httpx_or_tensorflow() -> None:
    lines = [["--help"], *([command, "--help"] for command in COMMANDS)]
    runs, loaded = run_many_anew(lines)
    for line, ran in zip(lines, runs, strict=True):
        assert ran.status == 0
        assert f"Usage: hubcli {' '.join(line[:-1])}".rstrip() in ran.stdout
    assert "rich" in loaded
    assert not loaded & HEAVY


def test_neither_a_usage_error_nor_a_script_needs_rich() -> None:
    runs, loaded = run_many_anew([["instpect"], ["ls", "--sise"], ["--show-completion", "bash"]])
    assert [ran.status for ran in runs] == [2, 2, 0]
    assert not loaded & {*HEAVY, "rich"}


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--version", ">", "/dev/full"], 8), (["--version", ">&-"], 120), (["--version"], 0)],
)
def test_the_version_fails_as_every_payload_does(arguments: list[str], status: int) -> None:
    ran = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m hubcli {' '.join(arguments)}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == status, ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_inspection_loads_readers_of_archives_only_for_assets(tmp_path: Path) -> None:
    folder = models.write_tree(tmp_path / "model", models.example_files())
    (ran,), loaded = run_many_anew([["inspect", str(folder)]])
    assert ran.status == 0
    assert not loaded & {"tarfile", "zipfile"}


def test_a_dry_run_of_fine_tuned_values_loads_nothing_that_starts_tensorflow(tmp_path: Path) -> None:
    folder = models.write_tree(tmp_path / "model", models.example_files())
    values = models.write_safetensors(tmp_path / "tuned.safetensors", v=[3.0])
    line = ["finetune-export", str(folder), "-q", "--dry-run", "--weights", str(values)]
    program = f"{_LOADED}status = main({line}){_TELL}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    status, *loaded = ran.stdout.splitlines()[-1].split()
    assert status == "0"
    assert not {*loaded} & {"tensorflow", "hubcli.tf.importing", "logging"}
