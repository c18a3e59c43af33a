"""What an export may write over, and what is there when it ends, however it ends."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hubcli import atomic_files
from hubcli.atomic_files import remove_tree
from hubcli.durability import Durability
from hubcli.errors import DiskFullError, HubcliError, OutputError, UsageError
from hubcli.exporting import destination as module
from hubcli.exporting import staging
from hubcli.exporting.destination import require_free, staged_output
from tests import models
from tests.disks import mounted

as_a_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
NEW = {"saved_model.pb": b"new", "variables/shard": b"values"}
OLD = {"old": b"old"}


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to write in; the working directory is beside it."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "room").mkdir()
    return tmp_path / "room"


def make_directory(staged: Path) -> None:
    models.write_tree(staged, NEW)


def make_file(staged: Path) -> None:
    staged.write_bytes(b"archive")


def write(
    place: Path, cache: Path, make: Callable[[Path], None] = make_directory, *, force: bool = False
) -> None:
    with staged_output(place, cache_root=cache, force=force) as staged:
        make(staged)


def everything(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def refusal(place: Path, cache: Path, **options: bool) -> HubcliError:
    """The error with which it is refused at once, nothing changed."""
    with pytest.raises(HubcliError) as caught:
        write(place, cache, lambda staged: pytest.fail("it was filled"), **options)
    return caught.value


@pytest.mark.parametrize("make", [make_directory, make_file])
@pytest.mark.parametrize("inner", ["first", "first/1"])
def test_force_does_not_replace_a_directory_of_other_models(
    inner: str, make: Callable[[Path], None], room: Path, cache: Path
) -> None:
    models.write_tree(room / "models" / inner, NEW)
    before = everything(room)
    error = refusal(room / "models", cache, force=True)
    assert error.message == f"Cannot replace {room / 'models'}: it has other models in it, such as {inner}"
    assert str(room / "models" / "model") in error.hint
    assert everything(room) == before
    write(room / "models" / inner, cache, make, force=True)


def test_force_replaces_a_model_whose_assets_are_models(room: Path, cache: Path) -> None:
    models.write_tree(room / "place", {**NEW, "assets.extra/other/saved_model.pb": b"other"})
    write(room / "place", cache, make_directory, force=True)


def test_force_does_not_replace_what_is_not_a_regular_file(room: Path, cache: Path) -> None:
    os.mkfifo(room / "pipe")
    (room / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        for force in (False, True):
            assert refusal(room / name, cache, force=force).message.endswith(f"{name} is not a regular file")
    assert stat.S_ISFIFO((room / "pipe").stat().st_mode)


# What is there afterwards


@pytest.mark.parametrize("make", [make_directory, make_file])
def test_what_was_made_is_there_and_nothing_beside_it(
    make: Callable[[Path], None], room: Path, cache: Path
) -> None:
    write(room / "model", cache, make)
    files = models.tree_files(room / "model") if make is make_directory else (room / "model").read_bytes()
    assert files == (NEW if make is make_directory else b"archive")
    assert os.listdir(room) == ["model"]


def test_nothing_is_visible_until_it_is_whole(room: Path, cache: Path) -> None:
    with staged_output(room / "model", cache_root=cache, force=False) as staged:
        make_directory(staged)
        assert not (room / "model").exists()
        assert all(name.startswith(".") for name in os.listdir(room))


def test_directories_above_are_made(room: Path, cache: Path) -> None:
    write(room / "a" / "b" / "model", cache)
    assert models.tree_files(room / "a" / "b" / "model") == NEW


def test_an_empty_directory_is_filled_and_keeps_its_mode(room: Path, cache: Path) -> None:
    (room / "model").mkdir(mode=0o700)
    write(room / "model", cache)
    assert models.tree_files(room / "model") == NEW
    assert stat.S_IMODE((room / "model").stat().st_mode) == 0o700


@pytest.fixture(params=["exchange", "rename"])
def _with_or_without_exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the system's exchange of two names, and without it."""
    if request.param == "rename":
        monkeypatch.setattr(module, "exchange_at_once", lambda _new, _old: False)


