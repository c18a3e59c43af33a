"""A loaded object, saved again in the place of its SavedModel, with everything around it that still holds.

What TensorFlow keeps and loses was measured; what can't be kept is refused.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubcli.errors import TensorFlowError
from hubcli.formats import MAIN_FILES
from hubcli.savedmodel.graph import read_outline
from hubcli.savedmodel.layout import ModelFormat
from hubcli.savedmodel.model import SavedModelInfo
from hubcli.tf.importing import first_line, import_tensorflow
from hubcli.tf.without_gc import without_gc

__all__ = ["Dropped", "ResaveReport", "disk_errors", "require_resavable", "resave", "would_be_lost"]

_OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_TABLE_ENDINGS = ("-keys", "-values")
_WRITTEN_FOLDERS = ("variables", "assets")
_DROPPED = {
    "fingerprint.pb": "TensorFlow writes it again",
    "keras_metadata.pb": ("it refers to objects of the old file, and the new file has no Keras model"),
    "debug": "it refers to the functions of the first tracing, which have other numbers in the new file",
}
_SERVE = "serve"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A file of the source that the result has not, or has anew, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ResaveReport:
    """What went along beside the model: paths of files `carried` over, and those that weren't."""

    carried: tuple[str, ...]
    dropped: tuple[Dropped, ...]


def would_be_lost(source: Path, info: SavedModelInfo) -> tuple[str, ...]:
    """What `resave` would lose of the model, a phrase each; empty where it may be saved again."""
    return tuple(_losses(source, info))


def require_resavable(source: Path, info: SavedModelInfo, *, name: str = "") -> None:
    """Raises TensorFlowError, which names the way out, where `resave` would lose something."""
    losses = would_be_lost(source, info)
    if losses:
        raise TensorFlowError(
            f"Saving {name or source} again would lose {'; '.join(losses)}",
            hint="Change only the values, which loses nothing: --method rewrite",
        )


def resave(
    obj: Any, source: Path, destination: Path, info: SavedModelInfo, *, name: str = ""
) -> ResaveReport:
    """Saves the object, loaded from `source` (read as `info`), to `destination`, which isn't there yet.

    Its signatures stay what they are. Raises TensorFlowError, which tells of
    the model by its `name`, where something would be lost or TensorFlow fails;
    OSError of the disk.
    """
    require_resavable(source, info, name=name)
    tf = import_tensorflow()
    try:
        options = tf.saved_model.SaveOptions(**_options(obj, source, info))
        with disk_errors(), without_gc():
            tf.saved_model.save(obj, str(destination), signatures=obj.signatures, options=options)
    except OSError:
        raise
    # What the object has become in training decides what saving it raises.
    except Exception as error:
        raise TensorFlowError(
            f"TensorFlow cannot save {name or source} again: {type(error).__name__}: {first_line(error)}",
            hint="Change only the values: --method rewrite. See the traceback: --debug",
        ) from error
    return _carry(source, destination)


@contextmanager
def disk_errors() -> Iterator[None]:
    """A full disk as the system tells of it: TensorFlow has one error for every exhausted resource."""
    tf = import_tensorflow()
    try:
        yield
    except tf.errors.OpError as error:
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def _losses(source: Path, info: SavedModelInfo) -> Iterator[str]:
    if info.format is ModelFormat.TF1_HUB:
        yield "its TF1 Hub format (one graph, its marker, the names of variables)"
        return
    if len(info.meta_graphs) > 1:
        tags = " and ".join(",".join(graph.tags) or "''" for graph in info.meta_graphs)
        yield f"all graphs but one of {len(info.meta_graphs)} ({tags})"
        return
    if info.format is ModelFormat.TF1:
        yield "its TensorFlow 1 graph (the names of variables, collections)"
        return
    defaults = [
        f"{signature.name}.{tensor.name}"
        for signature in info.meta_graphs[0].signatures
        for tensor in signature.inputs
        if tensor.default is not None
    ]
    if defaults:
        yield f"defaults of signature inputs, which would become required ({', '.join(defaults)})"
    if _SERVE not in info.meta_graphs[0].tags:
        yield f"its tags ({','.join(info.meta_graphs[0].tags) or 'none'}), to which {_SERVE} would be added"
    unclaimed = _unclaimed(source, info)
    if unclaimed:
        yield f"tensors that no object holds ({', '.join(unclaimed[:3])})"


def _unclaimed(source: Path, info: SavedModelInfo) -> list[str]:
    """Keys of the checkpoint that its own object graph doesn't name."""
    keys = {tensor.key for tensor in info.checkpoint.tensors} if info.checkpoint else set()
    if _OBJECT_GRAPH_KEY not in keys:
        return []
    tf = import_tensorflow()
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    reader = tf.train.load_checkpoint(str(source / "variables" / "variables"))
    encoded = reader.get_tensor(_OBJECT_GRAPH_KEY)
    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(encoded)
    claimed = {attribute.checkpoint_key for node in graph.nodes for attribute in node.attributes}
    # A table has one key, and two tensors: those of its keys and of its values.
    found = {key for key in keys if not key.endswith(_TABLE_ENDINGS) or key.rpartition("-")[0] not in claimed}
    return sorted(found - claimed - {_OBJECT_GRAPH_KEY})


def _options(obj: Any, source: Path, info: SavedModelInfo) -> dict[str, Any]:
    """Options that keep what the source has by its own."""
    extra_tags = sorted(set(info.meta_graphs[0].tags) - {_SERVE})
    options: dict[str, Any] = {"extra_tags": extra_tags} if extra_tags else {}
    with read_outline(source) as outlines:
        rest = outlines[0].rest
        has_saver, encoded = rest.HasField("saver_def"), rest.meta_info_def.SerializeToString()
    if not has_saver:
        options["experimental_skip_saver"] = True
    # TensorFlow's own message: the reader's leaves the aliases out.
    from tensorflow.core.protobuf import meta_graph_pb2

    names = meta_graph_pb2.MetaGraphDef.MetaInfoDef.FromString(encoded).function_aliases
    aliases = {alias: _function(obj, name, info) for name, alias in names.items()}
    if aliases:
        options["function_aliases"] = {
            alias: function for alias, function in aliases.items() if function is not None
        }
    return options


def _function(obj: Any, concrete_name: str, info: SavedModelInfo) -> Any | None:
    """The function of the root that holds the concrete function of that name in the library."""
    for function in info.functions:
        if any(variant.name == concrete_name for variant in function.variants):
            return getattr(obj, function.path, None)
    return None


def _carry(source: Path, destination: Path) -> ResaveReport:
    carried, dropped = [], []
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        name, top = relative.as_posix(), relative.parts[0]
        if not path.is_file() or name in MAIN_FILES or top == _WRITTEN_FOLDERS[0]:
            continue
        if top in _DROPPED:
            dropped.append(Dropped(name, _DROPPED[top]))
            continue
        target = destination / relative
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        carried.append(name)
    return ResaveReport(tuple(carried), tuple(dropped))
