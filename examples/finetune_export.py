"""A training for `hubcli finetune-export HANDLE DEST --train examples/finetune_export.py:train`.

hubcli loads the model and gives the object; what this trains in it is exported, its head is not.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

import hubcli as hub

SENTENCES = ["a wonderful film", "a dull film", "the best of the year", "the worst of the year"]
LABELS = [[1.0], [0.0], [1.0], [0.0]]


def train(obj: Any, epochs: int = 5, rate: float = 0.5) -> None:
    """Trains a text embedding by a classifier over it."""
    layer = hub.KerasLayer(obj, trainable=True)
    model = tf.keras.Sequential([layer, tf.keras.layers.Dense(1)])
    model.compile(optimizer=tf.keras.optimizers.SGD(rate), loss="mse")
    model.fit(tf.constant(SENTENCES), tf.constant(LABELS), epochs=epochs, verbose=0)
