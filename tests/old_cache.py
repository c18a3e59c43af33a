"""A cache that hubcli 0.1.0 wrote, with entries of tensorflow_hub and kagglehub: what it holds, and copies.

`tests/data/cache-of-0.1.0.tar.xz` was made by `tools/make_old_cache.py`, which runs the release itself. It
holds `cache/`, `kagglehub/` and `models.lock`. Everything in it is 60 days older than it was when it was
made: no rule of `gc` counts it as fresh, whenever the tests run.
"""

from __future__ import annotations

import functools
import io
import lzma
import os
import random
import socket
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests import models
from tests.entries import dead_pid, key_of
from tests.server import Reply

__all__ = [
    "ADOPTED",
    "ALIASES",
    "ARCHIVED",
    "DIRECTORY",
    "EXAMPLE",
    "FETCHED",
    "FIXTURE",
    "HOST_NAME",
    "HUBCLI",
    "INTERRUPTED",
    "KAGGLE",
    "KAGGLE_LATEST",
    "KAGGLE_NAME",
    "KAGGLE_TAKEN",
    "KERAS",
    "KILLED",
    "KILLED_SMALL",
    "NEWEST",
    "OF_TENSORFLOW_HUB",
    "ORIGINAL",
    "PINNED",
    "PINNED_OF_TENSORFLOW_HUB",
    "PLAIN",
    "TENSORFLOW_1",
    "TENSORFLOW_HUB",
    "UNDESCRIBED",
    "OldCache",
    "large_archive",
    "large_reply",
]

FIXTURE = Path(__file__).parent / "data" / "cache-of-0.1.0.tar.xz"
# Where it was made: what stands in it as an absolute path or as the name of a host.
ORIGINAL = Path("/tmp/cache-of-0.1.0")
HOST_NAME = "host-of-0-1-0"

# Fetched by hubcli, from a host.
FETCHED = "https://tfhub.dev/maker/text/1"
PINNED = "https://tfhub.dev/maker/text/2"
NEWEST = "https://tfhub.dev/maker/newest"
PLAIN = "https://models.example/maker/plain/1"
KERAS = "https://tfhub.dev/maker/keras/1"
TENSORFLOW_1 = "https://tfhub.dev/maker/tensorflow-1/1"
KAGGLE_NAME = "google/nnlm/tensorFlow2/en-dim128"
KAGGLE = f"https://www.kaggle.com/models/{KAGGLE_NAME}/1"
KAGGLE_LATEST = f"https://www.kaggle.com/models/{KAGGLE_NAME}"  # Its version was 2.
KAGGLE_TAKEN = f"https://www.kaggle.com/models/{KAGGLE_NAME}/3"  # From kagglehub's cache.
# Imported by hubcli, and built in.
ARCHIVED = "https://tfhub.dev/maker/archived/1"
DIRECTORY = "https://tfhub.dev/maker/directory/1"
EXAMPLE = "example://mul/1"
HUBCLI = (
    FETCHED, PINNED, NEWEST, PLAIN, KERAS, TENSORFLOW_1, KAGGLE, KAGGLE_LATEST, KAGGLE_TAKEN, ARCHIVED,
    DIRECTORY, EXAMPLE,
)  # fmt: skip
# Other spellings of them, by which they were fetched; links in the cache.
ALIASES = {
    FETCHED: "http://tfhub.dev/maker/text/1/?tfhub-redirect=true",
    PINNED: "http://tfhub.dev/maker/text/2/?tfhub-redirect=true",
    KAGGLE: "https://kaggle.com/models/google/nnlm/frameworks/TensorFlow2/variations/en-dim128/versions/1",
}
# Downloaded by tensorflow_hub 0.16.1; hubcli 0.1.0 fetched the second and pinned the third. The fourth has
# no descriptor, as early versions of tensorflow_hub left them.
OF_TENSORFLOW_HUB = "http://models.example/maker/of-tensorflow-hub/1"
ADOPTED = "http://models.example/maker/adopted/1"
PINNED_OF_TENSORFLOW_HUB = "http://models.example/maker/pinned/1"
UNDESCRIBED = "http://models.example/maker/undescribed/1"
TENSORFLOW_HUB = (OF_TENSORFLOW_HUB, ADOPTED, PINNED_OF_TENSORFLOW_HUB, UNDESCRIBED)
# Downloads that were stopped: by Ctrl-C and SIGKILL in a large archive, by SIGKILL in a small one.
INTERRUPTED = "https://tfhub.dev/maker/interrupted/1"
KILLED = "https://tfhub.dev/maker/killed/1"
KILLED_SMALL = "https://tfhub.dev/maker/killed-small/1"


def large_archive() -> bytes:
    """The archive of the downloads that were stopped: 9 MiB that xz makes small; the same on every Python."""
    block = random.Random(5).randbytes(4099)
    files = {**models.example_files(), "assets.extra/large": block * ((9 << 20) // len(block))}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(f"./{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return plain.getvalue()


def large_reply(**changes: int) -> Reply:
    """How a host answers for it, with ranges."""
    return Reply(large_archive(), etag='"large"', **changes)  # type: ignore[arg-type]


@functools.cache
def _fixture_tar() -> bytes:
    """The fixture without its compression, which is half the work of unpacking it."""
    return lzma.decompress(FIXTURE.read_bytes())


@dataclass(frozen=True, slots=True)
class OldCache:
    """A copy of the fixture below `folder`."""

    folder: Path

    @property
    def root(self) -> Path:
        """The cache that hubcli and tensorflow_hub share."""
        return self.folder / "cache"

    @property
    def kagglehub(self) -> Path:
        """Kagglehub's cache."""
        return self.folder / "kagglehub"

    @property
    def lock_file(self) -> Path:
        """What `fetch --lock` wrote of FETCHED, KAGGLE_LATEST, ARCHIVED and EXAMPLE."""
        return self.folder / "models.lock"

    @classmethod
    def unpack(cls, folder: Path, *, locks_of_this_host: bool = True) -> OldCache:
        """The cache as it was on the machine that wrote it, now on this one, below the folder.

        Absolute links lead to here. Locks name this host and a process of it that has ended, or another host.
        """
        with tarfile.open(fileobj=io.BytesIO(_fixture_tar())) as archive:
            archive.extraction_filter = lambda member, _: member  # It is ours, and has absolute links.
            archive.extractall(folder)
        for link in (folder / "kagglehub").rglob("*"):
            if link.is_symlink():
                target = folder / link.readlink().relative_to(ORIGINAL)
                link.unlink()
                link.symlink_to(target)
        for lock in (folder / "cache").glob("*.lock") if locks_of_this_host else ():
            _, _, uid = lock.read_text().split(".")
            times = lock.stat()
            lock.write_text(f"{socket.gethostname()}.{dead_pid()}.{uid}")
            os.utime(lock, ns=(times.st_atime_ns, times.st_mtime_ns))
        return cls(folder)

    def model(self, handle: str) -> Path:
        """The directory of the model, or the link to it."""
        return self.root / key_of(handle)

    def names(self, handle: str) -> set[str]:
        """What stands in the root for that handle: the name of each file behind the key."""
        key = key_of(handle)
        return {path.name.removeprefix(key) for path in self.root.iterdir() if path.name.startswith(key)}
