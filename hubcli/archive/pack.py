"""Reproducible archives: the same directory gives the same bytes on every machine and for every user.

What `inspect` needs comes first, so that a reader can stop behind it: the
graph, the small files that tell its kind, and the index of the
variables; the rest follows sorted by name. Times are 0, owners are 0 and
nameless, modes are 0644 and 0755, empty directories are left out.
Headers are written here, since those of the standard library changed between
releases. Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax
Header Block"; RFC 1952 (gzip); RFC 1951, 3.2.4 (stored blocks).

A `.tar.gz` stores its bytes without compressing them. No available compressor
gives the same output everywhere: zlib doesn't guarantee it, zlib-ng, which newer
builds of Python and some distributions have instead, differs from it and
from its own earlier releases, and ISA-L chooses its algorithm by the
processor (see zlib-ng's issue 2216, ISA-L's 140). Stored blocks are determined
by the standard and by their length alone. Weights hardly shrink anyway:
gzip takes a tenth off a BERT or a ResNet50, and is over ten times slower at it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from isal import isal_zlib

from hubcli.archive.tree import Tree, TreeNode
from hubcli.concurrency import ReadAhead
from hubcli.durability import UNSYNCED, Durability, WriteBack
from hubcli.errors import NotFoundError, TruncatedError
from hubcli.regular_file import open_regular, write_all

__all__ = ["PackedArchive", "archive_size_bytes", "pack", "tar_pieces"]

_BLOCK_BYTES = 512
# What GNU tar fills up to, and Python's tarfile.
_RECORD_BYTES = 20 * _BLOCK_BYTES
_READ_BYTES = 1 << 20
_READ_AHEAD = 4
_NAME_BYTES, _PREFIX_BYTES = 100, 155
_LARGEST_OCTAL = 8**11 - 1
_PAX_NAME = b"./PaxHeader"
# The header of RFC 1952: magic, deflate, no flags, no time, no extra flags, unknown system.
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_STORED_BYTES = 0xFFFF
# A directory stands before what it holds.
_FIRST = (
    "saved_model.pb",
    "saved_model.pbtxt",
    "fingerprint.pb",
    "tfhub_module.pb",
    "keras_metadata.pb",
    "variables",
    "variables/variables.index",
)

OnBytes = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class PackedArchive:
    """An archive that was written: its size in bytes and its SHA-256 in hex."""

    size_bytes: int
    sha256: str


def pack(
    tree: Tree,
    archive: Path,
    *,
    compress: bool = True,
    on_bytes: OnBytes = lambda size: None,
    durability: Durability = UNSYNCED,
) -> PackedArchive:
    """Writes the tree into the new file `archive`: as .tar.gz, or with `compress` off as .tar.

    Takes a few MiB of memory for files of any size. `on_bytes` is called for each piece of a file. With
    `durability` on, write-back begins while the archive is written; the caller syncs it. Raises
    TruncatedError for a file whose size changed, NotFoundError, OSError; the caller removes what was written
    until then.
    """
    digest, size = hashlib.sha256(), 0
    with archive.open("xb", buffering=0) as file, ReadAhead(_tar(tree, on_bytes), _READ_AHEAD) as pieces:
        write_back = WriteBack(file.fileno(), durability)
        for piece in _gzip(pieces) if compress else pieces:
            digest.update(piece)
            size += len(piece)
            write_all(file.fileno(), piece)
            write_back.wrote(len(piece))
    return PackedArchive(size, digest.hexdigest())


def archive_size_bytes(tree: Tree, *, compress: bool = True) -> int:
    """The size of the tree's archive in bytes, known before a file is read."""
    size = sum(
        len(_header(node)) + node.size_bytes + -node.size_bytes % _BLOCK_BYTES for node in _nodes(tree)
    )
    size += 2 * _BLOCK_BYTES
    size += -size % _RECORD_BYTES
    if not compress:
        return size
    blocks = -(-size // _STORED_BYTES)
    return len(_GZIP_HEADER) + size + 5 * blocks + 5 + 8


def _nodes(tree: Tree) -> Iterator[TreeNode]:
    """The root first, as `tar -C DIR .` has it: tensorflow_hub needs entries of directories.

    Directories without a file below them are left out: a model doesn't need them, and many packers, git and
    buckets drop them.
    """
    yield TreeNode(tree.top, "", is_directory=True)
    parents = {parent for node in tree.nodes if not node.is_directory for parent in node.path.parents}
    nodes = [node for node in tree.nodes if not node.is_directory or node.path in parents]
    by_name = {node.name: node for node in nodes}
    first = [by_name[name] for name in _FIRST if name in by_name]
    yield from first
    yield from (node for node in nodes if node not in first)


def _tar(tree: Tree, on_bytes: OnBytes) -> Iterator[bytes]:
    for piece in tar_pieces(tree):
        if isinstance(piece, TreeNode):
            yield from _content(piece, on_bytes)
        else:
            yield piece


def tar_pieces(tree: Tree) -> Iterator[bytes | TreeNode]:
    """The .tar of the tree in order: blocks, and a node where the content of its file belongs."""
    size = 0
    for node in _nodes(tree):
        head = _header(node)
        yield head
        if not node.is_directory:
            yield node
        padding = bytes(-node.size_bytes % _BLOCK_BYTES)
        yield padding
        size += len(head) + node.size_bytes + len(padding)
    size += 2 * _BLOCK_BYTES
    yield bytes(2 * _BLOCK_BYTES + -size % _RECORD_BYTES)


def _content(node: TreeNode, on_bytes: OnBytes) -> Iterator[bytes]:
    """The bytes of the file, exactly as many as its header says."""
    left = node.size_bytes
    try:
        with open_regular(node.path) as file:
            while piece := file.read(_READ_BYTES):
                left -= len(piece)
                if left < 0:
                    break
                on_bytes(len(piece))
                yield piece
    except OSError as error:
        raise NotFoundError(
            f"Cannot read {node.path}: {error.strerror}", hint="Check its permissions."
        ) from error
    if left:
        raise TruncatedError(f"{node.path} changed while it was read", hint="Run the command again.")


def _header(node: TreeNode) -> bytes:
    """The header blocks of a node, after a pax header if its name or size needs one."""
    name = f"./{node.name}" + ("/" if node.is_directory and node.name else "")
    raw, records = name.encode(), b""
    split = _split(raw) if raw.isascii() else None
    if split is None:
        records += _pax_record(b"path", raw)
    if node.size_bytes > _LARGEST_OCTAL:
        records += _pax_record(b"size", b"%d" % node.size_bytes)
    prefix, short = split or (b"", raw[:_NAME_BYTES])
    size = 0 if node.size_bytes > _LARGEST_OCTAL else node.size_bytes
    kind = b"5" if node.is_directory else b"0"
    block = _block(short, prefix, kind, size, 0o755 if node.is_directory else 0o644)
    if not records:
        return block
    padding = bytes(-len(records) % _BLOCK_BYTES)
    return _block(_PAX_NAME, b"", b"x", len(records), 0o644) + records + padding + block


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Prefix and name of a ustar header, None if they can't hold it."""
    if len(name) <= _NAME_BYTES:
        return b"", name
    slash = name.find(b"/", len(name) - _NAME_BYTES - 1, len(name) - 1)
    return (name[:slash], name[slash + 1 :]) if 0 < slash <= _PREFIX_BYTES else None


def _pax_record(key: bytes, value: bytes) -> bytes:
    """A record, `LENGTH KEY=VALUE` and a line feed; the length includes its own digits."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def _block(name: bytes, prefix: bytes, kind: bytes, size: int, mode: int) -> bytes:
    """A ustar header block with its checksum."""
    parts = (
        name.ljust(_NAME_BYTES, b"\0"),
        b"%07o\0" % mode,
        b"0000000\0" * 2,  # owner and group
        b"%011o\0" % size,
        b"00000000000\0",  # time of modification
        b" " * 8,  # the checksum, which counts as spaces
        kind,
        bytes(100),  # target of a link
        b"ustar\x0000",
        bytes(64),  # names of owner and group
        b"0000000\0" * 2,  # numbers of a device
        prefix.ljust(_PREFIX_BYTES, b"\0"),
    )
    block = b"".join(parts).ljust(_BLOCK_BYTES, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _gzip(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A gzip stream of stored blocks, each as long as it can be but the last."""
    yield _GZIP_HEADER
    crc, size, rest = 0, 0, b""
    for piece in pieces:
        crc = isal_zlib.crc32(piece, crc)
        size += len(piece)
        # Each block begins where the one before is full, however the pieces come.
        data = memoryview(rest + piece if rest else piece)
        whole = len(data) - len(data) % _STORED_BYTES
        if whole:
            yield b"".join(_stored(data[:whole]))
        rest = bytes(data[whole:])
    yield b"".join(_stored(memoryview(rest))) + b"\x01\0\0\xff\xff"
    yield crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")


def _stored(data: memoryview) -> Iterator[bytes | memoryview]:
    for start in range(0, len(data), _STORED_BYTES):
        block = data[start : start + _STORED_BYTES]
        yield b"\0" + len(block).to_bytes(2, "little") + (len(block) ^ 0xFFFF).to_bytes(2, "little")
        yield block
