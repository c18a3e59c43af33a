"""After a power loss at any moment a model is whole or absent, and no record outlives its data."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hubcli.cache.entry import Entry
from hubcli.cache.layout import CacheName, EntryPaths, NameKind
from hubcli.cache.manifest import Manifest
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.ls import ls
from hubcli.commands.verify import verify
from hubcli.errors import HubcliError
from hubcli.handle import Handle
from hubcli.settings import Settings
from tests import models
from tests.powerloss import Trace, states

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace is of Linux")

# With links: tfhub.dev's handles have several spellings. Of the same sizes: bytes alone tell them apart.
HANDLE = "https://tfhub.dev/maker/model/1"
OLD = {**models.example_files(), "assets.extra/which": b"old"}
NEW = {**OLD, "assets.extra/which": b"new"}
SAMPLE = 25


@dataclass
class Scene:
    """A directory with a cache, destinations and a lock file, and a command that changes it."""

    top: Path
    work: Path
    settings: Settings

    @property
    def packed(self) -> dict[str, Path]:
        """Archives of both models."""
        return {name: self.work / f"{name}.tar.gz" for name in ("old", "new")}

    def fetched(self, files: str, *, force: bool = False, settings: Settings | None = None) -> Path:
        """The model's directory, fetched from the archive of that name."""
        options = FetchOptions(local=str(self.packed[files]), force=force)
        return fetch(HANDLE, settings or self.settings, options).path

    def after(
        self, *command: str, all_of_them: bool, no_sync: bool = False, seed: int = 1
    ) -> Iterator[tuple[str, Path]]:
        """States that power losses during the command leave; a sample of them, or all."""
        before = self.work / "before" / self.top.name
        shutil.copytree(self.top, before, symlinks=True)
        environment = {
            "HUBCLI_CACHE_DIR": str(self.top / "cache"),
            **({"HUBCLI_NO_SYNC": "1"} if no_sync else {}),
        }
        trace = Trace.of(command, self.top, environment)
        chance = random.Random(seed)
        total = 0
        for name, place in states(trace, before, self.work / "after"):
            total += 1
            if all_of_them or chance.random() < SAMPLE / 150:
                yield name, place
        assert total > 10, "the command did nothing"

    def at(self, place: Path) -> Settings:
        """The settings of a cache that was left."""
        return replace(self.settings, cache_root=place / "cache")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    top, work = tmp_path / "top", tmp_path / "work"
    top.mkdir()
    (work / "after").mkdir(parents=True)
    settings = Settings.read({}, cache_dir=top / "cache", lock_timeout_s=0.05, offline=True)
    made = Scene(top, work, settings)
    for name, files in (("old", OLD), ("new", NEW)):
        made.packed[name].write_bytes(models.pack(files))
    return made


how_many = pytest.mark.parametrize(
    "all_of_them", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "all"]
)


# What must hold -----------------------------------------------------------------------------------


def require_records_of_data(cache: Path, *allowed: dict[str, bytes]) -> None:
    """Each manifest that can be read has its data: in its place, or beside it; each link leads to a model."""
    for path in cache.iterdir() if cache.is_dir() else ():
        name = CacheName.parse(path.name)
        if path.is_symlink():
            assert models.tree_files(path) in allowed, f"{path.name} is a link to nothing"
        elif name.kind is NameKind.MANIFEST:
            manifest = Manifest.read(path)
            assert manifest is not None, "a manifest of zeros"
            assert name.key is not None
            beside = [cache / name.key, *cache.glob(f"{name.key}.*.tmp"), *cache.glob(f"{name.key}.*.trash")]
            assert any(describes(manifest, folder) for folder in beside), "a manifest without its data"
        elif name.kind is NameKind.PIN:
            assert name.key is not None
            assert models.tree_files(cache / name.key) in allowed, "a pin without a model"


def describes(manifest: Manifest, folder: Path) -> bool:
    from hashlib import sha256

    files = models.tree_files(folder) if folder.is_dir() else {}
    return {file.path: file.sha256 for file in manifest.files} == {
        path: sha256(data).hexdigest() for path, data in files.items()
    }


def require_whole_or_absent(scene: Scene, place: Path, *allowed: dict[str, bytes]) -> None:
    """What is there is one of the models; the next fetch gives one of them, with a record that is true."""
    settings = scene.at(place)
    cache = settings.cache_root
    key = Handle.parse(HANDLE).cache_key
    found = models.tree_files(cache / key) if (cache / key).is_dir() else None
    assert found in (None, *allowed), "neither whole nor absent"
    require_records_of_data(cache, *allowed)
    ls(settings)
    path = scene.fetched("new", settings=settings)
    assert models.tree_files(path) in allowed, "a hit on what isn't whole"
    assert not verify(HANDLE, settings).faults
    entry = Entry.read(EntryPaths(cache, path.name))
    if entry.manifest is not None and all(file.sha256 for file in entry.manifest.files):
        assert describes(entry.manifest, path), "the record of another model"
    require_records_of_data(cache, *allowed)


def violations(check: Callable[[Path], None], found: Iterator[tuple[str, Path]]) -> list[str]:
    """What doesn't hold in the states, in words."""
    wrong = []
    for name, place in found:
        try:
            check(place)
        except (AssertionError, HubcliError, OSError, ValueError) as error:
            wrong.append(f"{name}: {str(error).splitlines()[0]}")
    return wrong


# Fetches ------------------------------------------------------------------------------------------


@how_many
def test_a_model_that_is_fetched_is_whole_or_absent(scene: Scene, all_of_them: bool) -> None:
    command = ("fetch", HANDLE, "--from", str(scene.packed["new"]), "--offline", "--pin")
    found = scene.after(*command, all_of_them=all_of_them)
    assert violations(lambda place: require_whole_or_absent(scene, place, NEW), found) == []


@how_many
def test_a_model_that_is_replaced_is_the_old_or_the_new_one(scene: Scene, all_of_them: bool) -> None:
    scene.fetched("old")
    command = ("fetch", HANDLE, "--force", "--from", str(scene.packed["new"]), "--offline")
    found = scene.after(*command, all_of_them=all_of_them)
    assert violations(lambda place: require_whole_or_absent(scene, place, OLD, NEW), found) == []


@pytest.mark.parametrize("force", [False, True], ids=["nothing there", "--force"])
def test_without_syncs_zeros_would_be_served(scene: Scene, force: bool) -> None:
    if force:
        scene.fetched("old")
    command = ("fetch", HANDLE, "--force", "--from", str(scene.packed["new"]), "--offline")
    found = scene.after(*command, all_of_them=True, no_sync=True)
    wrong = violations(lambda place: require_whole_or_absent(scene, place, OLD, NEW), found)
    assert any("data of the model" in one for one in wrong)
    assert any("neither whole nor absent" in one for one in wrong)
