"""`hubcli pin` and `hubcli unpin`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import typer

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import (
    AsJson,
    CacheDir,
    Color,
    Debug,
    NoColor,
    NoProgress,
    NoSync,
    Offline,
    Quiet,
    Targets,
)
from hubcli.cli.output import Output, errors_document, printable
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError

with LazyImports():
    from hubcli.commands.pin import Pinning, pin, unpin

__all__ = ["pin_command", "unpin_command"]


def pin_command(
    targets: Targets,
    no_sync: NoSync = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    offline: Offline = False,
    cache_dir: CacheDir = None,
    color: Color = None,
    no_color: NoColor = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Protect models from gc.

    To remove a pinned model, use hubcli rm --force, or unpin it first.

    Examples:
    hubcli pin example://mul/1
    hubcli pin '*elmo*'
    """
    disable_garbage_collection()
    settings = Settings.read(
        cache_dir=cache_dir,
        offline=offline,
        color=color,
        no_color=no_color,
        no_progress=no_progress,
        no_sync=no_sync,
    )
    output = Output.of(settings, as_json=as_json, quiet=quiet)
    raise typer.Exit(PinRun(pin, settings, output, debug).run(targets))


def unpin_command(
    targets: Targets,
    no_sync: NoSync = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    offline: Offline = False,
    cache_dir: CacheDir = None,
    color: Color = None,
    no_color: NoColor = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Remove the protection of pinned models.

    Examples:
    hubcli unpin example://mul/1
    hubcli unpin '*bert*'
    """
    disable_garbage_collection()
    settings = Settings.read(
        cache_dir=cache_dir,
        offline=offline,
        color=color,
        no_color=no_color,
        no_progress=no_progress,
        no_sync=no_sync,
    )
    output = Output.of(settings, as_json=as_json, quiet=quiet)
    raise typer.Exit(PinRun(unpin, settings, output, debug).run(targets))


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
        debug: bool,
    ) -> None:
        self.verb = verb
        self.settings = settings
        self.output = output
        self.debug = debug
        self.pinnings: list[Pinning] = []
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
        for pinning in pinnings:
            self._show(pinning)

    def _fail(self, target: str, error: HubcliError) -> None:
        if self.debug:
            self.output.trace(error)
        self.errors.append((target, error))
        self.output.error(error)

    def _show(self, pinning: Pinning) -> None:
        self.pinnings.append(pinning)
        name = printable(pinning.name)
        if self.output.quiet:
            self.output.payload(name)
        elif not self.output.as_json:
            self.output.payload(f"{_WORDS[pinning.was_pinned, pinning.is_pinned]} {name}")

    def _document(self) -> dict[str, Any]:
        models = [_pinning_document(pinning) for pinning in self.pinnings]
        return {"models": models, **errors_document(self.errors)}


def _pinning_document(pinning: Pinning) -> dict[str, Any]:
    return {
        "handle": pinning.handle,
        "path": str(pinning.path),
        "pinned": pinning.is_pinned,
        "was_pinned": pinning.was_pinned,
    }
