"""The corpus of real SavedModels beside the project: read where it lies."""

from __future__ import annotations

from pathlib import Path

import pytest

__all__ = ["CORPUS", "KINDS", "corpus_file", "corpus_model"]

CORPUS = Path(__file__).parents[2] / "shared" / "corpus"

# Every whole model of the corpus, and its kind.
KINDS = {
    "basic_pitch_nmp": "Keras",
    "java_python_model": "Keras",
    "serving_counter": "TF1",
    "serving_half_plus_three": "TF1",
    "serving_half_plus_two": "TF1",
    "serving_half_plus_two_assets_extra": "TF1",
    "serving_half_plus_two_tf2": "TF2",
    "serving_matrix_half_plus_two": "TF1",
    "tfjs_int64_multiply": "TF2",
    "tfjs_multiple_signatures": "TF2",
    "tfx_keras_serving": "Keras",
    "tfx_tft_tf2": "TF2",
}


def corpus_model(name: str) -> Path:
    """The directory of the model; the test that asks is skipped where the corpus isn't there."""
    model = CORPUS / name
    if not model.is_dir():
        pytest.skip(f"the corpus of real models is not there: {model}")
    return model


def corpus_file(name: str, path: str) -> bytes:
    """The bytes of one file of a model."""
    return (corpus_model(name) / path).read_bytes()
