"""What a release of TensorFlow says of models: run by that release's own Python, without hubcli.

`python load_oracle.py FOLDER…` prints a line of JSON for each model below the folders. Each is loaded in a
process of its own, by `tf.saved_model.load` and in a session; then its signatures are called with ones, or
with the text "a". `runs` means that both went well, `loads` that a call failed, `fails` that it doesn't load.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
RUNS, LOADS, FAILS = "runs", "loads", "fails"


def main() -> None:
    """Asks about each model below the folders; with `--layers` first, what layers make of it."""
    is_about_layers = sys.argv[1:2] == ["--layers"]
    for folder in sys.argv[1 + is_about_layers :]:
        for path in sorted(Path(folder).iterdir()):
            if any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
                sys.stdout.write(_in_child(path, _of_layers if is_about_layers else _answer) + "\n")
                sys.stdout.flush()


def _in_child(path: Path, ask: Callable[[Path], dict[str, Any]]) -> str:
    """The answer of a process of its own, which a crash ends alone."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, json.dumps(ask(path)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(child, 0)
    return text or json.dumps({"model": path.name, "load": FAILS, "session": FAILS, "reason": "crash"})


def _of_layers(path: Path) -> dict[str, Any]:
    """Whether keras.layers.TFSMLayer and hub.KerasLayer take the path alone."""
    import keras
    import tensorflow_hub as hub

    answer: dict[str, Any] = {"model": path.name}
    for name, layer in (("keras3-layer", keras.layers.TFSMLayer), ("hub.KerasLayer", hub.KerasLayer)):
        try:
            layer(str(path))
        except Exception:  # noqa: BLE001, PERF203
            answer[name] = FAILS
        else:
            answer[name] = LOADS
    return answer


def _answer(path: Path) -> dict[str, Any]:
    from tensorflow.python.saved_model import loader_impl

    graphs = loader_impl.parse_saved_model(str(path)).meta_graphs
    tag_sets = [list(graph.meta_info_def.tags) for graph in graphs]
    tags = next((tags for tags in tag_sets if set(tags) == {"serve"}), tag_sets[0])
    answer: dict[str, Any] = {"model": path.name, "reason": ""}
    for loader, ask in (("load", _by_load), ("session", _by_session)):
        try:
            model = ask(path, tags, len(tag_sets))
        except Exception as error:  # noqa: BLE001, PERF203 - it is the answer
            answer[loader] = FAILS
            answer["reason"] += f"{loader}: {type(error).__name__}: {str(error).splitlines()[0][:200]}; "
        else:
            answer[loader] = model
    return answer


def _by_load(path: Path, tags: list[str], graphs: int) -> str:
    import tensorflow as tf

    model = tf.saved_model.load(str(path), tags=None if graphs == 1 else tags)
    try:
        for signature in model.signatures.values():
            specs = signature.structured_input_signature[1]
            signature(**{name: tf.constant(_value(spec.dtype, spec.shape)) for name, spec in specs.items()})
    except Exception:  # noqa: BLE001
        return LOADS
    return RUNS


def _by_session(path: Path, tags: list[str], graphs: int) -> str:
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, tags, str(path))
        try:
            for name, signature in graph.signature_def.items():
                if name[:2] != "__":
                    fed = {
                        tensor.name: _value(
                            tf.dtypes.as_dtype(tensor.dtype), tf.TensorShape(tensor.tensor_shape)
                        )
                        for tensor in signature.inputs.values()
                    }
                    session.run([tensor.name for tensor in signature.outputs.values()], fed)
        except Exception:  # noqa: BLE001
            return LOADS
    return RUNS


def _value(dtype: Any, shape: Any) -> Any:
    import numpy as np

    sizes = [] if shape.rank is None else [size or 2 for size in shape.as_list()]
    if dtype.name == "string":
        return np.full(sizes, "a", dtype=object)
    return np.ones(sizes, dtype.as_numpy_dtype)


if __name__ == "__main__":
    import tensorflow  # noqa: F401 - once, before the processes are made

    main()
