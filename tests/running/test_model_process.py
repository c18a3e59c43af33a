"""Two models in one process, called by signature, and the inputs that are made up for it."""

from __future__ import annotations

import struct

import pytest

from hubcli.errors import InputError, TensorFlowError
from hubcli.running import model_process
from hubcli.running.model_process import ModelProcess, sampled_inputs
from hubcli.tf.run_protocol import STRING, Tensor
from tests.corpus import corpus_model
from tests.running.ports import port, signature


@pytest.mark.tensorflow
def test_two_models_are_called_in_one_process() -> None:
    with ModelProcess("c", 60) as process:
        two = process.load(corpus_model("serving_half_plus_two"))
        three = process.load(corpus_model("serving_half_plus_three"))
        x = {"x": [Tensor(1, (2, 1), struct.pack("<2f", 2, 4))]}
        for _ in range(2):
            found = [model.call("serving_default", x)["y"][0] for model in (two, three)]
            assert [struct.unpack("<2f", tensor.data) for tensor in found] == [(3, 4), (4, 5)]
        with pytest.raises(InputError, match="requires a value for x"):
            two.call("serving_default", {})
        two.close()
        assert three.call("serving_default", x)["y"][0].shape == (2, 1)


def test_made_up_inputs_fit_each_kind_of_port() -> None:
    ragged = port("r", shape=(None, None))._replace(kind="ragged", part_types=(1, 9))
    sparse = port("s", shape=(None, 4))._replace(kind="sparse", part_types=(9, 1, 9))
    endpoint = signature(
        port("x", "float16"), port("t", "string", (None,)), port("n", "int8", ()), ragged, sparse
    )
    found = sampled_inputs(endpoint, ["word"])
    again = sampled_inputs(endpoint, ["word"])
    assert [part.data for own in found.values() for part in own] == [
        part.data for own in again.values() for part in own
    ]
    shapes = {name: [tensor.shape for tensor in parts] for name, parts in found.items()}
    assert shapes == {"x": [(2, 2)], "t": [(2,)], "n": [()], "r": [(2,), (3,)], "s": [(1, 2), (1,), (2,)]}
    assert found["t"][0].data[0] == b"word"
    assert found["t"][0].dtype == STRING


def test_nothing_is_made_up_for_a_type_without_values() -> None:
    with pytest.raises(InputError, match="No value can be generated for q"):
        sampled_inputs(signature(port("q", "variant", ())))


def test_without_tensorflow_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubcli.tf.run_process.package_folder", lambda module: None)
    for runner in ("c", "python"):
        with pytest.raises(TensorFlowError) as caught:
            ModelProcess(runner)
        assert "pip install" in caught.value.hint


def test_a_runner_that_is_not_installed_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_process, "find_library", lambda: None)
    monkeypatch.setattr(model_process, "has_package", lambda name: False)
    for runner, message in (("c", "library is not installed"), ("python", "tensorflow is not installed")):
        with pytest.raises(TensorFlowError, match=message):
            ModelProcess(runner)


def test_the_library_is_for_the_runner_that_needs_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_process, "find_library", lambda: "libtensorflow.so")
    monkeypatch.setattr(model_process, "has_package", lambda name: True)
    started: list[tuple[object, ...]] = []
    monkeypatch.setattr(model_process, "RunProcess", lambda *arguments: started.append(arguments))
    ModelProcess("c", 5)
    ModelProcess("python", 6)
    assert started == [("c", "libtensorflow.so", 5), ("python", None, 6)]
