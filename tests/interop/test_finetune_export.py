"""Models of TF Hub, fetched by handle, fine-tuned as its documentation tells, exported, and used again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

import hubcli
from hubcli.commands.finetune_export import FinetuneOptions, FinetuneResult, Method
from hubcli.config.settings import Settings
from tests import models
from tests.forkserver import Process, open_python
from tests.installed import require_installed
from tests.server import HubServer, free_port

require_installed("tensorflow_hub", "tf_keras")

if TYPE_CHECKING:
    from tests.interop.training_files import Trained

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

ROOT = Path(__file__).parent.parent.parent
SCRIPT = Path(__file__).with_name("finetuning.py")
MODELS = ("text", "image", "keras image")
LOOPS = ("by_layer", "by_tape", "by_keras_3")
KINDS = (
    "keras 2 weights",
    "keras 2 .weights.h5",
    "keras 2 .h5",
    "keras 2 whole .h5",
    "keras 2 whole .keras",
    "keras 2 whole SavedModel",
    "ModelCheckpoint",
    "model and optimizer",
    "the object's checkpoint",
    "the object's SavedModel",
    ".npz",
    ".safetensors",
    "CheckpointManager",
    "tf.train.Checkpoint",
    "a SavedModel without its signatures",
    "keras 3 .weights.h5",
    "keras 3 .keras",
    "keras 3 whole .h5",
    "keras 3 checkpoint",
)
# `auto` is one of the others.
BOTH_METHODS = pytest.mark.parametrize(
    "method",
    [Method.RESAVE, Method.REWRITE, pytest.param(Method.AUTO, marks=pytest.mark.soak)],
    ids=lambda method: method.value,
)
# What a file is doesn't matter any more once its values are found: a few of them are saved again. The quick
# tests take every second kind of the smaller model, the slow ones each of the larger, which has more of all.
QUICK_FILES = [*(("text", kind, Method.REWRITE) for kind in KINDS[::2]), ("text", KINDS[0], Method.RESAVE)]
SLOW_FILES = [
    *(("image", kind, Method.REWRITE) for kind in KINDS),
    *(("image", kind, Method.RESAVE) for kind in KINDS[::5]),
]
EVERY_FILE = pytest.mark.parametrize(
    ("model", "kind", "method"),
    [
        pytest.param(
            model,
            kind,
            method,
            marks=()
            if (model, kind, method) in QUICK_FILES
            else pytest.mark.slow
            if (model, kind, method) in SLOW_FILES
            else pytest.mark.soak,
        )
        for model in MODELS
        for kind in KINDS
        for method in (Method.REWRITE, Method.RESAVE)
    ],
)
# The third shows nothing that the second doesn't, but for its own names.
EVERY_MODEL = pytest.mark.parametrize(
    "model",
    [
        "text",
        pytest.param("image", marks=pytest.mark.slow),
        pytest.param("keras image", marks=pytest.mark.soak),
    ],
)
EVERY_IMAGE_MODEL = pytest.mark.parametrize(
    "model", ["image", pytest.param("keras image", marks=pytest.mark.soak)]
)


def data_of(model: str) -> str:
    """The name in `finetuning` of what the model is trained with."""
    return "text" if model == "text" else "image"


@dataclass(frozen=True)
class Host:
    """A host of models, as TF Hub is one, and a cache that hubcli and tensorflow_hub share."""

    server: HubServer
    cache: Path

    @property
    def settings(self) -> Settings:
        return Settings.read({}, cache_dir=self.cache)

    def handle(self, model: str) -> str:
        return f"{self.server.url}/maker/{model.replace(' ', '-')}/1"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    from tests.interop import hub_models

    folder = tmp_path_factory.mktemp("host")
    with HubServer().running() as server:
        host = Host(server, folder / "cache")
        for model in MODELS:
            written = hub_models.save(model, folder / model)
            server.serve(f"/maker/{model.replace(' ', '-')}/1", models.pack(models.tree_files(written)))
            shutil.rmtree(written)
        yield host


Trainings = Callable[[str, str], "Trained"]


@pytest.fixture(scope="module")
def trainings(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    """What the training of that name left, of the model of that name; each runs once."""
    from tests.interop import training_files

    @once
    def training(model: str, loop: str) -> Trained:
        hubcli.fetch(host.handle(model), host.settings)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TFHUB_CACHE_DIR", str(host.cache))  # There hub.load finds what hubcli fetched.
            train = getattr(training_files, loop)
            return train(host.handle(model), data_of(model), tmp_path_factory.mktemp(loop))  # type: ignore[no-any-return]

    return training


@dataclass(frozen=True)
class Export:
    """A trained model where it was written, and what its training said that it is."""

    place: Path
    witness: Mapping[str, Any]
    result: FinetuneResult | None = None


class Exports(Protocol):
    def __call__(self, model: str, method: Method, loop: str = "by_layer") -> Export: ...


@pytest.fixture(scope="module")
def exports(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """A model after a training of it by that method; each is made once."""

    @once
    def export(model: str, method: Method, loop: str = "by_layer") -> Export:
        folder = tmp_path_factory.mktemp("export")
        return trained_here(host.handle(model), folder, model, method, loop, settings=host.settings)

    return export


def trained_here(
    source: str, folder: Path, model: str, method: Method, loop: str, settings: Settings | None = None
) -> Export:
    """`--train`, in this process."""
    place, witness = folder / "tuned", folder / "witness.npz"
    arguments = {"data": data_of(model), "witness": str(witness)}
    options = FinetuneOptions(train=f"{SCRIPT}:{loop}", arguments=arguments, method=method)
    result = hubcli.finetune_export(source, place, settings, options)
    return Export(place, witness_in(witness), result)


def witness_in(file: Path) -> dict[str, Any]:
    import numpy

    with numpy.load(file) as arrays:
        return dict(arrays)


def require_equal(export: Path, model: str, expected: Mapping[str, Any]) -> None:
    """What hub.load gets is what was trained: variables to the bit, losses, outputs in inference."""
    import numpy
    import tensorflow_hub as hub

    from tests.interop import finetuning

    found = finetuning.witness_of(hub.load(str(export)), data_of(model))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name.startswith("variable"):
            assert numpy.array_equal(found[name], value), name
        else:
            assert numpy.allclose(found[name], value, rtol=1e-5, atol=1e-6), name


def computed_with(variables: Mapping[str, Any], host: Host, model: str) -> dict[str, Any]:
    """What the model itself gives with other values of its variables; all of them must be other ones."""
    import tensorflow_hub as hub

    from tests.interop import finetuning

    obj = hub.load(str(hubcli.fetch(host.handle(model), host.settings).path))
    before = finetuning.witness_of(obj, data_of(model))
    for place, variable in enumerate(obj.variables):
        variable.assign(variables[f"variable {place}"])
    after = finetuning.witness_of(obj, data_of(model))
    require_trained(before, after)
    return after


def require_trained(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Every variable has other values, batch norm's statistics too, and so are the outputs."""
    assert before.keys() == after.keys()
    for name in before:
        assert (before[name] != after[name]).any(), name


