"""What a SavedModel is made of: the noun that `inspect` gives, and its parts.

The nouns of this room are named tuples: forty frozen dataclasses take 25 ms to
make, of the 200 that `inspect` may take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from hubcli._moved import renamed
from hubcli.formats.checksums import combine_crc32c, unmask_crc32c
from hubcli.issues import Issue, Severity
from hubcli.savedmodel.functions import Function
from hubcli.savedmodel.model_format import ModelFormat
from hubcli.savedmodel.signatures import Signature
from hubcli.savedmodel.types import Shape
from hubcli.savedmodel.variables import Variable, VariableLists

__all__ = [
    "Asset",
    "Checkpoint",
    "CheckpointTensor",
    "Conformance",
    "Fingerprint",
    "MetaGraph",
    "Parameters",
    "SavedModelInfo",
    "Sizes",
]


class Conformance(NamedTuple):
    """Whether the model has the Reusable SavedModel interface, and every problem on the way."""

    problems: tuple[Issue, ...]

    @property
    def conforms(self) -> bool:
        """Whether the interface is there; advice may be left."""
        return all(problem.severity is not Severity.ERROR for problem in self.problems)


class MetaGraph(NamedTuple):
    """One of the graphs of the model, under its tags. `ops` counts nodes by type, those of functions too."""

    tags: tuple[str, ...]
    tensorflow_version: str | None
    signatures: tuple[Signature, ...]
    init_op: str | None
    train_op: str | None
    ops: Mapping[str, int]


class Asset(NamedTuple):
    """A file that the model declares. `size_bytes` is None where it isn't there.

    `sha256`, in hex, is there where it was asked for. `is_present` is None where
    the rest of an archive was not read.
    """

    path: str
    size_bytes: int | None
    is_present: bool | None
    sha256: str | None = None


class CheckpointTensor(NamedTuple):
    """A tensor of the checkpoint. `parts` is into how many slices it was cut.

    `crc32c` is the masked checksum of each. `is_cut_in_rows` says that they
    follow each other along the first dimension, as their bytes do.
    """

    key: str
    dtype: str
    shape: Shape
    size_bytes: int
    parts: int
    crc32c: tuple[int, ...]
    part_bytes: tuple[int, ...] = ()
    is_cut_in_rows: bool = False

    def checksum(self) -> str:
        """The checksum of its values as text: of the whole where that can be told, else of each slice."""
        checksums = [unmask_crc32c(checksum) for checksum in self.crc32c]
        if self.is_cut_in_rows:
            whole = 0
            for checksum, size_bytes in zip(checksums, self.part_bytes, strict=True):
                whole = combine_crc32c(whole, checksum, size_bytes)
            checksums = [whole]
        return "crc32c " + " ".join(f"{checksum:08x}" for checksum in checksums)


class Checkpoint(NamedTuple):
    """The values: how many shards and bytes, and every tensor by key, sorted."""

    shards: int
    size_bytes: int
    tensors: tuple[CheckpointTensor, ...]


class Parameters(NamedTuple):
    """Counts of numbers: of the root's `variables`, of what is trainable in it, of all in the file."""

    total: int
    trainable: int
    in_file: int


class Fingerprint(NamedTuple):
    """fingerprint.pb: hashes that TensorFlow took when it saved the model."""

    saved_model_checksum: int
    graph_def_program_hash: int
    signature_def_hash: int
    saved_object_graph_hash: int
    checkpoint_hash: int
    version: int
    uuid: str


class Sizes(NamedTuple):
    """Bytes of the model's files by part; None for what was not read of an archive."""

    graph: int
    variables: int | None
    assets: int | None
    other: int | None

    @property
    def total(self) -> int | None:
        """All of them."""
        if self.variables is None or self.assets is None or self.other is None:
            return None
        return self.graph + self.variables + self.assets + self.other


class SavedModelInfo(NamedTuple):
    """A SavedModel, read. `root_class` is what the root object says of its class, None in TensorFlow 1."""

    format: ModelFormat
    root_class: str | None
    meta_graphs: tuple[MetaGraph, ...]
    functions: tuple[Function, ...]
    variables: tuple[Variable, ...]
    lists: VariableLists
    parameters: Parameters
    checkpoint: Checkpoint | None
    assets: tuple[Asset, ...]
    fingerprint: Fingerprint | None
    sizes: Sizes
    findings: tuple[Issue, ...]
    reusable: Conformance

    @property
    def tensorflow_version(self) -> str | None:
        """The release of TensorFlow that wrote it, None where no graph tells."""
        return next(
            (graph.tensorflow_version for graph in self.meta_graphs if graph.tensorflow_version), None
        )


if not TYPE_CHECKING:  # To the type checker the old names are gone.

    def __getattr__(name: str) -> object:
        return renamed(__name__, name)
