"""What a file of inputs holds, by its first bytes: an array, an image, sound, records, a table, text."""

from __future__ import annotations

import json
from enum import Enum

from hubcli.formats.checksums import masked_crc32c
from hubcli.formats.npy import MAGIC

__all__ = ["BOM", "HEAD_BYTES", "FileKind", "kind_of"]

HEAD_BYTES = 1 << 16
BOM = b"\xef\xbb\xbf"


class FileKind(Enum):
    """What a file holds."""

    EMPTY = "nothing"
    NPY = "a NumPy array"
    NPZ = "NumPy arrays"
    IMAGE = "an image"
    WAV = "sound"
    TFRECORD = "records"
    CSV = "a table"
    JSON = "JSON"
    JSON_LINES = "lines of JSON"
    TEXT = "lines of text"
    BYTES = "bytes of an unknown kind"

    @property
    def has_rows(self) -> bool:
        """Whether it can be read row by row."""
        return self in (FileKind.TFRECORD, FileKind.CSV, FileKind.JSON_LINES, FileKind.TEXT)


def kind_of(head: bytes, path: str, columns: frozenset[str], *, is_text: bool) -> FileKind:
    """What a file that begins so holds; its name counts for text alone, where the bytes don't tell."""
    if not head:
        return FileKind.EMPTY
    if head[:6] == MAGIC:
        return FileKind.NPY
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return FileKind.NPZ
    is_riff = head[:4] == b"RIFF"
    if is_riff and head[8:12] == b"WAVE":
        return FileKind.WAV
    if _is_image(head) or (is_riff and head[8:12] == b"WEBP"):
        return FileKind.IMAGE
    if len(head) >= 12 and masked_crc32c(head[:8]) == int.from_bytes(head[8:12], "little"):
        return FileKind.TFRECORD
    return _kind_of_text(head.removeprefix(BOM), path, columns, is_text=is_text)


def _is_image(head: bytes) -> bool:
    is_bitmap = head[:2] == b"BM" and head[6:10] == b"\0\0\0\0"
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")) or is_bitmap


def _kind_of_text(head: bytes, path: str, columns: frozenset[str], *, is_text: bool) -> FileKind:
    if b"\0" in head:
        return FileKind.BYTES
    if path.lower().endswith((".jsonl", ".ndjson")):
        return FileKind.JSON_LINES
    line, end, rest = head.lstrip().partition(b"\n")
    if path.lower().endswith(".csv") or _is_header(line, columns):
        return FileKind.CSV
    starts_as_json = line[:1] in (b"[", b"{", b'"') or (not is_text and line[:1] in b"-0123456789tfNI")
    if not starts_as_json:
        return FileKind.TEXT
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        # A document over several lines, a line longer than what was read, or text after all.
        is_open = line.rstrip() in (b"[", b"{") or (not end and len(head) >= HEAD_BYTES // 2)
        is_document = not is_text or is_open or path.lower().endswith(".json")
        return FileKind.JSON if line[:1] in (b"[", b"{") and is_document else FileKind.TEXT
    return FileKind.JSON_LINES if end and rest.strip() else FileKind.JSON


def _is_header(line: bytes, columns: frozenset[str]) -> bool:
    names = {name.strip().strip('"') for name in line.decode("utf-8", "replace").split(",")}
    return bool(names & columns)