TextResult = subprocess.CompletedProcess[str]
Running = Process | subprocess.Popen[str]


def start(*arguments: object, cache: Path, **variables: str) -> Running:
    """Starts `python ARGUMENTS…` on that cache."""
    environment = {**os.environ, "HUBCLI_CACHE_DIR": str(cache), **variables}
    return open_python([str(argument) for argument in arguments], env=environment, with_tensorflow=True)


def finished(process: Running) -> TextResult:
    try:
        out, err = process.communicate(timeout=250)
    finally:
        process.kill()
    return subprocess.CompletedProcess([], process.wait(), out, err)


def training_options(model: str, witness: Path, loop: str = "by_layer") -> list[str]:
    return [f"--train={SCRIPT}:{loop}", f"--arg=data={data_of(model)}", f"--arg=witness={witness}"]


@EVERY_MODEL
@pytest.mark.parametrize("loop", LOOPS)
def test_training_changes_every_variable_of_the_models(
    model: str, loop: str, host: Host, trainings: Trainings
) -> None:
    import tensorflow_hub as hub

    from tests.interop import finetuning

    path = hubcli.fetch(host.handle(model), host.settings).path
    before = finetuning.witness_of(hub.load(str(path)), data_of(model))
    require_trained(before, trainings(model, loop).witness)


@pytest.mark.parametrize(
    ("model", "method"), [("text", "resave"), pytest.param("image", "rewrite", marks=pytest.mark.slow)]
)
def test_a_handle_is_fetched_trained_and_exported_by_one_command(
    model: str, method: str, host: Host, tmp_path: Path, cache: Path
) -> None:
    place, witness = tmp_path / "tuned", tmp_path / "witness.npz"
    options = [*training_options(model, witness), f"--method={method}"]
    result = finished(
        start("-m", "hubcli", "finetune-export", host.handle(model), place, *options, cache=cache)
    )
    assert (result.returncode, result.stdout) == (0, f"{place}\n"), result.stderr
    assert hubcli.ls(Settings.read({}, cache_dir=cache)).models[0].handle == host.handle(model)
    require_equal(place, model, witness_in(witness))


