"""A fault: one thing that is broken in the files of a model, and where."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Fault"]


class Fault(NamedTuple):
    """Something that is broken. `code` is stable, `message` is for a person.

    `file` is the path in the model's directory, None where it is about the
    whole. `start` and `end` tell the bytes of that file that are concerned:
    from `start` up to, not with, `end`.

    Codes: `missing`, `size`, `sha256`, `unreadable`, `model` (saved_model.pb is
    no SavedModel), `index` (variables.index is damaged), `tensor`, `asset-path`
    (an asset outside of assets/).
    """

    code: str
    message: str
    file: str | None = None
    tensor: str | None = None
    start: int | None = None
    end: int | None = None

    def __str__(self) -> str:
        places = [self.file] if self.file is not None else []
        if self.tensor is not None:
            places.append(f"tensor {self.tensor}")
        if self.start is not None and self.end is not None:
            places.append(f"bytes {self.start} to {self.end - 1}" if self.end > self.start else "no bytes")
        return f"{', '.join(places)}: {self.message}" if places else self.message
