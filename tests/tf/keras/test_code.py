"""Keras files that would run code or write files: none does without --unsafe, in any spelling."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import BrokenModelError, TensorFlowError, UsageError
from hubcli.formats.wire import encode_field
from hubcli.tf.importing import KerasGeneration, import_h5py, import_keras, import_tensorflow
from hubcli.tf.keras.export import export_keras
from hubcli.tf.keras.model import CustomObjects
from hubcli.tf.keras.source import KerasSource
from tests.tf import hostile_keras, keras_models
from tests.tf.hostile_keras import edit_file, lambda_config, of_class

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The clean model of Keras 2 in each format."""
    folder = tmp_path_factory.mktemp("clean")
    return {ending: hostile_keras.clean(ending, folder) for ending in (".h5", ".keras", "")}


@pytest.fixture
def copy(models: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Makes a copy of the clean model, to be edited."""
    import shutil

    def make(ending: str) -> Path:
        source, target = models[ending], tmp_path / f"model{ending}"
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
        return target

    return make


def residual(marker: Path, config: Any) -> None:
    """Wraps the cell of the RNN in a ResidualWrapper whose function is bytecode."""
    for rnn in of_class(config, "RNN"):
        cell = rnn["config"]["cell"]
        rnn["config"]["cell"] = {
            "class_name": "ResidualWrapper",
            "config": {
                "name": "residual",
                "trainable": True,
                "dtype": "float32",
                "cell": cell,
                "residual_fn": hostile_keras.bytecode(marker),
                "residual_fn_type": "lambda",
                "residual_fn_module": "none",
            },
        }


def lambda_layer(marker: Path, config: Any) -> None:
    """Puts a Lambda layer in the place of the inner model's Dense."""
    for dense in of_class(config, "Dense"):
        if dense["config"].get("name") == "dense":
            dense |= lambda_config(marker)
            dense["config"]["name"] = "dense"


def write_file(marker: Path, config: Any) -> None:
    """Lets the op layer write a file."""
    for layer in of_class(config, "TFOpLambda"):
        layer["config"]["function"] = "io.write_file"
        if "inbound_nodes" in layer:
            layer["inbound_nodes"] = [["_CONSTANT_VALUE", -1, str(marker), {"contents": "ran"}]]


def write_op(marker: Path, config: Any) -> None:
    """Puts a layer with a node of the graph there, which writes a file."""
    for layer in of_class(config, "TFOpLambda"):
        node = {"name": "w", "op": "WriteFile", "input": ["a", "b"]}
        layer["class_name"] = "TensorFlowOpLayer"
        layer["config"] = {
            "name": layer["config"]["name"],
            "node_def": node,
            "constants": {"0": str(marker), "1": "ran"},
        }


def in_time_distributed(marker: Path, config: Any) -> None:
    """Hides the Lambda layer within a wrapper."""
    for dense in of_class(config, "Dense"):
        if dense["config"].get("name") == "dense":
            dense["class_name"] = "TimeDistributed"
            dense["config"] = {"name": "dense", "layer": lambda_config(marker)}


CHANGES = [residual, lambda_layer, write_file, write_op, in_time_distributed]
REASONS = {
    residual: "layer residual: residual_fn is Python bytecode",
    lambda_layer: "layer dense: a Lambda layer runs Python code",
    write_file: r"layer tf.math.multiply\w*: it calls the TensorFlow function 'io.write_file'",
    write_op: r"layer tf.math.multiply\w*: it runs the TensorFlow op 'WriteFile'",
    in_time_distributed: "layer evil: a Lambda layer runs Python code",
}


def refused(path: Path, tmp_path: Path, reason: str) -> TensorFlowError:
    """The refusal of an export without --unsafe."""
    with pytest.raises(TensorFlowError, match=reason) as caught:
        export_keras(path, tmp_path / "out")
    assert "--unsafe" in caught.value.hint
    assert not (tmp_path / "out").exists()
    return caught.value


@pytest.mark.parametrize("ending", [".h5", ".keras", ""], ids=["h5", "keras", "savedmodel"])
@pytest.mark.parametrize("change", CHANGES)
def test_code_of_each_kind_is_refused_in_each_format(
    change: Any, ending: str, copy: Callable[[str], Path], tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    path = edit_file(copy(ending), lambda config: change(marker, config))
    refused(path, tmp_path, REASONS[change])
    assert not marker.exists()


@pytest.mark.parametrize("change", [residual, lambda_layer, write_file])
def test_with_unsafe_the_marker_shows_that_the_code_is_real(
    change: Any, copy: Callable[[str], Path], tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    path = edit_file(copy(".h5"), lambda config: change(marker, config))
    with suppress(TensorFlowError):
        export_keras(path, tmp_path / "out", unsafe=True)
    assert marker.read_text() == "ran"


def _with_spaces(config: Any) -> str:
    return json.dumps(config, separators=(" ,\n ", " :\t"))


def _escaped(config: Any) -> str:
    """Every letter and underscore of the JSON text as an escape."""

    def escape(text: str) -> str:
        return "".join(f"\\u{ord(letter):04x}" for letter in text)

    parts = json.dumps(config).split('"')
    # The configs of these models hold no escaped quotation marks.
    return '"'.join(escape(part) if place % 2 else part for place, part in enumerate(parts))


def _hidden_by_a_second_key(config: Any) -> str:
    """Each class twice: readers that take the first see a Dense."""
    return json.dumps(config).replace('"class_name"', '"class_name": "Dense", "class_name"')


@pytest.mark.parametrize("write", [_with_spaces, _escaped, _hidden_by_a_second_key])
@pytest.mark.parametrize("change", [residual, lambda_layer])
def test_no_spelling_of_the_json_hides_code(
    change: Any, write: Any, copy: Callable[[str], Path], tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    for ending in (".h5", ".keras", ""):
        path = edit_file(copy(ending), lambda config: change(marker, config), write)
        refused(path, tmp_path, "bytecode|Python code|appears twice")
        assert not marker.exists()


def test_a_config_in_another_encoding_hides_nothing(copy: Callable[[str], Path], tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", copy(".keras")
    edit_file(path, lambda config: residual(marker, config))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = members["config.json"].decode().encode("utf-16")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    refused(path, tmp_path, "residual_fn is Python bytecode")
    assert not marker.exists()


def test_a_node_of_the_metadata_with_an_odd_identifier_is_walked(
    copy: Callable[[str], Path], tmp_path: Path
) -> None:
    marker, path = tmp_path / "marker", copy("")
    text = json.dumps({"name": "evil", **lambda_config(marker)})
    node = (
        encode_field(2, 1) + encode_field(3, "root.odd") + encode_field(4, "no_such") + encode_field(5, text)
    )
    file = path / "keras_metadata.pb"
    for data in (encode_field(1, node) + file.read_bytes(), file.read_bytes() + encode_field(1, node)):
        file.write_bytes(data)
        refused(path, tmp_path, "layer evil: a Lambda layer runs Python code")
    assert not marker.exists()


def test_ops_of_the_saved_graph_that_write_files_are_refused(tmp_path: Path) -> None:
    """Keras restores the losses of a model from the graph, and calls them."""
    tf, keras = import_tensorflow(), import_keras(KerasGeneration.KERAS_2)
    marker = tmp_path / "marker"
    model: Any = keras_models.sequential(keras)

    def loss() -> Any:
        with tf.control_dependencies([tf.io.write_file(str(marker), "ran")]):
            return tf.constant(0.0)

    model.add_loss(loss)
    path = keras_models.save(model, tmp_path, "")
    marker.unlink(missing_ok=True)
    refused(path, tmp_path, "writes files")
    assert not marker.exists()


def test_a_module_that_the_config_names_is_not_imported(
    copy: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, path = tmp_path / "marker", copy(".keras")
    (tmp_path / "evil_module.py").write_text(f"open({str(marker)!r}, 'w').write('ran')\nclass Dense: pass\n")
    monkeypatch.syspath_prepend(tmp_path)

    def change(config: Any) -> None:
        for dense in of_class(config, "Dense"):
            dense["module"] = "evil_module"

    refused(edit_file(path, change), tmp_path, "layer dense: its module 'evil_module' would be imported")
    assert not marker.exists()
    assert "evil_module" not in sys.modules


def test_a_class_of_the_users_own_lends_its_name_to_no_other_module(
    copy: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, path = tmp_path / "marker", copy(".keras")
    (tmp_path / "evil_module.py").write_text(f"open({str(marker)!r}, 'w').write('ran')\n")
    (tmp_path / "own_layers.py").write_text(
        "import tf_keras\nfrom subprocess import run\nclass Mine(tf_keras.layers.Dense):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)

    def change(config: Any) -> None:
        for dense in of_class(config, "Dense"):
            dense |= {"class_name": "Mine", "module": "evil_module", "registered_name": None}

    edit_file(path, change)
    with pytest.raises(TensorFlowError, match="its module 'evil_module' would be imported"):
        export_keras(path, tmp_path / "out", custom_objects="own_layers.py")

    def call(config: Any) -> None:
        for mine in of_class(config, "Mine"):
            mine |= {"class_name": "run", "config": {"args": ["touch", str(marker)]}}

    edit_file(path, call)
    with pytest.raises(TensorFlowError, match="its class 'run' is not part of Keras"):
        export_keras(path, tmp_path / "out", custom_objects="own_layers.py")
    assert not marker.exists()


@pytest.mark.parametrize("change", [lambda_layer, "vocabulary", "function"])
def test_what_the_users_module_imports_from_keras_and_libraries_gains_no_trust(
    change: Any, copy: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, path = tmp_path / "marker", copy(".h5")
    (tmp_path / "own_star.py").write_text(
        "from tf_keras.layers import *\nfrom numpy import save\nfrom tensorflow.io import write_file\n"
        "from subprocess import run\nclass Mine(Dense):\n    pass\ndef double(x):\n    return 2 * x\n"
    )
    monkeypatch.chdir(tmp_path)

    def edit(config: Any) -> None:
        if callable(change):
            change(marker, config)
        for dense in of_class(config, "Dense"):
            settings = {"name": "dense", "function": "write_file", "function_type": "function"}
            if change == "vocabulary":
                settings = {"name": "dense", "vocabulary": str(tmp_path / "own_star.py")}
            dense |= {
                "class_name": "StringLookup" if change == "vocabulary" else "Lambda",
                "config": dense["config"] if callable(change) else settings,
            }

    edit_file(path, edit)
    reason = (
        "reads its vocabulary from the file" if change == "vocabulary" else "a Lambda layer runs Python code"
    )
    with pytest.raises(TensorFlowError, match=reason):
        export_keras(path, tmp_path / "out", custom_objects="own_star.py")
    assert not marker.exists()
    names = CustomObjects.of_module("own_star.py").trusted(import_keras(KerasGeneration.KERAS_2))
    assert names.classes & {"Mine", "Lambda"} == {"Mine"}
    assert names.functions == {"double"}


@pytest.mark.parametrize("kind", ["external link", "soft link", "external storage", "virtual dataset"])
def test_weights_that_stand_in_another_file_are_refused(
    kind: str, copy: Callable[[str], Path], tmp_path: Path
) -> None:
    h5py, path = import_h5py(), copy(".h5")
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["data"] = [1.0, 2.0]
    with h5py.File(path, "r+") as file:
        group = file["model_weights"].create_group("more")
        if kind == "external link":
            group["data"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/data")
        elif kind == "soft link":
            group["data"] = h5py.SoftLink("/model_weights")
        elif kind == "external storage":
            group.create_dataset("data", (4,), "f4", external=[(str(tmp_path / "secret"), 0, 16)])
        else:
            layout = h5py.VirtualLayout((2,), "f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "data", (2,))
            group.create_virtual_dataset("data", layout)
    with pytest.raises(BrokenModelError, match=r"model_weights/more/data .*link|are in another file"):
        export_keras(path, tmp_path / "out")
    archive = tmp_path / "archive.keras"
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(copy(".keras")) as source, zipfile.ZipFile(archive, "w", compression) as target:
            for name in source.namelist():
                target.writestr(name, path.read_bytes() if name == "model.weights.h5" else source.read(name))
        with pytest.raises(BrokenModelError, match="link|are in another file"):
            export_keras(archive, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_a_name_twice_is_refused(copy: Callable[[str], Path], tmp_path: Path) -> None:
    path = copy(".keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(BrokenModelError, match="contains a name twice"):
        export_keras(path, tmp_path / "out")


@pytest.mark.parametrize("value", [[b"{}"], b"\xff{}", 7], ids=["array", "no UTF-8", "number"])
def test_a_config_that_is_no_text_is_refused(value: Any, copy: Callable[[str], Path], tmp_path: Path) -> None:
    path = copy(".h5")
    with import_h5py().File(path, "r+") as file:
        file.attrs["model_config"] = value
    with pytest.raises(BrokenModelError, match="its model_config is no|its config is not JSON"):
        export_keras(path, tmp_path / "out")


def test_what_is_swapped_after_the_check_is_not_what_keras_reads(
    copy: Callable[[str], Path], tmp_path: Path
) -> None:
    for ending in (".h5", ".keras", ""):
        path = copy(ending)
        watched = path / "keras_metadata.pb" if path.is_dir() else path
        before = watched.read_bytes()
        with KerasSource.opened(path) as source:
            watched.write_bytes(b"swapped")
            read = source.copy / "keras_metadata.pb" if source.copy.is_dir() else source.copy
            assert read.read_bytes() == before
            assert read.parent.stat().st_mode & 0o077 in (0, 0o055)
        assert not source.copy.exists()


@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_a_pipe_is_no_model_and_is_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UsageError, match="not a regular file"):
        export_keras(tmp_path / name, tmp_path / "out")
