"""How a publication is shown: the plan before the question, its outcome, JSON with stable keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hubcli.cli.output import printable
from hubcli.issues import Issue
from hubcli.units import format_elapsed, format_size, plural

if TYPE_CHECKING:
    from hubcli.commands.publish import PublishPlan, PublishResult

__all__ = ["checklist_document", "issue_lines", "outcome_line", "plan_lines", "publish_document"]

_SHOWN_FILES, _SHOWN_WARNINGS = 10, 8


def plan_lines(plan: PublishPlan) -> Iterator[str]:
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
        yield f"  Warnings    {len(plan.warnings)}"
    yield from issue_lines(plan.warnings[:_SHOWN_WARNINGS], "    ")
    if len(plan.warnings) > _SHOWN_WARNINGS:
        yield f"    {len(plan.warnings) - _SHOWN_WARNINGS} more: hubcli inspect --scan --check {plan.source}"


def issue_lines(issues: Sequence[Issue], indent: str = "") -> Iterator[str]:
    """Each issue with its code, and what to do about it below."""
    for issue in issues:
        place = issue.where or issue.file or ""
        where = f" in {place}" if place not in issue.message else ""
        yield printable(f"{indent}{issue.severity.value}: {issue.message}{where} [{issue.code}]")
        if issue.hint:
            yield printable(f"{indent}  {issue.hint}")


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
