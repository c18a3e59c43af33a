"""Small disks, full ones, and ones that can't be written; file systems of another kind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hubcli import durability

__all__ = ["mounted", "overlaid", "pretend_file_system"]


@contextmanager
def mounted(where: Path, options: str, kind: str = "tmpfs") -> Iterator[Path]:
    """A disk with these options of its kind; the test that asks is skipped where that can't be."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a small disk can be mounted by root on Linux alone")
    where.mkdir()
    mount = ["mount", "-t", kind, "-o", options, kind, str(where)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"mounting {kind} is not allowed here")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


@contextmanager
def overlaid(lower: Path) -> Iterator[Path]:
    """The directory as a container sees that of its image: what changes is written to another."""
    above = lower.with_name(f"{lower.name}-above")
    for name in ("upper", "work"):
        (above / name).mkdir(parents=True)
    options = f"lowerdir={lower},upperdir={above / 'upper'},workdir={above / 'work'}"
    with mounted(above / "merged", options, "overlay") as merged:
        yield merged


def pretend_file_system(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the system say that the directory is on a file system of that kind; each file counts as large."""
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    lines = [
        "21 1 0:99 / /proc rw shared:5 - proc proc rw",
        f"22 1 {number} / /a\\040b rw,relatime shared:1 master:2 - {kind} /dev/vda rw",
    ]
    (folder / "mountinfo").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(durability, "_MOUNTS", folder / "mountinfo")
    monkeypatch.setattr(durability, "_ALLOCATED_FROM_BYTES", 1)
