"""`KerasLayer`: the layer of Keras 3 that takes handles. Importing this module imports Keras."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hubcli.drop_in.load import load
from hubcli.errors import ArgumentError
from hubcli.tf.keras.layer import ObjectLayer, serializable

__all__ = ["KerasLayer"]


@serializable
class KerasLayer(ObjectLayer):
    """A SavedModel as a layer of Keras 3: called, trained, frozen and saved with the model around it.

    What tensorflow_hub's KerasLayer is for Keras 2, by the same conventions:
    https://www.tensorflow.org/hub/reusable_saved_models. It needs Keras 3.10 or
    later on the TensorFlow backend.

    `handle` is a text that `hubcli.load` takes, or an object that it, or
    `tf.saved_model.load`, returned. Only with a text can the model around the
    layer be saved as `.keras`, cloned or pickled; who loads the file must
    have named `hubcli.KerasLayer`, as by `custom_objects`.

    The object is called with one tensor or a nest of them: dense, ragged,
    sparse, text, each with the batch as its first dimension, as `hubcli inspect`
    tells. Lists of Python values are made tensors; numbers of another float type
    are cast to what the object takes, under any dtype policy. If it takes
    `training`, it gets True if the layer is trainable and called for
    training, else False.

    With `trainable` the object's `trainable_variables` are weights that train,
    the rest of its `variables` are weights that don't, and its
    `regularization_losses` count. They are the object's own variables, and no
    copies; a plain tf.Module, which lost its lists, gets them from its graph.
    Text and what has no fixed shape can't be a weight of Keras: it stays with
    the object, and out of weights files. `trainable` can be set at any time,
    before `compile`.

    `arguments` go to the object as keywords. `tags` choose the graph of a model
    with several. `signature` names a signature to call instead, for inference
    alone: its inputs are a tensor or a dict of tensors by name, and its outputs
    a dict, all of it with `signature_outputs_as_dict`, or the one that
    `output_key` names. `output_shape` is a nest of shapes without the batch, for
    models that don't tell theirs. `load_options` is a `tf.saved_model.LoadOptions`.
    What else is given goes to `keras.layers.Layer`: `name`, `dtype`, `input_shape`.

    >>> layer = KerasLayer("example://mul/1", trainable=True)
    >>> layer([[21.0]]).numpy().tolist()
    [[42.0]]
    >>> [float(weight) for weight in layer.trainable_weights]
    [2.0]

    Raises what `hubcli.load` does; ArgumentError, a ValueError with
    tensorflow_hub's words, for arguments that don't fit the model or each other;
    TensorFlowError, when `hubcli.KerasLayer` is named, for another Keras or
    backend. Where nothing trains though the layer is trainable, an error is
    logged, once.
    """

    __module__ = "hubcli"

    def _object(self, handle: Any, tags: Collection[str] | None, load_options: Any) -> Any:
        if not callable(handle) and not hasattr(handle, "signatures"):
            return load(handle, tags, load_options)
        for name, value in (("tags", tags), ("load_options", load_options)):
            if value is not None:
                raise ArgumentError(
                    f"Passing a callable handle is mutually exclusive with setting {name}.",
                    hint="Pass the handle as text, or load the object with them.",
                )
        return handle
