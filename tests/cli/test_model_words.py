"""Completion of what the model on the line has: signatures, functions, inputs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hubcli.cli.model_words import model_words, print_model_words
from tests.cli.shells import bash_offers
from tests.corpus import corpus_model

MUL = "example://mul/1"
MODEL = "java_python_model"


def words(kind: str, *line: str) -> list[str]:
    return list(model_words(kind, ["run", *line]))


def test_signatures_functions_and_inputs_of_a_directory() -> None:
    model = str(corpus_model(MODEL))
    assert "add" in words("signatures", model)
    assert "get_scalar" in words("functions", model, "--json")
    assert words("inputs", "--signature", "add", model) == ["a=", "b="]
    assert words("inputs", "--signature=add", model) == ["a=", "b="]
    assert set(words("inputs", model)) == {"a=", "b=", "dummy=", "input="}


def test_functions_of_submodules_are_offered_too() -> None:
    offered = words("functions", str(corpus_model("tfx_keras_serving")))
    assert {"__call__", "layer-4.__call__"} <= set(offered)


def test_a_flag_takes_no_word_of_the_line() -> None:
    model = str(corpus_model(MODEL))
    assert words("inputs", "--dry-run", model, "--signature", "add", "--batch-size", "3") == ["a=", "b="]


@pytest.mark.parametrize(
    "line",
    [[], ["signatures"], ["signatures", "run"], ["signatures", "run", "./nowhere"], ["nothing", "run", MUL]],
)
def test_what_can_not_be_read_offers_nothing(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert print_model_words(line) == 0
    assert capsys.readouterr().out == ""


def test_names_that_could_command_a_terminal_are_not_offered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["good", "bad\x1b[2J", "two words", "new\nline", "ü"]
    monkeypatch.setattr("hubcli.cli.model_words.signature_names", lambda path: names)
    print_model_words(["signatures", "run", str(corpus_model(MODEL))])
    assert capsys.readouterr().out == "good\n"


def test_bash_offers_them_behind_their_options(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "hubcli").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hubcli "$@"\n')
    (tools / "hubcli").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    model = corpus_model(MODEL)
    lines = [f"hubcli run {model} --signature get_c", f"hubcli run {model} --signature add --input "]
    signatures, inputs = bash_offers(lines, cache, tmp_path)
    assert signatures == ["get_const_matrix", "get_const_scalar", "get_const_vector"]
    assert inputs == ["a=", "b="]
