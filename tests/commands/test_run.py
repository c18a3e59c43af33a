"""`hubcli.run` from Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import hubcli
from hubcli.commands.fetch import FetchOptions
from hubcli.commands.run import ModelRun, RunOptions, open_run
from hubcli.config.settings import Settings
from hubcli.errors import InputError, UsageError
from hubcli.progress import ProgressListener
from hubcli.running.endpoints import Port
from hubcli.running.model import RunnableModel
from tests.installed import Late, require_installed
from tests.running.ports import port, signature
from tests.savedmodel.conftest import Zoo, zoo

__all__ = ["zoo"]

require_installed("tensorflow")
pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("forked_runners")]

if TYPE_CHECKING:
    import numpy as np
else:
    np = Late("numpy")
MUL = "example://mul/1"


def test_a_list_goes_in_and_an_array_comes_out(settings: Settings) -> None:
    result = hubcli.run(MUL, [[1.5], [2]], settings)
    assert result["output_0"].tolist() == [[3.0], [4.0]]
    assert result["output_0"].dtype == np.float32
    assert (result.endpoint, result.runner) == ("signature serving_default", "c")
    assert result.load_seconds > 0
    assert result.run_seconds > 0


@pytest.mark.slow
def test_arrays_and_tensors_go_in(settings: Settings) -> None:
    import tensorflow as tf

    for values in (np.array([[3.0]], np.float32), np.array([[3.0]]), tf.constant([[3.0]]), [np.float32(3)]):
        assert hubcli.run(MUL, {"x": values}, settings)["output_0"].tolist() == [[6.0]]


def test_an_array_that_would_lose_digits_is_refused(settings: Settings) -> None:
    with pytest.raises(InputError, match="would lose digits"):
        hubcli.run(MUL, np.array([[(1 << 24) + 1]]), settings)


def test_texts_are_bytes(settings: Settings, zoo: Zoo) -> None:
    result = hubcli.run(str(zoo("static_vocabulary")), ["a", b"\xff"], settings)
    assert next(iter(result.outputs.values())).shape == (2,)


def test_a_function_is_chosen_with_its_arguments(settings: Settings, zoo: Zoo) -> None:
    model = str(zoo("keyword_arguments"))
    result = hubcli.run(model, {"x": 3.0, "y": 1.0}, settings, function="only", arguments={"scale": 0.5})
    assert result["output_0"].tolist() == 2.0
    assert result.endpoint == "function only(scale=0.5)"


def test_types_that_numpy_has_not_come_as_those_of_ml_dtypes(settings: Settings, tmp_path: Path) -> None:
    import tensorflow as tf

    root = tf.Module()
    spec = tf.TensorSpec([None], tf.bfloat16, name="x")
    root.f = tf.function(lambda x: {"y": x + x}, input_signature=[spec])
    tf.saved_model.save(root, str(tmp_path / "model"), signatures=root.f)
    result = hubcli.run(str(tmp_path / "model"), [1.5], settings)
    assert result["y"].astype("float32").tolist() == [3.0]


def test_options_that_contradict_each_other_are_refused(settings: Settings) -> None:
    with pytest.raises(UsageError, match="cannot be used together"):
        hubcli.run(MUL, [[1]], settings, signature="serving_default", function="__call__")


def test_a_value_alone_is_for_the_only_input_even_of_several_parts() -> None:
    def opened(*inputs: Port) -> ModelRun:
        model = RunnableModel("m", Path(), ("serve",), None, (signature(*inputs),), {}, (), (), (), ())
        return ModelRun(model, None, RunOptions(dry_run=True), ProgressListener())

    ragged = opened(port("r", "int64", (None,)), port("r_1", "int64", (None,)))
    ragged.give_values([[1, 2], [3]])
    assert ragged.shapes == {"r": (3,), "r_1": (3,)}
    with pytest.raises(InputError, match="has several inputs") as caught:
        opened(port("a"), port("b")).give_values([1])
    assert caught.value.hint == "Pass a mapping with a value for each of a, b."


def test_a_dry_run_starts_no_process(settings: Settings) -> None:
    with open_run(MUL, settings, RunOptions(dry_run=True)) as opened:
        opened.give_values([[1.0]])
        assert opened.shapes == {"x": (1, 1)}
        with pytest.raises(AssertionError):
            _ = opened.session


def test_offline_a_handle_without_a_version_runs_the_newest_that_is_cached(
    settings: Settings, zoo: Zoo
) -> None:
    name = "https://www.kaggle.com/models/owner/model/tensorFlow2/variation"
    hubcli.fetch(f"{name}/3", settings, FetchOptions(local=str(zoo("static_vocabulary"))))
    offline = replace(settings, offline=True)
    with open_run(name, offline, RunOptions(dry_run=True)) as opened:
        assert opened.model.path.parent == settings.cache_root
