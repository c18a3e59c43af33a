"""Shapes, as SavedModels state them."""

from __future__ import annotations

from math import prod
from typing import Any, TypeAlias

from hubcli.errors import BrokenModelError

__all__ = ["Shape", "element_count", "shape_of", "shape_text"]

_MAX_RANK = 254  # tensorflow::TensorShape::MaxDimensions
Shape: TypeAlias = tuple[int | None, ...] | None
"""Sizes of the dimensions, None for an unknown one; None alone for an unknown rank."""


def shape_of(message: Any) -> Shape:
    """The shape in a TensorShapeProto, which says -1 for an unknown size; raises BrokenModelError."""
    if message.unknown_rank:
        return None
    if len(message.dim) > _MAX_RANK:
        raise BrokenModelError(f"it has a tensor of {len(message.dim)} dimensions")
    return tuple(None if dim.size < 0 else dim.size for dim in message.dim)


def element_count(shape: Shape) -> int | None:
    """How many elements there are; None where the shape doesn't say.

    >>> element_count((2, 3)), element_count((None, 3))
    (6, None)
    """
    sizes = [size for size in shape or () if size is not None]
    return None if shape is None or len(sizes) < len(shape) else prod(sizes)


def shape_text(shape: Shape) -> str:
    """The shape for a person.

    >>> shape_text((None, 224, 224, 3)), shape_text(()), shape_text(None)
    ('[?, 224, 224, 3]', '[]', '[...]')
    """
    if shape is None:
        return "[...]"
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
