"""Keras files that run code where they are loaded, with a marker: a file that must not appear."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hubcli.formats.wire import encode_field, scan
from hubcli.tf.importing import KerasGeneration, import_h5py, import_keras

Edit = Callable[[dict[str, Any]], Any]


def clean(ending: str, folder: Path) -> Path:
    """A model of Keras 2 with an op layer `doubled`, an LSTM cell in an RNN `steps`, and a model in it."""
    keras = import_keras(KerasGeneration.KERAS_2)
    inputs = keras.Input([3, 2], name="x")
    x = keras.layers.RNN(keras.layers.LSTMCell(2, name="cell"), name="steps")(inputs)
    inner = keras.Sequential([keras.Input([2]), keras.layers.Dense(2, name="dense")], name="inner")
    model = keras.Model(inputs, inner(x) * 2.0)
    path = folder / f"model{ending}"
    model.save(str(path), **({} if ending else {"save_format": "tf"}))
    return path


def bytecode(marker: Path) -> list[Any]:
    """A lambda that writes the marker and gives its input back, as Keras 2 stores it."""
    from tf_keras.src.utils.generic_utils import func_dump

    source = f"lambda x, *rest: (__import__('pathlib').Path({str(marker)!r}).write_text('ran'), x)[1]"
    code, defaults, closure = func_dump(eval(source))
    return [code, defaults, closure]


def lambda_config(marker: Path, name: str = "evil") -> dict[str, Any]:
    """A Lambda layer in the legacy spelling."""
    return {
        "class_name": "Lambda",
        "config": {
            "name": name,
            "trainable": True,
            "dtype": "float32",
            "function": bytecode(marker),
            "function_type": "lambda",
            "module": "none",
            "output_shape": None,
            "output_shape_type": "raw",
            "output_shape_module": None,
            "arguments": {},
        },
    }


def edit_file(path: Path, edit: Edit, write: Callable[[Any], str] = json.dumps) -> Path:
    """The file with its config changed, in any format; `write` makes JSON text of it."""
    if path.is_dir():
        return edit_metadata(path, edit, write)
    if path.suffix == ".h5":
        with import_h5py().File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            edit(config)
            file.attrs["model_config"] = write(config)
        return path
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    edit(config)
    members["config.json"] = write(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def edit_metadata(path: Path, edit: Edit, write: Callable[[Any], str] = json.dumps) -> Path:
    """The SavedModel with every config in its metadata changed."""
    file = path / "keras_metadata.pb"
    data, rewritten = file.read_bytes(), b""
    for node in scan(data):
        inner = b""
        for finding in scan(data, node.start, node.end):
            value: bytes | int = (
                data[finding.start : finding.end] if finding.wire_type == 2 else finding.value
            )
            if finding.number == 5 and isinstance(value, bytes):
                config = json.loads(value)
                edit(config)
                value = write(config).encode()
            inner += encode_field(finding.number, value)
        rewritten += encode_field(node.number, inner)
    file.write_bytes(rewritten)
    return path


def objects(config: Any) -> list[dict[str, Any]]:
    """Every object with a class in the config, the outer ones first."""
    found, pending = [], [config]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            found += [item] if "class_name" in item else []
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return found


def of_class(config: Any, name: str) -> list[dict[str, Any]]:
    """Those of one class."""
    return [value for value in objects(config) if value["class_name"] == name]
