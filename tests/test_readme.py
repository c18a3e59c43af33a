"""What the README and the reference say is what the program does."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubcli.cache.gc.collect import ActionResult
from hubcli.cache.gc.plan import Reason
from hubcli.cache.layout import NameKind
from hubcli.cli.app import COMMANDS
from hubcli.config import environment as access
from hubcli.config import settings as settings_module
from hubcli.config.settings import Settings
from hubcli.diagnosing.context import STATUSES, Section
from hubcli.diagnosing.settings import VARIABLES
from tests import models
from tests.documentation import ROOT, command_page, page
from tools import make_docs

README = (ROOT / "README.md").read_text(encoding="utf-8")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.slow
def test_the_tables_are_what_the_program_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert make_docs.main(["--check"]) == 0, capsys.readouterr().err


def test_a_table_that_says_something_else_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = "exit-statuses.md"
    text = page(f"reference/{name}")
    docs = tmp_path / "docs"
    docs.mkdir()
    (tmp_path / "README.md").write_text("", encoding="utf-8")
    (docs / name).write_text(text.replace("| 9 | a check", "| 9 | no check"), encoding="utf-8")
    monkeypatch.setattr(make_docs, "ROOT", tmp_path)
    monkeypatch.setattr(make_docs, "DOCS", docs)
    assert make_docs.main(["--check"]) == 1
    assert make_docs.main([]) == 0
    assert (docs / name).read_text(encoding="utf-8") == text


def test_every_variable_that_the_settings_read_is_described() -> None:
    source = "".join(
        Path(str(module.__file__)).read_text(encoding="utf-8") for module in (access, settings_module)
    )
    read = set(re.findall(r"""env(?:\.get\(|\[)"([A-Z_]+)""", source))
    assert read <= {name for variable in VARIABLES for name in variable.names}


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (("fetch", "example://mul/1"), "fetch"),
        (("ls",), "ls"),
        (("verify",), "verify"),
        (("pin", "example://mul/1"), "pin"),
        (("unpin", "example://mul/1"), "pin"),
    ],
)
def test_the_json_keys_are_those_that_are_printed(
    arguments: tuple[str, ...], command: str, hubcli: Run
) -> None:
    hubcli("fetch", "example://mul/1")
    document = json.loads(hubcli(*arguments, "--json").stdout)
    table = command_page(command).split("| key of `models[]` | meaning |", 1)[1].split("\n\n", 1)[0]
    cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(cells)) == list(document["models"][0])


def test_the_keys_of_inspect_are_those_that_are_printed(hubcli: Run) -> None:
    document = json.loads(hubcli("inspect", "example://mul/1", "--for", "cpu", "--json").stdout)
    table = command_page("inspect").split("| key | meaning |", 1)[1].split("\n\n", 1)[0]
    cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    assert ["schema", *re.findall(r"`(\w+)`", " ".join(cells))] == list(document)


def test_the_keys_of_export_are_those_that_are_printed(hubcli: Run, tmp_path: Path) -> None:
    document = json.loads(hubcli("export", "example://mul/1", str(tmp_path / "mul"), "--json").stdout)
    table = command_page("export").split("| key | meaning |", 1)[1].split("\n\n", 1)[0]
    cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    assert ["schema", *re.findall(r"`(\w+)`", " ".join(cells))] == list(document)


def test_the_keys_of_finetune_export_are_those_that_are_printed(hubcli: Run, tmp_path: Path) -> None:
    weights = models.write_safetensors(tmp_path / "tuned.safetensors", v=[3.0])
    options = ("--weights", str(weights), "--method", "rewrite", "--json")
    document = json.loads(hubcli("finetune-export", "example://mul/1", str(tmp_path / "x"), *options).stdout)
    table = command_page("finetune-export").split("| key | meaning |", 1)[1].split("\n\n", 1)[0]
    cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    keys = re.findall(r"`(\w+)`", " ".join(cells))
    assert sorted(["schema", *keys]) == sorted(document)
    for part in ("mapping", "values"):
        row = next(line for line in table.splitlines() if line.startswith(f"| `{part}`"))
        assert set(document[part]) <= set(re.findall(r"`(\w+)`", row))


