"""How much of an archive on a host is read for a look at its model: by the bytes that the server sent."""

from __future__ import annotations

import io
import random
import tarfile
import tempfile
from pathlib import Path

import pytest

from hubcli.archive import Limits
from hubcli.archive.pack import pack
from hubcli.archive.tree import Tree
from hubcli.cli.main import main
from hubcli.commands.inspect import InspectOptions, inspect
from hubcli.config.settings import Settings
from hubcli.errors import CacheError, DiskFullError
from hubcli.net import download
from tests.disks import mounted
from tests.entries import SHARD
from tests.models import example_files, write_tree
from tests.server import HubServer, Reply

PATH = "/a/b/1"
NOISE = random.Random(1).randbytes(1 << 20)
SHARD_BYTES = 40 << 20
# What a system holds of a connection on its way, on both sides of it.
ON_ITS_WAY_BYTES = 12 << 20


def large_files(shard_bytes: int = SHARD_BYTES) -> dict[str, bytes]:
    files = example_files()
    return {**files, SHARD: NOISE * (shard_bytes // len(NOISE)), "assets/words.txt": b"one\n"}


def exported(tmp_path: Path, *, compress: bool = True) -> bytes:
    """As `hubcli export` packs it."""
    model = write_tree(tmp_path / "model", large_files())
    pack(Tree.read(model, Limits()), tmp_path / "packed", compress=compress)
    return (tmp_path / "packed").read_bytes()


def in_order(names: list[str]) -> bytes:
    """A plain archive with these files in this order."""
    files, packed = large_files(), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in names:
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(files[name])
            archive.addfile(info, io.BytesIO(files[name]))
    return packed.getvalue()


def shard_first() -> bytes:
    return in_order([SHARD, *(name for name in large_files() if name != SHARD)])


@pytest.mark.parametrize("compress", [True, False], ids=["tar.gz", "tar"])
def test_of_an_exported_archive_the_beginning_is_read(
    compress: bool, tmp_path: Path, server: HubServer, settings: Settings
) -> None:
    url = server.serve(PATH, Reply(exported(tmp_path, compress=compress), etag='"1"'))
    inspection = inspect(url, settings)
    assert inspection.received_bytes is not None
    assert inspection.received_bytes < 1 << 20
    assert inspection.info.checkpoint is not None
    assert inspection.info.fingerprint is not None
    assert len(server.requests) == 1
    server.settle()
    assert server.sent_bytes < ON_ITS_WAY_BYTES


def test_signatures_of_an_archive_in_any_order_need_nothing_behind_the_graph(
    server: HubServer, settings: Settings
) -> None:
    names = ["saved_model.pb", "fingerprint.pb", SHARD, "variables/variables.index"]
    url = server.serve(PATH, Reply(in_order(names), etag='"1"'))
    inspection = inspect(url, settings, InspectOptions(graph_alone=True))
    assert inspection.received_bytes is not None
    assert inspection.received_bytes < 1 << 20
    assert inspection.info.meta_graphs[0].signatures
    assert inspection.info.fingerprint is not None
    server.settle()
    assert server.sent_bytes < ON_ITS_WAY_BYTES
    assert inspect(url, settings).received_bytes == pytest.approx(SHARD_BYTES, rel=0.05)


@pytest.mark.parametrize(
    ("options", "is_all_read"),
    [
        (["--signatures"], False),
        (["--functions", "--ops"], False),
        (["--assets"], False),
        (["--variables"], True),
        (["--signatures", "--check"], True),
        (["--signatures", "--json"], True),
        ([], True),
    ],
)
def test_the_command_line_reads_as_far_as_its_parts_need(
    options: list[str],
    is_all_read: bool,
    server: HubServer,
    settings: Settings,
    capfd: pytest.CaptureFixture[str],
) -> None:
    url = server.serve(PATH, in_order(["saved_model.pb", SHARD, "variables/variables.index"]))
    assert main(["inspect", url, *options, "--cache-dir", str(settings.cache_root)]) in (0, 9)
    assert ("Read 42.0 MB" in capfd.readouterr().err) == is_all_read


def test_an_archive_in_any_order_comes_over_several_connections(
    server: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_LOOK_S", 0.0)  # With QUICK_S at 0, every download is slow.
    url = server.serve(PATH, Reply(shard_first(), etag='"1"'))
    inspection = inspect(url, settings)
    assert inspection.info.checkpoint is not None
    requested_ranges = [request.headers["Range"] for request in server.requests if "Range" in request.headers]
    assert requested_ranges, "everything came over the first connection"
    assert all(int(byte_range.split("=")[1].split("-")[0]) >= 16 << 20 for byte_range in requested_ranges)


def test_an_archive_in_any_order_on_a_host_without_ranges_is_read_all_the_same(
    server: HubServer, settings: Settings
) -> None:
    url = server.serve(PATH, shard_first())
    assert inspect(url, settings).info.checkpoint is not None
    assert len(server.requests) == 1


def test_without_a_directory_for_temporary_files_the_hint_names_the_variable(
    tmp_path: Path, server: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.serve(PATH, Reply(exported(tmp_path)))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(CacheError, match="Cannot write to a temporary directory: No such file") as missing:
        inspect(url, settings)
    with mounted(tmp_path / "small", "size=1m") as small, monkeypatch.context() as changed:
        changed.setattr(tempfile, "tempdir", str(small))
        with pytest.raises(DiskFullError, match="Not enough disk space") as full:
            inspect(url, settings)
        assert list(small.iterdir()) == []
    assert "TMPDIR" in missing.value.hint
    assert "TMPDIR" in full.value.hint
    assert "--cache-dir" not in full.value.hint
