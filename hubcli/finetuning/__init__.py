"""How a fine-tuned model is made: options, training, weights, result and what it must pass.

The options stand here: where the values come from, and how they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubcli.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from hubcli.exporting.editing import EditOptions

__all__ = ["FinetuneOptions", "Method"]


class Method(str, Enum):
    """How the values get into the export: by TensorFlow's own saving, or in place of the old ones.

    `AUTO` chooses: after a training `RESAVE`, or `REWRITE` where that would lose
    something; with values of a file `REWRITE`, or `RESAVE` where values alone
    don't do.
    """

    AUTO = "auto"
    RESAVE = "resave"
    REWRITE = "rewrite"


@dataclass(frozen=True, slots=True)
class FinetuneOptions:
    """Options of a fine-tuned export. Either `weights` or `train` is set.

    Of weights: `root` is the object or layer that is the model, `map_file`
    names pairs, `dry_run` writes nothing. Of a training: `arguments` go to the
    function, `strategy` is `mirrored` or `multiworker`, `tag_set` chooses a graph.
    `edits` change the model once it has its values. `on_loaded` is called when TensorFlow has loaded the
    model, before the function: a program that ends soon may have `gc.freeze` there.
    """

    weights: Path | None = None
    root: str | None = None
    map_file: Path | None = None
    dry_run: bool = False
    train: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    strategy: str | None = None
    tag_set: frozenset[str] | None = None
    method: Method = Method.AUTO
    allow_unchanged: bool = False
    allow_nan: bool = False
    force: bool = False
    edits: EditOptions | None = None
    on_loaded: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        """Raises UsageError for what doesn't go together."""
        if self.weights is None and self.train is None:
            raise UsageError(
                "Missing --weights or --train",
                hint="Specify a file, --weights training/ckpt-3, or a function, --train train.py:train",
            )
        if self.weights is not None and self.train is not None:
            raise UsageError("--weights and --train cannot be used together", hint="Use only one of them.")
        if self.train is not None:
            _require_function(self.train)
        source_option, other = ("--weights", "--train") if self.train is None else ("--train", "--weights")
        misplaced = self._of_training() if self.train is None else self._of_weights()
        for option in misplaced:
            raise UsageError(f"{option} cannot be used with {source_option}", hint=f"Use it with {other}.")
        if self.root is not None and self.map_file is not None:
            raise UsageError("--root and --map cannot be used together", hint="Use only one of them.")

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read beside the model: weights by file, directory or prefix, a map, the function's file."""
        script = None if self.train is None else Path(self.train.rpartition(":")[0])
        named = (self.weights, self.map_file, script if script is not None and script.is_file() else None)
        return tuple(path for path in named if path is not None)

    def _of_weights(self) -> list[str]:
        """The options given that only a file of weights knows."""
        given = {"--root": self.root, "--map": self.map_file, "--dry-run": self.dry_run or None}
        return [option for option, value in given.items() if value is not None]

    @property
    def has_edits(self) -> bool:
        """Whether the model is edited once it has its values."""
        return self.edits is not None and self.edits.has_edits

    def _of_training(self) -> list[str]:
        given = {"--arg": self.arguments or None, "--strategy": self.strategy, "--tag-set": self.tag_set}
        return [option for option, value in given.items() if value is not None]


def _require_function(text: str) -> None:
    """Raises UsageError, NotFoundError before TensorFlow is loaded, which takes seconds."""
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise UsageError(
            f"Missing function in {text}", hint="Use FILE.py:function or package.module:function."
        )
    if place.endswith(".py") and not Path(place).is_file():
        raise NotFoundError(f"{place} does not exist", hint="Check the path of the training file.")
