"""`hubcli fetch`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from hubcli.archive import Limits
from hubcli.cli.main import LazyImports, reduce_garbage_collection
from hubcli.cli.options import (
    ARCHIVE_LIMITS,
    BUILT_IN,
    BucketFlags,
    CaFile,
    CompletionHint,
    GlobalOptions,
    MinRate,
    Mirrors,
    NoSync,
    Timeout,
    argument,
    option,
    value_option,
)
from hubcli.cli.output import Output, errors_document
from hubcli.config.settings import DEFAULT_CONNECTIONS, DEFAULT_JOBS, DEFAULT_RETRIES, AutoGcRules, Settings
from hubcli.errors import HubcliError, Interrupted, UsageError
from hubcli.units import format_size, parse_duration_s, parse_size_bytes

with LazyImports():
    from shlex import quote

    from hubcli.cli.progress import MultiProgress, multi_progress_for
    from hubcli.cli.views.fetch import fetch_document, fetch_summary, show_dry_run
    from hubcli.cli.views.gc import upkeep_notes
    from hubcli.commands.fetch import FetchOptions, FetchResult, fetch
    from hubcli.commands.gc import AutoGc
    from hubcli.concurrency import CancellationToken, run_concurrently
    from hubcli.fetching.cached import PartialDownload, link_spellings, resume_notes
    from hubcli.fetching.lock_file import LockedModel, LockFile
    from hubcli.fetching.options import FetchRequest, RequestList, models_of
    from hubcli.fetching.peek import DryRun, dry_run
    from hubcli.providers.handle import Handle
    from hubcli.tiers.tier import open_tiers

__all__ = ["fetch_command"]

_DEFAULTS = Limits()
_MAX_UNPACKED = format_size(_DEFAULTS.unpacked_bytes).replace(".0 ", "")
_MAX_HEADERS = format_size(_DEFAULTS.header_bytes).replace(".0 ", "")

Handles: TypeAlias = Annotated[
    list[str] | None,
    argument("[HANDLE...]", "Handles to fetch."),
    CompletionHint(handles=True, files=True, words=(BUILT_IN,)),
]
Lists: TypeAlias = Annotated[
    list[str] | None,
    value_option(
        "FILE|-", "Fetch the handles listed in FILE, one per line. Repeatable.", "--requirement", "-r"
    ),
]
Jobs: TypeAlias = Annotated[
    int | None, value_option("N", f"Models to fetch in parallel. \\[default: {DEFAULT_JOBS}]", min=1, max=32)
]
LockOption: TypeAlias = Annotated[str | None, value_option("FILE", "Write a lock file.", "--lock")]
Locked: TypeAlias = Annotated[
    bool, option("Fetch exactly what the lock file records (--lock FILE or -r FILE).", "--locked")
]
FetchDryRun: TypeAlias = Annotated[
    bool, option("Show what would be fetched, with sizes, without fetching.", "--dry-run")
]
Local: TypeAlias = Annotated[
    str | None, value_option("FILE|DIR|-", "Import a local archive or directory as HANDLE.", "--from")
]
Sha256: TypeAlias = Annotated[str | None, value_option("HEX", "Expected SHA-256 of the archive.")]
Force: TypeAlias = Annotated[bool, option("Fetch again and replace the cached model.", "--force")]
Pin: TypeAlias = Annotated[bool, option("Protect the model from gc.", "--pin")]
Refresh: TypeAlias = Annotated[bool, option("Check for a newer version.", "--refresh")]
KaggleHubLink: TypeAlias = Annotated[
    bool, option("Make models from Kaggle available to kagglehub.", "--kagglehub")
]
Connections: TypeAlias = Annotated[
    int | None,
    value_option(
        "N", f"Parallel connections for a large archive. \\[default: {DEFAULT_CONNECTIONS}]", min=1, max=64
    ),
]
RetriesOption: TypeAlias = Annotated[
    int | None,
    value_option("N", f"Retries after a transient error. \\[default: {DEFAULT_RETRIES}]", "--retries", min=0),
]
Tiers: TypeAlias = Annotated[
    list[str] | None,
    value_option(
        "ADDRESS", "Shared tier to ask before the origin. Repeatable. \\[env: HUBCLI_TIERS]", "--tier"
    ),
    CompletionHint(directories=True, words=("s3://", "gs://", "az://", "https://")),
]
RequireTier: TypeAlias = Annotated[
    bool, option("Fail if a shared tier fails, instead of skipping it.", "--require-tier")
]
LockTimeout: TypeAlias = Annotated[
    str | None,
    value_option(
        "TIME", "Fail after waiting this long for another process without progress. \\[default: 10m]"
    ),
]


_limit = partial(option, panel=ARCHIVE_LIMITS)
MaxUnpacked: TypeAlias = Annotated[str, _limit("Total size of all files.", metavar="SIZE")]
MaxMembers: TypeAlias = Annotated[int, _limit("Number of files and directories.", metavar="N", min=1)]
MaxPathLength: TypeAlias = Annotated[int, _limit("Length of a path in bytes.", metavar="N", min=1)]
MaxDepth: TypeAlias = Annotated[int, _limit("Depth of directories.", metavar="N", min=1)]
MaxHeaders: TypeAlias = Annotated[str, _limit("Total size of extension headers.", metavar="SIZE")]


def fetch_command(
    shared: GlobalOptions,
    bucket_flags: BucketFlags,
    handles: Handles = None,
    lists: Lists = None,
    jobs: Jobs = None,
    lock: LockOption = None,
    locked: Locked = False,
    dry_run_: FetchDryRun = False,
    local: Local = None,
    sha256: Sha256 = None,
    force: Force = False,
    refresh: Refresh = False,
    pin: Pin = False,
    kagglehub: KaggleHubLink = False,
    mirror: Mirrors = None,
    tier: Tiers = None,
    require_tier: RequireTier = False,
    cacert: CaFile = None,
    connections: Connections = None,
    retries: RetriesOption = None,
    timeout: Timeout = None,
    min_rate: MinRate = None,
    lock_timeout: LockTimeout = None,
    max_unpacked: MaxUnpacked = _MAX_UNPACKED,
    max_members: MaxMembers = _DEFAULTS.members,
    max_path_length: MaxPathLength = _DEFAULTS.path_bytes,
    max_depth: MaxDepth = _DEFAULTS.path_depth,
    max_headers: MaxHeaders = _MAX_HEADERS,
    no_sync: NoSync = False,
) -> None:
    """Fetch models into the cache and print their paths.

    A HANDLE is a tfhub.dev, Kaggle or any other https:// address of a SavedModel, one in a bucket
    (s3://, gs://, az://), a local archive, or example://mul/1, which is built in.

    Examples:
    hubcli fetch example://mul/1
    hubcli fetch https://tfhub.dev/spotify/basic-pitch/1 --pin
    hubcli fetch -r models.txt --lock models.lock --jobs 4
    hubcli fetch --locked -r models.lock --offline
    hubcli fetch https://tfhub.dev/a/b/1 --from ./b-1.tar.gz
    """
    reduce_garbage_collection()
    settings = shared.settings(
        mirrors=mirror or (),
        tiers=tier or (),
        require_tier=require_tier,
        ca_file=cacert,
        timeout=timeout,
        lock_timeout_s=None if lock_timeout is None else parse_duration_s(lock_timeout),
        connections=connections,
        retries=retries,
        jobs=jobs,
        min_rate=min_rate,
        no_sync=no_sync,
        **bucket_flags.keywords(),
    )
    limits = Limits(
        parse_size_bytes(max_unpacked), max_members, max_path_length, max_depth, parse_size_bytes(max_headers)
    )
    options = FetchOptions(
        local=local,
        sha256=sha256.lower() if sha256 else None,
        force=force,
        pin=pin,
        refresh=refresh,
        kagglehub=kagglehub,
        limits=limits,
        connections=settings.connections,
        retries=settings.retries,
    )
    handles, lists = handles or [], lists or []
    _require_fitting(handles, lists, options, locked=lock or "FILE" if locked else None)
    output = shared.output(settings)
    requests = RequestList.of(handles, lists, options.sha256)
    models, lock_file = models_of(requests, lock, locked=locked)
    run = FetchRun(settings, options, output, jobs=settings.jobs, lock=lock_file)
    raise typer.Exit(run.plan_all(models) if dry_run_ else run.fetch_all(models))


def _require_fitting(
    handles: Sequence[str], lists: Sequence[str], options: FetchOptions, *, locked: str | None
) -> None:
    """Raises UsageError if there is nothing to fetch, or more than the options are for."""
    if not handles and not lists:
        hint = "Specify a HANDLE, or a list with -r FILE."
        if locked:
            hint = f"To fetch all that a lock file records: hubcli fetch --locked -r {locked}"
        raise UsageError("Nothing to fetch", hint=hint)
    if (len(handles) > 1 or lists) and (options.local or options.sha256):
        raise UsageError(
            f"{'--from' if options.local else '--sha256'} takes exactly one handle",
            hint="Run hubcli fetch once per handle.",
        )


class FetchRun:
    """Fetches the models, several in parallel, and reports each in the order given.

    What was fetched is written into the `lock` file.
    """

    def __init__(
        self,
        settings: Settings,
        options: FetchOptions,
        output: Output,
        *,
        jobs: int = 1,
        lock: LockFile | None = None,
    ) -> None:
        self.settings = settings
        self.options = options
        self.output = output
        self.jobs = jobs
        self.lock = lock
        self._locked: dict[str, LockedModel] = {}
        self._lock_error: list[tuple[str, HubcliError]] = []
        self._stop = CancellationToken()
        self._models: Sequence[FetchRequest] = ()
        # The results by the model's place in the order, and how many have been reported.
        self._outcomes: dict[int, FetchResult | HubcliError] = {}
        self._reported = 0
        self._running: dict[int, Handle] = {}  # Each that was begun, by its place.
        self._published: dict[int, FetchResult] = {}  # By the threads, which end in any order.

    @property
    def results(self) -> list[FetchResult]:
        """What was fetched or found, in the order given."""
        return [outcome for _, outcome in sorted(self._outcomes.items()) if isinstance(outcome, FetchResult)]

    @property
    def errors(self) -> list[tuple[str, HubcliError]]:
        """What failed, in the order given, as it was typed."""
        found = sorted(self._outcomes.items())
        failed = [
            (self._models[place].text, outcome)
            for place, outcome in found
            if isinstance(outcome, HubcliError)
        ]
        return failed + self._lock_error

    def fetch_all(self, models: Sequence[FetchRequest]) -> int:
        """Exit status of the first failure, or 0. Raises Interrupted with what was done before."""
        self._models = models
        rules = AutoGcRules.read()
        auto_gc = None if rules is None else AutoGc.of(rules)
        try:
            with multi_progress_for(self.output, len(models)) as progress:
                self._fetch_on(progress)
        except KeyboardInterrupt as interrupt:
            message, hint = self._cut_off()
            raise Interrupted(message, hint=hint, partial=self._document()) from interrupt
        if auto_gc is not None and self.results:
            self._collect(auto_gc)
        if self.lock is not None and self._locked:
            self._write_lock(self.lock)
        if self.output.as_json:
            self.output.document(self._document())
        self._tell_tensorflow_hub()
        return int(self.errors[0][1].exit_status) if self.errors else 0

    def plan_all(self, models: Sequence[FetchRequest]) -> int:
        """Shows what would be fetched, without fetching; exit status of the first failure, or 0."""
        found: dict[int, DryRun | HubcliError] = {}
        with multi_progress_for(self.output, len(models)) as progress:
            jobs = [partial(self._plan, model, progress) for model in models]
            with closing(run_concurrently(jobs, self.jobs, self._stop)) as arriving:
                for place, planned in arriving:
                    found[place] = planned
                    progress.reported(failed=isinstance(planned, HubcliError))
        ordered = [(models[place], found[place]) for place in sorted(found)]
        errors = [(model, error) for model, error in ordered if isinstance(error, HubcliError)]
        for model, error in errors:
            self._report_error(model, error, len(models))
        plans = [plan for _, plan in ordered if isinstance(plan, DryRun)]
        show_dry_run(plans, [(model.text, error) for model, error in errors], self.output)
        return int(errors[0][1].exit_status) if errors else 0

    def _plan(self, model: FetchRequest, progress: MultiProgress) -> DryRun | HubcliError:
        def look(handle: Handle, options: FetchOptions) -> DryRun:
            with progress.listener(model.name) as listener:
                tiers = open_tiers(self.settings, listener) if self.settings.tiers else ()
                return dry_run(handle, self.settings, options, listener, tiers)

        return model.attempt(self.options, look)

    def _cut_off(self) -> tuple[str, str]:
        """Message and hint about the models that were being fetched: what is kept, and what resumes."""
        running = [self._running[place] for place in sorted(self._running) if place not in self._outcomes]
        not_begun = len(self._models) - len(running) - len(self._outcomes)
        return resume_notes(
            [PartialDownload.of(handle, self.settings.cache_root) for handle in running], not_begun
        )

    def _fetch_on(self, progress: MultiProgress) -> None:
        jobs = [partial(self._fetch_one, place, progress) for place in range(len(self._models))]
        try:
            with closing(run_concurrently(jobs, self.jobs, self._stop)) as arriving:
                for place, outcome in arriving:
                    self._outcomes[place] = outcome
                    progress.reported(failed=isinstance(outcome, HubcliError))
                    self._report_what_is_next(progress)
        except KeyboardInterrupt:
            # The threads have ended: what they finished in the meantime is published, too.
            self._outcomes = {**self._published, **self._outcomes}
            for place in sorted(self._outcomes):
                if place >= self._reported:
                    self._report(place, progress)
            raise

    def _fetch_one(self, place: int, progress: MultiProgress) -> FetchResult | HubcliError:
        """Fetches a model, on a thread of its own; prints only by the listener."""
        model = self._models[place]

        def do(handle: Handle, options: FetchOptions) -> FetchResult:
            self._running[place] = handle
            with progress.listener(model.name) as listener:
                result = fetch(handle, self.settings, options, listener, self._stop)
                if self.lock is not None:
                    locked = LockedModel.of(handle, result, self.settings, listener)
                    self._locked[locked.handle] = locked
                link_spellings(model.spellings, self.settings, result.path.name)
                self._published[place] = result
                return result

        return model.attempt(self.options, do)

    def _report_what_is_next(self, progress: MultiProgress) -> None:
        while self._reported in self._outcomes:
            self._report(self._reported, progress)
            self._reported += 1

    def _report(self, place: int, progress: MultiProgress) -> None:
        outcome = self._outcomes[place]
        with progress.paused():
            if isinstance(outcome, HubcliError):
                self._report_error(self._models[place], outcome, len(self._models))
                return
            self.output.say(fetch_summary(outcome))
            if not self.output.as_json:
                self.output.payload(str(outcome.path))

    def _report_error(self, model: FetchRequest, error: HubcliError, models: int) -> None:
        self.output.error(error, "" if models == 1 else model.name)

    def _write_lock(self, lock: LockFile) -> None:
        try:
            changed = LockFile.update(Path(lock.name), self._locked.values(), self.settings.durability)
            for model in changed:
                self.output.note(f"{lock.name}: the archive of {model.handle} changed")
        except HubcliError as error:
            self._lock_error.append((lock.name, error))
            self.output.error(error)

    def _collect(self, auto_gc: AutoGc) -> None:
        """Collects by the user's rules, nothing of what was just fetched; a failure is a note."""
        try:
            collection = auto_gc.collect(self.settings, {result.path.name for result in self.results})
        except HubcliError as error:
            self.output.note(f"Automatic gc by {auto_gc.source} failed: {error.message}")
            return
        except KeyboardInterrupt as interrupt:
            raise Interrupted("Interrupted", partial=self._document()) from interrupt
        for note in () if collection is None else upkeep_notes(collection, auto_gc.source):
            self.output.note(note)

    def _document(self) -> dict[str, Any]:
        return {"models": [fetch_document(result) for result in self.results], **errors_document(self.errors)}

    def _tell_tensorflow_hub(self) -> None:
        fetched = any(not result.was_cached for result in self.results)
        if fetched and self.settings.root_is_unknown_to_tensorflow_hub:
            root = quote(str(self.settings.cache_root))
            self.output.note(f"To let hub.load find these models: export TFHUB_CACHE_DIR={root}")
