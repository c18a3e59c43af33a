"""Files that are made from the program: written, or compared with what stands on the disk."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["write_or_check"]


def write_or_check(
    files: Mapping[Path, str], arguments: Sequence[str] | None, description: str | None
) -> int:
    """Writes the files, or with `--check` names those that differ; 1 where one does."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a file differs")
    if not parser.parse_args(arguments).check:
        for path, text in files.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"{path} isn't what the program says: make it anew", file=sys.stderr)
    return 1 if stale else 0
