"""Where each spelling of a handle is found in the cache: what 0.1.0 wrote must be found for ever.

`handles.jsonl` was written by the code of 0.1.0's time. A line may be added, never changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import HandleError
from hubcli.providers.handle import Handle

CONTRACT = [
    json.loads(line) for line in Path(__file__).with_name("handles.jsonl").read_text("utf-8").splitlines()
]


def test_a_spelling_has_the_cache_key_aliases_and_addresses_that_it_always_had() -> None:
    wrong = [
        (spelling["text"], expected, found)
        for spelling in CONTRACT
        if (expected := {name: value for name, value in spelling.items() if name != "text"})
        != (found := meaning(spelling["text"]))
    ]
    assert wrong == []


def test_the_contract_has_every_kind_of_host() -> None:
    starts = ("https://tfhub.dev/", "https://hub.tensorflow.google.cn/", "https://www.kaggle.com/", "gs://")
    for start in (*starts, "https://models.corp/", "example://", "file:///", "/"):
        understood = [case for case in CONTRACT if case["text"].startswith(start) and "refused" not in case]
        assert understood, start
    assert len(CONTRACT) >= 60


def meaning(text: str) -> dict[str, Any]:
    try:
        handle = Handle.parse(text)
    except HandleError:
        return {"refused": True}
    return {
        "canonical": handle.canonical,
        "version": handle.version,
        "cache_key": handle.cache_key,
        "alias_keys": list(handle.alias_keys),
        "archive": handle.archive_url,
        "directory": handle.directory_url,
        "immutable": handle.is_immutable,
    }


@pytest.mark.parametrize("folder", ["", "sub"])
def test_the_working_directory_does_not_change_what_an_address_means(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / folder)
    for spelling in CONTRACT:
        if "://" in spelling["text"] and "refused" not in spelling:
            assert meaning(spelling["text"])["cache_key"] == spelling["cache_key"]
