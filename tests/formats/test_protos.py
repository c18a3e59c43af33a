"""TensorFlow's messages in pools of our own: both pools, the text form, both backends."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from hubcli.errors import BrokenModelError
from hubcli.formats import protos as schema
from hubcli.formats.protos import from_text, parse, require_few_messages
from tests.cases import each_of
from tests.corpus import KINDS, corpus_file
from tests.formats.tables import delimited, number


def _text(body: str) -> Any:
    """The MetaGraph of a model in text form."""
    data = from_text("SavedModel", f"meta_graphs {{ {body} }}")
    return parse("SavedModel", data).meta_graphs[0]


@each_of("name", KINDS)
def test_whole_models_are_read_by_both_pools(name: str) -> None:
    data = corpus_file(name, "saved_model.pb")
    lean = parse("SavedModel", data)
    full = schema._message_class("SavedModel", is_lean=False).FromString(data)
    assert lean.ByteSize() == full.ByteSize() == len(data)
    for meta_graph, other in zip(lean.meta_graphs, full.meta_graphs, strict=True):
        for ours, theirs in zip(meta_graph.graph_def.node, other.graph_def.node, strict=True):
            assert (ours.name, ours.op, sorted(ours.attr)) == (theirs.name, theirs.op, sorted(theirs.attr))
            for key, encoded in ours.attr.items():
                assert parse("AttrValue", encoded).s == theirs.attr[key].s


def test_the_lean_pool_leaves_small_messages_as_bytes() -> None:
    encoded = delimited(1, b"n") + delimited(5, delimited(1, b"k") + delimited(2, delimited(2, b"v")))
    lean = parse("NodeDef", encoded)
    assert lean.attr["k"] == delimited(2, b"v")
    assert parse("AttrValue", lean.attr["k"]).s == b"v"
    full = schema._message_class("NodeDef", is_lean=False).FromString(encoded)
    assert full.attr["k"].s == b"v"


@each_of("member", [delimited(3, b""), delimited(4, b"")])
def test_every_list_of_a_collection_clears_those_before_it(member: bytes) -> None:
    names = [delimited(1, delimited(1, name)) for name in (b"first", b"second")]
    assert parse("CollectionDef", names[0] + member).WhichOneof("kind") not in (None, "node_list")
    assert list(parse("CollectionDef", member.join(names)).node_list.value) == ["second"]


def test_unknown_fields_are_passed_over() -> None:
    assert parse("NodeDef", delimited(1, b"n") + delimited(1000, b"?") + number(999, 5)).name == "n"


@each_of("data", [b"\xff", b"\x0a\x05a", b"\x0a\x01\xff", b"\x0b"])
def test_damaged_bytes_are_refused_with_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(BrokenModelError, match="Cannot read a NodeDef"):
        parse("NodeDef", data)


def test_messages_nested_beyond_protobufs_limit_are_refused() -> None:
    body = b""
    for _ in range(1000):
        body = delimited(51, delimited(1, body))
    with pytest.raises(BrokenModelError):
        parse("StructuredValue", body)


def test_other_bytes_than_bytes_are_read() -> None:
    assert parse("NodeDef", bytearray(delimited(1, b"n"))).name == "n"  # type: ignore[arg-type]


# Counting ----------------------------------------------------------------------------------------


def test_small_data_is_not_counted() -> None:
    require_few_messages("SavedObjectGraph", b"\x0a\x00" * 1_000_000)


@pytest.mark.slow
def test_too_many_messages_are_refused() -> None:
    with pytest.raises(BrokenModelError, match="more than 300000 messages"):
        require_few_messages("SavedObjectGraph", b"\x0a\x00" * 2_200_000)


def test_large_values_are_no_messages() -> None:
    require_few_messages("SavedObjectGraph", delimited(1, delimited(99, bytes(5 << 20))))


def test_damage_is_found_while_counting() -> None:
    with pytest.raises(BrokenModelError):
        require_few_messages("SavedObjectGraph", bytes(5 << 20))


def test_deep_nesting_is_refused_while_counting() -> None:
    body = delimited(99, bytes(5 << 20))
    for _ in range(200):
        body = delimited(51, delimited(1, body))
    with pytest.raises(BrokenModelError, match="nested too deeply"):
        require_few_messages("StructuredValue", body)


# Text --------------------------------------------------------------------------------------------


def test_enums_stand_by_name_and_by_number_in_text() -> None:
    graph = _text(
        "signature_def { key: 'a' value { inputs { key: 'x' value { dtype: DT_BFLOAT16 } } "
        "inputs { key: 'y' value { dtype: 23 } } inputs { key: 'z' value { dtype: DT_FLOAT_REF } } } }"
    )
    inputs = graph.signature_def["a"].inputs
    assert [inputs[key].dtype for key in "xyz"] == [14, 23, 101]


def test_classes_of_specs_stand_by_name_in_text() -> None:
    data = from_text("TypeSpecProto", "type_spec_class: RAGGED_TENSOR_SPEC")
    assert parse("TypeSpecProto", data).type_spec_class == 3


def test_a_type_that_nobody_knows_is_refused_in_text() -> None:
    with pytest.raises(BrokenModelError, match="Cannot read the text"):
        from_text("TensorInfo", "dtype: DT_NOVEL")


def test_what_the_schema_does_not_know_is_left_out_of_text() -> None:
    graph = _text(
        "graph_def { node { name: 'a' novelty { depth: 3 } experimental: 'x' } versions { producer: 9 } }"
    )
    assert graph.graph_def.node[0].name == "a"


def test_a_message_of_any_type_is_expanded_in_a_collection() -> None:
    graph = _text(
        "collection_def { key: 'saved_model_assets' value { any_list { value { "
        "[type.googleapis.com/tensorflow.AssetFileDef] { filename: 'v.txt' tensor_info { name: 'c:0' } } "
        "} } } }"
    )
    wrapped = graph.collection_def["saved_model_assets"].any_list.value[0]
    assert parse("AssetFileDef", wrapped.value).filename == "v.txt"


def test_bytes_in_a_collection_are_unescaped() -> None:
    graph = _text(r"collection_def { key: 'variables' value { bytes_list { value: '\n\003v:0' } } }")
    assert parse("VariableDef", graph.collection_def["variables"].bytes_list.value[0]).variable_name == "v:0"


def test_messages_that_are_lean_in_binary_are_whole_in_text() -> None:
    graph = _text("graph_def { node { attr { key: 'f' value { func { name: 'g' } } } } }")
    assert parse("AttrValue", graph.graph_def.node[0].attr["f"]).func.name == "g"


@each_of("text", ["meta_graphs {", "meta_graphs { tags }", "}", "meta_graphs: 5", "\0"])
def test_text_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BrokenModelError, match="Cannot read the text"):
        from_text("SavedModel", text)


@each_of(
    "depth",
    [
        30,
        49,
        51,
        120,
        160,
        300,
        10_000,
    ],
)
def test_text_of_any_depth_is_read_or_refused(depth: int) -> None:
    text = "list_value { values { " * depth + "none_value { }" + "} } " * depth
    try:
        from_text("StructuredValue", text)
    except BrokenModelError:
        assert depth > 30


def test_an_any_of_a_type_that_nobody_knows_is_refused_or_read() -> None:
    text = "value { [type.googleapis.com/tensorflow.Novel] { a: 1 } }"
    with pytest.raises(BrokenModelError):
        from_text("AnyList", text)


# Backends ----------------------------------------------------------------------------------------

_CHILD = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
from hubcli.formats import protos as schema
from pathlib import Path
print(schema.is_slow())
print(schema.from_text("TensorInfo", "dtype: DT_HALF name: 'a'").hex())
for path in sys.argv[2:]:
    parsed = schema.parse("SavedModel", Path(path).read_bytes())
    print(path, parsed.meta_graphs[0].meta_info_def.tags)
    for graph in parsed.meta_graphs:
        for node in graph.graph_def.node:
            print(node.name, node.op, node.input, [(key, bytes(node.attr[key])) for key in sorted(node.attr)])
        for key in sorted(graph.signature_def):
            print(key, sorted(graph.signature_def[key].inputs))
        print([(node.WhichOneof("kind"), len(node.children)) for node in graph.object_graph_def.nodes])
"""


