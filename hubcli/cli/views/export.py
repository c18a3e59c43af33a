"""How an export or a conversion is shown: lines for a person, JSON with stable keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hubcli.cli.main import LazyImports
from hubcli.cli.output import Output, printable
from hubcli.units import format_elapsed, format_size

with LazyImports():
    from hubcli.running.model import listed_endpoint

if TYPE_CHECKING:
    from hubcli.commands.export import ExportResult
    from hubcli.exporting.conversion import Conversion
    from hubcli.exporting.editing import EditReport
    from hubcli.running.endpoints import Endpoint, Port

__all__ = ["edit_document", "export_document", "export_summary", "losses_payload", "show_conversion"]


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


def show_conversion(result: ExportResult, output: Output) -> None:
    """Writes the path, or of a dry run the signatures; tells a person how far the outputs are apart."""
    assert result.plan is not None
    if output.as_json:
        output.document(_conversion_document(result))
        return
    if result.conversion is None:
        if not output.quiet:
            output.say(f"Would convert {result.source} to {result.destination}")
        lines = [str(result.destination)] if output.quiet else map(listed_endpoint, result.plan.endpoints)
        output.payload("\n".join(map(printable, lines)))
        return
    output.say(export_summary(result))
    output.say(_comparison_summary(result.conversion))
    output.payload(str(result.destination))


def _comparison_summary(conversion: Conversion) -> str:
    """One line for a person."""
    if not conversion.comparisons:
        return "Outputs not compared"
    farthest = max(conversion.comparisons, key=lambda comparison: comparison.largest.error)
    kinds = sorted({comparison.inputs for comparison in conversion.comparisons})
    return printable(
        f"Largest error {farthest.largest.error:.2g}, tolerance {conversion.plan.options.largest_error:g} "
        f"(output {farthest.largest.name} of {farthest.signature}, {' and '.join(kinds)} inputs)"
    )


def _conversion_document(result: ExportResult) -> dict[str, Any]:
    """`hubcli export --json` of a conversion."""
    plan, conversion = result.plan, result.conversion
    assert plan is not None
    return {
        **export_document(result),
        "dry_run": conversion is None,
        "conversion": {
            "converter": None if conversion is None else conversion.converter,
            "opset": None if conversion is None else conversion.opset,
            "quantize": None if plan.options.quantize is None else plan.options.quantize.value,
            "select_tf_ops": plan.options.select_tf_ops,
            "signatures": [_signature(endpoint, conversion) for endpoint in plan.endpoints],
            "left_out": list(plan.left_out),
            "largest_error": None if conversion is None else conversion.largest_error,
            "tolerance": plan.options.largest_error if plan.options.compare else None,
        },
    }


def _signature(endpoint: Endpoint, conversion: Conversion | None) -> dict[str, Any]:
    comparisons = () if conversion is None else conversion.comparisons
    compared = next((found for found in comparisons if found.signature == endpoint.name), None)
    errors = {} if compared is None else {output.name: output.error for output in compared.outputs}
    return {
        "name": endpoint.name,
        "inputs": [_port(port) for port in endpoint.inputs],
        "outputs": [{**_port(port), "error": errors.get(port.name)} for port in endpoint.outputs],
        "compared_on": None if compared is None else compared.inputs,
        "runs": 0 if compared is None else compared.runs,
    }


def _port(port: Port) -> dict[str, Any]:
    return {
        "name": port.name,
        "dtype": port.dtype.name,
        "shape": None if port.shape is None else list(port.shape),
    }
