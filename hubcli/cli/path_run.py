"""A run of `hubcli ls --path`: prints directories of cached models, and nothing else."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from hubcli.cache.catalog import EntryState
from hubcli.cli.output import Output, errors_document
from hubcli.commands.ls import cached_path, ls
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, NotFoundError

__all__ = ["PathRun"]


class PathRun:
    """Looks one target up after the other; a glob may name several models."""

    def __init__(self, settings: Settings, output: Output, debug: bool) -> None:
        self.settings = settings
        self.output = output
        self.debug = debug
        self.paths: list[str] = []
        self.errors: list[tuple[str | None, HubcliError]] = []

    def show(self, targets: Sequence[str]) -> int:
        """Prints a path for each, or that of the cache without any; the first failure's status, or 0."""
        for target in targets:
            self._look_up(target)
        root = str(self.settings.cache_root)
        if self.output.as_json:
            told = errors_document(self.errors)
            self.output.document({"cache_dir": root, "paths": self.paths, **told})
        elif self.paths or not targets:
            self.output.payload("\n".join(self.paths or [root]))
        return int(self.errors[0][1].exit_status) if self.errors else 0

    def _look_up(self, target: str) -> None:
        try:
            self.paths += self._paths_of(target)
        except HubcliError as error:
            if self.debug:
                traceback.print_exception(error)
            self.errors.append((target, error))
            self.output.error(error)

    def _paths_of(self, target: str) -> list[str]:
        is_glob = any(character in target for character in "*[") or target.endswith("?")
        if not is_glob:
            return [str(cached_path(target, self.settings))]
        models = ls(self.settings, [target]).models
        paths = [str(one.path) for one in models if one.state in (EntryState.OK, EntryState.UNKNOWN)]
        if not paths:
            raise NotFoundError(f"Not in the cache: {target}", hint="See: hubcli ls")
        return paths
