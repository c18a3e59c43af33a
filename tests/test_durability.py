"""Syncs: of what and in which order, what file systems that can't are spared, failing disks, blocks ahead."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli import durability as durability_module
from hubcli.cache.layout import EntryPaths
from hubcli.commands.export import ExportOptions, export
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.pin import pin
from hubcli.config.settings import Settings
from hubcli.durability import SYNCED, UNSYNCED, Durability, WriteBack, allocate
from hubcli.errors import CacheError, DiskFullError, HubcliError, OutputError, UsageError
from hubcli.fetching.lock_file import LockFile
from tests import models
from tests.disks import pretend_file_system

EXAMPLE = "example://mul/1"
NEW = {**models.example_files(), "assets.extra/which": b"new"}


@pytest.fixture(autouse=True)
def without_syncs() -> None:
    """The real ones are what is tested here."""


class Syncs:
    """The real fsync, and the paths that it was called for; `fail` lets it fail for some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[Path] = []
        self.fails: Callable[[Path], int | None] = lambda path: None
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        code = self.fails(path)
        if code is not None:
            raise OSError(code, os.strerror(code))
        self._fsync(descriptor)
        self.paths.append(path)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("what is synced is told by /proc")
    return Syncs(monkeypatch)


def is_file(path: Path) -> bool:
    return path.is_file()


# Trees ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 50], ids=["few", "many"])
def test_each_file_and_directory_of_a_tree_is_synced_the_top_last(
    count: int, syncs: Syncs, tmp_path: Path
) -> None:
    top = models.write_tree(tmp_path / "top", {f"a/b{number}/file": b"x" for number in range(count)})
    (top / "link").symlink_to("nowhere")
    os.mkfifo(top / "pipe")
    SYNCED.tree(top)
    assert sorted(syncs.paths) == sorted(path for path in (top, *top.rglob("*")) if path.name[0] in "tabf")
    assert syncs.paths[-1] == top
    assert all(is_dir == (number >= count) for number, is_dir in enumerate(map(Path.is_dir, syncs.paths)))


def test_without_syncs_nothing_is_synced(syncs: Syncs, settings: Settings, tmp_path: Path) -> None:
    unsynced = Settings.read({}, cache_dir=settings.cache_root, no_sync=True)
    fetch(EXAMPLE, unsynced, FetchOptions(pin=True))
    export(EXAMPLE, tmp_path / "out", unsynced)
    UNSYNCED.tree(tmp_path)
    UNSYNCED.directory(tmp_path / "nothing")
    assert syncs.paths == []


def test_a_hit_costs_no_sync(syncs: Syncs, settings: Settings) -> None:
    fetch(EXAMPLE, settings)
    assert settings.cache_root in syncs.paths
    syncs.paths.clear()
    fetch(EXAMPLE, settings)
    assert syncs.paths == []


def test_a_root_that_is_a_link_is_synced(syncs: Syncs, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    fetch(EXAMPLE, Settings.read({}, cache_dir=tmp_path / "link"))
    assert tmp_path / "real" in syncs.paths


def test_write_back_takes_files_of_any_size(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb", buffering=0) as file:
        write_back = WriteBack(file.fileno(), SYNCED)
        for _ in range(20):
            file.write(bytes(1 << 20))
            write_back.wrote(1 << 20)
    assert (tmp_path / "file").stat().st_size == 20 << 20
    closed = WriteBack(10**6, SYNCED)
    closed.wrote(9 << 20)  # It promises nothing, so it fails for nothing.


# What a file system can't ----------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system allocates no blocks ahead")
def test_blocks_are_allocated_ahead_on_ext4_alone_and_for_large_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def size_after(size_bytes: int) -> int:
        with (tmp_path / "file").open("wb") as file:
            allocate(file.fileno(), size_bytes)
            return os.fstat(file.fileno()).st_size

    pretend_file_system(tmp_path, "ext4", monkeypatch)
    assert size_after(5000) == 5000
    monkeypatch.setattr(durability_module, "_ALLOCATED_FROM_BYTES", 5001)
    assert size_after(5000) == 0
    for kind in ("btrfs", "ext3", "tmpfs"):
        pretend_file_system(tmp_path, kind, monkeypatch)
        assert size_after(5000) == 0
    monkeypatch.setattr(durability_module, "_MOUNTS", tmp_path / "missing")
    assert size_after(5000) == 0


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS])
def test_a_file_system_that_syncs_no_directory_is_no_error(
    code: int, syncs: Syncs, settings: Settings, tmp_path: Path
) -> None:
    syncs.fails = lambda path: code if path.is_dir() else None
    fetch(EXAMPLE, settings)
    export(EXAMPLE, tmp_path / "out", settings)
    assert models.tree_files(tmp_path / "out") == models.example_files()
    assert syncs.paths


