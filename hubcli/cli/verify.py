"""`hubcli verify`, and how verdicts are shown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import BucketFlags, GlobalOptions, NoSync, argument, option
from hubcli.cli.output import Output, errors_document, printable
from hubcli.config.settings import Settings
from hubcli.errors import ExitStatus, HubcliError, Interrupted, NotFoundError
from hubcli.units import format_elapsed, format_size, plural

with LazyImports():
    from hubcli.cli.progress import listener_for
    from hubcli.commands.verify import Verification, VerifyOptions, verify
    from hubcli.fetching.model_ref import ModelRef, cached_model_refs

if TYPE_CHECKING:
    from hubcli.issues import Issue

__all__ = ["fault_lines", "verdict_line", "verification_document", "verification_total", "verify_command"]

_PATIENCE_S = 0.5


def verify_command(
    shared: GlobalOptions,
    bucket_flags: BucketFlags,
    targets: Annotated[
        list[str] | None,
        argument("[TARGET...]", "Handles, directories or archives; default: the whole cache."),
    ] = None,
    repair: Annotated[bool, option("Fetch corrupt models again.", "--repair")] = False,
    quick: Annotated[
        bool, option("Skip the graph, and SHA-256 of shards; check tensor checksums only.", "--quick")
    ] = False,
    no_sync: NoSync = False,
) -> None:
    """Check models against their checksums.

    Files are compared with the record of the download, tensors with the checksums in the model.
    Exits with 9 if something is corrupt or missing.

    Examples:
    hubcli verify
    hubcli verify example://mul/1 --quick
    hubcli verify --repair
    hubcli verify ./model.tar.gz --json
    """
    disable_garbage_collection()
    settings = shared.settings(no_sync=no_sync, **bucket_flags.keywords())
    output = shared.output(settings)
    raise typer.Exit(VerifyRun(settings, VerifyOptions(quick, repair), output).verify_all(targets or ()))


class VerifyRun:
    """Checks one target after the other and reports each."""

    def __init__(self, settings: Settings, options: VerifyOptions, output: Output) -> None:
        self.settings = settings
        self.options = options
        self.output = output
        self.found: list[Verification] = []
        self.errors: list[tuple[str, HubcliError]] = []
        self.skipped: tuple[str, ...] = ()
        self.status = ExitStatus.DONE
        self.started_at = time.monotonic()

    def verify_all(self, targets: Sequence[str]) -> int:
        """Exit status of the first failure, or 0. Raises Interrupted with what was found before."""
        try:
            for target in targets or self._whole_cache():
                self._verify_one(target)
        except KeyboardInterrupt as interrupt:
            raise Interrupted("Interrupted", partial=self._document()) from interrupt
        if self.output.as_json:
            self.output.document(self._document())
        elif not self.output.quiet and self.found:
            seconds = time.monotonic() - self.started_at
            self.output.payload(verification_total(self.found, seconds))
        if not self.options.repair and any(
            verification.handle and not verification.is_whole for verification in self.found
        ):
            self.output.say("Hint: Run: hubcli verify --repair")
        return int(self.status)

    def _whole_cache(self) -> tuple[ModelRef, ...]:
        cached = cached_model_refs(self.settings)
        self.skipped = cached.downloading
        for name in cached.downloading:
            self.output.note(f"Skipped {name}: it is being downloaded")
        if not cached.targets:
            self.output.note(f"The cache is empty: {self.settings.cache_root}")
        return cached.targets

    def _verify_one(self, target: ModelRef | str) -> None:
        name = target.name if isinstance(target, ModelRef) else target
        try:
            with listener_for(self.output, patience_s=_PATIENCE_S) as listener:
                found = verify(target, self.settings, self.options, listener)
        except HubcliError as error:
            if isinstance(target, ModelRef) and isinstance(error, NotFoundError):
                self.output.note(error.message)  # It was not named on the command line.
                self.skipped = (*self.skipped, name)
            else:
                self._fail(name, error)
            return
        self.found.append(found)
        self._show(found)
        if found.error is not None:
            self._fail(name, found.error)
        elif not found.is_whole:
            self.status = self.status or ExitStatus.FOUND

    def _fail(self, name: str, error: HubcliError) -> None:
        self.errors.append((name, error))
        self.status = self.status or error.exit_status
        self.output.error(error)

    def _show(self, found: Verification) -> None:
        for note in found.notes:
            self.output.note(f"{found.name}: {note}")
        if self.output.as_json:
            return
        if not self.output.quiet:
            self.output.payload("\n".join((verdict_line(found, self.output), *fault_lines(found))))
        elif not found.is_whole:
            self.output.payload(found.name)

    def _document(self) -> dict[str, Any]:
        return {
            "models": [verification_document(found) for found in self.found],
            "broken": sum(not found.is_whole for found in self.found),
            "bytes": sum(found.size_bytes for found in self.found),
            "skipped": list(self.skipped),
            **errors_document(self.errors),
        }


_MAX_FAULTS = 20
_COLORS = {"ok": "32", "corrupt": "31", "repaired": "33"}
_VERDICT_WIDTH = max(map(len, _COLORS))


def verdict_line(found: Verification, output: Output) -> str:
    """`ok`, `corrupt` or `repaired`, the model, and how much was checked."""
    verdict = "repaired" if found.was_repaired else "corrupt" if found.faults else "ok"
    padded = verdict.ljust(_VERDICT_WIDTH)
    if output.has_color:
        padded = f"\x1b[{_COLORS[verdict]}m{padded}\x1b[0m"
    counts = f"{plural(found.file_count, 'file')}, {plural(found.tensor_count, 'tensor')}"
    return f"{padded}  {printable(found.name)}  {counts}, {format_size(found.size_bytes)}"


def fault_lines(found: Verification) -> list[str]:
    """A line for each fault, indented below the model; the first twenty."""
    lines = [f"  {printable(str(fault))}" for fault in found.faults[:_MAX_FAULTS]]
    if len(found.faults) > _MAX_FAULTS:
        lines.append(f"  and {len(found.faults) - _MAX_FAULTS} more: see --json")
    return lines


def verification_total(found: Sequence[Verification], seconds: float) -> str:
    """One line about all of them."""
    corrupt = sum(not verification.is_whole for verification in found)
    repaired = sum(verification.was_repaired for verification in found)
    verdicts = [f"{corrupt} corrupt" if corrupt else "none corrupt"] + (
        [f"{repaired} repaired"] if repaired else []
    )
    size = format_size(sum(verification.size_bytes for verification in found))
    return f"{plural(len(found), 'model')}, {size}, {format_elapsed(seconds)}: {', '.join(verdicts)}"


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
