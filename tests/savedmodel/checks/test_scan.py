"""The scan: what is found, what is exempt, and what an attacker would try to hide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import BrokenModelError
from hubcli.issues import Issue, Severity
from hubcli.savedmodel.checks.scan import CONDITIONAL_OPS, risk_of, risk_of_print, risky_ops
from tests.cases import each_of
from tests.corpus import KINDS, corpus_model
from tests.formats.tables import delimited, number, varint
from tests.savedmodel.protos import (
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
    read,
    saver,
)

INIT = "__saved_model_init_op"
SAVE = node("save", "SaveV2", "prefix", "names", "slices")
MERGE = node("merge", "MergeV2Checkpoints", "prefix", "prefix")


def graded(folder: Path, *meta_graphs: Any) -> set[tuple[str, str]]:
    """Code and severity of every finding."""
    return {(finding.code, finding.severity.value) for finding in findings_of(folder, *meta_graphs)}


def of_code(findings: tuple[Issue, ...], code: str) -> list[Issue]:
    return [finding for finding in findings if finding.code == code]


def calls(name: str, callee: str, *inputs: str, op: str = "StatefulPartitionedCall") -> Any:
    return node(name, op, *inputs, f=Func(callee))


WRITES = ("writes-files", "high")
READS = ("reads-files", "high")


# The corpus --------------------------------------------------------------------------------------


@each_of("name", KINDS)
def test_nothing_grave_is_found_in_a_harmless_model(name: str) -> None:
    from hubcli.savedmodel.model import ModelFiles
    from hubcli.savedmodel.reader import read_model

    info = read_model(ModelFiles.of_directory(corpus_model(name)))
    grave = [finding.code for finding in info.findings if finding.severity >= Severity.MEDIUM]
    assert grave == (["asset-missing"] if name == "serving_half_plus_two_assets_extra" else [])


# Every group of risks ----------------------------------------------------------------------------


@each_of("op", sorted({*risky_ops()} - {*CONDITIONAL_OPS}))
def test_each_op_of_the_list_is_found_where_a_call_reaches_it(tmp_path: Path, op: str) -> None:
    encoded = graph(
        node("call", "PartitionedCall", f=Func("inner")), functions=[function("inner", node("it", op))]
    )
    found = findings_of(
        tmp_path, meta_graph(encoded, signature_def={"serving_default": call_signature("call:0")})
    )
    risk = risk_of(op)
    assert risk is not None
    assert [
        (finding.code, finding.severity, finding.where) for finding in found if finding.code != "unknown-op"
    ] == [(risk.code, risk.severity, "function inner")]
    assert "when it is called" in found[0].message


@each_of(
    "op, expected",
    [
        ("PyFunc", ("runs-python", "critical")),
        ("WriteFile", WRITES),
        ("ReadFile", READS),
        ("RpcClient", ("uses-network", "high")),
        ("Abort", ("ends-process", "high")),
        ("XlaCustomCallV2", ("runs-native-code", "medium")),
        ("FileSystemSetConfiguration", ("configures-files", "medium")),
        ("Print", ("prints", "low")),
        ("PrintV2", ("prints", "low")),
        ("NobodyKnowsThis", ("unknown-op", "low")),
        ("WriteFile ", ("unknown-op", "low")),  # TensorFlow has no such op either.
    ],
)
def test_groups_are_graded(tmp_path: Path, op: str, expected: tuple[str, str]) -> None:
    assert graded(tmp_path, meta_graph(graph(node("it", op)))) == {expected}


def test_harmless_ops_are_no_finding(tmp_path: Path) -> None:
    encoded = graph(
        node("a", "Const"), node("b", "MatMul", "a", "a"), calls("c", "f"), functions=[function("f")]
    )
    assert findings_of(tmp_path, meta_graph(encoded)) == ()


def test_a_call_by_the_name_of_a_library_function_is_no_unknown_op(tmp_path: Path) -> None:
    encoded = graph(node("a", "my_function"), functions=[function("my_function", node("x", "NoOp"))])
    assert findings_of(tmp_path, meta_graph(encoded)) == ()


def test_ops_that_only_files_of_tests_register_are_unknown(tmp_path: Path) -> None:
    assert graded(tmp_path, meta_graph(graph(node("a", "tensorflow_text>Made")))) == {("unknown-op", "low")}


@pytest.mark.parametrize("stream", ["file:///tmp/x", "file://x"])
def test_a_print_into_a_file_is_a_write(tmp_path: Path, stream: str) -> None:
    assert graded(tmp_path, meta_graph(graph(node("a", "PrintV2", output_stream=stream)))) == {WRITES}
    assert risk_of_print(stream).severity is Severity.HIGH


@each_of("stream", ["stderr", "stdout", "log(info)", "", "FILE://x"])
def test_a_print_to_a_stream_is_no_write(tmp_path: Path, stream: str) -> None:
    assert graded(tmp_path, meta_graph(graph(node("a", "PrintV2", output_stream=stream)))) == {
        ("prints", "low")
    }


def test_the_gravest_finding_comes_first(tmp_path: Path) -> None:
    encoded = graph(node("a", "Odd"), node("b", "Print"), node("c", "ReadFile"), node("d", "PyFunc"))
    severities = [finding.severity for finding in findings_of(tmp_path, meta_graph(encoded))]
    assert severities == sorted(severities, reverse=True)


# Where it may stand ------------------------------------------------------------------------------


def test_python_in_the_body_of_a_while_two_functions_deep_is_found(tmp_path: Path) -> None:
    encoded = graph(
        calls("start", "outer"),
        functions=[
            function("outer", node("loop", "While", cond=Func("cond"), body=Func("body"))),
            function("cond", node("x", "Less")),
            function("body", calls("go", "inner", op="PartitionedCall")),
            function("inner", node("py", "PyFunc")),
        ],
    )
    found = findings_of(tmp_path, meta_graph(encoded, signature_def={INIT: init_signature("start")}))
    assert [(finding.code, finding.where) for finding in found] == [("runs-python", "function inner")]
    assert "when it is loaded" in found[0].message


def test_a_branch_in_a_list_of_functions_is_followed(tmp_path: Path) -> None:
    encoded = graph(
        node("case", "Case", branches=Funcs(("harmless", "evil"))),
        functions=[function("harmless"), function("evil", SAVE)],
    )
    assert graded(tmp_path, meta_graph(encoded, signature_def={"s": call_signature("case:0")})) == {WRITES}


def test_a_function_that_nothing_reaches_is_found_with_that_remark(tmp_path: Path) -> None:
    found = findings_of(tmp_path, meta_graph(graph(functions=[function("lost", node("w", "WriteFile"))])))
    assert [finding.severity for finding in found] == [Severity.HIGH]
    assert "unreachable" in found[0].message


def test_functions_that_call_each_other_in_a_circle_end(tmp_path: Path) -> None:
    encoded = graph(functions=[function("a", calls("x", "b")), function("b", calls("x", "a"), SAVE)])
    findings_of(tmp_path, meta_graph(encoded))


def test_the_second_meta_graph_is_scanned_too(tmp_path: Path) -> None:
    evil = meta_graph(graph(node("w", "WriteFile")), tags=("serve", "gpu"))
    assert WRITES in graded(tmp_path, meta_graph(graph()), evil)


def test_one_chosen_meta_graph_is_scanned_alone(tmp_path: Path) -> None:
    evil = meta_graph(graph(node("w", "WriteFile")), tags=("serve", "gpu"))
    info = read(tmp_path, meta_graph(graph()), evil, tag_set=frozenset({"serve"}))
    assert info.findings == ()


def test_a_second_graph_and_a_second_library_are_scanned(tmp_path: Path) -> None:
    first = meta_graph(graph()).SerializeToString()
    nodes = delimited(2, graph(node("w", "WriteFile")).SerializeToString())
    library = graph(functions=[function("f", node("p", "PyFunc"))]).SerializeToString()
    found = graded(tmp_path, first + nodes + delimited(2, library + library))
    assert {WRITES, ("runs-python", "critical")} <= found


def test_a_duplicate_function_is_scanned_in_every_body(tmp_path: Path) -> None:
    encoded = graph(functions=[function("f", node("w", "WriteFile")), function("f", node("x", "NoOp"))])
    assert WRITES in graded(tmp_path, meta_graph(encoded))
    encoded = graph(functions=[function("f", node("x", "NoOp")), function("f", node("w", "WriteFile"))])
    assert WRITES in graded(tmp_path, meta_graph(encoded))


def test_a_node_of_a_megabyte_is_found(tmp_path: Path) -> None:
    big = node("w", "WriteFile", pad=bytes(1 << 20))
    assert WRITES in graded(tmp_path, meta_graph(graph(big)))
    assert WRITES in graded(tmp_path, meta_graph(graph(functions=[function("f", big)])))


def test_a_node_between_large_constants_is_found(tmp_path: Path) -> None:
    constants = [node(f"c{place}", "Const", value=bytes(300_000)) for place in range(4)]
    nodes = [*constants[:2], node("w", "WriteFile"), *constants[2:]]
    assert WRITES in graded(tmp_path, meta_graph(graph(*nodes)))
    assert WRITES in graded(tmp_path, meta_graph(graph(functions=[function("f", *nodes)])))


@each_of("name", ["a\0b", "é", "x" * 100_000, ""])
def test_odd_names_hide_nothing(tmp_path: Path, name: str) -> None:
    encoded = graph(functions=[function(name, node(name, "WriteFile"))])
    assert WRITES in graded(tmp_path, meta_graph(encoded))


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """As TensorFlow refuses them."""
    body = delimited(1, b"\xff") + delimited(2, b"WriteFile")
    with pytest.raises(BrokenModelError):
        findings_of(tmp_path, delimited(2, delimited(1, body)))


def test_groups_of_the_wire_format_are_refused(tmp_path: Path) -> None:
    inner = delimited(1, node("w", "WriteFile").SerializeToString())
    with pytest.raises(BrokenModelError):
        findings_of(tmp_path, delimited(2, b"\x83\x01" + inner + b"\x84\x01"))


def test_a_large_node_whose_tag_takes_two_bytes_is_found(tmp_path: Path) -> None:
    """What is left of the node after slimming must not turn into a field that nobody knows."""
    slim = node("w", "WriteFile").SerializeToString()
    # 123 bytes: as a length, their first one skips the other 122.
    unknown = b"\x7a" + varint(121 - len(slim)) + bytes(121 - len(slim))
    body = unknown + slim + node("", "", pad=bytes(1 << 20)).SerializeToString()
    encoded = b"\x8a\x00" + varint(len(body)) + body
    assert WRITES in graded(tmp_path, delimited(2, encoded))


def _wide(field: int, body: bytes) -> bytes:
    """A field whose tag has more than 32 bits: C++ protobuf cuts them off, and finds the field."""
    return bytes([field << 3 | 2 | 0x80]) + b"\x80\x80\x80\x10" + varint(len(body)) + body


_WRITER = node("w", "WriteFile").SerializeToString()
_WRITING_FUNCTION = function("f", node("w", "WriteFile")).SerializeToString()
_WIDE = {
    "node": delimited(2, delimited(2, _wide(1, _WRITER))),
    "graph": delimited(2, _wide(2, delimited(1, _WRITER))),
    "library": delimited(2, delimited(2, _wide(2, delimited(1, _WRITING_FUNCTION)))),
    "function": delimited(2, delimited(2, delimited(2, _wide(1, _WRITING_FUNCTION)))),
    "meta_graph": delimited(2, b"") + _wide(2, delimited(2, delimited(1, _WRITER))),
}


@each_of(
    "where",
    [
        "node",
        "graph",
        "library",
        pytest.param("function"),
        pytest.param("meta_graph"),
    ],
)
def test_a_tag_of_more_than_32_bits_is_refused(tmp_path: Path, where: str) -> None:
    with pytest.raises(BrokenModelError):
        read(tmp_path, files={"saved_model.pb": _WIDE[where]})


@pytest.mark.parametrize("pad_bytes", [0, 1 << 20])
def test_a_function_is_known_by_the_name_that_tensorflow_gives_it(tmp_path: Path, pad_bytes: int) -> None:
    """Of a field that comes twice, the last counts, in a function that is read in pieces too."""
    pad = node("c", "Const", value=bytes(pad_bytes))
    evil = function("__inference__traced_save_1", SAVE, pad).SerializeToString()
    evil += delimited(1, message("OpDef", name="evil").SerializeToString())
    library = delimited(2, delimited(1, evil))
    encoded = graph(calls("saving", "__inference__traced_save_1"), calls("init", "evil")).SerializeToString()
    rest = meta_graph(
        saver_def=saver("saving:0"), signature_def={INIT: init_signature("init")}
    ).SerializeToString()
    assert WRITES in graded(tmp_path, rest + delimited(2, encoded + library))


def test_a_function_without_a_name_is_not_taken_for_the_graph_itself(tmp_path: Path) -> None:
    """TensorFlow runs it like any other; what the graph's own savers may do, it may not."""
    encoded = graph(calls("boot", ""), functions=[function("", SAVE)])
    found = findings_of(tmp_path, meta_graph(encoded, signature_def={INIT: init_signature("boot")}))
    assert [(finding.code, finding.where) for finding in found] == [("writes-files", "function (no name)")]
    assert "when it is loaded" in found[0].message


