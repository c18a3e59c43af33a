"""Tables that a model can fill while it runs, which a checkpoint holds beside the variables."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hubcli.savedmodel.info import SavedModelInfo
from hubcli.tf.importing import import_tensorflow
from hubcli.tf.variables import parts_at

__all__ = ["table_states"]

_KEYS, _VALUES = "/.ATTRIBUTES/table-keys", "/.ATTRIBUTES/table-values"


def table_states(obj: Any, info: SavedModelInfo) -> dict[str, str]:
    """A hash of what each table of the loaded object holds now, by path; tables are written in no order."""
    tensors = () if info.checkpoint is None else info.checkpoint.tensors
    paths = {_dotted(one.key.removesuffix(_KEYS)) for one in tensors if one.key.endswith(_KEYS)}
    return {path: _state(table) for path, table in sorted(parts_at(obj, paths).items())}


def _dotted(key: str) -> str:
    """The path of a checkpoint key. Source: tensorflow/python/checkpoint/trackable_utils.py."""
    return ".".join(name.replace(".S", "/").replace("..", ".") for name in key.split("/"))


def _state(table: Any) -> str:
    # A table that was loaded has no methods of its own: a checkpoint is the public way to what it holds.
    tf = import_tensorflow()
    with TemporaryDirectory() as folder:
        written = tf.train.load_checkpoint(tf.train.Checkpoint(t=table).write(str(Path(folder, "t"))))
        rows = zip(written.get_tensor(f"t{_KEYS}"), written.get_tensor(f"t{_VALUES}"), strict=True)
        told = sorted(f"{_text(key)} {_text(value)}" for key, value in rows)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _text(row: Any) -> str:
    """All of it: NumPy's own text leaves out what is long."""
    return repr(row.tolist() if hasattr(row, "tolist") else row)
