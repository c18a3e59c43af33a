"""Edits of a SavedModel on the file: signatures, devices, defaults, pruning, half weights. No TensorFlow."""

from __future__ import annotations

__all__: list[str] = []
