"""The user's training function: how it is found, what it changes, how its faults are shown, where it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hubcli.errors import NotFoundError, TensorFlowError, UsageError
from hubcli.tf import StrategyKind
from hubcli.tf.importing import import_tensorflow
from hubcli.tf.loading import load_model, restore_lists
from hubcli.tf.training import Strategy, TrainingFunction, train
from tests.forkserver import ROOT, Process, open_python
from tests.server import free_port
from tests.tf.conftest import Zoo, read

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

BY_LAYER = """
import tensorflow as tf, tensorflow_hub as hub, tf_keras

def train(obj, epochs=1, rate=0.1):
    print("training", epochs)
    layer = hub.KerasLayer(obj, trainable=True)
    model = tf_keras.Sequential([tf_keras.Input([3]), layer])
    model.compile(tf_keras.optimizers.SGD(rate), "mse")
    model.fit(tf.ones([8, 3]), tf.zeros([8, 3]), epochs=epochs, verbose=0)

def by_tape(obj):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(obj(tf.ones([2, 3])) ** 2)
    for variable, gradient in zip(obj.trainable_variables, tape.gradient(loss, obj.trainable_variables)):
        variable.assign_sub(0.01 * gradient)

def nothing(obj):
    pass

def poison(obj):
    obj.w.assign(obj.w / 0.0)

def fails(obj):
    values = [1]
    return values[7]

def by_labels(obj, loss):
    model = tf_keras.Sequential([tf_keras.Input([3]), hub.KerasLayer(obj, trainable=True)])
    model.compile("sgd", loss)
    model.fit(tf.ones([4, 3]), tf.fill([4], 9), verbose=0)

def wrong_label(obj):
    by_labels(obj, tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))

def own_loss(labels, scores):
    return tf.reduce_sum(scores @ tf.ones([7, 1]))

def wrong_loss(obj):
    by_labels(obj, own_loss)

def many_lines(obj):
    raise ValueError("one\\n  two\\n")

def whole_arrays(obj):
    raise ValueError("no such array: " + "0.1 " * 1000)

def other_keras(obj):
    import keras
    hub.KerasLayer(obj)(keras.Input([3]))

number = 3
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "my_training.py"
    path.write_text(BY_LAYER)
    return path


@pytest.mark.parametrize("name", ["train", "by_tape"])
def test_a_plain_module_trains_once_its_lists_are_set(
    name: str, zoo: Zoo, script: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorflow_hub")
    source = zoo("plain_module")
    info, obj = read(source), load_model(source)
    assert not hasattr(obj, "trainable_variables")
    restored = restore_lists(obj, info)
    assert (restored.variables, restored.trainable_variables) == (("b", "w"), ("w",))
    assert "no list of what to train" in restored.note
    report = train(
        obj, TrainingFunction.load(f"{script}:{name}"), {"epochs": 2} if name == "train" else {}, info
    )
    assert report.changed == report.changed_trainable == ("w",)
    assert report.trainable == 1
    if name == "train":
        assert capfd.readouterr().out == "training 2\n"


def test_without_its_lists_a_layer_around_it_trains_nothing(zoo: Zoo, script: Path) -> None:
    pytest.importorskip("tensorflow_hub")
    source = zoo("plain_module")
    report = train(load_model(source), TrainingFunction.load(f"{script}:train"), {}, read(source))
    assert not report.changed_trainable


def test_a_training_that_changes_nothing_or_breaks_numbers_is_told(zoo: Zoo, script: Path) -> None:
    source = zoo("plain_module")
    info, obj = read(source), load_model(source)
    assert not train(obj, TrainingFunction.load(f"{script}:nothing"), {}, info).changed_trainable
    assert train(obj, TrainingFunction.load(f"{script}:poison"), {}, info).not_finite == ("w",)


def test_the_lists_of_an_interface_are_left_as_they_are(zoo: Zoo) -> None:
    source = zoo("reusable")
    obj = load_model(source)
    assert restore_lists(obj, read(source)).note == ""
    assert [variable.name for variable in obj.trainable_variables] == ["kernel:0"]


def test_an_exception_of_the_users_is_shown_with_its_line(zoo: Zoo, script: Path) -> None:
    source = zoo("plain_module")
    function = TrainingFunction.load(f"{script}:fails")
    with pytest.raises(TensorFlowError) as caught:
        train(load_model(source), function, {}, read(source))
    line = 1 + BY_LAYER.splitlines().index("    return values[7]")
    assert f"{script}:{line}: IndexError: list index out of range" in caught.value.message
    assert int(caught.value.exit_status) == 7
    assert isinstance(caught.value.__cause__, IndexError)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (
            "wrong_label",
            "    model.fit(tf.ones([4, 3]), tf.fill([4], 9), verbose=0)",
            "InvalidArgumentError: Received a label value of 9 which is outside the valid range",
        ),
        (
            "wrong_loss",
            "    return tf.reduce_sum(scores @ tf.ones([7, 1]))",
            "ValueError: Dimensions must be equal, but are 3 and 7 for",
        ),
        ("many_lines", '    raise ValueError("one\\n  two\\n")', "ValueError: one two"),
    ],
)
def test_a_fault_within_a_graph_is_told_in_one_line_without_its_frames(
    name: str, line: str, message: str, zoo: Zoo, script: Path
) -> None:
    pytest.importorskip("tensorflow_hub")
    source = zoo("plain_module")
    info, obj = read(source), load_model(source)
    restore_lists(obj, info)
    with pytest.raises(TensorFlowError) as caught:
        train(obj, TrainingFunction.load(f"{script}:{name}"), {}, info)
    number = 1 + BY_LAYER.splitlines().index(line)
    assert f": {script}:{number}: {message}" in caught.value.message
    assert "\n" not in caught.value.message
    assert 'File "' not in caught.value.message


