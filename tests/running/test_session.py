"""Which runner takes a model, and how batches go to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hubcli.errors import InputError, TensorFlowError
from hubcli.running.batching import Batch
from hubcli.running.model import Selection, read_runnable
from hubcli.running.session import Session, _Groups
from hubcli.tf.run_process import RunnerError
from hubcli.tf.run_protocol import STRING, Tensor
from tests.corpus import corpus_model

MODEL = "serving_half_plus_two"


@pytest.mark.parametrize("runner", ["auto", "python"])
def test_without_tensorflow_the_package_to_install_is_named(
    monkeypatch: pytest.MonkeyPatch, runner: str
) -> None:
    monkeypatch.setattr("hubcli.tf.run_process.package_folder", lambda module: None)
    model = read_runnable(MODEL, corpus_model(MODEL), Selection())
    with (
        Session(runner, 5) as session,
        pytest.raises(TensorFlowError, match="tensorflow is not installed") as caught,
    ):
        session.open(model, model.endpoints[0])
    assert "pip install" in caught.value.hint


def test_without_the_library_the_c_runner_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubcli.tf.run_process.package_folder", lambda module: None)
    with pytest.raises(TensorFlowError, match="library is not installed"):
        Session("c", 5)


def batches(*sizes: int, failing: bool = False) -> Iterator[Batch]:
    for size in sizes:
        yield Batch([Tensor(1, (size,), bytes(4 * size))], size)
    if failing:
        raise InputError("row 9")


def test_small_batches_go_together_up_to_a_size() -> None:
    groups = _Groups(batches(*[8] * 100), lambda: True)
    first = groups.following()
    assert 1 <= len(first) <= 32
    large = _Groups(batches(*[1 << 20] * 3), lambda: True)
    assert [len(large.following()) for _ in range(4)] == [1, 1, 1, 0]


def test_a_batch_is_not_kept_waiting_for_one_that_is_not_there() -> None:
    groups = _Groups(batches(8, 8, 8), lambda: False)
    assert [len(groups.following()) for _ in range(4)] == [1, 1, 1, 0]


def test_a_failure_comes_behind_the_batches_before_it() -> None:
    groups = _Groups(batches(8, 8, failing=True), lambda: True)
    found = groups.following() + groups.following()
    assert len(found) == 2
    assert isinstance(groups.failure, InputError)


class Decoder:
    """Takes what is to be decoded, and fails."""

    def __init__(self) -> None:
        self.asked: list[Tensor] = []

    def ask(self, kind: str, tensors: list[Tensor], *, doing: str) -> None:
        self.asked += tensors
        raise RunnerError(f"not a {kind}")

    def close(self) -> None:
        pass


def test_a_file_is_decoded_as_one_text_and_a_failure_is_one_of_the_input() -> None:
    session, decoder = Session("auto", 5), Decoder()
    session._process = decoder  # type: ignore[assignment]
    with session, pytest.raises(InputError) as caught:
        session.decode("wav", b"RIFF", "decoding a.wav")
    assert [(own.dtype, own.shape, own.data) for own in decoder.asked] == [(STRING, (), [b"RIFF"])]
    assert caught.value.message == "TensorFlow failed decoding a.wav: not a wav"
    assert "ffmpeg" in caught.value.hint
