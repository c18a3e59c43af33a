"""`KerasLayer`: the layer of Keras 3 that takes handles. Importing this module imports Keras."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hubcli.commands.load import load
from hubcli.errors import ArgumentError
from hubcli.tf.keras_layer import ObjectLayer, serializable

__all__ = ["KerasLayer"]


@serializable
class KerasLayer(ObjectLayer):
    """A SavedModel as a layer of Keras 3: called, trained, frozen and saved with the model around it."""

    __module__ = "hubcli"

    def _object(self, handle: Any, tags: Collection[str] | None, load_options: Any) -> Any:
        if not callable(handle) and not hasattr(handle, "signatures"):
            return load(handle, tags, load_options)
        for name, value in (("tags", tags), ("load_options", load_options)):
            if value is not None:
                raise ArgumentError(
                    f"Passing a callable handle is mutually exclusive with setting {name}.",
                    hint="Give the handle as text, or load the object with them.",
                )
        return handle
