"""`hubcli pin` and `hubcli unpin`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import typer

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import GlobalOptions, NoSync, Targets
from hubcli.cli.output import Output, errors_document, printable
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError

with LazyImports():
    from hubcli.commands.pin import Pinning, pin, unpin

__all__ = ["pin_command", "unpin_command"]


def pin_command(shared: GlobalOptions, targets: Targets, no_sync: NoSync = False) -> None:
    """Protect models from gc.

    To remove a pinned model, use hubcli rm --force, or unpin it first.

    Examples:
    hubcli pin example://mul/1
    hubcli pin '*elmo*'
    """
    disable_garbage_collection()
    settings = shared.settings(no_sync=no_sync)
    output = shared.output(settings)
    raise typer.Exit(PinRun(pin, settings, output).run(targets))


def unpin_command(shared: GlobalOptions, targets: Targets, no_sync: NoSync = False) -> None:
    """Remove the protection of pinned models.

    Examples:
    hubcli unpin example://mul/1
    hubcli unpin '*bert*'
    """
    disable_garbage_collection()
    settings = shared.settings(no_sync=no_sync)
    output = shared.output(settings)
    raise typer.Exit(PinRun(unpin, settings, output).run(targets))


# By whether it was pinned, and whether it is.
_WORDS = {
    (False, True): "Pinned",
    (True, True): "Already pinned:",
    (True, False): "Unpinned",
    (False, False): "Not pinned:",
}


class PinRun:
    """Pins or unpins one target after the other and reports each."""

    def __init__(
        self,
        verb: Callable[[str, Settings], list[Pinning]],
        settings: Settings,
        output: Output,
    ) -> None:
        self.verb = verb
        self.settings = settings
        self.output = output
        self.pinnings: list[Pinning] = []
        self.errors: list[tuple[str, HubcliError]] = []

    def run(self, targets: Sequence[str]) -> int:
        """Exit status of the first failure, or 0."""
        for target in targets:
            self._run_one(target)
        if self.output.as_json:
            models = [_pinning_document(pinning) for pinning in self.pinnings]
            self.output.document({"models": models, **errors_document(self.errors)})
        return int(self.errors[0][1].exit_status) if self.errors else 0

    def _run_one(self, target: str) -> None:
        try:
            pinnings = self.verb(target, self.settings)
        except HubcliError as error:
            self.errors.append((target, error))
            self.output.error(error)
            return
        for pinning in pinnings:
            self._show(pinning)

    def _show(self, pinning: Pinning) -> None:
        self.pinnings.append(pinning)
        name = printable(pinning.name)
        if self.output.quiet:
            self.output.payload(name)
        elif not self.output.as_json:
            self.output.payload(f"{_WORDS[pinning.was_pinned, pinning.is_pinned]} {name}")


def _pinning_document(pinning: Pinning) -> dict[str, Any]:
    return {
        "handle": pinning.handle,
        "path": str(pinning.path),
        "pinned": pinning.is_pinned,
        "was_pinned": pinning.was_pinned,
    }
