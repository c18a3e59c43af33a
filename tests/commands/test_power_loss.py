"""After a power loss at any moment a model is whole or absent, and no record outlives its data."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hubcli.cache.cached_model import CachedModel
from hubcli.cache.layout import CacheName, EntryPaths, NameKind
from hubcli.cache.records import Manifest
from hubcli.cache.store import Store
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.ls import ls
from hubcli.commands.verify import verify
from hubcli.config.settings import Settings
from hubcli.durability import booted_at_s
from hubcli.errors import HubcliError
from hubcli.net import spool as spools
from hubcli.providers.handle import Handle
from tests import models
from tests.powerloss import Trace, states
from tests.server import HubServer, Reply

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace is of Linux")

# With links: tfhub.dev's handles have several spellings. Of the same sizes: bytes alone tell them apart.
HANDLE = "https://tfhub.dev/maker/model/1"
OLD = {**models.example_files(), "assets.extra/which": b"old"}
NEW = {**OLD, "assets.extra/which": b"new"}
SAMPLE = 25
MANY = 100
MEMORY = Path("/dev/shm")


@dataclass
class Scene:
    """A directory with a cache, destinations and a lock file, and a command that changes it."""

    top: Path
    work: Path
    settings: Settings
    step: int

    @property
    def packed(self) -> dict[str, Path]:
        """Archives of both models."""
        return {name: self.work / f"{name}.tar.gz" for name in ("old", "new")}

    def fetched(self, files: str, *, force: bool = False, settings: Settings | None = None) -> Path:
        """The model's directory, fetched from the archive of that name."""
        options = FetchOptions(local=str(self.packed[files]), force=force)
        return fetch(HANDLE, settings or self.settings, options).path

    def after(self, *command: str, all_of_them: bool, no_sync: bool = False) -> Iterator[tuple[str, Path]]:
        """States that power losses during the command leave: a sample, all, or of many every second one."""
        before = self.work / "before" / self.top.name
        shutil.copytree(self.top, before, symlinks=True)
        environment = {
            "HUBCLI_CACHE_DIR": str(self.top / "cache"),
            **({"HUBCLI_NO_SYNC": "1"} if no_sync else {}),
        }
        trace = Trace.of(command, self.top, environment)
        found = list(states(trace, before))
        assert len(found) > 1, "the command did nothing"
        if not all_of_them:
            found = random.Random(1).sample(found, min(SAMPLE, len(found)))
        elif len(found) > MANY and not no_sync:
            found = found[random.randrange(self.step) :: self.step]
        # In memory where that can be: thousands of small files are made.
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            place = Path(folder, self.top.name)
            for name, make in found:
                make(place)
                yield name, place
                shutil.rmtree(place)

    def at(self, place: Path) -> Settings:
        """The settings of a cache that was left."""
        return replace(self.settings, cache_root=place / "cache", sync=False)


# Of many states the gate takes every second one, other ones in each run.
@pytest.fixture(params=[2, pytest.param(1, marks=pytest.mark.soak)], ids=["every second", "each"])
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Scene:
    top, work = tmp_path / "top", tmp_path / "work"
    top.mkdir()
    work.mkdir()
    settings = Settings.read({}, cache_dir=top / "cache", lock_timeout_s=0.05, offline=True)
    new_scene = Scene(top, work, settings, request.param)
    for name, files in (("old", OLD), ("new", NEW)):
        new_scene.packed[name].write_bytes(models.pack(files))
    return new_scene


how_many = pytest.mark.parametrize(
    "all_of_them", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "all"]
)


# What must hold -----------------------------------------------------------------------------------


def require_records_of_data(cache: Path, *allowed: dict[str, bytes]) -> None:
    """Each manifest that can be read has its data: in its place, or beside it; each link leads to a model."""
    for path in cache.iterdir() if cache.is_dir() else ():
        name = CacheName.parse(path.name)
        if path.is_symlink():
            assert models.tree_files(path) in allowed, f"{path.name} is a broken link"
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
    """Whether the files are those of the manifest; one of an adopted entry has sizes alone."""
    files = models.tree_files(folder) if folder.is_dir() else {}
    return files.keys() == {file.path for file in manifest.files} and all(
        file.size_bytes == len(files[file.path])
        and file.sha256 in (None, hashlib.sha256(files[file.path]).hexdigest())
        for file in manifest.files
    )


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
    entry = CachedModel.read(EntryPaths(cache, path.name))
    if entry.manifest is not None:
        assert describes(entry.manifest, path), "the record of another model"
    require_records_of_data(cache, *allowed)


def violations(check: Callable[[Path], None], found: Iterator[tuple[str, Path]]) -> Iterator[str]:
    """What doesn't hold in the states, in words."""
    for name, place in found:
        try:
            check(place)
        except (AssertionError, HubcliError, OSError, ValueError) as error:  # noqa: PERF203
            yield f"{name}: {str(error).splitlines()[0]}"


