"""Power losses, simulated: what a command does to the disk, traced by strace, and what may be left of it.

A command is traced for real. Its calls are replayed on a model of a disk that knows what was synced: at
each moment data that never was reads as zeros of the same size, or as nothing, and a name that was made,
moved or removed is so or isn't, until its directory is synced. Sources: fsync(2), rename(2).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from hubcli.cache.layout import CacheName, NameKind

__all__ = ["LOSSES", "Disk", "Loss", "Trace", "states"]

ROOT = Path(__file__).parent.parent
_CALLS = (
    "open,openat,creat,close,write,pwrite64,writev,lseek,ftruncate,truncate,copy_file_range,sendfile,"
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,"
    "fsync,fdatasync,syncfs,sync,dup,dup2,dup3"
)
_LINE = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<rest>.*)")
_UNFINISHED = re.compile(r"(?P<pid>\d+) +(?P<begin>\w+\(.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<end>.*)")
_RESULT = re.compile(r"\) += (?P<value>-?\d+|\?)(?:<[^>]*>)?.*$")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"(-?\w+)<((?:[^>\\]|\\.)*)>")


class Kind:
    """What a file is in its cache: of a model, of its records, its links, or anything else."""

    MODEL, RECORD, LINK, OTHER = "model", "record", "link", "other"


@dataclass(frozen=True)
class Loss:
    """What a power loss takes: unsynced data, and unsynced changes of names, of these kinds."""

    name: str
    data: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    is_emptied: bool = False  # The data is cut off rather than zeros.
    is_half: bool = False  # The first half was written back already.


_EVERY = frozenset({Kind.MODEL, Kind.RECORD, Kind.LINK, Kind.OTHER})
LOSSES = (
    Loss("nothing"),
    Loss("data of the model", data=frozenset({Kind.MODEL})),
    Loss("half of the data of the model", data=frozenset({Kind.MODEL}), is_half=True),
    Loss("data of the records", data=frozenset({Kind.RECORD})),
    Loss("all data", data=_EVERY),
    Loss("all data, cut off", data=_EVERY, is_emptied=True),
    Loss("names of the model", names=frozenset({Kind.MODEL})),
    Loss("names of the records", names=frozenset({Kind.RECORD})),
    Loss("names of the links", names=frozenset({Kind.LINK})),
    Loss("names of model and records", names=frozenset({Kind.MODEL, Kind.RECORD})),
    Loss("all names but those of the model", data=_EVERY, names=_EVERY - {Kind.MODEL}),
    Loss("all names but those of the records", data=_EVERY, names=_EVERY - {Kind.RECORD}),
    Loss("all names but those of the links", data=_EVERY, names=_EVERY - {Kind.LINK}),
    Loss("all", data=_EVERY, names=_EVERY),
)


@dataclass
class Node:
    """A file, a directory or a link of any name. `synced` is None where no data ever was."""

    kind: str
    data: bytearray = field(default_factory=bytearray)
    synced: bytes | None = None
    target: str | None = None
    entries: dict[str, Node] | None = None
    durable: dict[str, Node] | None = None
    unsynced: list[tuple[int, int]] = field(default_factory=list)

    def left(self, loss: Loss) -> bytes:
        """What the file holds after the loss."""
        if not self.unsynced or self.kind not in loss.data:
            return bytes(self.data)
        if loss.is_emptied:
            return self.synced or b""
        left = bytearray(self.data)
        lowest = min(start for start, _ in self.unsynced)
        first = (lowest + max(end for _, end in self.unsynced)) // 2 if loss.is_half else 0
        for start, end in self.unsynced:
            begin = max(start, first)
            left[begin:end] = bytes(len(left[begin:end]))
        return bytes(left)

    def keep(self) -> None:
        """Makes what it holds durable."""
        self.synced, self.unsynced = bytes(self.data), []


@dataclass
class Change:
    """A change of names, as one step: names set or removed. `waiting` are directories still to be synced."""

    kind: str
    steps: list[tuple[Node, str, Node | None]]
    waiting: list[Node]


class Disk:
    """The directory `top` as it was, and what is done to it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.root = _read(top, top)
        self.changes: list[Change] = []

    def find(self, path: str) -> Node | None:
        """The node of that path below the top, or None."""
        if path != str(self.top) and not path.startswith(f"{self.top}/"):
            return None
        node: Node | None = self.root
        for part in Path(path).relative_to(self.top).parts:
            node = None if node is None or node.entries is None else node.entries.get(part)
        return node

    def change(self, *steps: tuple[str, Node | None]) -> None:
        """Sets or removes names, all at once."""
        found, kind = [], Kind.OTHER
        for path, node in steps:
            folder, name = os.path.split(path)
            parent = self.find(folder)
            assert parent is not None, path
            assert parent.entries is not None
            if kind == Kind.OTHER:
                kind = _kind_of(path, self.top, node or parent.entries.get(name))
            found.append((parent, name, node))
        for parent, name, node in found:
            assert parent.entries is not None
            if node is None:
                parent.entries.pop(name, None)
            else:
                parent.entries[name] = node
        waiting: list[Node] = []
        for parent, _, _ in found:
            if not any(parent is node_ahead for node_ahead in waiting):
                waiting.append(parent)
        self.changes.append(Change(kind, found, waiting))

    def sync(self, node: Node) -> None:
        """Makes the data of a file durable, or the names of a directory."""
        if node.entries is None:
            node.keep()
            return
        for change in self.changes:
            change.waiting = [waiting_node for waiting_node in change.waiting if waiting_node is not node]

    def sync_all(self) -> None:
        """As sync(2)."""
        for change in self.changes:
            change.waiting = []
        for node in _nodes(self.root):
            if node.entries is None:
                node.keep()

    def left(self, loss: Loss) -> dict[str, bytes | str | None]:
        """What the loss leaves, by path: the data of a file, where a link leads, None for a directory."""
        names: dict[int, dict[str, Node]] = {}

        def entries(node: Node) -> dict[str, Node]:
            return names.setdefault(id(node), dict(node.durable or {}))

        for change in self.changes:
            if change.waiting and change.kind in loss.names:
                continue
            for parent, name, node in change.steps:
                if node is None:
                    entries(parent).pop(name, None)
                else:
                    entries(parent)[name] = node
        found: dict[str, bytes | str | None] = {}
        waiting = [("", self.root)]
        while waiting:
            path, node = waiting.pop()
            if node.entries is None:
                found[path] = node.target if node.target is not None else node.left(loss)
                continue
            found[path] = None
            waiting += [(f"{path}/{name}", child) for name, child in sorted(entries(node).items())]
        return found


