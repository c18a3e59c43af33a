"""The small objects of a tier, from whoever may write them: what is no manifest ends in an error of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.archive import FileRecord
from hubcli.errors import IntegrityError, UnsupportedError
from hubcli.providers.handle import key_of
from hubcli.tiers.layout import ManifestKey, blob_key, blob_of_key, manifest_key, require_known_version
from hubcli.tiers.manifest import Current, TierManifest
from tests.cases import each_of

_HANDLE = "https://tfhub.dev/maker/model/1"
_MANIFEST = TierManifest.of(
    _HANDLE,
    ("a" * 64, 10, "tar.gz"),
    (FileRecord("saved_model.pb", 3, "b" * 64),),
    source="https://user:secret@host.example/x?token=secret",
    etag='"1"',
    now_s=0.0,
)
_CURRENT = Current(_HANDLE, ("a" * 64,), None, "1970-01-01T00:00:00Z")


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert TierManifest.parse(_MANIFEST.to_bytes(), "m") == _MANIFEST
    assert Current.parse(_CURRENT.to_bytes(), "c") == _CURRENT
    assert _MANIFEST.key == ManifestKey(key_of(_HANDLE), "a" * 64)
    assert b"secret" not in _MANIFEST.to_bytes()


def _without(document: dict[str, Any], path: str) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    if not rest:
        return {key: value for key, value in document.items() if key != head}
    return {**document, head: _without(document[head], rest)}


@each_of(
    "path",
    [
        "schema handle archive archive.sha256 archive.bytes archive.format origin origin.address origin.etag "
        "tree tree.sha256 files written_at"
    ][0].split(),
)
def test_every_key_is_needed(path: str) -> None:
    document = _without(json.loads(_MANIFEST.to_bytes()), path)
    with pytest.raises(IntegrityError, match="Invalid manifest"):
        TierManifest.parse(json.dumps(document).encode(), "m")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(["schema", "handle", "archive", "origin", "tree", "files", "written_at"]), _JSON)
def test_whatever_stands_there_is_a_manifest_or_an_error_of_ours(key: str, value: object) -> None:
    document = {**json.loads(_MANIFEST.to_bytes()), key: value}
    try:
        TierManifest.parse(json.dumps(document).encode(), "m")
    except IntegrityError:
        assert value != _MANIFEST.handle


@given(st.binary(max_size=60))
def test_bytes_are_an_error_of_ours(content: bytes) -> None:
    for parse in (TierManifest.parse, Current.parse):
        with pytest.raises(IntegrityError):
            parse(content, "x")


@each_of(
    "changes",
    [
        {"archives": ["A" * 64]},
        {"archives": ["a" * 64] * 17},
        {"archives": "a"},
        {"resolved": 1},
        {"handle": "\x1b[0m"},
        {"handle": "a" * 5000},
        {"schema": True},
    ],
)
def test_what_a_handle_means_is_bounded(changes: dict[str, object]) -> None:
    document = {**json.loads(_CURRENT.to_bytes()), **changes}
    with pytest.raises(IntegrityError, match="Invalid c: "):
        Current.parse(json.dumps(document).encode(), "c")


def test_keys_tell_what_they_are_of() -> None:
    sha256 = "ab" + "0" * 62
    assert blob_of_key(blob_key(sha256)) == sha256
    assert blob_of_key(f"blobs/sha256/aa/{sha256}") is None
    key = ManifestKey("0" * 40, sha256)
    assert ManifestKey.parse(manifest_key(*key)) == key
    for other in ("models/x/current.json", f"models/{'0' * 40}/../x.json", f"{manifest_key(*key)}.tmp"):
        assert ManifestKey.parse(other) is None


def test_a_newer_layout_is_refused_and_what_is_no_marker_too() -> None:
    require_known_version(b'{"hubcli_tier": 1, "more": 2}', "t")
    with pytest.raises(UnsupportedError, match="t is a shared tier of version 2; this hubcli knows 1"):
        require_known_version(b'{"hubcli_tier": 2}', "t")
    for content in (b"", b"{}", b'{"hubcli_tier": true}', b'{"hubcli_tier": 0}', b"<html>"):
        with pytest.raises(IntegrityError):
            require_known_version(content, "t")


@each_of("item", [b"{}", b"[]", b'""', b"1"])
def test_a_manifest_of_many_small_values_is_not_parsed(item: bytes) -> None:
    with pytest.raises(IntegrityError, match="too many values"):
        TierManifest.parse(b'{"files": [' + (item + b",") * 500_001 + item + b"]}", "name")


def test_what_no_reader_accepts_is_not_written() -> None:
    name = "d" * 200
    files = tuple(FileRecord(f"{name}/{number}", 1, "b" * 64) for number in range(60_000))
    manifest = TierManifest(_HANDLE, "a" * 64, 10, "tar", "c" * 64, files)
    with pytest.raises(UnsupportedError, match="too many files for a shared tier: 60,000, and a"):
        manifest.to_bytes()


def test_a_manifest_of_as_many_files_as_may_be_is_written_and_read_and_one_of_more_is_neither(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [FileRecord(f"assets/{number}", 1, "c" * 64) for number in range(3)]
    largest, too_large = (
        TierManifest.of(_HANDLE, ("a" * 64, 10, "tar.gz"), files[:count], source="", etag=None, now_s=0.0)
        for count in (2, 3)
    )
    content = too_large.to_bytes()
    monkeypatch.setattr("hubcli.tiers.manifest._MAX_FILES", 2)
    assert TierManifest.parse(largest.to_bytes(), "m") == largest
    with pytest.raises(IntegrityError, match="it lists too many files"):
        TierManifest.parse(content, "m")
    with pytest.raises(UnsupportedError, match="too many files for a shared tier: 3, and a"):
        too_large.to_bytes()
