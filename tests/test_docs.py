"""The documentation: links lead somewhere, commands exist, what can be run runs, the site is built."""

from __future__ import annotations

import html
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from typer.main import get_command

from hubcli.cli.app import app_of
from tests import models
from tests.cases import each_of
from tests.documentation import DOCS, PAGES, ROOT, Block, blocks_of
from tests.forkserver import forked_commands
from tests.recipes import run_shell
from tests.server import HubServer, Reply

# Why a block is parsed, and not run.
NEEDS = {
    "a bucket",
    "an account on Kaggle",
    *("a checkout", "the internet", "TensorFlow", "a container engine", "a cluster", "a web server"),
    *("an archive that was copied", "a checkpoint of a training", "Google Cloud", "a bucket"),
    "the AWS CLI",
    *("an image classifier", "tf2onnx and onnxruntime"),
    *("a home directory of yours", "a certificate of your company"),
}
SHELL = ("sh", "console", "crontab", "dockerfile", "yaml", "text")
COMMANDS = get_command(app_of()).commands  # type: ignore[attr-defined]
# Words that stand for other options in a line of the documentation.
_CONTROL = ("|", "||", "&&", ";", ">", "<", "2>", ")", "(")


# Links ---------------------------------------------------------------------------------------------


@each_of("path", PAGES)
def test_every_link_of_a_page_leads_somewhere(path: str) -> None:
    text = without_code((ROOT / path).read_text(encoding="utf-8"))
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#\s]*)(#[^)]*)?\)", text):
        file = (ROOT / path).parent / target if target else ROOT / path
        assert file.exists(), target
        if anchor:
            assert anchor[1:] in anchors_of(file), (target, anchor)


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors_of(file: Path) -> set[str]:
    """The anchors of a page's headings, as the site makes them."""
    heads = re.findall(r"^#+ (.+)$", without_code(file.read_text(encoding="utf-8")), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", re.sub(r"[`*]|\]\([^)]*\)", "", head)).strip().lower() for head in heads)
    return {re.sub(r"[-\s]+", "-", head) for head in plain}


def test_every_page_is_on_the_site() -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"[\w/-]+\.md", config.split("\nnav:", 1)[1]))
    assert listed == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}


def test_every_command_has_a_page_and_every_schema_a_row() -> None:
    pages = {path.stem for path in (DOCS / "reference" / "commands").glob("*.md")}
    assert pages == {"index", *COMMANDS}
    listed = set(re.findall(r"schemas/([\w-]+)\.json", (DOCS / "reference" / "json.md").read_text()))
    assert listed == {path.stem for path in (DOCS / "schemas").glob("*.json")}


# Commands ------------------------------------------------------------------------------------------


@each_of("path", PAGES)
def test_every_command_line_is_one_that_hubcli_takes(path: str) -> None:
    for line in (line for block in blocks_of(path) for line in command_lines(block)):
        assert_parsed(line)


def test_every_command_in_a_sentence_has_options_that_exist() -> None:
    found = 0
    for path in PAGES:
        text = without_code((ROOT / path).read_text(encoding="utf-8"))
        for line in re.findall(r"`(hubcli [a-z-]+ [^`]*--[^`]*)`", text):
            name, *words = line.split()[1:]
            if name not in COMMANDS:
                continue
            for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", " ".join(words)):
                assert option in options_of(name), line
                found += 1
    assert found > 20


def options_of(name: str) -> set[str]:
    command = COMMANDS[name]
    context = typer.Context(command, info_name=name)
    return {option for parameter in command.get_params(context) for option in parameter.opts}


def command_lines(block: Block) -> Iterator[list[str]]:
    """The words behind `hubcli` of each call in the block; what a page prints as output is left out."""
    if block.language not in SHELL:
        return
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        if block.language == "console" and not line.startswith("$ "):
            continue
        if block.language == "text" or "<TAB>" in line:
            continue
        found = re.search(r"(?:^|[\s(/\"])hubcli (?!-|\[)(?=[a-z])(.*)", line.removeprefix("$ "))
        if found is None or line.strip().startswith(("docker build", "#", "name:", "- name:", "- uses:")):
            continue
        yield from calls_in(found[1])


def calls_in(text: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(html.unescape(text), posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in _CONTROL or set(word) <= set("();<>|&"):
            break
        words.append(word)
    yield words


def assert_parsed(words: list[str]) -> None:
    """Parses the words by the command's own options and arguments; runs nothing."""
    name, *rest = words
    assert name in COMMANDS, words
    command = COMMANDS[name]
    command.make_parser(typer.Context(command, info_name=name)).parse_args(rest)


def test_a_wrong_option_in_a_page_would_be_found() -> None:
    (words,) = command_lines(Block("sh", "hubcli gc --oldest 3d | head\n"))
    with pytest.raises(Exception, match="No such option"):
        assert_parsed(words)


# Blocks that run -----------------------------------------------------------------------------------


def test_what_is_not_run_says_why() -> None:
    reasons = {block.needs for path in PAGES for block in blocks_of(path) if block.needs}
    assert reasons <= NEEDS


RUN = [
    path for path in PAGES if path not in ("CONTRIBUTING.md", "README.md") and not path.startswith("bench")
]
RUNNABLE = [path for path in RUN if any(b.language == "sh" and not b.needs for b in blocks_of(path))]


@pytest.mark.parametrize("path", [*RUNNABLE, "README.md"])
def test_the_shell_blocks_of_a_page_run_in_their_order(path: str, tmp_path: Path, server: HubServer) -> None:
    server.serve("/google/nnlm-en-dim50/2", Reply(models.archive()))
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    home.mkdir()
    scripts = str(Path(sys.executable).parent)
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("HUBCLI", "TFHUB", "XDG"))
    }
    variables = {
        **inherited,
        "HOME": str(home),
        "HUBCLI_MIRRORS": f"https://tfhub.dev={server.url}",
        "PATH": os.pathsep.join((str(forked_commands(tmp_path / "bin")), scripts, os.environ["PATH"])),
    }
    blocks = [block for block in blocks_of(path) if block.language == "sh" and not block.needs]
    for block in blocks:
        if "-m venv" in block.text or block.text.startswith("find -L"):
            continue  # The gate runs the README's installation; tests/archive has the digest in shell.
        make_files(block, here, variables)
        run_shell(block.text.replace("/srv/models", str(tmp_path / "srv" / "models")), here, variables)


def make_files(block: Block, here: Path, variables: dict[str, str]) -> None:
    """The files that the block says it needs, where no earlier block has made them."""
    handle = "https://tfhub.dev/google/nnlm-en-dim50/2"
    for name in block.files:
        if not (here / name).exists():
            if name == "models.txt":
                (here / name).write_text(f"{handle}\n")
            else:
                assert name == "models.lock"
                run_shell(f"hubcli fetch {handle} --lock {name} --cache-dir ../elsewhere", here, variables)


def test_the_pod_of_the_docs_starts_hubcli_by_words_that_it_takes() -> None:
    documents = list(yaml.safe_load_all((DOCS / "kubernetes.yaml").read_text(encoding="utf-8")))
    pod = next(document for document in documents if document["kind"] == "Pod")["spec"]
    assert_parsed(pod["initContainers"][0]["args"])
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in (*pod["initContainers"], *pod["containers"]):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


# The site ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    if shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("mkdocs is not installed: pip install '.[docs]'")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img|iframe)[^>]+src="https?://', text), page
        assert not re.search(r'<link[^>]+rel="stylesheet"[^>]+href="https?://', text), page
    assert (tmp_path / "site" / "schemas" / "fetch.json").is_file()
    index = (tmp_path / "site" / "search" / "search_index.json").read_text(encoding="utf-8")
    for message in ("Trying to load a model of incompatible", "Client Error", "CERTIFICATE_VERIFY_FAILED"):
        assert message in index
