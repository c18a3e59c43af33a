"""Caches of other tools beside ours: models that they hold, and links that let them find ours.

One is known: kagglehub's. Its layout (kagglehub 1.0.2, `cache.py`):
`models/<owner>/<model>/<framework>/<variation>/<version>/`, complete when the empty file
`<version>.complete` stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hubcli.atomic_files import replace_link
from hubcli.config.settings import Settings
from hubcli.durability import SYNCED, Durability
from hubcli.providers.handle import Handle

if TYPE_CHECKING:
    from hubcli.cache.gc.collect import CompletedAction
    from hubcli.providers.kaggle import KaggleModel

__all__ = ["KaggleHub", "forget_removed", "other_caches"]


def other_caches(settings: Settings) -> tuple[KaggleHub, ...]:
    """The caches of other tools that the settings name."""
    return (KaggleHub.of(settings),)


def forget_removed(settings: Settings, actions: Iterable[CompletedAction]) -> None:
    """Removes what leads from other tools' caches to models that were collected."""
    for cache in other_caches(settings):
        cache.forget_gone(actions)


@dataclass(frozen=True, slots=True)
class KaggleHub:
    """kagglehub's cache at `root`, None if there can't be one; `ours` is the root of this one."""

    name: ClassVar[str] = "kagglehub"

    root: Path | None
    ours: Path
    durability: Durability = SYNCED

    @classmethod
    def of(cls, settings: Settings) -> KaggleHub:
        """The one that the settings name."""
        return cls(settings.kagglehub_root, settings.cache_root, settings.durability)

    def find(self, handle: Handle) -> Path | None:
        """The complete copy of the version that it holds itself, None without one, and for other hosts."""
        model = _model(handle)
        if model is None or model.version is None:
            return None
        for folder in self._folders(model):
            if self._holds(folder / model.version):
                return folder / model.version
        return None

    def versions(self, handle: Handle) -> list[Handle]:
        """The versions of the model that it holds itself, in no order."""
        model = _model(handle)
        if model is None:
            return []
        from hubcli.providers.kaggle import handle_of

        found = list[Handle]()
        for folder in self._folders(model):
            with suppress(OSError):
                names = [path.name for path in folder.iterdir() if path.name.isdecimal()]
                found += [handle_of(model.at_version(name)) for name in names if self._holds(folder / name)]
        return found

    def count(self) -> int:
        """How many versions it holds complete, links to ours among them."""
        if self.root is None:
            return 0
        try:
            return sum(1 for _ in self.root.glob("models/*/*/*/*/*.complete"))
        except OSError:
            return 0

    def link(self, spellings: Iterable[str], directory: Path) -> str | None:
        """Makes a link to the directory of the model of those spellings where kagglehub looks.

        Why not, in words, where it can't. What kagglehub downloaded itself stays. The marker comes last.
        """
        from hubcli.providers.kaggle import KaggleModel

        model = next(KaggleModel.versions_of(spellings), None)
        if model is None:
            return "it has no version on Kaggle"
        folder = next(self._folders(model), None)
        if folder is None or model.version is None:
            return "kagglehub's cache directory is unknown: set KAGGLEHUB_CACHE"
        link = folder / model.version
        try:
            self.durability.make_directory(folder)
            if link.is_symlink() and link.exists() and not self._is_ours(link):
                return f"{link} is a link to another place"
            replace_link(link, str(directory.resolve()))
            self.durability.directory(folder)
            _marker(link).touch()
            self.durability.directory(folder)
        except FileExistsError:
            return f"it has its own copy in {link}"
        except OSError as error:
            return f"{link} cannot be created: {error.strerror or error}"
        return None

    def forget_gone(self, actions: Iterable[CompletedAction]) -> None:
        """Removes links to models that were collected: kagglehub can't download over a link to nothing."""
        from hubcli.providers.kaggle import KaggleModel

        for action in actions:
            model = action.item.model
            if model is not None and self.root is not None and self.root.is_dir():
                for version in KaggleModel.versions_of((model.handle or "", *model.aliases)):
                    self._forget(version)

    def _forget(self, model: KaggleModel) -> None:
        for folder in self._folders(model):
            link = folder / str(model.version)
            with suppress(OSError):
                if link.is_symlink() and not link.exists() and self._is_ours(link):
                    _marker(link).unlink(missing_ok=True)
                    link.unlink()

    def _folders(self, model: KaggleModel) -> Iterator[Path]:
        """Where its versions may be: kagglehub takes the framework as it was typed."""
        if self.root is None:
            return
        capital = model.framework[0].upper() + model.framework[1:]
        for framework in (model.framework, capital, model.framework.lower()):
            yield self.root / "models" / model.owner / model.model / framework / model.variation

    def _holds(self, copy: Path) -> bool:
        with suppress(OSError):
            return _marker(copy).is_file() and copy.is_dir() and not self._is_ours(copy)
        return False

    def _is_ours(self, copy: Path) -> bool:
        """Whether it is a link into our own cache."""
        try:
            return copy.resolve().parent == self.ours.resolve()
        except (OSError, RuntimeError):
            return False


def _model(handle: Handle) -> KaggleModel | None:
    if handle.provider.name != "kaggle":  # What kagglehub can't hold needs none of its host's code.
        return None
    from hubcli.providers.kaggle import KaggleModel

    return KaggleModel.of(handle)


def _marker(copy: Path) -> Path:
    return copy.with_name(f"{copy.name}.complete")
