"""`hubcli publish` as a process: the plan, the questions, statuses, JSON; on a terminal and in pipes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import models
from tests.cases import each_of
from tests.cli.terminal import run_answered
from tests.fake_kaggle_uploads import OWNER, TOKEN, FakeKaggleUploads

Run = Callable[..., "subprocess.CompletedProcess[str]"]
NAME = f"{OWNER}/mul/tensorFlow2/small"
PAGE = f"https://www.kaggle.com/models/{NAME}"


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKaggleUploads]:
    with FakeKaggleUploads().running() as server:
        assert isinstance(server, FakeKaggleUploads)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setenv("HUBCLI_KAGGLE_ENDPOINT", server.url)
        monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
        yield server


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return models.write_tree(tmp_path / "model", models.example_files())


def test_the_plan_is_shown_and_the_handle_of_the_version_printed(
    model: Path, kaggle: FakeKaggleUploads, hubcli: Run
) -> None:
    result = hubcli("publish", str(model), NAME, "--license", "MIT", "-y")
    assert (result.returncode, result.stdout) == (0, f"{PAGE}/1\n"), result.stderr
    for line in (
        f"Publish {model} to {PAGE}",
        "  Creates     model, variation and version 1",
        "  Visibility  private",
        "  License     MIT",
        "  Files       4 files, 14.5 kB",
        f"Published {PAGE}/1  4 files, 14.5 kB, ",
    ):
        assert line in result.stderr
    assert "downloaded and compared" in result.stderr
    assert TOKEN not in result.stderr
    again = hubcli("publish", str(model), NAME, "-q")
    assert (again.returncode, again.stdout, again.stderr) == (0, f"{PAGE}/1\n", "")


def test_without_a_terminal_nothing_is_published_unless_yes_is_given(
    model: Path, kaggle: FakeKaggleUploads, hubcli: Run
) -> None:
    result = hubcli("publish", str(model), NAME, "--license", "MIT")
    assert result.returncode == 2
    assert "Cannot ask before publishing" in result.stderr
    assert "--dry-run" in result.stderr
    assert kaggle.request_names("POST|PUT") == []


def test_the_document_of_a_dry_run_tells_what_would_be_created(
    model: Path, kaggle: FakeKaggleUploads, hubcli: Run
) -> None:
    result = hubcli("publish", str(model), NAME, "--license", "MIT", "--dry-run", "--json")
    document = json.loads(result.stdout)
    assert (document["status"], document["handle"], document["version"]) == ("planned", None, "1")
    assert document["creates"] == ["model", "variation", "version"]
    assert {file["path"] for file in document["files"]} == models.example_files().keys()
    assert kaggle.request_names("POST|PUT") == []


def test_a_model_that_is_refused_ends_with_9_and_says_why(model: Path, hubcli: Run) -> None:
    models.write_tree(model, {".env": b"A=1"})
    result = hubcli("publish", str(model), "./www/pub/mul/1", "-y")
    assert result.returncode == 9
    assert result.stdout == "error: .env is named like a secret [secret-file]\n  Remove it from the model.\n"
    assert "Not published: 1 problem" in result.stderr
    document = json.loads(hubcli("publish", str(model), "./www/pub/mul/1", "--json").stdout)
    assert [issue["code"] for issue in document["issues"]] == ["secret-file"]


def test_statuses_of_versions_that_exist_and_of_unknown_outcomes(
    model: Path, kaggle: FakeKaggleUploads, hubcli: Run
) -> None:
    kaggle.add(NAME, {"saved_model.pb": b"another"}, model={"is_private": True})
    exists = hubcli("publish", str(model), f"{NAME}/1", "--json")
    assert (exists.returncode, json.loads(exists.stdout)["error"]["code"]) == (11, "version-exists")
    kaggle.faults["version"] = ["lose-request"]
    unknown = hubcli("publish", str(model), NAME, "-y", "--wait", "1s", "--json")
    assert (unknown.returncode, json.loads(unknown.stdout)["error"]["code"]) == (13, "unknown-outcome")
    assert len(kaggle.published(NAME)) == 1
    assert hubcli("publish", str(model), NAME, "-y", "--restart").returncode == 0
    assert len(kaggle.published(NAME)) == 2


@each_of(
    "arguments, status, message",
    [
        ((), 2, "Missing argument 'HANDLE'"),
        (("publisher/mul/small", "--framework", "tf"), 2, "Invalid framework 'tf'. Did you mean 'tf2'?"),
        (("--check", "--card"), 2, "cannot be used together"),
        ((NAME, "--description", "missing.md"), 2, "Cannot read missing.md"),
        ((NAME, "--wait", "never"), 2, "never"),
        (("https://tfhub.dev/google/elmo/3",), 2, "Cannot publish to"),
        (("owner/model/pytorch/x",), 3, "has no SavedModels"),
    ],
)
def test_what_can_not_be_asked_for(
    arguments: tuple[str, ...], status: int, message: str, model: Path, hubcli_in_turn: Run
) -> None:
    result = hubcli_in_turn("publish", str(model), *arguments)
    assert result.returncode == status
    assert message in result.stderr
    assert "Hint: " in result.stderr


def test_a_public_model_is_asked_for_twice(model: Path, kaggle: FakeKaggleUploads, cache: Path) -> None:
    arguments = ("publish", str(model), NAME, "--license", "MIT", "--public")
    for replies in (["y", "n"], ["n"]):
        status, screen = run_answered(cache, replies, *arguments)
        assert (status, kaggle.published(NAME)) == (0, [])
        assert "Nothing was published" in screen
    status, screen = run_answered(cache, ["y", "yes"], *arguments)
    assert status == 0, screen
    assert "public: everyone can download it" in screen
    assert kaggle.models[OWNER, "mul"].is_private is False


def test_a_directory_gets_the_model_and_its_index(model: Path, tmp_path: Path, hubcli: Run) -> None:
    place = tmp_path / "www" / "pub" / "mul" / "1"
    result = hubcli("publish", str(model), str(place), "-y", "--json")
    document = json.loads(result.stdout)
    assert (document["status"], document["handle"]) == ("published", str(place))
    assert place.is_file()
    assert (tmp_path / "www" / "index.json").is_file()


def test_the_checklist_and_the_model_card_are_printed_alone(model: Path, hubcli: Run) -> None:
    checked = hubcli("publish", str(model), "--check")
    assert (checked.returncode, checked.stdout.splitlines()[0]) == (
        0,
        "hint: The model has no README.md and no model card [no-readme]",
    )
    card = hubcli("publish", "example://mul/1", "--card")
    assert card.returncode == 0
    assert "\n# mul\n" in card.stdout
    models.write_tree(model, {".env": b"A=1"})
    assert hubcli("publish", str(model), "--check").returncode == 9
