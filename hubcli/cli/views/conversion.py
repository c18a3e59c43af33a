"""How a conversion is shown: what was compared, and what a dry run would convert."""

from __future__ import annotations

from typing import Any

from hubcli.cli.output import Output, printable
from hubcli.cli.views.export import export_document, export_summary
from hubcli.commands.export import ExportResult
from hubcli.exporting.conversion import Conversion
from hubcli.running.endpoints import Endpoint, Port
from hubcli.running.model import listed_endpoint

__all__ = ["conversion_document", "show_conversion"]


def show_conversion(result: ExportResult, output: Output) -> None:
    """Writes the path, or of a dry run the signatures; tells a person how far the outputs are apart."""
    assert result.plan is not None
    if output.as_json:
        output.document(conversion_document(result))
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


def conversion_document(result: ExportResult) -> dict[str, Any]:
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
