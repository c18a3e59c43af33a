"""Publishing into a real bucket, and into a directory that is killed at any step."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import hubcli as package
from hubcli.commands.fetch import fetch
from hubcli.commands.publish import KaggleRequest, PublishOptions, PublishStatus, publish
from hubcli.config.settings import Settings
from hubcli.providers.handle import Handle
from hubcli.publishing.kaggle_creation import VersionExistsError
from tests import models
from tests.bucket_servers import BucketServer
from tests.kill_server import KillServer

pytestmark = pytest.mark.slow
OPTIONS = PublishOptions(KaggleRequest(license_name="MIT"))
_TREE = str(Path(package.__file__).parent / "publishing" / "hub_tree.py")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return models.write_tree(tmp_path / "model", models.example_files())


def test_a_version_in_a_bucket_is_fetched_listed_and_immutable(
    model: Path, settings: Settings, s3_server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings.read(cache_dir=settings.cache_root, timeout_s=5)
    place = f"{s3_server.new_bucket()}/hub/pub/mul/1"
    result = publish(str(model), place, settings, OPTIONS)
    assert (result.status, result.handle) == (PublishStatus.PUBLISHED, place)
    assert models.tree_files(fetch(Handle.parse(place), settings).path) == models.tree_files(model)
    assert publish(str(model), place, settings, OPTIONS).status is PublishStatus.ALREADY_PUBLISHED
    models.write_tree(model, {"assets/words.txt": b"one\n"})
    with pytest.raises(VersionExistsError):
        publish(str(model), place, settings, OPTIONS)
    publish(str(model), f"{place[:-1]}2", settings, OPTIONS)


@pytest.fixture
def kill_server(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KillServer]:
    if not hasattr(os, "fork"):
        pytest.skip("needs processes that fork")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HUBCLI_NO_SYNC", "1")
    with KillServer.running(cache) as running:
        yield running


def test_a_publication_in_a_directory_that_is_killed_at_a_step_is_completed(
    model: Path, tmp_path: Path, kill_server: KillServer
) -> None:
    line, is_killed = 1, True
    while is_killed:
        www = tmp_path / f"www-{line}"
        place = www / "pub" / "mul" / "1"
        command = ("publish", str(model), str(place), "-y", "-q")
        status = kill_server.run(*command, kill_at_line=line, watched=[_TREE]).status
        is_killed = status == -9
        if place.exists():  # Readers see it as a whole.
            assert package.fetch(str(place)).path
        assert kill_server.run(*command).status == 0
        assert [path.name for path in place.parent.iterdir() if path.name.startswith(".")] == []
        index = json.loads((www / "index.json").read_bytes())
        assert [(entry["name"], entry["version"]) for entry in index["models"]] == [("pub/mul", "1")]
        line += 10
    assert line > 60
