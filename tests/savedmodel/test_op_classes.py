"""The classes of ops: each op of TensorFlow has one, and each class that is a risk says why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import hubcli
from hubcli.issues import Severity
from hubcli.savedmodel.checks.scan import _RISKS, risk_of, risky_ops
from hubcli.savedmodel.nodes import class_of, op_classes
from tests.cases import each_of

DATA = Path(hubcli.__file__).parent / "savedmodel" / "op_classes.tsv"


def test_each_op_has_one_class_that_the_scan_knows() -> None:
    names = [line.split("\t")[0] for line in DATA.read_text(encoding="utf-8").splitlines()[1:]]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert {known.name for known in op_classes().values()} == {*_RISKS, "none"}


def test_each_op_with_a_risk_says_what_it_does() -> None:
    classes = op_classes()
    assert [op for op in risky_ops() if op in classes and not classes[op].reason] == []


@each_of(
    "op, expected",
    [
        ("CalibrationStatisticsSaver", "file-write"),
        ("DumpTensor", "file-write"),
        ("SnapshotDatasetV2", "file-write"),
        ("FixedUnigramCandidateSampler", "file-read"),
        ("Skipgram", "file-read"),
        ("ImmutableConst", "file-read"),
        ("RemoteCall", "network"),
        ("RpcGetValue", "network"),
        ("WorkerHeartbeat", "process"),
        ("EagerPyFunc", "python"),
        ("DatasetFromGraph", "program"),
        ("XlaCallModule", "native"),
        ("CollectiveReduceV2", "cluster"),
        ("DecodeJpeg", "decoder"),
        ("ParseExampleV2", "decoder"),
        ("ReadVariableOp", "none"),
        ("StatefulPartitionedCall", "none"),
        ("tensorflow_text>Made", None),
    ],
)
def test_ops_are_of_the_class_that_tells_what_they_do(op: str, expected: str | None) -> None:
    assert class_of(op) == expected


def test_decoders_of_bytes_are_told_and_no_more() -> None:
    decoders = [op for op, known in op_classes().items() if known.name == "decoder"]
    assert len(decoders) > 30
    risks = [risk_of(op) for op in decoders]
    assert {(risk.code, risk.severity) for risk in risks if risk} == {("decodes-bytes", Severity.INFO)}


@pytest.mark.tensorflow
def test_each_op_that_the_installed_tensorflow_registers_has_a_class() -> None:
    pytest.importorskip("tensorflow")
    from tools.make_op_list import registered_ops

    registered, classes = registered_ops(), op_classes()
    without = sorted(registered.keys() - classes.keys())
    assert without == [], "give these a class: python tools/make_op_list.py"
    # Functions in attributes would not be walked.
    wrong = [op for op, takes in registered.items() if takes and not classes[op].takes_functions]
    assert wrong == []