@pytest.mark.parametrize(
    ("model", "method", "kind"),
    [
        pytest.param("image", "resave", "model and optimizer", marks=pytest.mark.slow),
        ("text", "rewrite", "keras 2 weights"),
    ],
)
def test_a_handle_is_fetched_and_exported_with_the_values_of_a_file(
    model: str, method: str, kind: str, host: Host, trainings: Trainings, tmp_path: Path, cache: Path
) -> None:
    trained = trainings(model, "by_layer")
    options = [tmp_path / "tuned", f"--weights={trained.files[kind]}", f"--method={method}"]
    result = finished(start("-m", "hubcli", "finetune-export", host.handle(model), *options, cache=cache))
    assert (result.returncode, result.stdout) == (0, f"{tmp_path / 'tuned'}\n"), result.stderr
    require_equal(tmp_path / "tuned", model, trained.witness)


@EVERY_MODEL
@pytest.mark.parametrize("loop", LOOPS)
@BOTH_METHODS
def test_an_export_is_the_object_that_was_trained(
    model: str, loop: str, method: Method, exports: Exports
) -> None:
    export = exports(model, method, loop)
    require_equal(export.place, model, export.witness)
    assert export.result is not None
    assert export.result.staged_model is not None
    assert export.result.staged_model.values.unchanged == ()
    assert any(call.startswith("__call__") for call in export.result.staged_model.compared)
    assert "signature serving_default" in export.result.staged_model.compared


@pytest.mark.slow
@pytest.mark.parametrize(("model", "method"), [("text", Method.RESAVE), ("image", Method.REWRITE)])
def test_a_training_may_keep_checkpoints_of_the_object_and_around_it(
    model: str, method: Method, host: Host, tmp_path: Path
) -> None:
    witness = tmp_path / "witness.npz"
    arguments = {"data": data_of(model), "witness": str(witness), "folder": str(tmp_path / "kept")}
    options = FinetuneOptions(train=f"{SCRIPT}:keeping_checkpoints", arguments=arguments, method=method)
    result = hubcli.finetune_export(host.handle(model), tmp_path / "tuned", host.settings, options)
    require_equal(tmp_path / "tuned", model, witness_in(witness))
    assert result.staged_model is not None
    assert not any("save_counter" in change.path for change in result.staged_model.values.changed)


@EVERY_FILE
def test_every_file_that_a_training_leaves_makes_the_same_export(
    model: str, kind: str, method: Method, host: Host, trainings: Trainings, tmp_path: Path
) -> None:
    from tests.interop import training_files

    trained = trainings(model, training_files.KINDS[kind].__name__)
    options = FinetuneOptions(weights=trained.files[kind], method=method)
    hubcli.finetune_export(host.handle(model), tmp_path / "tuned", host.settings, options)
    require_equal(tmp_path / "tuned", model, trained.witness)


def test_the_kinds_of_files_are_all_that_the_trainings_leave(trainings: Trainings) -> None:
    left = [kind for loop in LOOPS for kind in trainings("text", loop).files]
    assert sorted(left) == sorted(KINDS)


@EVERY_IMAGE_MODEL
@BOTH_METHODS
def test_statistics_of_batch_norm_move_in_training_alone(
    model: str, method: Method, exports: Exports
) -> None:
    import tensorflow_hub as hub

    from tests.interop import finetuning

    obj, images = hub.load(str(exports(model, method).place)), finetuning.INPUTS["image"]
    trained = {id(variable) for variable in obj.trainable_variables}
    statistics = [variable for variable in obj.variables if id(variable) not in trained]
    assert len(statistics) == 2

    before = [variable.numpy() for variable in obj.variables]
    assert (obj(images, training=False).numpy() == obj(images, training=False).numpy()).all()
    assert all((variable.numpy() == old).all() for variable, old in zip(obj.variables, before, strict=True))
    assert (obj(images, training=True).numpy() != obj(images, training=True).numpy()).any()
    moved = [
        id(variable)
        for variable, old in zip(obj.variables, before, strict=True)
        if (variable.numpy() != old).any()
    ]
    assert moved == [id(variable) for variable in statistics]


@EVERY_MODEL
@BOTH_METHODS
def test_an_export_is_trained_again_by_a_layer_around_its_path(
    model: str, method: Method, exports: Exports
) -> None:
    from tests.interop import finetuning

    data, place = data_of(model), str(exports(model, method).place)
    layer = finetuning.network_of(place, data).layers[0]
    assert len(layer.losses) == (0 if model == "text" else 2)
    assert len(layer.trainable_weights) == len(layer.resolved_object.trainable_variables)
    before = finetuning.witness_of(layer.resolved_object, data)
    after = finetuning.by_layer(place, data).layers[0].resolved_object
    require_trained(before, finetuning.witness_of(after, data))


