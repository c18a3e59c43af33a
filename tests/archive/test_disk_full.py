"""A disk that is full before or while a model is written: DiskFullError, and nothing left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubcli.archive import Limits
from hubcli.archive.compression import decompressed
from hubcli.archive.tar import ChunkReader, walk_tar
from hubcli.archive.unpack import require_room, unpack
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.config.settings import Settings
from hubcli.errors import DiskFullError
from hubcli.progress import ProgressListener
from tests.archives import file, gzipped, tar
from tests.disks import mounted

MEBIBYTE = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB, of which hubcli leaves 16 free."""
    with mounted(tmp_path / "disk", "size=24m") as disk:
        yield disk


@pytest.fixture
def disk_of_few_files(tmp_path: Path) -> Iterator[Path]:
    """A disk with room, but for 12 names alone."""
    with mounted(tmp_path / "disk", "size=64m,nr_inodes=12") as disk:
        yield disk


class DiskFiller(ProgressListener):
    """Another program, which fills the disk as soon as the first bytes are unpacked."""

    def __init__(self, disk: Path) -> None:
        self.filler = disk / "filler"

    def unpacked(self, size_bytes: int) -> None:
        """Takes what is free."""
        if self.filler.exists():
            return
        with self.filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(1 << 16)):
                    pass
            except OSError:
                pass


def _fetch(archive: bytes, disk: Path, listener: ProgressListener | None = None) -> None:
    source = disk.parent / "model.tar.gz"
    source.write_bytes(gzipped(archive))
    settings = Settings.read({}, cache_dir=disk / "cache")
    fetch("https://tfhub.dev/a/b/1", settings, FetchOptions(local=str(source)), listener)


def _left_behind(disk: Path) -> list[str]:
    return sorted(path.name for path in (disk / "cache").iterdir())


def test_a_file_larger_than_what_is_free_is_refused_before_it_is_written(small_disk: Path) -> None:
    with pytest.raises(DiskFullError) as caught:
        _fetch(tar(file("saved_model.pb", bytes(20 * MEBIBYTE))), small_disk)
    assert "Not enough disk space for 'saved_model.pb'" in caught.value.message
    assert "--cache-dir" in caught.value.hint
    assert _left_behind(small_disk) == ["CACHEDIR.TAG"]


def test_files_that_fill_the_disk_together_are_refused(small_disk: Path) -> None:
    with pytest.raises(DiskFullError):
        _fetch(tar(*(file(str(number), bytes(2 * MEBIBYTE)) for number in range(8))), small_disk)
    assert _left_behind(small_disk) == ["CACHEDIR.TAG"]


def test_a_disk_that_fills_up_while_a_file_is_written_is_told(small_disk: Path) -> None:
    archive = tar(file("saved_model.pb", os.urandom(6 * MEBIBYTE)))
    with pytest.raises(DiskFullError):
        _fetch(archive, small_disk, DiskFiller(small_disk))
    assert _left_behind(small_disk) == ["CACHEDIR.TAG"]


def test_a_disk_without_room_for_one_more_name_is_told(disk_of_few_files: Path) -> None:
    with pytest.raises(DiskFullError):
        _fetch(tar(*(file(str(number)) for number in range(20))), disk_of_few_files)
    assert _left_behind(disk_of_few_files) == ["CACHEDIR.TAG"]


def test_a_disk_without_room_for_one_more_directory_is_told(disk_of_few_files: Path) -> None:
    with pytest.raises(DiskFullError):
        _fetch(tar(file("/".join("abcdefghijklmnop"))), disk_of_few_files)
    assert _left_behind(disk_of_few_files) == ["CACHEDIR.TAG"]


def test_unpack_alone_says_so_too(small_disk: Path) -> None:
    members = walk_tar(ChunkReader(decompressed([tar(file("a", bytes(10 * MEBIBYTE)))])), Limits())
    with pytest.raises(DiskFullError):
        unpack(members, small_disk, Limits())
    assert list(small_disk.iterdir()) == []


def test_sixteen_mebibytes_stay_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=17 * MEBIBYTE))
    require_room(tmp_path, MEBIBYTE, "the model")
    with pytest.raises(DiskFullError, match="Not enough disk space for the model"):
        require_room(tmp_path, MEBIBYTE + 1, "the model")
