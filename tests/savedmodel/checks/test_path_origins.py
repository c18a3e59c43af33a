"""Proofs of where a path comes from: what is proven, and each way to make it look so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import BrokenModelError
from hubcli.formats.protos import _message_class
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.reader import read_model
from tests.cases import each_of
from tests.formats.tables import delimited, varint
from tests.savedmodel.protos import (
    STRING,
    Func,
    Funcs,
    Objects,
    asset_file,
    call_signature,
    findings_of,
    function,
    graph,
    init_signature,
    message,
    meta_graph,
    node,
    saver,
)

INIT = "__saved_model_init_op"
TABLE = "InitializeTableFromTextFileV2"
FILL = node("fill", TABLE, "t", "path")
BOOT = function("boot", FILL, inputs=("path", "t"))


def codes(folder: Path, *meta_graphs: Any) -> set[str]:
    """The findings of a severity of medium or above."""
    return {
        finding.code
        for finding in findings_of(folder, *meta_graphs)
        if finding.severity.value in ("medium", "high")
    }


def constant(name: str, *texts: str) -> Any:
    tensor = {"dtype": STRING, "string_val": [text.encode() for text in texts]}
    return node(name, "Const", value=message("AttrValue", tensor=tensor))


def _constant_in_bytes(*tensors: bytes, between: bytes = b"") -> bytes:
    """A GraphDef with the node `suffix`, whose AttrValue has a TensorProto in pieces."""
    value = between.join(delimited(8, tensor) for tensor in tensors)
    entry = delimited(1, b"value") + delimited(2, value)
    suffix = delimited(1, b"suffix") + delimited(2, b"Const") + delimited(5, entry)
    return delimited(2, delimited(1, suffix))


def call(name: str, callee: str, *inputs: str, op: str = "StatefulPartitionedCall", key: str = "f") -> Any:
    return node(name, op, *inputs, **{key: Func(callee)})


def loading(*nodes: Any, functions: Any = (), init: str = "init", **parts: Any) -> Any:
    """A graph that runs the node `init` when it is loaded, with a declared asset `asset`."""
    every = [constant("asset", "/x"), constant("other", "/etc/hostname"), node("h", "HashTableV2"), *nodes]
    parts = {"asset_file_def": [asset_file("asset:0", "v.txt")], **parts}
    return meta_graph(graph(*every, functions=functions), signature_def={INIT: init_signature(init)}, **parts)


def with_files(folder: Path, message: Any) -> set[str]:
    """The codes, where the asset is there."""
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "v.txt").write_bytes(b"x")
    return codes(folder, message)


# What is proven ----------------------------------------------------------------------------------

PROVEN = {
    "fed": loading(node("init", TABLE, "h", "asset")),
    "fed-by-its-full-name": loading(node("init", TABLE, "h", "asset:0")),
    "behind-an-identity": loading(node("i", "Identity", "asset"), node("init", TABLE, "h", "i:0")),
    "into-a-call": loading(call("init", "boot", "asset", "h"), functions=[BOOT]),
    "into-a-call-by-name": loading(node("init", "boot", "asset", "h"), functions=[BOOT]),
    "two-deep": loading(
        call("init", "outer", "asset", "h"),
        functions=[function("outer", call("c", "boot", "a", "b"), inputs=("a", "b")), BOOT],
    ),
    "in-a-branch": loading(
        node("init", "If", "h", "asset", "h", then_branch=Func("boot"), else_branch=Func("no")),
        functions=[BOOT, function("no", inputs=("a", "b"))],
    ),
    "in-a-case": loading(
        node("init", "Case", "h", "asset", "h", branches=Funcs(("boot", "boot"))), functions=[BOOT]
    ),
    "in-a-loop-that-keeps-it": loading(
        node("init", "While", "asset", "h", cond=Func("cond"), body=Func("boot")),
        functions=[
            function("boot", FILL, inputs=("path", "t"), results={"x": "path", "y": "t"}),
            function("cond", inputs=("a", "b")),
        ],
    ),
    "by-a-variable": loading(
        node("v", "VarHandleOp", shared_name="v"),
        node("is", "VarIsInitializedOp", "v"),
        node("set", "AssignVariableOp", "v", "asset"),
        node("read", "ReadVariableOp", "v", "^set"),
        node("init", TABLE, "h", "read"),
    ),
}


@each_of("how", PROVEN)
def test_a_path_of_an_asset_is_proven(tmp_path: Path, how: str) -> None:
    assert with_files(tmp_path, PROVEN[how]) == set()


def _bound(*, kind: dict[str, Any], more: Any = None, name: str = "_initialize") -> Any:
    """A function of a resource that captures an object."""
    objects = Objects()
    table = objects.add("table", resource={})
    captured = objects.add("captured", **kind)
    objects.bare(name, objects.concrete("boot", captures=[captured, table]), table)
    return loading(functions=[BOOT, *([more] if more else [])], objects=objects)


def test_an_asset_that_a_function_captures_is_proven(tmp_path: Path) -> None:
    assert with_files(tmp_path, _bound(kind={"asset": {"asset_file_def_index": 0}})) == set()


def test_an_asset_that_a_function_hands_on_is_proven(tmp_path: Path) -> None:
    """As in a model of TensorFlow 1 that TensorFlow 2 has saved again."""
    objects = Objects()
    table = objects.add("table", resource={})
    asset = objects.add("a", asset={"asset_file_def_index": 0})
    objects.bare("_initialize", objects.concrete("outer", captures=[asset, table]), table)
    outer = function("outer", call("c", "boot", "a", "b"), inputs=("a", "b"))
    assert with_files(tmp_path, loading(functions=[outer, BOOT], objects=objects)) == set()


# What is not -------------------------------------------------------------------------------------

_CALLED = {INIT: init_signature("init"), "serving_default": call_signature("init:0")}


def _called(message: Any) -> Any:
    for key, signature in _CALLED.items():
        message.signature_def[key].CopyFrom(signature)
    return message


def _with_library_bytes(message: Any, extra: bytes) -> bytes:
    """The MetaGraph with more fields in its library."""
    return bytes(message.SerializeToString()) + delimited(2, delimited(2, extra))


_IMPLEMENTING = BOOT.SerializeToString() + delimited(
    5, delimited(1, b"api_implements") + delimited(2, delimited(2, b"x"))
)
_LIST_ARG = message(
    "FunctionDef",
    signature={"name": "boot", "input_arg": [
        message("ArgDef", name="a", type=STRING, number_attr="N"), message("ArgDef", name="path", type=STRING)
    ]},
    node_def=[node("fill", TABLE, "a", "path")],
)  # fmt: skip


def _several_at_first(attribute: str) -> Any:
    """The function `boot`, whose first input stands for as many tensors as its attribute says."""
    boot = function("boot", FILL, inputs=("path", "t"))
    setattr(boot.signature.input_arg[0], attribute, "N")
    return boot


FREE = {
    "a-signature-fills-it": _called(loading(node("init", TABLE, "h", "asset"))),
    "a-signature-calls-the-function": _called(
        loading(call("init", "boot", "asset", "h"), functions=[BOOT])
    ),
    "the-restore-op-fills-it": loading(
        node("init", TABLE, "h", "asset"), saver_def=saver(restore="init")
    ),
    "another-output-of-the-node": loading(
        node("init", TABLE, "h", "asset"), asset_file_def=[asset_file("asset:1", "v.txt")]
    ),
    "declared-where-nobody-looks": loading(
        node("init", TABLE, "h", "other"),
        collection_def={
            "saved_model_assets": {
                "any_list": {"value": [{"value": asset_file("other:0", "v.txt").SerializeToString()}]}
            }
        },
    ),
    "a-second-call": loading(
        call("one", "boot", "asset", "h"),
        call("two", "boot", "other", "h"),
        node("init", "NoOp", "^one", "^two"),
        functions=[BOOT],
    ),
    "a-call-two-deep": loading(
        call("init", "outer", "other", "h"),
        functions=[function("outer", call("c", "boot", "a", "b"), inputs=("a", "b")), BOOT],
    ),
    "a-constant-that-a-function-hands-on": loading(
        call("init", "outer", "h"),
        functions=[function("outer", constant("c", "/x"), call("c2", "boot", "c:output:0", "b"),
                            inputs=("b",)), BOOT],
    ),
    "another-attribute": loading(
        node("one", "StatefulPartitionedCall", "asset", "h", f=Func("boot")),
        node("init", "MapDataset", "other", "h", "^one", f=Func("boot")),
        functions=[BOOT],
    ),
    "nested-in-an-attribute": loading(
        call("one", "boot", "asset", "h"),
        node("init", "StatefulPartitionedCall", "asset", "h", "^one", f=message(
            "AttrValue",
            func={"name": "no", "attr": {"g": message("AttrValue", func={"name": "boot"})}},
        )),
        functions=[BOOT, function("no", inputs=("a", "b"))],
    ),
    "the-condition-of-an-if": loading(
        node("init", "If", "asset", "other", "h", then_branch=Func("boot"), else_branch=Func("boot")),
        functions=[BOOT],
    ),
    "a-loop-that-changes-it": loading(
        node("init", "While", "asset", "h", cond=Func("cond"), body=Func("boot")),
        functions=[
            function("boot", FILL, constant("c", "/x"), inputs=("path", "t"),
                     results={"x": "c:output:0", "y": "t"}),
            function("cond", inputs=("a", "b")),
        ],
    ),
    "a-loop-that-swaps-it": loading(
        node("init", "While", "asset", "other", cond=Func("cond"), body=Func("boot")),
        functions=[
            function("boot", FILL, inputs=("path", "t"), results={"x": "t", "y": "path"}),
            function("cond", inputs=("a", "b")),
        ],
    ),
    "an-input-of-several-tensors": loading(
        node("init", "boot", "h", "other", "asset"), functions=[_LIST_ARG]
    ),
    "an-op-of-that-name": loading(
        node("id", "Identity", "asset"),
        node("init", TABLE, "h", "id"),
        functions=[function("Identity", constant("c", "/x"), inputs=("a",))],
    ),
    "a-gradient": _with_library_bytes(
        loading(call("init", "boot", "asset", "h"), functions=[BOOT]),
        delimited(2, delimited(1, b"f") + delimited(2, b"boot")),
    ),
    "a-registered-gradient": _with_library_bytes(
        loading(call("init", "boot", "asset", "h"), functions=[BOOT]),
        delimited(3, delimited(1, b"boot") + delimited(2, b"CustomGradient-1")),
    ),
    "a-function-that-others-stand-for": _with_library_bytes(
        loading(call("init", "boot", "asset", "h")), delimited(1, _IMPLEMENTING)
    ),
    "two-functions-of-one-name": loading(
        call("init", "boot", "asset", "h"),
        functions=[BOOT, function("boot", FILL, inputs=("t", "path"))],
    ),
    "two-inputs-of-one-name": loading(
        call("init", "boot", "other", "asset", "h"),
        functions=[function("boot", FILL, inputs=("path", "path", "t"))],
    ),
    "an-input-that-stands-for-several": loading(
        call("init", "boot", "asset", "h"), functions=[_several_at_first("number_attr")]
    ),
    "an-input-that-stands-for-a-list": loading(
        call("init", "boot", "asset", "h"), functions=[_several_at_first("type_list_attr")]
    ),
    "a-function-that-stands-twice": loading(call("init", "boot", "asset", "h"), functions=[BOOT, BOOT]),
    "a-variable-that-is-assigned-twice": loading(
        node("v", "VarHandleOp", shared_name="v"),
        node("set", "AssignVariableOp", "v", "asset"),
        node("again", "AssignVariableOp", "v", "other"),
        node("read", "ReadVariableOp", "v"),
        node("init", TABLE, "h", "read"),
    ),
    "a-variable-of-two-handles": loading(
        node("v", "VarHandleOp", shared_name="v"),
        node("w", "VarHandleOp", shared_name="v"),
        node("set", "AssignVariableOp", "v", "asset"),
        node("again", "AssignVariableOp", "w", "other"),
        node("read", "ReadVariableOp", "v"),
        node("init", TABLE, "h", "read"),
    ),
    "a-variable-named-like-a-node": loading(
        node("v", "VarHandleOp"),
        node("w", "VarHandleOp", shared_name="v"),
        node("set", "AssignVariableOp", "v", "asset"),
        node("again", "AssignVariableOp", "w", "other"),
        node("read", "ReadVariableOp", "v"),
        node("init", TABLE, "h", "read"),
    ),
    "a-variable-that-a-function-names": loading(
        node("v", "VarHandleOp", shared_name="v"),
        node("set", "AssignVariableOp", "v", "asset"),
        node("read", "ReadVariableOp", "v"),
        node("init", TABLE, "h", "read"),
        functions=[function("f", node("v", "VarHandleOp", shared_name="v"))],
    ),
    "a-variable-whose-handle-goes-elsewhere": loading(
        node("v", "VarHandleOp", shared_name="v"),
        node("set", "AssignVariableOp", "v", "asset"),
        call("else", "f", "v"),
        node("read", "ReadVariableOp", "v"),
        node("init", TABLE, "h", "read"),
        functions=[function("f", inputs=("v",))],
    ),
    "a-variable-that-nothing-sets": loading(
        node("v", "VarHandleOp", shared_name="v"),
        node("read", "ReadVariableOp", "v"),
        node("init", TABLE, "h", "read"),
    ),
    "a-variable-of-the-checkpoint": loading(
        node("v", "VarHandleOp", shared_name="v"),
        node("r", "RestoreV2", "name"),
        node("set", "AssignVariableOp", "v", "r"),
        node("read", "ReadVariableOp", "v"),
        node("init", TABLE, "h", "read"),
    ),
    "no-path-at-all": loading(node("init", TABLE, "h")),
    "a-captured-constant": _bound(kind={"constant": {"operation": "asset"}}),
    "a-captured-tensor": _bound(kind={"captured_tensor": {"name": "asset:0", "concrete_function": "boot"}}),
    "a-captured-variable": _bound(kind={"variable": {"dtype": STRING}}),
    "an-asset-out-of-range": _bound(kind={"asset": {"asset_file_def_index": 1}}),
    **{
        f"a-variable-with-a-function-named-{op}": loading(
            node("v", "VarHandleOp", shared_name="v"),
            node("set", "AssignVariableOp", "v", "asset"),
            node("is", "VarIsInitializedOp", "v"),
            node("r", "ReadVariableOp", "v", "^set"),
            node("init", TABLE, "h", "r"),
            functions=[function(op, inputs=("handle", "value"))],
        )
        for op in ("VarHandleOp", "AssignVariableOp", "VarIsInitializedOp", "ReadVariableOp")
    },
    "an-asset-counted-from-the-end": _bound(kind={"asset": {"asset_file_def_index": -1}}),
    "an-asset-of-another-class": _bound(
        kind={"asset": {"asset_file_def_index": 0}, "registered_name": "Other"}
    ),
    "a-public-function": _bound(kind={"asset": {"asset_file_def_index": 0}}, name="read"),
    "a-function-that-others-call-too": _bound(
        kind={"asset": {"asset_file_def_index": 0}},
        more=function("x", constant("c", "/x"), call("go", "boot", "c:output:0", "c:output:0")),
    ),
}  # fmt: skip


@each_of("how", FREE)
def test_a_path_that_only_looks_like_an_asset_is_found(tmp_path: Path, how: str) -> None:
    assert "reads-files" in with_files(tmp_path, FREE[how])


def test_an_argument_of_the_caller_is_not_proven(tmp_path: Path) -> None:
    """A signature may have defaults, which the model chooses."""
    objects = Objects()
    objects.bare("_initialize", objects.concrete("boot"), objects.add("table", resource={}))
    assert "reads-files" in with_files(tmp_path, loading(functions=[BOOT], objects=objects))


# Savers ------------------------------------------------------------------------------------------


def _saving(*nodes: Any, separator: str | None = None, last: str = "merge", **parts: Any) -> Any:
    """A saver of TensorFlow 1 as it is written, of which some nodes are others."""
    joined = {} if separator is None else {"separator": separator}
    every = {node.name: node for node in (
        constant("input", "model"),
        node("name", "PlaceholderWithDefault", "input"),
        constant("suffix", "_temp_0123/part"),
        node("join", "StringJoin", "name", "suffix", **joined),
        node("shard", "ShardedFilename", "join", "number", "number"),
        node("save", "SaveV2", "shard", "names", "slices"),
        node("pack", "Pack", "shard", "^save"),
        node("merge", "MergeV2Checkpoints", "pack", "name"),
        node("done", "Identity", "name", "^merge", "^save"),
        node("restore", "RestoreV2", "name", "names", "slices"),
        *nodes,
    )}  # fmt: skip
    return meta_graph(graph(*every.values()), saver_def=saver("done:0", "restore", "name:0"), **parts)


def test_a_savers_own_file_name_is_proven(tmp_path: Path) -> None:
    assert codes(tmp_path, _saving()) == set()
    assert codes(tmp_path, _saving(separator="")) == set()


CHOSEN = {
    "save": (node("save", "SaveV2", "input", "names", "slices"), "writes-files"),
    "restore": (node("restore", "RestoreV2", "input", "names", "slices"), "reads-files"),
    "merge-from": (node("pack", "Pack", "input", "shard", "^save"), "writes-files"),
    "merge-to": (node("merge", "MergeV2Checkpoints", "pack", "input"), "writes-files"),
    "shards": (node("shard", "ShardedFilename", "input", "number", "number"), "writes-files"),
    "joined-before": (node("join", "StringJoin", "suffix", "name"), "writes-files"),
    "climbing": (constant("suffix", "/../../x"), "writes-files"),
    "climbing-in-two-parts": (node("join", "StringJoin", "name", "dot", "dot"), "writes-files"),
    "behind-a-dot": (constant("suffix", "./x"), "writes-files"),
    "several-constants": (constant("suffix", "a", "b"), "writes-files"),
    "computed": (node("suffix", "StringUpper", "input"), "writes-files"),
    "one-choice-of-two": (node("suffix", "Select", "cond", "input", "computed"), "writes-files"),
}


@each_of("how", CHOSEN)
def test_a_saver_with_a_path_of_its_own_is_found(tmp_path: Path, how: str) -> None:
    changed, code = CHOSEN[how]
    assert code in codes(tmp_path, _saving(changed, constant("dot", ".")))


def test_a_separator_that_climbs_is_found(tmp_path: Path) -> None:
    assert "writes-files" in codes(tmp_path, _saving(separator="/../"))


def test_a_choice_of_two_suffixes_is_proven(tmp_path: Path) -> None:
    choice = node("suffix", "Select", "cond", "one", "two")
    message = _saving(choice, constant("one", ".part"), constant("two", "_temp/part"))
    assert codes(tmp_path, message) == set()


TEXTS = varint(1 << 3) + varint(STRING)  # TensorProto.dtype
CLIMBING, HARMLESS = delimited(8, b"/../../x"), delimited(8, b"_temp/part")
CONSTANTS = {
    "whole": (_constant_in_bytes(TEXTS + HARMLESS), set()),
    "in-pieces": (_constant_in_bytes(TEXTS, HARMLESS), set()),
    # TensorFlow takes the first of too many texts.
    "climbing-in-the-first-piece": (
        _constant_in_bytes(TEXTS + CLIMBING, TEXTS + HARMLESS),
        {"writes-files"},
    ),
    # AttrValue.i, 3, of the same oneof clears the first tensor.
    "harmless-before-a-number": (
        _constant_in_bytes(TEXTS + CLIMBING, TEXTS + HARMLESS, between=b"\x18\x01"),
        set(),
    ),
    "climbing-after-a-number": (
        _constant_in_bytes(TEXTS + HARMLESS, TEXTS + CLIMBING, between=b"\x18\x01"),
        {"writes-files"},
    ),
    # With TensorProto.tensor_content, 4, TensorFlow reads that: each text's length, then the texts.
    "climbing-in-the-content": (
        _constant_in_bytes(TEXTS + HARMLESS + delimited(4, b"\x08/../../x")),
        {"writes-files"},
    ),
}


@each_of("how", CONSTANTS)
def test_a_suffix_is_the_constant_that_tensorflow_reads(tmp_path: Path, how: str) -> None:
    suffix, expected = CONSTANTS[how]
    saving = _saving()
    del saving.graph_def.node[2]
    assert codes(tmp_path, bytes(saving.SerializeToString()) + suffix) == expected


@each_of("known_first", [True, False])
def test_an_attribute_that_readers_of_protobuf_differ_in_is_refused(
    tmp_path: Path, known_first: bool
) -> None:
    """With a field beside key and value, Python's protobuf leaves it out; TensorFlow's C++ runs it."""
    entries = [
        delimited(1, b"value") + delimited(2, delimited(8, TEXTS + HARMLESS)),
        delimited(1, b"value") + delimited(2, delimited(8, TEXTS + CLIMBING)) + delimited(7, b""),
    ]
    attributes = b"".join(delimited(5, entry) for entry in (entries if known_first else entries[::-1]))
    suffix = delimited(1, b"suffix") + delimited(2, b"Const") + attributes
    saving = _saving()
    del saving.graph_def.node[2]
    in_library = delimited(2, delimited(1, delimited(1, delimited(1, b"f")) + delimited(3, suffix)))
    for graph_def in (delimited(1, suffix), in_library):
        with pytest.raises(BrokenModelError, match="fields that protobuf does not have"):
            codes(tmp_path, bytes(saving.SerializeToString()) + delimited(2, graph_def))


def test_a_savers_function_with_a_path_of_its_own_is_found(tmp_path: Path) -> None:
    body = function(
        "s", constant("c", "/etc/x"), node("save", "SaveV2", "c:output:0", "n", "n"), inputs=("name", "n")
    )
    message = graph(node("name", "Placeholder"), call("saving", "s", "name", "name"), functions=[body])
    assert "writes-files" in codes(
        tmp_path, meta_graph(message, saver_def=saver("saving:0", filename="name:0"))
    )


def test_a_savers_function_that_is_called_with_a_constant_is_found(tmp_path: Path) -> None:
    body = function("s", node("save", "SaveV2", "p", "n", "n"), inputs=("p", "n"))
    message = graph(
        node("name", "Placeholder"), constant("c", "/x"), call("saving", "s", "c", "name"), functions=[body]
    )
    assert "writes-files" in codes(
        tmp_path, meta_graph(message, saver_def=saver("saving:0", filename="name:0"))
    )


def test_a_savers_function_that_is_a_gradient_too_is_found(tmp_path: Path) -> None:
    body = function("s", node("save", "SaveV2", "p", "n", "n"), inputs=("p", "n"))
    message = graph(node("name", "Placeholder"), call("saving", "s", "name", "name"), functions=[body])
    whole = meta_graph(message, saver_def=saver("saving:0", filename="name:0"))
    assert codes(tmp_path, whole) == set()
    gradient = delimited(3, delimited(1, b"s") + delimited(2, b"CustomGradient-1"))
    assert "writes-files" in codes(tmp_path, _with_library_bytes(whole, gradient))


# Encodings ---------------------------------------------------------------------------------------


def test_a_name_in_an_odd_encoding_is_not_proven(tmp_path: Path) -> None:
    """Its length takes two bytes where one would do: TensorFlow reads it, the search by bytes doesn't."""
    message = loading(node("init", TABLE, "h", "twin"))
    twin = b"\x0a\x84\x00twin" + delimited(2, b"Identity") + delimited(3, b"other")
    assert varint(4) == b"\x04"
    encoded = bytes(message.SerializeToString()) + delimited(2, delimited(1, twin))
    assert "reads-files" in with_files(tmp_path, encoded)


@pytest.mark.parametrize("how", ["a-registered-gradient", "a-function-that-others-stand-for"])
def test_a_model_as_text_hides_nothing(tmp_path: Path, how: str) -> None:
    from google.protobuf import text_format

    encoded = FREE[how]
    message = _message_class("SavedModel", is_lean=False).FromString(delimited(2, encoded))
    (tmp_path / "saved_model.pbtxt").write_text(text_format.MessageToString(message))
    found = read_model(ModelFiles.of_directory(tmp_path)).findings
    assert "reads-files" in {finding.code for finding in found}
