"""Variables, their keys in the checkpoint, and the root's lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import BrokenModelError
from hubcli.savedmodel.model import SavedModelInfo
from tests.cases import each_of
from tests.formats.tables import bundle_entry, delimited, index_of, number, varint
from tests.savedmodel.protos import FLOAT, STRING, Objects, index, message, meta_graph, read

SUFFIX = b"/.ATTRIBUTES/VARIABLE_VALUE"


def info_of(folder: Path, objects: Objects, index_bytes: bytes | None = None, **more: Any) -> SavedModelInfo:
    return read(folder, meta_graph(None, objects), index_bytes=index_bytes, **more)


def test_listed_variables_come_in_the_order_of_the_list_and_the_rest_by_path(tmp_path: Path) -> None:
    objects = Objects()
    nodes = {name: objects.variable(name) for name in ("d", "c", "b", "a")}
    objects.list_of("variables", [nodes["c"], nodes["d"]])
    info = info_of(tmp_path, objects)
    assert [(variable.path, variable.is_listed) for variable in info.variables] == [
        ("c", True), ("d", True), ("a", False), ("b", False)
    ]  # fmt: skip
    assert info.lists.variables == ("c", "d")
    assert info.lists.trainable_variables is None
    assert info.parameters.total == 4
    assert info.parameters.in_file == 8


def test_the_list_decides_what_is_trainable(tmp_path: Path) -> None:
    objects = Objects()
    frozen, tuned = objects.variable("frozen"), objects.variable("tuned", trainable=False)
    objects.list_of("variables", [frozen, tuned])
    objects.list_of("trainable_variables", [tuned])
    info = info_of(tmp_path, objects)
    assert [(variable.path, variable.trainable) for variable in info.variables] == [
        ("frozen", False),
        ("tuned", True),
    ]
    assert info.parameters.trainable == 2


def test_without_lists_the_variables_say_it_themselves(tmp_path: Path) -> None:
    objects = Objects()
    objects.variable("a")
    objects.variable("b", trainable=False)
    info = info_of(tmp_path, objects)
    assert [(variable.path, variable.trainable, variable.is_listed) for variable in info.variables] == [
        ("a", True, False), ("b", False, False)
    ]  # fmt: skip
    assert (info.parameters.total, info.parameters.trainable) == (4, 2)


def test_a_key_is_the_shortest_path_escaped(tmp_path: Path) -> None:
    objects = Objects()
    objects.variable("a/b.c")
    keys = index_of([(b"a.Sb..c" + SUFFIX, bundle_entry(0, 0, 8))])
    variable = info_of(tmp_path, objects, keys).variables[0]
    assert variable.checkpoint_key == "a.Sb..c/.ATTRIBUTES/VARIABLE_VALUE"


def test_the_key_of_a_slot_names_its_optimizer(tmp_path: Path) -> None:
    objects = Objects()
    kernel, optimizer, slot = objects.variable("k"), objects.user("o"), objects.variable(None)
    objects.message.nodes[optimizer].slot_variables.add(
        original_variable_node_id=kernel, slot_name="m", slot_variable_node_id=slot
    )
    key = b"k/.OPTIMIZER_SLOT/o/m" + SUFFIX
    info = info_of(tmp_path, objects, index_of([(key, bundle_entry(0, 0, 8))]))
    slots = [variable for variable in info.variables if variable.is_slot]
    assert [slot.checkpoint_key for slot in slots] == [key.decode()]
    assert info.parameters.total == 2


def _string_tensor(content: bytes) -> bytes:
    return varint(len(content)) + bytes(4) + content


def _checkpoint_with_graph(nodes: list[Any], key: bytes) -> tuple[bytes, bytes]:
    """Index and shard of a checkpoint with an object graph."""
    graph = message("TrackableObjectGraph", nodes=nodes).SerializeToString()
    data = _string_tensor(graph)
    entry = number(1, STRING) + delimited(2, b"") + number(5, len(data))
    entries = [(b"_CHECKPOINTABLE_OBJECT_GRAPH", entry), (key, bundle_entry(0, len(data), 8))]
    return index_of(entries), data + bytes(8)


def test_a_key_that_is_no_path_is_found_through_the_checkpoints_graph(tmp_path: Path) -> None:
    objects = Objects()
    objects.variable("kernel", objects.user("layer"))
    attribute = {"name": "VARIABLE_VALUE", "checkpoint_key": "elsewhere"}
    nodes = [
        {"children": [{"node_id": 1, "local_name": "layer"}]},
        {"children": [{"node_id": 2, "local_name": "kernel"}]},
        {"attributes": [attribute]},
    ]
    keys, shard = _checkpoint_with_graph(nodes, b"elsewhere")
    files = {"variables/variables.data-00000-of-00001": shard}
    assert info_of(tmp_path, objects, keys, files=files).variables[0].checkpoint_key == "elsewhere"


@each_of("shard", [b"", b"\xff" * 20, b"\x05abcd", None])
def test_a_checkpoints_graph_that_is_not_whole_is_left_alone(tmp_path: Path, shard: bytes | None) -> None:
    objects = Objects()
    objects.variable("v")
    keys, _ = _checkpoint_with_graph([], b"elsewhere")
    files = {} if shard is None else {"variables/variables.data-00000-of-00001": shard}
    assert info_of(tmp_path, objects, keys, files=files).variables[0].checkpoint_key is None


def test_a_checkpoints_graph_that_names_what_is_not_there_ends(tmp_path: Path) -> None:
    objects = Objects()
    objects.variable("v")
    nodes = [{"children": [{"node_id": 9, "local_name": "v"}, {"node_id": -1, "local_name": "w"}]}]
    keys, shard = _checkpoint_with_graph(nodes, b"elsewhere")
    files = {"variables/variables.data-00000-of-00001": shard}
    assert info_of(tmp_path, objects, keys, files=files).variables[0].checkpoint_key is None


def test_a_checkpoints_graph_that_is_none_is_refused(tmp_path: Path) -> None:
    objects = Objects()
    objects.variable("v")
    data = _string_tensor(b"\xff\xff\xff")
    entry = number(1, STRING) + delimited(2, b"") + number(5, len(data))
    keys = index_of([(b"_CHECKPOINTABLE_OBJECT_GRAPH", entry)])
    with pytest.raises(BrokenModelError):
        info_of(tmp_path, objects, keys, files={"variables/variables.data-00000-of-00001": data})


@each_of(
    "dtype, shape, size",
    [(FLOAT, (2, 3), 24), (FLOAT, (), 4), (STRING, (2,), None), (FLOAT, (None,), None), (999, (2,), None)],
)
def test_the_size_of_a_variable_without_a_checkpoint(
    tmp_path: Path, dtype: int, shape: tuple[int | None, ...], size: int | None
) -> None:
    objects = Objects()
    objects.variable("v", dtype=dtype, shape=shape)
    assert info_of(tmp_path, objects).variables[0].size_bytes == size


def test_the_size_of_text_is_that_of_its_entry(tmp_path: Path) -> None:
    objects = Objects()
    objects.variable("v", dtype=STRING, shape=())
    entry = number(1, STRING) + number(5, 17)
    assert info_of(tmp_path, objects, index_of([(b"v" + SUFFIX, entry)])).variables[0].size_bytes == 17


def test_a_variable_that_hangs_nowhere_goes_by_its_name(tmp_path: Path) -> None:
    objects = Objects()
    objects.variable(None, full_name="lost/kernel")
    assert info_of(tmp_path, objects).variables[0].path == "lost/kernel"


def test_regularization_losses_are_counted(tmp_path: Path) -> None:
    objects = Objects()
    objects.list_of("regularization_losses", [objects.function(None), objects.function(None)])
    assert info_of(tmp_path, objects).lists.losses == 2


# TensorFlow 1 ------------------------------------------------------------------------------------


def _definition(name: str, **more: Any) -> bytes:
    encoded: bytes = message("VariableDef", variable_name=name, **more).SerializeToString()
    return encoded


def _collected(folder: Path, index_bytes: bytes | None = None, **collections: list[bytes]) -> SavedModelInfo:
    parts = {name: {"bytes_list": {"value": encoded}} for name, encoded in collections.items()}
    return read(folder, meta_graph(collection_def=parts), index_bytes=index_bytes)


def test_variables_of_collections_are_joined_with_the_index(tmp_path: Path) -> None:
    index_bytes = index_of([(b"a", number(1, 1) + delimited(2, delimited(2, number(1, 3))) + number(5, 12))])
    both = [_definition("a:0"), _definition("b:0")]
    info = _collected(tmp_path, index_bytes, variables=both, trainable_variables=both[:1])
    assert [
        (variable.name, variable.dtype, variable.shape, variable.trainable, variable.size_bytes)
        for variable in info.variables
    ] == [
        ("a", "float32", (3,), True, 12),
        ("b", None, None, False, None),
    ]
    assert info.lists.variables == ("a", "b")


def test_the_parts_of_a_partitioned_variable_count_as_one(tmp_path: Path) -> None:
    parts = [
        _definition(f"v/part_{place}:0", save_slice_info_def={"full_name": "v", "full_shape": [4, 2]})
        for place in range(2)
    ]
    info = _collected(tmp_path, variables=parts)
    assert [(variable.name, variable.shape) for variable in info.variables] == [("v", (4, 2))]


def test_losses_of_a_collection_are_counted(tmp_path: Path) -> None:
    nodes = {"regularization_losses": {"node_list": {"value": ["a:0", "b:0"]}}}
    assert read(tmp_path / "a", meta_graph(collection_def=nodes)).lists.losses == 2
    assert _collected(tmp_path / "b", regularization_losses=[b"x"]).lists.losses == 1


def test_a_damaged_definition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenModelError):
        _collected(tmp_path, variables=[b"\xff"])


def test_the_index_of_the_builder_is_read(tmp_path: Path) -> None:
    objects = Objects()
    objects.variable("v", shape=(2, 2))
    info = info_of(tmp_path, objects, index(v=(FLOAT, (2, 2), 7)))
    assert info.variables[0].size_bytes == 16
    assert info.checkpoint is not None
    assert info.checkpoint.tensors[0].crc32c == (7,)
