"""What of a model can be run, read without TensorFlow: signatures, traces, packages of ops, the scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError, TensorFlowError, UnsafeModelError, UsageError
from hubcli.issues import Issue, Severity
from hubcli.running.model import (
    RunnableModel,
    Selection,
    packages_of,
    read_runnable,
    read_signatures_of,
    refuse_unsafe,
    require_packages,
    risks_of,
)
from tests.cases import each_of
from tests.corpus import KINDS, corpus_model

WITHOUT_DEFAULT = ("java_python_model", "serving_counter")


def read(name: str, **selection: object) -> RunnableModel:
    return read_runnable(name, corpus_model(name), Selection(**selection))  # type: ignore[arg-type]


@each_of("name", KINDS)
def test_every_model_of_the_corpus_has_something_to_run_or_a_choice(name: str) -> None:
    if name in WITHOUT_DEFAULT:
        with pytest.raises(UsageError, match="and no default") as caught:
            read(name)
        assert "--signature" in caught.value.hint
        return
    model = read(name)
    assert model.endpoints[0].outputs
    assert model.tags == ("serve",)
    refuse_unsafe(model)


def test_the_traces_that_differ_in_their_tensors_alone_are_all_meant() -> None:
    endpoints = read("basic_pitch_nmp", function="__call__").endpoints
    assert {endpoint.call for endpoint in endpoints} == {(("training", "False"), ("mask", "None"))}
    training = read("basic_pitch_nmp", function="__call__", arguments={"training": True}).endpoints
    assert {endpoint.call[0] for endpoint in training} == {("training", "True")}


def test_a_signature_that_names_another_type_than_its_graph_takes_is_read_by_the_graph() -> None:
    (port,) = read("serving_half_plus_three", signature="tensorflow/serving/regress").endpoints[0].inputs
    assert port.dtype.name == "string"


def test_a_shape_that_the_signature_leaves_out_is_unknown() -> None:
    (port,) = read("serving_half_plus_three").endpoints[0].inputs
    assert (port.dtype.name, port.shape) == ("float32", None)
    assert port.has_batch


@each_of(
    "name, signatures",
    [
        ("serving_half_plus_three", {"serving_default"}),
        ("serving_half_plus_two", {"classify_x2_to_y3", "regress_x2_to_y3", "serving_default"}),
        ("serving_matrix_half_plus_two", set()),
        ("tfjs_multiple_signatures", set()),
    ],
)
def test_signatures_that_feed_tensors_within_a_graph_are_known(name: str, signatures: set[str]) -> None:
    assert read_signatures_of(name, corpus_model(name)).inner_feeds == signatures


def test_a_tensor_among_the_arguments_is_named() -> None:
    with pytest.raises(UsageError, match="inputs of __call__ is a tensor: use --input"):
        read("basic_pitch_nmp", function="__call__", arguments={"inputs": 1})


def test_a_python_argument_that_is_not_there_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="no Python argument 'trainin'.*Did you mean 'training'"):
        read("basic_pitch_nmp", function="__call__", arguments={"trainin": True})


def test_the_package_of_an_op_is_known() -> None:
    packages = packages_of(("CaseFoldUTF8", "NoSuchOp", "SimpleMLInferenceOp"))
    assert [(package.requirement, package.module) for package in packages] == [
        ("tensorflow-text", "tensorflow_text"),
        ("ydf-tf", "ydf_tf"),
    ]


def test_a_package_that_is_missing_is_named_with_its_pip_line() -> None:
    model = read("serving_half_plus_two")._replace(packages=packages_of(("CaseFoldUTF8",)))
    require_packages(model, {"tensorflow_text": True})
    with pytest.raises(TensorFlowError, match="CaseFoldUTF8") as caught:
        require_packages(model, {"tensorflow_text": False})
    assert caught.value.hint == "Install them: pip install tensorflow-text"


def test_packages_whose_ops_touch_files_are_findings() -> None:
    assert risks_of(packages_of(("CaseFoldUTF8", "SimpleMLInferenceOp"))) == ()
    (finding,) = risks_of(packages_of(("IO>ArrowReadableRead",)))
    assert finding.severity is Severity.HIGH
    assert "tensorflow-io, whose ops read files" in finding.message


@each_of("severity", list(Severity))
def test_findings_of_high_and_above_are_refused(severity: Severity) -> None:
    finding = Issue.of_part(severity, "writes-files", "WriteFile writes files, call", "function f")
    model = read("serving_half_plus_two")._replace(findings=(finding,))
    if severity < Severity.HIGH:
        refuse_unsafe(model)
        return
    with pytest.raises(UnsafeModelError, match="WriteFile writes files") as caught:
        refuse_unsafe(model)
    assert caught.value.exit_status == 10


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(BrokenModelError, match="git-LFS"):
        read_runnable("x", tmp_path, Selection())
