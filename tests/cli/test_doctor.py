"""`hubcli doctor` as a screen, in a pipe and for scripts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests import entries
from tests.cli.terminal import run_on_terminal
from tests.conftest import Run
from tests.doctor import write_distribution
from tests.forkserver import run_python
from tests.golden import compare_golden

HANDLE = "https://tfhub.dev/google/elmo/3"
WELL = {
    "tensorflow": "2.21.0",
    "tf_keras": "2.21.0",
    "keras": "3.12.1",
    "tensorflow_hub": "0.16.1",
    "setuptools": "81.0.0",
    "numpy": "2.4.0",
    "h5py": "3.14.0",
}


@dataclass(frozen=True)
class Patient:
    """What is looked at: the cache, an environment to load models in, and the variables."""

    folder: Path
    variables: Mapping[str, str]

    def command(self, *more: str) -> list[str]:
        return [sys.executable, "-m", "hubcli", "doctor", "--python", str(self.folder / "venv"), *more]

    def run(self, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.variables, **variables}
        return run_python(self.command(*more)[1:], env=environment)

    def masked(self, text: str) -> str:
        """The text without what differs from machine to machine."""
        text = text.replace(str(self.folder), "TMP")
        text = re.sub(rf"{re.escape(sys.executable)}\b", "PYTHON", text)
        text = re.sub(r"[\w.-]+, [\d.]+ \w+ of [\d.]+ \w+ free", "ext4, N GB of N GB free", text)
        text = re.sub(
            r'("(free_bytes|total_bytes|free_files|disk_bytes|changed_at_s)": )[\d.]+', r"\1N", text
        )
        text = re.sub(r'("type": )"[^"]+"', r'\1"ext4"', text)
        text = re.sub(r'("python": )"3[.\d]+"', r'\1"N"', text)
        text = re.sub(r"\b(Python|python        ) 3[.\d]+\s+\((PYTHON|\S+)\)", r"\1 N (\2)", text)
        text = re.sub(r'(\bPython |")3[.\d]+ \(', r"\1N (", text)
        text = re.sub(r"OpenSSL [\w.]+|LibreSSL [\w.]+", "OpenSSL N", text)
        return text.replace("\x1b", "␛")


def patient(folder: Path, packages: Mapping[str, str], **variables: str) -> Patient:
    venv.create(folder / "venv", with_pip=False)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    for name, version in packages.items():
        write_distribution(site, name, version)
    trustme.CA().cert_pem.write_to_path(str(folder / "ca.pem"))
    entries.hubcli_entry(folder / "cache", HANDLE)
    common = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "TERM": "xterm-256color",
        "SSL_CERT_FILE": str(folder / "ca.pem"),
        "TFHUB_CACHE_DIR": str(folder / "cache"),
    }
    # What an interpreter reads when it starts is as it is here: then it can be forked.
    here = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("PYTHON") or name in ("LANG", "LC_ALL", "LC_CTYPE")
    }
    return Patient(folder, {**here, **common, **variables})


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Patient:
    """All is well, but that the cache of a test is among temporary files."""
    return patient(tmp_path_factory.mktemp("well"), WELL, TF_USE_LEGACY_KERAS="1")


@pytest.fixture(scope="module")
def ill(tmp_path_factory: pytest.TempPathFactory) -> Patient:
    """A good deal is wrong."""
    folder = tmp_path_factory.mktemp("ill")
    packages = {**WELL, "setuptools": "82.0.0", "tf_keras": "2.16.0"}
    found = patient(
        folder,
        packages,
        TFHUB_CACHE_DIR="gs://bucket/models",
        HUBCLI_CACHE_DIR=str(folder / "cache"),
        HUBCLI_KAGGLE_ENDPOINT="kaggle.example",
        HUBCLI_CACHEDIR="/models",
        HTTPS_PROXY="http://me:s3cret@proxy.example:3128",
        NO_PROXY=".googleapis.com,10.0.0.0/8",
        KAGGLE_API_TOKEN="s3cret",
    )
    entries.gut_entry(entries.hubcli_entry(folder / "cache", "https://tfhub.dev/google/spice/2"))
    locked = entries.lock(folder / "cache", "https://tfhub.dev/google/bit/1", 17, host="build-7")
    long_ago = time.time() - 3 * 3600
    for path in (locked.lock, *locked.root.glob("*.tmp"), *locked.root.glob("*.tmp/*")):
        os.utime(path, (long_ago, long_ago))
    return found


@pytest.mark.parametrize("kind", ["well", "ill"])
def test_in_a_pipe(kind: str, request: pytest.FixtureRequest) -> None:
    patient: Patient = request.getfixturevalue(kind)
    result = patient.run()
    transcript = f"exit {result.returncode}\n--- stdout\n{result.stdout}--- stderr\n{result.stderr}"
    compare_golden(f"doctor-{kind}.pipe.txt", patient.masked(transcript))


@pytest.mark.parametrize("kind", ["well", "ill"])
def test_as_json(kind: str, request: pytest.FixtureRequest) -> None:
    patient: Patient = request.getfixturevalue(kind)
    compare_golden(f"doctor-{kind}.json", patient.masked(patient.run("--json").stdout))


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("kind", ["well", "ill"])
def test_on_a_terminal(kind: str, columns: int, request: pytest.FixtureRequest) -> None:
    """Paths are below the home, so that lines break alike wherever that is."""
    patient: Patient = request.getfixturevalue(kind)
    status, screen = run_on_terminal(patient.command(), patient.variables, columns=columns)
    compare_golden(f"doctor-{kind}.terminal-{columns}.txt", patient.masked(f"exit {status}\n{screen}"))
    bare = re.sub("\x1b\\[[0-9;]*m", "", screen).split("\n")
    assert [line for line in bare if len(line) > columns and sys.executable not in line] == []


def test_no_color_is_obeyed_on_a_terminal(ill: Patient) -> None:
    for more, variables in ((["--no-color"], {}), ([], {"NO_COLOR": "1"})):
        _, screen = run_on_terminal(ill.command(*more), {**ill.variables, **variables}, columns=80)
        assert "✗" in screen
        assert not re.search("\x1b\\[[0-9;]*3[0-9]m", screen)


def test_under_a_c_locale_it_is_ascii(ill: Patient) -> None:
    result = ill.run(LC_ALL="C", LANG="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert result.stdout.isascii()
    compare_golden("doctor-ill.c-locale.txt", ill.masked(result.stdout))


def test_quiet_it_prints_the_problems_one_a_line(well: Patient, ill: Patient) -> None:
    result = well.run("-q")
    assert (result.returncode, result.stdout) == (0, "")
    result = ill.run("-q")
    assert result.returncode == 9
    compare_golden("doctor-ill.quiet.txt", ill.masked(result.stdout))


def test_when_all_is_well_it_fits_one_screen(well: Patient) -> None:
    _, screen = run_on_terminal(well.command(), well.variables, columns=80)
    assert len(screen.splitlines()) <= 40


def test_the_exit_status_tells_of_problems_alone(hubcli: Run, cache: Path) -> None:
    """A cache that hub.load isn't told of is a warning."""
    result = hubcli("doctor", "--json")
    document = json.loads(result.stdout)
    assert document["schema"] == 1
    assert document["warnings"] > 0
    assert result.returncode == (9 if document["problems"] else 0)
    cache.write_text("a file")
    result = hubcli("doctor", "--json")
    assert (result.returncode, json.loads(result.stdout)["problems"] > 0) == (9, True)


@pytest.mark.parametrize("arguments", [("tfhub.dev",), ("--network", "--offline"), ("--timeout", "soon")])
def test_options_that_contradict_are_refused(arguments: tuple[str, ...], hubcli: Run) -> None:
    result = hubcli("doctor", *arguments)
    assert result.returncode == 2
    assert "Hint:" in result.stderr


def test_the_json_of_a_host_has_its_steps(hubcli: Run) -> None:
    result = hubcli("doctor", "--json", "--network", "--timeout", "1s", "nowhere.invalid")
    (host,) = [check for check in json.loads(result.stdout)["checks"] if check["name"] == "nowhere.invalid"]
    assert result.returncode == 9
    assert host["value"]["failed_step"] == "name"
