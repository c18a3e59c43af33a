"""The op types that TensorFlow 2.21 registers, each with its class.

They stand in op_classes.tsv: name, class, `f` where an attribute names
functions, a few words on what the op does. The classes were assigned by hand;
tools/make_op_list.py adds the ops of a new release and asks for theirs.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["OpClass", "class_of", "is_known", "op_classes", "takes_functions"]


class OpClass(NamedTuple):
    """What an op can do: `name` is its class, `reason` a few words, "" for most of the class `none`."""

    name: str
    takes_functions: bool
    reason: str


@cache
def op_classes() -> dict[str, OpClass]:
    """The class of every op that TensorFlow 2.21 registers, by the op's name."""
    lines = Path(__file__).with_name("op_classes.tsv").read_text(encoding="utf-8").splitlines()[1:]
    classes: dict[str, OpClass] = {}
    for line in lines:
        op, name, functions, reason = f"{line}\t\t".split("\t")[:4]
        classes[op] = OpClass(name, functions == "f", reason)
    return classes


def is_known(op: str) -> bool:
    """Whether plain TensorFlow has the op; others come with a library such as tensorflow_text."""
    return op in op_classes()


def class_of(op: str) -> str | None:
    """The op's class, None for an unknown op."""
    known = op_classes().get(op)
    return None if known is None else known.name


def takes_functions(op: str) -> bool:
    """Whether the op may name functions in its attributes; True for an unknown one."""
    known = op_classes().get(op)
    return known is None or known.takes_functions
