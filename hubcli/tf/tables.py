"""Tables that a model can fill while it runs, which a checkpoint holds beside the variables."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hubcli.formats.bundle import OBJECT_GRAPH_KEY, TABLE_KEYS, TABLE_VALUES
from hubcli.savedmodel.info import SavedModelInfo
from hubcli.tf.importing import import_tensorflow
from hubcli.tf.variables import parts_at

__all__ = ["fill_table", "table_states", "table_tensors", "tables_of"]


def table_states(obj: Any, info: SavedModelInfo) -> dict[str, str]:
    """A hash of what each table of the loaded object holds now, by path; tables are written in no order."""
    return {path: _state(table) for path, (_, table) in tables_of(obj, info).items()}


def tables_of(obj: Any, info: SavedModelInfo) -> dict[str, tuple[str, Any]]:
    """The tables of the loaded object by path, each with the beginning of its two checkpoint keys."""
    tensors = () if info.checkpoint is None else info.checkpoint.tensors
    stems = [one.key.removesuffix(TABLE_KEYS) for one in tensors if one.key.endswith(TABLE_KEYS)]
    paths = {_dotted(stem): stem for stem in stems}
    found = parts_at(obj, paths.keys())
    return {path: (paths[path], found[path]) for path in sorted(found)}


def table_tensors(obj: Any, info: SavedModelInfo) -> dict[str, Any]:
    """What each table holds now, as arrays of its keys and of its values, by their keys in a checkpoint."""
    found: dict[str, Any] = {}
    for stem, table in tables_of(obj, info).values():
        found[f"{stem}{TABLE_KEYS}"], found[f"{stem}{TABLE_VALUES}"] = _content(table)
    return found


def fill_table(table: Any, keys: Any, values: Any) -> None:
    """Lets the table hold these pairs, and nothing else."""
    tf = import_tensorflow()
    with TemporaryDirectory() as folder:
        before, after = str(Path(folder, "before")), str(Path(folder, "after"))
        tf.train.Checkpoint(t=table).write(before)
        objects = tf.train.load_checkpoint(before).get_tensor(OBJECT_GRAPH_KEY)
        tf.raw_ops.SaveV2(
            prefix=after,
            tensor_names=[OBJECT_GRAPH_KEY, f"t{TABLE_KEYS}", f"t{TABLE_VALUES}"],
            shape_and_slices=[""] * 3,
            tensors=[tf.constant(objects), tf.constant(keys), tf.constant(values)],
        )
        tf.train.Checkpoint(t=table).read(after).assert_consumed()


def _dotted(key: str) -> str:
    """The path of a checkpoint key. Source: tensorflow/python/checkpoint/trackable_utils.py."""
    return ".".join(name.replace(".S", "/").replace("..", ".") for name in key.split("/"))


def _state(table: Any) -> str:
    rows = zip(*_content(table), strict=True)
    told = sorted(f"{_text(key)} {_text(value)}" for key, value in rows)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _content(table: Any) -> tuple[Any, Any]:
    """Arrays of the keys and of the values."""
    # A table that was loaded has no methods of its own: a checkpoint is the public way to what it holds.
    tf = import_tensorflow()
    with TemporaryDirectory() as folder:
        written = tf.train.load_checkpoint(tf.train.Checkpoint(t=table).write(str(Path(folder, "t"))))
        return written.get_tensor(f"t{TABLE_KEYS}"), written.get_tensor(f"t{TABLE_VALUES}")


def _text(row: Any) -> str:
    """All of it: NumPy's own text leaves out what is long."""
    return repr(row.tolist() if hasattr(row, "tolist") else row)
