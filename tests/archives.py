"""Tar archives of any make, piece by piece: what a packer writes, and what an attacker does.

Every builder gives the bytes of one member; `tar` joins them. Names are bytes
where they are no text.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

__all__ = [
    "END",
    "UNSAFE_NAMES",
    "MakeMember",
    "Pack",
    "base256_file",
    "block_device",
    "bzipped",
    "character_device",
    "chunked",
    "directory",
    "fifo",
    "file",
    "gnu_long_named_file",
    "gnu_sparse",
    "gzip_members",
    "gzipped",
    "gzipped_twice",
    "hard_link",
    "header",
    "long_link",
    "old_directory",
    "old_file",
    "packed_by_tarfile",
    "pax",
    "pax_global",
    "pax_named_file",
    "pax_sparse_file",
    "raw_pax",
    "read_tree",
    "seal",
    "symbolic_link",
    "tar",
    "tar_of_tree",
    "xzipped",
]

MakeMember: TypeAlias = Callable[[str], bytes]
"""A builder of a member by its name."""

Pack: TypeAlias = Callable[[bytes], bytes]
"""A compression."""

BLOCK = 512
END = bytes(2 * BLOCK)
_USTAR, _GNU, _OLD = b"ustar\x0000", b"ustar  \0", bytes(8)

# What no member may be called, by what is wrong with it.
UNSAFE_NAMES: dict[str, str] = {
    "absolute": "/etc/hubcli-canary",
    "doubly absolute": "//etc/hubcli-canary",
    "above": "../canary",
    "above from below": "a/../../canary",
    "parent in the middle": "a/../b",
    "parent at the end": "a/..",
    "drive": "C:/canary",
    "drive without a slash": "c:canary",
    "stream": "canary:stream",
    "backslash": "a\\b",
    "backslash above": "..\\canary",
    "UNC": "\\\\host\\share",
    "newline": "a\nb",
    "escape": "a\x1b[2Jb",
    "delete": "a\x7fb",
    "C1 control": "a\x9bb",
    "reserved": "nul",
    "reserved in capitals": "AUX",
    "reserved with a suffix": "con.txt",
    "reserved directory": "prn/a",
    "reserved port": "lpt1.tar.gz",
    "reserved superscript port": "com²",
    "reserved console": "CONIN$",
    "trailing dot": "a.",
    "trailing space": "a ",
    "directory with a trailing dot": "a./b",
    "three dots": ".../canary",
}


def seal(block: bytes) -> bytes:
    """The header block with a good checksum."""
    blank = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(blank) + block[156:]


def header(
    name: str | bytes,
    *,
    kind: bytes = b"0",
    size: int = 0,
    size_field: bytes | None = None,
    mode: int = 0o644,
    owner: int = 0,
    link: str | bytes = b"",
    magic: bytes = _USTAR,
    prefix: str | bytes = b"",
    device: bytes = b"",
) -> bytes:
    """A header block. `size_field` stands in place of the octal size."""
    fields = (
        (_bytes(name), 100),
        (b"%07o\0" % mode, 8),
        (b"%07o\0" % owner, 8),
        (b"%07o\0" % owner, 8),
        (b"%011o\0" % size if size_field is None else size_field, 12),
        (b"%011o\0" % 1_600_000_000, 12),
        (b"", 8),
        (kind, 1),
        (_bytes(link), 100),
        (magic, 8),
        (b"root", 32),
        (b"root", 32),
        (device, 16),
        (_bytes(prefix), 155),
    )
    for value, width in fields:
        assert len(value) <= width, (value, width)
    return seal(b"".join(value.ljust(width, b"\0") for value, width in fields).ljust(BLOCK, b"\0"))


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def file(
    name: str | bytes,
    content: bytes = b"content",
    *,
    mode: int = 0o644,
    owner: int = 0,
    prefix: str | bytes = b"",
) -> bytes:
    """A regular file."""
    return header(name, size=len(content), mode=mode, owner=owner, prefix=prefix) + _padded(content)


def base256_file(name: str, content: bytes, *, claimed_size: int | None = None) -> bytes:
    """A file whose size stands in GNU's base-256 form; it may claim another size than it has."""
    size = len(content) if claimed_size is None else claimed_size
    return header(name, size_field=b"\x80" + size.to_bytes(11, "big"), magic=_GNU) + _padded(content)


def old_file(name: str, content: bytes = b"content") -> bytes:
    """A file in the format before POSIX: no magic bytes, no type."""
    return header(name, kind=b"\0", size=len(content), magic=_OLD) + _padded(content)


def old_directory(name: str) -> bytes:
    """A directory in the format before POSIX: a file whose name ends with a slash."""
    return header(f"{name}/", kind=b"\0", magic=_OLD)


def directory(name: str | bytes, *, mode: int = 0o755) -> bytes:
    """A directory."""
    return header(_bytes(name) + b"/", kind=b"5", mode=mode)


