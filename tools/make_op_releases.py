"""Updates hubcli/savedmodel/targets/op_releases.tsv.gz: what each release of TensorFlow registers.

    python -m tools.make_op_releases --keep FOLDER 2.4=python3.8 … 2.21    # the whole table
    python -m tools.make_op_releases --keep FOLDER 2.22                    # one more

Run it from the top of the repository, with TensorFlow (its protobuf modules read the lists). Of each release
the wheel of tensorflow-cpu is downloaded by pip and unpacked in a temporary directory; a process of its own
loads the libraries, and `TF_GetAllOpList` says what they register. Nothing is installed. Libraries up to 2.11
need the Python that their wheel is for: `RELEASE=PYTHON` names it. `--keep` leaves the list of each release
in FOLDER, a few hundred kilobytes, and reads those that are there.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tensorflow.core.framework import kernel_def_pb2, op_def_pb2

_TARGET = Path(__file__).parent.parent / "hubcli" / "savedmodel" / "targets" / "op_releases.tsv.gz"
# What registers ops, in the order in which they are loaded; no release has all of them.
_LIBRARIES = (
    "tensorflow/libtensorflow_framework.so.2",
    "tensorflow/python/lib_pywrap_tensorflow_common.so",
    "tensorflow/libtensorflow_cc.so.2",
    "tensorflow/python/_pywrap_tensorflow_internal.so",
)
_LIBRARY = re.compile(r".*\.so(\.\d+)?")
_ENUM_FILE = "tensorflow/core/framework/types_pb2.py"
_PLATFORMS = (
    "manylinux2010_x86_64",
    "manylinux2014_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux_2_27_x86_64",
)
# In the serialized descriptor, whose first letter is written as its number behind some others.
_TYPE_NAME = re.compile(r"(?:D|\\x44)T_([A-Z][A-Z0-9_]*)\\x10")
# Ops whose kernels are in a library of their own, which `import tensorflow` loads.
_KERNELS_ELSEWHERE = frozenset({"SobolSample"})
_READ_OPS = """
import ctypes, sys
class Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("free", ctypes.c_void_p)]
for library in sys.argv[3:]:
    loaded = ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
