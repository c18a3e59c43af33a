"""Publishing on Kaggle after faults: resumed where it was cut, created at most once."""

from __future__ import annotations

import dataclasses
import os
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

from hubcli.errors import (
    AuthenticationError,
    HubcliError,
    IntegrityError,
    NetworkError,
    TruncatedError,
)
from hubcli.net import resumable_upload
from hubcli.net.client import translate
from hubcli.publishing import journal, kaggle_creation
from hubcli.publishing.kaggle_creation import UnknownOutcomeError
from tests import models
from tests.cases import each_of
from tests.fake_kaggle import Answer
from tests.publishing.publisher import LARGE, NAME, PIECE, Publisher, grow

# Cut and resumed ----------------------------------------------------------------------------------


@each_of(
    "step, fault",
    [
        *(("put", fault) for fault in ("lose-answer", "lose-request", "cut", "503", "429", "expire")),
        *(("blob", fault) for fault in ("lose-answer", "lose-request", "503", "429")),
        *(("status", fault) for fault in ("lose-answer", "503", "expire")),
    ],
)
def test_an_upload_goes_on_after_a_fault(step: str, fault: str, publisher: Publisher) -> None:
    publisher.kaggle.models.clear()
    grow(publisher)
    publisher.kaggle.faults.clear()  # Of the case before.
    publisher.kaggle.faults[step] = ["", fault]
    if step == "status":
        publisher.kaggle.faults["put"] = ["", "", "cut"]
    publisher.publish()
    publisher.require_published_once()
    assert publisher.listener.received_bytes >= sum(map(len, publisher.files.values()))


def test_a_second_run_sends_only_what_is_missing(publisher: Publisher) -> None:
    data = grow(publisher)
    publisher.settings = replace(publisher.settings, retries=0)
    publisher.kaggle.faults["put"] = [*[""] * 6, "lose-answer"]
    with pytest.raises(NetworkError):
        publisher.publish()
    before = sum(len(blob.data) for blob in publisher.kaggle.blobs.values())
    sessions = len(publisher.kaggle.blobs)
    publisher.publish()
    publisher.require_published_once()
    # A small file is on record once it is answered: if that answer was the lost one, it is sent again.
    again = before - publisher.listener.resumed_bytes
    assert again in (0, *(len(content) for content in publisher.files.values() if len(content) < PIECE))
    assert publisher.listener.resumed_bytes >= PIECE
    assert len(publisher.kaggle.blobs) == max(sessions, len(publisher.files)) + (again > 0)
    assert len(data) > PIECE


