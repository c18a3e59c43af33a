"""What an op can do beyond its tensors: every op that TensorFlow 2.21 registers, by its class and its risk.

The classes stand in op_classes.tsv: name, class, `f` where an attribute names functions, a few words on
what the op does. They were assigned by hand; tools/make_op_list.py adds the ops of a new release and asks
for theirs. Why they matter: tensorflow/SECURITY.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hubcli.issues import Severity

__all__ = [
    "CONDITIONAL_OPS",
    "SAVER_OPS",
    "TABLE_OPS",
    "OpClass",
    "Risk",
    "class_of",
    "is_known",
    "op_classes",
    "risk_of",
    "risk_of_print",
    "risky_ops",
    "takes_functions",
]


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


@dataclass(frozen=True, slots=True)
class Risk:
    """What an op can do, in a word for scripts and in a sentence, and how grave that is."""

    code: str
    severity: Severity
    sentence: str


_WRITE = Risk("writes-files", Severity.HIGH, "writes files")
_NETWORK = Risk("uses-network", Severity.HIGH, "talks to other machines")
_CONFIGURE = Risk("configures-files", Severity.MEDIUM, "sets up access to file systems")
_PRINT = Risk("prints", Severity.LOW, "prints")
# The risk of each class of op_classes.tsv but `none`.
_RISKS = {
    "python": Risk("runs-python", Severity.CRITICAL, "runs Python code of the process that loads it"),
    "file-write": _WRITE,
    "file-read": Risk("reads-files", Severity.HIGH, "reads files"),
    "process": Risk("ends-process", Severity.HIGH, "ends the process that runs it"),
    "native": Risk("runs-native-code", Severity.MEDIUM, "calls native code by its registered name"),
    "network": _NETWORK,
    "program": Risk("carries-program", Severity.HIGH, "runs a program that the scan can't look into"),
    "descriptor": Risk("reads-files", Severity.MEDIUM, "may read its message type from a file"),
    "file-system": _CONFIGURE,
    "print": _PRINT,
    "cluster": Risk("uses-cluster", Severity.LOW, "exchanges data with other workers of its cluster"),
    "decoder": Risk("decodes-bytes", Severity.INFO, "decodes bytes that it is given"),
}
# Ops of other releases and libraries: TensorFlow 2.21 has them no more.
_FORMER = {
    "BigQueryReader": _NETWORK,
    "GcsConfigureBlockCache": _CONFIGURE,
    "GcsConfigureCredentials": _CONFIGURE,
}

# What every model needs to save and restore its own variables; which of its inputs are paths.
SAVER_OPS = {
    "SaveV2": (0,),
    "RestoreV2": (0,),
    "MergeV2Checkpoints": (0, 1),
    "Save": (0,),
    "SaveSlices": (0,),
    "Restore": (0,),
    "RestoreSlice": (0,),
}
# What fills a vocabulary from one of the model's assets: so, too.
TABLE_OPS = {"InitializeTableFromTextFile": (1,), "InitializeTableFromTextFileV2": (1,)}
# Ops that touch files only where the attribute names one.
CONDITIONAL_OPS = {"FixedUnigramCandidateSampler": "vocab_file"}


def risk_of(op: str) -> Risk | None:
    """What the op can do beyond its tensors; None for most."""
    name = class_of(op)
    return _FORMER.get(op) if name is None else _RISKS.get(name)


def risky_ops() -> list[str]:
    """Every op that has a risk, sorted."""
    return sorted([op for op, known in op_classes().items() if known.name in _RISKS] + [*_FORMER])


def risk_of_print(output_stream: str | None, *, is_unknown: bool = False) -> Risk:
    """What PrintV2 does with that stream: `file://` ones are files that it appends to."""
    return _WRITE if is_unknown or (output_stream or "").startswith("file://") else _PRINT