@pytest.mark.usefixtures("_with_or_without_exchange")
@pytest.mark.parametrize("old", ["directory", "file"])
@pytest.mark.parametrize("make", [make_directory, make_file])
def test_force_replaces_what_is_there(
    old: str, make: Callable[[Path], None], room: Path, cache: Path
) -> None:
    place = room / "model"
    models.write_tree(place, OLD) if old == "directory" else place.write_bytes(b"old")
    write(place, cache, make, force=True)
    if make is make_directory:
        assert models.tree_files(place) == NEW
    else:
        assert place.read_bytes() == b"archive"
    assert os.listdir(room) == ["model"]


def test_a_link_to_a_directory_stays_and_the_directory_is_filled(room: Path, cache: Path) -> None:
    (room / "real").mkdir()
    (room / "link").symlink_to("real", target_is_directory=True)
    write(room / "link", cache)
    assert (room / "link").is_symlink()
    assert models.tree_files(room / "real") == NEW


def test_a_link_that_leads_nowhere_leads_there_afterwards(room: Path, cache: Path) -> None:
    (room / "link").symlink_to("real")
    write(room / "link", cache)
    assert models.tree_files(room / "real") == NEW


def test_a_relative_path_is_one_of_the_working_directory(room: Path, cache: Path) -> None:
    write(Path("model"), cache)
    assert models.tree_files(room.parent / "elsewhere" / "model") == NEW
    write(Path("../room/x/../model"), cache)
    assert models.tree_files(room / "model") == NEW


def test_a_tilde_is_the_home_directory(room: Path, cache: Path) -> None:
    write(Path("~/model"), cache)
    assert models.tree_files(Path(os.environ["HOME"]) / "model") == NEW


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127])
def test_a_name_as_long_as_names_can_be_is_fine(name: str, room: Path, cache: Path) -> None:
    write(room / name, cache)
    assert os.listdir(room) == [name]


# What is refused


@pytest.mark.parametrize("old", ["directory", "file", "link to a file"])
def test_what_is_there_is_not_replaced_without_force(old: str, room: Path, cache: Path) -> None:
    place = room / "model"
    if old == "directory":
        models.write_tree(place, OLD)
    elif old == "file":
        place.write_bytes(b"old")
    else:
        (room / "file").write_bytes(b"old")
        place.symlink_to("file")
    before = everything(room)
    error = refusal(place, cache)
    assert (type(error), error.exit_status) == (OutputError, 8)
    assert "--force" in error.hint
    assert everything(room) == before


@pytest.mark.parametrize("below", ["", "model", "a/b/c"])
def test_nothing_is_written_into_the_cache_not_by_force(below: str, cache: Path, room: Path) -> None:
    assert "inside the cache" in refusal(cache / below, cache, force=True).message
    assert not cache.exists()


def test_nothing_is_written_into_the_cache_by_another_way_to_it(cache: Path, room: Path) -> None:
    cache.mkdir()
    (room / "way").symlink_to(cache, target_is_directory=True)
    assert "inside the cache" in refusal(room / "way" / "model", cache, force=True).message
    assert "inside the cache" in refusal(cache / "model", room / "way", force=True).message
    assert "inside the cache" in refusal(room / ".." / cache.name / "model", cache, force=True).message


def test_a_directory_that_holds_the_cache_is_not_replaced(room: Path) -> None:
    models.write_tree(room / "cache", OLD)
    assert "would be replaced" in refusal(room, room / "cache", force=True).message
    assert models.tree_files(room / "cache") == OLD


def test_a_directory_that_holds_the_source_is_not_replaced(room: Path, cache: Path) -> None:
    source = models.write_tree(room / "a" / "source", OLD)
    with pytest.raises(OutputError, match="would be replaced"):
        require_free(room, cache_root=cache, force=True, source=source)


@pytest.mark.parametrize("below", [".", "model", "variables/model"])
def test_nothing_is_written_into_the_source(below: str, room: Path, cache: Path) -> None:
    source = models.write_tree(room / "source", NEW)
    with pytest.raises(OutputError, match="is inside the source"):
        require_free(source / below, cache_root=cache, force=True, source=source)


