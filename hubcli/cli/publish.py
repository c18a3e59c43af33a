"""`hubcli publish`: options, run, and what it shows: the plan before the question, then its outcome."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from hubcli.cli.main import LazyImports
from hubcli.cli.options import (
    BUILT_IN,
    CaFile,
    CompletionHint,
    GlobalOptions,
    NoSync,
    Timeout,
    argument,
    option,
    value_option,
)
from hubcli.cli.output import Output, printable
from hubcli.errors import ExitStatus, Interrupted, UsageError
from hubcli.units import format_elapsed, format_size, parse_duration_s, plural

with LazyImports():
    from hubcli.cli.progress import listener_for
    from hubcli.cli.tables import Style
    from hubcli.commands.publish import (
        KaggleRequest,
        PublishOptions,
        PublishPlan,
        PublishResult,
        PublishStatus,
        check,
        model_card_of,
        publish,
    )
    from hubcli.commands.search import framework_named
    from hubcli.regular_file import read_stream

if TYPE_CHECKING:
    from hubcli.issues import Issue

__all__ = ["publish_command"]

_KAGGLE = "Kaggle"
_SHOWN_FILES, _SHOWN_FINDINGS = 10, 8
_MAX_DESCRIPTION_BYTES, _WAIT_S = 1 << 20, 10.0

SourceArgument: TypeAlias = Annotated[
    str,
    argument("SOURCE", "A handle, a directory or an archive."),
    CompletionHint(handles=True, files=True, words=(BUILT_IN,)),
]
TargetArgument: TypeAlias = Annotated[
    str | None,
    argument("[HANDLE]", "OWNER/MODEL/FRAMEWORK/VARIATION on Kaggle, or DIR/PUBLISHER/MODEL/VERSION."),
    CompletionHint(directories=True),
]
License: TypeAlias = Annotated[
    str | None,
    value_option("NAME", "License of the model; required for a new variation.", "--license"),
    CompletionHint(words=("Apache 2.0", "MIT", "CC BY 4.0", "CC0: Public Domain", "BSD-3-Clause")),
]
Title: TypeAlias = Annotated[str | None, value_option("TEXT", "Title of a new model.")]
Notes: TypeAlias = Annotated[str | None, value_option("TEXT", "Notes of the version.", panel=_KAGGLE)]
Description: TypeAlias = Annotated[
    str | None,
    value_option("FILE", "Markdown text for a new model and a new variation.", panel=_KAGGLE),
    CompletionHint(files=True),
]
Framework: TypeAlias = Annotated[
    str | None,
    value_option("NAME", "tensorFlow2 or tensorFlow1, if HANDLE has no framework.", panel=_KAGGLE),
    CompletionHint(words=("tensorFlow2", "tensorFlow1")),
]
Public: TypeAlias = Annotated[
    bool, option("Let everyone download the model. \\[default: private]", "--public", panel=_KAGGLE)
]
NoWait: TypeAlias = Annotated[
    bool, option("Do not wait for processing, and skip the comparison.", "--no-wait", panel=_KAGGLE)
]
Wait: TypeAlias = Annotated[
    str, option("Wait for processing at most this long.", metavar="TIME", panel=_KAGGLE)
]
Restart: TypeAlias = Annotated[
    bool, option("Discard an earlier upload, even one with unknown outcome.", "--restart", panel=_KAGGLE)
]
Check: TypeAlias = Annotated[
    bool, option("Only check the model against the checklist for publishers.", "--check")
]
Card: TypeAlias = Annotated[bool, option("Only print a model card to fill in, as Markdown.", "--card")]
DryRun: TypeAlias = Annotated[bool, option("Show what would be created without sending it.", "--dry-run")]
Unsafe: TypeAlias = Annotated[bool, option("Publish despite findings of the scan.", "--unsafe")]
Yes: TypeAlias = Annotated[bool, option("Publish without asking.", "--yes", "-y")]


def publish_command(
    shared: GlobalOptions,
    source: SourceArgument,
    target: TargetArgument = None,
    license_: License = None,
    title: Title = None,
    notes: Notes = None,
    description: Description = None,
    framework: Framework = None,
    public: Public = False,
    no_wait: NoWait = False,
    wait: Wait = "30m",
    restart: Restart = False,
    check_: Check = False,
    card: Card = False,
    dry_run: DryRun = False,
    unsafe: Unsafe = False,
    yes: Yes = False,
    timeout: Timeout = None,
    cacert: CaFile = None,
    no_sync: NoSync = False,
) -> None:
    """Publish a model on Kaggle, in a directory or in a bucket.

    Checks the model, shows what would be created, and asks. Prints the handle of the new version. To resume
    an interrupted upload, run the same command again. On Kaggle, the new version is downloaded and compared.
    In a directory or a bucket, the model is stored as PUBLISHER/MODEL/VERSION, for a web server to serve.

    Examples:
    hubcli publish ./model --check
    hubcli publish ./model owner/mul/tensorFlow2/cnn --license MIT --dry-run
    hubcli publish ./model ./www/publisher/model/1
    """
    settings = shared.settings(timeout=timeout, ca_file=cacert, no_sync=no_sync)
    output = shared.output(settings)
    if check_ or card:
        if check_ and card:
            raise UsageError("--check and --card cannot be used together", hint="Use only one of them.")
        with listener_for(output, patience_s=0.5) as listener:
            if card:
                output.payload(model_card_of(source, settings, target, license_, listener))
                return
            issues = check(source, settings, listener)
        if shared.as_json:
            output.document(checklist_document(source, issues))
        else:
            output.payload("\n".join(issue_lines(issues, Style.of(output))) or f"No findings in {source}")
        raise typer.Exit(int(ExitStatus.FOUND) if any(i.severity.value == "error" for i in issues) else 0)
    if target is None:
        raise UsageError(
            "Missing argument 'HANDLE'", hint="Add OWNER/MODEL/FRAMEWORK/VARIATION, or use --check or --card."
        )
    request = KaggleRequest(
        license_name=license_,
        notes=notes or "",
        description=_text_of(description),
        title=title or "",
        is_public=public,
        waits=not no_wait,
        wait_s=parse_duration_s(wait),
        restart=restart,
    )
    kaggle_framework = None if framework is None else framework_named(framework)
    options = PublishOptions(request, kaggle_framework, unsafe, dry_run)
    try:
        with listener_for(output, patience_s=0.5) as listener:
            result = publish(source, target, settings, options, _Question(output, yes).confirm, listener)
    except KeyboardInterrupt as interrupt:
        raise Interrupted("Interrupted", hint="Run the same command to resume.") from interrupt
    _show(result, output)
    raise typer.Exit(int(ExitStatus.FOUND) if result.status is PublishStatus.REFUSED else 0)


class _Question:
    """Shows the plan, and asks: twice for what everyone may download."""

    def __init__(self, output: Output, yes: bool) -> None:
        self.output = output
        self.yes = yes

    def confirm(self, plan: PublishPlan) -> bool:
        """Whether the user agrees. Raises UsageError without a terminal to ask on."""
        for line in plan_lines(plan, _message_style(self.output)):
            self.output.say(line)
        if self.yes:
            return True
        self.output.require_terminal(
            f"publishing to {plan.target}",
            hint="Add --yes to publish, or --dry-run to see what would be created.",
        )
        if not self.output.ask(f"Publish {format_size(plan.size_bytes)} to {plan.target}?"):
            return False
        return not plan.is_public or self.output.ask(
            "Everyone will be able to download the model. Make it public?"
        )


def _text_of(file: str | None) -> str:
    """The text of the file; `-` is a file of that name, not standard input. Raises UsageError."""
    if file is None:
        return ""
    try:
        return read_stream(Path(file), _MAX_DESCRIPTION_BYTES, _WAIT_S).decode()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        raise UsageError(
            f"Cannot read {file}: {reason}", hint="Use a UTF-8 text file for --description."
        ) from error


def _show(result: PublishResult, output: Output) -> None:
    if result.status is PublishStatus.PLANNED and result.plan is not None:
        for line in plan_lines(result.plan, _message_style(output)):
            output.say(line)
    output.say(outcome_line(result))
    if output.as_json:
        output.document(publish_document(result))
    elif result.status is PublishStatus.REFUSED:
        output.payload("\n".join(issue_lines(result.issues, Style.of(output))))
    elif result.handle is not None:
        output.payload(result.handle)


def _message_style(output: Output) -> Style:
    """How messages are laid out: they go to standard error, which is folded only on a terminal."""
    return Style.of(output) if output.speaks_to_terminal else Style(None, is_styled=False, has_color=False)


def plan_lines(plan: PublishPlan, style: Style) -> Iterator[str]:
    """What would be created, a line each."""
    creates = " and ".join(filter(None, (", ".join(plan.creates[:-1]), plan.creates[-1])))
    number = f" {plan.version}" if plan.creates[-1] == "version" and plan.version else ""
    yield f"Publish {plan.source} to {plan.target}"
    yield f"  Creates     {creates}{number}"
    if plan.creates != ("archive",):
        yield f"  Visibility  {'public: everyone can download it' if plan.is_public else 'private'}"
    yield f"  License     {plan.license_name or 'not specified'}"
    yield f"  Files       {plural(len(plan.files), 'file')}, {format_size(plan.size_bytes)}"
    for file in plan.files[:_SHOWN_FILES]:
        yield f"    {file.path}  {format_size(file.size_bytes)}"
    if len(plan.files) > _SHOWN_FILES:
        yield f"    {len(plan.files) - _SHOWN_FILES} more"
    if plan.warnings:
        yield f"  Findings    {len(plan.warnings)}"
    yield from issue_lines(plan.warnings[:_SHOWN_FINDINGS], style, 4)
    if len(plan.warnings) > _SHOWN_FINDINGS:
        yield f"    {len(plan.warnings) - _SHOWN_FINDINGS} more: hubcli inspect --scan --check {plan.source}"


def issue_lines(issues: Sequence[Issue], style: Style, indent: int = 0) -> Iterator[str]:
    """Each issue with its code, and what to do about it below."""
    for issue in issues:
        place = issue.where or issue.file or ""
        where = f" in {place}" if place not in issue.message else ""
        text = f"{issue.severity.value}: {issue.message}{where} [{issue.code}]"
        yield from style.fold(printable(text), indent, hanging=4)
        if issue.hint:
            yield from style.hang_hint(" " * (indent + 2), printable(issue.hint))


def outcome_line(result: PublishResult) -> str:
    """One line for a person."""
    name = result.handle or result.target
    size = ""
    if result.plan is not None:
        files, bytes_ = len(result.plan.files), result.plan.size_bytes
        size = f"  {plural(files, 'file')}, {format_size(bytes_)}, {format_elapsed(result.seconds)}"
    compared = "; downloaded and compared" if result.was_compared else ""
    return {
        "published": f"Published {name}{size}{compared}",
        "submitted": f"Submitted to {name}: Kaggle is processing it. Run the same command to follow it",
        "already-published": f"Already published: {name} has the same files",
        "planned": f"Would publish to {name}{size}",
        "declined": "Nothing was published",
        "refused": f"Not published: {plural(len(result.issues), 'problem')} in {result.source}",
    }[result.status.value]


def publish_document(result: PublishResult) -> dict[str, Any]:
    """`hubcli publish --json`."""
    plan = result.plan
    return {
        "status": result.status.value,
        "source": result.source,
        "target": result.target,
        "handle": result.handle,
        "version": result.version or (plan.version if plan is not None else None),
        "creates": [] if plan is None else list(plan.creates),
        "public": None if plan is None else plan.is_public,
        "license": None if plan is None else plan.license_name,
        "files": []
        if plan is None
        else [{"path": file.path, "bytes": file.size_bytes} for file in plan.files],
        "bytes": None if plan is None else plan.size_bytes,
        "sha256": result.sha256,
        "compared": result.was_compared,
        "seconds": round(result.seconds, 3),
        "issues": list(map(_issue, result.issues)),
        "warnings": [] if plan is None else list(map(_issue, plan.warnings)),
    }


def checklist_document(source: str, issues: Sequence[Issue]) -> dict[str, Any]:
    """`hubcli publish --check --json`."""
    return {"source": source, "issues": list(map(_issue, issues))}


def _issue(issue: Issue) -> dict[str, Any]:
    return {
        "severity": issue.severity.value,
        "code": issue.code,
        "message": issue.message,
        "where": issue.where or None,
        "remedy": issue.hint,
    }