# Savers ------------------------------------------------------------------------------------------


def _with_saver(*nodes: Any, functions: Any = (), **parts: Any) -> Any:
    return meta_graph(
        graph(
            node("prefix", "Placeholder"),
            calls("saving", "__inference__traced_save_1", "prefix"),
            calls("restoring", "__inference__traced_restore_2", "prefix"),
            *nodes,
            functions=[
                function("__inference__traced_save_1", SAVE, MERGE, inputs=["prefix"]),
                function(
                    "__inference__traced_restore_2", node("r", "RestoreV2", "prefix"), inputs=["prefix"]
                ),
                *functions,
            ],
        ),
        saver_def=saver("saving:0", "restoring", "prefix:0"),
        **parts,
    )


def test_the_savers_own_functions_are_exempt(tmp_path: Path) -> None:
    assert findings_of(tmp_path, _with_saver()) == ()


def test_the_savers_function_is_no_excuse_for_other_ops(tmp_path: Path) -> None:
    body = function("s", SAVE, node("w", "WriteFile"), inputs=["prefix"])
    encoded = graph(node("name", "Placeholder"), calls("saving", "s", "name"), functions=[body])
    found = findings_of(tmp_path, meta_graph(encoded, saver_def=saver("saving:0", filename="name:0")))
    assert [finding.message.split()[0] for finding in found] == ["WriteFile"]