def test_an_archive_is_not_written_over_itself(room: Path, cache: Path) -> None:
    (room / "a.tar.gz").write_bytes(b"archive")
    with pytest.raises(OutputError, match="is inside the source"):
        require_free(room / "a.tar.gz", cache_root=cache, force=True, source=room / "a.tar.gz")


@pytest.mark.parametrize("place", [".", "..", "/", "~"])
def test_working_home_and_root_directory_are_not_replaced(place: str, room: Path, cache: Path) -> None:
    Path("~").expanduser().mkdir()
    assert isinstance(refusal(Path(place), cache, force=True), OutputError)


def test_an_empty_working_directory_is_not_replaced_either(room: Path, cache: Path) -> None:
    """The shell would stand in a directory that is gone."""
    assert "working directory" in refusal(Path(), cache).message


def test_a_user_without_home_and_working_directory_can_export(
    room: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    removed = room / "gone"
    removed.mkdir()
    monkeypatch.chdir(removed)
    removed.rmdir()
    monkeypatch.setattr(Path, "home", nowhere)
    (room / "model").mkdir()
    write(room / "model", cache)
    assert models.tree_files(room / "model") == NEW
    monkeypatch.chdir(room)


def test_a_mount_point_is_not_replaced(room: Path, cache: Path) -> None:
    with mounted(room / "disk", "size=1m") as mount:
        error = refusal(mount, cache)
        assert "mount point" in error.message
        assert str(mount / "model") in error.hint
        write(mount / "model", cache)
        assert models.tree_files(mount / "model") == NEW


def test_a_disk_that_can_only_be_read_is_told(room: Path, cache: Path) -> None:
    with mounted(room / "disk", "ro") as mount:
        error = refusal(mount / "model", cache)
        assert type(error) is OutputError
        assert "Read-only" in error.message


@as_a_user
def test_a_directory_that_may_not_be_written_is_told(room: Path, cache: Path) -> None:
    room.chmod(0o500)
    assert "Permission denied" in refusal(room / "model", cache).message
    room.chmod(0o700)


@pytest.mark.parametrize("place", ["file/model", "loop/model", "x" * 256, "x" * 5000])
def test_a_place_that_can_not_be_is_told(place: str, room: Path, cache: Path) -> None:
    (room / "file").write_bytes(b"")
    (room / "loop").symlink_to("loop")
    assert isinstance(refusal(room / place, cache), OutputError | UsageError)
    assert sorted(os.listdir(room)) == ["file", "loop"]


@pytest.mark.parametrize("place", ["~nobody-of-this-name/model", "a\0b"])
def test_what_is_no_path_is_told(place: str, room: Path, cache: Path) -> None:
    assert isinstance(refusal(Path(place), cache), UsageError)


# How it ends


@pytest.mark.usefixtures("_with_or_without_exchange")
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError(errno.EIO, "broken")])
@pytest.mark.parametrize("place", ["model", "new/below/model", "old"])
def test_an_error_leaves_everything_as_it_was(
    error: BaseException | type[BaseException], place: str, room: Path, cache: Path
) -> None:
    models.write_tree(room / "old", OLD)
    before = everything(room)

    def fail(staged: Path) -> None:
        make_directory(staged)
        make_file(staged.with_name("more"))
        raise error

    with pytest.raises((KeyboardInterrupt, ValueError, OutputError)):
        write(room / place, cache, fail, force=True)
    assert everything(room) == before


