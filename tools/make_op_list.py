"""Updates hubcli/savedmodel/op_classes.tsv: every op that TensorFlow's registry knows, with its class.

Run it from the top of the repository, with TensorFlow: `python tools/make_op_list.py`.
A line is name, class, `f` where an attribute is a function or a list of them, and a
few words on what the op does. Classes are kept; a new op gets the class `?`, and
the names of all such are printed: give each its class by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session

from hubcli.savedmodel.nodes import OpClass, op_classes

_TARGET = Path(__file__).parent.parent / "hubcli" / "savedmodel" / "op_classes.tsv"
_UNCLASSED = "?"


def registered_ops() -> dict[str, bool]:
    """Every op that the installed TensorFlow registers, and whether its attributes may name functions."""
    buffer = pywrap_tf_session.TF_GetAllOpList()
    ops = op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(buffer))
    return {op.name: any(attr.type in ("func", "list(func)") for attr in op.attr) for op in ops.op}


def main() -> int:
    """Writes the list, sorted by name; 1 where ops are left without a class."""
    known = op_classes()
    classes = {
        op: OpClass(known[op].name, takes, known[op].reason)
        if op in known
        else OpClass(_UNCLASSED, takes, "")
        for op, takes in registered_ops().items()
    }
    head = (
        f"# Ops that TensorFlow {tf.__version__} registers: "
        "name, class, whether attributes name functions, what it does"
    )
    lines = [
        "\t".join((op, op_class.name, "f" if op_class.takes_functions else "", op_class.reason)).rstrip()
        for op, op_class in sorted(classes.items())
    ]
    _TARGET.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    unclassed = [op for op, op_class in sorted(classes.items()) if op_class.name == _UNCLASSED]
    for op in unclassed:
        print(f"Without a class: {op}")
    return 1 if unclassed else 0


if __name__ == "__main__":
    sys.exit(main())
