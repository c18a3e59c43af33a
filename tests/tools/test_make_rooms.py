"""The drawing of the rooms in CONTRIBUTING.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import make_rooms

pytestmark = pytest.mark.sources


def test_the_drawing_is_what_the_imports_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert make_rooms.main(["--check"]) == 0, capsys.readouterr().err


def test_each_room_stands_in_a_layer() -> None:
    drawn = {room for layer in make_rooms._layers() for room in layer}
    package = make_rooms.PACKAGE
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    files = {path.stem for path in package.glob("*.py") if not path.stem.startswith("_")}
    # The built-in models are data.
    assert drawn == (rooms | files) - {"examples"}


def test_a_drawing_that_says_something_else_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = make_rooms.CONTRIBUTING.read_text(encoding="utf-8")
    (tmp_path / "CONTRIBUTING.md").write_text(text.replace("  │\n", "  |\n"), encoding="utf-8")
    monkeypatch.setattr(make_rooms, "CONTRIBUTING", tmp_path / "CONTRIBUTING.md")
    assert make_rooms.main(["--check"]) == 1
    assert make_rooms.main([]) == 0
    assert (tmp_path / "CONTRIBUTING.md").read_text(encoding="utf-8") == text
