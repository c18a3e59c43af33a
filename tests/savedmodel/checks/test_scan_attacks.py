"""Models that open a file of their maker's choice, run by TensorFlow: each does it, and is found."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubcli.issues import Issue, Severity
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.reader import read_model
from tests.installed import Late, require_installed

require_installed("tensorflow")
tf, v1 = Late("tensorflow"), Late("tensorflow.compat.v1")
pytestmark = pytest.mark.tensorflow

SECRET = b"the marker"


def graver_findings(model: Path) -> list[Issue]:
    found = read_model(ModelFiles.of_directory(model)).findings
    return [finding for finding in found if finding.severity >= Severity.MEDIUM]


def first_line(path: Any) -> Any:
    """The ops that fill a table from the file, and give the first key of it."""
    ops = tf.raw_ops
    table = ops.HashTableV2(key_dtype=tf.int64, value_dtype=tf.string, shared_name="stolen")
    initializer = ops.InitializeTableFromTextFileV2(
        table_handle=table, filename=path, key_index=-1, value_index=-2, vocab_size=-1
    )
    with tf.control_dependencies([initializer] if initializer is not None else []):
        keys, default = tf.constant([0], tf.int64), tf.constant("")
        line = ops.LookupTableFindV2(table_handle=table, keys=keys, default_value=default)[0]
    return tf.ensure_shape(line, [])


def directly(path: str) -> Callable[[], Any]:
    inner = tf.function(first_line, input_signature=[tf.TensorSpec([], tf.string)])
    return lambda: inner(tf.constant(path))


def two_deep(path: str) -> Callable[[], Any]:
    inner = tf.function(first_line, input_signature=[tf.TensorSpec([], tf.string)])
    middle = tf.function(
        lambda path: inner(tf.identity(path)), input_signature=[tf.TensorSpec([], tf.string)]
    )
    return lambda: middle(tf.constant(path))


def in_map_fn(path: str) -> Callable[[], Any]:
    return lambda: tf.map_fn(first_line, tf.constant([path]))[0]


def in_a_loop(path: str) -> Callable[[], Any]:
    def body(step: Any, name: Any, _: Any) -> Any:
        return step + 1, name, first_line(name)

    start = (tf.constant(0), tf.constant(path), tf.constant(""))
    return lambda: tf.while_loop(lambda step, *_: step < 1, body, start)[2]


def in_a_loop_that_makes_the_path(path: str) -> Callable[[], Any]:
    """The first round gets a path that is no file's, the second one the model's own."""

    def body(step: Any, name: Any, _: Any) -> Any:
        line = tf.cond(step > 0, lambda: first_line(name), lambda: tf.constant(""))
        return step + 1, tf.constant(path), line

    start = (tf.constant(0), tf.constant("none"), tf.constant(""))
    return lambda: tf.while_loop(lambda step, *_: step < 2, body, start)[2]


def in_a_branch(path: str) -> Callable[[], Any]:
    def run() -> Any:
        name = tf.constant(path)
        return tf.cond(tf.random.uniform([]) < 2.0, lambda: first_line(name), lambda: tf.constant(""))

    return run


def in_a_case(path: str) -> Callable[[], Any]:
    def run() -> Any:
        name, which = tf.constant(path), tf.cast(tf.random.uniform([]), tf.int32)
        return tf.switch_case(which, [lambda: first_line(name), lambda: tf.constant("")])

    return run


def in_a_dataset(path: str) -> Callable[[], Any]:
    def run() -> Any:
        return tf.data.Dataset.from_tensors(tf.constant(path)).map(first_line).get_single_element()

    return run


def in_a_gradient(path: str) -> Callable[[], Any]:
    inner = tf.function(first_line, input_signature=[tf.TensorSpec([], tf.string)])

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def scaled(x: Any, name: Any) -> Any:
        def gradient(upstream: Any) -> Any:
            length = tf.strings.length(inner(name))
            return upstream * tf.cast(length, tf.float32), None

        return x * 2.0, gradient

    def run() -> Any:
        x = tf.constant(1.0)
        grown = tf.gradients(scaled(x, tf.constant(path)), x)[0]
        return tf.cond(grown > 9.0, lambda: tf.constant(SECRET), lambda: tf.constant(""))

    return run


def of_a_joined_path(path: str) -> Callable[[], Any]:
    return lambda: first_line(tf.strings.join([path[:3], path[3:]]))


def of_a_variable(path: str) -> Callable[[], Any]:
    holder = tf.Variable(path)

    def run() -> Any:
        return first_line(holder.read_value())

    run.holder = holder  # type: ignore[attr-defined]
    return run


def of_a_captured_constant(path: str) -> Callable[[], Any]:
    name = tf.constant(path)
    return lambda: first_line(name)


ATTACKS = [
    directly,
    two_deep,
    in_map_fn,
    in_a_loop,
    in_a_loop_that_makes_the_path,
    in_a_branch,
    in_a_case,
    in_a_dataset,
    in_a_gradient,
    of_a_joined_path,
    of_a_variable,
    of_a_captured_constant,
]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "outside" / "secret.txt"
    file.parent.mkdir()
    file.write_bytes(SECRET + b"\n")
    return file


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda function: function.__name__)
def test_a_path_that_a_function_gets_from_the_model_itself_is_found(
    tmp_path: Path, secret: Path, attack: Callable[[str], Callable[[], Any]]
) -> None:
    root, run = tf.Module(), attack(str(secret))
    root.holder = getattr(run, "holder", None)
    root.steal = tf.function(run, input_signature=[])
    tf.saved_model.save(root, str(tmp_path / "model"), signatures={"serving_default": root.steal})
    found = graver_findings(tmp_path / "model")
    assert {finding.code for finding in found} == {"reads-files"}
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    assert loaded.steal().numpy() == SECRET


def _tf1_model(target: Path, declared: str, *, is_loaded: bool) -> None:
    """A table of a declared asset, which the init op fills, or the signature."""
    builder = v1.saved_model.Builder(str(target))
    with tf.Graph().as_default(), v1.Session() as session:
        path = v1.constant(declared, name="path")
        line = first_line(path)
        ready = v1.group(line.op, name="ready")
        answer = tf.constant("") if is_loaded else line
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def(
            inputs={}, outputs={"line": info(answer)}, method_name="tensorflow/serving/predict"
        )
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={"serving_default": signature},
            assets_collection=[path],
            main_op=ready if is_loaded else None,
        )
    builder.save()


def test_a_signature_that_fills_a_table_of_an_asset_is_found(tmp_path: Path, secret: Path) -> None:
    """TensorFlow feeds assets while it loads the model: a signature reads the constant itself."""
    _tf1_model(tmp_path / "model", str(secret), is_loaded=False)
    (tmp_path / "model" / "assets" / "secret.txt").write_text("what the user looks at\n")
    assert [finding.code for finding in graver_findings(tmp_path / "model")] == ["reads-files"]
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    assert loaded.signatures["serving_default"]()["line"].numpy() == SECRET


def test_a_table_of_an_asset_that_the_init_op_fills_is_no_finding(tmp_path: Path, secret: Path) -> None:
    _tf1_model(tmp_path / "model", str(secret), is_loaded=True)
    assert graver_findings(tmp_path / "model") == []


def test_statistics_that_calibration_saves_are_found(tmp_path: Path) -> None:
    from tensorflow.python.framework.op_def_library import apply_op

    target, root = tmp_path / "written.pb", tf.Module()

    def write() -> Any:
        how = {
            "id": "x",
            "calibration_method": 1,
            "num_bins": 0,
            "min_percentile": 0.0,
            "max_percentile": 0.0,
        }
        aggregated = apply_op("CustomAggregator", input=tf.constant([1.0, 2.0]), **how)
        apply_op(
            "CalibrationStatisticsSaver",
            args=list(aggregated[1:]),
            ids=["x"],
            calibration_methods=[1],
            output_file_path=str(target),
        )
        return aggregated[0]

    root.write = tf.function(write, input_signature=[])
    tf.saved_model.save(root, str(tmp_path / "model"), signatures=root.write)
    found = graver_findings(tmp_path / "model")
    assert [(finding.code, finding.severity) for finding in found] == [("writes-files", Severity.HIGH)]
    with v1.Session(graph=tf.Graph()) as session:
        v1.saved_model.load(session, ["serve"], str(tmp_path / "model"))
        calls = [op for op in session.graph.get_operations() if "write" in str(op.node_def.attr["f"])]
        session.run(calls)
    gc.collect()  # It writes when the op goes.
    assert target.exists()