# Fetches ------------------------------------------------------------------------------------------


def fetching(scene: Scene) -> tuple[str, ...]:
    """A fetch of the new model, in place of what is there."""
    return ("fetch", HANDLE, "--force", "--from", str(scene.packed["new"]), "--offline", "--pin")


@how_many
def test_a_model_that_is_fetched_is_whole_or_absent(scene: Scene, all_of_them: bool) -> None:
    found = scene.after(*fetching(scene), all_of_them=all_of_them)
    assert list(violations(lambda place: require_whole_or_absent(scene, place, NEW), found)) == []


@pytest.mark.slow
def test_a_model_that_is_replaced_is_the_old_or_the_new_one(scene: Scene) -> None:
    scene.fetched("old")
    found = scene.after(*fetching(scene), all_of_them=True)
    assert list(violations(lambda place: require_whole_or_absent(scene, place, OLD, NEW), found)) == []


@pytest.mark.slow
@pytest.mark.parametrize("force", [pytest.param(False, marks=pytest.mark.soak), True], ids=["new", "--force"])
def test_without_syncs_zeros_would_be_served(scene: Scene, force: bool) -> None:
    if force:
        scene.fetched("old")
    found = scene.after(*fetching(scene), all_of_them=True, no_sync=True)
    wrong = violations(lambda place: require_whole_or_absent(scene, place, OLD, NEW), found)
    assert any("lost is data of the model: neither whole nor absent" in line for line in wrong)


@pytest.mark.slow
def test_a_lock_file_names_models_that_are_there(scene: Scene) -> None:
    lock = scene.top / "models.lock"

    def check(place: Path) -> None:
        require_whole_or_absent(scene, place, NEW)
        left = place / lock.name
        if left.exists():
            assert [model["handle"] for model in json.loads(left.read_text())["models"]] == [HANDLE]

    def is_there(place: Path) -> None:
        if (place / lock.name).exists():
            assert (place / "cache" / Handle.parse(HANDLE).cache_key).is_dir(), "a lock file without a model"
        check(place)

    found = scene.after(*fetching(scene), "--lock", str(lock), all_of_them=True)
    assert list(violations(is_there, found)) == []


@pytest.mark.slow
def test_without_syncs_a_lock_file_may_be_zeros(scene: Scene) -> None:
    lock = scene.top / "models.lock"
    lock.write_text(json.dumps({"hubcli_lock": 1, "models": []}))

    def check(place: Path) -> None:
        json.loads((place / lock.name).read_text())

    command = (*fetching(scene), "--lock", str(lock))
    assert any(violations(check, scene.after(*command, all_of_them=True, no_sync=True)))


# Pins, removals ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("command", ["pin", "unpin", "rm"])
def test_a_model_outlasts_a_change_of_its_records(scene: Scene, command: str) -> None:
    model = scene.fetched("new")
    if command == "unpin":
        Store(scene.settings.cache_root).pin(EntryPaths(scene.settings.cache_root, model.name))
    found = scene.after(command, HANDLE, *(["--yes"] if command == "rm" else []), all_of_them=True)
    assert list(violations(lambda place: require_whole_or_absent(scene, place, NEW), found)) == []


@pytest.mark.slow
def test_without_syncs_a_removal_may_leave_links_to_nothing(scene: Scene) -> None:
    scene.fetched("new")
    found = scene.after("rm", HANDLE, "--yes", all_of_them=True, no_sync=True)
    wrong = violations(lambda place: require_whole_or_absent(scene, place, NEW), found)
    assert any("a broken link" in line for line in wrong)


# Exports -------------------------------------------------------------------------------------------


def exported(place: Path) -> dict[str, bytes] | None:
    """The model at that place, a directory or an archive; None if it is absent, {} for a damaged one."""
    if place.is_dir():
        return models.tree_files(place)
    if not place.exists():
        return None
    try:
        with tarfile.open(fileobj=io.BytesIO(place.read_bytes())) as archive:
            files = [member for member in archive if member.isfile()]
            read = {member.name.removeprefix("./"): archive.extractfile(member) for member in files}
            return {name: file.read() for name, file in read.items() if file is not None}
    except (tarfile.TarError, EOFError, OSError, zlib.error):
        return {}


DESTINATIONS = {
    "directory": ("dest", ()),
    "archive": ("dest.tar.gz", ()),
    "tar": ("dest.tar", ()),
    "serving": ("dest/model/1", ("--layout", "serving")),
    "hub": ("dest/maker/model/1", ("--layout", "hub")),
}


def exporting(scene: Scene, kind: str) -> tuple[str, ...]:
    place, options = DESTINATIONS[kind]
    destination = scene.top / (place if not options else "dest")
    return ("export", HANDLE, str(destination), "--force", *options)


