"""Byte sources by the scheme of an address: what is on this machine, and what nobody reads."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from urllib.parse import quote

import pytest

from hubcli.archive import Limits
from hubcli.config.settings import Settings
from hubcli.errors import BodyChangedError, HandleError, NotFoundError, TruncatedError
from hubcli.fetching.byte_sources import Transfer, download_options, open_bytes, open_path, size_of
from hubcli.fetching.sources import members_of, open_source, unpack_source
from hubcli.net.byte_source import ByteSource
from hubcli.net.download import Download, DownloadOptions
from hubcli.net.file_source import FileSource
from hubcli.net.retries import RetryPolicy
from hubcli.providers.handle import Handle
from tests import models
from tests.server import HubServer, Reply


def nothing(_: int) -> None:
    """Ignores the bytes."""


def test_one_interface_reads_a_file_a_built_in_example_and_a_host(
    settings: Settings, server: HubServer, tmp_path: Path
) -> None:
    body = models.archive()
    file = tmp_path / "model #1.tar.gz"
    file.write_bytes(body)
    server.redirect("/m", server.serve("/real", body))
    for address, name in (
        (f"file://{quote(os.fsencode(file))}", file.as_uri()),
        (f"{server.url}/m", f"{server.url}/real"),
    ):
        with open_bytes(address, settings, Transfer()) as source:
            assert (source.name, source.size_bytes, source.directory) == (name, len(body), None)
            assert b"".join(source.read()) == body
        assert size_of(address, settings, RetryPolicy(0)) == len(body)
    with open_bytes("example://mul/1", settings, Transfer()) as source:
        assert (source.name, source.redirects) == ("example://mul/1", ())
        with members_of(source, Limits(), nothing) as members:
            assert "saved_model.pb" in {member.name.removeprefix("./") for member, _ in members}


def test_an_archive_in_the_home_of_nobody_is_not_found(settings: Settings) -> None:
    handle = Handle.parse("https://tfhub.dev/google/mul/1")
    with (
        pytest.raises(NotFoundError, match="~nobody-at-all/m names the home of an unknown user"),
        open_source(handle, settings, "~nobody-at-all/m"),
    ):
        pass


def test_the_redirects_and_the_validator_of_a_host_are_told(settings: Settings, server: HubServer) -> None:
    server.redirect("/m", server.serve("/real", models.archive()))
    with open_bytes(f"{server.url}/m", settings, Transfer()) as source:
        assert source.redirects == (f"{server.url}/m", f"{server.url}/real")
        assert source.has_ranges == (source.validator is not None)


def test_a_directory_is_walked_and_has_no_archive(settings: Settings, tmp_path: Path) -> None:
    models.write_tree(tmp_path / "model", models.example_files())
    (tmp_path / "to").mkdir()
    with open_bytes(f"file://{tmp_path}/model", settings, Transfer()) as source:
        unpacked = unpack_source(source, tmp_path / "to", Limits(), on_received=nothing, on_unpacked=nothing)
        assert (source.size_bytes, [*source.read()]) == (None, [])
    assert (unpacked.archive_sha256, unpacked.archive_bytes) == (None, None)
    assert models.tree_files(tmp_path / "to") == models.example_files()


BLOCK_BYTES = 128 << 10


class Blocks(ByteSource):
    """An archive of one file of zeros, made while it is read; `made_bytes` is how much of it was."""

    def __init__(self, size_bytes: int) -> None:
        self.name, self.size_bytes, self.validator = "blocks", size_bytes, '"one"'
        self.file_bytes = size_bytes - 3 * 512
        self.made_bytes = 0

    def read(self) -> Iterator[bytes]:
        file = tarfile.TarInfo("file")
        file.size = self.file_bytes
        for size in (0, *repeat(BLOCK_BYTES, file.size // BLOCK_BYTES), 1024):
            block = bytes(size) or file.tobuf()
            self.made_bytes += len(block)
            yield block


def test_no_more_of_an_archive_waits_in_memory_than_the_limit(tmp_path: Path) -> None:
    source, unpacked, ahead = Blocks((8 << 20) + 3 * 512), 0, []

    def slowly(size_bytes: int) -> None:
        nonlocal unpacked
        if not unpacked:  # The stages before this one run ahead until they wait.
            made_bytes = -1
            while made_bytes < source.made_bytes < source.file_bytes:
                made_bytes = source.made_bytes
                time.sleep(0.2)  # No event says that a thread waits.
        ahead.append(source.made_bytes - unpacked)
        unpacked += size_bytes

    unpack_source(source, tmp_path, Limits(), on_received=nothing, on_unpacked=slowly, ahead_bytes=1 << 20)
    # Two stages, of which each may exceed its share by a block, holds one more, and waits to hand on another.
    assert max(ahead) <= 2 * ((1 << 20) + 3 * BLOCK_BYTES)
    assert unpacked == 8 << 20


@pytest.mark.parametrize("has_spool", [True, False])
def test_a_download_keeps_few_of_the_bytes_that_were_read(tmp_path: Path, has_spool: bool) -> None:
    options = DownloadOptions(
        5, spool=tmp_path / "part" if has_spool else None, kept_bytes=1 << 20, spool_after_bytes=1 << 40
    )
    download = Download(Blocks((24 << 20) + 3 * 512), options)
    tracemalloc.start()
    try:
        assert sum(map(len, download.read())) == download.size_bytes
        assert tracemalloc.get_traced_memory()[1] < (2 if has_spool else 1) << 20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells the peak of a process")
def test_a_fetch_takes_at_most_80_mb_of_memory(server: HubServer, tmp_path: Path) -> None:
    """Of a model that is larger than all that may wait, from a host without and with several connections."""
    noise = random.Random(1).randbytes(64 << 20)
    body = models.archive(assets__noise=noise)
    url = server.serve("/m.tar.gz", Reply(body, etag='"one"'))
    for quick_s, connections in ((1e9, 1), (0.0, 32)):
        command = [sys.executable, "-c", PEAK, str(tmp_path / f"{connections}"), url, str(connections)]
        process = subprocess.run([*command, str(quick_s)], check=True, capture_output=True, text=True)
        assert int(process.stdout) < 80_000_000


PEAK = """
import re, sys
from pathlib import Path
import hubcli
from hubcli.net import download
cache, url, connections, download.QUICK_S = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
settings = hubcli.Settings.read({}, cache_dir=cache, connections=connections)
assert hubcli.fetch(url, settings).size_bytes > 64 << 20
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10)
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="FIFOs are a matter of POSIX")
def test_a_fifo_is_read_once_its_first_byte_came(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(b"bytes",))
    writer.start()
    with open_path(tmp_path / "fifo", fifo_wait_s=60) as source:
        assert not source.has_ranges
        assert b"".join(source.read()) == b"bytes"
    writer.join()


