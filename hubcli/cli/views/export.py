"""How an export is shown: a line for a person, JSON with stable keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hubcli.cli.output import printable
from hubcli.units import format_elapsed, format_size

if TYPE_CHECKING:
    from hubcli.commands.export import ExportResult
    from hubcli.exporting.editing import EditReport

__all__ = ["edit_document", "export_document", "export_summary", "losses_payload"]


def export_summary(result: ExportResult) -> str:
    """One line for a person."""
    if result.is_dry_run and result.edited is not None:
        before, after = format_size(result.edited.size_before), format_size(result.size_bytes)
        return f"Would export {result.source}  {before} to {after}"
    files = "1 file" if result.file_count == 1 else f"{result.file_count} files"
    size, time = format_size(result.size_bytes), format_elapsed(result.seconds)
    return f"Exported {result.source}  {size}, {files}, {time}"


def losses_payload(result: ExportResult) -> str:
    """What an edited export loses, a line each."""
    losses = () if result.edited is None else result.edited.losses
    return "\n".join(printable(loss.text) for loss in losses)


def export_document(result: ExportResult) -> dict[str, Any]:
    """`hubcli export --json`."""
    document: dict[str, Any] = {"dry_run": True} if result.is_dry_run else {}
    if result.edited is not None:
        document["edited"] = edit_document(result.edited)
    return {
        "source": result.source,
        "destination": str(result.destination),
        "layout": result.layout.value,
        "format": result.format.value,
        "bytes": result.size_bytes,
        "files": result.file_count,
        "sha256": result.sha256,
        "seconds": round(result.seconds, 3),
        **document,
    }


def edit_document(report: EditReport) -> dict[str, Any]:
    """The edits in `hubcli export --json` and `hubcli finetune-export --json`."""
    return {
        "signatures": dict(report.signatures),
        "lost": [
            {
                "kind": loss.kind,
                "text": loss.text,
                "count": loss.count,
                "names": list(loss.names),
                "bytes": loss.size_bytes,
            }
            for loss in report.losses
        ],
        "notes": list(report.notes),
        "bytes_before": report.size_before,
        "bytes_after": report.size_after,
        "variables_bytes_before": report.variables_before,
        "variables_bytes_after": report.variables_after,
        "warmup_requests": report.warmup_requests,
        "compared": list(report.compared),
        "loaders": list(report.loaders),
        "largest_error": report.largest_error,
    }
