"""Which release of TensorFlow has which op, attribute and element type, and which package has other ops.

Read from the libraries of the releases themselves by tools/make_op_releases.py; op_releases.tsv.gz is its
table, of 13 kB for 2,000 ops in 18 releases. Its first line names the releases. Then come `type NAME RELEASE`
for element types that the oldest one lacks, `reference OP` for ops whose outputs are references, and for each
op its name, first and last release (empty: all before, all after), later attributes with their defaults,
attributes whose allowed types changed, and releases that lack a kernel for CPUs which others have.

op_packages.tsv names the package of each op, with the release that was read; a `*` there means that the names
come from the library's strings, since loading it needs CUDA.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from hubcli.formats.tensor_layout import DTYPE_ENUM

__all__ = [
    "LaterAttribute",
    "OpReleases",
    "OpSpan",
    "described_unknown_op",
    "module_of",
    "op_releases",
    "package_by_op",
    "pip_command",
    "release_key",
]

_TABLE = Path(__file__).with_name("op_releases.tsv.gz")
_OP_PACKAGES = Path(__file__).with_name("op_packages.tsv")
# Packages whose module has a different name.
_MODULES = {
    "tensorflow-addons": "tensorflow_addons",
    "tensorflow-compression-ops": "tensorflow_compression",
    "tf-sentencepiece": "tf_sentencepiece",
}
# Packages with a release of the same number for each of TensorFlow's.
_IN_STEP = frozenset({"tensorflow-text"})


def release_key(release: str) -> tuple[int, ...]:
    """A key that sorts releases.

    >>> release_key("2.9") < release_key("2.10")
    True
    """
    return tuple(int(part) for part in release.split("."))


class OpSpan(NamedTuple):
    """The releases that have an op: places in the list of releases, both included."""

    first: int
    last: int


class LaterAttribute(NamedTuple):
    """An attribute that is newer than its op: the place of its first release, its default as an AttrValue."""

    first: int
    default: bytes


class OpReleases:
    """The table; releases are numbered by their place in `releases`, oldest first."""

    def __init__(self, text: str) -> None:
        head, *lines = text.splitlines()
        self.releases: tuple[str, ...] = tuple(head.split("\t")[1].split())
        self._places = {release: place for place, release in enumerate(self.releases)}
        self._types: dict[int, int] = {}
        references = set[str]()
        self._lines: dict[str, str] = {}
        for line in lines:
            op, _, rest = line.partition("\t")
            if op == "type":
                word, release = rest.split("\t")
                self._types[DTYPE_ENUM[f"DT_{word}"]] = self._places[release]
            elif op == "reference":
                references.add(rest)
            else:
                self._lines[op] = rest
        self.reference_ops = frozenset(references)

    def place(self, release: str) -> int:
        """The place of a release in `releases`."""
        return self._places[release]

    def span(self, op: str) -> OpSpan | None:
        """The releases that have the op; None if none has it."""
        if op not in self._lines:
            return None
        first, last = self._column(op, 0), self._column(op, 1)
        return OpSpan(
            self._places[first] if first else 0, self._places[last] if last else len(self.releases) - 1
        )

    def has(self, op: str, place: int) -> bool:
        """Whether the release has the op."""
        span = self.span(op)
        return span is not None and span.first <= place <= span.last

    def later_attributes(self, op: str) -> dict[str, LaterAttribute]:
        """The op's attributes that its first release lacked, by name."""
        return {
            name: LaterAttribute(self._places[release], bytes.fromhex(default))
            for name, value in self._pairs(op, 2)
            for release, default in [value.split(":")]
        }

    def allowed_types(self, op: str) -> dict[str, tuple[tuple[int, frozenset[int] | None], ...]]:
        """For attributes whose allowed types changed: first release and types, None for all types."""
        return {
            name: tuple(
                (
                    self._places[release],
                    None if types == "*" else frozenset(int(number) for number in types.split(".")),
                )
                for release, types in (change.split(":") for change in value.split("|"))
            )
            for name, value in self._pairs(op, 3)
        }

    def lacks_kernel(self, op: str) -> frozenset[str]:
        """The releases that have the op without a kernel for CPUs, though others have one."""
        return frozenset(self._column(op, 4).split())

    def type_span(self, number: int) -> int | None:
        """The place of the first release that has the element type; None if no release has it."""
        return self._types.get(number, 0 if number in _KNOWN_TYPES else None)

    def _column(self, op: str, column: int) -> str:
        columns = self._lines.get(op, "").split("\t")
        return columns[column] if column < len(columns) else ""

    def _pairs(self, op: str, column: int) -> list[tuple[str, str]]:
        pairs = (pair.partition("=") for pair in self._column(op, column).split())
        return [(name, value) for name, _, value in pairs]


_KNOWN_TYPES = frozenset(DTYPE_ENUM.values())


@cache
def op_releases() -> OpReleases:
    """The table of the package, read once."""
    import gzip  # A run reads the packages alone.

    return OpReleases(gzip.decompress(_TABLE.read_bytes()).decode())


@cache
def package_by_op() -> dict[str, str]:
    """The package of each op that isn't TensorFlow's own, with the release that was read."""
    lines = _OP_PACKAGES.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t")[:2] for line in lines if line and line[:1] != "#")


def module_of(package: str) -> str:
    """The Python module of a package."""
    return _MODULES.get(package, package.replace("-", "_"))


def pip_command(package: str, release: str | None = None) -> str:
    """The command that installs the package, in the version for that release of TensorFlow."""
    if release is not None and package in _IN_STEP:
        return f"pip install '{package}=={release}.*'"
    return f"pip install {package}"


def described_unknown_op(op: str) -> str:
    """Which package or older release has an op that TensorFlow 2.21 lacks, if any is known."""
    package = package_by_op().get(op)
    if package is not None:
        return f"{package.split()[0]} has it"
    table = op_releases()
    span = table.span(op)
    return "" if span is None else f"{table.releases[span.last]} was the last release with it"
