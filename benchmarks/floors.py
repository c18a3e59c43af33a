"""Floors: the part of a command that nothing can leave out, as a process that takes turns with the command.

A command can't be faster than its floor. Where a bound is missed, the row beside its floor tells what is left.
Each begins with `import typer`, as every command of hubcli does.
"""

from __future__ import annotations

import subprocess

from collections.abc import Sequence
from pathlib import Path

from benchmarks.finetune_export import IMPORT_ALL, RECORD_IMPORTS
from benchmarks.measure import Contender

__all__ = ["copying_after", "hashing", "parsing", "rewriting"]

# One thread for each file: one file can't be hashed on two.
_HASH = """
import sys, typer
from hashlib import sha256
from threading import Thread

def digest(path):
    block, found = memoryview(bytearray(1 << 19)), sha256()
    with open(path, "rb", buffering=0) as file:
        while size := file.readinto(block):
            found.update(block[:size])

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
_REWRITE = 'cp -r "$3" "$5/once" && cp -r "$4" "$5/again" && exec "$1" -c "$2" "$6" "$3" "$5/again"'
_READ_BACK = """
from hubcli.finetuning.result import require_whole, verify_bytes_preserved

source, export = map(pathlib.Path, sys.argv[2:])
require_whole(export)
verify_bytes_preserved(source, export)
"""


def hashing(python: Path, name: str, files: Sequence[Path]) -> Contender:
    """OpenSSL's SHA-256 of each file, by Python's hashlib, on as many threads."""
    return Contender(name, lambda _: [str(python), "-c", _HASH, *map(str, files)])


def parsing(python: Path, name: str, model: Path) -> Contender:
    """protobuf's parser on saved_model.pb, with the fields that hubcli reads."""
    return Contender(name, lambda _: [str(python), "-c", _PARSE, str(model)])


def copying_after(hubcli: str, name: str, small: Path, source: Path) -> Contender:
    """An export of a small model, which is the start of an export, and then `cp -r` of a large one."""
    words = [hubcli, str(small), str(source)]
    return Contender(name, lambda folder: ["sh", "-c", _COPY_AFTER, "sh", *words, str(folder)])


def rewriting(python: Path, name: str, command: Sequence[str], model: Path, tuned: Path, work: Path) -> Contender:
    """What design allows a rewrite: `cp -r` twice, the imports of the command, and the export read back.

    The command, without `hubcli` and a destination, runs once to record what it imports. It is the first
    copy that stands for the values that are read, the second one for those that are written.
    """
    modules = work / "modules"
    recorded = [str(python), "-c", RECORD_IMPORTS, str(modules), *command, str(work / "recorded")]
    subprocess.run(recorded, check=True, stdout=subprocess.DEVNULL)
    script = [str(python), IMPORT_ALL + _READ_BACK, str(model), str(tuned)]
    return Contender(
        name, lambda folder: ["sh", "-c", _REWRITE, "sh", *script, str(folder), str(modules)]
    )


