"""Packages that register ops of their own, and what else is known of an op that TensorFlow lacks.

op_packages.tsv names the package of each op, with the release that was read; a `*` there means that the names
come from the library's strings, since loading it needs CUDA.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["described_unknown_op", "module_of", "package_by_op", "pip_command"]

_OP_PACKAGES = Path(__file__).with_name("op_packages.tsv")
# Packages whose module has a different name.
_MODULES = {
    "tensorflow-addons": "tensorflow_addons",
    "tensorflow-compression-ops": "tensorflow_compression",
    "tf-sentencepiece": "tf_sentencepiece",
}
# Packages with a release of the same number for each of TensorFlow's.
_IN_STEP = frozenset({"tensorflow-text"})


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
    from hubcli.savedmodel.targets.releases import op_releases  # Most models have no such op.

    package = package_by_op().get(op)
    if package is not None:
        return f"{package.split()[0]} has it"
    table = op_releases()
    span = table.span(op)
    return "" if span is None else f"{table.releases[span.last]} was the last release with it"
