"""The SavedModels that benchmarks read, built in code.

Run it from the top of the repository, with TensorFlow and tf_keras at hand:
`python -m benchmarks.models DIR [NAME…]` builds what is missing in DIR and prints its paths.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["MODELS", "build", "is_built"]

_SEED = 20261122
_CONSTANTS = 10
_CONSTANT_SIDE = 2048  # A square of float32: 16 MiB.

_SEQUENCE_LENGTH = 128
_VOCABULARY = 30_522
_BLOCKS = 12
_HEADS = 12
_WIDTH = 768


def _application(name: str) -> Callable[[Path], None]:
    """The builder of one of Keras's own networks, untrained, as Keras 2 saves it without an optimizer."""

    def save(folder: Path) -> None:
        import tf_keras

        getattr(tf_keras.applications, name)(weights=None).save(folder, save_format="tf")

    return save


def _save_trained(folder: Path) -> None:
    """ResNet50 after one step of Adam, which keeps two numbers for each weight."""
    import numpy as np
    import tf_keras

    model = tf_keras.applications.ResNet50(weights=None)
    model.compile(tf_keras.optimizers.Adam(1e-4), loss="sparse_categorical_crossentropy")
    model.fit(np.zeros((1, 224, 224, 3), "float32"), np.zeros(1), verbose=0)
    model.save(folder, save_format="tf")


def _save_bert(folder: Path) -> None:
    """A network of the size of BERT-Base, uncased: the signature of its encoders on TF Hub."""
    import tensorflow as tf
    import tf_keras

    layers = tf_keras.layers
    words, mask, types = (
        tf_keras.Input([_SEQUENCE_LENGTH], dtype="int32", name=name)
        for name in ("input_word_ids", "input_mask", "input_type_ids")
    )
    positions = tf.cumsum(tf.ones_like(words), axis=1, exclusive=True)
    state = layers.Add(name="embeddings/sum")(
        [
            layers.Embedding(_VOCABULARY, _WIDTH, name="word_embeddings")(words),
            layers.Embedding(_SEQUENCE_LENGTH, _WIDTH, name="position_embeddings")(positions),
            layers.Embedding(2, _WIDTH, name="type_embeddings")(types),
        ]
    )
    state = layers.LayerNormalization(epsilon=1e-12, name="embeddings/layer_norm")(state)
    attention_mask = layers.Reshape([1, _SEQUENCE_LENGTH], name="attention_mask")(mask)
    for number in range(_BLOCKS):
        state = _encoder_block(layers, f"transformer/layer_{number}", state, attention_mask)
    pooled = layers.Dense(_WIDTH, activation="tanh", name="pooler")(state[:, 0])
    outputs = {"pooled_output": pooled, "sequence_output": state}
    tf_keras.Model([words, mask, types], outputs, name="bert_base").save(folder, save_format="tf")


def _encoder_block(layers: Any, name: str, state: Any, attention_mask: Any) -> Any:
    attention = layers.MultiHeadAttention(
        _HEADS, _WIDTH // _HEADS, dropout=0.1, name=f"{name}/self_attention"
    )
    attended = attention(state, state, attention_mask=attention_mask)
    summed = layers.Add(name=f"{name}/attention_sum")([state, attended])
    state = layers.LayerNormalization(epsilon=1e-12, name=f"{name}/attention_norm")(summed)
    inner = layers.Dense(4 * _WIDTH, activation="gelu", name=f"{name}/intermediate")(state)
    outer = layers.Dense(_WIDTH, name=f"{name}/output")(inner)
    outer = layers.Dropout(0.1, name=f"{name}/output_dropout")(outer)
    summed = layers.Add(name=f"{name}/output_sum")([state, outer])
    return layers.LayerNormalization(epsilon=1e-12, name=f"{name}/output_norm")(summed)


def _save_constants(folder: Path) -> None:
    """A function with 160 MiB of weights in its graph, as frozen and converted models have them."""
    import numpy as np
    import tensorflow as tf

    random = np.random.default_rng(_SEED)
    shape = (_CONSTANT_SIDE, _CONSTANT_SIDE)
    weights = [random.standard_normal(shape, dtype=np.float32) for _ in range(_CONSTANTS)]

    @tf.function(input_signature=[tf.TensorSpec([None, _CONSTANT_SIDE], tf.float32, name="x")])
    def call(x: Any) -> Any:
        for number, weight in enumerate(weights):
            x = tf.tanh(tf.matmul(x, tf.constant(weight, name=f"weight_{number}")))
        return x

    module = tf.Module()
    module.__call__ = call
    tf.saved_model.save(module, folder, signatures=call)


MODELS: dict[str, Callable[[Path], None]] = {
    "mobilenet_v2": _application("MobileNetV2"),
    "resnet50": _application("ResNet50"),
    "resnet50_adam": _save_trained,
    "efficientnet_b7": _application("EfficientNetB7"),
    "bert_base": _save_bert,
    "constants_160mb": _save_constants,
}
"""What saves a model into a directory, by the model's name."""


def is_built(folder: Path, name: str) -> bool:
    """Whether the model lies in `folder`; a half-built one never has its name."""
    return (folder / name / "saved_model.pb").is_file()


def build(folder: Path, name: str) -> Path:
    """Saves one model into a directory of its name; an interrupted build leaves `NAME.tmp`."""
    staging = folder / f"{name}.tmp"
    shutil.rmtree(staging, ignore_errors=True)
    started_at = time.perf_counter()
    MODELS[name](staging)
    built = staging.rename(folder / name)
    print(f"built {name} in {time.perf_counter() - started_at:.0f} s", file=sys.stderr)
    return built


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds the missing models and prints their paths, each as soon as it is there."""
    options = _options(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names or MODELS:
        if not is_built(options.folder, name):
            print(build(options.folder, name), flush=True)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the models go")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)} (default: all)")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in MODELS]:
        parser.error(f"no such model: {', '.join(unknown)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
