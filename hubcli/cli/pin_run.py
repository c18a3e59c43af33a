"""A run of `hubcli pin` or `hubcli unpin` over its targets: does all it can, reports each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hubcli.cli.output import Output, errors_document, printable
from hubcli.commands.pin import Pinning
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError

__all__ = ["PinRun"]

# By whether it was pinned, and whether it is.
_WORDS = {
    (False, True): "Pinned",
    (True, True): "Pinned already:",
    (True, False): "Unpinned",
    (False, False): "Not pinned anyway:",
}


class PinRun:
    """Pins or unpins one target after the other and reports each."""

    def __init__(
        self,
        verb: Callable[[str, Settings], list[Pinning]],
        settings: Settings,
        output: Output,
        debug: bool,
    ) -> None:
        self.verb = verb
        self.settings = settings
        self.output = output
        self.debug = debug
        self.done: list[Pinning] = []
        self.errors: list[tuple[str, HubcliError]] = []

    def run(self, targets: Sequence[str]) -> int:
        """Exit status of the first failure, or 0."""
        for target in targets:
            self._run_one(target)
        if self.output.as_json:
            self.output.document(self._document())
        return int(self.errors[0][1].exit_status) if self.errors else 0

    def _run_one(self, target: str) -> None:
        try:
            pinnings = self.verb(target, self.settings)
        except HubcliError as error:
            self._fail(target, error)
            return
        for one in pinnings:
            self._show(one)

    def _fail(self, target: str, error: HubcliError) -> None:
        if self.debug:
            self.output.trace(error)
        self.errors.append((target, error))
        self.output.error(error)

    def _show(self, one: Pinning) -> None:
        self.done.append(one)
        name = printable(one.name)
        if self.output.quiet:
            self.output.payload(name)
        elif not self.output.as_json:
            self.output.payload(f"{_WORDS[one.was_pinned, one.is_pinned]} {name}")

    def _document(self) -> dict[str, Any]:
        models = [_pinning_document(one) for one in self.done]
        return {"models": models, **errors_document(self.errors)}


def _pinning_document(one: Pinning) -> dict[str, Any]:
    return {
        "handle": one.handle,
        "path": str(one.path),
        "pinned": one.is_pinned,
        "was_pinned": one.was_pinned,
    }
