"""Trained values as a checkpoint: every type survives, and each is found by its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.formats.bundles import Bundle
from hubcli.savedmodel.weights.assignable import read_assignable
from hubcli.savedmodel.weights.mapping import map_weights
from hubcli.savedmodel.weights.sources import open_weights
from hubcli.tf.live_model import TrainedValues
from hubcli.tf.loading import live_variables, load_model
from tests.tf.conftest import Zoo, read

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("name", ["every_dtype", "narrow_dtypes", "tf1_resources"])
def test_what_is_kept_is_to_the_bit_what_the_model_holds(name: str, zoo: Zoo, tmp_path: Path) -> None:
    source = zoo(name)
    info, obj = read(source), load_model(source)
    TrainedValues.of(obj, live_variables(obj, info), info, source).write(tmp_path / "values")
    weights, targets = open_weights(tmp_path), read_assignable(source)
    mapping = map_weights(targets, weights)
    assert {pair.found_by for pair in mapping.pairs} == {"key"}
    assert {target.key for target in targets.required} <= {pair.target_key for pair in mapping.pairs}
    saved = Bundle.open(source / "variables", "variables").values()
    for pair in mapping.pairs:
        value, other = saved[pair.target_key], weights.tensors[pair.source_key]
        assert (value.dtype, value.shape) == (other.dtype, other.shape)
        assert b"".join(value.pieces()) == b"".join(other.pieces()), pair.target_path


def test_a_variable_that_can_not_be_read_has_the_value_of_the_model(zoo: Zoo, tmp_path: Path) -> None:
    source = zoo("reusable")
    info, obj = read(source), load_model(source)
    variables = live_variables(obj, info)
    first, *_ = variables
    values = TrainedValues.of(obj, {**variables, first: object()}, info, source)
    assert set(values.tensors) == {
        variable.checkpoint_key for variable in info.variables if variable.checkpoint_key
    }