def test_a_long_message_is_cut_and_a_puzzling_one_gets_advice(zoo: Zoo, script: Path) -> None:
    pytest.importorskip("tensorflow_hub")
    source = zoo("plain_module")
    info, obj = read(source), load_model(source)
    with pytest.raises(TensorFlowError, match=r"no such array: (0\.1 )+\S* …$") as caught:
        train(obj, TrainingFunction.load(f"{script}:whole_arrays"), {}, info)
    assert len(caught.value.message) < 800
    with pytest.raises(TensorFlowError) as caught:
        train(obj, TrainingFunction.load(f"{script}:other_keras"), {}, info)
    assert "TF_USE_LEGACY_KERAS=1" in caught.value.hint


def test_a_function_that_cannot_be_found_is_a_fault_of_usage(script: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Missing function in"):
        TrainingFunction.load(str(script))
    with pytest.raises(UsageError, match="has no function trian") as caught:
        TrainingFunction.load(f"{script}:trian")
    assert "train" in caught.value.hint
    with pytest.raises(UsageError, match="not a function but a int"):
        TrainingFunction.load(f"{script}:number")
    with pytest.raises(NotFoundError, match="does not exist"):
        TrainingFunction.load(f"{tmp_path}/absent.py:train")
    with pytest.raises(UsageError, match="No module absent_package"):
        TrainingFunction.load("absent_package.inner:train")
    (tmp_path / "wrong.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(TensorFlowError, match=r"wrong\.py:2: invalid syntax"):
        TrainingFunction.load(f"{tmp_path}/wrong.py:f")
    (tmp_path / "imports.py").write_text("import absent_package\n")
    with pytest.raises(TensorFlowError, match=r"imports\.py:1: ModuleNotFoundError"):
        TrainingFunction.load(f"{tmp_path}/imports.py:f")


def test_a_function_that_takes_other_arguments_is_told_before_it_is_called(script: Path) -> None:
    function = TrainingFunction.load(f"{script}:train")
    function.require_arguments({"epochs": 3})
    for arguments in ({"epoch": 3}, {"obj": 1}):
        with pytest.raises(UsageError, match="Cannot call .* with") as caught:
            function.require_arguments(arguments)
        assert "(obj, epochs=1, rate=0.1)" in caught.value.hint
    with pytest.raises(UsageError, match="missing a required argument: 'loss'"):
        TrainingFunction.load(f"{script}:by_labels").require_arguments({})
    TrainingFunction.load("builtins:dict").require_arguments({"anything": 1})


def test_a_function_of_a_module_in_this_directory(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(script.parent)
    assert TrainingFunction.load("my_training:nothing").function.__module__ == "my_training"
    sys.modules.pop("my_training", None)


MIRRORED = """
import sys
from pathlib import Path
from hubcli.tf.importing import import_tensorflow
tf = import_tensorflow()
cpu = tf.config.list_physical_devices("CPU")[0]
if sys.argv[1] == "mirrored":
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from hubcli.tf import StrategyKind
from hubcli.tf.training import Strategy
from hubcli.tf.loading import copy_values, load_model, restore_lists
from hubcli.tf.resave import resave
from hubcli.tf.compare import compare_models
from hubcli.tf.training import TrainingFunction, train
from tests.tf.conftest import read

strategy = Strategy.start(StrategyKind(sys.argv[1]))
source, target, script = map(Path, sys.argv[2:])
info = read(source)
with strategy.scope():
    obj = load_model(source)
    restore_lists(obj, info)
    report = train(obj, TrainingFunction.load(f"{script}:train"), {"epochs": 2}, info)
fresh = load_model(source)
copy_values(obj, fresh, info)
replicas = strategy.value.num_replicas_in_sync
print("RESULT", replicas, strategy.is_chief, report.changed, fresh.w.numpy().sum(), flush=True)
if strategy.is_chief:
    resave(fresh, source, target, info)
    print("EQUAL", compare_models(fresh, load_model(target), read(target), target).is_equal, flush=True)
"""


def start(program: str, *arguments: object, **variables: str) -> Process | subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = ["-c", program, *map(str, arguments)]
    return open_python(command, env=environment, with_tensorflow=True)


@pytest.mark.slow
def test_two_devices_train_one_model(zoo: Zoo, script: Path, tmp_path: Path) -> None:
    process = start(MIRRORED, "mirrored", zoo("plain_module"), tmp_path / "out", script)
    out, err = process.communicate(timeout=250)
    assert "RESULT 2 True ('w',)" in out, err
    assert "EQUAL True" in out, err
    assert "training 2" in out


@pytest.mark.slow
def test_two_processes_train_one_model_and_the_chief_writes_it(
    zoo: Zoo, script: Path, tmp_path: Path
) -> None:
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    processes = []
    for number in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
        source, target = zoo("plain_module"), tmp_path / f"out{number}"
        # Set in the process, which is forked: TensorFlow reads it when a strategy begins.
        program = f"import os\nos.environ['TF_CONFIG'] = {json.dumps(task)!r}\n{MIRRORED}"
        processes.append(start(program, "multiworker", source, target, script))
    try:
        results = [process.communicate(timeout=250) for process in processes]
    finally:
        for process in processes:
            process.kill()
    lines = [[line for line in out.splitlines() if line.startswith("RESULT")] for out, _ in results]
    assert lines[0], results[0][1]
    assert lines[0][0].startswith("RESULT 2 True ('w',)")
    assert lines[1][0].startswith("RESULT 2 False ('w',)")
    assert lines[0][0].split()[-1] == lines[1][0].split()[-1]
    assert (tmp_path / "out0" / "saved_model.pb").is_file()
    assert not (tmp_path / "out1").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "requires TF_CONFIG"),
        ("{", "not JSON"),
        ("{}", "lacks the cluster"),
        ("[]", "lacks the cluster"),
        ('{"cluster": {"worker": ["a:1"]}, "task": 3}', "lacks the cluster"),
    ],
)
def test_a_cluster_needs_its_configuration(
    text: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UsageError, match=message):
        Strategy.start(StrategyKind.MULTI_WORKER)


