"""`hubcli doctor`, and how a diagnosis is shown."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import CaFile, CompletionHint, GlobalOptions, Mirrors, argument, option, value_option
from hubcli.cli.output import Output, printable
from hubcli.config.settings import color_choice, environment, read_config
from hubcli.errors import ExitStatus
from hubcli.units import parse_duration_s, plural

with LazyImports():
    from hubcli.cli.tables import Style
    from hubcli.commands.doctor import Diagnosis, DoctorOptions, doctor
    from hubcli.diagnosing.context import Check, Section, Status
    from hubcli.diagnosing.inventory import LISTED_PACKAGES

__all__ = ["diagnosis_document", "diagnosis_text", "doctor_command", "problem_lines"]

Hosts: TypeAlias = Annotated[
    list[str] | None,
    argument("[HOST...]", "With --network: hosts to check instead of TF Hub, Kaggle and their storage."),
]
Network: TypeAlias = Annotated[bool, option("Check hosts and shared tiers over the network.", "--network")]
Python: TypeAlias = Annotated[
    str | None,
    value_option("PATH", "Check the packages of this interpreter or virtual environment."),
    CompletionHint(files=True),
]
Fix: TypeAlias = Annotated[bool, option("Remove leftovers of interrupted exports.", "--fix")]
Timeout: TypeAlias = Annotated[
    str, option("With --network: fail after this long without data.", metavar="TIME")
]


def doctor_command(
    shared: GlobalOptions,
    hosts: Hosts = None,
    network: Network = False,
    python: Python = None,
    fix: Fix = False,
    mirror: Mirrors = None,
    ca_file: CaFile = None,
    timeout: Timeout = "10s",
) -> None:
    """Diagnose download and load problems.

    Checks the cache, the network, credentials, packages and settings. Prints a remedy for each problem.
    Exits with 9 if there is a problem; -q prints problems only.

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
        cache_dir=shared.cache_dir,
        offline=shared.offline,
        mirrors=tuple(mirror or ()),
        ca_file=ca_file,
        timeout_s=parse_duration_s(timeout),
        fix=fix,
    )
    choice = color_choice(
        environment(), shared.color, no_color=shared.no_color, default=read_config().get("color", "auto")
    )
    output = Output(as_json=shared.as_json, quiet=shared.quiet, color=choice, debug=shared.debug)
    raise typer.Exit(_show_diagnosis(doctor(options), output))


def _show_diagnosis(diagnosis: Diagnosis, output: Output) -> int:
    """Prints it as JSON, as text, or its problems alone; returns the exit status."""
    if output.debug:
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


_LABEL_WIDTH = 14
_MAX_LABEL = 24  # Of the names of variables, which are the longest labels.
_MARKS = {"ok": "✓", "info": "·", "warning": "!", "problem": "✗"}
_ASCII_MARKS = {"ok": "+", "info": "-", "warning": "!", "problem": "x"}
_STYLES = {"ok": "green", "info": "dim", "warning": "yellow", "problem": "red"}
# Labels of checks whose names are for scripts.
_LABELS = {
    "hub-load": "hub.load",
    "load-format": "hub.load",
    "load-certificates": "hub.load",
    "kagglehub-cache": "kagglehub",
    "kaggle-endpoint": "Kaggle API",
    "no-proxy": "NO_PROXY",
    "other-certificates": "certificates",
    "config-file": "config file",
    "config-unknown": "config file",
    "tls": "TLS",
    "kaggle": "Kaggle",
    "kaggle-variables": "Kaggle",
    "kaggle-folder": "Kaggle",
    "own-protobuf": "hubcli",
    "own-typer": "hubcli",
    "hub-setuptools": "tensorflow_hub",
    "hub-tensorflow": "tensorflow_hub",
    "hub-keras": "tensorflow_hub",
    "hub-too-old": "tensorflow_hub",
    "hub-layer": "tensorflow_hub",
    "tf-keras-minor": "tf_keras",
    "legacy-keras": "tf_keras",
    "keras-backend": "keras",
    "two-tensorflows": "tensorflow",
    "slow-protobuf": "protobuf",
    "protobuf-variable": "protobuf",
}
_ABSENT = "not installed"


