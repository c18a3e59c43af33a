"""A run of `hubcli fetch` over its models: all it can, several at a time, each reported in its turn."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from hubcli.cli.multi_progress import MultiProgress, multi_progress_for
from hubcli.cli.output import Output, errors_document
from hubcli.cli.views.models import fetch_document, fetch_summary
from hubcli.commands.auto_gc import AutoGc
from hubcli.commands.fetch import FetchOptions, FetchResult, fetch
from hubcli.concurrency import CancellationToken, run_concurrently
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, Interrupted
from hubcli.fetching.lock_file import LockedModel, LockFile
from hubcli.fetching.requirements import FetchRequest
from hubcli.providers.handle import Handle

__all__ = ["FetchRun"]


class FetchRun:
    """Fetches the models, so many at a time, and reports each in the order given.

    What was fetched is written into the `lock` file.
    """

    def __init__(
        self,
        settings: Settings,
        options: FetchOptions,
        output: Output,
        debug: bool,
        *,
        jobs: int = 1,
        lock: LockFile | None = None,
    ) -> None:
        self.settings = settings
        self.options = options
        self.output = output
        self.debug = debug
        self.jobs = jobs
        self.lock = lock
        self._locked: dict[str, LockedModel] = {}
        self._lock_error: list[tuple[str, HubcliError]] = []
        self._stop = CancellationToken()
        self._models: Sequence[FetchRequest] = ()
        # By the model's place in the order: what became of it, and how many have been reported.
        self._done: dict[int, FetchResult | HubcliError] = {}
        self._reported = 0
        self._running: dict[int, Handle] = {}  # Each that was begun, by its place.

    @property
    def results(self) -> list[FetchResult]:
        """What was fetched or found, in the order given."""
        return [done for _, done in sorted(self._done.items()) if isinstance(done, FetchResult)]

    @property
    def errors(self) -> list[tuple[str, HubcliError]]:
        """What failed, in the order given, as it was typed."""
        found = sorted(self._done.items())
        failed = [(self._models[place].text, done) for place, done in found if isinstance(done, HubcliError)]
        return failed + self._lock_error

    def fetch_all(self, models: Sequence[FetchRequest]) -> int:
        """Exit status of the first failure, or 0. Raises Interrupted with what was done before."""
        self._models = models
        upkeep = AutoGc.of_environment()
        try:
            with multi_progress_for(self.output, len(models)) as board:
                self._fetch_on(board)
        except KeyboardInterrupt as interrupt:
            message, hint = self._cut_off()
            raise Interrupted(message, hint=hint, partial=self._document()) from interrupt
        if upkeep is not None and self.results:
            self._keep_up(upkeep)
        if self.lock is not None and self._locked:
            self._write_lock(self.lock)
        if self.output.as_json:
            self.output.document(self._document())
        self._tell_tensorflow_hub()
        return int(self.errors[0][1].exit_status) if self.errors else 0

    def _cut_off(self) -> tuple[str, str]:
        """What the user is told of the models that were being fetched: what is kept, and what resumes."""
        from hubcli.fetching.partial_downloads import PartialDownload, resume_notes

        running = [self._running[place] for place in sorted(self._running) if place not in self._done]
        not_begun = len(self._models) - len(running) - len(self._done)
        return resume_notes(
            [PartialDownload.of(handle, self.settings.cache_root) for handle in running], not_begun
        )

    def _fetch_on(self, board: MultiProgress) -> None:
        jobs = [partial(self._fetch_one, place, board) for place in range(len(self._models))]
        try:
            with closing(run_concurrently(jobs, self.jobs, self._stop)) as arriving:
                for place, done in arriving:
                    self._done[place] = done
                    board.reported(failed=isinstance(done, HubcliError))
                    self._report_what_is_next(board)
        except KeyboardInterrupt:
            for place in sorted(self._done):
                if place >= self._reported:
                    self._report(place, board)
            raise

    def _fetch_one(self, place: int, board: MultiProgress) -> FetchResult | HubcliError:
        """What became of it. Runs on a thread of its own, and prints nothing but by the listener."""
        model = self._models[place]

        def do(handle: Handle, options: FetchOptions) -> FetchResult:
            self._running[place] = handle
            with board.listener(model.name) as listener:
                result = fetch(handle, self.settings, options, listener, self._stop)
                if self.lock is not None:
                    locked = LockedModel.of(handle, result, self.settings, listener)
                    self._locked[locked.handle] = locked
                model.link_spellings(self.settings.cache_root, result.path.name, self.settings.durability)
                return result

        return model.attempt(self.options, do)

    def _report_what_is_next(self, board: MultiProgress) -> None:
        while self._reported in self._done:
            self._report(self._reported, board)
            self._reported += 1

    def _report(self, place: int, board: MultiProgress) -> None:
        done = self._done[place]
        with board.aside():
            if isinstance(done, HubcliError):
                self._report_error(self._models[place], done)
                return
            self.output.say(fetch_summary(done))
            if not self.output.as_json:
                self.output.payload(str(done.path))

    def _report_error(self, model: FetchRequest, error: HubcliError) -> None:
        if self.debug:
            self.output.trace(error)
        self.output.error(error, "" if len(self._models) == 1 else model.name)

    def _write_lock(self, lock: LockFile) -> None:
        try:
            now = LockFile.at(Path(lock.name))  # Another process may have written it meanwhile.
            for model in now.changed(self._locked.values()):
                self.output.note(f"{lock.name}: {model.handle} has other bytes than before")
            now.updated(self._locked.values()).write(self.settings.durability)
        except HubcliError as error:
            self._lock_error.append((lock.name, error))
            self.output.error(error)

    def _keep_up(self, upkeep: AutoGc) -> None:
        """Collects by the user's rules. The models were fetched: whatever fails here is only said."""
        try:
            collection = upkeep.run(self.settings, [result.path for result in self.results])
        except HubcliError as error:
            self.output.note(f"The upkeep by {upkeep.source} failed: {error.message}")
            return
        except KeyboardInterrupt as interrupt:
            raise Interrupted("Interrupted", partial=self._document()) from interrupt
        if collection is None:
            return
        from hubcli.cli.views.gc import upkeep_notes  # Once a day.

        for note in upkeep_notes(collection, upkeep.source):
            self.output.note(note)

    def _document(self) -> dict[str, Any]:
        models = [fetch_document(result) for result in self.results]
        return {"models": models, **errors_document(self.errors)}

    def _tell_tensorflow_hub(self) -> None:
        fetched = any(not result.was_cached for result in self.results)
        if fetched and self.settings.root_is_unknown_to_tensorflow_hub:
            root = shlex.quote(str(self.settings.cache_root))
            self.output.note(f"hub.load finds these models after: export TFHUB_CACHE_DIR={root}")
