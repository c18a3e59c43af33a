"""How outputs of a run are shown: a table with the first values, one JSON document, times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hubcli.cli.output import JSON_SCHEMA, printable
from hubcli.cli.tables import Column, Style, render_table
from hubcli.commands.run import ModelRun, Timing
from hubcli.running.endpoints import Endpoint, Port
from hubcli.running.json_text import Ranked, best_of, has_classes, port_text, ranked_rows
from hubcli.running.outputs import Collected
from hubcli.running.values import cut
from hubcli.savedmodel.types import shape_text
from hubcli.tf.run_protocol import Tensor
from hubcli.units import format_size, plural

__all__ = [
    "dry_run_document",
    "dry_run_text",
    "outputs_json",
    "outputs_text",
    "timing_document",
    "timing_text",
]

_SHOWN_VALUES = 24
_LONGEST = 160
_COLUMNS = (
    Column("NAME"),
    Column("TYPE"),
    Column("SHAPE"),
    Column("VALUES", stretches=True),
)
_TOP_COLUMNS = (
    Column("NAME"),
    Column("ROW", right=True),
    Column("CLASS", right=True),
    Column("LABEL"),
    Column("VALUE", right=True),
)


def outputs_text(
    collected: Collected, style: Style, top: int | None = None, labels: Sequence[str] | None = None
) -> str:
    """The outputs as a table, the best classes as another."""
    rows, ranked = [], []
    for port, parts, shape in collected.values():
        if top is not None and has_classes(parts[0]):
            for number, classes in enumerate(best_of(port, parts[0], top, labels)):
                ranked += [_ranked_row(port, number, ranking) for ranking in classes]
        else:
            kind = "" if port.kind == "dense" else f"{port.kind} "
            rows.append(
                (
                    printable(port.name),
                    kind + port.dtype.name,
                    shape_text(shape if port.kind == "dense" else port.shape),
                    _first(port, parts),
                )
            )
    tables = []
    if rows:
        tables.append(render_table(_COLUMNS, rows, style))
    if ranked:
        columns = (
            _TOP_COLUMNS
            if labels is not None
            else tuple(column for column in _TOP_COLUMNS if column.title != "LABEL")
        )
        place = [index for index, column in enumerate(_TOP_COLUMNS) if column in columns]
        tables.append(render_table(columns, [[row[index] for index in place] for row in ranked], style))
    return "\n\n".join(tables)


def _ranked_row(port: Port, number: int, ranked: Ranked) -> tuple[str, ...]:
    return (printable(port.name), str(number), str(ranked.place), printable(ranked.label or ""), ranked.value)


def _first(port: Port, parts: Sequence[Tensor]) -> str:
    """The first values, nested as they are, as far as a person looks."""
    first = parts[0]
    if port.kind != "dense":
        text = (
            port_text(port, parts, is_bare=True)
            if first.size <= 10 * _SHOWN_VALUES
            else f"{first.size} values"
        )
        return _shortened(text)
    if not first.shape or 0 in first.shape:
        return _shortened(port_text(port, parts, is_bare=True))
    corner, is_cut = _corner(first)
    text = port_text(port, [corner], is_bare=True)
    return _shortened(f"{text[:-1]}, …]" if is_cut else text)


def _corner(tensor: Tensor) -> tuple[Tensor, bool]:
    """The first rows with about as many values as are shown, and whether there are more."""
    width = max(1, tensor.size // tensor.shape[0])
    rows = max(1, _SHOWN_VALUES // width)
    if rows < tensor.shape[0]:
        return cut(tensor, 0, rows), True
    return tensor, False


def _shortened(text: str) -> str:
    text = printable(text)
    if len(text) <= _LONGEST:
        return text
    start = text[:_LONGEST]
    return f"{start[: max(start.rfind(', '), _LONGEST // 2)]}, …"


def outputs_json(
    opened: ModelRun, collected: Collected, top: int | None = None, labels: Sequence[str] | None = None
) -> str:
    """The document of `--json`, as text: values may be millions."""
    outputs = []
    for port, parts, shape in collected.values():
        head: dict[str, Any] = {"dtype": port.dtype.name, "shape": list(shape)}
        if port.kind != "dense":
            head = {"kind": port.kind, "dtype": port.dtype.name, "shape": list(port.shape or ())}
        if top is not None and has_classes(parts[0]):
            values = f'"top": [{", ".join(ranked_rows(port, parts[0], top, labels))}]'
        else:
            values = f'"values": {port_text(port, parts)}'
        name = json.dumps(port.name, ensure_ascii=False)
        outputs.append(f"    {name}: {json.dumps(head)[:-1]}, {values}}}")
    start = json.dumps(_head(opened), indent=2, ensure_ascii=False)
    if not outputs:
        return f'{start[:-2]},\n  "outputs": {{}}\n}}'
    return f'{start[:-2]},\n  "outputs": {{\n' + ",\n".join(outputs) + "\n  }\n}"


def _head(opened: ModelRun) -> dict[str, Any]:
    session = opened.session
    return {
        "schema": JSON_SCHEMA,
        "target": opened.model.name,
        **_endpoint_head(opened.endpoint),
        "runner": session.runner,
        "tensorflow_version": session.version,
        "load_seconds": round(session.load_seconds, 6),
    }


def _endpoint_head(endpoint: Endpoint) -> dict[str, Any]:
    head: dict[str, Any] = {endpoint.kind: endpoint.name}
    if endpoint.kind == "function":
        head["arguments"] = dict(endpoint.call)
    return head


def timing_text(timing: Timing) -> str:
    """The times for a person."""
    unit = "run" if timing.rows is None else "row"
    lines = [
        f"{plural(timing.runs, 'run')} after warm-up"
        + (f", {plural(timing.rows, 'row')} each" if timing.rows else ""),
        f"latency     p50 {_ms(timing.p50)}  p95 {_ms(timing.p95)}  p99 {_ms(timing.p99)}",
        f"throughput  {timing.rate:.1f} {unit}s/s",
        f"load        {_ms(timing.load_seconds)}",
        f"memory      {format_size(timing.peak_memory_bytes)} at most",
    ]
    return "\n".join(lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def timing_document(opened: ModelRun, timing: Timing) -> dict[str, Any]:
    """The times as a script sees them, in seconds and bytes."""
    head = _head(opened)
    head.pop("schema")
    return {
        **head,
        "repeat": {
            "runs": timing.runs,
            "rows": timing.rows,
            "p50_seconds": timing.p50,
            "p95_seconds": timing.p95,
            "p99_seconds": timing.p99,
            "mean_seconds": timing.mean,
            "rate": timing.rate,
            "peak_memory_bytes": timing.peak_memory_bytes,
        },
    }


def dry_run_text(opened: ModelRun, command: str) -> str:
    """What would be run: the endpoint, what each input gets, the whole command line."""
    lines = [f"Would run the {printable(opened.endpoint.title)}"]
    for port in opened.endpoint.inputs:
        given = opened.shapes.get(port.name)
        shape = plural(opened.checked_rows or 0, "row") if given is None else shape_text(given)
        lines.append(f"  {printable(str(port))} gets {shape}")
    return "\n".join([*lines, printable(command)])


def dry_run_document(opened: ModelRun, command: str) -> dict[str, Any]:
    """What would be run, for a script; if rows come one by one, `given` is null, and `rows` counts them."""
    rows = {} if opened.checked_rows is None else {"rows": opened.checked_rows}
    return {
        "target": opened.model.name,
        **_endpoint_head(opened.endpoint),
        "inputs": [
            {
                "name": port.name,
                "dtype": port.dtype.name,
                "shape": None if port.shape is None else list(port.shape),
                "given": list(opened.shapes[port.name]) if port.name in opened.shapes else None,
            }
            for port in opened.endpoint.inputs
        ],
        **rows,
        "command": command,
    }