# Disks that fail -------------------------------------------------------------------------------------

FAILURES = pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.EIO, CacheError),
        (errno.EROFS, CacheError),  # What ext4 says once it gave up.
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
    ],
    ids=["EIO", "EROFS", "ENOSPC", "EDQUOT"],
)
WHERE = pytest.mark.parametrize("where", ["a file", "the model's directory", "a record", "the root"])


def failing(where: str, code: int, root: Path) -> Callable[[Path], int | None]:
    matches: dict[str, Callable[[Path], bool]] = {
        "a file": lambda path: path.name == "saved_model.pb",
        "the model's directory": lambda path: path.name.endswith(".tmp"),
        "a record": lambda path: ".hubcli.json" in path.name,
        "the root": lambda path: path == root,
    }
    return lambda path: code if matches[where](path) else None


@WHERE
@FAILURES
def test_a_disk_that_fails_a_fetch_shows_nothing(
    where: str, code: int, kind: type[HubcliError], syncs: Syncs, settings: Settings
) -> None:
    settings.cache_root.mkdir()
    syncs.fails = failing(where, code, settings.cache_root)
    with pytest.raises(kind) as caught:
        fetch(EXAMPLE, settings)
    assert caught.value.exit_status == 8
    assert caught.value.hint
    assert list(settings.cache_root.iterdir()) == []


@WHERE
def test_a_disk_that_fails_a_replacement_leaves_the_old_one(
    where: str, syncs: Syncs, settings: Settings, tmp_path: Path
) -> None:
    before = fetch(EXAMPLE, settings)
    records = {path: path.read_bytes() for path in settings.cache_root.iterdir() if path.is_file()}
    packed = tmp_path / "new.tar.gz"
    packed.write_bytes(models.pack(NEW))
    syncs.fails = failing(where, errno.EIO, settings.cache_root)
    with pytest.raises(CacheError):
        fetch(EXAMPLE, settings, FetchOptions(local=str(packed), force=True))
    assert models.tree_files(before.path) == models.example_files()
    if where != "the root":  # Then the records of the old one can't be made safe either.
        left = {path: path.read_bytes() for path in settings.cache_root.iterdir() if path.is_file()}
        assert left == records


@pytest.mark.parametrize("name", ["out", "out.tar.gz"])
@pytest.mark.parametrize("there", [False, True], ids=["new", "--force"])
@FAILURES
def test_a_disk_that_fails_an_export_leaves_what_was_there(
    code: int,
    kind: type[HubcliError],
    there: bool,
    name: str,
    syncs: Syncs,
    settings: Settings,
    tmp_path: Path,
) -> None:
    fetch(EXAMPLE, settings)
    folder = tmp_path / "folder"
    folder.mkdir()
    if there:
        models.write_tree(folder / name, {"old": b"old"}) if name == "out" else (folder / name).write_bytes(
            b"old"
        )
    expected = models.tree_files(folder)
    for failing_at in (folder, None):  # At the sync of the name, and at that of the data.
        syncs.fails = lambda path, at=failing_at: (  # type: ignore[misc]
            code if path == at or (at is None and path.is_file()) else None
        )
        with pytest.raises(DiskFullError if kind is DiskFullError else OutputError) as caught:
            export(EXAMPLE, folder / name, settings, ExportOptions(force=True))
        assert caught.value.exit_status == 8
        assert models.tree_files(folder) == expected
        assert len(list(folder.iterdir())) == there


