"""An archive in a directory of its own, to be looked into."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hubcli.archive.limits import Limits
from hubcli.archive.unpack import lift_wrapping_folder
from hubcli.commands.listener import Listener
from hubcli.commands.sources import open_source
from hubcli.errors import CacheError, DiskFullError, means_full
from hubcli.handle import Handle
from hubcli.settings import Settings

__all__ = ["unpack_archive", "unpacked"]


@contextmanager
def unpacked(archive: Path, settings: Settings, listener: Listener) -> Iterator[Path]:
    """The directory with the model of the archive, removed when the context ends.

    It stands where the system has room for temporary files, and passed the
    checks of a fetch. Raises IntegrityError for an archive that is damaged or
    must not be unpacked, NotFoundError, DiskFullError, CacheError.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="hubcli-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            unpack_archive(archive, folder, settings, listener)
            yield folder
    except OSError as error:
        kind = DiskFullError if means_full(error) else CacheError
        raise kind(
            f"{archive} can't be unpacked in {tempfile.gettempdir()}: {error.strerror}",
            hint="Name a directory with room for it: TMPDIR=DIR hubcli …",
        ) from error


def unpack_archive(archive: Path, folder: Path, settings: Settings, listener: Listener) -> None:
    """Fills the empty directory with the model of the archive, with the checks of a fetch.

    Raises IntegrityError, NotFoundError, DiskFullError, OSError.
    """
    with open_source(Handle.parse(str(archive)), settings, None) as source:
        listener.started(str(archive), source.name, source.size_bytes)
        files = source.unpack_into(
            folder, Limits(), on_received=listener.received, on_unpacked=listener.unpacked
        )
    lift_wrapping_folder(folder, files)
