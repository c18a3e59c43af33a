"""File names that make a directory a SavedModel.

Source: tensorflow/python/saved_model/constants.py; the chunked form comes from
tensorflow/tools/proto_splitter.
"""

from __future__ import annotations

__all__ = ["MAIN_FILES"]

MAIN_FILES = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb")
