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


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
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
@pytest.mark.parametrize("as_json", [False, True])
def test_each_refusal_has_its_status_and_a_hint(
    arguments: tuple[str, ...], status: int, code: str, as_json: bool, here: Path, hubcli: Run
) -> None:
    models.write_tree(here / "full", {"file": b"old"})
    (here / "archive.tar.gz").write_bytes(models.archive())
    result = hubcli("export", *arguments, *(["--json"] if as_json else []))
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