def test_the_savers_function_that_an_init_op_calls_is_found(tmp_path: Path) -> None:
    encoded = _with_saver(
        calls("boot", "__inference__traced_save_1", "prefix"), signature_def={INIT: init_signature("boot")}
    )
    found = findings_of(tmp_path, encoded)
    assert [(finding.code, finding.severity.value) for finding in found] == [
        WRITES,
        WRITES,
    ]  # SaveV2 and MergeV2Checkpoints
    assert all("when it is loaded" in finding.message for finding in found)


def test_the_savers_function_that_a_signature_calls_is_found(tmp_path: Path) -> None:
    encoded = _with_saver(
        calls("go", "__inference__traced_save_1"), signature_def={"s": call_signature("go:0")}
    )
    assert WRITES in graded(tmp_path, encoded)


def test_the_savers_function_that_an_object_offers_is_found(tmp_path: Path) -> None:
    objects = Objects()
    objects.function("export", objects.concrete("__inference__traced_save_1"))
    encoded = _with_saver()
    encoded.object_graph_def.CopyFrom(objects.message)
    assert WRITES in graded(tmp_path, encoded)


def test_a_name_like_a_savers_is_no_excuse(tmp_path: Path) -> None:
    encoded = _with_saver(
        calls("go", "__inference__traced_save_99"),
        functions=[function("__inference__traced_save_99", SAVE)],
        signature_def={"s": call_signature("go:0")},
    )
    found = of_code(findings_of(tmp_path, encoded), "writes-files")
    assert [finding.where for finding in found] == ["function __inference__traced_save_99"]


