"""The scan of assets: pickles, archives with code, native libraries, Python; and no false alarms."""

from __future__ import annotations

import bz2
import collections
import gzip
import importlib.util
import io
import lzma
import os
import pickle
import struct
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli.issues import Issue, Severity
from hubcli.savedmodel.checks.file_scan import scan_files
from hubcli.savedmodel.checks.file_signatures import is_pickle
from hubcli.savedmodel.model import ModelFiles
from tests.cases import each_of


class Marker:
    """What a hostile pickle is: it calls a function where it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch marker",)


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    """A tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def old_tar(name: str) -> bytes:
    """A tar of Unix v7, which has no magic bytes."""
    header = bytearray(tarred({name: b"1"}))
    header[257:512], header[148:156] = bytes(255), b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header)


def npy(descr: str) -> bytes:
    """The beginning of a NumPy file."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + bytes(8)


PE = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + bytes(64)
PYC = importlib.util.MAGIC_NUMBER + bytes(12) + b"\xe3" + bytes(60)
ELF = b"\x7fELF\x02\x01\x01" + bytes(64)
# As joblib writes an array: the pickle is interrupted by its bytes.
JOBLIB = pickle.dumps(collections.OrderedDict(a=1), 3)[:-1] + b"\x93\xff\x00" * 50_000
PADDED = b"\x80\x04" + b"N0" * 40_000
NOISE = os.urandom(9000)


def _large_archive_in_an_archive() -> bytes:
    return zipped({"a": zipped({"r": os.urandom(1 << 20) * 9}, zipfile.ZIP_STORED)})


HOSTILE: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    **{f"protocol {number}": (pickle.dumps(Marker(), number), "pickle") for number in range(6)},
    **{f"a class, protocol {number}": (pickle.dumps(os.system, number), "pickle") for number in range(6)},
    "data alone": (pickle.dumps({"a": [1, 2]}, 0), "pickle"),
    "a large one": (pickle.dumps({"a": [os.urandom(1 << 17)] * 9, "b": Marker()}), "pickle"),
    "by hand": (b"cos\nsystem\n(S'touch marker'\ntR.", "pickle"),
    "by hand, an instance": (b"(S'touch marker'\nios\nsystem\n.", "pickle"),
    "by hand, with text behind": (b"cos\nsystem\n(S'touch marker'\ntR.\nwords\nwords\n", "pickle"),
    "joblib": (JOBLIB, "pickle"),
    "joblib, compressed": (zlib.compress(pickle.dumps(Marker())), "pickle"),
    "gzip": (gzip.compress(pickle.dumps(Marker())), "pickle"),
    "bzip2": (bz2.compress(pickle.dumps(Marker(), 0)), "pickle"),
    "torch": (zipped({"archive/data.pkl": pickle.dumps(Marker(), 2), "archive/data/0": b"1"}), "pickle"),
    "npy": (npy("'|O'"), "pickle"),
    "npy with fields": (npy("[('a', '<f4'), ('b', '|O')]"), "pickle"),
    "npz": (zipped({"a.npy": npy("'|O8'")}), "pickle"),
    "zip with source": (zipped({"a.txt": b"a", "package/__init__.py": b""}), "python-code"),
    "wheel": (
        zipped({"a-1.dist-info/METADATA": b"", "a/b.cpython-311-x86_64-linux-gnu.so": b""}),
        "archive-code",
    ),
    "zip behind a script": (b"#comment\n" * 9 + zipped({"__main__.py": b""}), "python-code"),
    "zip with a library": (zipped({"weights.bin": ELF}), "native-code"),
    "zip with a directory first": (zipped({"a/": b"", "a/b.py": b""}), "python-code"),
    "zip in a zip": (zipped({"a.zip": zipped({"a.py": b""})}), "python-code"),
    "tar": (tarred({"words.txt": b"a", "a/setup.py": b"1"}), "python-code"),
    "tar.gz": (gzip.compress(tarred({"a.so.1": b"1"})), "archive-code"),
    "tar.bz2": (bz2.compress(tarred({"a.pyc": PYC})), "python-code"),
    "tar.xz": (lzma.compress(tarred({"a": pickle.dumps(Marker())})), "pickle"),
    "ELF": (ELF, "native-code"),
    "this interpreter": (Path(sys.executable).resolve().read_bytes()[:4096], "native-code"),
    "Mach-O": (b"\xcf\xfa\xed\xfe" + bytes(64), "native-code"),
    "Mach-O of several machines": (b"\xca\xfe\xba\xbe" + bytes(64), "native-code"),
    "PE": (PE, "native-code"),
    "bytecode": (PYC, "python-code"),
    "behind many harmless opcodes": (PADDED[:30_000] + pickle.dumps(Marker(), 4)[2:], "pickle"),
    "behind 80 kB of them": (PADDED + pickle.dumps(Marker(), 4)[2:], "pickle"),
    "behind 80 kB of text": (PADDED[2:] + pickle.dumps(Marker(), 0), "pickle"),
    "behind a long word": (pickle.dumps(["w" * 70_000, Marker()], 0), "pickle"),
    "raw data behind the name of a function": (pickle.dumps(print, 4)[:-1] + b"\xff" * 64, "pickle"),
    "npy in other quotes": (npy('"|O"'), "pickle"),
    "npy with an escape": (npy(r"'\x4f'"), "pickle"),
    "npy by the type's name": (npy("'object'"), "pickle"),
    "npy with fields in text": (npy("'i4,O'"), "pickle"),
    "npy with fields in fields": (npy("[('a', [('b', '|O')])]"), "pickle"),
    "a pickle in a zip, behind opcodes": (
        zipped({"a": PADDED[2:9000] + pickle.dumps(Marker(), 0)}),
        "pickle",
    ),
    "a large zip in a zip": (zipped({"a": zipped({"r": NOISE, "a.py": b""})}), "python-code"),
    "a large zip in a tar": (tarred({"a": zipped({"r": NOISE, "a.py": b""})}), "python-code"),
    "a tar.gz in a zip": (zipped({"a": gzip.compress(tarred({"r": NOISE, "a.py": b""}))}), "python-code"),
    "a zip, compressed": (gzip.compress(zipped({"r": NOISE, "a.py": b""})), "python-code"),
    "compressed twice": (gzip.compress(bz2.compress(pickle.dumps(Marker()))), "pickle"),
    "compressed four times": (
        gzip.compress(gzip.compress(gzip.compress(gzip.compress(pickle.dumps(Marker()))))),
        "pickle",
    ),
    "a pickle by its name and first byte": (zipped({"archive/data.pkl": b"\x80"}), "pickle"),
    "compressed five times": (
        gzip.compress(gzip.compress(gzip.compress(gzip.compress(gzip.compress(b"a"))))),
        "not-scanned",
    ),
    # Made by its test alone: it takes 0.2 s, which each process would spend that imports this file.
    "a large archive in an archive": (_large_archive_in_an_archive, "not-scanned"),
    "an old tar": (old_tar("a.py"), "python-code"),
    "an old xz": (lzma.compress(pickle.dumps(Marker()), format=lzma.FORMAT_ALONE), "pickle"),
    "lz4": (b"\x04\x22\x4d\x18" + bytes(64), "not-scanned"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(64), "not-scanned"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(64), "not-scanned"),
    "a shell script": (b"#!/bin/sh\ntouch marker\n", "script"),
}


def scan(top: Path, path: str, content: bytes) -> list[Issue]:
    """The findings about a model with that file alone."""
    (top / "saved_model.pb").touch()
    (top / path).parent.mkdir(parents=True, exist_ok=True)
    (top / path).write_bytes(content)
    return list(scan_files(ModelFiles.of_directory(top)))


@each_of("kind", HOSTILE)
def test_code_is_found_by_content_under_any_name(kind: str, tmp_path: Path) -> None:
    content, code = HOSTILE[kind]
    if not isinstance(content, bytes):
        content = content()
    for path in ("assets/vocabulary.txt", "assets.extra/deep/er/tf_serving_warmup_requests"):
        top = tmp_path / code / path.partition("/")[0]
        top.mkdir(parents=True)
        (found,) = scan(top, path, content)
        assert (found.code, found.where) == (code, path)
        assert found.severity >= Severity.MEDIUM
    assert not Path("marker").exists()


def test_python_source_is_found_by_its_name(tmp_path: Path) -> None:
    (found,) = scan(tmp_path, "assets/a/setup.PY", b"print(1)\n")
    assert (found.code, found.severity) == ("python-code", Severity.MEDIUM)


HARMLESS = {
    "a vocabulary": b"\n".join(b"%d" % number for number in range(100_000)),
    "words that begin as a pickle": b"cat\ndog\n.\nR\n(\n",
    "words that begin as an instance": b"in\nthe\n.\nhat\n",
    "wordpieces": "\n".join(["[PAD]", "[UNK]", "##ing", "中", ".", "(", ")", "]"]).encode(),
    "numbers": b"I1\nI2\n.\n",
    "one point": b".",
    "nothing": b"",
    "a record of 640 bytes": struct.pack("<Q", 640) + bytes(2000),
    "a record of TF Serving": struct.pack("<Q", 0x0380) + b"\x1a\x2b\x3c\x4d" + b"\x0a\x20model" * 100,
    "JSON": b'{"a": [1, 2, {"b": "cos"}]}',
    "sentencepiece": b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02\n\x0c\n\x03<s>" * 9,
    "a lite model": b"\x1c\0\0\0TFL3" + bytes(4000),
    "npy of numbers": npy("'<f4'"),
    "npy of text": npy("'<U10'"),
    "npy of bytes": npy("'|u1'"),
    "npy of times": npy("'<M8[ns]'"),
    "npy of truth values": npy("'|b1'"),
    "npy of records": npy("[('x', '<f4'), (('O', 'y'), '|u1', (2, 3)), ('n', [('O', '<i8')])]"),
    "npy of Python 2": npy("'<i8'").replace(b"(1,)", b"(1L,)").replace(b"}\n", b"}"),
    "npz of numbers": zipped({"arr_0.npy": npy("'<f4'")}),
    "a zip of words": zipped({"words.txt": b"cat\ndog\n", "labels.json": b"{}"}),
    "a tar.gz of words": gzip.compress(tarred({"words.txt": b"cat\n"})),
    "a zip of zips of words": zipped({"a": zipped({"r": NOISE, "words.txt": b"cat"})}),
    "unknown bases": b"N" * 200_000,
    "a long line": b"The " + b"word " * 40_000,
    "text, compressed": gzip.compress(b"cat\ndog\n" * 1000),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "words of two": b"MZ is a word\nBZh too\nPK\x03\x04\n",
    "a heading": b"#! not a script\n",
    "zeros": bytes(1 << 17),
}


@each_of("kind", HARMLESS)
def test_what_models_have_beside_them_raises_no_alarm(kind: str, tmp_path: Path) -> None:
    for path in ("assets/vocabulary.txt", "assets.extra/tf_serving_warmup_requests"):
        assert scan(tmp_path, path, HARMLESS[kind]) == []


def test_random_bytes_are_no_pickle() -> None:
    import random

    source = random.Random(13)
    alarms = sum(is_pickle(bytes([0x80, 4]) + source.randbytes(5000), is_whole=True) for _ in range(2000))
    assert alarms <= 10
    alarms = sum(is_pickle(source.randbytes(5000), is_whole=True) for _ in range(2000))
    assert alarms == 0


def test_files_of_other_folders_are_not_looked_at(tmp_path: Path) -> None:
    assert scan(tmp_path, "variables/variables.data-00000-of-00001", pickle.dumps(Marker())) == []


def test_a_pipe_among_the_assets_is_not_waited_for(tmp_path: Path) -> None:
    scan(tmp_path, "assets/words", b"a")
    files = ModelFiles.of_directory(tmp_path)
    (tmp_path / "assets/words").unlink()
    os.mkfifo(tmp_path / "assets/words")  # Swapped in behind the listing.
    (found,) = scan_files(files)
    assert found.code == "not-scanned"
    (tmp_path / "assets/words").unlink()
    assert list(scan_files(files)) == []


def test_bombs_cost_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubcli.savedmodel.checks.file_scan._MAX_MEMBERS", 500)
    started = time.process_time()
    bomb = gzip.compress(tarred({f"{number}.txt": b"" for number in range(501)}))
    assert [finding.code for finding in scan(tmp_path, "assets/many.tar.gz", bomb)] == ["not-scanned"]
    bomb = gzip.compress(tarred({"a.txt": bytes(40 << 20)}), 1)
    assert [finding.code for finding in scan(tmp_path, "assets/many.tar.gz", bomb)] == ["not-scanned"]
    bomb = zipped({f"{number}.txt": b"" for number in range(501)})
    assert [finding.code for finding in scan(tmp_path, "assets/many.tar.gz", bomb)] == ["not-scanned"]
    assert time.process_time() - started < 10


def test_what_only_looks_like_pickles_costs_little(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    bomb = zipped({str(number): b"N0" * 2047 for number in range(1000)})
    for number in range(100):
        content = bomb if number % 3 == 0 else b"N0" * 30_000 + b"N." * (number % 3 == 1)
        (tmp_path / f"assets/{number:03}").write_bytes(content)
    started = time.process_time()
    found = scan(tmp_path, "assets/zzz", b"cat")
    assert time.process_time() - started < 8
    assert {finding.code for finding in found} == {"not-scanned"}
    assert "assets/zzz" not in {finding.where for finding in found}


def test_many_findings_are_cut(tmp_path: Path) -> None:
    for number in range(250):
        (tmp_path / "assets").mkdir(exist_ok=True)
        (tmp_path / f"assets/{number}").write_bytes(ELF)
    found = scan(tmp_path, "assets/x", b"")
    assert (len(found), found[-1].code) == (201, "more-findings")
