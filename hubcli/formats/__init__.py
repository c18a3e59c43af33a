"""Bytes in, values out: readers of the formats that SavedModels are made of.

Here stand the file names that make a directory a SavedModel, which every listing of a cache looks for.
Source: tensorflow/python/saved_model/constants.py; the chunked form is of tensorflow/tools/proto_splitter.
"""

from __future__ import annotations

__all__ = ["INDEX_FILE", "MAIN_FILES"]

MAIN_FILES = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb")
INDEX_FILE = "variables/variables.index"
