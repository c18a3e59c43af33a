"""What each command prints, in its three forms: on a terminal, in a pipe, as JSON."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.config.settings import Settings
from hubcli.fetching.lock_file import LockedModel, LockFile
from hubcli.fetching.options import ExpectedDigests
from tests import models
from tests.cli.terminal import run_on_terminal
from tests.forkserver import run_python
from tests.golden import compare_golden

HANDLE = "https://tfhub.dev/google/universal-sentence-encoder/4"

LIST = f"""\
# What the service loads
{HANDLE}                 # the encoder
http://tfhub.dev/google/universal-sentence-encoder/4/

https://tfhub.dev/maker/absent/1 --sha256={"0" * 64}
example://mul/1
"""

CASES = {
    "fetch": ["fetch", "example://mul/1"],
    "fetch-hit": ["fetch", HANDLE],
    "fetch-failure": ["fetch", "tfhub.dev/google/nnlm-en-dim128/2"],
    "fetch-several": ["fetch", HANDLE, "https://www.kaggle.com/datasets/a/b", "example://mul/1"],
    "fetch-list": ["fetch", "--offline", "-r", "LIST"],
    "fetch-list-quiet": ["fetch", "-q", "--offline", "-r", "LIST"],
    "fetch-list-unclear": ["fetch", "-r", "UNCLEAR"],
    "fetch-locked": ["fetch", "--locked", "--offline", "-r", "LOCK"],
    "fetch-dry-run": ["fetch", "--dry-run", "--offline", "-r", "LIST"],
    "fetch-dry-run-of-one": ["fetch", "--dry-run", HANDLE],
    "fetch-dry-run-quiet": ["fetch", "--dry-run", "-q", "--offline", "-r", "LIST"],
    "ls": ["ls"],
    "ls-quiet": ["ls", "-q"],
    "ls-narrowed": ["ls", "*sentence*", "--filter", "size>1kB", "--sort", "size", "--limit", "1"],
    "ls-nothing": ["ls", "*nothing*"],
    "gc": ["gc", "--dry-run", "--older-than", "30d", "--max-size", "1kB", "--grace", "0s"],
    "gc-nothing": ["gc"],
    "rm": ["rm", "*sentence*", "https://tfhub.dev/maker/absent/1", "-y", "--dry-run"],
    "rm-unasked": ["rm", HANDLE],
    "pin": ["pin", HANDLE, "https://tfhub.dev/maker/absent/1"],
    "unpin": ["unpin", HANDLE],
    "near-miss": ["instpect"],
    "near-miss-of-an-option": ["ls", "--limt", "3"],
    "near-miss-of-a-word": ["ls", "--sort", "sise"],
    "inspect": ["inspect", HANDLE],
    "verify": ["verify"],
    "verify-quiet": ["verify", "-q"],
    "verify-one": ["verify", HANDLE],
    "verify-repair": ["verify", "--repair", "--offline", "https://tfhub.dev/maker/gutted/1"],
    "verify-absent": ["verify", "https://tfhub.dev/maker/absent/1", HANDLE],
}


@pytest.fixture
def filled_cache(tmp_path: Path) -> Path:
    """A cache with a model of each state that doesn't need a second process.

    Each test has one made anew: what a copy reads has another time of access, by which models are kept.
    """
    cache = tmp_path / "cache"
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(models.archive())
    settings = Settings(cache, "--cache-dir", sync=False)  # Waiting for the disk takes most of the time.
    for handle in (HANDLE, "https://tfhub.dev/maker/gutted/1"):
        fetch(handle, settings, FetchOptions(local=str(archive)))
    gutted = next(path for path in cache.glob("*.descriptor.txt") if "gutted" in path.read_text())
    gutted_model = cache / gutted.name.split(".")[0]
    (gutted_model / "saved_model.pb").unlink()
    shard = gutted_model / "variables" / "variables.data-00000-of-00001"
    shard.write_bytes(b"\xff" + shard.read_bytes()[1:])
    models.write_tree(cache / ("1" * 40), models.example_files())
    (cache / "notes.txt").write_text("a person's own file")
    (tmp_path / "models.txt").write_text(LIST)
    lock = LockFile(str(tmp_path / "models.lock"))
    lock.updated(
        LockedModel(handle, handle, ExpectedDigests("1" * 64, "0" * 64), 6000, 14532, 4)
        for handle in (HANDLE, "https://tfhub.dev/maker/absent/1")
    ).write()
    (tmp_path / "unclear.txt").write_text(f"# One typing error\n{HANDLE} --sha265=0\n")
    long_ago = time.time() - 40 * 86400
    os.utime(cache / ("1" * 40), (long_ago, long_ago))
    os.utime(cache / ("1" * 40) / "saved_model.pb", (long_ago, long_ago))
    return cache


def command_line(name: str, cache: Path, *more: str) -> list[str]:
    """The case as a command on that cache."""
    files = {"LIST": "models.txt", "UNCLEAR": "unclear.txt", "LOCK": "models.lock"}
    words = [str(cache.parent / files[word]) if word in files else word for word in CASES[name]]
    return ["-m", "hubcli", *words, *more, "--cache-dir", str(cache)]


def masked(text: str, cache: Path) -> str:
    """The text without what differs from run to run."""
    text = text.replace(str(cache), "CACHE").replace(str(cache.parent), "TMP")
    text = re.sub(r"\d+\.\d s\b", "N.N s", text)
    text = re.sub(r'("seconds": )[\d.]+', r"\1N", text)
    text = re.sub(r'("free_bytes": {)[^}]+}', r"\1N}", text)
    text = re.sub(r'"\d{4}-\d\d-\d\dT[\d:.]+Z"', '"TIME"', text)
    # The compressor differs from one Python to the next.
    text = re.sub(r'("sha256": )"[0-9a-f]{64}"', r'\1"SHA256"', text)
    return text.replace("\x1b", "␛")


@pytest.mark.parametrize("name", CASES)
def test_in_a_pipe(name: str, filled_cache: Path) -> None:
    result = run_python(command_line(name, filled_cache))
    transcript = f"exit {result.returncode}\n--- stdout\n{result.stdout}--- stderr\n{result.stderr}"
    compare_golden(f"{name}.pipe.txt", masked(transcript, filled_cache))


@pytest.mark.parametrize("name", [name for name in CASES if "quiet" not in name])
def test_as_json(name: str, filled_cache: Path) -> None:
    result = run_python(command_line(name, filled_cache, "--json"))
    compare_golden(f"{name}.json", masked(result.stdout, filled_cache))


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("fetch-hit", 100),
        ("fetch-failure", 80),
        ("near-miss", 80),
        ("fetch-list-unclear", 80),
        ("fetch-dry-run-of-one", 80),
        ("ls-narrowed", 100),
        *(
            (name, columns)
            for name in ("ls", "gc", "rm", "verify", "pin", "inspect")
            for columns in (80, 120)
        ),
    ],
)
def test_on_a_terminal(name: str, columns: int, filled_cache: Path) -> None:
    command = [sys.executable, *command_line(name, filled_cache)]
    status, screen = run_on_terminal(command, os.environ, columns=columns)
    compare_golden(f"{name}.terminal-{columns}.txt", masked(f"exit {status}\n{screen}", filled_cache))


@pytest.mark.parametrize("name", ["ls", "gc", "inspect"])
def test_on_a_terminal_without_colours(name: str, filled_cache: Path) -> None:
    command = [sys.executable, *command_line(name, filled_cache)]
    status, screen = run_on_terminal(command, {**os.environ, "NO_COLOR": "1"}, columns=80)
    compare_golden(f"{name}.no-color.txt", masked(f"exit {status}\n{screen}", filled_cache))


@pytest.mark.parametrize(
    "name",
    [
        "ls",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("gc", "inspect", "fetch-several", "verify")
        ),
    ],
)
def test_in_ci_under_a_c_locale(name: str, filled_cache: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "CI": "true"}
    result = subprocess.run(
        [sys.executable, *command_line(name, filled_cache)],
        env={**os.environ, **plain},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert (result.stdout + result.stderr).isascii()
    transcript = (
        f"exit {result.returncode}\n--- stdout\n{result.stdout.decode()}--- stderr\n{result.stderr.decode()}"
    )
    compare_golden(f"{name}.c-locale.txt", masked(transcript, filled_cache))


def test_no_color_is_obeyed_on_a_terminal(filled_cache: Path) -> None:
    command = [sys.executable, "-m", "hubcli", "ls", "--cache-dir", str(filled_cache)]
    for extra, variables in ((["--no-color"], {}), ([], {"NO_COLOR": "1"})):
        _, screen = run_on_terminal([*command, *extra], {**os.environ, **variables})
        assert not re.search("\x1b\\[[0-9;]*3[0-9]m", screen)


def test_a_fetch_on_a_terminal_shows_a_bar_and_takes_it_off(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hubcli", "fetch", "example://mul/1", "--cache-dir", str(tmp_path / "c")]
    status, screen = run_on_terminal(command, os.environ, columns=80)
    assert status == 0
    assert "━" in screen
    assert screen.rstrip().endswith("0ed234e54d322935d542637169f159ee254449a0")