loaded.TF_GetAllOpList.restype = ctypes.POINTER(Buffer)
ops = loaded.TF_GetAllOpList().contents
open(sys.argv[1], "wb").write(ctypes.string_at(ops.data, ops.length))
loaded.TF_NewStatus.restype = ctypes.c_void_p
loaded.TF_GetAllRegisteredKernels.argtypes = [ctypes.c_void_p]
loaded.TF_GetAllRegisteredKernels.restype = ctypes.POINTER(Buffer)
kernels = loaded.TF_GetAllRegisteredKernels(loaded.TF_NewStatus()).contents
open(sys.argv[2], "wb").write(ctypes.string_at(kernels.data, kernels.length))
"""


class Release(NamedTuple):
    """A release, the ops that it registers by name, the types that it knows, ops with CPU kernels."""

    name: str
    ops: dict[str, Any]
    types: frozenset[str]
    kernels: frozenset[str]


def read_release(name: str, python: str, store: Path) -> Release:
    """What the release registers: from the files kept of it, else from its wheel."""
    files = [store / f"{name}.{part}" for part in ("types.json", "ops", "kernels")]
    if not all(file.exists() for file in files):
        with tempfile.TemporaryDirectory() as folder:
            _unpack(name, python, Path(folder), *files)
    types, ops, kernels = (file.read_bytes() for file in files)
    return Release(
        name,
        {op.name: op for op in op_def_pb2.OpList.FromString(ops).op},
        frozenset(json.loads(types)),
        frozenset(
            kernel.op
            for kernel in kernel_def_pb2.KernelList.FromString(kernels).kernel
            if kernel.device_type in ("CPU", "DEFAULT")
        ),
    )


def _unpack(name: str, python: str, folder: Path, types: Path, ops: Path, kernels: Path) -> None:
    version = subprocess.check_output(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
    ).strip()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    command += ["--only-binary=:all:", "--python-version", version, "--dest", str(folder)]
    command += [word for platform in _PLATFORMS for word in ("--platform", platform)]
    subprocess.run([*command, f"tensorflow-cpu=={name}.*"], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        there = [member for member in archive.namelist() if _LIBRARY.fullmatch(member)]
        archive.extractall(folder, there)
        words = _TYPE_NAME.findall(archive.read(_ENUM_FILE).decode())
    wheel.unlink()
    types.write_text(json.dumps(sorted({word for word in words if not word.endswith("_REF")})))
    paths = [str(folder / library) for library in _LIBRARIES if library in there]
    folders = ":".join(sorted({str((folder / library).parent) for library in there}))
    command = [python, "-c", _READ_OPS, str(ops), str(kernels), *paths]
    subprocess.run(command, check=True, cwd=folder, env={**os.environ, "LD_LIBRARY_PATH": folders})


def table(releases: list[Release]) -> Iterator[str]:
    """The lines of the table: types, ops whose outputs are references, then every op."""
    yield "# releases\t" + " ".join(release.name for release in releases)
    oldest, newest = releases[0], releases[-1]
    for word in sorted(newest.types):
        first = next(release.name for release in releases if word in release.types)
        if first != oldest.name:
            yield f"type\t{word}\t{first}"
    names = sorted({op for release in releases for op in release.ops})
    for name in names:
        ops = {release.name: release.ops[name] for release in releases if name in release.ops}
        if any(argument.is_ref for op in ops.values() for argument in op.output_arg):
            yield f"reference\t{name}"
    for name in names:
        ops = {release.name: release.ops[name] for release in releases if name in release.ops}
        first, last = next(iter(ops)), next(reversed(ops))
        yield "\t".join(
            (
                name,
                "" if first == oldest.name else first,
                "" if last == newest.name else last,
                " ".join(_later_attributes(ops)),
                " ".join(_changed_types(ops)),
                " ".join(_without_kernel(name, releases)),
            )
        ).rstrip("\t")


def _later_attributes(ops: dict[str, Any]) -> Iterator[str]:
    """`name=release:default` of each attribute that came after the op; the default is an AttrValue in hex."""
    first = next(iter(ops))
    seen: dict[str, str] = {}
    for release, op in ops.items():
        for attribute in op.attr:
            if attribute.name not in seen:
                seen[attribute.name] = release
                if release != first:
                    default = attribute.default_value.SerializeToString(deterministic=True).hex()
                    yield f"{attribute.name}={release}:{default}"


def _changed_types(ops: dict[str, Any]) -> Iterator[str]:
    """`name=release:types|…` of each attribute whose allowed types changed: from which release on, which.

    Types are their numbers, joined by dots; `*` is any type.
    """
    changes: dict[str, list[tuple[str, str]]] = {}
    for release, op in ops.items():
        for attribute in op.attr:
            if attribute.type in ("type", "list(type)"):
                numbers = sorted(attribute.allowed_values.list.type)
                allowed = ".".join(map(str, numbers)) or "*"
                known = changes.setdefault(attribute.name, [])
                if not known or known[-1][1] != allowed:
                    known.append((release, allowed))
    for name, known in sorted(changes.items()):
        if len(known) > 1:
            yield f"{name}=" + "|".join(f"{release}:{allowed}" for release, allowed in known)


def _without_kernel(op: str, releases: list[Release]) -> Iterator[str]:
    """The releases that have the op and no kernel of it for CPUs, where others have one."""
    if op not in _KERNELS_ELSEWHERE and any(op in release.kernels for release in releases):
        for release in releases:
            if op in release.ops and op not in release.kernels:
                yield release.name


def main() -> None:
    """Writes the table of the releases that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("releases", nargs="+", metavar="RELEASE[=PYTHON]")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the list of each release here")
    options = parser.parse_args()
    pythons = dict(text.partition("=")[::2] for text in options.releases)
    with tempfile.TemporaryDirectory() as folder:
        store = options.keep or Path(folder)
        store.mkdir(parents=True, exist_ok=True)
        found = {file.stem: "" for file in store.glob("*.ops")} | pythons
        order = sorted(found, key=lambda name: tuple(map(int, name.split("."))))
        releases = [read_release(name, found[name] or sys.executable, store) for name in order]
    text = "\n".join(table(releases)) + "\n"
    # Without the time, so that the same table gives the same bytes.
    _TARGET.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{len(releases)} releases, {len(text)} bytes, {_TARGET.stat().st_size} compressed")


if __name__ == "__main__":
    main()
