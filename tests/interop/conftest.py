"""What the tests of this room share."""

from __future__ import annotations

from tests.savedmodel.conftest import zoo

__all__ = ["zoo"]

# What the tests are built on: nothing to collect, and imported only where TensorFlow is.
collect_ignore = ["finetuning.py", "hub_models.py", "layer_models.py", "training_files.py"]