def test_the_keys_of_gc_are_those_that_are_printed(hubcli: Run, cache: Path) -> None:
    hubcli("fetch", "example://mul/1")
    document = json.loads(hubcli("gc", "--max-size", "0", "--grace", "0s", "--dry-run", "--json").stdout)
    for title, keys in (("key", list(document)[1:]), ("key of `items[]`", list(document["items"][0]))):
        table = command_page("gc").split(f"| {title} | meaning |", 1)[1].split("\n\n", 1)[0]
        cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
        assert re.findall(r"`(\w+)`", " ".join(cells)) == keys


def test_the_keys_and_sections_of_doctor_are_those_that_are_printed(hubcli: Run) -> None:
    document = json.loads(hubcli("doctor", "--json").stdout)
    for title, keys in (("key", list(document)[1:]), ("key of `checks[]`", list(document["checks"][0]))):
        table = command_page("doctor").split(f"| {title} | meaning |", 1)[1].split("\n\n", 1)[0]
        cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
        assert re.findall(r"`(\w+)`", " ".join(cells)) == keys
    table = command_page("doctor").split("| section | checks |", 1)[1].split("\n\n", 1)[0]
    listed_sections = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert listed_sections == [section_name.value for section_name in Section]
    assert {status.value for status in STATUSES} <= set(re.findall(r"`(\w+)`", command_page("doctor")))


def test_the_words_of_gc_are_those_that_are_printed() -> None:
    listed_words = set(re.findall(r"`([a-z-]+)`", command_page("gc")))
    kinds = {kind.value for kind in NameKind} - {"tag", "foreign"}
    assert {
        *kinds,
        *(reason.value for reason in Reason),
        *(result.value for result in ActionResult),
    } <= listed_words


def test_the_keys_of_a_dry_run_and_of_a_lock_file_are_those_that_are_written(
    hubcli: Run, tmp_path: Path
) -> None:
    lock = tmp_path / "models.lock"
    hubcli("fetch", "example://mul/1", "--lock", str(lock))
    dry_run = json.loads(hubcli("fetch", "--dry-run", "example://mul/1", "--json").stdout)
    locked = json.loads(lock.read_text())
    for title, document in (("with `--dry-run`", dry_run), ("in a lock file", locked)):
        table = command_page("fetch").split(f"| key of `models[]` {title} | meaning |", 1)[1]
        cells = re.findall(r"^\| (`.+?) \|", table.split("\n\n", 1)[0], re.MULTILINE)
        assert re.findall(r"`(\w+)`", " ".join(cells)) == list(document["models"][0])


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_option_is_described(command: str, hubcli: Run) -> None:
    reference = page(f"reference/commands/{command}.md") + page("reference/common-options.md")
    help_text = hubcli(command, "--help", COLUMNS="200").stdout
    for option in re.findall(r"(--[a-z0-9-]+)", help_text):
        assert option in reference or option == "--help", option


def test_the_python_lines_run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(settings.cache_root))
    code = re.search(
        r"```python\n(.+?)```", page("python/index.md").split("## The commands", 1)[1], re.DOTALL
    )
    assert code is not None
    exec(code[1], {})
    assert settings.cache_root.is_dir()


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_python_lines_with_a_layer_run(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install '.[dev]'")
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(settings.cache_root))
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert (tmp_path / "mul-tuned" / "saved_model.pb").is_file()
    assert float(names["layer"].trainable_weights[0]) != 2.0


def test_the_version_is_that_of_the_newest_release_in_the_changelog(hubcli: Run) -> None:
    version = hubcli("--version").stdout.split()[1]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    assert releases[0] == version == importlib.metadata.version("hubcli")
