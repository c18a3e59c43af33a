"""LiteRT's converter, tried on a model: with builtin ops alone, then with Select TensorFlow ops.

It runs in a process of its own and writes nothing. A crash of the converter, or a conversion that takes too
long, ends that process alone.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hubcli.errors import TensorFlowError
from hubcli.savedmodel.targets.obstacle import Conversion
from hubcli.tf.importing import import_tensorflow
from hubcli.tf.run_process import has_package, one_sentence

__all__ = ["main", "try_conversion"]

_TIMEOUT_S = 600
_MAX_ANSWER_BYTES = 1 << 16
_MAX_REASON = 400
_START = (
    "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); "
    "from hubcli.tf.conversion_trial import main; main(*sys.argv[1:])"
)
# What the converter says of the ops, among thousands of lines on where they come from.
_SAYS = re.compile(
    r"(?:TF Select|Custom|Flex) ops: [^\n]*|'tf\.\w+' op is neither a custom op nor a flex op"
    r"|Op type not registered '[^']*'|[^\n]*failed to legalize[^\n]*"
)


def try_conversion(
    model: Path, tags: tuple[str, ...], *, signature: str = "", timeout_s: float = _TIMEOUT_S
) -> Conversion:
    """What the converter makes of the model in the directory; of that signature alone where one is named.

    Raises TensorFlowError without TensorFlow.
    """
    if not has_package("tensorflow"):
        raise TensorFlowError(
            "--try runs TensorFlow's converter, and TensorFlow is not installed",
            hint="Install it: pip install 'hubcli[tf]'",
        )
    paths = "\n".join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    with tempfile.TemporaryDirectory(prefix="hubcli-") as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-I", "-c", _START, paths, str(model), ",".join(tags), signature]
        command.append(str(answer))
        try:
            process = subprocess.run(  # noqa: S603 - this interpreter, and paths of ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=timeout_s,
                cwd=folder,
                env=_environment(os.environ),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _failed(f"the converter took longer than {timeout_s:g} s")
        if not answer.is_file() or answer.stat().st_size > _MAX_ANSWER_BYTES:
            return _failed(f"the converter's process ended with status {process.returncode}")
        return _conversion(json.loads(answer.read_text(encoding="utf-8")))


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    return {**variables, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def _failed(reason: str) -> Conversion:
    return Conversion(
        is_done=False, needs_select_ops=False, reason=reason, size_bytes=None, tensorflow_version=""
    )


def _conversion(answer: dict[str, Any]) -> Conversion:
    return Conversion(
        is_done=bool(answer["done"]),
        needs_select_ops=bool(answer["select"]),
        reason=str(answer["reason"]),
        size_bytes=answer["size_bytes"],
        tensorflow_version=str(answer["version"]),
    )


def main(model: str, tags: str, signature: str, answer: str) -> None:
    """Converts the model as a process of its own, and writes what came of it to the file `answer`."""
    tf = import_tensorflow()
    found = {"version": tf.__version__, "done": True, "select": False, "reason": "", "size_bytes": None}
    ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    both = [*ops, tf.lite.OpsSet.SELECT_TF_OPS]
    try:
        try:
            found["size_bytes"] = _converted_bytes(tf, model, tags, signature, ops)
        except Exception as error:  # noqa: BLE001 - whatever it raises is its answer
            found |= {"select": True, "reason": _reason(str(error))}
            found["size_bytes"] = _converted_bytes(tf, model, tags, signature, both)
    except Exception as error:  # noqa: BLE001
        found |= {"done": False, "reason": _reason(str(error))}
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


def _converted_bytes(tf: Any, model: str, tags: str, signature: str, ops: list[Any]) -> int:
    """The size of the model in LiteRT's format, made of those sets of ops."""
    tag_set = set(filter(None, tags.split(",")))
    converter = tf.lite.TFLiteConverter.from_saved_model(
        model, tags=tag_set, signature_keys=[signature] if signature else None
    )
    converter.target_spec.supported_ops = ops
    return len(converter.convert())


def _reason(text: str) -> str:
    """The converter's message in a sentence: which ops, where it names some."""
    named = list(dict.fromkeys(_SAYS.findall(text)))
    # Where it sums up the ops, the line on each says nothing more.
    named = [line for line in named if "ops: " in line] or named
    return ("; ".join(named) if named else one_sentence(text))[:_MAX_REASON]
