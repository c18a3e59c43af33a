"""Small archives that unpack to much: stopped early, in bounded memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hubcli.archive import Limits
from hubcli.errors import UnsafeArchiveError
from tests import archives
from tests.archive.conftest import Sandbox
from tests.archives import END, chunked, file, gzipped, gzipped_twice, tar
from tests.cases import each_of

MEBIBYTE = 1 << 20
_CHILD = """
import json, sys, time
from pathlib import Path
from hubcli.archive.tar import Limits
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.errors import HubcliError
from hubcli.config.settings import Settings

archive, cache, limit = sys.argv[1:]
options = FetchOptions(local=archive, limits=Limits(unpacked_bytes=int(limit)))
try:
    fetch("https://tfhub.dev/a/b/1", Settings.read({}, cache_dir=Path(cache)), options)
    error = None
except HubcliError as caught:
    error = caught.code
status = Path("/proc/self/status").read_text().splitlines()
peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps([error, peak_kib, time.process_time()]))
"""


class Run(NamedTuple):
    """How a fetch in a process of its own went; `seconds` are those of the processor."""

    error: str | None
    peak_mib: float
    seconds: float
    left_behind: list[str]


def _fetch_in_child(archive: Path, *, limit: int) -> Run:
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process's memory is read from /proc")
    cache = archive.parent / "cache"
    result = subprocess.run(
        [sys.executable, "-c", _CHILD, str(archive), str(cache), str(limit)],
        capture_output=True,
        check=True,
        text=True,
        timeout=250,
    )
    error, peak_kib, seconds = json.loads(result.stdout)
    left = sorted(path.name for path in cache.iterdir())
    return Run(error, peak_kib / 1024, seconds, left)


def _write_gzip(path: Path, pieces: Iterator[bytes]) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as packed:
        for piece in pieces:
            packed.write(piece)
    return path


def _zeros(mebibytes: int) -> Iterator[bytes]:
    return (bytes(MEBIBYTE) for _ in range(mebibytes))


def _file_of_zeros(mebibytes: int) -> Iterator[bytes]:
    yield archives.base256_file("saved_model.pb", b"", claimed_size=mebibytes * MEBIBYTE)
    yield from _zeros(mebibytes)
    yield END


def _many_files_of_zeros(mebibytes: int) -> Iterator[bytes]:
    for number in range(mebibytes):
        yield file(f"variables/{number}", bytes(MEBIBYTE))
    yield END


def _require_stopped(run: Run) -> None:
    # Each of them unpacks to more than that memory.
    assert run.error == "unsafe-archive"
    assert run.peak_mib < 150
    assert run.seconds < 10
    assert run.left_behind == ["CACHEDIR.TAG"]


@pytest.mark.slow
def test_a_gzip_of_zeros_beyond_the_limit_stops_early_in_bounded_memory(tmp_path: Path) -> None:
    bomb = _write_gzip(tmp_path / "bomb.tar.gz", _zeros(256))
    _require_stopped(_fetch_in_child(bomb, limit=MEBIBYTE))


@pytest.mark.slow
def test_one_file_of_zeros_beyond_the_limit_stops_early_in_bounded_memory(tmp_path: Path) -> None:
    bomb = _write_gzip(tmp_path / "bomb.tar.gz", _file_of_zeros(256))
    _require_stopped(_fetch_in_child(bomb, limit=MEBIBYTE))


@pytest.mark.slow
def test_many_files_of_zeros_beyond_the_limit_stop_early_in_bounded_memory(tmp_path: Path) -> None:
    bomb = _write_gzip(tmp_path / "bomb.tar.gz", _many_files_of_zeros(256))
    _require_stopped(_fetch_in_child(bomb, limit=16 * MEBIBYTE))


@pytest.mark.slow
def test_gzip_within_gzip_beyond_the_limit_stops_early_in_bounded_memory(tmp_path: Path) -> None:
    inner = _write_gzip(tmp_path / "inner", _zeros(512))
    bomb = _write_gzip(tmp_path / "bomb.tar.gz", iter([inner.read_bytes()]))
    assert bomb.stat().st_size < 100_000
    _require_stopped(_fetch_in_child(bomb, limit=MEBIBYTE))


@pytest.mark.slow
def test_a_large_file_within_the_limit_takes_bounded_memory_too(tmp_path: Path) -> None:
    large = _write_gzip(tmp_path / "large.tar.gz", _file_of_zeros(256))
    run = _fetch_in_child(large, limit=300 * MEBIBYTE)
    assert run.error == "broken-model"  # It is found when all is unpacked.
    assert run.peak_mib < 150


def test_no_more_is_received_than_the_limit_needs(sandbox: Sandbox) -> None:
    bomb = gzipped(b"".join(_file_of_zeros(64)))
    received: list[int] = []

    def chunks() -> Iterator[bytes]:
        for chunk in chunked(bomb, 1024):
            received.append(len(chunk))
            yield chunk

    sandbox.refusal(chunks(), UnsafeArchiveError, Limits(unpacked_bytes=MEBIBYTE))
    assert sum(received) < len(bomb) / 10


@each_of("pack", [gzipped, gzipped_twice, archives.bzipped, archives.xzipped])
def test_a_file_is_refused_by_the_size_that_it_claims(tmp_path: Path, pack: archives.Pack) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    bomb = pack(tar(archives.base256_file("a", bytes(512), claimed_size=1 << 50)))
    sandbox.refusal(bomb, UnsafeArchiveError)
    assert sandbox.files == {}


def test_empty_gzip_streams_without_end_are_refused_soon(sandbox: Sandbox) -> None:
    # Two million of them are 97 kB of gzip within gzip and held hubcli for 87 s.
    bomb = gzipped(gzipped(b"") * 100_000)
    started = time.process_time()
    with pytest.raises(UnsafeArchiveError):
        sandbox.unpack(bomb)
    assert time.process_time() - started < 4  # Twice that of an idle machine
