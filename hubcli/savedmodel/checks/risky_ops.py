"""Ops that reach beyond the graph: into Python, files, the network, the terminal.

Which op is of which class stands in op_classes.tsv; here is what a class means
to the user. Why they matter: tensorflow/SECURITY.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from hubcli.issues import Severity
from hubcli.savedmodel.checks.known_ops import class_of, op_classes

__all__ = ["CONDITIONAL_OPS", "SAVER_OPS", "TABLE_OPS", "Risk", "risk_of", "risk_of_print", "risky_ops"]


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
