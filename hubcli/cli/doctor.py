"""`hubcli doctor`."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import (
    AsJson,
    CacheDir,
    CaFile,
    Color,
    CompletionHint,
    Debug,
    Mirrors,
    NoColor,
    NoProgress,
    Offline,
    Quiet,
)
from hubcli.cli.output import Output
from hubcli.config.settings import color_choice, environment, read_config
from hubcli.errors import ExitStatus
from hubcli.units import parse_duration_s

with LazyImports():
    from hubcli.cli.tables import Style
    from hubcli.cli.views.doctor import diagnosis_document, diagnosis_text, problem_lines
    from hubcli.commands.doctor import Diagnosis, DoctorOptions, doctor

__all__ = ["doctor_command"]

Hosts: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[HOST...]",
        help="With --network: hosts or addresses to ask, instead of TF Hub, Kaggle and their storage.",
        show_default=False,
    ),
]
Network: TypeAlias = Annotated[
    bool, typer.Option("--network", help="Send a request to each host; nothing is sent without.")
]
Python: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Look at the packages of this interpreter or virtual environment.",
        show_default=False,
    ),
    CompletionHint(files=True),
]
Fix: TypeAlias = Annotated[bool, typer.Option("--fix", help="Remove what killed exports left.")]
Timeout: TypeAlias = Annotated[
    str, typer.Option(metavar="TIME", help="With --network: give up when a host is silent for so long.")
]


def doctor_command(
    hosts: Hosts = None,
    network: Network = False,
    python: Python = None,
    fix: Fix = False,
    mirror: Mirrors = None,
    ca_file: CaFile = None,
    timeout: Timeout = "10s",
    as_json: AsJson = False,
    quiet: Quiet = False,
    offline: Offline = False,
    cache_dir: CacheDir = None,
    color: Color = None,
    no_color: NoColor = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Tell why a download or a load fails: cache, network, credentials, packages, settings.

    Says what mends it. Exits with 9 where there is a problem; with -q it prints the problems alone.

    Examples:
    hubcli doctor
    hubcli doctor --network --python .venv
    hubcli doctor --json
    """
    disable_garbage_collection()
    options = DoctorOptions(
        network=network,
        hosts=tuple(hosts or ()),
        python=python,
        cache_dir=cache_dir,
        offline=offline,
        mirrors=tuple(mirror or ()),
        ca_file=ca_file,
        timeout_s=parse_duration_s(timeout),
        fix=fix,
    )
    choice = color_choice(environment(), color, no_color=no_color, default=read_config().get("color", "auto"))
    output = Output(as_json=as_json, quiet=quiet, color=choice)
    raise typer.Exit(_show_diagnosis(doctor(options), output, debug=debug))


def _show_diagnosis(diagnosis: Diagnosis, output: Output, *, debug: bool) -> int:
    """Writes it in the form that is wanted; the exit status."""
    if debug:
        for fault in diagnosis.faults:
            _show_frames(fault)
    if output.as_json:
        output.document(diagnosis_document(diagnosis))
    elif not output.quiet:
        output.payload(diagnosis_text(diagnosis, Style.of(output), _home()))
    elif not diagnosis.is_well:
        output.payload("\n".join(problem_lines(diagnosis)))
    return int(ExitStatus.DONE if diagnosis.is_well else ExitStatus.FOUND)


def _home() -> str | None:
    with suppress(RuntimeError):
        return str(Path.home())
    return None


def _show_frames(fault: Exception) -> None:
    """Where a check failed. What the error says is left out: it may quote a secret."""
    if sys.stderr is not None:
        sys.stderr.write("".join((*traceback.format_tb(fault.__traceback__), f"{type(fault).__name__}\n")))
