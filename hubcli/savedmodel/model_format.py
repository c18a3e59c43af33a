"""Which program wrote a model for which: the one place that tells the formats apart.

Told from the outline of the main file, so that a fetch or a listing needn't load protobuf.
Source: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto and saved_object_graph.proto
(field numbers); the files beside it are those of TF1 Hub modules and of Keras 2 (TensorFlow 2.5 to 2.15).
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from pathlib import Path

from hubcli.errors import BrokenModelError
from hubcli.formats.files import contents
from hubcli.formats.wire import Bytes, Field, messages, scan
from hubcli.regular_file import read_regular
from hubcli.savedmodel.main_file import HEAD_BYTES, main_file, refuse_look_alike, require_text_model
from hubcli.units import format_size

__all__ = ["KERAS_METADATA", "TF1_HUB_MARKER", "ModelFormat", "detect_format"]

TF1_HUB_MARKER, KERAS_METADATA = "tfhub_module.pb", "keras_metadata.pb"
_META_GRAPHS = 2
_META_INFO_DEF, _GRAPH_DEF, _OBJECT_GRAPH_DEF = 1, 2, 7
_NODES, _CHILDREN, _CHILD_NAME, _USER_OBJECT, _IDENTIFIER = 1, 1, 2, 4, 1
_MAX_TEXT_BYTES = 32_000_000
# What the root of a model has that Keras 3 exported, and no function `__call__`.
_KERAS_2_ROOT, _KERAS_3_CHILD = "_tf_keras", "_misc_assets"
# Of the root's children, as many as may be looked at.
_MAX_CHILDREN = 10_000


class ModelFormat(str, Enum):
    """The format of a model, in words that scripts may rely on.

    `label` is for people; `kind` is the coarser word that `ls` has shown from the first release on.
    """

    label: str
    kind: str

    def __new__(cls, value: str, label: str, kind: str) -> ModelFormat:  # noqa: D102
        member = str.__new__(cls, value)
        member._value_ = value
        member.label = label
        member.kind = kind
        return member

    TF2 = "tf2", "TF2 object SavedModel", "TF2"
    TF1 = "tf1", "TF1 SavedModel", "TF1"
    TF1_HUB = "tf1-hub", "TF1 Hub format", "TF1 Hub"
    KERAS_2 = "keras2", "Keras 2 SavedModel", "Keras"
    KERAS_3_EXPORT = "keras3-export", "Keras 3 export", "TF2"

    @classmethod
    def of_root(cls, identifier: str, children: Collection[str]) -> ModelFormat:
        """That of a model with objects, by the root's identifier and the names of its children."""
        if identifier.startswith(_KERAS_2_ROOT):
            return cls.KERAS_2
        return cls.KERAS_3_EXPORT if _KERAS_3_CHILD in children and "__call__" not in children else cls.TF2

    def beside(self, *, has_hub_marker: bool, has_keras_metadata: bool) -> ModelFormat:
        """The same with what the files beside the main file say: a TF1 Hub module, a Keras 2 model."""
        if has_hub_marker:
            return ModelFormat.TF1_HUB
        return ModelFormat.KERAS_2 if has_keras_metadata else self


def detect_format(model: Path) -> ModelFormat:
    """The format of the SavedModel in the directory `model`, from the outline of its main file.

    Raises BrokenModelError where that file is missing or something else, OSError.
    """
    main = main_file(model)
    if main.suffix == ".pb":
        found = _of_binary(main)
    elif main.suffix == ".pbtxt":
        found = _of_text(main)
    else:
        found = ModelFormat.TF2  # Chunked files come from TensorFlow 2.15 and newer alone.
    return found.beside(
        has_hub_marker=(model / TF1_HUB_MARKER).is_file(),
        has_keras_metadata=(model / KERAS_METADATA).is_file(),
    )


def _of_binary(main: Path) -> ModelFormat:
    with contents(main, for_outline=True) as data:
        refuse_look_alike(main.name, data[:HEAD_BYTES])
        try:
            formats = [_of_meta_graph(data, field) for field in messages(data, _META_GRAPHS)]
        except BrokenModelError as error:
            raise BrokenModelError(f"{main.name} can't be read as a SavedModel: {error.message}") from error
        if not formats:
            raise BrokenModelError(f"{main.name} holds no MetaGraph ({len(data)} bytes)")
    return formats[0]


def _of_meta_graph(data: Bytes, meta_graph: Field) -> ModelFormat:
    fields = {field.number: field for field in scan(data, meta_graph.start, meta_graph.end)}
    if not fields.keys() & {_META_INFO_DEF, _GRAPH_DEF}:
        raise BrokenModelError("a MetaGraph has no graph")
    objects = fields.get(_OBJECT_GRAPH_DEF)
    if objects is None or not objects.is_message(_OBJECT_GRAPH_DEF):
        return ModelFormat.TF1
    root = next(scan(data, objects.start, objects.end), None)
    if root is None or not root.is_message(_NODES):
        return ModelFormat.TF2
    return ModelFormat.of_root(_identifier(data, root), _children(data, root))


def _identifier(data: Bytes, root: Field) -> str:
    """How the root says what it is; as much of it as tells Keras 2 (TF < 2.5 has no keras_metadata.pb)."""
    # Lists, so that each message is known to be whole before the answer.
    for user_object in list(messages(data, _USER_OBJECT, root.start, root.end)):
        for identifier in list(messages(data, _IDENTIFIER, user_object.start, user_object.end)):
            end = min(identifier.end, identifier.start + len(_KERAS_2_ROOT))
            return bytes(data[identifier.start : end]).decode("utf-8", "replace")
    return ""


def _children(data: Bytes, root: Field) -> set[str]:
    names = set[str]()
    for number, child in enumerate(messages(data, _CHILDREN, root.start, root.end)):
        if number == _MAX_CHILDREN:
            break
        for name in messages(data, _CHILD_NAME, child.start, child.end):
            names.add(bytes(data[name.start : name.end]).decode("utf-8", "replace"))
    return names


def _of_text(main: Path) -> ModelFormat:
    """By the field names of the text format, nesting checked."""
    if main.stat().st_size > _MAX_TEXT_BYTES:
        raise BrokenModelError(
            f"{main.name} is larger than {format_size(_MAX_TEXT_BYTES)}: too large for text"
        )
    text = read_regular(main, _MAX_TEXT_BYTES).decode("utf-8", "replace")
    names = require_text_model(main.name, text)
    return ModelFormat.TF2 if (1, "object_graph_def") in names else ModelFormat.TF1
