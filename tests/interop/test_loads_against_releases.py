"""The answers of `hubcli inspect --for`, held against the loaders of the releases themselves.

No gate runs it: each release is installed in an environment of its own, of a gigabyte, which is removed at
the end. `pytest -m soak tests/interop/test_loads_against_releases.py` asks four releases;
`HUBCLI_RECORD_RELEASES=1` writes what they say to tests/data/loads-by-release.tsv, for the quick tests.
`HUBCLI_RELEASES="2.8=python3.8 2.20"` asks others: a release, and the Python that its wheel is for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.corpus import CORPUS
from tests.savedmodel.targets.recorded import (
    LAYERS,
    LETTERS,
    LOADERS,
    TABLE,
    recorded_layers,
    recorded_models,
    unpack,
)

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

ORACLE = Path(__file__).with_name("load_oracle.py")
RELEASES = dict(
    text.partition("=")[::2]
    for text in os.environ.get(
        "HUBCLI_RELEASES", "2.9=python3.10 2.12=python3.10 2.15=python3.11 2.18=python3.11"
    ).split()
)
# Wheels from before these packages changed take the older ones alone.
_BEFORE_2_12 = ("protobuf<3.21", "numpy<1.24")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("models"))


@pytest.fixture
def python(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The Python of an environment with that release alone."""
    release = request.param
    interpreter = shutil.which(RELEASES[release] or sys.executable)
    if interpreter is None:
        pytest.skip(f"TensorFlow {release} needs {RELEASES[release]}, which is not there")
    environment = tmp_path / "environment"
    subprocess.run([interpreter, "-m", "venv", environment], check=True)
    pins = _BEFORE_2_12 if int(release.partition(".")[2]) < 12 else ()
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-cache-dir"]
    try:
        subprocess.run([*pip, f"tensorflow-cpu=={release}.*", *pins], check=True)
        yield environment / "bin" / "python"
    finally:
        shutil.rmtree(environment, ignore_errors=True)


@pytest.mark.parametrize(("python", "release"), [(name, name) for name in RELEASES], indirect=["python"])
def test_a_release_says_what_was_recorded_of_it(python: Path, release: str, models: Path) -> None:
    folders = [str(models), *([str(CORPUS)] if CORPUS.is_dir() else [])]
    output = subprocess.run(
        [str(python), str(ORACLE), *folders], check=True, capture_output=True, text=True
    ).stdout
    answers = {answer["model"]: answer for answer in map(json.loads, output.splitlines())}
    assert len(answers) > 70
    if os.environ.get("HUBCLI_RECORD_RELEASES"):
        _record(release, answers)
    for model in recorded_models():
        answer = answers.get(model.name)
        for loader in LOADERS if answer is not None else ():
            recorded = model.letters[loader].get(release)
            assert recorded in (None, LETTERS[answers[model.name][loader]]), (model.name, loader, answer)


@pytest.mark.tensorflow
def test_layers_say_what_was_recorded_of_them(models: Path) -> None:
    folders = [str(models), *([str(CORPUS)] if CORPUS.is_dir() else [])]
    command = [sys.executable, str(ORACLE), "--layers", *folders]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    answers = {answer.pop("model"): answer for answer in map(json.loads, output.splitlines())}
    if os.environ.get("HUBCLI_RECORD_RELEASES"):
        targets = next(iter(answers.values()))
        rows = [
            f"{name}\t" + "".join(LETTERS[answer[target]] for target in targets)
            for name, answer in sorted(answers.items())
        ]
        LAYERS.write_text("\n".join(["# model\t" + " ".join(targets), *rows]) + "\n", encoding="utf-8")
    for name, recorded in recorded_layers().items():
        if name in answers:
            assert {key: LETTERS[value] for key, value in answers[name].items()} == recorded, name


def _record(release: str, answers: dict[str, dict[str, str]]) -> None:
    """Puts the release into the table, or what it says now in the place of what it said."""
    table = {model.name: model.letters for model in recorded_models()}
    for name, answer in answers.items():
        row = table.setdefault(name, {loader: {} for loader in LOADERS})
        for loader in LOADERS:
            row[loader][release] = LETTERS[answer[loader]]
    releases = sorted(
        {known for row in table.values() for letters in row.values() for known in letters},
        key=lambda name: int(name.partition(".")[2]),
    )
    lines = ["# model\t" + " ".join(releases)]
    for name, row in sorted(table.items()):
        columns = ("".join(row[loader].get(known, "-") for known in releases) for loader in LOADERS)
        lines.append("\t".join((name, *columns)))
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
