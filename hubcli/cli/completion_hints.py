"""What each argument is completed with; light, since every run builds the options of its command."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["BUILT_IN", "TAG_SETS", "CompletionHint", "CompletionWords", "hints_by_metavar"]


@dataclass(frozen=True, slots=True)
class CompletionHint:
    """Cached handles, files, directories and words; a word that ends in `=`, `<` or `>` goes on.

    `of_model` is what the model on the line has: `signatures`, `functions` or `inputs`.
    """

    handles: bool = False
    files: bool = False
    directories: bool = False
    words: tuple[str, ...] = ()
    of_model: str = ""

    def __or__(self, other: CompletionHint) -> CompletionHint:
        """What either offers."""
        return CompletionHint(
            self.handles or other.handles,
            self.files or other.files,
            self.directories or other.directories,
            (*self.words, *(word for word in other.words if word not in self.words)),
            self.of_model or other.of_model,
        )

    def __bool__(self) -> bool:
        return self != CompletionHint()


@dataclass(frozen=True, slots=True)
class CompletionWords:
    """Words that are looked up when completion is generated: no start of hubcli waits for them."""

    look_up: Callable[[], Iterable[str]]

    def offered(self) -> CompletionHint:
        """The words, as something to offer."""
        return CompletionHint(words=tuple(self.look_up()))


BUILT_IN = "example://mul/1"
_NAME = re.compile(r"[A-Z]{2,}")
# Those of TensorFlow: tag_constants.py, and the "train" of TF1 Hub modules.
TAG_SETS = CompletionHint(words=("serve", "train", "serve,gpu", "serve,tpu"))
_BY_NAME = {
    "DEST": CompletionHint(files=True),
    "DIR": CompletionHint(directories=True),
    "FILE": CompletionHint(files=True),
    "HANDLE": CompletionHint(handles=True),
    "OTHER": CompletionHint(handles=True, files=True),
    "PATTERN": CompletionHint(handles=True),
    "SOURCE": CompletionHint(handles=True, files=True),
    "TARGET": CompletionHint(handles=True, files=True),
}
_STANDARD_STREAM = CompletionHint(words=("-",))


def hints_by_metavar(metavar: str) -> CompletionHint:
    """What the names in a metavar call for, such as `FILE|-`; nothing for names that call for nothing.

    >>> hints_by_metavar("HANDLE|PATTERN...").handles, hints_by_metavar("[HANDLE...]").files
    (True, False)
    """
    offered = _STANDARD_STREAM if metavar.endswith("|-") else CompletionHint()
    for name in _NAME.findall(metavar):
        offered |= _BY_NAME.get(name, CompletionHint())
    return offered
