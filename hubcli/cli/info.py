"""`hubcli info`: options, run, and what it shows: facts, then texts; a terminal gets Markdown rendered."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import CaFile, GlobalOptions, Model, Timeout
from hubcli.cli.output import Output, printable
from hubcli.cli.search import Refresh, note_age, time_or_none
from hubcli.units import format_age, format_size

with LazyImports():
    from hubcli.cli.progress import listener_for
    from hubcli.cli.tables import Style
    from hubcli.commands.info import ModelDetails, info

__all__ = ["info_command", "rendered"]

# Longer texts are cut: what renders Markdown takes more than linear time for some.
_MAX_RENDERED = 64 << 10


def info_command(
    shared: GlobalOptions,
    target: Model,
    refresh: Refresh = False,
    timeout: Timeout = None,
    cacert: CaFile = None,
) -> None:
    """Show description, license and usage of a model.

    The facts come from Kaggle, from the index of its host, and from the README.md or model card in it.

    Examples:
    hubcli info google/universal-sentence-encoder/tensorFlow2/lite
    hubcli info ./model
    """
    disable_garbage_collection()
    settings = shared.settings(timeout=timeout, ca_file=cacert)
    output = shared.output(settings)
    with listener_for(output, patience_s=0.5) as listener:
        details = info(target, settings, listener, refresh=refresh)
    if shared.as_json:
        output.document(_document(details))
        return
    if shared.quiet:
        output.payload(printable(details.path or details.handle))
        return
    note_age(details.cached_at_s, output, settings)
    output.payload("\n".join(_lines(details, output)))


def _lines(details: ModelDetails, output: Output) -> Iterator[str]:
    style = Style.of(output)
    yield style.paint(printable(details.title or details.handle), "bold")
    if details.subtitle:
        yield printable(details.subtitle)
    yield ""
    facts = [(name, printable(value)) for name, value in _facts(details) if value]
    width = max(len(name) for name, _ in facts) + 2
    for name, value in facts:
        yield style.paint(f"{name}:".ljust(width), "dim") + value
    for title, text in _texts(details):
        yield from ("", style.paint(title, "bold"), "", rendered(text, style))


def _facts(details: ModelDetails) -> Iterator[tuple[str, str]]:
    now_s = time.time()
    yield "Handle", details.handle
    yield "License", details.license or "unknown"
    yield "Framework", details.framework or ""
    yield "Version", details.version or ""
    yield "Size", "" if details.size_bytes is None else format_size(details.size_bytes)
    yield "Fine-tunable", {None: "", True: "yes", False: "no"}[details.is_fine_tunable]
    yield "Trained on", ", ".join(details.training_data)
    yield "Base model", details.base_model_url or ""
    yield "Votes", "" if details.votes is None else str(details.votes)
    yield "Downloads", "" if details.downloads is None else str(details.downloads)
    yield "Updated", "" if details.updated_s is None else format_age(now_s - details.updated_s)
    yield "Path", details.path or ""
    yield "Source", ", ".join(details.sources)


def _texts(details: ModelDetails) -> Iterator[tuple[str, str]]:
    """Each text under its title, those that say the same once."""
    texts = {
        "Description": details.description,
        "Overview": details.overview,
        "Usage": details.usage,
        details.readme.file if details.readme else "": details.readme.text if details.readme else "",
    }
    seen = set[str]()
    for title, text in texts.items():
        if text.strip() and text not in seen:
            seen.add(text)
            yield title, text


def rendered(text: str, style: Style) -> str:
    """Markdown for a terminal; as it is for a pipe. No link or picture of it is followed or shown."""
    cut = f"{text[:_MAX_RENDERED]}\n…" if len(text) > _MAX_RENDERED else text
    if style.width is None:
        return "\n".join(printable(line) for line in cut.split("\n"))
    from rich.console import Console  # Needed for a terminal alone.
    from rich.markdown import Markdown

    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=style.width,
        force_terminal=style.has_color,
        no_color=not style.has_color,
        color_system="standard" if style.has_color else None,
        highlight=False,
        legacy_windows=False,
    )
    clean = "\n".join(printable(line) for line in cut.split("\n"))
    console.print(Markdown(clean, hyperlinks=False))
    lines = _without_commands(buffer.getvalue()).strip("\n").split("\n")
    return "\n".join(line.rstrip() for line in lines)


def _without_commands(text: str) -> str:
    """What was rendered, without the characters that reorder a line: `&#x202e;` becomes one only there.

    Escapes are rich's own: Markdown has no reference to a control character.
    """
    return "".join(
        char if char.isprintable() or char in "\n\x1b" else " " if char.isspace() else "" for char in text
    )


def _document(details: ModelDetails) -> dict[str, Any]:
    """`hubcli info --json`."""
    readme = details.readme
    return {
        "handle": details.handle,
        "title": details.title,
        "subtitle": details.subtitle,
        "description": details.description,
        "license": details.license,
        "framework": details.framework,
        "version": details.version,
        "bytes": details.size_bytes,
        "overview": details.overview,
        "usage": details.usage,
        "fine_tunable": details.is_fine_tunable,
        "training_data": list(details.training_data),
        "base_model": details.base_model_url,
        "votes": details.votes,
        "downloads": details.downloads,
        "updated_at": time_or_none(details.updated_s),
        "readme": None if readme is None else {"file": readme.file, "text": readme.text},
        "path": details.path,
        "sources": list(details.sources),
        "cached_at": time_or_none(details.cached_at_s),
    }