def test_a_save_before_the_init_op_of_tensorflow_1_is_found(tmp_path: Path) -> None:
    encoded = graph(SAVE, node("group", "NoOp", "^save"))
    collections = {"saved_model_main_op": {"node_list": {"value": ["group"]}}}
    assert WRITES in graded(tmp_path, meta_graph(encoded, collection_def=collections))
    collections = {"legacy_init_op": {"node_list": {"value": ["group"]}}}
    assert WRITES in graded(tmp_path, meta_graph(encoded, collection_def=collections))


def test_a_save_of_tensorflow_1_that_the_saver_asks_for_is_exempt(tmp_path: Path) -> None:
    encoded = graph(
        node("prefix", "Const"), SAVE, node("done", "Identity", "prefix", "^save"), node("all", "NoOp", "^r"),
        node("r", "RestoreV2", "prefix"),
    )  # fmt: skip
    assert findings_of(tmp_path, meta_graph(encoded, saver_def=saver("done:0", "all", "prefix:0"))) == ()


@each_of("loader", ["_create_resource", "_initialize", "_destroy_resource"])
def test_what_a_resource_runs_on_load_is_found(tmp_path: Path, loader: str) -> None:
    objects = Objects()
    table = objects.add("table", resource={})
    objects.bare(loader, objects.concrete("boot"), table)
    encoded = meta_graph(graph(functions=[function("boot", SAVE)]), objects)
    found = of_code(findings_of(tmp_path, encoded), "writes-files")
    assert ["when it is loaded" in finding.message for finding in found] == [True]


def test_a_save_in_a_function_that_saves_an_object_is_found(tmp_path: Path) -> None:
    """TensorFlow gives such a function a key, and what the checkpoint holds: no file name of its own."""
    objects = Objects()
    table = objects.add("table", resource={})
    save, restore = (objects.function(None, objects.concrete(name)) for name in ("s", "r"))
    saveable = objects.message.nodes[table].saveable_objects["t"]
    saveable.save_function, saveable.restore_function = save, restore
    body = function("s", SAVE, inputs=["prefix"])
    encoded = graph(functions=[body, function("r", node("x", "RestoreV2", "prefix"), inputs=["prefix"])])
    assert graded(tmp_path, meta_graph(encoded, objects)) == {WRITES, READS}


