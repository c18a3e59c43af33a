"""Output that is kept in files beside the tests, and held against them."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

__all__ = ["compare_golden"]

_FOLDER = Path(__file__).parent / "cli" / "golden"


def compare_golden(name: str, text: str) -> None:
    """Fails where the text isn't that of the file of this name.

    `UPDATE_GOLDEN=1 pytest tests/cli` writes the files anew instead; `git diff` shows what changed.
    """
    golden = _FOLDER / name
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    expected = golden.read_text(encoding="utf-8")
    changes = difflib.unified_diff(
        expected.splitlines(), text.splitlines(), str(golden), "printed now", lineterm=""
    )
    assert text == expected, "\n".join(["accept it by UPDATE_GOLDEN=1, or mend it", *changes])
