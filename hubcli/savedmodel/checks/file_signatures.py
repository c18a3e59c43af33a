"""The kind of a file by its first bytes: native code, a pickle, bytecode, an array of Python objects.

By content, since a name may be wrong. Sources: elf(5), Mach-O and PE headers,
pickletools, numpy/lib/format.py, importlib (the header of a .pyc).
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import IO, NamedTuple

__all__ = [
    "HEAD_BYTES",
    "Budget",
    "FileKind",
    "TooMuchError",
    "goes_on",
    "is_pickle",
    "kind_of",
    "names_code",
]

HEAD_BYTES = 64 << 10
_MAX_OPCODES = 1 << 20


class TooMuchError(Exception):
    """The files hold more than a scan reads."""


class Budget:
    """What a scan may still cost, in bytes read from archives.

    An opcode of a possible pickle costs 64 bytes: it takes about a microsecond.
    """

    def __init__(self, left: int = 32 << 20) -> None:
        self.left = left

    def read(self, stream: IO[bytes], count: int) -> bytes:
        """At most that number of bytes of the stream, fewer only at its end. Raises TooMuchError."""
        if self.left <= 0:
            raise TooMuchError
        found = stream.read(min(count, self.left))
        self.left -= len(found)
        return found

    def charge(self, head: bytes) -> None:
        """Counts the cost of checking whether the bytes are a pickle."""
        self.left -= 64 * _opcodes(head)[3]


class FileKind(NamedTuple):
    """What the file is: a code for scripts, and a noun phrase for people."""

    code: str
    noun: str


_NATIVE = FileKind("native-code", "a native library or program")
_BYTECODE = FileKind("python-code", "Python bytecode")
_SOURCE = FileKind("python-code", "Python source code")
_SCRIPT = FileKind("script", "a script")
_PICKLE = FileKind("pickle", "a pickle, which runs code where it is loaded")
_OBJECTS = FileKind("pickle", "a NumPy array of Python objects, which is a pickle")

_NATIVE_MAGICS = (
    b"\x7fELF",
    b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",  # A Mach-O of several machines, and a class of Java.
    b"\xbe\xba\xfe\xca",
    b"!<arch>\n",
    b"\0asm",
    b"dex\n",
)
# Patterns are compiled when they are first used: most models have no file to hold them against.
_CODE_NAME = (
    r"(?ai)\.(?:py|pyw|pyc|pyo|pyd|pyx|so|dll|dylib|exe|class|jar|node|wasm|sh|bat|ps1)$"
    r"|\.so(?:\.\d+)+$|\.py\."
)
_SOURCE_NAME = r"(?ai)\.(?:py|pyw|pyx)$"
_NUMPY_MAGIC = b"\x93NUMPY"
# Every dtype but objects, as NumPy writes it.
_PLAIN_DTYPE = r"(?a)[|<>=]?[?bBhHiIuUlLqQefdgFDGmMSVac]\d*(?:\[\w+\])?"
# Opcodes that name or call something, and those that only data needs to be a container.
_CALLS = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "REDUCE", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_TEXT_CALLS = _CALLS - {"GLOBAL", "STACK_GLOBAL"}
_NO_PICKLE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, EOFError, struct.error)
_CUT_OFF = ("remain", "exhausted", "no newline found", "not enough data")
_MEMO = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_NAMED = "named"
_WORD = r"(?a)[A-Za-z_][\w.]*"
_GLOBAL_NAME = r"(?a)[A-Za-z_][\w.]* [A-Za-z_][\w.]*"


def kind_of(name: str, head: bytes, *, is_whole: bool) -> FileKind | None:
    """The kind of the file by its first bytes (`is_whole`: all of them); None for a file that isn't code."""
    if head.startswith(_NATIVE_MAGICS) or _is_pe(head):
        return _NATIVE
    if _is_bytecode(head):
        return _BYTECODE
    if head.startswith(_NUMPY_MAGIC):
        return None if _is_plain_array(head) else _OBJECTS
    if is_pickle(head, is_whole=is_whole):
        return _PICKLE
    if re.search(_SOURCE_NAME, name):
        return _SOURCE
    return _SCRIPT if re.match(rb"#! ?/[\w/.-]*bin/", head) else None


def names_code(name: str) -> bool:
    """Whether a member of an archive is code by its name.

    >>> names_code("a/b.so.1"), names_code("vocabulary.txt")
    (True, False)
    """
    return re.search(_CODE_NAME, name.rstrip("\0 ")) is not None


