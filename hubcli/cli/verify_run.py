"""A run of `hubcli verify` over its targets: checks all it can, reports each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from hubcli.cli.output import Output, errors_document
from hubcli.cli.progress import listener_for
from hubcli.cli.views.verify import fault_lines, verdict_line, verification_document, verification_total
from hubcli.commands.verify import Verification, VerifyOptions, verify
from hubcli.config.settings import Settings
from hubcli.errors import ExitStatus, HubcliError, Interrupted, NotFoundError
from hubcli.fetching.model_ref import ModelRef

__all__ = ["VerifyRun"]


_PATIENCE_S = 0.5


class VerifyRun:
    """Checks one target after the other and reports each."""

    def __init__(self, settings: Settings, options: VerifyOptions, output: Output, debug: bool) -> None:
        self.settings = settings
        self.options = options
        self.output = output
        self.debug = debug
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
        if not self.options.repair and any(one.handle and not one.is_whole for one in self.found):
            self.output.say("Hint: To fetch what is broken again: hubcli verify --repair")
        return int(self.status)

    def _whole_cache(self) -> tuple[ModelRef, ...]:
        from hubcli.fetching.model_ref import cached_model_refs  # Not needed where targets are named.

        cached = cached_model_refs(self.settings)
        self.skipped = cached.downloading
        for name in cached.downloading:
            self.output.note(f"{name} is being downloaded: left out")
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
                self.output.note(error.message)  # Nobody asked for this one.
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
        if self.debug:
            self.output.trace(error)
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
