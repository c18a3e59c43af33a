"""Kaggle's answers as values: what is hostile in them ends here."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from hubcli.config.settings import Settings
from hubcli.errors import AuthenticationError, HubcliError, NotFoundError, OfflineError
from hubcli.exporting.hub_index import IndexEntry, index_bytes, parse_index
from hubcli.net.json_api import parse_json
from hubcli.providers.kaggle import KaggleModel
from hubcli.publishing import kaggle_api
from hubcli.publishing.kaggle_api import KaggleListing, clean_text, framework_of, open_kaggle
from tests.cases import each_of
from tests.fake_kaggle import FakeKaggle, json_answer
from tests.kaggle import TOKEN

NAME = "google/nnlm/tensorFlow2/en-dim128"
MODEL = KaggleModel("google", "nnlm", "tensorFlow2", "en-dim128")


def listed(kaggle: FakeKaggle, settings: Settings, *models: Any) -> list[KaggleListing]:
    kaggle.script("/list", json_answer({"models": list(models)}))
    with open_kaggle(kaggle.settings(settings)) as api:
        return list(api.models("x"))


def test_a_model_its_variations_versions_and_files_are_read(kaggle: FakeKaggle, settings: Settings) -> None:
    instance = kaggle.add(NAME, {"saved_model.pb": b"x" * 10}, {"saved_model.pb": b"y", "assets/v": b"zz"})
    instance.usage, instance.fine_tunable, instance.training_data = "Call it.\nTwice.", True, ["Wikipedia"]
    with open_kaggle(kaggle.settings(settings)) as api:
        assert api.versions(MODEL) == [2, 1]
        files = api.files(MODEL.at_version("2"))
        assert [(file.name, file.size_bytes) for file in files] == [("assets/v", 2), ("saved_model.pb", 1)]
        variation = api.variation(MODEL)
        assert (variation.version, variation.size_bytes, variation.license_name) == (2, 3, "Apache 2.0")
        assert (variation.usage, variation.is_fine_tunable) == ("Call it.\nTwice.", True)
        assert api.model("google", "nnlm").variations[0] == variation


def test_lists_come_page_by_page_and_only_as_far_as_they_are_wanted(
    kaggle: FakeKaggle, settings: Settings
) -> None:
    kaggle.add(NAME, *[{"a": b"1"}] * 250)
    for number in range(45):
        kaggle.add(f"me/model{number}/tensorFlow2/base", {"a": b"1"})
    with open_kaggle(kaggle.settings(settings)) as api:
        assert api.versions(MODEL) == list(range(250, 0, -1))
        assert len(kaggle.asked("/en-dim128/list")) == 3
        found = api.models(owner="me", page_size=20)
        assert [next(found).slug for _ in range(20)][-1] == "model19"
        assert len(kaggle.asked("/models/list")) == 1
        assert len(list(found)) == 25


@each_of(
    "told",
    [
        {"slug": "../x", "ref": "a/b/c"},
        {"slug": "a b", "ref": None},
        {"slug": "x\x1b[31m", "ref": ""},
        {"slug": 7, "ref": 8},
        {"slug": "x" * 201, "ref": "x" * 500},
        {"slug": "", "ref": "a/"},
    ],
)
def test_a_name_that_can_not_be_part_of_a_handle_drops_the_model(
    told: dict[str, Any], settings: Settings
) -> None:
    with FakeKaggle().running() as kaggle:
        good = {"ref": "me/good", "slug": "good"}
        assert [model.slug for model in listed(kaggle, settings, told, None, [], good)] == ["good"]


def test_numbers_texts_and_times_out_of_range_are_not_told(kaggle: FakeKaggle, settings: Settings) -> None:
    instances = [
        {"slug": "a", "framework": "TensorFlow2", "versionNumber": -1, "totalUncompressedBytes": 1 << 70},
        {"slug": "b", "framework": "tensorFlow2", "versionNumber": True, "totalUncompressedBytes": "12"},
        {"slug": "c", "framework": {}, "versionNumber": 1},
        {"slug": "d/e", "framework": "tensorFlow2"},
        "tensorFlow2",
    ]
    model = {
        "ref": "me/x",
        "title": ["a"],
        "subtitle": "one\x1b]0;title\x07two\u202ethree",
        "description": "a\r\nb\tc\x00",
        "voteCount": "3",
        "updateTime": "9999-99-99T00:00:00Z",
        "publishTime": "1900-01-01T00:00:00Z",
        "instances": instances,
    }
    (found,) = listed(kaggle, settings, model)
    assert (found.title, found.subtitle, found.description) == ("x", "one]0;titletwothree", "a\nb c")
    assert (found.votes, found.updated_s, found.published_s) == (3, None, 0.0)
    assert [(item.slug, item.version, item.size_bytes) for item in found.variations] == [
        ("a", None, None),
        ("b", None, 12),
    ]


def test_a_private_model_and_one_that_is_not_there_answer_alike_and_the_hint_says_both(
    kaggle: FakeKaggle, settings: Settings
) -> None:
    kaggle.add(NAME, {"a": b"1"}, model={"is_private": True})
    kaggle.tokens[TOKEN] = "google"
    for account in ({}, {"token": "KGAT_of-nobody"}):
        with open_kaggle(kaggle.settings(settings, **account)) as api:
            with pytest.raises(AuthenticationError) as caught:
                api.model("google", "nnlm")
            if not account:
                assert "does not exist, is private, or requires consent" in caught.value.hint
                assert "https://www.kaggle.com/models/google/nnlm" in caught.value.hint
    with open_kaggle(kaggle.settings(settings, token=TOKEN)) as api:
        assert api.model("google", "nnlm").is_private
        with pytest.raises(NotFoundError):
            api.variation(replace(MODEL, variation="other"))


def test_offline_nothing_is_asked(kaggle: FakeKaggle, settings: Settings) -> None:
    offline = replace(kaggle.settings(settings), offline=True)
    with pytest.raises(OfflineError), open_kaggle(offline):
        pass
    assert kaggle.requests == []


@each_of(
    "text, expected",
    [
        ("MODEL_FRAMEWORK_TENSOR_FLOW_2", "tensorFlow2"),
        ("tensorFlow1", "tensorFlow1"),
        ("TENSOR_FLOW_1", "tensorFlow1"),
        ("Keras", "keras"),
        (None, ""),
        (2, ""),
    ],
)
def test_frameworks_have_one_spelling(text: object, expected: str) -> None:
    assert framework_of(text) == expected


def test_text_is_cut_before_it_is_cleaned() -> None:
    assert clean_text("\x00" * 10**6 + "a", 10) == ""
    assert clean_text("a" * 1000) == "a" * 300
    assert clean_text("\n\na\n\n b\n", lines=True) == "a\n\n b"


def test_a_damaged_answer_ends_in_values_or_in_an_error_of_ours() -> None:
    model = {
        "ref": "google/nnlm", "title": "NNLM", "voteCount": 12, "updateTime": "2024-05-06T07:08:09.123Z",
        "instances": [{"slug": "base", "framework": "tensorFlow2", "versionNumber": 3,
                       "totalUncompressedBytes": 480, "trainingData": ["a"], "fineTunable": True}],
    }  # fmt: skip
    index = index_bytes([IndexEntry("maker/model", "1", 5, 6, "0" * 64, 1.5, "TF2", "A", "MIT")])
    generator = random.Random(7)
    for content in (json.dumps(model).encode(), index):
        damaged = [content[:end] for end in range(len(content))]
        for _ in range(1500):
            changed = bytearray(content)
            for _ in range(generator.randint(1, 3)):
                changed[generator.randrange(len(changed))] = generator.randrange(256)
            damaged.append(bytes(changed))
        for piece in damaged:
            with suppress(HubcliError):
                document = parse_json(piece, "it")
                if isinstance(document, dict):
                    found = kaggle_api._listing(document)
                    assert found is None or found.owner.isprintable()
            with suppress(HubcliError):
                for entry in parse_index(piece, "it"):
                    assert entry.path.isascii()
