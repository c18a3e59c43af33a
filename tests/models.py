"""Small SavedModels as directories and archives, made without TensorFlow."""

from __future__ import annotations

import functools
import gzip
import io
import json
import random
import struct
import tarfile
from importlib import resources
from pathlib import Path, PurePosixPath

CORPUS = Path(__file__).parent.parent.parent / "shared" / "corpus"


def example_files() -> dict[str, bytes]:
    """The files of the built-in example, by path."""
    return dict(_example_files())


@functools.cache
def _example_files() -> dict[str, bytes]:
    packed = (resources.files("hubcli.examples") / "mul-1.tar.gz").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        return {
            member.name.removeprefix("./"): archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
            if member.isfile()
        }


def pack(files: dict[str, bytes], *, prefix: str = "./", with_folders: bool = False, level: int = 9) -> bytes:
    """A tar.gz of the files; tensorflow_hub reads it only with entries of its folders.

    `level` is that of the compression: 0 is for megabytes of random bytes, which get no smaller.
    """
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        folders = (
            {str(parent) for path in files for parent in PurePosixPath(path).parents} if with_folders else ()
        )
        for folder in sorted(folders):
            info = tarfile.TarInfo(prefix + folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        for path, content in files.items():
            info = tarfile.TarInfo(prefix + path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), level, mtime=0)


def archive(**extra: bytes) -> bytes:
    """A tar.gz of the built-in example, with extra files whose names have `__` for `/`."""
    if not extra:
        return _packed_example()
    return pack({**example_files(), **{name.replace("__", "/"): content for name, content in extra.items()}})


@functools.cache
def _packed_example() -> bytes:
    return pack(_example_files())


@functools.cache
def large_content() -> bytes:
    """Random bytes, enough for several connections; a process makes them once for all its tests."""
    return random.Random(3).randbytes(9 << 20)


@functools.cache
def large_archive() -> bytes:
    """A tar.gz of the built-in example with them as `assets.extra/large`."""
    return pack({**example_files(), "assets.extra/large": large_content()}, level=0)


def write_tree(folder: Path, files: dict[str, bytes]) -> Path:
    """The files below the folder."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def tree_files(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_safetensors(path: Path, **values: list[float]) -> Path:
    """A .safetensors file of float32 numbers; one number is a scalar.

    Source of the format: https://huggingface.co/docs/safetensors.
    """
    header, data = {}, b""
    for name, numbers in values.items():
        packed = struct.pack(f"<{len(numbers)}f", *numbers)
        shape = [] if len(numbers) == 1 else [len(numbers)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)
    return path
