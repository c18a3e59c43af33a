"""Writes hubcli/savedmodel/known_ops.txt: every op type that TensorFlow's registry knows.

Run it from the top of the repository, with TensorFlow: `python tools/make_op_list.py`.
A line is a name; ` f` follows where one of the op's attributes is a function or a list of them.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session

_TARGET = Path(__file__).parent.parent / "hubcli" / "savedmodel" / "known_ops.txt"


def main() -> None:
    """Writes the list, sorted by name."""
    buffer = pywrap_tf_session.TF_GetAllOpList()
    ops = op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(buffer))
    lines = []
    for op in sorted(ops.op, key=lambda one: one.name):
        takes_functions = any(attr.type in ("func", "list(func)") for attr in op.attr)
        lines.append(op.name + (" f" if takes_functions else ""))
    _TARGET.write_text(f"# Ops of TensorFlow {tf.__version__}\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
