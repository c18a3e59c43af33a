"""`finetune-export` by TensorFlow: trained or loaded with new values, saved again, loaded and compared."""

from __future__ import annotations

import gc
import shlex
import shutil
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hubcli.commands.finetune_export import FinetuneOptions, FinetuneResult, Method, finetune_export
from hubcli.commands.inspect import inspect
from hubcli.durability import Durability
from hubcli.errors import (
    DiskFullError,
    HubcliError,
    NotFoundError,
    TensorFlowError,
    UnchangedError,
    UsageError,
    ValuesError,
)
from hubcli.formats.bundles import Bundle
from hubcli.progress import ProgressListener
from hubcli.savedmodel.compare.diff import Difference, compare
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.reader import read_model
from tests import models
from tests.commands.test_finetune_export import WITHOUT_VARIABLES
from tests.conftest import ROOT
from tests.corpus import KINDS, corpus_model
from tests.disks import mounted
from tests.forkserver import run_python
from tests.savedmodel.conftest import Zoo, zoo

__all__ = ["zoo"]

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.usefixtures("needs_tensorflow"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

# What TensorFlow can't load, or would lose when it saves it again.
UNLOADED = ("serving_counter", "serving_half_plus_three")
UNSAVED = (*(name for name, kind in KINDS.items() if kind == "TF1"), "serving_half_plus_two_tf2")


class Steps(ProgressListener):
    """Records the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)


def trained(
    model: Path, out: Path, train: str, *, listener: ProgressListener | None = None, **options: Any
) -> FinetuneResult:
    training = FinetuneOptions(train=train, **options)
    return finetune_export(str(model), out / "tuned", options=training, listener=listener)


def refused(
    kind: type[HubcliError], model: Path, out: Path, train: str, *, keeps: bool = False, **options: Any
) -> HubcliError:
    """The error, after which nothing is left; with `keeps` the trained values, which its command exports."""
    with pytest.raises(kind) as caught:
        trained(model, out, train, **options)
    assert [path.name for path in out.iterdir()] == (["tuned.trained-values"] if keeps else [])
    assert caught.value.hint
    if keeps:
        export_kept_values(caught.value, out / "tuned")
    else:
        assert caught.value.trained_values is None
    return caught.value


def export_kept_values(error: HubcliError, export: Path) -> None:
    """Runs the command that the error names, word by word; what it writes must hold the values."""
    assert error.trained_values is not None
    assert error.export_command is not None
    assert f"kept in {error.trained_values}" in error.message
    assert error.hint.endswith(f": {error.export_command}")
    program, *words = shlex.split(error.export_command)
    assert program == "hubcli"
    result = run_python(["-m", "hubcli", *words], cwd=ROOT, with_tensorflow=True)
    assert (result.returncode, result.stdout) == (0, f"{export}\n"), result.stderr
    values_file, written = (
        Bundle.open(Path(folder), prefix).values()
        for folder, prefix in ((error.trained_values, "values"), (export / "variables", "variables"))
    )
    assert values_file
    for key, values in values_file.items():
        assert b"".join(values.pieces()) == b"".join(written[key].pieces()), key
    shutil.rmtree(export)
    shutil.rmtree(error.trained_values)


def differences(model: Path, result: Path) -> list[Difference]:
    left, right = (
        read_model(ModelFiles.of_directory(directory), hash_assets=True) for directory in (model, result)
    )
    return list(compare(left, right))


# Trained -----------------------------------------------------------------------------------------


def test_a_program_is_called_once_the_model_is_loaded_and_keeps_its_garbage_collection(
    model: Path, script: Path, out: Path
) -> None:
    states = list[bool]()
    for train in ("add", "fail"):
        with suppress(TensorFlowError):
            trained(model, out, f"{script}:{train}", on_loaded=lambda: states.append(gc.isenabled()))
        assert gc.isenabled()
        shutil.rmtree(out / "tuned", ignore_errors=True)
    weights = FinetuneOptions(
        weights=model,
        method=Method.RESAVE,
        allow_unchanged=True,
        on_loaded=lambda: states.append(gc.isenabled()),
    )
    finetune_export(str(model), out / "tuned", options=weights)
    assert states == [True, True, True]
    assert gc.isenabled()


@pytest.mark.parametrize("method", Method)
def test_what_a_function_trains_is_written(method: Method, model: Path, script: Path, out: Path) -> None:
    result = trained(model, out, f"{script}:add", arguments={"by": 0.5}, method=method)
    assert [difference.part for difference in differences(model, out / "tuned")] == ["value"]
    assert result.staged_model is not None
    [change] = result.staged_model.values.changed
    assert (change.path, change.largest, change.trainable) == ("v", 0.5, True)
    assert "__call__(float32[?, 1])" in " ".join(result.staged_model.compared)
    same = (model / "saved_model.pb").read_bytes() == (out / "tuned" / "saved_model.pb").read_bytes()
    assert same is (method is Method.REWRITE)
    assert list(out.iterdir()) == [out / "tuned"]


def test_weights_saved_again_are_loaded_and_compared(model: Path, tmp_path: Path, out: Path) -> None:
    weights = models.write_safetensors(tmp_path / "tuned.safetensors", v=[3.0])
    options = FinetuneOptions(weights=weights, method=Method.RESAVE)
    result = finetune_export(str(model), out / "tuned", options=options)
    assert [difference.part for difference in differences(model, out / "tuned")] == ["value"]
    assert result.staged_model is not None
    assert result.staged_model.compared
    assert [change.largest for change in result.staged_model.values.changed] == [1.0]
    assert list(out.iterdir()) == [out / "tuned"]


def test_a_plain_module_gets_its_lists_and_keeps_its_keys(zoo: Zoo, script: Path, out: Path) -> None:
    source = zoo("plain_module")
    trained(source, out, f"{script}:add")
    assert {difference.part for difference in differences(source, out / "tuned")} == {"value"}


def test_what_saving_again_makes_of_the_shards_is_told(zoo: Zoo, script: Path, out: Path) -> None:
    result = trained(zoo("two_shards"), out, f"{script}:nothing", allow_unchanged=True)
    assert result.staged_model is not None
    assert ("2 data shards", "TensorFlow writes one") in result.staged_model.not_kept


def save_an_interface(target: Path) -> Path:
    """A model with all three lists."""
    import tensorflow as tf

    root = tf.train.Checkpoint(kernel=tf.Variable([[2.0]]), bias=tf.Variable([0.0]))
    root.trainable_variables = root.variables = [root.kernel, root.bias]
    root.regularization_losses = [tf.function(lambda: tf.reduce_sum(root.kernel), input_signature=[])]
    root.__call__ = tf.function(lambda x: x @ root.kernel + root.bias)
    root.__call__.get_concrete_function(tf.TensorSpec([None, 1], name="x"))
    tf.saved_model.save(root, str(target))
    return target


def test_lists_that_a_training_made_its_own_are_put_back(tmp_path: Path, script: Path, out: Path) -> None:
    source = save_an_interface(tmp_path / "interface")
    trained(source, out, f"{script}:list_otherwise")
    before, after = (inspect(str(model)).info.lists for model in (source, out / "tuned"))
    assert before == after
    assert before.losses == 1


def test_a_training_may_take_away_the_lists_that_were_set_for_it(zoo: Zoo, script: Path, out: Path) -> None:
    trained(zoo("plain_module"), out, f"{script}:take_lists_away")


def test_a_training_that_goes_elsewhere_leaves_the_destination_where_it_was(
    model: Path, script: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out)
    (tmp_path / "elsewhere").mkdir()
    options = FinetuneOptions(
        train=f"{script}:go_elsewhere", arguments={"to": str(tmp_path / "elsewhere")}, method=Method.REWRITE
    )
    result = finetune_export(str(model), "tuned", options=options)
    assert result.written is not None
    assert result.written.destination == out / "tuned"
    assert (out / "tuned" / "saved_model.pb").is_file()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def save_a_table(target: Path) -> Path:
    """A model with a table that it can fill."""
    import tensorflow as tf

    root = tf.train.Checkpoint(kernel=tf.Variable([1.0]))
    root.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, -1.0)
    root.table.insert(tf.constant(["old"]), tf.constant([1.0]))

    def fill(keys: Any, values: Any) -> Any:
        root.table.insert(keys, values)
        return tf.size(keys)

    def call(keys: Any) -> Any:
        return root.table.lookup(keys) * root.kernel

    words, numbers = tf.TensorSpec([None], tf.string), tf.TensorSpec([None])
    root.fill = tf.function(fill, input_signature=[words, numbers])
    root.__call__ = tf.function(call, input_signature=[words])
    tf.saved_model.save(root, str(target))
    return target


def test_what_a_training_puts_into_a_table_is_saved_or_refused(
    tmp_path: Path, script: Path, out: Path
) -> None:
    import tensorflow as tf

    source = save_a_table(tmp_path / "tables")
    words, results = tf.constant(["old", "new", "none"]), [2.0, 10.0, -2.0]
    with pytest.raises(TensorFlowError) as caught:
        trained(source, out, f"{script}:fill_a_table", method=Method.REWRITE)
    assert "the table table" in caught.value.message
    assert "--method resave" in caught.value.hint
    # The table is kept too, and the command saves it: by TensorFlow, since values alone don't do.
    program, *command = shlex.split(str(caught.value.export_command))
    result = run_python(["-m", program, *command], cwd=ROOT, with_tensorflow=True)
    assert result.returncode == 0, result.stderr
    assert "saved by TensorFlow: rewriting values does not fill the table table" in result.stderr
    assert tf.saved_model.load(str(out / "tuned"))(words).numpy().tolist() == results
    shutil.rmtree(out)
    out.mkdir()
    with pytest.raises(TensorFlowError, match="with --strategy"):
        trained(source, out, f"{script}:fill_a_table", strategy="mirrored")
    shutil.rmtree(out)
    trained(source, out, f"{script}:fill_a_table")
    assert tf.saved_model.load(str(out / "tuned"))(words).numpy().tolist() == results


def test_an_archive_is_written_once_the_model_in_it_was_compared(
    model: Path, script: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = trained(model, out, f"{script}:add")
    synced: list[Path] = []
    monkeypatch.setattr(Durability, "tree", lambda self, top: synced.append(top) if self.is_on else None)
    listener = Steps()
    options = FinetuneOptions(train=f"{script}:add")
    packed = finetune_export(str(model), out / "tuned.tar.gz", options=options, listener=listener)
    assert f"Training with {script}:add" in listener.steps
    assert listener.steps.index("Starting TensorFlow") < listener.steps.index("Saving the trained model")
    assert [top.name for top in synced] == ["new"]  # Not the model that is packed, which is removed.
    assert packed.staged_model is not None
    assert result.staged_model is not None
    assert packed.staged_model.compared == result.staged_model.compared
    info = inspect(str(out / "tuned.tar.gz")).info
    assert {difference.part for difference in compare(inspect(str(out / "tuned")).info, info)} <= {"asset"}


def save_two_graphs(target: Path) -> Path:
    """A model of TensorFlow 1 with a graph to serve and one to train, over the same variables."""
    import tensorflow as tf

    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(target))
    for tags, rate in ((["serve"], 0.0), (["train"], 0.5)):
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None, 2], name="x")
            w = v1.get_variable("w", initializer=[[1.0], [2.0]], use_resource=True)
            y = tf.matmul(v1.nn.dropout(x, rate=rate), w)
            signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
            session.run(v1.global_variables_initializer())
            if tags == ["serve"]:
                builder.add_meta_graph_and_variables(session, tags, {"serving_default": signature})
            else:
                builder.add_meta_graph(tags, {"serving_default": signature})
    builder.save()
    return target


def test_one_graph_of_several_is_chosen_and_the_others_stay(tmp_path: Path, script: Path, out: Path) -> None:
    source = save_two_graphs(tmp_path / "two")
    error = refused(UsageError, source, out, f"{script}:add_to_all", method=Method.REWRITE)
    assert "--tag-set serve or train" in error.hint
    options: dict[str, Any] = {"method": Method.REWRITE, "tag_set": frozenset({"serve"})}
    result = trained(source, out, f"{script}:add_to_all", **options)
    assert result.staged_model is not None
    assert result.staged_model.compared == ("signature serving_default",)
    assert [difference.part for difference in differences(source, out / "tuned")] == ["value"]


@pytest.mark.parametrize("name", ["tf1_hub", "tf1_resources"])
def test_a_model_of_tensorflow_1_is_trained_and_rewritten(
    name: str, zoo: Zoo, script: Path, out: Path
) -> None:
    source = zoo(name)
    error = refused(TensorFlowError, source, out, f"{script}:add_to_all", method=Method.RESAVE)
    assert "--method rewrite" in error.hint
    result = trained(source, out, f"{script}:add_to_all")
    assert (result.method, result.requested_method) == (Method.REWRITE, Method.AUTO)
    assert result.staged_model is not None
    assert result.staged_model.reason.startswith("written by rewrite (only values): saving ")
    assert (
        "TensorFlow 1 graph" in result.staged_model.reason or "TF1 Hub format" in result.staged_model.reason
    )
    assert result.staged_model.values.changed
    assert {difference.part for difference in differences(source, out / "tuned")} == {"value"}


def test_variables_that_tensorflow_does_not_give_out_are_not_trained(
    zoo: Zoo, script: Path, out: Path
) -> None:
    error = refused(UnchangedError, zoo("tf1_partitioned"), out, f"{script}:nothing", method=Method.REWRITE)
    assert "no value of 2 trainable variables changed" in error.message


# The corpus --------------------------------------------------------------------------------------


# The largest; a training and an export of it take four seconds.
SLOW_MODEL = "basic_pitch_nmp"


def quick_or_slow(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) if name == SLOW_MODEL else name for name in names]


# `auto` is one of the others; which one, the next test says.
@pytest.mark.parametrize(
    "method", [Method.RESAVE, Method.REWRITE, pytest.param(Method.AUTO, marks=pytest.mark.soak)]
)
@pytest.mark.parametrize("name", quick_or_slow(name for name in KINDS if name not in WITHOUT_VARIABLES))
def test_every_model_of_the_corpus_survives_a_training_of_nothing(
    name: str, method: Method, script: Path, out: Path
) -> None:
    source, train = corpus_model(name), f"{script}:nothing"
    if name in UNLOADED or (name in UNSAVED and method is Method.RESAVE):  # By name it is strict.
        refused(TensorFlowError, source, out, train, method=method, allow_unchanged=True)
        return
    result = trained(source, out, train, method=method, allow_unchanged=True)
    assert result.staged_model is not None
    assert result.staged_model.values.changed == ()
    assert result.staged_model.compared
    # TensorFlow's version, and of a Keras model what it no longer is.
    found = differences(source, out / "tuned")
    assert result.method is (Method.REWRITE if name in UNSAVED or method is Method.REWRITE else Method.RESAVE)
    if result.method is Method.REWRITE:
        assert found == []
    elif KINDS[name] != "Keras":
        assert {difference.part for difference in found} <= {"version"}
    else:
        paths = {variable.path for variable in inspect(str(source)).info.variables if not variable.is_slot}
        assert not [
            difference
            for difference in found
            if difference.part in ("signature", "value") and difference.name in paths
        ]
        assert {difference.name for difference in found if difference.part == "function"} <= {
            "_default_save_signature"
        }


TRAINABLE = {
    "basic_pitch_nmp": "resave",
    "java_python_model": "resave",
    "serving_half_plus_two_tf2": "rewrite",
    "tfjs_int64_multiply": "resave",
    "tfjs_multiple_signatures": "resave",
    "tfx_keras_serving": "resave",
}


@pytest.mark.parametrize("name", quick_or_slow(TRAINABLE))
def test_no_model_of_the_corpus_with_something_to_train_is_refused(
    name: str, script: Path, out: Path
) -> None:
    result = trained(corpus_model(name), out, f"{script}:add_one")
    assert result.method.value == TRAINABLE[name]
    assert result.staged_model is not None
    assert result.staged_model.values.changed_trainable
    assert list(out.iterdir()) == [out / "tuned"]


@pytest.mark.parametrize("name", UNLOADED)
def test_a_graph_that_tensorflow_2_does_not_load_can_be_written_to(
    name: str, script: Path, out: Path
) -> None:
    error = refused(TensorFlowError, corpus_model(name), out, f"{script}:add_to_all")
    assert "hubcli finetune-export MODEL DEST --weights FILE" in error.hint
    assert "hubcli verify" not in error.hint
    options = FinetuneOptions(weights=corpus_model(name), allow_unchanged=True)
    result = finetune_export(str(corpus_model(name)), out / "tuned", options=options)
    assert result.method is Method.REWRITE


# Refused -----------------------------------------------------------------------------------------


def test_a_training_of_nothing_is_refused(model: Path, script: Path, out: Path) -> None:
    error = refused(UnchangedError, model, out, f"{script}:nothing")
    assert "no value of 1 trainable variable changed" in error.message


def test_a_training_of_statistics_alone_is_refused(zoo: Zoo, script: Path, out: Path) -> None:
    source = zoo("plain_module")
    error = refused(UnchangedError, source, out, f"{script}:count_only", keeps=True)
    assert "of the others 1 did" in error.message


@pytest.mark.parametrize("options", [{}, {"method": Method.REWRITE}, {"strategy": "mirrored"}])
@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("put_a_variable_in_place", "it replaced the variable v"),
        ("take_a_variable_away", "it removed the variable v"),
        ("put_a_function_in_place", "it replaced the function __call__"),
    ],
)
def test_a_training_that_takes_the_model_apart_is_refused(
    function: str, message: str, options: dict[str, Any], model: Path, script: Path, out: Path
) -> None:
    error = refused(TensorFlowError, model, out, f"{script}:{function}", keeps=True, **options)
    assert message in error.message


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("function", ["save_over", "remove"])
def test_a_training_that_writes_over_its_source_is_refused(
    function: str, method: Method, model: Path, script: Path, out: Path
) -> None:
    arguments = {"model": str(model)}
    with pytest.raises(HubcliError) as caught:
        trained(model, out, f"{script}:{function}", method=method, arguments=arguments)
    assert caught.value.exit_status != 1
    assert "changed during the training" in caught.value.message or "Cannot read" in caught.value.message
    if function == "save_over":  # The other one trained nothing.
        assert caught.value.trained_values == str(out / "tuned.trained-values")
        assert Bundle.open(out / "tuned.trained-values", "values").values()


def test_what_a_training_hangs_on_the_model_is_told(model: Path, script: Path, out: Path) -> None:
    pytest.importorskip("tf_keras", reason="tf_keras is not installed: pip install '.[dev]'")
    error = refused(TensorFlowError, model, out, f"{script}:add_a_head", keeps=True)
    assert "variable head.kernel is new" in error.message
    # What an optimizer keeps is no part of the model: the values are written without it.
    result = trained(model, out, f"{script}:add_an_optimizer")
    assert result.method is Method.REWRITE
    assert result.staged_model is not None
    assert "variable optimizer" in result.staged_model.reason
    assert {difference.part for difference in differences(model, out / "tuned")} == {"value"}


def save_randomized(target: Path) -> Path:
    """A model of TensorFlow 1 whose initializer runs whenever it is loaded."""
    import tensorflow as tf

    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(target))
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 1], name="x")
        w = v1.get_variable("w", [1, 1], initializer=v1.random_normal_initializer(), use_resource=True)
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": tf.matmul(x, w)})
        session.run(v1.global_variables_initializer())
        init = v1.global_variables_initializer()
        signatures = {"serving_default": signature}
        builder.add_meta_graph_and_variables(session, ["serve"], signatures, main_op=init)
    builder.save()
    return target


def test_a_model_that_sets_its_variables_when_it_is_loaded_is_told_before_the_training(
    tmp_path: Path, script: Path, out: Path
) -> None:
    source = save_randomized(tmp_path / "random")
    error = refused(TensorFlowError, source, out, f"{script}:fail")
    assert (
        "sets 1 trainable variable to other values than in its file whenever it is loaded (w)"
        in error.message
    )
    assert "init_op" in error.hint


@pytest.mark.parametrize("function", ["later", "piecewise"])
def test_a_function_that_would_train_later_is_refused(
    function: str, model: Path, script: Path, out: Path
) -> None:
    assert "nothing was trained" in refused(TensorFlowError, model, out, f"{script}:{function}").message


@pytest.mark.parametrize("method", Method)
def test_a_disk_that_is_full_after_the_training_is_told_as_that(
    method: Method, model: Path, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with mounted(tmp_path / "disk", "size=80m") as disk:
        filler = disk / "filler"
        options = FinetuneOptions(
            train=f"{script}:fill_the_disk", arguments={"place": str(filler)}, method=method
        )
        with pytest.raises(DiskFullError, match="Not enough disk space") as caught:
            finetune_export(str(model), disk / "tuned", options=options)
        assert list(disk.iterdir()) == [filler]
        # Where they can be written: the working directory.
        assert caught.value.trained_values == str(tmp_path / "here" / "tuned.trained-values")
        filler.unlink()
        export_kept_values(caught.value, disk / "tuned")


def test_a_function_that_ends_the_program_ends_itself_alone(model: Path, script: Path, out: Path) -> None:
    error = refused(TensorFlowError, model, out, f"{script}:leave", keeps=True)
    assert "ended the program with status 0" in error.message
    assert "the values of the unfinished training are kept in" in error.message


def test_a_thread_that_trains_on_is_found(model: Path, script: Path, out: Path) -> None:
    def training_threads() -> list[Any]:
        return [thread for thread in threading.enumerate() if thread.name == "beside"]

    class TrainOn(ProgressListener):
        def step(self, text: str) -> None:
            if text.startswith("Loading the export"):  # It was saved, and not yet compared.
                training_threads()[0].train_on()

    try:
        error = refused(TensorFlowError, model, out, f"{script}:go_on_beside", keeps=True, listener=TrainOn())
    finally:
        for thread in training_threads():
            thread.stop()
    assert "the variable v holds other values" in error.message
    assert "End all threads" in error.hint


def test_nan_is_refused_until_it_is_allowed(model: Path, script: Path, out: Path) -> None:
    assert "--allow-nan" in refused(ValuesError, model, out, f"{script}:poison", keeps=True).hint
    trained(model, out, f"{script}:poison", allow_nan=True)


def test_variables_that_one_path_names_are_refused(tmp_path: Path, script: Path, out: Path) -> None:
    import tensorflow as tf

    root = tf.Module()
    root.d = {"a.b": tf.Variable(1.0), "a": {"b": tf.Variable(2.0)}}
    tf.saved_model.save(root, str(tmp_path / "dotted"))
    error = refused(TensorFlowError, tmp_path / "dotted", out, f"{script}:nothing")
    assert "2 variables with the same path d.a.b" in error.message


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("absent.py:add", NotFoundError),
        ("no.such.module:add", UsageError),
        ("{script}:absent", UsageError),
        ("{script}", UsageError),
    ],
)
def test_a_function_that_is_not_there_is_told(
    text: str, kind: type[HubcliError], model: Path, script: Path, out: Path
) -> None:
    refused(kind, model, out, text.format(script=script))