def _read(path: Path, top: Path) -> Node:
    kind = _kind_of(str(path), top, None)
    if path.is_symlink():
        return Node(Kind.LINK, target=str(path.readlink()))
    if path.is_dir():
        entries = {child.name: _read(child, top) for child in path.iterdir()}
        return Node(kind, entries=dict(entries), durable=entries)
    data = path.read_bytes()
    return Node(kind, bytearray(data), data)


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in list((node.entries or {}).values()):
        yield from _nodes(child)


def _digest(left: Mapping[str, bytes | str | None]) -> bytes:
    digest = hashlib.sha256()
    for path, what in sorted(left.items()):
        data = what if isinstance(what, bytes) else repr(what).encode()
        digest.update(f"{path}\0{type(what).__name__}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.digest()


def _write_out(left: Mapping[str, bytes | str | None], place: Path) -> None:
    for path, what in left.items():  # A directory comes before what is in it.
        target = Path(f"{place}{path}")
        if what is None:
            target.mkdir()
        elif isinstance(what, str):
            target.symlink_to(what)
        else:
            target.write_bytes(what)


def _kind_of(path: str, top: Path, node: Node | None) -> str:
    if node is not None and node.target is not None:
        return Kind.LINK
    for part in Path(path).relative_to(top).parts:
        kind = CacheName.parse(part).kind
        if part.endswith(".journal") or part.startswith("models.lock") or kind in _RECORDS:
            return Kind.RECORD
        if part.startswith("dest") or part.endswith("hubcli-tmp") or kind in _MODELS:
            return Kind.MODEL
    return Kind.OTHER


_RECORDS = (NameKind.MANIFEST, NameKind.DESCRIPTOR, NameKind.PIN, NameKind.LEFTOVER)
_MODELS = (NameKind.MODEL, NameKind.STAGING, NameKind.TRASH, NameKind.SPOOL)


@dataclass(frozen=True)
class Trace:
    """What a command did below `top`, in its order: `replay` does it to a disk, one call at a time."""

    top: Path
    calls: tuple[tuple[str, str, int], ...]  # name, arguments, result

    @classmethod
    def of(cls, command: Sequence[str], top: Path, environment: Mapping[str, str] | None = None) -> Trace:
        """Runs hubcli with these arguments. Skips the test where nothing can be traced."""
        strace = shutil.which("strace")
        if strace is None:
            pytest.skip("strace is not installed")
        log = top.with_name(f"{top.name}.trace")
        probe = subprocess.run([strace, "-f", "-o", str(log), "true"], capture_output=True, check=False)
        if probe.returncode:
            pytest.skip("tracing is not allowed here")
        options = [
            "-f",
            "--seccomp-bpf",
            "-y",
            "-xx",
            "-s",
            "50000000",
            "-e",
            f"trace={_CALLS}",
            "-o",
            str(log),
        ]
        subprocess.run(
            [strace, *options, sys.executable, "-m", "tests.traced_hubcli", *command],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            check=False,
            timeout=120,
        )
        return cls(top, tuple(_calls(log.read_text(encoding="latin-1"))))

    def replay(self, disk: Disk) -> Iterator[str]:
        """Does one call after the other; yields its name after each that changed or synced something."""
        replay = _Replay(disk)
        for name, arguments, result in self.calls:
            if replay.do(name, arguments, result):
                yield name


def _calls(log: str) -> Iterator[tuple[str, str, int]]:
    unfinished_calls: dict[str, str] = {}
    for line in log.splitlines():
        unfinished, resumed = _UNFINISHED.match(line), _RESUMED.match(line)
        if unfinished is not None:
            unfinished_calls[unfinished["pid"]] = unfinished["begin"]
            continue
        if resumed is not None:
            line = f"{resumed['pid']} {unfinished_calls.pop(resumed['pid'], '?(')}{resumed['end']}"
        match = _LINE.match(line)
        result = _RESULT.search(line)
        if match is None or result is None or result["value"] == "?":
            continue
        rest = match["rest"][: match["rest"].rfind(") ")]
        yield match["name"], rest, int(result["value"])


def _unescaped(text: str) -> bytes:
    if text.startswith("\\x") and len(text) == 4 * text.count("\\x"):
        return bytes.fromhex(text.replace("\\x", ""))
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


class _Replay:
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._files: dict[int, tuple[Node, int, bool]] = {}
        self._copied: dict[int, int] = {}  # By the number of the file that is copied to.

    def do(self, name: str, arguments: str, result: int) -> bool:
        """Whether the call changed or synced something of the disk."""
        if result < 0:
            return False
        action = getattr(self, f"_{name.rstrip('0123456789') if name != 'pwrite64' else 'pwrite'}", None)
        return action is not None and bool(action(arguments, result))

    # --- What calls are about

    def _paths(self, arguments: str) -> list[str]:
        """The paths that are named, each joined to the directory before it."""
        paths = []
        for match in re.finditer(
            r'(?:(?P<at>[\w-]+)<(?P<folder>(?:[^>\\]|\\.)*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"', arguments
        ):
            folder = os.fsdecode(_unescaped(match["folder"])) if match["folder"] else str(ROOT)
            paths.append(os.path.normpath(Path(folder, os.fsdecode(_unescaped(match["path"])))))
        return paths

    def _descriptor(self, arguments: str) -> tuple[int, Node | None]:
        match = _DESCRIPTOR.match(arguments)
        if match is None or not match[1].isdigit():
            return -1, None
        return int(match[1]), self._disk.find(os.fsdecode(_unescaped(match[2])))

    # --- Files

    def _openat(self, arguments: str, result: int) -> bool:
        path = self._paths(arguments)[0]
        node = self._disk.find(path)
        is_new = node is None and "O_CREAT" in arguments and path.startswith(f"{self._disk.top}/")
        if is_new:
            node = Node(_kind_of(path, self._disk.top, None))
            self._disk.change((path, node))
        self._files.pop(result, None)
        if node is not None:
            self._files[result] = (node, 0, "O_APPEND" in arguments)
            if "O_TRUNC" in arguments and node.data:
                node.data, node.unsynced = bytearray(), [(0, 0)]
                return True
        return is_new

    _open = _openat

    def _close(self, arguments: str, _result: int) -> bool:
        match = re.match(r"\d+", arguments)
        if match is not None:
            self._files.pop(int(match[0]), None)
        return False

    def _write(self, arguments: str, result: int) -> bool:
        number, _ = self._descriptor(arguments)
        if number not in self._files:
            return False
        node, position, appends = self._files[number]
        position = len(node.data) if appends else position
        text = _TEXT.search(arguments)
        assert text is not None
        self._put(node, position, _unescaped(text[1])[:result])
        self._files[number] = (node, position + result, appends)
        return True

    def _pwrite(self, arguments: str, result: int) -> bool:
        number, _ = self._descriptor(arguments)
        if number not in self._files:
            return False
        text = _TEXT.search(arguments)
        assert text is not None
        self._put(self._files[number][0], int(arguments.rpartition(", ")[2]), _unescaped(text[1])[:result])
        return True

    def _ftruncate(self, arguments: str, _result: int) -> bool:
        number, _ = self._descriptor(arguments)
        if number not in self._files:
            return False
        node, size = self._files[number][0], int(arguments.rpartition(", ")[2])
        node.data = bytearray(bytes(node.data[:size]).ljust(size, b"\0"))
        node.unsynced.append((size, size))
        return True

    def _copy_file_range(self, arguments: str, result: int) -> bool:
        source, target = _DESCRIPTOR.findall(arguments)[:2]
        number = int(target[0])
        if number not in self._files:
            return False
        node, position, appends = self._files[number]
        begin = self._copied.get(number, 0)
        data = Path(os.fsdecode(_unescaped(source[1]))).read_bytes()[begin : begin + result]
        self._copied[number] = begin + result if result else 0
        self._put(node, position, data)
        self._files[number] = (node, position + result, appends)
        return True

    def _sendfile(self, arguments: str, result: int) -> bool:
        target, source, *_ = arguments.split(", ")
        return self._copy_file_range(f"{source}, NULL, {target}, NULL", result)

    def _put(self, node: Node, position: int, data: bytes) -> None:
        if len(node.data) < position:
            node.data.extend(bytes(position - len(node.data)))
        node.data[position : position + len(data)] = data
        node.unsynced.append((position, position + len(data)))

    def _fsync(self, arguments: str, _result: int) -> bool:
        number, named = self._descriptor(arguments)
        node = self._files[number][0] if number in self._files else named
        if node is not None:
            self._disk.sync(node)
        return node is not None

    _fdatasync = _fsync

    def _syncfs(self, _arguments: str, _result: int) -> bool:
        self._disk.sync_all()
        return True

    _sync = _syncfs

    # --- Names

    def _mkdirat(self, arguments: str, _result: int) -> bool:
        return self._create(arguments, lambda: Node(Kind.OTHER, entries={}, durable={}))

    _mkdir = _mkdirat

    def _create(self, arguments: str, make: Callable[[], Node]) -> bool:
        path = self._paths(arguments)[-1]
        if not path.startswith(f"{self._disk.top}/"):
            return False
        node = make()
        if node.target is None:
            node.kind = _kind_of(path, self._disk.top, node)
        self._disk.change((path, node))
        return True

    def _symlinkat(self, arguments: str, _result: int) -> bool:
        text = _TEXT.search(arguments)
        assert text is not None
        target = os.fsdecode(_unescaped(text[1]))
        return self._create(arguments, lambda: Node(Kind.LINK, target=target))

    _symlink = _symlinkat

    def _linkat(self, arguments: str, _result: int) -> bool:
        old, new = self._paths(arguments)
        node = self._disk.find(old)
        if node is None or not new.startswith(f"{self._disk.top}/"):
            return False
        self._disk.change((new, node))
        return True

    _link = _linkat

    def _renameat(self, arguments: str, _result: int) -> bool:
        old, new = self._paths(arguments)
        node = self._disk.find(old)
        if node is None:
            return False
        self._disk.change((new, node), (old, self._disk.find(new) if "EXCHANGE" in arguments else None))
        return True

    _rename = _renameat

    def _unlinkat(self, arguments: str, _result: int) -> bool:
        path = self._paths(arguments)[-1]
        if self._disk.find(path) is None:
            return False
        self._disk.change((path, None))
        return True

    _unlink = _rmdir = _unlinkat


def states(trace: Trace, before: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """What each loss at each moment of the trace leaves, each state once: its name, and what makes it.

    `before` is a copy of the traced directory as it was before the command.
    """
    disk = Disk(before)
    disk.top = trace.top
    seen: set[bytes] = set()
    for moment, call in enumerate(trace.replay(disk)):
        for loss in LOSSES:
            left = disk.left(loss)
            digest = _digest(left)
            if digest not in seen:
                seen.add(digest)
                yield f"moment {moment}, after {call}: lost is {loss.name}", partial(_write_out, left)
