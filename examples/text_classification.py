"""A text classifier over a text embedding from TF Hub, which is trained along.

Source: https://www.tensorflow.org/hub/tutorials/tf2_text_classification
"""

from __future__ import annotations

import tensorflow as tf

import hubcli as hub

GOOD = ["a wonderful film", "I loved every minute", "the best of the year", "great actors, great story"]
BAD = ["a dull film", "I left after ten minutes", "the worst of the year", "no actors, no story"]
# Keras 3 takes text as tensors; the array of objects that the tutorial has is refused by any model of it.
examples = tf.constant((GOOD + BAD) * 16)
labels = tf.constant(([1] * len(GOOD) + [0] * len(BAD)) * 16)

model = "https://tfhub.dev/google/nnlm-en-dim50/2"
hub_layer = hub.KerasLayer(model, input_shape=[], dtype=tf.string, trainable=True)
print(hub_layer(examples[:3]))

model = tf.keras.Sequential()
model.add(hub_layer)
model.add(tf.keras.layers.Dense(16, activation="relu"))
model.add(tf.keras.layers.Dense(1))
model.summary()

model.compile(
    optimizer="adam",
    loss=tf.losses.BinaryCrossentropy(from_logits=True),
    metrics=[tf.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
)
history = model.fit(
    examples[32:],
    labels[32:],
    epochs=20,
    batch_size=32,
    validation_data=(examples[:32], labels[:32]),
    verbose=0,
)
results = model.evaluate(examples[:32], labels[:32], verbose=0)
print(results)
