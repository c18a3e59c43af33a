"""How a verification is shown: as JSON with stable keys, as lines for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hubcli.cli.output import Output, printable
from hubcli.units import format_size, plural

if TYPE_CHECKING:
    from hubcli.commands.verify import Verification
    from hubcli.issues import Issue

__all__ = ["fault_lines", "verdict_line", "verification_document", "verification_total"]

_MAX_FAULTS = 20
_COLORS = {"ok": "32", "broken": "31", "repaired": "33"}
_VERDICT_WIDTH = max(map(len, _COLORS))


def verdict_line(found: Verification, output: Output) -> str:
    """`ok`, `broken` or `repaired`, the model, and how much was checked."""
    verdict = "repaired" if found.was_repaired else "broken" if found.faults else "ok"
    padded = verdict.ljust(_VERDICT_WIDTH)
    if output.has_color:
        padded = f"\x1b[{_COLORS[verdict]}m{padded}\x1b[0m"
    counts = f"{plural(found.file_count, 'file')}, {plural(found.tensor_count, 'tensor')}"
    return f"{padded}  {printable(found.name)}  {counts}, {format_size(found.size_bytes)}"


def fault_lines(found: Verification) -> list[str]:
    """A line for each fault, indented below the model; the first twenty."""
    lines = [f"  {printable(str(fault))}" for fault in found.faults[:_MAX_FAULTS]]
    if len(found.faults) > _MAX_FAULTS:
        lines.append(f"  and {len(found.faults) - _MAX_FAULTS} more: --json tells them all")
    return lines


def verification_total(found: Sequence[Verification], seconds: float) -> str:
    """One line about all of them."""
    broken = sum(not verification.is_whole for verification in found)
    repaired = sum(verification.was_repaired for verification in found)
    verdicts = [f"{broken} broken" if broken else "none broken"] + (
        [f"{repaired} repaired"] if repaired else []
    )
    size = format_size(sum(verification.size_bytes for verification in found))
    return f"{plural(len(found), 'model')}, {size}, {seconds:.1f} s: {', '.join(verdicts)}"


def verification_document(found: Verification) -> dict[str, Any]:
    """One model of `hubcli verify --json`."""
    return {
        "target": found.name,
        "handle": found.handle,
        "path": str(found.path),
        "ok": found.is_whole,
        "faults": [_fault_document(fault) for fault in found.faults],
        "files": found.file_count,
        "tensors": found.tensor_count,
        "bytes": found.size_bytes,
        "seconds": round(found.seconds, 3),
        "repaired": found.was_repaired,
        "notes": list(found.notes),
    }


def _fault_document(fault: Issue) -> dict[str, Any]:
    return {
        "code": fault.code,
        "message": fault.message,
        "file": fault.file,
        "tensor": fault.tensor,
        "start": fault.start,
        "end": fault.end,
    }