def goes_on(head: bytes) -> bool:
    """Whether the kind depends on further bytes: a pickle's opcodes or a NumPy header reach the end."""
    if head.startswith(_NUMPY_MAGIC):
        return _numpy_end(head) > len(head)
    _, end, is_cut, _ = _opcodes(head)
    return end < 0 and is_cut


def is_pickle(head: bytes, *, is_whole: bool) -> bool:
    """Whether the bytes begin a pickle, of any protocol.

    Binary ones are known by their first byte. Those of protocol 0 and 1 are text: a file is one if its
    opcodes parse up to a STOP, and call something or use the memo, as no list of words does.
    """
    is_binary = head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5
    seen, end, is_cut, _ = _opcodes(head)
    if end >= 0:
        if not _is_sound(head[: end + 1]):
            return False
        # Behind the STOP a loader reads nothing: text may follow.
        ends_there = is_whole and bool(seen & _MEMO) and not head[end + 1 :].strip()
        return is_binary or bool(seen & _TEXT_CALLS) or ends_there
    # The head may end within an argument, or raw arrays follow, as joblib writes them.
    return is_binary and ((is_cut and not is_whole and len(seen) > 1) or _NAMED in seen)


@lru_cache(maxsize=2)  # Several checks need those of one file.
def _opcodes(head: bytes) -> tuple[set[str], int, bool, int]:
    """Names of the opcodes, position of STOP (-1 without one), whether an argument is cut off, and a count.

    `_NAMED` is among the names if a global with a valid name is loaded.
    """
    import pickletools

    seen, words, count = set[str](), 0, 0
    try:
        with _without_warnings():
            for opcode, argument, position in pickletools.genops(head):
                count += 1
                seen.add(opcode.name)
                words += isinstance(argument, str) and re.fullmatch(_WORD, argument) is not None
                if opcode.name in ("GLOBAL", "INST"):
                    if not re.fullmatch(_GLOBAL_NAME, str(argument)):
                        return set(), -1, False, count
                    seen.add(_NAMED)
                elif opcode.name == "STACK_GLOBAL" and words >= 2:
                    seen.add(_NAMED)
                elif opcode.name == "STOP":
                    return seen, position or 0, False, count
                if count >= _MAX_OPCODES:
                    break
    except _NO_PICKLE as error:
        return seen, -1, any(part in str(error) for part in _CUT_OFF), count
    return seen, -1, True, count


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppresses Python's warnings of invalid escapes in strings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _is_sound(pickled: bytes) -> bool:
    """Whether each opcode finds its operands on the stack, unlike words of a list that parse as opcodes."""
    import pickletools

    try:
        with _without_warnings():
            pickletools.dis(pickled, out=io.StringIO())
    except _NO_PICKLE:
        return False
    return True


def _is_pe(head: bytes) -> bool:
    """A program of Windows: MZ, and the offset of its real header."""
    if head[:2] != b"MZ" or len(head) < 64:
        return False
    offset = int.from_bytes(head[60:64], "little")
    return head[offset : offset + 4] == b"PE\0\0" or (offset + 4 > HEAD_BYTES and offset < 1 << 24)


def _is_bytecode(head: bytes) -> bool:
    """The header of a .pyc: the magic number of a Python 3, CR LF, flags, and a marshalled code object."""
    if len(head) < 17 or head[2:4] != b"\r\n":
        return False
    magic = int.from_bytes(head[:2], "little")
    return 3000 <= magic < 4000 and (head[16] & 0x7F == 0x63 or head[12] & 0x7F == 0x63)


def _is_plain_array(head: bytes) -> bool:
    """Whether the dtype in the header of the NumPy file, a Python literal, has no Python objects."""
    import ast

    start = 10 if head[6:7] == b"\x01" else 12
    text = head[start : _numpy_end(head)].decode("latin-1").strip()
    try:
        with _without_warnings():
            # Python 2 wrote whole numbers with an L.
            header = ast.literal_eval(re.sub(r"(\d)L\b", r"\1", text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return isinstance(header, dict) and _is_plain_dtype(header.get("descr"))


def _is_plain_dtype(described: object) -> bool:
    if isinstance(described, str):
        return re.fullmatch(_PLAIN_DTYPE, described) is not None
    if isinstance(described, tuple):  # An array of the first.
        return len(described) == 2 and _is_plain_dtype(described[0])
    if isinstance(described, list):
        fields = [field for field in described if isinstance(field, tuple) and len(field) in (2, 3)]
        return len(fields) == len(described) and all(_is_plain_dtype(field[1]) for field in fields)
    return False


def _numpy_end(head: bytes) -> int:
    if head[6:7] == b"\x01":
        return 10 + int.from_bytes(head[8:10], "little")
    return 12 + int.from_bytes(head[8:12], "little")
