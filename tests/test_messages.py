"""What users read is in the language of the field: a list of phrases is kept out of every text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from hubcli.cli.app import COMMANDS
from tools import list_messages

pytestmark = pytest.mark.sources
ROOT = Path(__file__).parents[1]
QUOTED = re.compile(r"```.*?```|`[^`]*`|\"[^\"\n]*\"|^>.*?$", re.DOTALL | re.MULTILINE)
GOLDEN = Path(__file__).parent / "cli" / "golden"


@cache
def messages() -> list[list_messages.Message]:
    return list(list_messages.messages())


def test_no_text_has_a_phrase_that_is_kept_out() -> None:
    found = {
        f"{message.file}:{message.line}: {message.key} ({', '.join(phrases)})"
        for message in messages()
        if (phrases := list_messages.phrases_in(message.text))
    }
    assert not found, "\n".join(["say these in the words of the field:", *sorted(found)])


def test_texts_write_cannot_in_full_and_hints_begin_as_other_hints_do() -> None:
    """`cannot`, not `can't`; `Use`, `Specify` or `Remove`, not `Write` or `Give`; one space between words."""
    short = re.compile(r"n't\b|\bexclude each other\b|\bmeans nothing\b")
    other = re.compile(r"(?:Write|Give|Name|Leave) ")
    found = [
        f"{message.file}:{message.line}: {message.text}"
        for message in messages()
        if short.search(message.text)
        or (message.kind == "hint" and other.match(message.text))
        or (message.kind in ("error", "hint") and "  " in message.text)
    ]
    assert not found, "\n".join(found)


def test_no_page_has_a_phrase_that_is_kept_out() -> None:
    """Of the changelog, what no release has yet; what a page quotes is in backticks, quotes or blocks."""
    pages = {
        path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"))
    }
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    pages[ROOT / "CHANGELOG.md"] = changes.split("\n## [")[1]
    assert len(pages) > 40
    found = {
        f"{path.relative_to(ROOT)}: {paragraph.strip()[:100]} ({', '.join(phrases)})"
        for path, text in pages.items()
        for paragraph in re.split(r"\n\n|\n(?=[-|])", QUOTED.sub("", text))
        if (phrases := list_messages.phrases_in(paragraph))
    }
    assert not found, "\n".join(["say these in the words of the field:", *sorted(found)])


def test_the_help_of_every_command_is_among_the_texts() -> None:
    with_help = {message.file for message in messages() if message.kind == "help"}
    assert {f"hubcli/cli/{module}.py" for module in COMMANDS.values()} - with_help == set()


def test_what_errors_and_checks_print_is_among_the_texts() -> None:
    """Of every message and hint of the golden documents, a text of the list is a part."""
    templates = {
        tuple(re.split(r"\{\w*\}", message.text))
        for message in messages()
        if len(re.sub(r"\{\w*\}|\s", "", message.text)) >= 8
    }
    printed = {text for file in GOLDEN.glob("*.json") for text in texts_of(file) if words_in(text) > 2}
    assert len(printed) > 30
    assert not [text for text in sorted(printed) if not any(has(text, parts) for parts in templates)]


def has(text: str, parts: Sequence[str]) -> bool:
    """Whether the text has all parts in their order. Thousands of patterns would be compiled for that."""
    place = 0
    for part in parts:
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return True


def words_in(text: str) -> int:
    words = (word.strip(".,:;'") for word in text.split())
    return sum(len(word) > 2 and word.isalpha() for word in words)


def texts_of(file: Path) -> Iterator[str]:
    for found in re.findall(r'"(?:message|hint)": ("(?:[^"\\]|\\.)*")', file.read_text(encoding="utf-8")):
        yield json.loads(found)


def test_each_kind_of_text_is_found(tmp_path: Path) -> None:
    source = '''
"""A module."""
COLUMNS = (Column("SIZE"),)

def gc_command(grace=typer.Option(help="Keep what is new.")):
    """Remove models."""
    name = "no_prose"
    output.note(f"Removed {name} of the cache")
    raise CacheError(f"Not found: {name}", hint="Run: hubcli fetch")

def helper():
    """Nobody sees this text."""
    return f"and {name} more of them"
'''
    reader = list_messages._Reader("hubcli/cli/gc.py", source)
    found = {(message.kind, message.text) for message in reader.messages()}
    assert found == {
        ("head", "SIZE"),
        ("help", "Keep what is new."),
        ("help", "Remove models."),
        ("note", "Removed {} of the cache"),
        ("error", "Not found: {}"),
        ("hint", "Run: hubcli fetch"),
        ("text", "and {} more of them"),
    }