def diagnosis_text(diagnosis: Diagnosis, style: Style, home: str | None = None) -> str:
    """A line for each check, remedies below their problems, and a last line with the counts.

    On a terminal paths in `home` begin with `~`.
    """
    lines = list[str]()
    for section, group in groupby(_gathered(diagnosis.checks), key=lambda check: check.section):
        lines.append(style.paint(section.value.capitalize(), "bold"))
        checks = tuple(group)
        width = max(_LABEL_WIDTH, *(len(_label(check)) for check in checks))
        for check in checks:
            lines += _lines(check, style, home if style.width is not None else None, min(width, _MAX_LABEL))
    return "\n".join((*lines, "", _sum(diagnosis, style)))


def problem_lines(diagnosis: Diagnosis) -> list[str]:
    """Each problem as a line."""
    return [
        printable(f"{check.section.value}, {_label(check)}: {check.message}") for check in diagnosis.problems
    ]


def diagnosis_document(diagnosis: Diagnosis) -> dict[str, Any]:
    """`hubcli doctor --json`."""
    return {
        "checks": [_check_document(check) for check in diagnosis.checks],
        "problems": len(diagnosis.problems),
        "warnings": len(diagnosis.warnings),
    }


def _check_document(check: Check) -> dict[str, Any]:
    return {
        "section": check.section.value,
        "name": check.name,
        "status": check.status.value,
        "value": check.value,
        "message": check.message,
        "hint": check.hint,
    }


def _gathered(checks: Sequence[Check]) -> Iterable[Check]:
    """The checks with what isn't installed in one line, behind the packages that are."""
    absent = [check.name for check in checks if _is_absent(check)]
    for check, following in zip_longest(checks, checks[1:]):
        if not _is_absent(check):
            yield check
        is_last = check.name in LISTED_PACKAGES and (
            following is None or following.name not in LISTED_PACKAGES
        )
        if is_last and absent:
            yield Check.of(Section.PACKAGES, _ABSENT, Status.INFO, ", ".join(absent))


def _is_absent(check: Check) -> bool:
    return check.section is Section.PACKAGES and check.message == _ABSENT


def _lines(check: Check, style: Style, home: str | None, label_width: int) -> list[str]:
    mark = (_MARKS if style.has_unicode else _ASCII_MARKS)[check.status.value]
    begin = f"  {mark} {_label(check).ljust(label_width)} "
    first, *more = style.hang(begin, _printed(check.message, home))
    lines = [first.replace(mark, style.paint(mark, _STYLES[check.status.value]), 1), *more]
    if check.hint:
        first, *more = style.hang_hint(f"    {style.arrow} ", _printed(check.hint, home))
        lines += [first.replace(style.arrow, style.paint(style.arrow, "cyan"), 1), *more]
    return lines


def _printed(text: str, home: str | None) -> str:
    """The text as it may be printed, with `~` for the home where a shell would understand it."""
    if home is None:
        return printable(text)
    return printable(re.sub(rf"(?<![^\s(=]){re.escape(home)}(?=$|[/\s:;,)])", "~", text))


def _label(check: Check) -> str:
    name, separator, _ = check.name.partition("-wants-")
    return name if separator else _LABELS.get(name, name.removeprefix("config-"))


def _sum(diagnosis: Diagnosis, style: Style) -> str:
    problems, warnings = len(diagnosis.problems), len(diagnosis.warnings)
    status = Status.PROBLEM if problems else Status.WARNING if warnings else Status.OK
    mark = (_MARKS if style.has_unicode else _ASCII_MARKS)[status.value]
    count = plural(problems, "problem") if problems else "No problems"
    more = f", {plural(warnings, 'warning')}" if warnings else ""
    return f"{style.paint(mark, _STYLES[status.value])} {count}{more}"
