"""Each edit on every model of corpus and zoo: both loaders load it, and it gives what the source gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hubcli.errors import HubcliError, InputError, UsageError, ValuesError
from hubcli.exporting.comparing import Samples, compare_with_source, difference, working_inputs
from hubcli.exporting.editing import EditOptions, EditPlan, EditReport, plan_edits, prove
from hubcli.formats import HalfType
from hubcli.formats.array_files import read_safetensors
from hubcli.running.model_process import LoadedModel, ModelProcess
from hubcli.savedmodel.edit.editable import EditableModel
from hubcli.savedmodel.weights.rewrite import rewrite
from hubcli.tf.run_protocol import Tensor
from tests.corpus import KINDS, corpus_model
from tests.models import example_files, write_safetensors, write_tree
from tests.savedmodel.conftest import Zoo, zoo
from tests.savedmodel.zoo import SPECIMENS

__all__ = ["zoo"]

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

_EDITS = {
    "renamed": EditOptions(clear_devices=True),
    "serving": EditOptions(serving=True, clear_devices=True),
    "half": EditOptions(serving=True, half=HalfType.BFLOAT16),
    "half in whole": EditOptions(half=HalfType.FLOAT16),
}
_TOLERANCE = {"half": 0.03, "half in whole": 0.01}
_Given = tuple[dict[str, list[Tensor]], dict[str, tuple[Tensor, ...]]]  # Inputs, outputs.
# Models whose signatures loop for ever on made-up inputs.
_ENDLESS = frozenset({"tf1_functions"})
# What --half refuses, in the words of its errors.
_REFUSED = (
    "--half requires",
    "no float32 variables",
    "assigns to a float32",
    "may use a float32",
    "beyond",
    "partitioned variables",
    "NaN",
)


@pytest.fixture(scope="module")
def loaders() -> Iterator[list[ModelProcess]]:
    with ModelProcess("c", 120) as session, ModelProcess("python", 120) as python:
        yield [session, python]


@pytest.mark.parametrize("name", [*KINDS, *SPECIMENS])
def test_an_edited_model_gives_what_its_source_gives(
    name: str, tmp_path: Path, zoo: Zoo, loaders: list[ModelProcess]
) -> None:
    source = corpus_model(name) if name in KINDS else zoo(name)
    if not (source / "saved_model.pb").is_file():
        pytest.skip("hubcli edits saved_model.pb alone")
    names = EditableModel.parse((source / "saved_model.pb").read_bytes()).signature_names
    exports: dict[str, tuple[Path, dict[str, str]]] = {}
    for edit, options in _EDITS.items():
        if edit == "renamed":
            options = EditOptions(clear_devices=True, renames={own: f"{own}_renamed" for own in names})
        if options.serving and not names:
            continue
        refusal = None
        try:
            plan = plan_edits(source, options)
            plan.write(tmp_path / edit)
            exports[edit] = (tmp_path / edit, plan.signatures)
        except (UsageError, ValuesError) as error:
            refusal = error
        if refusal is not None:
            assert options.half is not None, refusal
            assert any(words in refusal.message for words in _REFUSED), refusal
    assert "renamed" in exports
    session, python = loaders
    _compare(name, source, exports, session)
    if "half" in exports:  # It is for serving, too. The session above has compared the other one's outputs.
        exports.pop("serving", None)
    _compare(name, source, exports, python)


def _compare(
    name: str, source: Path, exports: dict[str, tuple[Path, dict[str, str]]], process: ModelProcess
) -> None:
    samples = Samples(source)
    sources: dict[tuple[str, ...], _Source] = {}
    for edit, (export, names) in exports.items():
        # One for each list of signatures: a call may change variables, so their order is that of the export.
        if tuple(names) not in sources:
            try:
                sources[tuple(names)] = _Source(process.load(source), samples)
            except HubcliError:
                return  # This loader doesn't load the source, either.
        after = process.load(export)
        for old, new in names.items():
            if old in sources[tuple(names)].model.signatures and name not in _ENDLESS:
                _require_equal(sources[tuple(names)], old, after, new, edit)
        after.close()
    for loaded in sources.values():
        loaded.model.close()


class _Source:
    """A source that is loaded, and what it gave at the first call of each signature."""

    def __init__(self, model: LoadedModel, samples: Samples) -> None:
        self.model = model
        self._samples = samples
        self._given: dict[str, _Given | None] = {}

    def call(self, name: str) -> _Given | None:
        """The inputs and outputs; None for what can't be called."""
        if name not in self._given:
            try:
                self._given[name] = working_inputs(self.model, self.model.signatures[name], self._samples)
            except InputError:
                self._given[name] = None
        return self._given[name]