@pytest.mark.parametrize(
    "kind",
    [
        "directory",
        "archive",
        "hub",
        *(pytest.param(kind, marks=pytest.mark.soak) for kind in ("tar", "serving")),
    ],
)
@pytest.mark.slow
def test_an_export_is_whole_or_absent(scene: Scene, kind: str) -> None:
    scene.fetched("new")
    found = scene.after(*exporting(scene, kind), all_of_them=True)

    def check(place: Path) -> None:
        assert exported(place / DESTINATIONS[kind][0]) in (None, NEW), "neither whole nor absent"

    assert list(violations(check, found)) == []


@pytest.mark.parametrize("kind", [pytest.param("directory", marks=pytest.mark.soak), "archive"])
@pytest.mark.slow
def test_an_export_that_replaces_is_the_old_or_the_new_one(scene: Scene, kind: str) -> None:
    place = scene.top / DESTINATIONS[kind][0]
    if kind == "directory":
        models.write_tree(place, OLD)
    else:
        place.write_bytes(models.pack(OLD))
    scene.fetched("new")
    found = scene.after(*exporting(scene, kind), all_of_them=True)

    def check(left: Path) -> None:
        assert exported(left / place.name) in (OLD, NEW), "neither the old nor the new one"

    assert list(violations(check, found)) == []


@pytest.mark.slow
def test_a_fine_tuned_export_is_whole_or_absent(scene: Scene) -> None:
    source = models.write_tree(scene.work / "source", models.example_files())
    tuned = models.write_safetensors(scene.work / "tuned.safetensors", v=[3.0])
    command = (
        "finetune-export",
        str(source),
        str(scene.top / "dest"),
        "--weights",
        str(tuned),
        "--method",
        "rewrite",
    )
    whole: list[dict[str, bytes] | None] = []

    def check(place: Path) -> None:
        whole.append(exported(place / "dest"))

    assert list(violations(check, scene.after(*command, all_of_them=True))) == []
    assert len({str(outcome) for outcome in whole}) == 2  # Absent, and one whole model.


@pytest.mark.parametrize("kind", ["directory", pytest.param("archive", marks=pytest.mark.slow)])
def test_without_syncs_an_export_may_be_zeros(scene: Scene, kind: str) -> None:
    scene.fetched("new")
    found = scene.after(*exporting(scene, kind), all_of_them=True, no_sync=True)

    def check(place: Path) -> None:
        assert exported(place / DESTINATIONS[kind][0]) in (None, NEW), "neither whole nor absent"

    assert any(violations(check, found))


# Downloads that are resumed --------------------------------------------------------------------------


def interrupted(scene: Scene, server: HubServer) -> tuple[str, dict[str, bytes]]:
    """A host whose first answer is cut; a plain tar without any checksum, whose assets nothing covers."""
    files = {**OLD, "assets.extra/large": random.Random(4).randbytes(300_000)}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    body = plain.getvalue()
    cut = Reply(body, etag='"one"', cut_at=250_000)
    return server.serve("/maker/model/1", Reply(body, etag='"one"', first=[cut])), files


def resumed(scene: Scene, url: str, files: dict[str, bytes]) -> Callable[[Path], None]:
    def check(place: Path) -> None:
        settings = replace(scene.at(place), offline=False, timeout_s=5)
        result = fetch(url, settings, FetchOptions(retries=0, connections=1))
        # Not by `assert`, which would take minutes to tell how 300 kB of noise differ.
        if models.tree_files(result.path) != files:
            raise AssertionError("zeros in a resumed download")

    return check


@pytest.mark.slow
@pytest.mark.parametrize(
    "no_sync", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["sync", "--no-sync"]
)
def test_a_resumed_download_has_no_byte_that_was_never_on_the_disk(
    scene: Scene, server: HubServer, no_sync: bool
) -> None:
    url, files = interrupted(scene, server)
    command = ("fetch", url, "--retries", "0", "--connections", "1")
    found = scene.after(*command, all_of_them=True, no_sync=no_sync)
    wrong = list(violations(resumed(scene, url, files), found))
    assert any("zeros in a resumed download" in line for line in wrong) == no_sync
    assert len(wrong) == 0 or no_sync


def test_a_journal_that_was_not_synced_counts_until_the_next_boot(
    scene: Scene, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, files = interrupted(scene, server)
    settings = replace(scene.settings, offline=False, sync=False)
    monkeypatch.setattr("hubcli.net.download.MIN_SEGMENTED_BYTES", 1 << 16)
    with pytest.raises(HubcliError):
        fetch(url, settings, FetchOptions(retries=0, connections=1))
    spool = EntryPaths(settings.cache_root, Handle.parse(url).cache_key).spool
    size = spool.stat().st_size
    assert spools.resumable_bytes(spool, size, '"one"') > 0
    journal = spool.with_name(f"{spool.name}.journal")
    booted = booted_at_s()
    assert booted is not None
    os.utime(journal, (booted - 10, booted - 10))
    spool.write_bytes(bytes(size))  # As a power loss leaves it.
    assert spools.resumable_bytes(spool, size, '"one"') == 0
    resumed(scene, url, files)(scene.top)
