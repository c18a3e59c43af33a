"""The index of a tree of models: complete after exports at the same time, and never half written."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from hubcli.commands.export import ExportOptions, Layout, export
from hubcli.config.settings import Settings
from hubcli.errors import IntegrityError
from hubcli.exporting import hub_index
from hubcli.exporting.hub_index import IndexEntry, add_to_index, index_bytes, merged, parse_index
from tests.exporting.test_newest import RecordingListener, exported


def entries_of(root: Path) -> list[IndexEntry]:
    return list(parse_index((root / "index.json").read_bytes(), "index.json"))


def archive_at(root: Path, path: str) -> IndexEntry:
    """An archive of a tree, and its entry."""
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"\x1f\x8b archive")
    name, _, version = path.rpartition("/")
    return IndexEntry(name, version, 10)


def test_an_export_of_the_hub_layout_lists_its_version(tmp_path: Path, settings: Settings) -> None:
    root = tmp_path / "www"
    for version in ("2", "10", "9"):
        exported(root, version, settings)
    found = entries_of(root)
    assert [entry.path for entry in found] == ["maker/model/2", "maker/model/9", "maker/model/10"]
    archive = root / "maker" / "model" / "10"
    assert found[-1].archive_bytes == archive.stat().st_size
    assert found[-1].kind == "TF2"
    assert found[-1].sha256 is not None
    assert sorted(path.name for path in root.iterdir()) == ["index.json", "maker"]


def test_an_archive_that_is_gone_is_dropped_and_the_index_is_made_anew_where_it_is_missing(
    tmp_path: Path,
) -> None:
    for path in ("maker/model/1", "maker/model/2", "other/deep/model/7"):
        add_to_index(tmp_path, archive_at(tmp_path, path))
    (tmp_path / "maker/model/1").unlink()
    add_to_index(tmp_path, archive_at(tmp_path, "maker/model/3"))
    paths = ["maker/model/2", "maker/model/3", "other/deep/model/7"]
    assert [entry.path for entry in entries_of(tmp_path)] == paths
    (tmp_path / "index.json").unlink()
    (tmp_path / "maker/model/4").write_text("no archive")
    add_to_index(tmp_path, archive_at(tmp_path, "maker/model/3"))
    assert [entry.path for entry in entries_of(tmp_path)] == paths


def test_exports_at_the_same_time_lose_no_entry(tmp_path: Path) -> None:
    entries = [archive_at(tmp_path, f"maker/model/{number}") for number in range(1, 25)]
    start = threading.Barrier(8)
    problems: list[str | None] = []

    def add(some: list[IndexEntry]) -> None:
        start.wait()
        problems.extend(add_to_index(tmp_path, entry) for entry in some)

    threads = [threading.Thread(target=add, args=(entries[number::8],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [None] * 24
    assert [entry.version for entry in entries_of(tmp_path)] == [str(number) for number in range(1, 25)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.json", "maker"]


@pytest.mark.parametrize("content", ["<html>", "[]", '{"schema": 2, "models": []}', '{"models": []}'])
def test_somebody_elses_file_is_kept_and_the_export_says_so(
    content: str, tmp_path: Path, settings: Settings
) -> None:
    (tmp_path / "index.json").write_text(content)
    listener = RecordingListener()
    exported(tmp_path, "1", settings, listener)
    assert (tmp_path / "index.json").read_text() == content
    assert any("it was kept" in note and "index.json" in note for note in listener.notes)
    assert (tmp_path / "maker/model/1").is_file()


def test_a_lock_that_is_held_is_waited_for_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = archive_at(tmp_path, "maker/model/1")
    monkeypatch.setattr(hub_index, "_WAIT_S", 0.05)
    with hub_index._locked(tmp_path):
        problem = add_to_index(tmp_path, entry)
    assert problem is not None
    assert "another process holds .index.json.lock" in problem
    assert add_to_index(tmp_path, entry) is None


def test_keys_of_another_release_and_titles_stay(tmp_path: Path) -> None:
    entry = archive_at(tmp_path, "maker/model/1")
    document = {**entry.document(), "title": "A model", "license": "MIT", "downloads": [1]}
    (tmp_path / "index.json").write_text(json.dumps({"schema": 1, "models": [document]}))
    add_to_index(tmp_path, entry)
    models = json.loads((tmp_path / "index.json").read_text())["models"]
    assert models == [document]


def test_an_entry_that_could_lead_elsewhere_is_left_out() -> None:
    names = ("../x/y", "a", "/a/b", "a//b", "a/../b", "a/b\n", "a/\x1b[31m", "a/b?c", "a/" * 8 + "b", 7, None)
    values: list[object] = [{"name": name, "version": "1"} for name in names]
    values += [{"name": "a/b", "version": version} for version in ("", "x", "-1", "1/2", "9" * 19, 1)]
    values += [None, [], "a/b"]
    content = json.dumps({"schema": 1, "models": [*values, {"name": "a/b", "version": "1"}]}).encode()
    assert [entry.path for entry in parse_index(content, "i")] == ["a/b/1"]


def test_an_index_that_is_too_large_or_no_index_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_index, "MAX_INDEX_BYTES", 100)
    monkeypatch.setattr(hub_index, "_MAX_ENTRIES", 2)
    for content in (b"x" * 101, b"[" * 99, b'{"schema": 1, "models": [1, 2, 3]}', b"\xff", b"null"):
        with pytest.raises(IntegrityError, match="^index"):
            parse_index(content, "index")


def test_small_values_that_would_fill_the_memory_are_not_parsed() -> None:
    for value in (b"[]", b"{}", b"0", b'""'):
        content = b'{"schema": 1, "models": [' + (value + b",") * 2_100_000 + b"0]}"
        with pytest.raises(IntegrityError, match="more than 100000 entries"):
            parse_index(content, "index")


def test_half_of_a_surrogate_pair_in_an_index_stays_as_it_was_escaped(tmp_path: Path) -> None:
    held = archive_at(tmp_path, "maker/model/1")
    models = [{**held.document(), "title": "\ud800", "note": ["\udfff"]}]
    (tmp_path / "index.json").write_text(json.dumps({"schema": 1, "models": models}))
    assert add_to_index(tmp_path, archive_at(tmp_path, "maker/model/2")) is None
    first, second = entries_of(tmp_path)
    assert (first.title, first.more) == ("\ud800", {"note": ["\udfff"]})
    assert second.version == "2"


def test_an_index_with_a_value_that_is_not_json_is_kept_and_named(tmp_path: Path) -> None:
    content = '{"schema": 1, "models": [{"name": "maker/model", "version": "1", "votes": NaN}]}'
    (tmp_path / "index.json").write_text(content)
    problem = add_to_index(tmp_path, archive_at(tmp_path, "maker/model/2"))
    assert "is not an index of models" in str(problem)
    assert (tmp_path / "index.json").read_text() == content


def test_an_index_does_not_grow_beyond_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_index, "_MAX_ENTRIES", 2)
    problems = [add_to_index(tmp_path, archive_at(tmp_path, f"maker/model/{number}")) for number in (1, 2, 3)]
    assert problems[:2] == [None, None]
    assert "at most 2 entries" in str(problems[2])
    assert [entry.version for entry in entries_of(tmp_path)] == ["1", "2"]


def test_what_is_written_is_read_again() -> None:
    entry = IndexEntry("a/b", "1", 5, 6, "0" * 64, 1.5, "TF2", "Ein Modell – für alle", "MIT", {"x": [1]})
    assert parse_index(index_bytes(merged([], [entry])), "i") == (entry,)
    assert parse_index(index_bytes(()), "i") == ()


def test_a_dry_run_writes_no_index(tmp_path: Path, settings: Settings) -> None:
    options = ExportOptions(layout=Layout.HUB, name="maker/model", version="1", dry_run=True)
    export("example://mul/1", tmp_path / "www", settings, options)
    assert not (tmp_path / "www").exists()


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path: Path) -> None:
    add_to_index(tmp_path, archive_at(tmp_path, "maker/model/1"))
    (tmp_path / f"index.json.tmp{'0' * 32}").write_text("half")
    (tmp_path / ".index.json.lock").write_text("")
    assert add_to_index(tmp_path, archive_at(tmp_path, "maker/model/2")) is None
    assert len(entries_of(tmp_path)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.json", "maker"]
