"""The walk over a Keras config: what passes, what needs trust, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import BrokenModelError
from hubcli.formats.wire import encode_field
from hubcli.savedmodel.checks.file_scan import metadata_issues, scan_files
from hubcli.savedmodel.checks.keras_config import IssueKind, KerasConfig, TrustedNames, walk_config
from hubcli.savedmodel.checks.keras_names import is_pure_function, is_pure_op
from hubcli.savedmodel.model import ModelFiles
from tests.cases import each_of

CODE = ["4wEAAAAAAAAA", None, None]
EVIL = {"class_name": "Lambda", "config": {"name": "evil", "function": CODE, "function_type": "lambda"}}


def layer(kind: str, /, **config: Any) -> dict[str, Any]:
    """A layer of that class, called `one`."""
    return {"class_name": kind, "config": {"name": "one", **config}}


def reasons(config: Any, *, keras_3: bool = False, trusted: TrustedNames | None = None) -> list[str]:
    """What is said of the config, which may be any JSON below one key; a walk says the same in any case."""
    parsed = KerasConfig.parse(json.dumps({"config": config}))
    issues = walk_config(parsed, is_keras_3=keras_3, trusted=trusted)
    assert issues == walk_config(parsed._replace(classed=None), is_keras_3=keras_3, trusted=trusted)
    return [str(issue) for issue in issues]


@each_of(
    "around",
    [
        lambda inner: {"class_name": "Sequential", "config": {"layers": [inner]}},
        lambda inner: {"class_name": "Sequential", "config": [inner]},  # As Keras 2.0 wrote it.
        lambda inner: {"class_name": "Functional", "config": {"layers": [layer("Model", layers=[inner])]}},
        lambda inner: layer("TimeDistributed", layer=inner),
        lambda inner: layer("Bidirectional", layer=layer("LSTM"), backward_layer=inner),
        lambda inner: layer("StackedRNNCells", cells=[layer("LSTMCell"), inner]),
        lambda inner: layer("MultiHeadAttention", kernel_initializer=inner),
        lambda inner: {**layer("Dense"), "build_config": {"anything": [[inner]]}},
        lambda inner: {**layer("Dense"), "no such key": {"a": {"b": inner}}},
        lambda inner: layer("Dense", name=inner),
        lambda inner: layer("Dense", note=json.dumps(inner)),
        lambda inner: layer("Dense", note=f" \n{json.dumps([inner])}"),
        lambda inner: layer("Dense", note=json.dumps({"more": json.dumps(inner)})),
        lambda inner: layer("Dense", note=" " * 1000 + json.dumps(inner)),
        lambda inner: {"class_name": "__tuple__", "items": [inner]},
    ],
)
@each_of("keras_3", [False, True])
def test_bytecode_is_found_wherever_it_stands(around: Any, keras_3: bool) -> None:
    found = reasons(around(EVIL), keras_3=keras_3)
    assert "layer evil: function is Python bytecode" in found
    assert "layer evil: a Lambda layer runs Python code" in found


RELU = {"class_name": "function", "config": "relu", "module": "builtins"}


@each_of("name", [None, "function", "relu"])
def test_a_function_of_keras_is_registered_under_its_own_name(name: str | None) -> None:
    assert reasons(layer("Dense", activation={**RELU, "registered_name": name})) == []


@each_of("key", ["residual_fn", "dropout_fn", "output_shape", "mask", "standardize", "any"])
def test_every_key_that_carries_a_function_is_known_by_its_type(key: str) -> None:
    found = reasons(layer("ResidualWrapper", **{key: CODE, f"{key}_type": "lambda"}))
    assert found == [f"layer one: {key} is Python bytecode"]
    found = reasons(layer("ResidualWrapper", **{key: "system", f"{key}_type": "function"}))
    assert found == [f"layer one: {key} is the Python function 'system'"]


@each_of(
    "config, reason",
    [
        (layer("Dense", activation={"class_name": "__lambda__", "config": {}}), "it holds Python bytecode"),
        (
            layer("Dense", activation={"class_name": "function", "config": "system", "module": "os"}),
            "it names the Python function 'system'",
        ),
        (
            layer("Dense", activation={"class_name": "function", "config": "relu", "module": "os"}),
            "its module 'os' would be imported",
        ),
        (
            layer("Dense", activation={**RELU, "registered_name": "mine>evil"}),
            "it names the Python function 'mine>evil'",
        ),
        ({**layer("Dense"), "module": "os"}, "its module 'os' would be imported"),
        ({**layer("Dense"), "module": "keras.utils"}, "its module 'keras.utils' would be imported"),
        ({**layer("Dense"), "module": "keras.layers\n"}, "its module 'keras.layers\\n' would be imported"),
        ({**layer("Dense"), "module": ["os"]}, "its module 'list' would be imported"),
        ({**layer("Dense"), "registered_name": "mine>Evil"}, "its registered name is 'mine>Evil'"),
        ({**layer("Dense"), "registered_name": []}, "its registered name is 'list'"),
        (layer("Dense "), "its class 'Dense ' is not part of Keras"),
        (layer("Densе"), "its class 'Dens\\u0435' is not part of Keras"),
        (layer("dense.__init__"), "its class 'dense.__init__' is not part of Keras"),
        (layer("deserialize_keras_object"), "its class 'deserialize_keras_object' is not part of Keras"),
        ({"class_name": ["Dense"], "config": {"name": "one"}}, "its class is 'list', not a name"),
        ({"class_name": None, "config": {"name": "one"}}, "its class is None, not a name"),
        (layer("TFSMLayer", filepath="/models/1"), "TFSMLayer loads a SavedModel from a path"),
        (layer("TorchModuleWrapper"), "TorchModuleWrapper runs a pickled PyTorch module"),
        (
            layer("StringLookup", vocabulary="/etc/passwd"),
            "it reads its vocabulary from the file '/etc/passwd'",
        ),
        (
            {"class_name": "__typespec__", "spec_name": "run", "module": "subprocess", "name": "one"},
            "its type 'run' is not part of TensorFlow",
        ),
        (
            {"class_name": "TypeSpec", "type_spec": "evil.Spec", "name": "one"},
            "its type 'evil.Spec' is not part of TensorFlow",
        ),
    ],
)
@each_of("keras_3", [False, True])
def test_what_would_run_import_or_open_is_named_with_its_layer(
    config: Any, reason: str, keras_3: bool
) -> None:
    assert f"layer one: {reason}" in reasons([{"class_name": "Sequential"}, config], keras_3=keras_3)


@each_of(
    "config, reason",
    [
        (layer("TFOpLambda", function="io.write_file"), "it calls the TensorFlow function 'io.write_file'"),
        (layer("TFOpLambda", function="raw_ops.WriteFile"), "it calls the TensorFlow function"),
        (layer("TFOpLambda", function="compat.v1.write_file"), "it calls the TensorFlow function"),
        (layer("TFOpLambda", function="compat.v1.io.write_file"), "it calls the TensorFlow function"),
        (layer("TFOpLambda", function="math.multiply "), "it calls the TensorFlow function"),
        (layer("TFOpLambda", function=["math.multiply"]), "it calls the TensorFlow function 'list'"),
        (layer("TFOpLambda"), "it calls the TensorFlow function None"),
        (layer("SlicingOpLambda", function="io.read_file"), "it calls the TensorFlow function"),
        (layer("TFOpLambda", function="keras.utils.get_file"), "it calls the TensorFlow function"),
        (layer("TFOpLambda", function="map_fn"), "it calls the TensorFlow function 'map_fn'"),
        (layer("TFOpLambda", function="nn.fixed_unigram_candidate_sampler"), "it calls the TensorFlow"),
        (
            {**layer("TFOpLambda", function="add"), "inbound_nodes": [["x", 0, 0, {"y": layer("Dense")}]]},
            "its constants contain an object of the class 'Dense'",
        ),
        (layer("TensorFlowOpLayer", node_def={"op": "WriteFile"}), "it runs the TensorFlow op 'WriteFile'"),
        (layer("TensorFlowOpLayer", node_def={"op": ["Add"]}), "it runs the TensorFlow op 'list'"),
        (layer("TensorFlowOpLayer", node_def="\n\x01w\x12\tWriteFile"), "its node is not a JSON object"),
        (layer("TensorFlowOpLayer", node_def={"op": "Add", "@type": "x"}), "its node is not a"),
        (
            layer("TensorFlowOpLayer", node_def={"op": "Add", "attr": {"f": {"func": {"name": "g"}}}}),
            "the attributes of its op Add name a function",
        ),
        (layer("ClassMethod", cls_symbol="io.gfile.GFile", method_name="write"), "it calls the method"),
        (layer("ClassMethod", cls_symbol="RaggedTensor", method_name="__init__"), "it calls the method"),
        (layer("InstanceMethod", attr_name="__class__"), "it reads the attribute '__class__'"),
    ],
)
def test_op_layers_call_pure_functions_alone(config: Any, reason: str) -> None:
    (found,) = reasons([config])
    assert found.startswith(f"layer one: {reason}")


@each_of(
    "config",
    [
        layer("TFOpLambda", function="math.multiply"),
        layer("TFOpLambda", function="__operators__.add"),
        layer("TFOpLambda", function="compat.v1.nn.relu"),
        layer("SlicingOpLambda", function="__operators__.getitem"),
        {
            **layer("TFOpLambda", function="image.resize"),
            "inbound_nodes": [
                ["x", 0, 0, {"size": [2, 2], "dtype": "float32", "text": "io.write_file", "none": None}]
            ],
        },
        layer("TensorFlowOpLayer", node_def={"op": "Mul", "attr": {"T": {"type": "DT_FLOAT"}}, "name": "m"}),
        layer("ClassMethod", cls_symbol="RaggedTensor", method_name="from_row_splits"),
        layer("InstanceProperty", attr_name="flat_values"),
        layer("Dense", activation="relu", kernel_initializer={"class_name": "GlorotUniform", "config": {}}),
        layer("StringLookup", vocabulary=["[UNK]", "{", '{"a"', "lambda", "[1]"]),
        layer("Embedding", merge_type="raw", other_type=["lambda"]),
    ],
)
def test_pure_layers_pass(config: Any) -> None:
    assert reasons([config]) == []


@each_of("name", ["io.", "data.", "raw_ops.", "saved_model.", "config.", "train.", "summary.", "py_function"])
def test_no_function_of_a_module_with_effects_is_pure(name: str) -> None:
    import hubcli.savedmodel.checks.keras_names as lists

    modules = lists._PURE_FUNCTIONS
    assert not any(f"{module}.".startswith(name) for module in modules)
    assert not is_pure_function(name)
    words = {"write", "read", "load", "save", "print", "file", "py", "numpy", "map", "while", "import"}
    for names in modules.values():
        assert not any(words & set(function.split("_")) for function in names)
    assert not is_pure_op("WriteFile")
    assert not is_pure_op("ReadFile")


def test_the_users_own_names_pass_where_they_are_meant() -> None:
    trusted = TrustedNames(frozenset({"Mine"}), frozenset({"double"}), frozenset({"own"}))
    assert reasons(layer("Mine"), trusted=trusted) == []
    assert reasons(layer("Lambda", function="double", function_type="function"), trusted=trusted) == []
    assert reasons({**layer("Mine"), "module": "own", "registered_name": None}, trusted=trusted) == []
    assert reasons({**layer("Mine"), "module": "os", "registered_name": None}, trusted=trusted) != []
    assert reasons({**layer("Mine"), "module": "os", "registered_name": []}, trusted=trusted) != []
    assert reasons(layer("double"), trusted=trusted) != []
    taken = layer(
        "ResidualWrapper", residual_fn="double", residual_fn_type="function", residual_fn_module="os"
    )
    assert reasons(taken, trusted=trusted) == ["layer one: it takes names from the module 'os'"]


@each_of(
    "text",
    [
        '{"config": {"any_type": "lambda", "any": []}}',
        '{"config": {"any_type": "\\u006cambda", "any": []}}',
        '{"config": [{"any_type": "function", "any": "evil"}]}',
        '{"config": {"class\\u005fname": "Lambda"}}',
        '{"config": " {\\"class_name\\": \\"Lambda\\"}"}',
        '{"config": "\\u007b\\u0022class_name\\u0022: \\u0022Lambda\\u0022\\u007d"}',
    ],
)
def test_what_is_not_an_object_with_a_class_is_found_by_the_walk(text: str) -> None:
    assert walk_config(KerasConfig.parse(text)) != ()
    assert walk_config(KerasConfig.parse(text.encode("utf-16"))) == walk_config(KerasConfig.parse(text))


def test_a_key_that_stands_twice_is_told() -> None:
    parsed = KerasConfig.parse('{"config": {"class_name": "Lambda", "class_name": "Dense"}}')
    assert [str(issue) for issue in walk_config(parsed)] == [
        "the key 'class_name' appears twice in one object"
    ]


def test_what_is_printed_is_short_and_on_one_line() -> None:
    name = "a\n\x1b[2J" + "b" * 1000
    (issue,) = walk_config(KerasConfig.parse(json.dumps({"class_name": name, "name": name})))
    assert len(str(issue)) < 250
    assert str(issue).isprintable()


def test_the_walk_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = KerasConfig.parse('{"a":' * 900 + "{}" + "}" * 900)
    assert walk_config(deep) == ()
    with pytest.raises(BrokenModelError, match="not JSON"):
        KerasConfig.parse('{"a":' * 200_000 + "{}" + "}" * 200_000)
    with pytest.raises(BrokenModelError, match="larger than 64 MiB"):
        KerasConfig.parse(b" " * ((64 << 20) + 1))
    with pytest.raises(BrokenModelError, match="more than 2000000 values"):
        KerasConfig.parse('{"a":[' + "[]," * 1_000_001 + "[]]}")
    many = {"config": [layer(f"Evil{number}") for number in range(1000)]}
    assert len(walk_config(KerasConfig(many))) == 20
    monkeypatch.setattr("hubcli.savedmodel.checks.keras_config._MAX_NODES", 1000)
    with pytest.raises(BrokenModelError, match="more than 1000 values"):
        walk_config(KerasConfig({"a": [0] * 1001}))


def metadata(*configs: Any, identifier: str = "_tf_keras_layer") -> bytes:
    """A keras_metadata.pb with a node for each config; text stands for itself."""
    texts = [config if isinstance(config, str) else json.dumps(config) for config in configs]
    return b"".join(
        encode_field(1, encode_field(2, place) + encode_field(4, identifier) + encode_field(5, text))
        for place, text in enumerate(texts)
    )


@each_of("identifier", ["_tf_keras_layer", "_tf_keras_metric", "no such", ""])
def test_every_node_of_the_metadata_is_walked(identifier: str) -> None:
    (first, _) = metadata_issues(metadata(layer("Dense"), EVIL, identifier=identifier))
    assert (first.kind, first.layer) == (IssueKind.CODE, "evil")


def test_each_of_several_texts_in_a_node_is_walked() -> None:
    for texts in ([EVIL, layer("Dense")], [layer("Dense"), EVIL]):
        node = b"".join(encode_field(5, json.dumps(text)) for text in texts)
        assert metadata_issues(encode_field(1, node))


@each_of("data", [b"\x0a\xff", b"\x0a\x02\x2a\x05", b"\x08\x01", b"\x0a\x03\x2a\x01\xff"])
def test_metadata_that_is_damaged_is_a_broken_model(data: bytes) -> None:
    with pytest.raises(BrokenModelError):
        metadata_issues(data)


def test_the_scan_reports_bytecode_and_ops_of_the_metadata(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    spaced = json.dumps(EVIL).replace('":', b'" \\n:'.decode("unicode_escape"))
    op = layer("TFOpLambda", function="io.write_file")
    own = layer("SomebodysOwn")
    (tmp_path / "keras_metadata.pb").write_bytes(metadata(spaced, op, own))
    found = list(scan_files(ModelFiles.of_directory(tmp_path)))
    assert [(issue.severity.value, issue.code) for issue in found] == [
        ("high", "keras-code"),
        ("high", "keras-code"),
        ("medium", "keras-op"),
    ]
    assert found[0].where == "keras_metadata.pb, layer evil"
    (tmp_path / "keras_metadata.pb").write_bytes(metadata("{"))
    assert [finding.code for finding in scan_files(ModelFiles.of_directory(tmp_path))] == ["not-scanned"]
