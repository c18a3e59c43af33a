"""What a shell may offer in the place of a value: the one source of completion and man page.

A parameter's metavar tells it; what none tells stands behind the parameter in its
annotation, as an `Offered` or a `Words`. Enumerations tell their words themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["BUILT_IN", "TAG_SETS", "Offered", "Words", "offered_by_metavar"]

BUILT_IN = "example://mul/1"
_NAME = re.compile(r"[A-Z]{2,}")


@dataclass(frozen=True, slots=True)
class Offered:
    """Cached handles, files, directories and words; a word that ends in `=`, `<` or `>` goes on."""

    handles: bool = False
    files: bool = False
    directories: bool = False
    words: tuple[str, ...] = ()

    def __or__(self, other: Offered) -> Offered:
        """What either offers."""
        return Offered(
            self.handles or other.handles,
            self.files or other.files,
            self.directories or other.directories,
            (*self.words, *(word for word in other.words if word not in self.words)),
        )

    def __bool__(self) -> bool:
        return self != Offered()


# Those of TensorFlow: tag_constants.py, and the "train" of TF1 Hub modules.
TAG_SETS = Offered(words=("serve", "train", "serve,gpu", "serve,tpu"))


@dataclass(frozen=True, slots=True)
class Words:
    """Words that are looked up when completion is generated: no start of hubcli waits for them."""

    look_up: Callable[[], Iterable[str]]

    def offered(self) -> Offered:
        """The words, as something to offer."""
        return Offered(words=tuple(self.look_up()))


_BY_NAME = {
    "DEST": Offered(files=True),
    "DIR": Offered(directories=True),
    "FILE": Offered(files=True),
    "HANDLE": Offered(handles=True),
    "OTHER": Offered(handles=True, files=True),
    "PATTERN": Offered(handles=True),
    "SOURCE": Offered(handles=True, files=True),
    "TARGET": Offered(handles=True, files=True),
}
_STANDARD_STREAM = Offered(words=("-",))


def offered_by_metavar(metavar: str) -> Offered:
    """What the names in a metavar call for, such as `FILE|-`; nothing for names that call for nothing.

    >>> offered_by_metavar("HANDLE|PATTERN...").handles, offered_by_metavar("[HANDLE...]").files
    (True, False)
    """
    offered = _STANDARD_STREAM if metavar.endswith("|-") else Offered()
    for name in _NAME.findall(metavar):
        offered |= _BY_NAME.get(name, Offered())
    return offered