def _require_equal(source: _Source, old: str, after: LoadedModel, new: str, edit: str) -> None:
    given = source.call(old)
    if given is None:
        return  # What can't be called in the source can't be compared.
    inputs, expected = given
    actual = after.call(new, inputs)
    apart = difference(expected, actual)
    if apart > _TOLERANCE.get(edit, 0.0):
        again = source.model.call(old, inputs)
        assert difference(expected, again) > 0, f"{edit}: {new} differs by {apart}"


def test_the_training_of_a_graph_of_tensorflow_1_goes_and_its_loops_stay(
    tmp_path: Path, loaders: list[ModelProcess]
) -> None:
    """A loop with a context, its gradient loop, an optimizer, a queue of input and a summary."""
    _save_trained_session(tmp_path / "model")
    plan = plan_edits(tmp_path / "model", EditOptions(serving=True))
    plan.write(tmp_path / "served")
    nodes = {node.text(1) for node in plan.model.meta_graphs[0].nodes()}
    assert "training" not in {name.partition("/")[0] for name in nodes}
    assert not nodes & {"examples", "loss_summary"}
    assert "weight/Momentum" in nodes, "what the checkpoint holds stays"
    assert any(name.endswith("/NextIteration") for name in nodes)
    collections = {
        entry.text(1): entry for entry in plan.model.meta_graphs[0].message.messages(4) if entry.has(2)
    }
    assert len(collections["while_context"].only(2).only(2).all_bytes(1)) == 1  # type: ignore[union-attr]
    for process in loaders:
        exports = {"serving": (tmp_path / "served", plan.signatures)}
        _compare("trained", tmp_path / "model", exports, process)


def _save_trained_session(place: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    v1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None], name="x")
            weight = v1.get_variable("weight", initializer=1.5, use_resource=False)
            v1.get_variable("unused", initializer=2.0, use_resource=True)
            _, y = v1.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, v * weight), (0, x))
            y = v1.cond(tf.reduce_sum(y) > 0, lambda: y + weight, lambda: y - weight)
            v1.train.input_producer([1.0, 2.0], name="examples")
            with v1.name_scope("training"):
                loss = tf.reduce_sum(tf.square(y))
                v1.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
            v1.summary.scalar("loss_summary", loss)
            session.run([v1.global_variables_initializer(), v1.local_variables_initializer()])
            info = v1.saved_model.build_tensor_info
            signature = v1.saved_model.build_signature_def({"x": info(x)}, {"y": info(y)}, "predict")
            builder = v1.saved_model.Builder(str(place))
            signatures = {"serving_default": signature}
            builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
            builder.save()
    finally:
        v1.enable_control_flow_v2()


def _edited(source: Path, place: Path, options: EditOptions) -> tuple[EditPlan, EditReport]:
    plan = plan_edits(source, options)
    plan.write(place)
    return plan, prove(plan, place, options)


def test_an_export_is_compared_by_both_loaders_and_its_requests_are_tried(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "model", example_files())
    options = EditOptions(
        serving=True, half=HalfType.BFLOAT16, warmup="2", defaults=("serving_default.x=[[1]]",)
    )
    _, report = _edited(source, tmp_path / "out", options)
    assert report.compared == ("serving_default",)
    assert report.loaders == ("the session loader", "tf.saved_model.load")
    assert report.largest_error is not None
    assert report.notes == ()


def test_an_export_that_gives_something_else_is_refused(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "model", example_files())
    tuned = tmp_path / "tuned"
    values = {"v/.ATTRIBUTES/VARIABLE_VALUE": [9.0]}
    weights = read_safetensors(write_safetensors(tmp_path / "values.safetensors", **values))
    rewrite(source, tuned, weights)
    names = {"serving_default": "serving_default"}
    with pytest.raises(ValuesError, match="has other outputs than in the source, by the session loader"):
        compare_with_source(source, tuned, names)
    with pytest.raises(ValuesError, match=r"is off by .* of its largest output, more than 0\.01"):
        compare_with_source(source, tuned, names, 0.01)


def test_a_request_at_which_the_model_fails_is_refused(tmp_path: Path) -> None:
    source = corpus_model("serving_half_plus_two_tf2")
    (tmp_path / "bad.json").write_text('{"signature_name": "classify_x_to_y", "instances": ["no example"]}')
    with pytest.raises(InputError, match="the model fails at warmup request 1"):
        plan_edits(source, EditOptions(warmup=str(tmp_path / "bad.json")))


def test_an_export_for_serving_is_saved_again_by_tensorflow(tmp_path: Path) -> None:
    import tensorflow as tf

    source = corpus_model("tfx_keras_serving")
    plan_edits(source, EditOptions(serving=True)).write(tmp_path / "served")
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    tf.saved_model.save(loaded, str(tmp_path / "again"), signatures=loaded.signatures)
    assert set(tf.saved_model.load(str(tmp_path / "again")).signatures) == {"serving_default"}
