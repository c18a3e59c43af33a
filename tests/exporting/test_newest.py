"""The index file by which a static host answers for a handle without a version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli.commands.export import ExportOptions, Layout, export
from hubcli.config.settings import Settings
from hubcli.exporting.hub_index import publish_newest
from hubcli.progress import ProgressListener


class RecordingListener(ProgressListener):
    """What was noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def exported(out: Path, version: str, settings: Settings, listener: ProgressListener | None = None) -> Path:
    options = ExportOptions(layout=Layout.HUB, name="maker/model", version=version, force=True)
    return Path(export("example://mul/1", out, settings, options, listener).destination).parent


def test_it_leads_to_the_newest_version_whatever_is_exported_last(tmp_path: Path, settings: Settings) -> None:
    for version, newest in (("2", "2"), ("10", "10"), ("9", "10"), ("10", "10")):
        index = exported(tmp_path / "www", version, settings) / "index.html"
        assert str(index.readlink()) == newest
        assert index.read_bytes() == index.with_name(newest).read_bytes()
    assert sorted(path.name for path in index.parent.iterdir()) == ["10", "2", "9", "index.html"]


@pytest.mark.parametrize(
    "make",
    [
        lambda index: index.write_text("<html>my model</html>"),
        lambda index: index.symlink_to("page.html"),
        lambda index: index.symlink_to("../1"),
        lambda index: index.mkdir(),
    ],
    ids=["file", "link", "link that leads out", "directory"],
)
def test_what_somebody_else_put_there_stays(
    make: Callable[[Path], None], tmp_path: Path, settings: Settings
) -> None:
    index = tmp_path / "www" / "maker" / "model" / "index.html"
    index.parent.mkdir(parents=True)
    make(index)
    before = index.lstat()
    listener = RecordingListener()
    exported(tmp_path / "www", "1", settings, listener)
    assert index.lstat().st_ino == before.st_ino
    assert any("was not created by hubcli and was kept" in note for note in listener.notes)
    assert (index.parent / "1").is_file()


def test_without_symbolic_links_it_is_a_hard_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    (tmp_path / "1").write_bytes(b"one")
    assert publish_newest(tmp_path) is None
    (tmp_path / "2").write_bytes(b"two")
    assert publish_newest(tmp_path) is None
    assert (tmp_path / "index.html").read_bytes() == b"two"
    monkeypatch.setattr("os.link", refuse)
    (tmp_path / "3").write_bytes(b"three")
    assert "cannot be created (Operation not permitted)" in str(publish_newest(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3", "index.html"]


def test_other_layouts_have_none(tmp_path: Path, settings: Settings) -> None:
    export("example://mul/1", tmp_path / "serving", settings, ExportOptions(layout=Layout.SERVING))
    export("example://mul/1", tmp_path / "plain", settings)
    assert not list(tmp_path.rglob("index.html"))
