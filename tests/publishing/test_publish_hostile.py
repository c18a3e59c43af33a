"""Publishing beside hostile servers and other users: nothing is sent elsewhere, and no secret is told."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.errors import (
    CacheError,
    LockTimeoutError,
    NetworkError,
)
from hubcli.net.resumable_upload import require_session_url
from hubcli.publishing.journal import open_journal
from hubcli.urls import redacted, remember_secret
from tests.cases import each_of
from tests.fake_kaggle import Answer
from tests.fake_kaggle_uploads import TOKEN
from tests.publishing.publisher import NAME, Publisher, grow

# Hostile servers ----------------------------------------------------------------------------------


@each_of(
    "root",
    ["http://storage.example", "https://user:pw@storage.example", "file:///etc", "https://", "ftp://x", "\n"],
)
def test_an_address_of_a_session_that_is_not_safe_gets_no_bytes(root: str, publisher: Publisher) -> None:
    publisher.kaggle.session_root = root
    with pytest.raises(NetworkError, match="invalid upload session URL") as caught:
        publisher.publish()
    assert "upload_id" not in str(caught.value)
    assert publisher.kaggle.request_names("PUT") == []


def test_a_storage_that_claims_bytes_which_were_not_sent_is_refused(publisher: Publisher) -> None:
    publisher.kaggle.faults["put"] = ["ahead"] * 20
    with pytest.raises(NetworkError, match="claims to have bytes that were not sent"):
        publisher.publish()
    assert publisher.versions == []


@each_of(
    "document", [{}, {"token": 7}, {"token": "x" * 5000}, {"token": "a\x1b"}, {"token": "t", "createUrl": 1}]
)
def test_an_invalid_answer_to_a_blob_is_an_error(document: dict[str, object], publisher: Publisher) -> None:
    publisher.kaggle.scripted.clear()
    publisher.kaggle.script("POST /api/v1/blobs", *[Answer(json.dumps(document).encode())] * 8)
    with pytest.raises(NetworkError, match="answers with"):
        publisher.publish()


def test_addresses_of_sessions_and_tokens_are_printed_nowhere(publisher: Publisher) -> None:
    grow(publisher)
    publisher.settings = replace(publisher.settings, retries=1)
    publisher.kaggle.faults["put"] = ["lose-answer"] * 40
    publisher.kaggle.faults["status"] = ["lose-answer"] * 40
    with pytest.raises(NetworkError) as caught:
        publisher.publish()
    output = "\n".join([str(caught.value), caught.value.hint, *publisher.listener.notes])
    sessions = list(publisher.kaggle.sessions)
    assert not [session for session in sessions if session in output]
    assert TOKEN not in output
    assert redacted(f"x {sessions[0]} y") == "x *** y"


# The record ---------------------------------------------------------------------------------------


def record_of(publisher: Publisher) -> Path:
    publisher.kaggle.faults["variation"] = ["400"]
    with pytest.raises(NetworkError):
        publisher.publish()
    folder = Path(os.environ["XDG_STATE_HOME"], "hubcli", "uploads")
    return next(folder.glob("*.json"))


def test_the_record_is_for_its_user_alone_and_goes_with_the_upload(publisher: Publisher) -> None:
    record = record_of(publisher)
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700
    record.parent.chmod(0o755)
    publisher.publish()
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700
    assert list(record.parent.glob("*.json*")) == []


def test_the_record_holds_no_session_of_a_file_that_is_complete(publisher: Publisher) -> None:
    text = record_of(publisher).read_text()
    assert "blob-" in text
    assert "upload_id" not in text


def test_an_address_of_many_values_pushes_no_secret_out_of_memory(publisher: Publisher) -> None:
    remember_secret("the-first-of-all")
    for number in range(50):
        values = "&".join(f"k{place}=value-{number:03}-{place:04}" for place in range(350))
        require_session_url(
            f"https://storage.example/o?upload_id=session-{number:020}&{values}", "https://x.example"
        )
    assert redacted("the-first-of-all") == "***"
    assert redacted(f"x session-{7:020} y") == "x *** y"


def test_a_record_behind_a_link_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    record = record_of(publisher)
    elsewhere = record.rename(tmp_path / "elsewhere.json")
    record.symlink_to(elsewhere)
    with pytest.raises(CacheError, match="the record of an earlier upload"):
        publisher.publish()
    record.unlink()
    os.link(elsewhere, record)
    with pytest.raises(CacheError, match="is a link, has several links or belongs"):
        publisher.publish()
    assert publisher.versions == []


@each_of(
    "content",
    [b"", b"{}", b"[1]", b'{"schema": 2}', b"\xff", b"[" * 100_000, b'{"schema": 1, "endpoint": "x"}'],
)
def test_a_record_that_can_not_be_read_stops_the_upload(content: bytes, publisher: Publisher) -> None:
    publisher.kaggle.models.clear()
    record = record_of(publisher)
    content_before = record.read_bytes()
    record.write_bytes(content)
    with pytest.raises(CacheError, match="the record of an earlier upload") as caught:
        publisher.publish()
    assert "remove that file" in caught.value.hint
    record.write_bytes(content_before)


@each_of("key, value", [("schema", 2), ("endpoint", "https://other.example"), ("target", f"{NAME}-2")])
def test_a_record_of_another_upload_or_of_another_hubcli_is_not_resumed(
    key: str, value: object, publisher: Publisher
) -> None:
    publisher.kaggle.models.clear()
    record = record_of(publisher)
    content_before = record.read_bytes()
    document = json.loads(content_before)
    assert document[key] != value
    record.write_text(json.dumps({**document, key: value}))
    with pytest.raises(CacheError, match="the record of an earlier upload"):
        publisher.publish()
    record.write_bytes(content_before)


def test_two_runs_at_once_do_not_publish_the_same(publisher: Publisher) -> None:
    endpoint = publisher.settings.access.kaggle.endpoint
    with open_journal(endpoint, NAME, publisher.settings.durability), pytest.raises(LockTimeoutError):
        publisher.publish()
    publisher.publish()
    publisher.require_published_once()


def test_records_that_nobody_resumed_are_removed_and_those_of_creations_stay(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = record_of(publisher)
    kinds = {"a" * 32: "uploading", "b" * 32: "creating"}
    for name, step in kinds.items():
        document = {**json.loads(record.read_bytes()), "step": step}
        record.with_name(f"{name}.json").write_text(json.dumps(document))
        os.utime(record.with_name(f"{name}.json"), (1, 1))
    record.with_name(f"{record.name}.0123.tmp").write_bytes(b"half")
    publisher.publish()
    left = [path.name for path in record.parent.iterdir() if path.suffix != ".lock"]
    assert left == [f"{'b' * 32}.json"]
