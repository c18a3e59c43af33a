"""The man page, and the files that a wheel brings to shells and man."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hubcli import __version__
from hubcli.cli.app import app_of
from hubcli.config import environment as access
from hubcli.config import settings
from hubcli.errors import ExitStatus
from tools.command_line import read_command_line

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "man" / "hubcli.1"
LINE = read_command_line(app_of())


@pytest.fixture(scope="module")
def page() -> str:
    """The page as a terminal of 80 columns shows it, checked by groff."""
    if shutil.which("groff") is None:
        pytest.skip("groff isn't on this machine")
    result = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=78n", PAGE], capture_output=True, check=True
    )
    assert result.stderr == b""
    return result.stdout.decode()


def test_the_page_fits_a_terminal_of_80_columns(page: str) -> None:
    assert max(map(len, page.splitlines())) <= 80


def test_the_page_has_every_part_that_is_looked_for(page: str) -> None:
    titles = re.findall(r"^[A-Z][A-Z ]+$", page, re.MULTILINE)
    assert titles == [
        *("NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "GLOBAL OPTIONS", "OTHER OPTIONS"),
        *("ENVIRONMENT", "EXIT STATUS", "FILES", "EXAMPLES", "SEE ALSO"),
    ]
    assert f"hubcli {__version__}" in page


def test_the_page_tells_every_command_option_and_example(page: str) -> None:
    for command in LINE.commands:
        part = page.split(f"\n   hubcli {command.name}\n", 1)[1].split("\n   hubcli ", 1)[0]
        for option in command.options:
            for name in option.names:
                pattern = re.compile(rf"(^ +|, ){name}( |$|,)", re.MULTILINE)
                assert pattern.search(part) or pattern.search(page)
        for line in command.examples:
            assert f" {line}\n" in part


def test_the_page_tells_every_exit_status(page: str) -> None:
    part = page.split("\nEXIT STATUS\n", 1)[1].split("\nFILES\n", 1)[0]
    assert re.findall(r"^ {7}(\d+)", part, re.MULTILINE) == [str(int(status)) for status in ExitStatus]


def test_the_page_tells_every_variable_that_is_read(page: str) -> None:
    source = "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in (access, settings))
    read = set(re.findall(r'env(?:\.get\(|\[)"([A-Z_]+)', source))
    part = page.split("\nENVIRONMENT\n", 1)[1].split("\nEXIT STATUS\n", 1)[0]
    assert len(read) > 10
    assert read <= set(re.findall(r"[A-Z][A-Z_]{3,}", part))


def test_a_wheel_brings_the_scripts_and_the_page_to_where_they_are_looked_for() -> None:
    names = {str(file) for file in importlib.metadata.files("hubcli") or ()}
    if not any(name.endswith("hubcli/cli/main.py") for name in names):
        pytest.skip("the tree is tested, not an installed wheel")
    for place in (
        "share/bash-completion/completions/hubcli",
        "share/zsh/site-functions/_hubcli",
        "share/fish/vendor_completions.d/hubcli.fish",
        "share/man/man1/hubcli.1",
        "hubcli/completions/hubcli.ps1",
    ):
        (found,) = (name for name in names if name.endswith(place))
        original = "man/hubcli.1" if place.endswith(".1") else None
        if original is not None:
            installed = Path(str(importlib.metadata.distribution("hubcli").locate_file(found)))
            assert installed.read_bytes() == (ROOT / original).read_bytes()