# Tables ------------------------------------------------------------------------------------------


def _table(*sources: Any, path: str = "path", op: str = "InitializeTableFromTextFileV2") -> Any:
    return graph(node("t", "HashTableV2"), *sources, node("init", op, "t", path))


def test_a_table_of_an_asset_is_exempt(tmp_path: Path) -> None:
    encoded = meta_graph(_table(node("path", "Const")), asset_file_def=[asset_file("path:0", "v.txt")])
    assert "reads-files" not in {finding.code for finding in findings_of(tmp_path, encoded)}


@pytest.mark.parametrize("op", ["InitializeTableFromTextFile", "InitializeTableFromTextFileV2"])
def test_a_table_of_a_constant_path_is_found(tmp_path: Path, op: str) -> None:
    encoded = meta_graph(
        _table(node("path", "Const"), op=op), asset_file_def=[asset_file("other:0", "v.txt")]
    )
    assert READS in graded(tmp_path, encoded)


def test_a_table_of_a_constant_behind_an_identity_is_found(tmp_path: Path) -> None:
    encoded = meta_graph(_table(node("c", "Const"), node("path", "Identity", "c")))
    assert READS in graded(tmp_path, encoded)


def test_a_table_in_a_function_that_gets_its_path_is_exempt(tmp_path: Path) -> None:
    objects = Objects()
    table = objects.add("table", resource={})
    asset = objects.add("vocabulary", asset={"asset_file_def_index": 0})
    objects.bare("_initialize", objects.concrete("boot", captures=[asset, table]), table)
    body = function("boot", node("init", "InitializeTableFromTextFileV2", "t", "path"), inputs=("path", "t"))
    encoded = meta_graph(graph(functions=[body]), objects, asset_file_def=[asset_file("a:0", "v.txt")])
    assert "reads-files" not in {finding.code for finding in findings_of(tmp_path, encoded)}


def test_a_table_in_a_function_with_a_constant_path_is_found(tmp_path: Path) -> None:
    body = function("boot", *_table(node("path", "Const")).node)
    assert READS in graded(tmp_path, meta_graph(graph(functions=[body])))


def test_a_table_whose_asset_stands_in_a_collection_alone_is_exempt(tmp_path: Path) -> None:
    """As TensorFlow 1 wrote it."""
    encoded = meta_graph(_table(node("path", "Const")))
    wrapped = encoded.collection_def["saved_model_assets"].any_list.value.add()
    wrapped.type_url = "type.googleapis.com/tensorflow.AssetFileDef"
    wrapped.value = asset_file("path:0", "v.txt").SerializeToString()
    assert "reads-files" not in {finding.code for finding in findings_of(tmp_path, encoded)}


@each_of(
    "sources",
    [
        [node("c", "Const"), node("path", "StringJoin", "c", "c")],
        [node("c", "Const"), node("path", "IdentityN", "c")],
        [node("c", "Const"), node("path", "Reshape", "c")],
        [node("c", "Const"), node("path", "PlaceholderWithDefault", "c")],
        [node("c", "Const"), node("path", "DecodeBase64", "c")],
        [node("path", "Fill")],
    ],
)
def test_a_table_of_a_path_that_the_graph_makes_is_found(tmp_path: Path, sources: list[Any]) -> None:
    assert READS in graded(tmp_path, meta_graph(_table(*sources)))


def test_a_table_whose_function_gets_a_constant_as_its_path_is_found(tmp_path: Path) -> None:
    """TensorFlow 2 binds a constant of the graph to the argument where an asset should be."""
    objects = Objects()
    table = objects.add("table", resource={})
    constant = objects.add("path", constant={"operation": "Const"})
    objects.bare("_initialize", objects.concrete("boot", captures=[constant, table]), table)
    body = function("boot", node("init", "InitializeTableFromTextFileV2", "t", "path"), inputs=("path", "t"))
    encoded = meta_graph(graph(node("Const", "Const"), functions=[body]), objects)
    assert READS in graded(tmp_path, encoded)


# Hiding a save: what reaches the function must not be lost from sight -----------------------------


def _reached_by(caller: Any, *functions: Any) -> Any:
    """A graph whose init op is `boot`, which reaches a function `evil` that saves."""
    return meta_graph(
        graph(caller, functions=[function("evil", SAVE), *functions]),
        signature_def={INIT: init_signature("boot")},
    )


