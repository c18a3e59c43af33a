"""A run of `hubcli fetch` over its handles: does all it can, reports each."""

from __future__ import annotations

import shlex
import traceback
from typing import Any

from hubcli.cli.output import Output, error_document
from hubcli.cli.progress import listener_for
from hubcli.cli.views import fetch_document, fetch_summary
from hubcli.commands.fetch import FetchOptions, FetchResult, fetch
from hubcli.errors import HubcliError, Interrupted
from hubcli.settings import Settings
from hubcli.url import without_secrets

__all__ = ["FetchRun"]


class FetchRun:
    """Fetches one handle after the other and reports each."""

    def __init__(self, settings: Settings, options: FetchOptions, output: Output, debug: bool) -> None:
        self.settings = settings
        self.options = options
        self.output = output
        self.debug = debug
        self.results: list[FetchResult] = []
        self.errors: list[tuple[str, HubcliError]] = []

    def fetch_all(self, handles: list[str]) -> int:
        """Exit status of the first failure, or 0. Raises Interrupted with what was done before."""
        try:
            for handle in handles:
                self._fetch_one(handle)
        except KeyboardInterrupt as interrupt:
            raise Interrupted(
                "Interrupted: what was being fetched is not in the cache", partial=self._document()
            ) from interrupt
        if self.output.as_json:
            self.output.document(self._document())
        self._tell_tensorflow_hub()
        return int(self.errors[0][1].exit_status) if self.errors else 0

    def _fetch_one(self, handle: str) -> None:
        try:
            with listener_for(self.output) as listener:
                result = fetch(handle, self.settings, self.options, listener)
        except HubcliError as error:
            if self.debug:
                traceback.print_exception(error)
            self.errors.append((handle, error))
            self.output.error(error)
            return
        self.results.append(result)
        self.output.say(fetch_summary(result))
        if not self.output.as_json:
            self.output.payload(str(result.path))

    def _document(self) -> dict[str, Any]:
        errors = [
            {"handle": without_secrets(handle), **error_document(error)} for handle, error in self.errors
        ]
        document: dict[str, Any] = {"models": [fetch_document(result) for result in self.results]}
        return {**document, "error": errors[0], "errors": errors} if errors else document

    def _tell_tensorflow_hub(self) -> None:
        fetched = any(not result.was_cached for result in self.results)
        if fetched and self.settings.root_is_unknown_to_tensorflow_hub:
            root = shlex.quote(str(self.settings.cache_root))
            self.output.note(f"hub.load finds these models after: export TFHUB_CACHE_DIR={root}")
