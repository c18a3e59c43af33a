"""References to models: a directory that is known by its spelling alone is the one that its handle names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hubcli.commands.fetch import fetch
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError
from hubcli.fetching.model_ref import ModelRef
from tests.cases import each_of

# Below the directory of the test, with `deep/link` that leads to `other/inner`.
_DIRECTORIES = [
    *(".", "./model", "model", "model/", "./model//", "model/.", "model/../model", "deep/../model"),
    *(
        "deep/link",
        "deep/link/",
        "deep/link/../../model",
        " spaced ",
        "über",
        "{here}/model",
        "/{here}/model",
    ),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("model", "deep", "other/inner", " spaced ", "über", "~", "~nobody-of-that-name", " "):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"text")
    (tmp_path / "deep" / "link").symlink_to("../other/inner")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "other"))
    return tmp_path


def test_each_spelling_of_a_directory_names_what_its_handle_names(here: Path) -> None:
    settings = Settings.read()
    for text in (spelling.format(here=here) for spelling in _DIRECTORIES):
        found, resolved = ModelRef.of_directory(text, settings), ModelRef.resolve(text, settings)
        assert found == resolved._replace(handle=None), text
        assert found is not None
        assert found.local_directory == resolved.local_directory == found.directory


@each_of("text", ["model", "./{key}", "{cache}/{key}"])
def test_a_directory_in_the_cache_is_the_model_that_is_cached(text: str, here: Path, cache: Path) -> None:
    settings = Settings.read(cache_dir=cache)
    key = fetch("example://mul/1", settings).path.name
    os.chdir(cache if text.startswith("./") else here)
    name = text.format(cache=cache, key=key)
    found = ModelRef.of_directory(name, settings)
    assert found is not None
    assert found.entry == ModelRef.resolve(name, settings).entry
    assert (found.entry is None) == (text == "model")


# What is a directory in one reading alone, or in none: providers know what it means, or the error.
@each_of(
    "text",
    [
        *(
            "",
            " ",
            "~",
            "~/inner",
            "./~",
            "./~nobody-of-that-name",
            "file",
            "model/saved_model.pb",
            "nothing",
        ),
        *("file:{here}/model", "file://{here}/model", "example://mul/1", "https://tfhub.dev/a/b/1", "a/b"),
        *("nothing/../model", "./nothing/../model", "deep/link/../link", "deep/link/../inner", "a\0b"),
        "x" * 300,
    ],
)
def test_other_texts_are_left_to_the_providers(text: str, here: Path) -> None:
    assert ModelRef.of_directory(text.format(here=here), Settings.read()) is None


def test_a_working_directory_that_is_gone_is_an_error_of_ours(here: Path) -> None:
    settings = Settings.read()
    removed = here / "removed"
    removed.mkdir()
    os.chdir(removed)
    removed.rmdir()
    try:
        assert ModelRef.of_directory(".", settings) is None
        with pytest.raises(HubcliError):
            ModelRef.resolve(".", settings)
    finally:
        os.chdir(here)
