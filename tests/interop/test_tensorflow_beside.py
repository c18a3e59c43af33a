"""hubcli and TensorFlow in one process: each has messages of the same names, in pools of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.corpus import corpus_model

pytestmark = pytest.mark.tensorflow

HUBCLI = "import hubcli; info = hubcli.inspect(sys.argv[1]).info"
TENSORFLOW = "import tensorflow as tf; loaded = tf.saved_model.load(sys.argv[1])"
PROTOS = "from tensorflow.core.protobuf import saved_model_pb2"


@pytest.mark.parametrize(
    "order",
    [
        # The last case begins with it.
        pytest.param((HUBCLI, TENSORFLOW), id="hubcli first", marks=pytest.mark.soak),
        pytest.param((TENSORFLOW, HUBCLI), id="TensorFlow first", marks=pytest.mark.soak),
        pytest.param((PROTOS, HUBCLI, TENSORFLOW), id="its protos first", marks=pytest.mark.soak),
        pytest.param((HUBCLI, TENSORFLOW, HUBCLI), id="in turns", marks=pytest.mark.slow),
    ],
)
def test_both_read_a_model_in_either_order(order: tuple[str, ...]) -> None:
    pytest.importorskip("tensorflow")
    model = corpus_model("tfjs_multiple_signatures")
    program = "\n".join(
        ("import sys", *order, "print([one.path for one in info.functions], float(loaded(2.0)))")
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(model)], capture_output=True, text=True, check=False, timeout=120
    )
    assert result.stdout == "['__call__', 'mutate', 'timestwo'] 6.0\n", result.stderr
