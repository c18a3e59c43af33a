"""What killed exports left beside their destinations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from hubcli.cache.disk import directory_size_bytes
from hubcli.commands.checkup.case import Case
from hubcli.commands.checkup.check import Check, Section, Status
from hubcli.commands.staging import (
    Leftover,
    StagingState,
    forget_removed,
    leftovers_in,
    recorded_folders,
)
from hubcli.quantity import format_age, format_size, plural

__all__ = ["check_exports"]

_check = partial(Check, Section.CACHE, "exports")
_MAX_NAMED = 3


def check_exports(case: Case) -> Iterator[Check]:
    """Staging directories of exports that were killed, in the working directory and where exports wrote.

    Removed are those whose process is dead, with `--fix`.
    """
    found = [leftover for folder in _folders() for leftover in leftovers_in(folder)]
    if case.options.fix:
        removed = [(one, directory_size_bytes(one.path)) for one in found]
        removed = [(one, size_bytes) for one, size_bytes in removed if one.remove()]
        forget_removed()
        gone = {one.path for one, _ in removed}
        found = [one for one in found if one.path not in gone]
        if removed:
            message = f"removed {plural(len(removed), 'leftover')} of killed exports"
            freed_bytes = sum(size_bytes for _, size_bytes in removed)
            paths = [str(one.path) for one, _ in removed]
            yield _check(Status.OK, f"{message} ({format_size(freed_bytes)} freed)", paths)
    yield from _dead([one for one in found if one.state is StagingState.DEAD])
    yield from _unknown([one for one in found if one.state is StagingState.UNKNOWN])


def _folders() -> list[Path]:
    folders = dict.fromkeys(recorded_folders())
    with suppress(OSError):  # The working directory may be gone.
        folders[Path.cwd()] = None
    return list(folders)


def _dead(leftovers: Sequence[Leftover]) -> Iterator[Check]:
    if leftovers:
        size_bytes = sum(directory_size_bytes(one.path) for one in leftovers)
        message = f"{plural(len(leftovers), 'leftover')} of killed exports, {format_size(size_bytes)}: "
        yield _check(
            Status.WARNING, message + _listed(leftovers), _value(leftovers), "Run: hubcli doctor --fix"
        )


def _unknown(leftovers: Sequence[Leftover]) -> Iterator[Check]:
    if leftovers:
        message = f"{plural(len(leftovers), 'export')} without a lock, running or killed: "
        message += _listed(leftovers)
        hint = "Remove the directory once no export to that place runs: rm -r DIRECTORY"
        yield _check(Status.INFO, message, _value(leftovers), hint)


def _listed(leftovers: Sequence[Leftover]) -> str:
    texts = [f"{one.path} (last changed {format_age(one.age_s)})" for one in leftovers]
    more = f"; and {len(texts) - _MAX_NAMED} more" if len(texts) > _MAX_NAMED else ""
    return "; ".join(texts[:_MAX_NAMED]) + more


def _value(leftovers: Sequence[Leftover]) -> list[str]:
    return [str(one.path) for one in leftovers]
