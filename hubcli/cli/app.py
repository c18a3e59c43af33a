"""The Typer application, one command a file, put together here; and help, also for a narrow terminal.

Help is written by Typer, to a standard output that may be closed or full.
"""

from __future__ import annotations

import io
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from inspect import getdoc
from types import MappingProxyType
from typing import Annotated, Any, TextIO, cast

import typer
from typer.main import get_command

from hubcli import __version__
from hubcli.cli.main import LazyImports, restore_garbage_collection
from hubcli.cli.options import CompletionWords, with_option_groups
from hubcli.cli.output import Output
from hubcli.errors import BrokenPipe, OutputError

with LazyImports():
    from hubcli.cli.completion import SHELLS, install_completion, script_of, shell_called
    from hubcli.cli.help_pages import shape_help
    from hubcli.config.settings import ShellHomes

__all__ = ["COMMANDS", "GROUPS", "app_for_help", "app_of", "help_output", "narrow_help"]

# The commands in their order, under the titles of the help of hubcli, with the first line of their own help:
# to import them all for it would take 8 ms.
GROUPS = MappingProxyType(
    {
        "Find models": {
            "search": "Find SavedModels on Kaggle or on another host.",
            "versions": "List the versions of a model, and which are cached.",
            "info": "Show description, license and usage of a model.",
        },
        "Get models": {"fetch": "Fetch models into the cache and print their paths."},
        "Look inside models": {
            "inspect": "Show signatures, functions and variables of a model.",
            "run": "Run a signature or function of a model.",
            "verify": "Check models against their checksums.",
        },
        "Make models": {
            "export": "Export a model as a directory, an archive, LiteRT or ONNX.",
            "finetune-export": "Export a fine-tuned model as a drop-in replacement.",
            "publish": "Publish a model on Kaggle, in a directory or in a bucket.",
        },
        "Manage the cache": {
            "ls": "List cached models.",
            "gc": "Remove leftovers, and models by age, size or free space.",
            "rm": "Remove models from the cache.",
            "pin": "Protect models from gc.",
            "unpin": "Remove the protection of pinned models.",
        },
        "Share models": {
            "push": "Push models to a shared tier.",
            "tier": "List, verify, clean up or measure a shared tier.",
        },
        "Diagnose problems": {"doctor": "Diagnose download and load problems."},
    }
)
# Each with its module; the function there has its name, and _command behind it.
_OTHER_MODULES = {"unpin": "pin"}
COMMANDS = MappingProxyType(
    {name: _OTHER_MODULES.get(name, name.replace("-", "_")) for names in GROUPS.values() for name in names}
)
_GROUP_OF = {name: group for group, names in GROUPS.items() for name in names}

_EXAMPLES = """\
Examples:
hubcli fetch https://tfhub.dev/spotify/basic-pitch/1
hubcli inspect example://mul/1
hubcli finetune-export example://mul/1 ./tuned --weights w.npz
"""


def app_of(*names: str, others: str | None = None) -> typer.Typer:
    """The application with these commands, or with all. A run needs one: each other costs it 3 ms.

    `others` has the other commands there too, without their options: with "summaries", which the help of
    hubcli itself shows, or with "names" alone, which tell a command that isn't known from one that is.
    """
    app = typer.Typer(
        name="hubcli",
        epilog=_EXAMPLES,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        add_completion=False,  # The scripts are our own: see completions/.
        rich_markup_mode="rich",
    )
    app.callback()(root)
    for name in COMMANDS:
        if name in names or (others is None and not names):
            _add(app, name)
        elif others is not None:
            _announce(app, name, with_summary=others == "summaries")
    return app


def _shells() -> tuple[str, ...]:
    return tuple(SHELLS)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        Output().payload(f"hubcli {__version__}")
        raise typer.Exit


def _show_completion(name: str | None) -> None:
    if name is not None:
        Output().payload(script_of(shell_called(name)))
        raise typer.Exit


def _install_completion(name: str | None) -> None:
    if name is not None:
        installed = install_completion(shell_called(name), ShellHomes.read())
        output = Output()
        if installed.startup is not None:
            output.say(f"Added to {installed.startup}")
        output.say("Restart the shell to use it")
        output.payload(str(installed.script))
        raise typer.Exit


def root(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
    install_completion: Annotated[
        str | None,
        typer.Option(
            metavar="[SHELL]",
            help="Install completion for the current shell, or for SHELL.",
            callback=_install_completion,
            is_eager=True,
            show_default=False,
        ),
        CompletionWords(_shells),
    ] = None,
    show_completion: Annotated[
        str | None,
        typer.Option(
            metavar="[SHELL]",
            help="Print the completion script of the current shell, or of SHELL.",
            callback=_show_completion,
            is_eager=True,
            show_default=False,
        ),
        CompletionWords(_shells),
    ] = None,
) -> None:
    """Find, fetch, inspect, run, verify, export and fine-tune TensorFlow SavedModels."""
    restore_garbage_collection()


def _add(app: typer.Typer, name: str) -> None:
    """The docstring is the help; the lines behind `Examples:` in it come last, as they are typed."""
    command = _function(name)
    text, _, examples = (getdoc(command) or "").partition("\n\nExamples:\n")
    # A line break within a paragraph would be kept at every width of the terminal.
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    lines = [line.strip().replace("[", "\\[") for line in examples.splitlines() if line.strip()]
    epilog = "\n".join(["Examples:", *lines]) if lines else None
    app.command(name, help=text, epilog=epilog, rich_help_panel=_GROUP_OF[name])(with_option_groups(command))