def _call_with(encoded: bytes, op: str = "StatefulPartitionedCall", key: str = "f", *more: bytes) -> bytes:
    """A node `boot` whose attribute is of those bytes."""
    entry = delimited(1, key.encode()) + delimited(2, encoded)
    return delimited(1, b"boot") + delimited(2, op.encode()) + delimited(5, entry) + b"".join(more)


def _raw(call: bytes, *functions: Any) -> bytes:
    """As `_reached_by`, of a node in bytes. The saver has the function too, and alone may have it save."""
    evil = function("evil", SAVE, inputs=["prefix"])
    saving = [node("prefix", "Placeholder"), calls("saving", "evil", "prefix")]
    library = graph(*saving, functions=[evil, *functions])
    rest = meta_graph(
        saver_def=saver("saving:0", filename="prefix:0"), signature_def={INIT: init_signature("boot")}
    )
    encoded: bytes = rest.SerializeToString()
    return encoded + delimited(2, delimited(1, call) + library.SerializeToString())


EVIL = delimited(10, delimited(1, b"evil"))  # AttrValue.func
HIDDEN_CALLS = {
    "plain": _call_with(EVIL),
    "another-key": _call_with(EVIL, key="_whatever"),
    "unknown-op": _call_with(EVIL, op="NotKnown"),
    "by-op-name": delimited(1, b"boot") + delimited(2, b"evil"),
    "list-of-functions": _call_with(
        delimited(1, delimited(9, delimited(1, b"evil"))), op="Case", key="branches"
    ),
    "after-another-value": _call_with(delimited(2, b"") + EVIL),
    "after-an-unknown-field": _call_with(delimited(100, b"") + EVIL),
    "tag-of-two-bytes": _call_with(b"\xd2\x00" + EVIL[1:]),
    "value-in-two-pieces": delimited(1, b"boot")
    + delimited(2, b"StatefulPartitionedCall")
    + delimited(5, delimited(1, b"f") + delimited(2, EVIL) + delimited(2, b"")),
    "value-in-two-pieces-beside-entries-without-value": delimited(1, b"boot")
    + delimited(2, b"StatefulPartitionedCall")
    + delimited(5, delimited(1, b"f") + delimited(2, EVIL) + delimited(2, b""))
    # Each is two bytes longer in what protobuf writes of the map, which loses the ten of the first piece.
    + b"".join(delimited(5, delimited(1, key)) for key in (b"a", b"b", b"c", b"d", b"e")),
    "value-before-key": delimited(1, b"boot")
    + delimited(2, b"StatefulPartitionedCall")
    + delimited(5, delimited(2, EVIL) + delimited(1, b"f")),
    "nested-in-the-attributes-of-a-function": _call_with(
        delimited(10, delimited(1, b"inner") + delimited(2, delimited(1, b"g") + delimited(2, EVIL)))
    ),
    "nested-in-two-pieces": _call_with(
        delimited(
            10,
            delimited(1, b"inner")
            + delimited(2, delimited(1, b"g") + delimited(2, EVIL) + delimited(2, b"")),
        )
    ),
    "long-attribute": _call_with(
        delimited(10, delimited(1, b"evil") + delimited(100, bytes(5000))),
        "StatefulPartitionedCall",
        "f",
        delimited(5, delimited(1, b"pad") + delimited(2, delimited(2, bytes(1 << 20)))),
    ),
}


@each_of(
    "how",
    [pytest.param(how) for how in HIDDEN_CALLS],
)
def test_however_a_node_names_a_function_what_it_saves_is_found(tmp_path: Path, how: str) -> None:
    assert WRITES in graded(tmp_path, _raw(HIDDEN_CALLS[how], function("inner")))


def test_the_saver_alone_may_have_the_function_save(tmp_path: Path) -> None:
    call = delimited(1, b"boot") + delimited(2, b"NoOp")
    assert graded(tmp_path, _raw(call, function("inner"))) == set()


def test_a_print_into_a_file_is_found_beside_one_to_the_terminal(tmp_path: Path) -> None:
    nodes = [node("a", "PrintV2", output_stream="stderr"), node("b", "PrintV2", output_stream="file:///x")]
    assert WRITES in graded(tmp_path, meta_graph(graph(*nodes)))


def test_a_print_into_a_file_of_a_long_name_is_found(tmp_path: Path) -> None:
    stream = "file:///" + "./" * 2040 + "x"
    large = node("a", "PrintV2", output_stream=stream, pad=bytes(1 << 20))
    assert WRITES in graded(tmp_path, meta_graph(graph(large)))