def hard_link(name: str, target: str) -> bytes:
    """A hard link."""
    return header(name, kind=b"1", link=target)


def symbolic_link(name: str, target: str) -> bytes:
    """A symbolic link."""
    return header(name, kind=b"2", link=target)


def character_device(name: str) -> bytes:
    """The device that /dev/null is."""
    return header(name, kind=b"3", device=b"0000001\x000000003\0")


def block_device(name: str) -> bytes:
    """The device that /dev/sda is."""
    return header(name, kind=b"4", device=b"0000010\x000000000\0")


def fifo(name: str) -> bytes:
    """A named pipe."""
    return header(name, kind=b"6")


def long_link(name: str, target: str) -> bytes:
    """A symbolic link with a target of more than 100 bytes, as GNU tar writes it."""
    data = _bytes(target) + b"\0"
    return (
        header("././@LongLink", kind=b"K", size=len(data), magic=_GNU)
        + _padded(data)
        + header(name, kind=b"2", link=target[:100], magic=_GNU)
    )


def gnu_sparse(name: str) -> bytes:
    """A sparse file of GNU's own type: one stored block of a gibibyte."""
    block = header(name, kind=b"S", size=BLOCK, magic=_GNU)
    sparse_map = b"%011o\0%011o\0" % (0, BLOCK)
    old = block[:386] + sparse_map.ljust(96, b"\0") + b"\0" + b"%011o\0" % (1 << 30)
    return seal(old.ljust(BLOCK, b"\0")) + bytes(BLOCK)


def pax_sparse_file(name: str) -> bytes:
    """A sparse file as GNU tar writes it in the pax format, version 1.0."""
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 30)}
    return pax({**records, "GNU.sparse.name": name}) + file("GNUSparseFile.0/a", b"0\n".ljust(BLOCK, b"\0"))


def pax(records: dict[str, str | bytes], *, kind: bytes = b"x") -> bytes:
    """An extension header with the records."""
    data = b"".join(_record(key.encode(), _bytes(value)) for key, value in records.items())
    return raw_pax(data, kind=kind)


def raw_pax(data: bytes, *, kind: bytes = b"x") -> bytes:
    """An extension header with any data."""
    return header("PaxHeaders/a", kind=kind, size=len(data)) + _padded(data)


def pax_global(records: dict[str, str | bytes]) -> bytes:
    """An extension header for all members."""
    return pax(records, kind=b"g")


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def pax_named_file(name: str | bytes, content: bytes = b"content") -> bytes:
    """A file whose name stands in a pax header."""
    return pax({"path": name}) + file("shortened", content)


def gnu_long_named_file(name: str | bytes, content: bytes = b"content") -> bytes:
    """A file whose name stands in a GNU header of type L, the header itself holding 100 bytes of it."""
    data = _bytes(name) + b"\0"
    return (
        header("././@LongLink", kind=b"L", size=len(data), magic=_GNU)
        + _padded(data)
        + header(_bytes(name)[:100], size=len(content), magic=_GNU)
        + _padded(content)
    )


def tar(*members: bytes, end: bytes = END) -> bytes:
    """The members and the end marker; `end=b""` leaves it out."""
    return b"".join(members) + end


def packed_by_tarfile(files: dict[str, bytes], form: int) -> bytes:
    """The archive that the standard library makes, in one of its formats."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return plain.getvalue()


def tar_of_tree(files: dict[str, bytes]) -> bytes:
    """The files, and an entry for each directory before what it holds, as `tar -C model .` writes them."""
    members, known = [directory(".")], set[str]()
    for path, content in sorted(files.items()):
        for parent in reversed(Path(path).parents[:-1]):
            if str(parent) not in known:
                known.add(str(parent))
                members.append(directory(f"./{parent}"))
        members.append(file(f"./{path}", content))
    return tar(*members)


def read_tree(top: Path) -> dict[str, bytes]:
    """The content of each file below `top`, by relative path with `/`."""
    return {
        path.relative_to(top).as_posix(): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_file()
    }


def gzipped(data: bytes) -> bytes:
    """One gzip stream, the same each time."""
    return gzip.compress(data, mtime=0)


def gzip_members(pieces: Iterable[bytes]) -> bytes:
    """A gzip stream for each piece, one behind the other."""
    return b"".join(map(gzipped, pieces))


def gzipped_twice(data: bytes) -> bytes:
    """Gzip within gzip, as a host with a Content-Encoding of its own sends it."""
    return gzipped(gzipped(data))


def bzipped(data: bytes) -> bytes:
    """A bzip2 stream."""
    return bz2.compress(data)


def xzipped(data: bytes) -> bytes:
    """An xz stream."""
    return lzma.compress(data)


def chunked(data: bytes, size: int = 1 << 16) -> Iterable[bytes]:
    """The data in pieces, as a network delivers it."""
    return (data[start : start + size] for start in range(0, len(data), size))