def test_a_local_file_is_read_in_parts_while_it_is_read_in_order(settings: Settings, tmp_path: Path) -> None:
    body = os.urandom(700_000)
    file = tmp_path / "body.tar"
    file.write_bytes(body)
    with open_bytes(file.as_uri(), settings, Transfer()) as source:
        assert source.has_ranges
        chunks = source.read()
        first = next(chunks)
        with source.range(300_000, 600_001) as blocks, source.range(0, 3) as others:
            assert b"".join(blocks) == body[300_000:600_001]
            assert b"".join(others) == body[:3]
        assert first + b"".join(chunks) == body
        download = Download(source, download_options(settings, Transfer(connections=3)))
        assert (download.validator, download.has_ranges) == (source.validator, True)


def test_a_part_of_a_local_file_that_changed_is_refused(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "body.tar"
    file.write_bytes(b"0123456789")
    with open_bytes(file.as_uri(), settings, Transfer()) as source:
        with source.range(2, 4) as blocks:
            assert [*blocks] == [b"23"]
        with pytest.raises(TruncatedError, match="ends 2 bytes early"), source.range(8, 12) as blocks:
            list(blocks)
        file.write_bytes(b"others, and more")
        with pytest.raises(BodyChangedError, match="changed while it was read"), source.range(2, 4):
            pass
        file.unlink()
        with pytest.raises(NotFoundError), source.range(2, 4):
            pass


def test_a_local_file_that_cannot_be_read_is_named() -> None:
    memory = Path("/proc/self/mem")  # Where nothing is mapped, reading fails as on a damaged disk.
    if not memory.exists():
        pytest.skip("the memory of the process is no file here")
    with memory.open("rb") as file:
        source = FileSource("memory", file, None, memory)
        with pytest.raises(NotFoundError, match="Cannot read the archive: Input/output error"):
            list(source.read())
        with (
            pytest.raises(NotFoundError, match="Cannot read /proc/self/mem: Input/output error"),
            source.range(0, 4) as blocks,
        ):
            list(blocks)


def test_what_is_not_there_is_named(settings: Settings, tmp_path: Path) -> None:
    for address in (f"file://{tmp_path}/nowhere", "example://other/1"):
        with pytest.raises(NotFoundError), open_bytes(address, settings, Transfer()):
            pass


@pytest.mark.parametrize("address", ["ftp://me:hunter2@host/m", "no address", ""])
def test_a_scheme_that_nobody_reads_is_refused_without_its_secrets(address: str, settings: Settings) -> None:
    with pytest.raises(HandleError, match="Unsupported URL scheme") as caught:
        open_bytes(address, settings, Transfer())
    assert "hunter2" not in str(caught.value)
