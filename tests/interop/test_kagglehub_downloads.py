"""What hubcli publishes is what kagglehub downloads, pointed at the fake Kaggle; and what hubcli fetches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hubcli.commands.fetch import fetch
from hubcli.commands.publish import PublishStatus
from hubcli.providers.handle import Handle
from tests import models
from tests.fake_kaggle_uploads import TOKEN
from tests.publishing.conftest import publisher as publisher
from tests.publishing.publisher import NAME, Publisher, grow

DOWNLOAD = "import sys, kagglehub; print(kagglehub.model_download(sys.argv[1]))"


def downloaded(publisher: Publisher, name: str, cache: Path) -> dict[str, bytes]:
    """The files that kagglehub gets. It asks http://localhost, where the fake is its proxy."""
    pytest.importorskip("kagglehub")
    variables = {
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "HTTP_PROXY": publisher.kaggle.url,
        "KAGGLE_API_TOKEN": TOKEN,
        "KAGGLEHUB_CACHE": str(cache),
    }
    command = [sys.executable, "-c", DOWNLOAD, name]
    environment = {**os.environ, **variables}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return models.tree_files(Path(result.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_kagglehub_downloads_each_version_as_it_was_published(publisher: Publisher, tmp_path: Path) -> None:
    grow(publisher)
    publisher.publish()
    first = publisher.files
    # More files than kagglehub downloads one by one: it takes the archive then.
    models.write_tree(publisher.model, {f"assets/words-{number}.txt": b"w" for number in range(60)})
    publisher.publish()
    assert downloaded(publisher, f"{NAME}/1", tmp_path / "one") == first
    assert downloaded(publisher, NAME, tmp_path / "two") == publisher.files
    assert publisher.kaggle.violations == []


def test_hubcli_fetches_what_it_published_by_the_new_handle(publisher: Publisher) -> None:
    grow(publisher)
    result = publisher.publish()
    assert result.status is PublishStatus.PUBLISHED
    assert result.handle is not None
    fetched = fetch(Handle.parse(result.handle), publisher.settings)
    assert models.tree_files(fetched.path) == publisher.files
