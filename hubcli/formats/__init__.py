"""Bytes in, values out: readers of the formats that SavedModels are made of.

Defined here are the file names that make a directory a SavedModel, which every listing of a cache needs, and
the types of half weights, which are values of an option.
Source: tensorflow/python/saved_model/constants.py; the chunked form is of tensorflow/tools/proto_splitter.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["INDEX_FILE", "MAIN_FILES", "HalfType"]

MAIN_FILES = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb")
INDEX_FILE = "variables/variables.index"


class HalfType(str, Enum):
    """A type of two bytes for weights; `number` is its DataType, `largest` its largest number as text."""

    number: int
    largest: str

    def __new__(cls, value: str, number: int, largest: str) -> HalfType:  # noqa: D102
        member = str.__new__(cls, value)
        member._value_ = value
        member.number = number
        member.largest = largest
        return member

    FLOAT16 = "float16", 19, "65504"
    BFLOAT16 = "bfloat16", 14, "3.39e38"