def test_a_print_whose_stream_the_caller_gives_is_not_called_harmless(tmp_path: Path) -> None:
    """In a function, an attribute may stand for one of the call: AttrValue.placeholder, 9."""
    entry = delimited(1, b"output_stream") + delimited(2, delimited(9, b"where"))
    printing = delimited(1, b"p") + delimited(2, b"PrintV2") + delimited(5, entry)
    body = function("printer").SerializeToString() + delimited(3, printing)
    library = delimited(2, delimited(1, body))
    call = node("go", "printer", where="file:///x").SerializeToString()
    assert WRITES in graded(tmp_path, delimited(2, delimited(1, call) + library))


def test_the_init_op_is_the_one_of_its_own_key(tmp_path: Path) -> None:
    """TensorFlow reads outputs["__saved_model_init_op"], with anything else beside it."""
    signature = init_signature("save")
    signature.outputs["A"].name = "harmless"
    encoded = graph(SAVE, node("harmless", "NoOp"))
    assert WRITES in graded(tmp_path, meta_graph(encoded, signature_def={INIT: signature}))


@pytest.mark.parametrize("collection", ["table_initializer"])
def test_what_tensorflow_2_runs_as_it_loads_a_model_of_tensorflow_1_is_found(
    tmp_path: Path, collection: str
) -> None:
    """load_v1_in_v2.py runs Scaffold.default_local_init_op() where there is no init op."""
    collections = {collection: {"node_list": {"value": ["save"]}}}
    assert WRITES in graded(tmp_path, meta_graph(graph(SAVE), collection_def=collections))


def test_the_initializer_of_a_local_variable_is_run_on_load(tmp_path: Path) -> None:
    variable = delimited(1, b"v:0") + delimited(2, b"save")
    collections = {"local_variables": {"bytes_list": {"value": [variable]}}}
    assert WRITES in graded(tmp_path, meta_graph(graph(SAVE), collection_def=collections))


def test_the_initializer_of_a_variable_is_followed(tmp_path: Path) -> None:
    variable = delimited(1, b"v:0") + delimited(2, b"save")
    collections = {"variables": {"bytes_list": {"value": [variable]}}}
    assert WRITES in graded(tmp_path, meta_graph(graph(SAVE), collection_def=collections))


def test_a_save_on_the_way_to_the_restore_op_is_found(tmp_path: Path) -> None:
    """Whoever loads the model restores its variables; nobody saves them then."""
    encoded = graph(SAVE, node("restore_all", "NoOp", "^save"))
    assert WRITES in graded(tmp_path, meta_graph(encoded, saver_def=saver(restore="restore_all")))


def test_a_save_in_the_function_that_restores_an_object_is_found(tmp_path: Path) -> None:
    objects = Objects()
    saveable = objects.message.nodes[objects.add("table", resource={})].saveable_objects["t"]
    saveable.save_function = objects.function(None, objects.concrete("s"))
    saveable.restore_function = objects.function(None, objects.concrete("r"))
    encoded = graph(functions=[function("s"), function("r", SAVE)])
    assert WRITES in graded(tmp_path, meta_graph(encoded, objects))


def test_a_function_that_the_object_graph_does_not_describe_is_run_all_the_same(tmp_path: Path) -> None:
    """load.py takes it from the library, whether concrete_functions has it or not."""
    objects = Objects()
    objects.bare("_initialize", "boot", objects.add("table", resource={}))
    encoded = meta_graph(graph(functions=[function("boot", SAVE)]), objects)
    assert WRITES in graded(tmp_path, encoded)


def test_a_root_that_is_a_function_itself_can_be_called(tmp_path: Path) -> None:
    objects = Objects()
    objects.message.nodes[0].bare_concrete_function.concrete_function_name = objects.concrete("root")
    encoded = meta_graph(graph(functions=[function("root", SAVE)]), objects)
    assert WRITES in graded(tmp_path, encoded)


def test_a_function_of_one_trace_may_hold_itself_as_an_initializer(tmp_path: Path) -> None:
    """Its children are not its traces, as those of a `tf.function` may be."""
    objects = Objects()
    boot = objects.bare(None, objects.concrete("boot"))
    objects.hang(boot, "_initializer", boot)
    (found,) = findings_of(tmp_path, meta_graph(graph(functions=[function("boot", SAVE)]), objects))
    assert "when it is loaded" in found.message


def test_a_sparse_output_is_followed_along_all_its_tensors(tmp_path: Path) -> None:
    signature = message("SignatureDef")
    signature.outputs["o"].coo_sparse.dense_shape_tensor_name = "after:0"
    encoded = graph(SAVE, node("after", "Const", "^save"))
    assert WRITES in graded(tmp_path, meta_graph(encoded, signature_def={"s": signature}))


