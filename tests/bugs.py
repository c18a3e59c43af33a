"""Marks for tests that show a fault which is still there: each is expected to fail, and must."""

from __future__ import annotations

import pytest

__all__ = ["bug"]


def bug(number: int, reason: str) -> pytest.MarkDecorator:
    """The fault of that number in the report."""
    return pytest.mark.xfail(strict=True, reason=f"BUG {number}: {reason}")