def test_the_import_of_tensorflow_is_silent_and_prints_of_ones_own_are_not() -> None:
    program = (
        "import sys; from hubcli.tf.importing import *; print('mine', file=sys.stderr); import_tensorflow();"
        "import_keras(KerasGeneration.KERAS_2); import_keras(KerasGeneration.KERAS_3);"
        "print('mine too', file=sys.stderr)"
    )
    out, err = start(program).communicate(timeout=250)
    assert (out, err) == ("", "mine\nmine too\n")


@pytest.mark.slow
def test_keras_stands_on_tensorflow_whatever_its_settings_say() -> None:
    program = (
        "from hubcli.tf.importing import *; import os;"
        "print(import_keras(KerasGeneration.KERAS_3).backend.backend(), os.environ['KERAS_BACKEND'])"
    )
    out, err = start(program, KERAS_BACKEND="jax").communicate(timeout=250)
    assert out == "tensorflow jax\n", err


def test_without_tensorflow_the_way_to_get_it_is_told(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from hubcli.errors import TensorFlowError; from hubcli.tf.importing import import_tensorflow\n"
        "try: import_tensorflow()\nexcept TensorFlowError as error: print(error.message, '|', error.hint)"
    )
    out, _ = start(program).communicate(timeout=250)
    assert out == "tensorflow is not installed | Install it: pip install 'hubcli[tf]'\n"


def test_tensorflow_is_there_for_what_follows() -> None:
    assert import_tensorflow() is sys.modules["tensorflow"]
