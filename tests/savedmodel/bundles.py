"""Models with bundles of our own making, each tensor where and what a test wants."""

from __future__ import annotations

from pathlib import Path

from hubcli.formats.checksums import masked_crc32c
from tests import models
from tests.formats.tables import delimited, index_of, number, varint

__all__ = ["SHARD", "floats", "write_bundle_model"]

SHARD = "variables/variables.data-00000-of-00001"


def floats(data: bytes, offset: int, *, shard: int = 0, crc: int | None = None) -> bytes:
    """What the index holds of float32 numbers that stand at `offset`."""
    shape = delimited(2, delimited(2, number(1, len(data) // 4)))
    place = number(3, shard) + number(4, offset) + number(5, len(data))
    summed = masked_crc32c(data) if crc is None else crc
    return number(1, 1) + shape + place + varint(6 << 3 | 5) + summed.to_bytes(4, "little")


def write_bundle_model(folder: Path, tensors: dict[str, bytes]) -> Path:
    """A model with these tensors in one shard, in their order, four bytes between them."""
    shard, entries = b"", []
    for name, data in tensors.items():
        entries.append((name.encode(), floats(data, len(shard))))
        shard += data + b"gap."
    files = {
        "saved_model.pb": models.example_files()["saved_model.pb"],
        "variables/variables.index": index_of(sorted(entries)),
        SHARD: shard,
    }
    return models.write_tree(folder, files)
