"""Lock files as values: several processes that write one, and files made to deceive or to flood."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import UsageError
from hubcli.fetching.lock_file import LockedModel, LockFile
from hubcli.fetching.options import ExpectedDigests
from tests.cases import each_of


def model(number: int, digit: str = "a") -> LockedModel:
    digests = ExpectedDigests(digit * 64, digit * 64)
    return LockedModel(f"https://tfhub.dev/maker/model/{number}", None, digests, 10, 20, 3)


def entry(**more: Any) -> dict[str, Any]:
    return {**model(1).to_document(), **more}


def test_processes_that_write_one_file_at_the_same_time_lose_no_entry(tmp_path: Path) -> None:
    path, start = tmp_path / "models.lock", threading.Barrier(8)

    def add(numbers: range) -> None:
        start.wait()
        for number in numbers:
            LockFile.update(path, [model(number)])

    threads = [threading.Thread(target=add, args=(range(first, 48, 8),)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(LockFile.read(path).models) == {model(number).handle for number in range(48)}
    assert [file.name for file in tmp_path.iterdir()] == ["models.lock"]


def test_an_update_tells_which_models_had_other_bytes(tmp_path: Path) -> None:
    path = tmp_path / "models.lock"
    assert LockFile.update(path, [model(1), model(2)]) == []
    assert LockFile.update(path, [model(1, "b"), model(2), model(3)]) == [model(1, "b")]
    assert LockFile.read(path).models[model(1).handle] == model(1, "b")


def test_without_its_directory_the_error_has_no_other_behind_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a directory") as caught:
        LockFile.update(tmp_path / "missing" / "models.lock", [model(1)])
    assert caught.value.__context__ is None


@each_of("place", ["top", "model", "archive"])
def test_a_key_that_comes_twice_is_refused(place: str) -> None:
    text = json.dumps({"hubcli_lock": 1, "models": [entry()]})
    doubled = {
        "top": text.replace('"models"', '"models": [], "models"'),
        "model": text.replace('"handle"', '"handle": "https://tfhub.dev/google/text/1", "handle"'),
        "archive": text.replace('"sha256"', f'"sha256": "{"b" * 64}", "sha256"', 1),
    }[place]
    with pytest.raises(UsageError, match="is not a lock file: an object has a key twice"):
        LockFile.parse(doubled, "models.lock")


@each_of("models", ["x" * 100_000, [entry(handle="x" * 100_000)], [entry(resolved=[7] * 100_000)]])
def test_a_message_quotes_no_value_of_the_length_of_the_file(models: object) -> None:
    with pytest.raises(UsageError, match="is not a lock file") as caught:
        LockFile.parse(json.dumps({"hubcli_lock": 1, "models": models}), "models.lock")
    assert len(caught.value.message) < 400
