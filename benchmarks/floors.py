"""Floors and parts of a command, as a process that takes turns with it: they show why a bound is missed.

A floor (`hashing`, `parsing`) is what nothing can leave out, and begins with `import typer`, as every command
of hubcli does: no command is faster. Parts (`copying_after`, `rewriting`) are the same work done in turn by
other programs: a command that does some of it at once, or copies faster, takes less.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.finetune_export import IMPORT_ALL, RECORD_IMPORTS
from benchmarks.measure import Contender

__all__ = ["copying_after", "hashing", "parsing", "rewriting"]

# One file can't be hashed on two cores, and another core can read it meanwhile: its bytes are not read here.
# Several are hashed on all cores, by threads that must read them too.
_HASH = """
import os, sys, typer
from hashlib import sha256
from threading import Thread

BLOCK_BYTES = 1 << 19

def digest(path):
    block, found = memoryview(bytearray(BLOCK_BYTES)), sha256()
    with open(path, "rb", buffering=0) as file:
        while size := file.readinto(block):
            found.update(block[:size])

if len(sys.argv) == 2:
    block, found = bytes(BLOCK_BYTES), sha256()
    for _ in range(os.path.getsize(sys.argv[1]) // BLOCK_BYTES):
        found.update(block)
else:
    threads = [Thread(target=digest, args=(path,)) for path in sys.argv[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
_PARSE = """
import sys, typer
from pathlib import Path
from hubcli.formats.protos import parse_uncounted

parse_uncounted("SavedModel", Path(sys.argv[1], "saved_model.pb").read_bytes())
"""
_COPY_AFTER = '"$1" export -q --no-sync "$2" "$4/small" > /dev/null && exec cp -r "$3" "$4/out"'
_REWRITE = """
cp -r "$4" "$6/once" && cp -r "$5" "$6/again" && find "$6/again" -exec sync {} + &&
exec "$1" -c "$2" "$3" "$4" "$6/again"
"""
_READ_BACK = """
from hubcli.finetuning.result import require_whole, verify_bytes_preserved

source, export = map(pathlib.Path, sys.argv[2:])
require_whole(export)
verify_bytes_preserved(source, export)
"""


def hashing(python: Path, name: str, files: Sequence[Path]) -> Contender:
    """SHA-256 of as many bytes as each file has, by Python's hashlib, on a thread for each."""
    return Contender(name, lambda _: [str(python), "-c", _HASH, *map(str, files)])


def parsing(python: Path, name: str, model: Path) -> Contender:
    """The parser of protobuf on saved_model.pb, with the fields that hubcli reads."""
    return Contender(name, lambda _: [str(python), "-c", _PARSE, str(model)])


def copying_after(hubcli: str, name: str, small: Path, source: Path) -> Contender:
    """An export of a small model, which is the start of an export, and then `cp -r` of a large one."""
    words = [hubcli, str(small), str(source)]
    return Contender(name, lambda folder: ["sh", "-c", _COPY_AFTER, "sh", *words, str(folder)])


def rewriting(python: Path, name: str, words: Sequence[str], work: Path) -> Contender:
    """The parts of a rewrite that its bound adds up: imports, `cp -r` twice, the export read back.

    The second copy is that of the weights, and is synced and read as the export is. `words` are those of the
    command: `finetune-export`, the model and options, without a destination. It runs once to record what it
    imports.
    """
    modules, model, tuned = str(work / "modules"), words[1], words[words.index("--weights") + 1]
    recorded = [str(python), "-c", RECORD_IMPORTS, modules, *words, str(work / "recorded")]
    subprocess.run(recorded, check=True, stdout=subprocess.DEVNULL)
    given = [str(python), IMPORT_ALL + _READ_BACK, modules, model, tuned]
    return Contender(name, lambda folder: ["sh", "-c", _REWRITE, "sh", *given, str(folder)])
