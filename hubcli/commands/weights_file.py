"""A file of weights of any kind, opened; and how changes are measured where NumPy is there or isn't."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from hubcli.savedmodel.changes import Measure, largest_change
from hubcli.savedmodel.weights import Weights, open_weights, weights_kind

__all__ = ["best_measure", "opened_weights"]


@contextmanager
def opened_weights(path: Path) -> Iterator[Weights]:
    """The values at the path, to be read within the context.

    Raises NotFoundError, UsageError, BrokenModelError; TensorFlowError where h5py is missing.
    """
    if not weights_kind(path).needs_h5py:
        yield open_weights(path)
        return
    from hubcli.tf.h5_weights import open_keras_weights

    with open_keras_weights(path) as weights:
        yield weights


def best_measure() -> Measure:
    """The one of NumPy, which is a hundred times faster, where that is installed."""
    if find_spec("numpy") is None:
        return largest_change
    from hubcli.tf.largest_change import NumpyMeasure

    return NumpyMeasure()
