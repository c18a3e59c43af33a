"""The manifest: what is written is read again, and nothing else is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubcli.archive import FileRecord
from hubcli.cache.records import MANIFEST_SCHEMA, Manifest
from tests.cases import each_of

SHA256 = "0" * 64
WHOLE = Manifest(
    handle="https://tfhub.dev/google/nnlm/1",
    aliases=("http://tfhub.dev/google/nnlm/1",),
    source="https://mirror.corp/google/nnlm/1",
    kind="TF2",
    files=(FileRecord("saved_model.pb", 7, SHA256), FileRecord("assets/words.txt", 0, None)),
    fetched_at_s=1_700_000_000.0,
    last_used_at_s=1_700_000_100.5,
    etag='"abc"',
    archive_sha256=SHA256,
    archive_bytes=123,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifests") / "x.hubcli.json"


def _read(file: Path, content: bytes) -> Manifest | None:
    file.write_bytes(content)
    return Manifest.read(file)


def _document(**changes: Any) -> bytes:
    return json.dumps({**json.loads(WHOLE.to_text()), **changes}).encode()


def test_what_is_written_is_read_again(file: Path) -> None:
    assert _read(file, WHOLE.to_text().encode()) == WHOLE


TEXT = st.text(alphabet=st.characters(codec="utf-8"))
MILLISECONDS = st.integers(0, 4_000_000_000).map(float)


@given(
    st.builds(
        Manifest,
        handle=TEXT,
        aliases=st.lists(TEXT).map(tuple),
        source=TEXT,
        kind=TEXT,
        files=st.lists(
            st.builds(FileRecord, TEXT, st.integers(0, 2**63), st.none() | st.just(SHA256)), max_size=5
        ).map(tuple),
        fetched_at_s=MILLISECONDS,
        last_used_at_s=MILLISECONDS,
        etag=st.none() | TEXT,
        archive_sha256=st.just(SHA256),
        archive_bytes=st.integers(0, 2**63),
    )
)
def test_every_manifest_is_read_again(file: Path, manifest: Manifest) -> None:
    assert _read(file, manifest.to_text().encode()) == manifest


def test_what_did_not_come_as_an_archive_has_none(file: Path) -> None:
    manifest = _read(file, _document(archive=None))

    assert manifest is not None
    assert (manifest.archive_sha256, manifest.archive_bytes) == (None, None)


def test_sizes_are_summed() -> None:
    assert WHOLE.size_bytes == 7


def test_the_keys_are_pinned() -> None:
    document = json.loads(WHOLE.to_text())

    assert document["schema"] == MANIFEST_SCHEMA == 1
    assert sorted(document) == [
        *("aliases", "archive", "etag", "fetched_at", "files", "handle", "kind"),
        *("last_used_at", "schema", "source"),
    ]
    assert document["fetched_at"] == "2023-11-14T22:13:20.000Z"
    assert document["files"][0] == {"path": "saved_model.pb", "size": 7, "sha256": SHA256}
    assert document["archive"] == {"sha256": SHA256, "size": 123}


def test_a_missing_manifest_is_none(tmp_path: Path) -> None:
    assert Manifest.read(tmp_path / "nothing") is None
    assert Manifest.read(tmp_path) is None


def test_a_key_of_a_newer_version_is_no_obstacle(file: Path) -> None:
    assert _read(file, _document(colour="blue")) == WHOLE


@each_of("schema", [0, 2, "1", None])
def test_another_schema_is_not_read(file: Path, schema: object) -> None:
    assert _read(file, _document(schema=schema)) is None


@each_of("key", sorted(json.loads(WHOLE.to_text())))
def test_a_manifest_without_one_of_its_keys_is_not_read(file: Path, key: str) -> None:
    document = json.loads(WHOLE.to_text())
    del document[key]

    assert _read(file, json.dumps(document).encode()) is None


@each_of(
    "changes",
    [
        {"handle": None},
        {"handle": 5},
        {"aliases": "https://tfhub.dev/google/nnlm/1"},
        {"aliases": [None]},
        {"aliases": {"a": "b"}},
        {"source": None},
        {"kind": []},
        {"etag": 5},
        {"fetched_at": 1_700_000_000},
        {"last_used_at": "yesterday"},
        {"archive": [SHA256]},
        {"archive": {"sha256": 5, "size": 1}},
        {"archive": {"sha256": SHA256, "size": "many"}},
        {"files": None},
        {"files": ""},
        {"files": {}},
        {"files": ["saved_model.pb"]},
        {"files": [{"path": None, "size": 1, "sha256": None}]},
        {"files": [{"path": "x", "size": "1", "sha256": None}]},
        {"files": [{"path": "x", "size": 1.5, "sha256": None}]},
        {"files": [{"path": "x", "size": -1, "sha256": None}]},
        {"files": [{"path": "x", "size": float("inf"), "sha256": None}]},
        {"files": [{"path": "x", "size": float("nan"), "sha256": None}]},
        {"files": [{"path": "x", "size": 1, "sha256": 5}]},
    ],
)
def test_a_value_of_the_wrong_type_is_not_believed(file: Path, changes: dict[str, Any]) -> None:
    assert _read(file, _document(**changes)) is None


@each_of(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"5",
        b"\xff\xfe",
        WHOLE.to_text().encode("utf-16"),
        WHOLE.to_text().encode()[:-20],
        b"[" * 100_000,
        b'{"schema": ' * 100_000,
        b'{"schema": ' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_no_manifest_is_not_read(file: Path, content: bytes) -> None:
    manifest = _read(file, content)

    assert manifest is None or manifest == WHOLE  # JSON may be UTF-16


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(json.loads(WHOLE.to_text()))), JSON, min_size=1, max_size=3))
@example({"files": [{"path": "x", "size": float("inf"), "sha256": None}]})
def test_a_changed_manifest_is_valid_or_not_read(file: Path, changes: dict[str, Any]) -> None:
    manifest = _read(file, _document(**changes))

    assert manifest is None or manifest.size_bytes >= 0


@given(JSON)
def test_any_json_is_a_manifest_or_not_read(file: Path, document: Any) -> None:
    assert _read(file, json.dumps(document).encode()) is None


@given(st.binary())
def test_any_bytes_are_a_manifest_or_not_read(file: Path, content: bytes) -> None:
    assert _read(file, content) is None


@given(st.integers(0, len(WHOLE.to_text()) - 1), st.integers(0, 255))
def test_a_changed_byte_is_survived(file: Path, position: int, value: int) -> None:
    content = bytearray(WHOLE.to_text().encode())
    content[position] = value

    _read(file, bytes(content))
