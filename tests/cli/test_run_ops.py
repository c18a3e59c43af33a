"""Models with ops of other packages: their libraries are loaded, and what is missing is named."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from hubcli.tf.run_process import find_library
from tests.conftest import Run
from tests.installed import require_installed

require_installed("tensorflow")
pytestmark = pytest.mark.tensorflow

MUL = "example://mul/1"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that folds the case of a text, by an op that TensorFlow hasn't: it is put in by its name."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    root, target = tf.Module(), tmp_path_factory.mktemp("ops") / "model"
    spec = tf.TensorSpec([None], tf.string, name="text")
    root.f = tf.function(lambda text: {"y": tf.strings.lower(text)}, input_signature=[spec])
    tf.saved_model.save(root, str(target), signatures=root.f)
    proto = saved_model_pb2.SavedModel.FromString((target / "saved_model.pb").read_bytes())
    for function in proto.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op == "StringLower":
                node.op = "CaseFoldUTF8"
                if "encoding" in node.attr:
                    del node.attr["encoding"]
    (target / "saved_model.pb").write_bytes(proto.SerializeToString())
    return target


@pytest.mark.slow
@pytest.mark.skipif(find_spec("tensorflow_text") is not None, reason="tensorflow-text is installed")
def test_a_package_that_is_missing_is_named_with_its_pip_line(hubcli: Run, model: Path) -> None:
    completed = hubcli("run", str(model), "-i", "A")
    assert completed.returncode == 7
    assert "needs ops that TensorFlow does not have: CaseFoldUTF8" in completed.stderr
    assert "Hint: Install them: pip install tensorflow-text" in completed.stderr


@pytest.mark.slow
@pytest.mark.skipif(find_spec("tensorflow_text") is None, reason="tensorflow-text is not installed")
def test_the_libraries_of_an_installed_package_are_loaded(hubcli: Run, model: Path) -> None:
    found = json.loads(hubcli("run", str(model), "-i", "ÜBER", "--json").stdout)
    assert found["runner"] == "c"
    assert found["outputs"]["y"]["values"] == ["über"]


@pytest.mark.slow
def test_an_op_of_no_known_package_is_named(hubcli: Run, model: Path, tmp_path: Path) -> None:
    data = (model / "saved_model.pb").read_bytes()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "saved_model.pb").write_bytes(data.replace(b"CaseFoldUTF8", b"CaseFoldUTF9"))
    completed = hubcli("run", str(tmp_path / "odd"), "-i", "A")
    assert completed.returncode == 7
    assert "these ops: CaseFoldUTF9" in completed.stderr


@pytest.mark.slow
def test_the_library_may_be_named_by_its_file_or_directory(hubcli: Run) -> None:
    library = find_library()
    assert library is not None
    for place in (library, library.parent):
        completed = hubcli("run", MUL, "-i", "[1]", "--json", HUBCLI_TENSORFLOW_LIB=str(place))
        assert json.loads(completed.stdout)["runner"] == "c"
