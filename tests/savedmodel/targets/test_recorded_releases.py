"""The answers of `hubcli inspect --for`, held against what releases of TensorFlow said of the same models."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.issues import Severity
from hubcli.savedmodel.graph import read_outline
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.targets.check import check_targets
from hubcli.savedmodel.targets.obstacle import LOAD, TargetReport
from hubcli.savedmodel.targets.target import parse_targets
from tests.cases import each_of
from tests.savedmodel.targets.recorded import (
    RecordedModel,
    recorded_layers,
    recorded_models,
    releases_asked,
    unpack,
)

# Where no obstacle is found and a release refuses the model; docs/how-to/will-it-load.md says why.
KNOWN_MISSES = {("serving_half_plus_three", "load")}
_AT_CALLS = {"several-inputs", "no-kernel", "python-op", "device-pin", "attribute-ignored"}
_TARGETS = {"load": "tensorflow>=2.4", "session": "session>=2.4"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("models"))


def _reports(path: Path) -> dict[str, TargetReport]:
    """Our answers by loader, on a machine with CPUs alone, as the releases ran on."""
    files = ModelFiles.of_directory(path)
    with read_outline(path) as outlines:
        *found, cpu = check_targets(files, outlines, parse_targets(",".join((*_TARGETS.values(), "cpu"))))
    reports = dict(zip(_TARGETS, found, strict=True))
    # The devices of a graph itself count in a session alone.
    releases = reports["session"].target.releases[1:]  # A session of 2.4 takes another device in functions.
    pins = tuple(pin._replace(releases=releases) for pin in cpu.obstacles)
    reports["session"] = reports["session"]._replace(obstacles=reports["session"].obstacles + pins)
    return reports


def _blocked(report: TargetReport, release: str, *, when: str | None = None) -> bool:
    return any(
        found.is_blocking and release in found.releases and when in (None, found.when)
        for found in report.obstacles
    )


@each_of("model", recorded_models())
def test_releases_do_what_is_said_of_the_model(model: RecordedModel, models: Path) -> None:
    path = model.path(models)
    if path is None:
        pytest.skip("the corpus of real models is not there")
    reports = _reports(path)
    for loader, letters in model.letters.items():
        refused = {release for release in letters if _blocked(reports[loader], release, when=LOAD)}
        blocked = {release for release in letters if _blocked(reports[loader], release)}
        failed = {release for release, letter in letters.items() if letter == "f"}
        successes = {release for release, letter in letters.items() if letter == "r"}
        assert not refused - failed, f"{loader}: said not to load, and loads"
        assert not blocked & successes, f"{loader}: said not to run, and runs"
        if (model.name, loader) not in KNOWN_MISSES:
            assert not failed - refused, f"{loader}: no obstacle is found, and it doesn't load"


@each_of("name", sorted(recorded_layers()))
def test_layers_do_what_is_said_of_the_model(name: str, models: Path) -> None:
    path = RecordedModel(name, {}).path(models)
    if path is None:
        pytest.skip("the corpus of real models is not there")
    letters = recorded_layers()[name]
    with read_outline(path) as outlines:
        reports = check_targets(ModelFiles.of_directory(path), outlines, parse_targets(",".join(letters)))
    for report, letter in zip(reports, letters.values(), strict=True):
        codes = {found.issue.code for found in report.obstacles if found.issue.severity is not Severity.HINT}
        # A layer that needs an argument fails without it, and one of Keras 2's optimizers needs tf_keras.
        if letter == "f":
            assert codes, f"{report.target.text}: no obstacle is found, and it fails"
        else:
            assert not codes - {"keras2-optimizer", *_AT_CALLS}, f"{report.target.text}: it loads"


def test_twelve_models_and_four_releases_were_asked_at_least() -> None:
    assert {"2.9", "2.12", "2.15", "2.18"} <= set(releases_asked())
    assert len(recorded_models()) > 90


def test_the_documentation_tells_of_each_known_miss() -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "will-it-load.md"
    if not page.is_file():
        pytest.skip("the documentation is not there")
    text = page.read_text(encoding="utf-8")
    assert [name for name, _ in KNOWN_MISSES if name not in text] == []
