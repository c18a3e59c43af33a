"""A model, a fake Kaggle, and what publishes the one on the other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hubcli.commands.publish import (
    KaggleRequest,
    PublishOptions,
    PublishResult,
    publish,
)
from hubcli.config.settings import Settings
from hubcli.progress import ProgressListener
from tests import models
from tests.fake_kaggle_uploads import OWNER, TOKEN, FakeKaggleUploads

NAME = f"{OWNER}/mul/tensorFlow2/small"
PIECE = 256 << 10
LARGE = "assets/large.bin"


class Listener(ProgressListener):
    """What was said, and how many bytes were counted."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.received_bytes = self.resumed_bytes = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def started(self, handle: str, source: str, size_bytes: int | None) -> None:
        self.received_bytes = self.resumed_bytes = 0

    def received(self, size_bytes: int) -> None:
        self.received_bytes += size_bytes

    def resumed(self, size_bytes: int) -> None:
        self.resumed_bytes = size_bytes


class Publisher:
    """A model, a fake Kaggle, and what publishes the one on the other."""

    def __init__(self, kaggle: FakeKaggleUploads, settings: Settings, model: Path) -> None:
        self.kaggle = kaggle
        self.settings = kaggle.settings(settings, token=TOKEN)
        self.model = model
        self.listener = Listener()

    def publish(
        self, name: str = NAME, *, confirm: Any = lambda plan: True, dry_run: bool = False, **request: Any
    ) -> PublishResult:
        request = {"license_name": "Apache 2.0", "wait_s": 0.2, **request}
        options = PublishOptions(KaggleRequest(**request), dry_run=dry_run)
        return publish(str(self.model), name, self.settings, options, confirm, self.listener)

    @property
    def versions(self) -> list[dict[str, bytes]]:
        """The files of each version."""
        return [version.files for version in self.kaggle.published(NAME)]

    @property
    def files(self) -> dict[str, bytes]:
        return models.tree_files(self.model)

    def require_published_once(self) -> None:
        assert self.versions == [self.files]
        assert self.kaggle.violations == []


def grow(publisher: Publisher, pieces: float = 3.5) -> bytes:
    """Gives the model an asset of several pieces."""
    data = os.urandom(int(pieces * PIECE))
    models.write_tree(publisher.model, {LARGE: data})
    return data
