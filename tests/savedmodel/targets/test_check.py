"""What is said of models with something in the way: code, function, node, releases and cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError
from hubcli.issues import Severity
from hubcli.savedmodel.graph import read_outline
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.targets.check import check_targets
from hubcli.savedmodel.targets.obstacle import CALL, LOAD, ConversionTrial, Obstacle, TargetReport
from hubcli.savedmodel.targets.releases import op_releases
from hubcli.savedmodel.targets.target import parse_targets
from tests.cases import each_of
from tests.formats.tables import delimited, varint
from tests.savedmodel.protos import (
    Func,
    Objects,
    call_signature,
    function,
    graph,
    index,
    message,
    meta_graph,
    node,
    write_model,
)
from tests.savedmodel.targets.recorded import unpack


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("models"))


def report_of(model: Path, target: str) -> TargetReport:
    with read_outline(model) as outlines:
        (report,) = check_targets(ModelFiles.of_directory(model), outlines, parse_targets(target))
    return report


def found_in(model: Path, target: str, code: str) -> Obstacle:
    """The one obstacle with that code."""
    (found,) = [found for found in report_of(model, target).obstacles if found.issue.code == code]
    return found


def codes_of(model: Path, target: str) -> list[str]:
    return [found.issue.code for found in report_of(model, target).obstacles]


def test_a_newer_op_names_its_release(models: Path) -> None:
    found = found_in(models / "newest_op", "tensorflow>=2.18", "op-missing")
    assert found.releases == ("2.18", "2.19")
    assert "DecodeWebP, which was added in 2.20" in found.issue.message
    assert found.issue.hint.startswith("Use TensorFlow 2.20 or newer")
    assert found.issue.location.node == "DecodeWebP"


def test_a_function_that_no_signature_calls_is_to_be_pruned(models: Path) -> None:
    found = found_in(models / "newer_op_without_signature", "tensorflow==2.12", "op-missing")
    assert "hubcli export --serving" in found.issue.hint
    # A session doesn't make what nothing calls.
    assert not report_of(models / "newer_op_without_signature", "session==2.12").is_blocked


def test_a_graph_that_only_a_session_makes_is_none_of_load(models: Path) -> None:
    assert not report_of(models / "nobodys_op_in_graph", "tensorflow==2.15").is_blocked
    assert report_of(models / "nobodys_op_in_graph", "session==2.15").verdict == "cannot-load"


def test_a_package_is_named_with_pip_and_serving_has_it(models: Path) -> None:
    found = found_in(models / "text_package", "tensorflow==2.15", "custom-op")
    assert found.issue.hint == "Import tensorflow_text before loading: pip install 'tensorflow-text==2.15.*'"
    several = found_in(models / "text_package", "tensorflow>=2.15", "custom-op")
    assert several.issue.hint.endswith("pip install tensorflow-text")
    assert not report_of(models / "text_package", "serving==2.15").is_blocked


def test_an_op_of_nobody_asks_for_its_library(models: Path) -> None:
    found = found_in(models / "nobodys_op", "serving", "custom-op")
    assert "no release from 2.4 to 2.21 and no known package has it" in found.issue.message
    assert "load_op_library" in found.issue.hint


def test_attributes_that_matter_warn_and_others_are_a_hint(models: Path) -> None:
    found = found_in(models / "attribute_that_matters", "tensorflow==2.12", "attribute-ignored")
    assert (found.issue.severity, found.when) == (Severity.WARNING, CALL)
    assert "bad_indices_policy of GatherNd, new in 2.17: results may differ" in found.issue.message
    harmless = found_in(models / "plain_module", "session==2.12", "attribute-ignored")
    assert harmless.issue.severity is Severity.HINT
    assert "debug_name" in harmless.issue.message
    assert found_in(models / "attribute_that_matters", "tensorflow==2.4", "attribute-unknown").when == LOAD


def test_wider_types_name_the_release_that_takes_them(models: Path) -> None:
    found = found_in(models / "text_of_text", "tensorflow==2.9", "type-not-allowed")
    assert "does not allow T=string of the op AsString" in found.issue.message
    assert found.issue.hint.startswith("Use TensorFlow 2.1")
    # A session looks at the types of a function when it runs.
    assert found_in(models / "text_of_text", "session==2.9", "type-not-allowed").when == CALL


def test_an_unknown_element_type_is_named(models: Path) -> None:
    found = found_in(models / "small_integers", "tensorflow==2.12", "type-missing")
    assert "has no type int4" in found.issue.message


@each_of(
    "model, severity",
    [
        ("pinned_to_gpu", Severity.WARNING),
        ("pinned_to_worker", Severity.ERROR),
        ("variable_of_gpu", Severity.ERROR),
        ("variable_of_worker", Severity.ERROR),
    ],
)
def test_devices_are_to_be_cleared(models: Path, model: str, severity: Severity) -> None:
    obstacles = report_of(models / model, "cpu").obstacles
    assert {found.issue.severity for found in obstacles} == {severity}
    assert all("hubcli export --clear-devices" in found.issue.hint for found in obstacles)


def test_devices_of_a_cluster_are_in_the_way_of_every_release(models: Path) -> None:
    assert report_of(models / "pinned_to_worker", "tensorflow==2.15").verdict == "cannot-run"
    assert report_of(models / "pinned_to_gpu", "tensorflow==2.15").verdict == "no-obstacle-found"


def test_objects_that_a_release_cannot_read_are_told(models: Path) -> None:
    assert "tensor-literal" in codes_of(models / "signature_defaults", "tensorflow==2.12")
    assert "variable-spec" in codes_of(models / "composite_specs", "tensorflow==2.9")
    assert "table-not-restored" in codes_of(models / "mutable_table", "tensorflow==2.12")
    assert "type-spec" in codes_of(models / "rare_specs", "tensorflow==2.4")
    found = found_in(models / "keras2_legacy_adam", "tensorflow==2.18", "keras2-optimizer")
    assert "pip install 'tf-keras==2.18.*'" in found.issue.hint
    assert "keras2-optimizer" not in codes_of(models / "keras2_legacy_adam", "hub.KerasLayer")


def test_python_functions_and_missing_values_are_in_the_way(models: Path) -> None:
    assert found_in(models / "python_function", "serving==2.19", "python-op").when == CALL
    assert found_in(models / "without_checkpoint", "tensorflow", "values-missing").when == LOAD


def test_a_session_misses_values_tables_and_signatures(models: Path) -> None:
    assert "values-not-restored" in codes_of(models / "without_saver", "session")
    assert "tables-not-initialized" in codes_of(models / "without_init_op", "session")
    assert "no-signature" in codes_of(models / "empty_module", "serving")


def test_layers_need_something_to_call(models: Path) -> None:
    assert codes_of(models / "keras3_export", "keras3-layer") == []
    found = found_in(models / "pinned_to_gpu", "keras3-layer", "endpoint-argument")
    assert found.issue.hint == "Pass call_endpoint='serving_default'"
    assert report_of(models / "two_meta_graphs", "keras3-layer").is_blocked
    found = found_in(models / "pinned_to_gpu", "hub.KerasLayer", "endpoint-argument")
    assert "signature='serving_default' and signature_outputs_as_dict=True" in found.issue.hint
    assert report_of(models / "empty_module", "hub.KerasLayer").is_blocked
    assert codes_of(models / "reusable", "hub.KerasLayer") == ["tf-keras-needed"]
    assert codes_of(models / "tf1_hub", "hub.KerasLayer") == ["tf-keras-needed"]


def test_a_signature_of_several_inputs_is_a_warning_for_a_layer_that_passes_one(tmp_path: Path) -> None:
    def model(*inputs: str) -> Path:
        own = call_signature("n:0")
        for name in inputs:
            own.inputs[name].name = "n:0"
        parts = meta_graph(graph(node("n", "Abs")), Objects(), signature_def={"serving_default": own})
        return write_model(tmp_path / "-".join(inputs), parts, index_bytes=index())

    found = found_in(model("a", "b"), "keras3-layer", "several-inputs")
    assert found.issue.message.startswith("Signature serving_default has 2 inputs")
    assert found.issue.severity is Severity.WARNING
    assert codes_of(model("a"), "keras3-layer") == ["endpoint-argument"]


def test_litert_tells_select_ops_from_impossible_ones(models: Path) -> None:
    assert codes_of(models / "pinned_to_gpu", "litert") == []
    found = found_in(models / "keras2_text", "litert", "select-ops")
    assert "StringLower" in found.issue.message
    assert found.issue.severity is Severity.WARNING
    assert report_of(models / "nobodys_op", "litert").verdict == "cannot-load"


def test_what_the_converter_did_was_not_in_its_way(models: Path) -> None:
    report = report_of(models / "nobodys_op", "litert")
    assert report.is_blocked
    converted = report.with_conversion(ConversionTrial(True, False, "", 100, "2.21.0"))
    assert (converted.verdict, [found for found in converted.obstacles if found.is_blocking]) == (
        "no-obstacle-found",
        [],
    )
    failed = report.with_conversion(ConversionTrial(False, False, "it has no such op", None, "2.21.0"))
    assert (failed.verdict, failed.obstacles) == ("cannot-load", report.obstacles)


def test_variables_without_a_value_are_in_the_way_of_what_was_converted(models: Path) -> None:
    report = report_of(models / "without_saver", "litert")
    converted = report.with_conversion(ConversionTrial(True, False, "", 100, "2.21.0"))
    for each in (report, converted):
        assert (each.verdict, each.is_blocked) == ("cannot-run", True)
        assert "values-not-restored" in [found.issue.code for found in each.obstacles]


def test_the_model_that_serves_is_the_one_that_is_looked_at(tmp_path: Path) -> None:
    def tagged(op: str, *tags: str) -> object:
        return meta_graph(graph(node("n", op)), tags=tags, signature_def={"s": call_signature("n:0")})

    model = write_model(tmp_path / "m", tagged("OpOfNobody", "train"), tagged("Abs", "serve"))
    assert not report_of(model, "session").is_blocked


def test_a_model_with_too_many_devices_is_refused(tmp_path: Path) -> None:
    nodes = [node(f"n{place}", "Abs") for place in range(1001)]
    for place, found in enumerate(nodes):
        found.device = f"/device:GPU:{place}"
    model = write_model(tmp_path / "m", meta_graph(graph(*nodes), Objects()), index_bytes=index())
    with pytest.raises(BrokenModelError, match="names more than 1000 devices"):
        report_of(model, "cpu")


def test_a_node_may_list_the_type_of_each_of_thousands_of_variables(tmp_path: Path) -> None:
    """What saves them does, and a call that captures them; but not of thousands of types."""

    def model_with(*types: int) -> Path:
        listed = message("AttrValue")
        listed.ParseFromString(delimited(1, delimited(6, b"".join(map(varint, types)))))
        return write_model(tmp_path / "m", meta_graph(graph(node("save", "SaveV2", dtypes=listed))))

    assert "type-missing" not in codes_of(model_with(*[1, 9] * 3000), "session")
    assert "type-missing" in codes_of(model_with(*[1] * 3000, 1000), "session")
    with pytest.raises(BrokenModelError, match="more than 1000 types"):
        codes_of(model_with(*range(1000, 2001)), "session")


def test_names_of_any_length_are_told_in_a_line(tmp_path: Path) -> None:
    """A number of 5,000 digits is more than Python reads, an op of a million letters more than a person."""
    found = node("n" * 1_000_000, "X" * 1_000_000)
    found.device = f"/job:localhost/task:0{'9' * 5000}/device:CPU:0"
    model = write_model(tmp_path / "m", meta_graph(graph(found), signature_def={"s": call_signature("n:0")}))
    for target in ("cpu", "serving==2.19", "litert", "tensorflow==2.15"):
        report = report_of(model, target)
        assert report.is_blocked
        assert all(len(f"{each.issue}{each.issue.hint}") < 3000 for each in report.obstacles)
    zero = node("n", "Abs")
    zero.device = "/job:localhost/replica:0/task:00/device:CPU:0"
    assert not report_of(write_model(tmp_path / "zero", meta_graph(graph(zero))), "cpu").obstacles


def test_many_devices_and_ops_are_listed_up_to_a_bound(tmp_path: Path) -> None:
    nodes = [node(f"n{place}", f"OpOfNobody{place}") for place in range(500)]
    for place, found in enumerate(nodes):
        found.device = f"/device:GPU:{place}"
    model = write_model(tmp_path / "m", meta_graph(graph(*nodes), Objects()), index_bytes=index())
    assert len(report_of(model, "cpu").obstacles) == 50
    assert len(report_of(model, "session").obstacles) < 60


def test_what_is_listed_decides_the_verdict_of_each_release(tmp_path: Path) -> None:
    """The op of nobody comes after sixty that later releases have."""
    table = op_releases()
    spans = {op: table.span(op) for op in sorted(table._lines)}
    newer = [op for op, span in spans.items() if span is not None and table.place("2.9") < span.first][:60]
    nodes = [node(f"n{place}", op) for place, op in enumerate([*newer, "ZOpOfNobody"])]
    model = write_model(
        tmp_path / "m", meta_graph(graph(*nodes), signature_def={"s": call_signature("n0:0")})
    )
    report = report_of(model, "session>=2.9")
    assert len(newer) == 60
    assert {report.verdict_of(release) for release in report.target.releases} == {"cannot-load"}


def test_a_pin_of_the_graph_is_seen_behind_many_of_functions(tmp_path: Path) -> None:
    pinned = [node(f"n{place}", "Abs") for place in range(60)]
    for place, found in enumerate(pinned):
        found.device = f"/device:GPU:{place + 100}"
    last = node("last", "Abs")
    last.device = "/device:XPU:0"
    call = node("call", "StatefulPartitionedCall", f=Func("f"))
    encoded = meta_graph(graph(call, last, functions=[function("f", *pinned)]))
    report = report_of(write_model(tmp_path / "m", encoded), "cpu")
    assert report.verdict == "cannot-run"
    assert report.obstacles[0].issue.location.node == "last"


def test_a_model_with_types_that_nobody_knows_is_told_or_refused(tmp_path: Path) -> None:
    def model_with(name: str, count: int) -> Path:
        nodes = [
            node(f"n{place}", "Identity", T=message("AttrValue", type=1000 + place)) for place in range(count)
        ]
        return write_model(tmp_path / name, meta_graph(graph(*nodes)))

    report = report_of(model_with("few", 300), "session==2.15")
    assert len([found for found in report.obstacles if found.issue.code == "type-missing"]) == 50
    assert report.obstacles[0].issue.message.startswith("TensorFlow 2.15 has no type unknown-1000")
    with pytest.raises(BrokenModelError, match="in more than 10000 ways"):
        report_of(model_with("many", 10_001), "session")
