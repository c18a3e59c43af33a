"""A destination to unpack into, in the midst of things that must stay as they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

import pytest

from hubcli.archive import FileRecord, Limits
from hubcli.archive.compression import decompressed
from hubcli.archive.tar import ChunkReader, walk_tar
from hubcli.archive.unpack import unpack
from hubcli.errors import HubcliError
from tests.archives import chunked, read_tree

__all__ = ["Sandbox"]


class Sandbox:
    """`destination` is where archives are unpacked; `outside` is all around it."""

    def __init__(self, outside: Path) -> None:
        self.outside = outside
        self.destination = outside / "deep" / "destination"
        self.destination.mkdir(parents=True)
        (outside / "victim").write_bytes(b"untouched")
        (outside / "deep" / "victim").write_bytes(b"untouched")
        self._before = self._surroundings()

    def unpack(
        self, archive: bytes | Iterable[bytes], limits: Limits | None = None
    ) -> tuple[FileRecord, ...]:
        """Unpacks the archive as `fetch` does."""
        limits = limits or Limits()
        chunks = chunked(archive) if isinstance(archive, bytes) else archive
        members = walk_tar(ChunkReader(decompressed(chunks)), limits)
        return unpack(members, self.destination, limits)

    def refusal(
        self,
        archive: bytes | Iterable[bytes],
        error: type[HubcliError],
        limits: Limits | None = None,
    ) -> HubcliError:
        """The error of this very class with which the archive is refused, nothing written outside."""
        with pytest.raises(error) as caught:
            self.unpack(archive, limits)
        assert type(caught.value) is error
        self.require_untouched_surroundings()
        return caught.value

    def require_untouched_surroundings(self) -> None:
        """Nothing outside changed, and all inside is a file or a directory of our own making."""
        assert self._surroundings() == self._before
        for path in self.destination.rglob("*"):
            status = path.lstat()
            assert stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode), path
            assert status.st_nlink == 1 or stat.S_ISDIR(status.st_mode), path

    @property
    def files(self) -> dict[str, bytes]:
        """What was unpacked."""
        return read_tree(self.destination)

    def _surroundings(self) -> dict[str, bytes | None]:
        seen: dict[str, bytes | None] = {}
        for top, folders, names in os.walk(self.outside):
            here = Path(top)
            if here == self.destination:
                folders.clear()
                continue
            seen[top] = None
            seen.update({str(here / name): (here / name).read_bytes() for name in names})
        return seen


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path / "sandbox")