@EVERY_MODEL
@BOTH_METHODS
def test_an_export_is_a_source_in_its_turn(
    model: str, method: Method, exports: Exports, tmp_path: Path, hubcli: Callable[..., TextResult]
) -> None:
    first = exports(model, method)
    second = trained_here(str(first.place), tmp_path, model, method, "by_tape")
    require_equal(second.place, model, second.witness)
    require_trained(first.witness, second.witness)
    for generation in (first.place, second.place):
        checked = hubcli("inspect", str(generation), "--check", "--json")
        document = json.loads(checked.stdout)
        assert (checked.returncode, document["reusable"]["problems"]) == (0, []), checked.stdout
    differences = hubcli("inspect", str(second.place), "--diff", str(first.place), "--json")
    parts = {difference["part"] for difference in json.loads(differences.stdout)["differences"]}
    assert parts == {"value"}, differences.stdout


@BOTH_METHODS
def test_a_text_model_knows_its_words_when_its_source_is_gone(
    method: Method, host: Host, tmp_path: Path
) -> None:
    import tensorflow_hub as hub

    settings = Settings.read({}, cache_dir=tmp_path / "cache")
    export = trained_here(host.handle("text"), tmp_path, "text", method, "by_tape", settings)
    shutil.rmtree(tmp_path / "cache")
    moved = export.place.rename(tmp_path / "moved")
    require_equal(moved, "text", export.witness)
    obj = hub.load(str(moved))
    (table,) = obj.variables
    words = (moved / "assets" / "vocabulary.txt").read_text().split()
    assert (obj(words).numpy() == table.numpy()[: len(words)]).all()
    in_buckets = obj([f"unheard{number}" for number in range(20)]).numpy()
    assert {tuple(row) for row in in_buckets} == {tuple(row) for row in table.numpy()[len(words) :]}


# Two devices where there is one processor: the rest is the command line itself.
TWO_DEVICES = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from hubcli.cli.main import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", [Method.RESAVE, pytest.param(Method.REWRITE, marks=pytest.mark.soak)])
def test_two_devices_train_a_model_that_is_exported(
    method: Method, host: Host, tmp_path: Path, cache: Path
) -> None:
    place, witness = tmp_path / "tuned", tmp_path / "witness.npz"
    options = [*training_options("keras image", witness), "--strategy=mirrored", f"--method={method.value}"]
    arguments = ("finetune-export", host.handle("keras image"), place, *options)
    result = finished(start("-c", TWO_DEVICES, *arguments, cache=cache))
    assert (result.returncode, result.stdout) == (0, f"{place}\n"), result.stderr
    require_equal(place, "keras image", computed_with(witness_in(witness), host, "keras image"))


@pytest.mark.soak  # tests/tf/test_training.py has two processes too.
@pytest.mark.parametrize("method", [Method.RESAVE, Method.REWRITE])
def test_two_workers_train_a_model_and_the_chief_alone_writes_it(
    method: Method, host: Host, tmp_path: Path
) -> None:
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    processes = []
    for number in range(2):
        folder = tmp_path / f"worker {number}"
        folder.mkdir()
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
        options = [*training_options("keras image", tmp_path / f"witness {number}.npz"), "--json"]
        options += ["--strategy=multiworker", f"--method={method.value}"]
        arguments = ("-m", "hubcli", "finetune-export", host.handle("keras image"), folder / "tuned")
        own_cache = tmp_path / f"cache {number}"
        processes.append(start(*arguments, *options, cache=own_cache, TF_CONFIG=json.dumps(task)))
    chief, other_worker = [finished(process) for process in processes]
    assert (chief.returncode, other_worker.returncode) == (0, 0), chief.stderr + other_worker.stderr
    assert json.loads(chief.stdout)["destination"] == str(tmp_path / "worker 0" / "tuned")
    assert json.loads(other_worker.stdout)["destination"] is None
    assert list((tmp_path / "worker 1").iterdir()) == []
    witnesses = [witness_in(tmp_path / f"witness {number}.npz") for number in range(2)]
    assert all((witnesses[0][name] == witnesses[1][name]).all() for name in witnesses[0])
    expected = computed_with(witnesses[0], host, "keras image")
    require_equal(tmp_path / "worker 0" / "tuned", "keras image", expected)
