"""Fetching damaged archives: what went wrong, what was published, what was left behind."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hubcli.commands.fetch import FetchOptions, FetchResult, fetch
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError
from tests.archives import read_tree

__all__ = ["Attempts", "every_share", "flipped", "random_flips"]

# How much of each series of damages a tier takes, from its first on.
every_share = pytest.mark.parametrize(
    "share",
    [
        pytest.param(30, id="a thirtieth"),
        pytest.param(6, id="a sixth", marks=pytest.mark.slow),
        pytest.param(1, id="all", marks=pytest.mark.soak),
    ],
)

_HANDLE = "https://tfhub.dev/a/b/1"
_TAG = "CACHEDIR.TAG"


def flipped(data: bytes, bit: int) -> bytes:
    """The data with one bit turned over."""
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def random_flips(data: bytes, count: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """Bit numbers and the data with that bit turned over."""
    chance = random.Random(seed)
    for _ in range(count):
        bit = chance.randrange(len(data) * 8)
        yield bit, flipped(data, bit)


@dataclass
class Attempts:
    """Fetches below `folder`, each into a cache of its own, and how many of them published something."""

    folder: Path
    original: dict[str, bytes]
    refused: int = 0
    published: int = 0

    def fetch(self, archive: bytes, label: object, *, unchanged: bool = True) -> HubcliError | None:
        """The error with which `archive` was refused; any other exception escapes.

        What is published instead must be `original`, byte for byte, or with
        `unchanged=False` what its own manifest says. Nothing else may be left.
        """
        cache, source = self.folder / "cache", self.folder / "archive"
        source.write_bytes(archive)
        result = _fetch(source, cache)
        left = {path.name for path in cache.iterdir() if not path.is_symlink()}
        if isinstance(result, HubcliError):
            self.refused += 1
            assert result.code != "internal", label
            assert left <= {_TAG}, label
        else:
            self.published += 1
            key = result.path.name
            assert left == {_TAG, key, f"{key}.descriptor.txt", f"{key}.hubcli.json"}, label
            files = read_tree(result.path)
            assert files == self.original if unchanged else _are_as_recorded(files, result.path), label
        shutil.rmtree(cache)
        return result if isinstance(result, HubcliError) else None

    @staticmethod
    def require_no_thread_left() -> None:
        """The stages of every fetch have ended, give or take a moment."""
        deadline = time.monotonic() + 60
        while any(thread.name == "hubcli-stage" for thread in threading.enumerate()):
            assert time.monotonic() < deadline, threading.enumerate()
            time.sleep(0.02)


def _fetch(source: Path, cache: Path) -> FetchResult | HubcliError:
    try:
        return fetch(_HANDLE, Settings.read({}, cache_dir=cache), FetchOptions(local=str(source)))
    except HubcliError as error:
        return error


def _are_as_recorded(files: dict[str, bytes], model: Path) -> bool:
    manifest = json.loads(model.with_name(f"{model.name}.hubcli.json").read_bytes())
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    return hashes == {record["path"]: record["sha256"] for record in manifest["files"]}