def _with_blocked(modules: str, **environment: str) -> list[str]:
    import os

    from tests.corpus import corpus_model

    models = ("serving_half_plus_two_tf2", "serving_half_plus_two", "tfx_keras_serving")
    paths = [corpus_model(model) / "saved_model.pb" for model in models]
    result = subprocess.run(
        [sys.executable, "-c", _CHILD, modules, *paths],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_protobuf_in_pure_python_gives_the_same_as_its_extension() -> None:
    usual = _with_blocked("nothing")
    assert usual[0] == "False"
    missing = _with_blocked("google._upb,google._upb._message")
    asked_for = _with_blocked("nothing", PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION="python")
    assert missing == asked_for == ["True", *usual[1:]]


_TIMES = """
import sys
from hubcli.formats.protos import parse
parse("NodeDef", b"")
print("calendar" in sys.modules)
from google.protobuf.timestamp_pb2 import Timestamp
time = Timestamp()
time.FromJsonString("2026-01-02T03:04:05Z")
print(time.seconds, time.ToJsonString(), "calendar" in sys.modules)
"""


def test_messages_of_times_find_the_calendar_that_reading_models_left_out() -> None:
    result = subprocess.run([sys.executable, "-c", _TIMES], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["False", "1767323045 2026-01-02T03:04:05Z True"]