@pytest.mark.parametrize("make", [make_directory, make_file])
def test_an_interrupt_between_the_renames_brings_the_old_back(
    make: Callable[[Path], None], room: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.write_tree(room / "model", OLD)
    before = everything(room)
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise KeyboardInterrupt
        return rename(path, target)

    for home in (module, atomic_files):
        monkeypatch.setattr(home, "exchange_at_once", lambda _new, _old: False)
    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(room / "model", cache, make, force=True)
    assert everything(room) == before


def test_an_interrupt_while_cleaning_up_cleans_up_still(
    room: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, interrupts = remove_tree, iter([KeyboardInterrupt])

    def interrupted(path: Path) -> None:
        for interrupt in interrupts:
            raise interrupt
        remove(path)

    monkeypatch.setattr(staging, "remove_tree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(room / "model", cache)
    assert os.listdir(room) == ["model"]


def test_what_came_meanwhile_is_not_replaced(room: Path, cache: Path) -> None:
    def come(staged: Path) -> None:
        make_directory(staged)
        models.write_tree(room / "model", OLD)

    with pytest.raises(OutputError, match="not empty"):
        write(room / "model", cache, come)
    assert models.tree_files(room / "model") == OLD
    assert os.listdir(room) == ["model"]


@pytest.mark.parametrize("make", [make_directory, make_file])
@pytest.mark.parametrize("has_links", [True, False])
def test_what_comes_in_the_last_moment_is_not_replaced(
    make: Callable[[Path], None], has_links: bool, room: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = room / "model"
    if not has_links:
        monkeypatch.setattr(os, "link", refused)
    for create in (lambda: models.write_tree(place, OLD), lambda: place.write_bytes(b"old")):
        monkeypatch.setattr(Durability, "tree", lambda _self, _staged, create=create: create())
        with pytest.raises(OutputError, match="was created by another process"):
            write(place, cache, make)
        assert models.tree_files(place) == OLD if place.is_dir() else place.read_bytes() == b"old"
        assert os.listdir(room) == ["model"]
        remove_tree(place)


def refused(*_arguments: object) -> None:
    raise PermissionError(errno.EPERM, "not permitted")


@pytest.mark.parametrize("is_empty", [True, False])
def test_an_archive_is_moved_into_place_without_hard_links_too(
    is_empty: bool, room: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refused)
    if is_empty:
        (room / "model").mkdir()
    write(room / "model", cache, make_file)
    assert (room / "model").read_bytes() == b"archive"
    assert os.listdir(room) == ["model"]


@pytest.mark.parametrize("make", [make_directory, make_file])
@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("old", ["nothing", "an empty directory"])
def test_a_disk_that_fails_after_the_move_leaves_the_place_as_it_was(
    make: Callable[[Path], None],
    has_links: bool,
    old: str,
    room: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if old != "nothing":
        (room / "model").mkdir(mode=0o700)
    before = everything(room)

    def fail(_self: object, folder: Path) -> None:
        if folder == room:
            raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(Durability, "directory", fail)
    if not has_links:
        monkeypatch.setattr(os, "link", refused)
    with pytest.raises(OutputError, match="broken"):
        write(room / "model", cache, make)
    assert everything(room) == before
    if old != "nothing":
        assert stat.S_IMODE((room / "model").stat().st_mode) == 0o700


@pytest.mark.parametrize("make", [make_directory, make_file])
def test_an_empty_directory_that_may_not_be_replaced_was_not_created_by_another_process(
    make: Callable[[Path], None], room: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (room / "model").mkdir()
    for name in ("rename", "rmdir"):
        monkeypatch.setattr(Path, name, refused)
    with pytest.raises(OutputError, match=f"Cannot write {room / 'model'}: not permitted"):
        write(room / "model", cache, make)
    assert os.listdir(room) == ["model"]


def test_a_directory_that_cannot_be_moved_is_to_be_removed_first(
    room: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crossing(_new: Path, _old: Path) -> bool:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(module, "exchange_at_once", crossing)
    models.write_tree(room / "a model", OLD)
    with pytest.raises(OutputError, match=f"Cannot replace {room / 'a model'}: ") as caught:
        write(room / "a model", cache, force=True)
    assert caught.value.hint == f"Remove it first: rm -r '{room / 'a model'}'"
    assert models.tree_files(room / "a model") == OLD


@pytest.fixture
def small_disk(room: Path) -> Iterator[Path]:
    with mounted(room / "disk", "size=1m") as small:
        yield small


@pytest.mark.parametrize("old", [False, True])
def test_a_full_disk_is_told_and_left_as_it_was(old: bool, small_disk: Path, cache: Path) -> None:
    place = small_disk / "below" / "model"
    if old:
        models.write_tree(place, OLD)
    before = everything(small_disk)

    def fill(staged: Path) -> None:
        models.write_tree(staged, {"large": bytes(2 << 20)})

    with pytest.raises(DiskFullError, match="Not enough disk space for"):
        write(place, cache, fill, force=True)
    assert everything(small_disk) == before
