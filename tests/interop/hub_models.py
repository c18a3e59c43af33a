"""Models as publishers on TF Hub write them: a text embedding, an image feature vector, one made by Keras.

The text embedding follows examples/text_embeddings_v2/export_v2.py of
https://github.com/tensorflow/hub, the others the interface at
https://www.tensorflow.org/hub/reusable_saved_models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from hubcli.commands.export import export

__all__ = ["MODELS", "save"]

WORDS = ("the", "cat", "sat", "on", "mat", "dog", "ran")
BUCKETS = 2
DIMENSIONS = 4
FEATURES = 8
SIZE = 32


class TextEmbedding(tf.train.Checkpoint):  # type: ignore[misc]
    """Sentences in, one vector each out; words that the vocabulary file hasn't fall into hash buckets."""

    def __init__(self, vocabulary_file: Path) -> None:
        super().__init__()
        initializer = tf.lookup.TextFileInitializer(
            str(vocabulary_file),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        self._table_initializer = initializer  # Holds the asset, which goes along for that.
        self._table = tf.lookup.StaticVocabularyTable(initializer, num_oov_buckets=BUCKETS)
        self.embeddings = tf.Variable(_spread([len(WORDS) + BUCKETS, DIMENSIONS]), name="embeddings")
        self.variables = [self.embeddings]
        self.trainable_variables = [self.embeddings]
        self.regularization_losses: list[Any] = []

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="sentences")])  # type: ignore[untyped-decorator]
    def __call__(self, sentences: Any) -> Any:
        plain = tf.strings.regex_replace(sentences, r"\pP", "")
        words, _ = tf.sparse.fill_empty_rows(tf.strings.split(plain, " ").to_sparse(), "")
        ids = tf.sparse.SparseTensor(words.indices, self._table.lookup(words.values), words.dense_shape)
        return tf.nn.safe_embedding_lookup_sparse(self.embeddings, ids, combiner="sqrtn")


class ImageFeatures(tf.train.Checkpoint):  # type: ignore[misc]
    """Images in, feature vectors out: a convolution, batch norm, dropout, a projection.

    Five of the seven variables have the same shape, so that nothing but their
    names, or their order, tells them apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(_spread([3, 3, 3, FEATURES]), name="kernel")
        self.gamma = tf.Variable(tf.ones([FEATURES]), name="gamma")
        self.beta = tf.Variable(tf.zeros([FEATURES]), name="beta")
        self.projection = tf.Variable(_spread([FEATURES, FEATURES]), name="projection")
        self.bias = tf.Variable(_spread([FEATURES]), name="bias")
        # As Keras makes its own: each replica of a strategy counts for itself, and their mean is read.
        statistics = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.MEAN,
        }
        self.moving_mean = tf.Variable(tf.zeros([FEATURES]), name="moving_mean", **statistics)
        self.moving_variance = tf.Variable(tf.ones([FEATURES]), name="moving_variance", **statistics)
        self.trainable_variables = [self.kernel, self.gamma, self.beta, self.projection, self.bias]
        self.variables = [self.moving_mean, *self.trainable_variables, self.moving_variance]
        self.regularization_losses = [_l2_loss(self.kernel), _l2_loss(self.projection)]

    @tf.function  # type: ignore[untyped-decorator]
    def __call__(self, images: Any, training: bool = False) -> Any:
        x = tf.nn.conv2d(images, self.kernel, strides=2, padding="SAME")
        x = tf.nn.relu(self._normalized(x, training))
        x = tf.reduce_mean(x, [1, 2])
        if training:
            x = tf.nn.dropout(x, 0.25)
        return x @ self.projection + self.bias

    def _normalized(self, x: Any, training: bool) -> Any:
        mean, variance = self.moving_mean, self.moving_variance
        if training:
            mean, variance = tf.nn.moments(x, [0, 1, 2])
            self.moving_mean.assign(0.9 * self.moving_mean + 0.1 * mean)
            self.moving_variance.assign(0.9 * self.moving_variance + 0.1 * variance)
        return tf.nn.batch_normalization(x, mean, variance, self.beta, self.gamma, 1e-3)


def save_text(target: Path) -> None:
    """The embedding; its vocabulary file is gone when this returns."""
    vocabulary = target.with_name("vocabulary.txt")
    vocabulary.write_text("\n".join(WORDS) + "\n")
    model = TextEmbedding(vocabulary)
    tf.saved_model.save(model, str(target), signatures=model.__call__)
    vocabulary.unlink()


def save_image(target: Path) -> None:
    model = ImageFeatures()
    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="images")
    for training in (True, False):
        model.__call__.get_concrete_function(spec, training=training)
    serve = tf.function(lambda images: {"features": model(images)}, input_signature=[spec])
    tf.saved_model.save(model, str(target), signatures=serve)


def save_keras_image(target: Path) -> None:
    """A model of Keras as `hubcli export` writes it."""
    layers, l2 = tf_keras.layers, tf_keras.regularizers.l2(0.01)
    network = tf_keras.Sequential(
        [
            layers.Input([SIZE, SIZE, 3], name="images"),
            layers.Conv2D(FEATURES, 3, strides=2, kernel_regularizer=l2),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.25),
            layers.Dense(FEATURES, kernel_regularizer=l2),
        ]
    )
    file = target.with_name("network.keras")
    network.save(file)
    export(str(file), target)
    file.unlink()


MODELS = {"text": save_text, "image": save_image, "keras image": save_keras_image}


def save(name: str, target: Path) -> Path:
    """Writes the model of that name."""
    MODELS[name](target)
    return target


def _spread(shape: list[int]) -> Any:
    """Numbers from -0.5 to 0.5, all different, the same each time."""
    return tf.constant((np.arange(np.prod(shape)) * 0.6180339887 % 1 - 0.5).reshape(shape), tf.float32)


def _l2_loss(variable: Any) -> Any:
    return tf.function(lambda: 0.01 * tf.reduce_sum(variable**2), input_signature=[])