def test_a_small_file_is_on_record_once(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = journal.Journal.write_blob

    def noted(self: journal.Journal, name: str, blob: journal.BlobRecord | None) -> None:
        written.append(name)
        write(self, name, blob)

    monkeypatch.setattr(journal.Journal, "write_blob", noted)
    publisher.publish()
    assert sorted(written) == sorted(publisher.files)


def test_a_file_that_changed_between_two_runs_is_sent_anew(publisher: Publisher) -> None:
    data = grow(publisher)
    publisher.settings = replace(publisher.settings, retries=0)
    publisher.kaggle.faults["put"] = [*[""] * 6, "lose-answer"]
    with pytest.raises(NetworkError):
        publisher.publish()
    models.write_tree(publisher.model, {LARGE: bytes([data[0] ^ 1]) + data[1:]})
    publisher.publish()
    publisher.require_published_once()
    assert f"{LARGE} changed since the last run: sending it again" in publisher.listener.notes


def test_sessions_that_expired_meanwhile_are_begun_anew(publisher: Publisher) -> None:
    grow(publisher)
    publisher.settings = replace(publisher.settings, retries=1)
    publisher.kaggle.faults["put"] = [*[""] * 6, *["lose-request"] * 8]
    with pytest.raises(NetworkError):
        publisher.publish()
    publisher.kaggle.faults.clear()
    publisher.kaggle.expire_sessions()
    publisher.publish()
    publisher.require_published_once()


@each_of("status", ["400", "403", "404", "410"])
def test_a_session_that_takes_no_more_is_begun_anew(status: str, publisher: Publisher) -> None:
    publisher.kaggle.models.clear()
    publisher.kaggle.faults["put"] = [status]
    publisher.publish()
    publisher.require_published_once()


def test_a_storage_that_takes_a_byte_at_a_time_is_left(publisher: Publisher) -> None:
    grow(publisher)
    publisher.settings = replace(publisher.settings, retries=1)
    publisher.kaggle.script(
        "PUT .*", *[Answer(status=308, headers={"Range": f"bytes=0-{end}"}) for end in range(200)]
    )
    with pytest.raises(NetworkError, match="accepts too few bytes"):
        publisher.publish()
    assert len(publisher.kaggle.request_names("PUT")) < 20


def test_a_record_of_tomorrow_is_not_tried(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher.kaggle.faults["variation"] = ["400"]
    now_s = time.time()
    with monkeypatch.context() as clock:
        clock.setattr(time, "time", lambda: now_s + 30 * 86400)
        with pytest.raises(NetworkError):
            publisher.publish()
    count = len(publisher.kaggle.blobs)
    publisher.publish()
    assert len(publisher.kaggle.blobs) == 2 * count
    publisher.require_published_once()


def test_sessions_of_last_week_are_not_tried(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher.kaggle.faults["variation"] = ["400"]
    with pytest.raises(NetworkError):
        publisher.publish()
    blobs_before = set(publisher.kaggle.blobs)
    monkeypatch.setattr(journal, "_SESSION_S", -1.0)
    publisher.publish()
    assert len(publisher.kaggle.blobs) == 2 * len(blobs_before)
    publisher.require_published_once()


def test_a_source_that_changes_during_the_upload_is_not_published(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(*arguments: Any, **more: Any) -> None:
        raise AssertionError("created a variation of changed files")

    monkeypatch.setattr(kaggle_creation.Creation, "make_variation", create)
    send = resumable_upload.ResumableUpload.send

    def write(self: Any, start: int, data: bytes) -> Any:
        models.write_tree(publisher.model, {"assets/late.txt": b"late"})
        return send(self, start, data)

    monkeypatch.setattr(resumable_upload.ResumableUpload, "send", write)
    with pytest.raises(TruncatedError, match="changed during the upload"):
        publisher.publish()
    assert publisher.versions == []


# Created at most once -----------------------------------------------------------------------------


@each_of("step", ["model", "variation"])
def test_a_lost_answer_to_a_creation_is_no_second_one(step: str, publisher: Publisher) -> None:
    publisher.kaggle.models.clear()
    publisher.kaggle.processing_reads = 2
    publisher.kaggle.faults[step] = ["lose-answer"]
    assert publisher.publish().version == "1"
    publisher.require_published_once()


@each_of("tells_notes", [False, True])
def test_a_lost_answer_to_a_version_is_found_by_its_marker_or_its_files(
    tells_notes: bool, publisher: Publisher
) -> None:
    publisher.kaggle.models.clear()
    publisher.publish()
    publisher.kaggle.tells_notes = tells_notes
    publisher.kaggle.faults["version"] = ["lose-answer"]
    models.write_tree(publisher.model, {"assets/words.txt": os.urandom(8)})
    assert publisher.publish().version == "2"
    assert [len(publisher.versions), publisher.versions[1]] == [2, publisher.files]


@each_of("fault", ["lose-answer", "503", "500"])
def test_an_unknown_outcome_is_never_created_again(fault: str, publisher: Publisher) -> None:
    publisher.kaggle.models.clear()
    publisher.publish()
    models.write_tree(publisher.model, {"assets/words.txt": os.urandom(8)})
    publisher.kaggle.processing_reads = 10_000
    publisher.kaggle.faults["version"] = [fault]
    began = len(publisher.kaggle.request_names("create/version"))
    for _ in range(2):
        with pytest.raises(UnknownOutcomeError, match="no answer to the creation of the version") as caught:
            publisher.publish(wait_s=0.02)
    assert int(caught.value.exit_status) == 13
    assert "Check https://www.kaggle.com/models/" in caught.value.hint
    assert len(publisher.kaggle.request_names("create/version")) == began + 1
    for version in publisher.kaggle.published(NAME):
        version.is_ready = True
    if fault == "lose-answer":  # It was created after all, and is seen at last.
        assert publisher.publish().version == "2"
    publisher.kaggle.processing_reads = 0
    assert publisher.publish(restart=True).version == "2"
    assert [len(publisher.versions), publisher.versions[1]] == [2, publisher.files]


@each_of("step", ["model", "variation", "version"])
def test_a_creation_that_is_refused_is_tried_again_by_the_next_run(step: str, publisher: Publisher) -> None:
    publisher.kaggle.models.clear()
    if step == "version":
        publisher.publish()
        models.write_tree(publisher.model, {"assets/words.txt": os.urandom(8)})
    publisher.kaggle.faults[step] = ["error", "400"]
    for message in ("Quota exceeded", "400"):
        with pytest.raises(NetworkError, match=message):
            publisher.publish()
    sent = len(publisher.kaggle.blobs)
    publisher.publish()
    assert sent == (0 if step == "model" else len(publisher.kaggle.blobs))  # Nothing is sent again.
    assert publisher.versions[-1] == publisher.files


def test_a_creation_that_reached_nobody_is_not_of_unknown_outcome(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **more: Any) -> None:
        raise translate(next(errors), "https://kaggle.example")

    publisher.publish(waits=False)
    models.write_tree(publisher.model, {"assets/words.txt": b"one\n"})
    errors = iter([httpx.ConnectTimeout("x"), httpx.ProxyError("407 x"), httpx.ConnectError("x")])
    with monkeypatch.context() as network:
        network.setattr(kaggle_creation.Creation, "_post", refuse)
        for _ in range(3):
            with pytest.raises(NetworkError):
                publisher.publish()
    assert publisher.publish().version == "2"


@each_of("step", ["variation", "version"])
def test_a_version_of_somebody_else_is_not_taken_for_ones_own(step: str, publisher: Publisher) -> None:
    publisher.kaggle.models.clear()
    if step == "version":
        publisher.publish()
        models.write_tree(publisher.model, {"assets/words.txt": os.urandom(8)})
    publisher.kaggle.faults[step] = ["race"]
    before = len(publisher.versions)
    result = publisher.publish()
    assert result.version == str(before + 2)
    assert publisher.versions[-1] == publisher.files
    assert len(publisher.versions) == before + 2


def test_one_more_training_of_somebody_else_is_not_taken_for_ones_own(publisher: Publisher) -> None:
    models.write_tree(publisher.model, {"assets/words.txt": b"one\n"})
    publisher.publish()
    models.write_tree(publisher.model, {"assets/words.txt": b"two\n"})
    publisher.kaggle.processing_reads = 1000
    publisher.publish(waits=False)
    held = publisher.kaggle.published(NAME)
    mine = held[-1]
    other = dataclasses.replace(
        mine, number=2, files={**mine.files, "assets/words.txt": b"six\n"}, is_ready=True
    )
    mine.number, mine.is_ready = 3, True
    held.insert(1, other)
    assert publisher.publish().version == "3"


def test_an_earlier_upload_of_other_files_is_settled_first(publisher: Publisher) -> None:
    publisher.kaggle.processing_reads = 1000
    publisher.publish(waits=False)
    first = publisher.files
    models.write_tree(publisher.model, {"assets/words.txt": b"one\n"})
    publisher.kaggle.published(NAME)[0].is_ready, publisher.kaggle.processing_reads = True, 0
    assert publisher.publish().version == "2"
    assert publisher.versions == [first, publisher.files]
    assert any("An earlier run published version 1" in note for note in publisher.listener.notes)


def test_a_version_that_comes_back_with_other_bytes_is_an_error(publisher: Publisher) -> None:
    publisher.kaggle.processing_reads = 1000
    publisher.publish(waits=False)
    version = publisher.kaggle.published(NAME)[0]
    version.is_ready = True
    version.files["saved_model.pb"] = version.files["saved_model.pb"] + b" "
    with pytest.raises(IntegrityError, match="differs from what was sent") as caught:
        publisher.publish()
    assert "--restart" in caught.value.hint


def test_consent_that_is_missing_is_told(publisher: Publisher) -> None:
    publisher.kaggle.script("GET .*/download", *[Answer(b"{}", 403)] * 5)
    with pytest.raises(AuthenticationError) as caught:
        publisher.publish()
    assert "Accept the license" in caught.value.hint
    publisher.kaggle.scripted.clear()
    assert publisher.publish().version == "1"
    publisher.require_published_once()


@each_of("body", [b"{}", b"", b"\x1f\x8b\x08\x00cut", b"<html>"])
def test_a_damaged_download_is_no_reason_for_a_second_version(body: bytes, publisher: Publisher) -> None:
    publisher.publish()
    publisher.settings = replace(publisher.settings, retries=0)
    publisher.kaggle.script("GET .*/download", *[Answer(body)] * 4)
    with pytest.raises(HubcliError) as caught:
        publisher.publish()
    assert caught.value.exit_status in (5, 6)
    publisher.kaggle.scripted.clear()
    assert publisher.publish().version == "1"
    publisher.require_published_once()


@each_of("answer", [Answer(b"{}"), Answer(b'{"files": []}'), Answer(b"{}", 404), Answer(b"{}", 403)])
def test_a_version_whose_files_are_not_listed_is_no_reason_for_a_second_one(
    answer: Answer, publisher: Publisher
) -> None:
    publisher.publish()
    publisher.kaggle.script("GET .*/files", answer)
    with pytest.raises(NetworkError, match="lists no files of version 1") as caught:
        publisher.publish()
    assert f"{NAME}/2" in caught.value.hint
    publisher.require_published_once()


def test_a_corrupt_version_of_the_same_sizes_does_not_keep_the_next_from_being_published(
    publisher: Publisher,
) -> None:
    publisher.publish()
    files = publisher.kaggle.published(NAME)[0].files
    files["saved_model.pb"] = bytes(len(files["saved_model.pb"]))
    assert publisher.publish().version == "2"
    assert publisher.versions[1] == publisher.files
