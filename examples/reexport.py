"""A loaded model, fine-tuned as a layer of a larger one, and exported for the next user.

Source: https://www.tensorflow.org/hub/tf2_saved_model
"""

from __future__ import annotations

import os
import tempfile

import numpy as np
import tensorflow as tf

import hubcli as hub

sentences = tf.constant(["a wonderful film", "a dull film", "the best of the year", "the worst of the year"])
labels = tf.constant([[1.0], [0.0], [1.0], [0.0]])

loaded_obj = hub.load("https://tfhub.dev/google/nnlm-en-dim50/2")
hub_layer = hub.KerasLayer(loaded_obj, input_shape=[], dtype=tf.string, trainable=True)
before = loaded_obj(sentences)

model = tf.keras.Sequential([hub_layer, tf.keras.layers.Dense(1)])
model.compile(optimizer=tf.keras.optimizers.SGD(0.5), loss="mse")
model.fit(sentences, labels, epochs=5, verbose=0)

export_module_dir = os.path.join(tempfile.mkdtemp(), "finetuned_model_export")  # noqa: PTH118
tf.saved_model.save(loaded_obj, export_module_dir, signatures=loaded_obj.signatures)

after = hub.KerasLayer(export_module_dir)(sentences)
print("Moved by", np.abs(after - before).max())
print("As trained:", bool((after == hub_layer(sentences)).numpy().all()))
