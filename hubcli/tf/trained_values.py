"""What a training left in a model, by the keys of the model's checkpoint, to be written as a checkpoint.

The keys are those of the source, so that `--weights` needs no search for which
value is whose; TensorFlow writes them, so that every type survives.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubcli.savedmodel.info import SavedModelInfo
from hubcli.tf.importing import import_tensorflow
from hubcli.tf.messages import first_line
from hubcli.tf.resave import disk_errors
from hubcli.tf.tables import table_tensors

__all__ = ["TrainedValues", "saved_values"]


@dataclass(frozen=True, slots=True)
class TrainedValues:
    """Tensors by checkpoint key. `is_finished` tells whether the training came to its end."""

    tensors: Mapping[str, Any]
    is_finished: bool = True

    @classmethod
    def of(
        cls,
        obj: Any,
        variables: Mapping[str, Any],
        info: SavedModelInfo,
        source: Path,
        *,
        is_finished: bool = True,
    ) -> TrainedValues:
        """The values of these variables, by path, and of the tables of the object.

        Variables of the model that TensorFlow doesn't give out, or that can't be
        read, have the value that they have in the SavedModel in `source`: so
        each has one. What optimizers keep is left out.
        """
        paths = {one.path: one.checkpoint_key for one in info.variables if not one.is_slot}
        tensors: dict[str, Any] = {}
        for path, key in paths.items():
            value = _value(variables.get(path))
            if key is not None and value is not None:
                tensors[key] = value
        missing = [key for key in paths.values() if key is not None and key not in tensors]
        # The training may have done anything to the source and to the tables.
        with suppress(Exception):
            tensors |= saved_values(source, missing) if missing else {}
        with suppress(Exception):
            tensors |= table_tensors(obj, info)
        return cls(tensors, is_finished)

    def write(self, prefix: Path) -> None:
        """Writes the checkpoint `prefix`, whose folder is there. Raises OSError."""
        tf = import_tensorflow()
        try:
            with disk_errors():
                tf.raw_ops.SaveV2(
                    prefix=os.fsencode(prefix),
                    tensor_names=list(self.tensors),
                    shape_and_slices=[""] * len(self.tensors),
                    tensors=[tf.convert_to_tensor(one) for one in self.tensors.values()],
                )
        except tf.errors.OpError as error:
            raise OSError(first_line(error)) from error


def _value(variable: Any) -> Any | None:
    """What the variable holds; None where it can't be read."""
    if variable is None:
        return None
    with suppress(Exception):  # An uninitialized one, or one that the training deleted.
        return import_tensorflow().convert_to_tensor(variable)
    return None


def saved_values(source: Path, keys: list[str]) -> dict[str, Any]:
    """What the SavedModel in the directory has under these checkpoint keys, as arrays."""
    reader = import_tensorflow().train.load_checkpoint(str(source / "variables" / "variables"))
    return {key: reader.get_tensor(key) for key in keys if reader.has_tensor(key)}
