"""What the tests of this room share with those of `finetune-export`."""

from __future__ import annotations

from tests.commands.conftest import model, needs_tensorflow, out, script

__all__ = ["model", "needs_tensorflow", "out", "script"]