def test_a_sparse_output_within_a_composite_one_is_followed(tmp_path: Path) -> None:
    signature = message("SignatureDef")
    part = signature.outputs["o"].composite_tensor.components.add()
    part.coo_sparse.values_tensor_name = "after:0"
    encoded = graph(SAVE, node("after", "Const", "^save"))
    assert WRITES in graded(tmp_path, meta_graph(encoded, signature_def={"s": signature}))


def test_a_gradient_of_the_library_is_followed(tmp_path: Path) -> None:
    """GradientDef: SymbolicGradient of `f` runs `evil`."""
    gradient = delimited(2, delimited(1, b"f") + delimited(2, b"evil"))
    library = graph(functions=[function("f"), function("evil", SAVE)]).library.SerializeToString()
    call = node("go", "SymbolicGradient", f=Func("f")).SerializeToString()
    rest = meta_graph(signature_def={"s": call_signature("go:0")}).SerializeToString()
    assert WRITES in graded(
        tmp_path, rest + delimited(2, delimited(1, call) + delimited(2, library + gradient))
    )


def test_a_registered_gradient_is_followed(tmp_path: Path) -> None:
    """RegisteredGradient: a node's `_gradient_op_type` names it; it runs in training."""
    gradient = delimited(3, delimited(1, b"evil") + delimited(2, b"CustomGradient-1"))
    library = graph(functions=[function("evil", SAVE)]).library.SerializeToString()
    call = node("go", "IdentityN", _gradient_op_type="CustomGradient-1").SerializeToString()
    rest = meta_graph(signature_def={"s": call_signature("go:0")}).SerializeToString()
    assert WRITES in graded(
        tmp_path, rest + delimited(2, delimited(1, call) + delimited(2, library + gradient))
    )


def test_a_function_that_grappler_may_swap_in_is_found(tmp_path: Path) -> None:
    """Functions of one `api_implements` stand for each other (grappler's implementation_selector)."""

    def implementing(name: str, device: str, *nodes: Any) -> bytes:
        def attribute(key: str, text: str) -> bytes:
            return delimited(5, delimited(1, key.encode()) + delimited(2, delimited(2, text.encode())))

        encoded: bytes = function(name, *nodes).SerializeToString()
        return delimited(
            1, encoded + attribute("api_implements", "x") + attribute("api_preferred_device", device)
        )

    library = delimited(2, implementing("f", "GPU") + implementing("evil", "CPU", SAVE))
    call = calls("go", "f").SerializeToString()
    rest = meta_graph(signature_def={"s": call_signature("go:0")}).SerializeToString()
    assert WRITES in graded(tmp_path, rest + delimited(2, delimited(1, call) + library))


@each_of(
    "op",
    [
        "DatasetFromGraph",  # its input is a GraphDef in bytes: any op at all
        "MlirPassthroughOp",  # a program in its attribute
        "_TPUCompileMlir",
        "DecodeProtoV2",  # descriptor_source may be a path
        "EncodeProto",
        "XlaCallModule",  # custom calls of StableHLO
    ],
)
def test_ops_that_carry_a_program_or_a_path_are_no_harmless_ones(tmp_path: Path, op: str) -> None:
    assert findings_of(tmp_path, meta_graph(graph(node("it", op)))) != ()


def test_a_field_of_another_wire_type_is_no_meta_graph(tmp_path: Path) -> None:
    info = read(tmp_path, meta_graph(graph()), files={})
    encoded = (tmp_path / "saved_model.pb").read_bytes() + number(2, 7)
    info = read(tmp_path, files={"saved_model.pb": encoded})
    assert len(info.meta_graphs) == 1


@pytest.mark.parametrize("other", ["saved_model.cpb", "saved_model.pbtxt"])
def test_two_main_files_are_told(tmp_path: Path, other: str) -> None:
    """Which of them is read depends on the loader and its release."""
    info = read(tmp_path, meta_graph(graph()), files={other: b"meta_graphs { }"})
    assert info.findings != ()


def test_of_a_severity_as_many_findings_are_listed_as_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubcli.savedmodel.checks.scan._MAX_OF_A_SEVERITY", 2)
    for count, listed in ((2, 2), (3, 2)):
        nodes = [node(f"n{number}", f"OpOfNobody{number}") for number in range(count)]
        found = findings_of(tmp_path / str(count), meta_graph(graph(*nodes)))
        codes = [issue.code for issue in found]
        assert codes.count("unknown-op") == listed
        assert ("more-findings" in codes) == (count > listed)
