"""The published JSON Schemas describe what every command prints, and what a lock file holds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests import models
from tests.cases import each_of
from tests.conftest import Run
from tests.corpus import KINDS, corpus_model
from tools import make_schemas

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: pip install '.[test]'")
GOLDEN = sorted((Path(__file__).parent / "cli" / "golden").glob("*.json"))
EXAMPLE = "example://mul/1"


def test_the_files_are_what_the_program_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert make_schemas.main(["--check"]) == 0, capsys.readouterr().err
    assert {path.stem for path in make_schemas.SCHEMAS.iterdir()} == set(make_schemas.DOCUMENTS)


@each_of("name", sorted(make_schemas.DOCUMENTS))
def test_each_is_a_valid_schema(name: str) -> None:
    schema = json.loads((make_schemas.SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)


def without_unknown_keys(schema: Any) -> Any:
    """The schema as one that allows no keys but those that it lists: none may be forgotten in it."""
    if isinstance(schema, list):
        return [without_unknown_keys(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: without_unknown_keys(value) for key, value in schema.items()}
    if "properties" in strict and "type" in strict:
        strict.setdefault("additionalProperties", False)
    return strict


def validate(name: str, document: Any) -> None:
    schema = json.loads((make_schemas.SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(without_unknown_keys(schema)).validate(document)


def test_what_every_command_prints_is_valid(hubcli: Run, tmp_path: Path) -> None:
    weights = models.write_safetensors(tmp_path / "tuned.safetensors", v=[3.0])
    tree, card = str(tmp_path / "tree"), tmp_path / "card"
    card.mkdir()
    (card / "README.md").write_text("# A model", encoding="utf-8")
    tuned = ("finetune-export", EXAMPLE, str(tmp_path / "tuned"), "--weights", str(weights))
    for name, *words in (
        ("fetch", "fetch", EXAMPLE),
        ("fetch", "fetch", EXAMPLE, "./absent", "nope"),
        ("fetch-dry-run", "fetch", "--dry-run", EXAMPLE),
        ("ls", "ls"),
        ("inspect", "inspect", EXAMPLE),
        ("inspect", "inspect", EXAMPLE, "--fetch", "--check", "--scan"),
        ("inspect-diff", "inspect", EXAMPLE, "--diff", EXAMPLE),
        ("run", "run", EXAMPLE, "--input", "[[1.5]]", "--dry-run"),
        ("verify", "verify"),
        ("export", "export", EXAMPLE, str(tmp_path / "mul")),
        ("export", "export", EXAMPLE, str(tmp_path / "mul.tar.gz")),
        ("export", "export", EXAMPLE, tree, "--layout", "hub", "--name", "maker/mul"),
        ("search", "search", "--host", tree),
        ("versions", "versions", f"{tree}/maker/mul"),
        ("info", "info", str(card)),
        ("publish", "publish", EXAMPLE, f"{tmp_path}/www/pub/mul/1", "--yes"),
        ("publish", "publish", EXAMPLE, f"{tmp_path}/www/pub/mul/2", "--dry-run"),
        ("publish-check", "publish", EXAMPLE, "--check"),
        ("finetune-export", *tuned, "--dry-run"),
        ("finetune-export", *tuned),
        ("pin", "pin", EXAMPLE),
        ("pin", "unpin", EXAMPLE),
        ("gc", "gc", "--older-than", "0s", "--grace", "0s", "--dry-run"),
        ("gc", "rm", EXAMPLE, "--yes"),
        ("gc", "gc"),
        ("doctor", "doctor"),
        ("error", "ls", "--limt", "3"),
    ):
        result = hubcli(*words, "--json")
        assert result.stdout, (words, result.stderr)
        validate(name, json.loads(result.stdout))


@pytest.mark.tensorflow
def test_what_run_prints_is_valid(hubcli: Run, tmp_path: Path) -> None:
    for words in (
        (),
        ("--repeat", "2"),
        ("-o", str(tmp_path / "out.npz")),
        ("--function", "__call__"),
    ):
        result = hubcli("run", EXAMPLE, "--input", "[[1.5], [2.0]]", *words, "--json")
        assert result.stdout, (words, result.stderr)
        validate("run", json.loads(result.stdout))


@pytest.mark.parametrize("name", KINDS)
def test_what_inspect_prints_of_each_kind_of_model_is_valid(name: str, hubcli: Run) -> None:
    validate("inspect", json.loads(hubcli("inspect", str(corpus_model(name)), "--json").stdout))


def test_a_lock_file_is_valid(hubcli: Run, tmp_path: Path) -> None:
    lock = tmp_path / "models.lock"
    hubcli("fetch", EXAMPLE, "--lock", str(lock))
    validate("lock-file", json.loads(lock.read_text(encoding="utf-8")))


def test_the_index_of_a_tree_is_valid(hubcli: Run, tmp_path: Path) -> None:
    hubcli("export", EXAMPLE, str(tmp_path / "tree"), "--layout", "hub", "--name", "maker/mul")
    validate("hub-index", json.loads((tmp_path / "tree" / "index.json").read_text(encoding="utf-8")))


@each_of("file", GOLDEN)
def test_the_documents_that_other_tests_compare_are_valid(file: Path) -> None:
    text = file.read_text(encoding="utf-8").replace('"SHA256"', f'"{"0" * 64}"')
    text = text.replace("{N}", '{"before": 1, "after": 1}')
    document = json.loads(re.sub(r"(?<=: )[A-Z]+\b", "1", text))
    if set(document) <= {"schema", "error", "errors"}:
        name = "error"
    else:
        command = {"rm": "gc", "unpin": "pin"}.get(file.stem, file.stem)
        known = sorted(make_schemas.DOCUMENTS, key=len, reverse=True)
        name = next(key for key in known if command.startswith(key))
    validate(name, document)
