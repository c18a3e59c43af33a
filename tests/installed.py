"""Packages that tests need, found without importing them: tests are collected without TensorFlow."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

__all__ = ["Late", "require_installed"]


def require_installed(*packages: str) -> None:
    """Skips the tests of the module that calls this, where one of the packages isn't installed."""
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"{package} isn't installed: pip install '.[dev]'", allow_module_level=True)


class Late:
    """A module that is imported when something of it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        # pytest looks for such names (`__wrapped__`, `_mock_name`) in all that a test module holds.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(import_module(self._name), name)
