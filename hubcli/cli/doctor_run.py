"""A run of `hubcli doctor`: shows the diagnosis, and says by the exit status whether something is wrong."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from pathlib import Path

from hubcli.cli.output import Output
from hubcli.cli.tables import Style
from hubcli.cli.views.doctor import diagnosis_document, diagnosis_text, problem_lines
from hubcli.commands.doctor import Diagnosis
from hubcli.errors import ExitStatus

__all__ = ["show_diagnosis"]


def show_diagnosis(diagnosis: Diagnosis, output: Output, *, debug: bool) -> int:
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
