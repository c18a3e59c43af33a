"""What converted models are compared on, and when a comparison refuses."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import ConversionError, InputError, TensorFlowError
from hubcli.exporting.converted_outputs import Comparer, read_batches
from hubcli.formats.tensor_layout import DType
from hubcli.running.batching import Batch
from hubcli.running.endpoints import Endpoint, Port
from hubcli.running.session import OutputBatch
from hubcli.tf.run_process import RunnerError
from hubcli.tf.run_protocol import Tensor
from tests.installed import require_installed

require_installed("numpy")
FLOAT = DType.of(1)


def endpoint(*shape: int | None) -> Endpoint:
    return Endpoint("signature", "serving_default", (Port("x", FLOAT, shape),), (Port("y", FLOAT, shape),))


class FakeModel:
    """A model that gives its inputs back, as a session and as what was converted."""

    name, path = "the model", Path("nowhere")

    def __init__(self, *, refused: int = 0, changing: bool = False) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self._refused = refused
        self._changing = changing

    def open(self, model: Any, endpoint: Endpoint) -> None: ...

    def prepare(self, endpoint: Endpoint) -> None: ...

    def decode(self, *given: Any) -> Any:
        raise AssertionError("nothing is to be decoded")

    def run(self, first: Any, batches: Sequence[Batch] = ()) -> Any:
        if not batches:  # As what was converted.
            return list(first)
        return self._outputs(batches)

    def _outputs(self, batches: Sequence[Batch]) -> Iterator[OutputBatch]:
        for batch in batches:
            (tensor,) = batch.tensors
            self.shapes.append(tensor.shape)
            if len(self.shapes) <= self._refused:
                raise RunnerError(f"shape {tensor.shape} doesn't fit")
            data = tensor.data
            if self._changing:
                data = bytes(4 * (tensor.size - 1)) + bytes([0, 0, len(self.shapes), 0x40])
            yield OutputBatch(((Tensor(1, tensor.shape, data),),), None, False, ())


def compared(model: FakeModel, given: Sequence[Batch] = ()) -> Any:
    comparer = Comparer(model, model, 1e-4)  # type: ignore[arg-type]
    return comparer.compare(endpoint(None, None), model, given)


def test_sampled_inputs_are_of_the_first_size_that_the_model_takes() -> None:
    model = FakeModel(refused=2)
    found = compared(model)
    assert model.shapes[:3] == [(2, 3), (2, 1), (2, 32)]
    assert (found.inputs, found.runs, found.largest.name, found.largest.error) == ("sampled", 1, "y", 0.0)


def test_a_model_that_takes_no_sampled_input_needs_given_ones() -> None:
    with pytest.raises(
        ConversionError, match=r"cannot be compared on sampled inputs: shape \(2, 3\)"
    ) as caught:
        compared(FakeModel(refused=9))
    assert "--inputs FILE" in caught.value.hint
    assert "--no-compare" in caught.value.hint


def test_a_model_whose_outputs_change_is_not_compared() -> None:
    with pytest.raises(ConversionError, match="its outputs change each time"):
        compared(FakeModel(changing=True))


def test_a_model_that_never_ends_on_a_sampled_input_is_not_tried_on_another() -> None:
    class Endless(FakeModel):
        def _outputs(self, batches: Sequence[Batch]) -> Iterator[OutputBatch]:
            self.shapes.append(batches[0].tensors[0].shape)
            raise TensorFlowError("Timed out after 120 s", hint="Allow more time: --timeout TIME")
            yield

    model = Endless()
    with pytest.raises(TensorFlowError, match="Timed out after 120 s") as caught:
        compared(model)
    assert len(model.shapes) == 1
    assert all(f"--{name}" in caught.value.hint for name in ("inputs", "timeout", "no-compare"))


def test_given_inputs_that_the_model_refuses_are_an_error_that_names_it() -> None:
    with pytest.raises(ConversionError, match="the model: the signature serving_default fails on the given"):
        compared(FakeModel(refused=1), [Batch([Tensor(1, (1, 1), bytes(4))], 1)])


def test_outputs_that_are_empty_or_nan_prove_nothing() -> None:
    nan = Batch([Tensor(1, (1, 1), array("f", [float("nan")]).tobytes())], 1)
    empty = Batch([Tensor(1, (0, 1), b"")], 0)
    with pytest.raises(ConversionError, match="only empty or NaN outputs on the given inputs"):
        compared(FakeModel(), [nan, empty])
    assert compared(FakeModel(), [nan, Batch([Tensor(1, (1, 1), bytes(4))], 1)]).runs == 2


def test_given_inputs_are_used_alone() -> None:
    batches = [Batch([Tensor(1, (1, 1), bytes(4))], 1)] * 3
    found = compared(FakeModel(), batches)
    assert (found.inputs, found.runs) == ("given", 3)


def read(path: Path, *shape: int | None, size: int = 2) -> list[tuple[int, ...]]:
    batches = read_batches(endpoint(*shape), str(path), FakeModel(), size)  # type: ignore[arg-type]
    return [batch.tensors[0].shape for batch in batches]


def test_rows_of_a_file_come_in_batches(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"x": [{n}, 1]}}\n' for n in range(5)))
    assert read(tmp_path / "rows.jsonl", None, 2) == [(2, 2), (2, 2), (1, 2)]
    (tmp_path / "rows.csv").write_text("x.0,x.1\n1,2\n3,4\n")
    assert read(tmp_path / "rows.csv", None, 2, size=1) == [(1, 2), (1, 2)]


def test_at_most_a_thousand_rows_are_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"x": [1, 1]}\n' * 1500)
    assert len(read(tmp_path / "rows.jsonl", None, 2, size=1)) == 1000


def test_an_array_is_cut_for_a_signature_of_fixed_size(tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "x.npz", x=np.zeros((5, 3), np.float32))
    assert read(tmp_path / "x.npz", 2, 3) == [(2, 3), (2, 3)]
    assert read(tmp_path / "x.npz", None, 3, size=4) == [(4, 3), (1, 3)]
    assert read(tmp_path / "x.npz", None, 3, size=1) == [(1, 3)] * 5
    with pytest.raises(InputError, match="has too few rows"):
        read(tmp_path / "x.npz", 6, 3)


def test_an_array_that_does_not_fit_is_an_error_of_the_input(tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "x.npz", x=np.zeros((5, 4), np.float32))
    with pytest.raises(InputError, match="dimension 1 is 4, not 3"):
        read(tmp_path / "x.npz", None, 3)
