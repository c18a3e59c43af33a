"""`hubcli push`: options, run, and what it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from hubcli.cli.main import LazyImports, reduce_garbage_collection
from hubcli.cli.options import CaFile, CompletionHint, GlobalOptions, Timeout, argument, option, value_option
from hubcli.cli.output import Output, errors_document, printable
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, Interrupted, UsageError
from hubcli.units import format_elapsed, format_size

with LazyImports():
    from hubcli.cli.progress import listener_for
    from hubcli.commands.push import PushedModel, push, push_locked
    from hubcli.commands.tier import named_tier
    from hubcli.fetching.lock_file import LockFile
    from hubcli.fetching.model_ref import ModelRef, cached_model_refs
    from hubcli.providers.handle import Handle

__all__ = ["TierToWrite", "push_command"]

TierToWrite: TypeAlias = Annotated[
    str | None,
    value_option("ADDRESS", "Shared tier to use. \\[env: HUBCLI_TIERS]", "--tier"),
    CompletionHint(directories=True, words=("s3://", "gs://", "az://")),
]


def push_command(
    shared: GlobalOptions,
    targets: Annotated[
        list[str] | None,
        argument("[TARGET...]", "Handles, cache keys or paths of cached models; others are fetched."),
    ] = None,
    every: Annotated[bool, option("Push all cached models that came from a host.", "--all")] = False,
    lock: Annotated[
        str | None, value_option("FILE", "Push exactly what the lock file records.", "--lock")
    ] = None,
    tier: TierToWrite = None,
    force: Annotated[
        bool, option("Upload again, and replace other archives of the handle.", "--force")
    ] = False,
    cacert: CaFile = None,
    timeout: Timeout = None,
) -> None:
    """Push models to a shared tier.

    A cached model is verified and packed; one that is not cached is fetched, and its archive
    uploaded unchanged. What the tier has already is not uploaded again.

    Examples:
    hubcli push https://tfhub.dev/a/b/1 --tier s3://models/hub
    hubcli push --all --tier s3://models/hub
    hubcli push --lock models.lock --tier /mnt/models
    """
    reduce_garbage_collection()
    settings = shared.settings(
        tiers=[] if tier is None else [writable_address(tier)],
        ca_file=cacert,
        timeout=timeout,
    )
    if bool(targets) + every + (lock is not None) != 1:
        raise UsageError(
            "Nothing to push"
            if not targets and not every and lock is None
            else "TARGET, --all and --lock cannot be used together",
            hint="Specify one of: TARGET, --all, --lock FILE.",
        )
    run = PushRun(settings, shared.output(settings), force=force)
    raise typer.Exit(run.push_all(targets or (), lock))


def writable_address(address: str) -> str:
    """The address of a tier that is named to be written: it needs no mode."""
    _, separator, query = address.partition("?")
    return address if "mode=" in query else f"{address}{'&' if separator else '?'}mode=read-write"


def _has_host(name: str) -> bool:
    """Whether the name of a cached model is the handle of a host, which other machines can reach."""
    return "://" in name and Handle.parse(name).is_remote


class PushRun:
    """Pushes one model after the other and reports each."""

    def __init__(self, settings: Settings, output: Output, *, force: bool) -> None:
        self.settings = settings
        self.output = output
        self.force = force
        self.pushed: list[PushedModel] = []
        self.errors: list[tuple[str, HubcliError]] = []

    def push_all(self, targets: Sequence[str], lock: str | None) -> int:
        """Exit status of the first failure, or 0. Raises Interrupted with what was done before."""
        try:
            jobs = self._jobs(targets, lock)
            if not jobs:
                self.output.note("Nothing to push")
            for name, job in jobs:
                self._push_one(name, job)
        except KeyboardInterrupt as interrupt:
            raise Interrupted("Interrupted", partial=self._document()) from interrupt
        if self.output.as_json:
            self.output.document(self._document())
        return int(self.errors[0][1].exit_status) if self.errors else 0

    def _jobs(
        self, targets: Sequence[str], lock: str | None
    ) -> Sequence[tuple[str, Callable[..., PushedModel]]]:
        # One object for all handles: what the store supports is probed once.
        tier = named_tier(self.settings, for_writing=True)
        if lock is not None:
            locked = LockFile.read(Path(lock)).models.values()
            return [(model.handle, partial(push_locked, model, tier, self.settings)) for model in locked]
        refs: Sequence[ModelRef | str] = targets
        if not targets:
            refs = [ref for ref in cached_model_refs(self.settings).targets if _has_host(ref.name)]
        return [
            (
                ref if isinstance(ref, str) else ref.name,
                partial(push, ref, tier, self.settings, force=self.force),
            )
            for ref in refs
        ]

    def _push_one(self, name: str, job: Callable[..., PushedModel]) -> None:
        try:
            with listener_for(self.output, name=name) as listener:
                pushed = job(listener=listener)
        except HubcliError as error:
            self.errors.append((name, error))
            self.output.error(error, name)
            return
        self.pushed.append(pushed)
        if self.output.quiet:
            self.output.payload(printable(pushed.handle))
        elif not self.output.as_json:
            size = format_size(pushed.archive_bytes)
            what = "Already in" if pushed.was_there else "Pushed to"
            time = "" if pushed.was_there else f" in {format_elapsed(pushed.seconds)}"
            self.output.payload(f"{what} {pushed.tier}: {printable(pushed.handle)} ({size}{time})")

    def _document(self) -> dict[str, Any]:
        models = [{**pushed._asdict(), "seconds": round(pushed.seconds, 3)} for pushed in self.pushed]
        return {"models": models, **errors_document(self.errors)}
