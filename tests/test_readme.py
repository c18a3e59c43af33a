"""What the README says is what the program does."""

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
from hubcli.config import environment as access
from hubcli.config import settings as settings_module
from hubcli.config.settings import Settings
from hubcli.diagnosing.context import STATUSES, Section
from hubcli.diagnosing.settings import VARIABLES
from tests import models
from tools import make_docs

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
PYTHON = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def section(title: str, text: str = COMMANDS) -> str:
    return text.split(f"## {title}", 1)[1].split("\n## ", 1)[0]


# What runs of every command were found to say.
KEYS = README.split("<!-- generated: keys -->\n", 1)[1].split("\n<!-- end -->", 1)[0]


@pytest.mark.slow
def test_the_tables_are_what_the_program_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert make_docs.main(["--check"]) == 0, capsys.readouterr().err


def test_a_table_that_says_something_else_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(make_docs, "_BLOCKS", {**make_docs._BLOCKS, "keys": lambda: KEYS})
    (tmp_path / "README.md").write_text(README.replace("| 9 | a check", "| 9 | no check"), encoding="utf-8")
    monkeypatch.setattr(make_docs, "README", tmp_path / "README.md")
    assert make_docs.main(["--check"]) == 1
    assert make_docs.main([]) == 0
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == README


def test_every_variable_that_the_settings_read_is_described() -> None:
    source = "".join(
        Path(str(module.__file__)).read_text(encoding="utf-8") for module in (access, settings_module)
    )
    read = set(re.findall(r"""env(?:\.get\(|\[)"([A-Z_]+)""", source))
    assert read <= {name for variable in VARIABLES for name in variable.names}


@pytest.mark.parametrize(
    "file",
    [
        "README.md",
        "docs/codes.md",
        "docs/commands.md",
        "docs/python.md",
        "CONTRIBUTING.md",
        "benchmarks/README.md",
        "examples/README.md",
    ],
)
def test_every_link_to_a_file_leads_somewhere(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / file).parent.joinpath(target).exists(), target


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        (("fetch", "example://mul/1"), "`hubcli fetch"),
        (("ls",), "`hubcli ls"),
        (("verify",), "`hubcli verify"),
        (("pin", "example://mul/1"), "`hubcli rm"),
        (("unpin", "example://mul/1"), "`hubcli rm"),
    ],
)
def test_the_json_keys_are_those_that_are_printed(
    arguments: tuple[str, ...], title: str, hubcli: Run
) -> None:
    hubcli("fetch", "example://mul/1")
    document = json.loads(hubcli(*arguments, "--json").stdout)
    table = section(title).split("| key of `models[]` | meaning |", 1)[1].split("\n\n", 1)[0]
    cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(cells)) == list(document["models"][0])


def test_the_keys_of_inspect_are_those_that_are_printed(hubcli: Run) -> None:
    document = json.loads(hubcli("inspect", "example://mul/1", "--json").stdout)
    table = section("`hubcli inspect").split("| key | meaning |", 1)[1].split("\n\n", 1)[0]
    cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    assert ["schema", *re.findall(r"`(\w+)`", " ".join(cells))] == list(document)


def test_the_keys_of_export_are_those_that_are_printed(hubcli: Run, tmp_path: Path) -> None:
    document = json.loads(hubcli("export", "example://mul/1", str(tmp_path / "mul"), "--json").stdout)
    table = section("`hubcli export").split("| key | meaning |", 1)[1].split("\n\n", 1)[0]
    cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    assert ["schema", *re.findall(r"`(\w+)`", " ".join(cells))] == list(document)


def test_the_keys_of_finetune_export_are_those_that_are_printed(hubcli: Run, tmp_path: Path) -> None:
    weights = models.write_safetensors(tmp_path / "tuned.safetensors", v=[3.0])
    options = ("--weights", str(weights), "--method", "rewrite", "--json")
    document = json.loads(hubcli("finetune-export", "example://mul/1", str(tmp_path / "x"), *options).stdout)
    table = section("`hubcli finetune-export").split("| key | meaning |", 1)[1].split("\n\n", 1)[0]
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
        table = section("`hubcli gc").split(f"| {title} | meaning |", 1)[1].split("\n\n", 1)[0]
        cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
        assert re.findall(r"`(\w+)`", " ".join(cells)) == keys


def test_the_keys_and_sections_of_doctor_are_those_that_are_printed(hubcli: Run) -> None:
    document = json.loads(hubcli("doctor", "--json").stdout)
    for title, keys in (("key", list(document)[1:]), ("key of `checks[]`", list(document["checks"][0]))):
        table = section("`hubcli doctor").split(f"| {title} | meaning |", 1)[1].split("\n\n", 1)[0]
        cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
        assert re.findall(r"`(\w+)`", " ".join(cells)) == keys
    table = section("`hubcli doctor").split("| section | what is looked at |", 1)[1].split("\n\n", 1)[0]
    listed_sections = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert listed_sections == [section_name.value for section_name in Section]
    assert {status.value for status in STATUSES} <= set(re.findall(r"`(\w+)`", section("`hubcli doctor")))


def test_the_words_of_gc_are_those_that_are_printed() -> None:
    listed_words = set(re.findall(r"`([a-z-]+)`", section("`hubcli gc")))
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
        table = section("`hubcli fetch").split(f"| key of `models[]` {title} | meaning |", 1)[1]
        cells = re.findall(r"^\| (`.+?) \|", table.split("\n\n", 1)[0], re.MULTILINE)
        assert re.findall(r"`(\w+)`", " ".join(cells)) == list(document["models"][0])


@pytest.mark.parametrize(
    "command",
    ["fetch", "ls", "inspect", "verify", "export", "finetune-export", "gc", "rm", "pin", "unpin", "doctor"],
)
def test_every_option_is_described(command: str, hubcli: Run) -> None:
    help_text = hubcli(command, "--help", COLUMNS="200").stdout
    for option in re.findall(r"(--[a-z0-9-]+)", help_text):
        assert option in COMMANDS or option == "--help", option


def test_the_python_lines_run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(settings.cache_root))
    code = re.search(r"```python\n(.+?)```", section("The commands", PYTHON), re.DOTALL)
    assert code is not None
    exec(code[1], {})
    assert settings.cache_root.is_dir()


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_python_lines_with_a_layer_run(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow isn't installed: pip install '.[dev]'")
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(settings.cache_root))
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.+?)```", section("From Python", README), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    assert (tmp_path / "mul-tuned" / "saved_model.pb").is_file()
    assert float(names["layer"].trainable_weights[0]) != 2.0


def test_the_version_is_that_of_the_newest_release_in_the_changelog(hubcli: Run) -> None:
    version = hubcli("--version").stdout.split()[1]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    assert releases[0] == version == importlib.metadata.version("hubcli")
