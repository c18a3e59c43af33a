"""Errors of `hubcli.load` and `hubcli.KerasLayer` beside tensorflow_hub's: classes and texts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

import hubcli
from tests import models
from tests.installed import Late, require_installed
from tests.server import HubServer, Reply

require_installed("tensorflow", "tensorflow_hub")
tensorflow_hub, layer_models = Late("tensorflow_hub"), Late("tests.interop.layer_models")
pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
CAUGHT = (OSError, URLError, ValueError, RuntimeError)
SIGNED, TF1 = "signature, one output", "TF1 Hub format"


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "theirs"))
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(tmp_path / "ours"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    folder = tmp_path_factory.mktemp("models")

    def path_of(name: str) -> str:
        path = folder / name.replace(" ", "-").replace(",", "")
        if not path.exists():
            layer_models.CASES[name].save(path)
        return str(path)

    return path_of


def raised_by(call: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which one is what is compared
        call()
    return raised.value


def damaged(model: dict[str, bytes]) -> dict[str, bytes]:
    return {**model, "saved_model.pb": b"\xff\xff nothing that could be parsed"}


class TestLoading:
    @pytest.mark.parametrize(
        "reply",
        [
            Reply(status=404),
            Reply(status=403),
            Reply(status=418),
            Reply(b"no archive"),
            Reply(models.archive()[:300]),
            Reply(models.pack({"readme.txt": b"no model"})),
            Reply(models.pack({"../out.txt": b"", **models.example_files()})),
            Reply(models.pack(damaged(models.example_files()))),
        ],
        ids=["404", "403", "418", "no archive", "cut", "no model", "leads out", "damaged"],
    )
    def test_what_catches_theirs_catches_ours(self, reply: Reply, server: HubServer) -> None:
        handle = server.serve("/maker/model/1", reply)
        judge = raised_by(lambda: tensorflow_hub.load(handle))
        ours = raised_by(lambda: hubcli.load(handle))
        expected = [error for error in CAUGHT if isinstance(judge, error)] or [OSError]  # Theirs: EOFError.
        assert [error for error in expected if not isinstance(ours, error)] == []
        assert handle in str(ours)

    def test_wrong_tags_are_a_value_error(self, tmp_path: Path) -> None:
        model = models.write_tree(tmp_path / "model", models.example_files())
        judge = raised_by(lambda: tensorflow_hub.load(str(model), tags=["train"]))
        ours = raised_by(lambda: hubcli.load(str(model), tags=["train"]))
        assert type(judge) is ValueError
        assert isinstance(ours, ValueError)
        assert str(model) in str(ours)
        assert isinstance(raised_by(lambda: hubcli.KerasLayer(str(model), tags=["train"])), ValueError)

    def test_a_gutted_checkpoint_is_what_tensorflow_raises(self, tmp_path: Path) -> None:
        model = models.write_tree(tmp_path / "model", models.example_files())
        (model / "variables" / "variables.index").unlink()
        judge = raised_by(lambda: tensorflow_hub.load(str(model)))
        assert isinstance(raised_by(lambda: hubcli.load(str(model))), type(judge))


class TestArguments:
    """The patterns of tensorflow_hub's own tests of its KerasLayer are among these texts."""

    @pytest.mark.parametrize(
        ("model", "options"),
        [
            (SIGNED, {"signature": "serving_default"}),
            (
                SIGNED,
                {"signature": "serving_default", "output_key": "first", "signature_outputs_as_dict": True},
            ),
            (TF1, {"signature": "default", "output_key": "outputs", "signature_outputs_as_dict": True}),
            (SIGNED, {"signature_outputs_as_dict": True}),
        ],
    )
    def test_when_the_layer_is_made(
        self, model: str, options: dict[str, Any], saved: Callable[[str], str]
    ) -> None:
        judge = raised_by(lambda: tensorflow_hub.KerasLayer(saved(model), **options))
        ours = raised_by(lambda: hubcli.KerasLayer(saved(model), **options))
        assert isinstance(ours, type(judge))
        assert type(judge) is ValueError
        assert str(ours) == f"{judge} (handle {saved(model)})"

    @pytest.mark.parametrize(
        ("model", "options", "rows"),
        [
            ("multiplier", {"output_key": "output_0"}, [[1.0]]),
            (TF1, {"output_key": "unknown"}, [[1.0]]),
            (TF1, {"trainable": True, "output_key": "outputs"}, [[1.0]]),
            (SIGNED, {"trainable": True, "signature": "serving_default", "output_key": "first"}, None),
        ],
    )
    def test_when_it_is_called(
        self, model: str, options: dict[str, Any], rows: Any, saved: Callable[[str], str], tmp_path: Path
    ) -> None:
        import tensorflow as tf

        handle = multiplier(tmp_path) if model == "multiplier" else saved(model)
        given = {"x": tf.ones([1, 4]), "ids": tf.constant([1])} if rows is None else tf.constant(rows)
        judge = raised_by(lambda: tensorflow_hub.KerasLayer(handle, **options)(given))
        ours = raised_by(lambda: hubcli.KerasLayer(handle, **options)(given))
        assert type(judge) is ValueError
        assert isinstance(ours, ValueError)
        # What theirs says behind "available:" is the text of a Python object.
        head = str(judge).partition(" (available")[0].partition("Call arguments")[0].strip()
        head = head.partition("\n\n")[2] if head.startswith("Exception encountered") else head
        assert head in str(ours)
        assert handle in str(ours)

    def test_what_is_no_text(self) -> None:
        given: list[dict[str, Any]] = [{"tags": ["serve"]}, {"load_options": object()}]
        for options in given:
            judge = raised_by(partial(tensorflow_hub.KerasLayer, abs, **options))
            ours = raised_by(partial(hubcli.KerasLayer, abs, **options))
            assert (type(judge), str(judge)) == (ValueError, str(ours))
            assert isinstance(ours, ValueError)

    def test_nothing_to_train_is_logged_once_in_its_words(self, caplog: pytest.LogCaptureFixture) -> None:
        layer = hubcli.KerasLayer(lambda x: x, trainable=True)
        with caplog.at_level(logging.ERROR):
            layer([[10.0]])
            layer([[10.0]])
        (record,) = caplog.records
        assert record.msg == "hub.KerasLayer is trainable but has zero trainable weights."


def multiplier(folder: Path) -> str:
    """A model that can be called, and gives a tensor."""
    return str(models.write_tree(folder / "multiplier", models.example_files()))
