"""The examples in docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import hubcli
from tests.cases import each_of

_PACKAGE = Path(hubcli.__file__).parent
_MODULES = [
    ".".join(("hubcli", *path.relative_to(_PACKAGE).with_suffix("").parts))
    for path in sorted(_PACKAGE.rglob("*.py"))
    # The Keras layer's needs Keras; tests/tf has its cases.
    if re.search(r"^ +>>> ", path.read_text(), re.MULTILINE)
    and path.name not in ("keras_layer.py", "layer.py")
]


@each_of("name", _MODULES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name), raise_on_error=False)
    assert results.attempted > 0
    assert results.failed == 0


def test_there_are_examples() -> None:
    assert len(_MODULES) > 15
