"""A SavedModel: its files in a directory or an archive, and all that is read from them.

The types of this room are named tuples: defining forty frozen dataclasses takes 25 ms, of the 200 that
`inspect` may take.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hubcli._moved import renamed
from hubcli.formats import MAIN_FILES
from hubcli.formats.checksums import combine_crc32c, unmask_crc32c
from hubcli.formats.tensor_bundle import BundleIndex
from hubcli.issues import Issue, Severity
from hubcli.regular_file import file_sha256
from hubcli.savedmodel.functions import Function, Signature
from hubcli.savedmodel.layout import ModelFormat, read_index
from hubcli.savedmodel.types import Shape
from hubcli.savedmodel.variables import Variable, VariableLists

if TYPE_CHECKING:
    from hubcli.savedmodel.targets.obstacle import TargetReport

__all__ = [
    "Asset",
    "Checkpoint",
    "CheckpointTensor",
    "Conformance",
    "Fingerprint",
    "MetaGraph",
    "ModelFiles",
    "Parameters",
    "SavedModelInfo",
    "Sizes",
]


class Conformance(NamedTuple):
    """Whether the model has the Reusable SavedModel interface, and every problem."""

    problems: tuple[Issue, ...]

    @property
    def conforms(self) -> bool:
        """Whether the model has the interface; warnings and hints may remain."""
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
    """A file that the model declares. `size_bytes` is None if it is missing.

    `sha256`, in hex, is None unless it was requested. `is_present` is None if the rest of an archive was not
    read.
    """

    path: str
    size_bytes: int | None
    is_present: bool | None
    sha256: str | None = None


class CheckpointTensor(NamedTuple):
    """A tensor of the checkpoint. `parts` is the number of its slices.

    `crc32c` has the masked checksum of each, `part_bytes` its size. `is_cut_in_rows` says that they follow
    each other along the first dimension, so that their bytes in a row are those of the tensor.
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
        """The checksum of its values as text: of the whole if that is known, else of each slice."""
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
    """Counts of parameters: in the root's `variables`, in the trainable ones of these, in the file."""

    total: int
    trainable: int
    in_file: int


class Fingerprint(NamedTuple):
    """fingerprint.pb: hashes that TensorFlow computed when it saved the model."""

    saved_model_checksum: int
    graph_def_program_hash: int
    signature_def_hash: int
    saved_object_graph_hash: int
    checkpoint_hash: int
    version: int
    uuid: str


class Sizes(NamedTuple):
    """Bytes of the model's files by part; None for parts of an archive that were not read."""

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
    """A SavedModel, read. `root_class` is the root object's identifier of its class, None in TensorFlow 1.

    `compatibility` has a report for each requested target, None without targets.
    """

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
    compatibility: tuple[TargetReport, ...] | None = None

    @property
    def tensorflow_version(self) -> str | None:
        """The release of TensorFlow that wrote it, None if no graph records it."""
        return next(
            (graph.tensorflow_version for graph in self.meta_graphs if graph.tensorflow_version), None
        )


class ModelFiles:
    """The files in the directory `top`, at least the main file, and the index if the model has one.

    `sizes_bytes` has all known files by path; `is_complete` says that there are no others. `links_out` are
    symbolic links to files outside of the model.
    """

    __slots__ = ("is_complete", "links_out", "sizes_bytes", "top")

    def __init__(
        self,
        top: Path,
        sizes_bytes: Mapping[str, int],
        is_complete: bool = True,
        links_out: tuple[str, ...] = (),
    ) -> None:
        self.top = top
        self.sizes_bytes = sizes_bytes
        self.is_complete = is_complete
        self.links_out = links_out

    @classmethod
    def of_directory(cls, top: Path) -> ModelFiles:
        """All files below the directory; none if it is not a model. Raises OSError."""
        sizes, links = dict[str, int](), list[str]()
        if not any(path.name in MAIN_FILES for path in top.iterdir()):
            return cls(top, sizes)
        inside = os.path.realpath(top)
        for folder, _, names in os.walk(top, onerror=_raise):
            for name in names:
                path = Path(folder, name)
                # Unlike Path.resolve, this accepts links that lead to themselves.
                if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                    links.append(path.relative_to(top).as_posix())
                if path.is_file():  # Not a link that leads nowhere.
                    sizes[path.relative_to(top).as_posix()] = path.stat().st_size
        return cls(top, sizes, links_out=tuple(links))

    def index(self) -> BundleIndex | None:
        """The index of the checkpoint, None if the model has none; raises BrokenModelError, OSError."""
        return read_index(self.top / "variables")

    def has(self, path: str) -> bool:
        """Whether the file is there."""
        return path in self.sizes_bytes

    def asset(self, path: str, *, is_hashed: bool = False) -> Asset:
        """The declared asset of that path, present or not; with its SHA-256 if `is_hashed`."""
        size = self.sizes_bytes.get(posixpath.normpath(path))
        digest = None
        if is_hashed and self.is_complete and size is not None:
            digest = file_sha256(self.top / path)
        return Asset(path, size, True if size is not None else False if self.is_complete else None, digest)

    def sizes(self) -> Sizes:
        """The bytes by part of the model."""
        parts = {"graph": 0, "variables": 0, "assets": 0, "other": 0}
        for path, size in self.sizes_bytes.items():
            folder, _, rest = path.partition("/")
            part = "graph" if path in MAIN_FILES else folder if rest and folder in parts else "other"
            parts[part] += size
        if self.is_complete:
            return Sizes(**parts)
        return Sizes(parts["graph"], None, None, None)


def _raise(error: OSError) -> None:
    raise error


if not TYPE_CHECKING:  # To the type checker the old names are gone.

    def __getattr__(name: str) -> object:
        return renamed(__name__, name)