def _announce(app: typer.Typer, name: str, *, with_summary: bool) -> None:
    group = _GROUP_OF[name]
    app.command(name, help=GROUPS[group][name] if with_summary else None, rich_help_panel=group)(lambda: None)


def app_for_help(name: str, *, is_short: bool) -> Any:
    """The application, to show the help of the command of that name, of hubcli itself for an empty one."""
    if name:
        root: Any = get_command(app_of(name))
        shape_help(root.commands[name], name=name, is_short=is_short)
    else:
        # The global options are those of any command: `pin` is built soonest.
        root = get_command(app_of(*[] if is_short else ["pin"], others="summaries"))
        shape_help(root, name="", is_short=is_short, shared_by=root.commands["pin"])
    return root


def _function(name: str) -> Callable[..., None]:
    command: Callable[..., None] = getattr(
        import_module(f"hubcli.cli.{COMMANDS[name]}"), f"{name.replace('-', '_')}_command"
    )
    return command


@contextmanager
def help_output() -> Iterator[None]:
    """Within, standard output fails as that of a payload does.

    Raises BrokenPipe where it is closed or nobody reads any more, OutputError where it can't be written.
    """
    stream = sys.stdout
    sys.stdout = cast("TextIO", _HelpOutput(stream))
    try:
        yield
    finally:
        if isinstance(sys.stdout, _HelpOutput):  # Code of others may have put its own there.
            sys.stdout = stream


class _HelpOutput:
    """The stream with our errors, and with text that its encoding has no letters for as UTF-8."""

    def __init__(self, stream: TextIO | None) -> None:
        self._is_closed = stream is None
        self._stream: TextIO = io.StringIO() if stream is None else stream

    def write(self, text: str) -> int:
        if self._is_closed:
            raise BrokenPipe("Standard output is closed")
        try:
            self._write(text)
        except OSError as error:
            raise self._failed(error) from error
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise self._failed(error) from error

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            self._stream.flush()
            buffer = self._stream.buffer
            buffer.write(text.encode("utf-8", "surrogateescape"))
            buffer.flush()

    def _failed(self, error: OSError) -> BrokenPipe | OutputError:
        # Python would try to flush once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        if isinstance(error, BrokenPipeError):
            return BrokenPipe("The reader of standard output went away")
        return OutputError(
            f"Cannot write to standard output: {error.strerror}", hint="Check the pipe or the redirection."
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_MARKUP = r"(?<!\\)\[/?[a-z ]+\]"


def narrow_help(name: str, columns: int, *, is_short: bool) -> str:
    """The help of the command of that name, of hubcli itself for an empty one, in lines that fit."""
    root = app_for_help(name, is_short=is_short)
    command = root.commands[name] if name else root
    lines = list(_lines(command, f"hubcli {name}".rstrip()))
    if not name:
        at = lines.index("", lines.index("Options:"))
        for group, commands in GROUPS.items():
            rows = ["", f"{group}:", *(line for row in commands.items() for line in _entry(*row))]
            lines[at:at] = rows
            at += len(rows)
    return "\n".join(line for text in lines for line in _fitted(text, columns)) + "\n"


def _lines(command: Any, usage: str) -> Iterator[str]:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [
        parameter
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.hidden
    ]
    names = "".join(f" {parameter.metavar or parameter.name.upper()}" for parameter in arguments)
    yield f"Usage: {usage} [OPTIONS]{names or ' COMMAND'}"
    for paragraph in _plain(command.help or "").split("\n\n"):
        yield from ("", " ".join(paragraph.split()))
    panels: dict[str, list[Any]] = {"Arguments": arguments, "Options": []}
    for option in options:
        panels.setdefault(getattr(option, "rich_help_panel", None) or "Options", []).append(option)
    for title, parameters in panels.items():
        if parameters or title == "Options":
            yield from ("", f"{title}:")
        for parameter in parameters:
            yield from _entry(_spelled(parameter), _help_text(parameter))
        if title == "Options":
            yield from _entry("-h, --help", "Show this message and exit.")
    yield ""
    for line in _plain(command.epilog or "").splitlines():
        yield f"  {line.strip()}" if line.startswith("hubcli ") else line.strip()
    yield ""


def _entry(name: str, text: str) -> Iterator[str]:
    yield f"  {name}"
    yield f"      {' '.join(_plain(text).split())}"


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    names = ", ".join(sorted(parameter.opts, key=len))
    return names if parameter.is_flag else f"{names} {parameter.metavar or parameter.name.upper()}"


def _help_text(parameter: Any) -> str:
    has_default = parameter.default not in (None, False, ()) and getattr(parameter, "show_default", False)
    default = f" [default: {parameter.default}]" if has_default else ""
    return f"{parameter.help or ''}{default}"


def _plain(text: str) -> str:
    return re.sub(_MARKUP, "", text).replace("\\[", "[")


def _fitted(text: str, columns: int) -> list[str]:
    indent = " " * (len(text) - len(text.lstrip()))
    return textwrap.wrap(
        text.strip(),
        columns,
        initial_indent=indent,
        # What is typed hangs, sentences don't.
        subsequent_indent=indent + ("    " if len(indent) == 2 or text.startswith("Usage:") else ""),
        break_on_hyphens=False,
    ) or [""]