def test_a_disk_that_fails_a_lock_file_leaves_the_old_one(syncs: Syncs, tmp_path: Path) -> None:
    lock = LockFile(str(tmp_path / "models.lock"))
    lock.write()
    before = models.tree_files(tmp_path)
    syncs.fails = lambda path: errno.EIO if is_file(path) else None
    with pytest.raises(OutputError):
        lock.write()
    assert models.tree_files(tmp_path) == before


def test_a_disk_that_fails_a_pin_is_told(syncs: Syncs, settings: Settings) -> None:
    fetch(EXAMPLE, settings)
    syncs.fails = lambda path: errno.EIO
    with pytest.raises(CacheError):
        pin(EXAMPLE, settings)


# What turns it off -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "variable", "line", "is_on"),
    [
        (False, None, None, True),
        (True, None, None, False),
        (True, "0", "sync = true", False),
        (False, "1", "sync = true", False),
        (False, "0", "sync = false", True),
        (False, "off", "sync = false", True),
        (False, "", "sync = false", False),
        (False, None, "sync = false  # in containers", False),
        (False, None, 'gc = "older-than=1d"\nsync=true', True),
    ],
)
def test_a_flag_comes_before_the_variable_and_that_before_the_file(
    flag: bool,
    variable: str | None,
    line: str | None,
    is_on: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    if line is not None:
        models.write_tree(tmp_path / "config", {"hubcli/config.toml": line.encode()})
    environment = {} if variable is None else {"HUBCLI_NO_SYNC": variable}
    settings = Settings.read(environment, cache_dir=tmp_path, no_sync=flag)
    assert settings.durability.is_on == is_on


@pytest.mark.parametrize("line", ['sync = "false"', "sync = 0", "sync = off", "sync", "sync = True"])
def test_a_line_that_means_nothing_is_an_error(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    models.write_tree(tmp_path, {"hubcli/config.toml": line.encode()})
    with pytest.raises(UsageError, match="line 1"):
        _ = Settings.read({}, cache_dir=tmp_path).durability


def test_a_name_that_the_setting_has_not_is_told_and_turns_nothing_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    models.write_tree(tmp_path, {"hubcli/config.toml": b"no_sync = true"})
    settings = Settings.read({}, cache_dir=tmp_path)
    assert settings.durability.is_on
    assert any("no_sync" in text for text in settings.config.unknown)


@pytest.mark.parametrize("durability", [SYNCED, UNSYNCED])
def test_a_file_is_written_into_no_fifo_and_through_no_link(durability: Durability, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(OSError, match="a FIFO"):
            durability.write_file(tmp_path / "fifo", "text")
    finally:
        os.close(reader)
    with pytest.raises(OSError, match="No such device"):  # As open(2) says it of one without a reader.
        durability.write_file(tmp_path / "fifo", "text")
    (tmp_path / "link").symlink_to("other")
    with pytest.raises(OSError, match="symbolic links"):
        durability.write_file(tmp_path / "link", "text")
    assert not (tmp_path / "other").exists()


def test_a_fifo_in_place_of_the_record_that_is_about_to_be_written_is_an_error(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(paths: EntryPaths, uid: str) -> Path:
        path = paths.root / f"{paths.key}.hubcli.json.tmp{uid}"
        os.mkfifo(path)
        return path

    monkeypatch.setattr(EntryPaths, "pending_manifest", planted)
    with pytest.raises(CacheError):
        fetch(EXAMPLE, Settings.read({}, cache_dir=cache), FetchOptions())
    assert not list(cache.glob("*.hubcli.json*"))
