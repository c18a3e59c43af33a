"""`rm`: models out of the cache, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from hubcli.cache.catalog import CachedModelInfo
from hubcli.cache.gc.snapshot import Snapshot, require_collectable, take_snapshot
from hubcli.cache.layout import NameKind
from hubcli.config.settings import Settings
from hubcli.errors import CacheError, HandleError, HubcliError, LockTimeoutError, NotFoundError, PinnedError
from hubcli.fetching.model_ref import Pattern
from hubcli.providers.handle import Handle

TYPE_CHECKING = False  # What plans and removes is loaded once there is something to remove.
if TYPE_CHECKING:
    from hubcli.cache.gc.collect import CompletedAction
    from hubcli.cache.gc.plan import Plan
    from hubcli.commands.gc import Collection

__all__ = ["Removal", "rm"]

# What a download leaves that has no model yet.
_DOWNLOADED = (NameKind.SPOOL, NameKind.STAGING)


class Removal(NamedTuple):
    """What was removed, and by name what could not be; `removed` is None if no model was chosen."""

    errors: tuple[tuple[str, HubcliError], ...]
    removed: Collection | None
    snapshot: Snapshot
    is_dry_run: bool

    @property
    def collection(self) -> Collection:
        """The plan, and what became of it: one without items where no model was chosen."""
        if self.removed is not None:
            return self.removed
        from hubcli.cache.gc.planner import plan_removal
        from hubcli.commands.gc import Collection

        actions = None if self.is_dry_run else ()
        return Collection(plan_removal(self.snapshot, ()), actions, self.snapshot.free_bytes)


def rm(
    targets: Sequence[str],
    settings: Settings | None = None,
    *,
    force: bool = False,
    dry_run: bool = False,
    confirm: Callable[[Plan], bool] = lambda plan: True,
    on_done: Callable[[CompletedAction], None] = lambda action: None,
) -> Removal:
    """Removes models with their records and links: those of handles in any spelling, or that match globs.

    Leftovers of interrupted downloads are removed likewise, pinned models only with `force`. All that can
    be is removed; what can't is in the errors: HandleError, NotFoundError, PinnedError, LockTimeoutError for
    a model in use. `confirm` gets the plan before anything is touched. Raises CacheError if the root can't be
    read or written, UsageError for a root that holds more than a cache.
    """
    settings = settings or Settings.read()
    require_collectable(settings.cache_root)
    snapshot = take_snapshot(settings.cache_root)
    verb = _Rm(snapshot, force)
    for target in targets:
        verb.choose(target)
    if not verb.chosen:
        return Removal(tuple(verb.errors), None, snapshot, dry_run)
    from hubcli.cache.gc.planner import plan_removal
    from hubcli.cache.other_caches import forget_removed
    from hubcli.commands.gc import act

    plan = plan_removal(snapshot, verb.chosen)
    collection = act(plan, dry_run=dry_run, confirm=confirm, on_done=on_done, durability=settings.durability)
    verb.look_back(collection)
    forget_removed(settings, collection.actions or ())
    return Removal(tuple(verb.errors), collection, snapshot, dry_run)


class _Rm:
    """One run of the verb."""

    def __init__(self, snapshot: Snapshot, force: bool) -> None:
        self.snapshot = snapshot
        self.force = force
        self.chosen: list[str] = []
        self.errors: list[tuple[str, HubcliError]] = []

    def choose(self, target: str) -> None:
        """Adds the models that the target names."""
        try:
            models, partial = self._named(target)
        except HubcliError as error:
            self.errors.append((target, error))
            return
        for model in models:
            pinned = model.is_pinned and not self.force
            self._choose(model.key, model.title, _pinned(model.title) if pinned else None)
        for key, name in partial.items():
            self._choose(key, name, None)

    def _choose(self, key: str, name: str, otherwise: HubcliError | None) -> None:
        from hubcli.cache.gc.planner import is_held

        lock = self.snapshot.locks.get(key)
        if is_held(lock, self.snapshot.now_s, 0):
            holder = str(lock.owner) if lock is not None and lock.owner else "another process"
            otherwise = _busy(name, holder)
        if otherwise is None:
            self.chosen.append(key)
        else:
            self.errors.append((name, otherwise))

    def _named(self, target: str) -> tuple[list[CachedModelInfo], dict[str, str]]:
        """The models that the target names, and the names of downloads without a model, by key."""
        pattern = Pattern.parse(target, self.snapshot.root)
        found = [model for model in self.snapshot.models if model.is_model and pattern.means(model)]
        models = {model.key for model in self.snapshot.models}
        partial = {
            fragment.key: fragment.handle or fragment.key
            for fragment in self.snapshot.fragments
            if fragment.kind in _DOWNLOADED
            and fragment.key not in models
            # A glob selects by handle: leftovers of an unknown handle are not removed.
            and (
                pattern.fits(fragment.key, fragment.handle)
                if fragment.handle
                else fragment.key in pattern.keys
            )
        }
        if not found and not partial:
            if pattern.glob is not None or not target:
                raise NotFoundError(f"No cached model matches '{target}'", hint="See: hubcli ls")
            # Says what is wrong with a handle that is none, rather than that it isn't there.
            try:
                handle = Handle.parse(target)
            except HandleError as error:
                raise Pattern.refusal(target, error) from error
            raise NotFoundError(f"Not in the cache: {handle}", hint="See: hubcli ls")
        return sorted(found, key=lambda model: model.title), partial

    def look_back(self, collection: Collection) -> None:
        """Adds what stayed against the plan."""
        from hubcli.cache.gc.collect import ActionResult

        for action in collection.actions or ():
            name = action.item.title
            if action.item.model is not None and action.result is ActionResult.BUSY:
                self.errors.append((name, _busy(name, "another process")))
            elif action.result in (ActionResult.CHANGED, ActionResult.FAILED):
                hint = "Run the command again." if action.result is ActionResult.CHANGED else action.hint
                self.errors.append((name, CacheError(f"Cannot remove {name}: {action.detail}", hint=hint)))


def _pinned(name: str) -> PinnedError:
    return PinnedError(f"{name} is pinned", hint=f"Run: hubcli rm --force {name}")


def _busy(name: str, holder: str) -> LockTimeoutError:
    return LockTimeoutError(
        f"{name} is in use by {holder}", hint="Run the command again when it has finished."
    )
