"""An image classifier over image features from TF Hub, fine-tuned, then saved for serving.

Source: https://www.tensorflow.org/hub/tutorials/tf2_image_retraining
"""

from __future__ import annotations

import tempfile

import numpy as np
import tensorflow as tf

import hubcli as hub

model_handle = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5"
IMAGE_SIZE = (224, 224)
BATCH_SIZE = 8
do_fine_tuning = True

class_names = ["bright", "dark"]
rng = np.random.default_rng(0)
images = rng.uniform(size=(16, *IMAGE_SIZE, 3)).astype("float32")
images[1::2] *= 0.2
classes = np.eye(2, dtype="float32")[np.arange(16) % 2]
train_ds = tf.data.Dataset.from_tensor_slices((images, classes)).batch(BATCH_SIZE).repeat()
val_ds = tf.data.Dataset.from_tensor_slices((images, classes)).batch(BATCH_SIZE)

print("Building model with", model_handle)
model = tf.keras.Sequential(
    [
        # Explicitly define the input shape so the model can be properly
        # loaded by the TFLiteConverter
        tf.keras.layers.InputLayer(input_shape=(*IMAGE_SIZE, 3)),
        hub.KerasLayer(model_handle, trainable=do_fine_tuning),
        tf.keras.layers.Dropout(rate=0.2),
        tf.keras.layers.Dense(len(class_names), kernel_regularizer=tf.keras.regularizers.l2(0.0001)),
    ]
)
model.build((None, *IMAGE_SIZE, 3))
model.summary()

model.compile(
    optimizer=tf.keras.optimizers.SGD(learning_rate=0.005, momentum=0.9),
    loss=tf.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
    metrics=["accuracy"],
)
hist = model.fit(
    train_ds,
    epochs=3,
    steps_per_epoch=2,
    validation_data=val_ds,
    validation_steps=2,
    verbose=0,
).history
print(hist["loss"])

saved_model_path = f"{tempfile.mkdtemp()}/saved_flowers_model"
tf.saved_model.save(model, saved_model_path)

reloaded = tf.saved_model.load(saved_model_path)
(output,) = reloaded.signatures["serving_default"](tf.constant(images)).values()
print(np.abs(output - model.predict(images, verbose=0)).max())
