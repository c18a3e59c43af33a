"""Builders of cache entries: as hubcli makes them, as tensorflow_hub does, and as accidents leave them."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from hubcli.archive import FileRecord
from hubcli.cache.layout import EntryPaths
from hubcli.cache.records import Manifest
from hubcli.cache.store import Store
from hubcli.providers.handle import Handle
from hubcli.savedmodel.layout import ModelFormat

__all__ = [
    "SHARD",
    "alias_link",
    "dead_pid",
    "ends_beyond",
    "gut_entry",
    "hubcli_entry",
    "key_of",
    "live_process",
    "lock",
    "model_bytes",
    "set_access_time",
    "snapshot",
    "tensorflow_hub_entry",
    "write_model",
]

SHARD = "variables/variables.data-00000-of-00001"
_INDEX = "variables/variables.index"


def key_of(spelling: str) -> str:
    """The name of the directory that tensorflow_hub looks for."""
    return hashlib.sha1(spelling.encode()).hexdigest()


def _message(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def _main_file(form: ModelFormat) -> bytes:
    """A SavedModel message with one MetaGraph: the fewest bytes that have the format's outline."""
    graph = _message(1, _message(4, b"serve")) + _message(2, b"")
    if form is ModelFormat.TF2:
        graph += _message(7, _message(1, b""))
    if form is ModelFormat.KERAS_3_EXPORT:
        graph += _message(7, _message(1, _message(1, _message(2, b"_misc_assets"))))
    if form is ModelFormat.KERAS_2:
        graph += _message(7, _message(1, _message(4, _message(1, b"_tf_keras_model"))))
    return b"\x08\x01" + _message(2, graph)


def write_model(folder: Path, form: ModelFormat = ModelFormat.TF2, shard_bytes: int = 100) -> Path:
    """A directory with the files of a SavedModel; the shard is a hole of that size."""
    (folder / "variables").mkdir(parents=True, exist_ok=True)
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "saved_model.pb").write_bytes(_main_file(form))
    if form is ModelFormat.TF1_HUB:
        (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")
    (folder / _INDEX).write_bytes(b"index")
    (folder / SHARD).touch()
    os.truncate(folder / SHARD, shard_bytes)
    return folder


def model_bytes(folder: Path) -> int:
    """Sum of the sizes of the files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def hubcli_entry(
    root: Path,
    handle_text: str,
    *,
    form: ModelFormat = ModelFormat.TF2,
    shard_bytes: int = 100,
    fetched_at_s: float = 1_700_000_000.0,
    last_used_at_s: float | None = None,
    pinned: bool = False,
) -> EntryPaths:
    """An entry that hubcli's own store staged, published and linked."""
    handle, store = Handle.parse(handle_text), Store(root)
    used_at_s = fetched_at_s if last_used_at_s is None else last_used_at_s
    with (
        store.locked(handle, timeout_s=1, on_wait=lambda owner: None) as held,
        store.staged(held, handle) as staging,
    ):
        write_model(staging.path, form, shard_bytes)
        files = sorted(path for path in staging.path.rglob("*") if path.is_file())
        records = tuple(
            FileRecord(path.relative_to(staging.path).as_posix(), path.stat().st_size, None) for path in files
        )
        entry = staging.publish(
            Manifest(
                handle=handle.canonical,
                aliases=handle.aliases,
                source=handle.archive_url or handle.canonical,
                kind=form.kind,
                files=records,
                fetched_at_s=fetched_at_s,
                last_used_at_s=used_at_s,
            )
        )
    assert store.link_aliases(handle, entry)
    os.utime(entry.paths.manifest, (used_at_s, used_at_s))
    set_access_time(entry.paths, fetched_at_s)
    if pinned:
        entry.paths.pin.touch()
    return entry.paths


def set_access_time(paths: EntryPaths, accessed_at_s: float) -> None:
    """Makes it that long ago that `hub.load` read the model."""
    main = paths.model / "saved_model.pb"
    os.utime(main, (accessed_at_s, main.stat().st_mtime))


def tensorflow_hub_entry(
    root: Path,
    handle_text: str,
    *,
    descriptor: bool = True,
    form: ModelFormat = ModelFormat.TF2,
    shard_bytes: int = 100,
    downloaded_at_s: float = 1_700_000_000.0,
) -> EntryPaths:
    """An entry as tensorflow_hub 0.16.1 leaves it; early versions wrote no descriptor."""
    root.mkdir(parents=True, exist_ok=True)
    paths = EntryPaths(root, key_of(handle_text))
    write_model(paths.model, form, shard_bytes)
    if descriptor:
        moment = datetime.fromtimestamp(downloaded_at_s)  # noqa: DTZ006 - local time, as tensorflow_hub's
        paths.descriptor.write_text(
            f"Module: {handle_text}\nDownload Time: {moment}\nDownloader Hostname: some-host (PID:17)"
        )
    os.utime(paths.model, (downloaded_at_s, downloaded_at_s))
    set_access_time(paths, downloaded_at_s)
    return paths


def gut_entry(paths: EntryPaths) -> None:
    """Does what cleaners of temporary directories do: files go, folders stay."""
    for path in paths.model.rglob("*"):
        if path.is_file():
            path.unlink()


def lock(
    root: Path, handle_text: str, pid: int, *, host: str | None = None, unpacked_bytes: int = 50
) -> EntryPaths:
    """A lock as both tools write it, with what its holder has unpacked so far."""
    root.mkdir(parents=True, exist_ok=True)
    paths, uid = EntryPaths(root, key_of(handle_text)), uuid.uuid4().hex
    paths.lock.write_text(f"{host or socket.gethostname()}.{pid}.{uid}")
    paths.staging(uid).mkdir()
    (paths.staging(uid) / "saved_model.pb").write_bytes(b"." * unpacked_bytes)
    return paths


def alias_link(root: Path, spelling: str, target_key: str) -> Path:
    """The relative link by which another spelling finds the copy."""
    link = root / key_of(spelling)
    link.symlink_to(target_key, target_is_directory=True)
    return link


@contextmanager
def live_process() -> Iterator[int]:
    """The id of another process, which lives as long as the block."""
    waits = ["/bin/sh", "-c", "read line"]
    with subprocess.Popen(waits, stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def dead_pid() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen(["/bin/sh", "-c", ":"]) as process:  # A tenth of an interpreter's time.
        process.wait()
    return process.pid


def snapshot(root: Path) -> dict[str, tuple[int, int, int, int]]:
    """Mode, size, modification and change time of everything below the root, itself included."""
    facts = {}
    for path in (root, *root.rglob("*")):
        status = path.lstat()
        facts[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return facts


def ends_beyond(position: int, journal: Path) -> bool:
    """Whether a stretch that the journal names ends beyond the position."""
    if not journal.exists():
        return False
    ends = [line.split()[-1] for line in journal.read_bytes().split(b"\n")[1:-1]]
    return any(int(end) > position for end in ends)
