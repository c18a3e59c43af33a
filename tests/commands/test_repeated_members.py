"""An archive with a file that is there twice: the commands that read archives agree about it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from hubcli.commands.export import export
from hubcli.commands.fetch import fetch
from hubcli.commands.inspect import InspectOptions, inspect
from hubcli.config.settings import Settings
from hubcli.errors import UnsafeArchiveError
from tests.entries import SHARD
from tests.models import example_files, tree_files
from tests.server import HubServer

INDEX = "variables/variables.index"


def packed(*members: tuple[str, bytes]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return plain.getvalue()


def in_order(*, differs: str | None = None) -> bytes:
    """The example with every file but the index twice, as a packer of files and directories makes it."""
    files = example_files()
    index = files.pop(INDEX)
    again = [(f"./{name}", content + b"x" * (name == differs)) for name, content in files.items()]
    return packed(*files.items(), *again, (INDEX, index), (INDEX, index))


def test_copies_that_are_the_same_are_one_file_for_every_command(
    tmp_path: Path, server: HubServer, settings: Settings
) -> None:
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(in_order())
    url = server.serve("/a/b/1", in_order())
    assert inspect(str(archive), settings).info == inspect(url, settings).info
    assert inspect(url, settings, InspectOptions(graph_alone=True)).info.meta_graphs
    assert tree_files(fetch(url, settings).path) == example_files()
    export(str(archive), tmp_path / "out", settings)
    assert tree_files(tmp_path / "out") == example_files()


@pytest.mark.parametrize("name", ["saved_model.pb", SHARD, "fingerprint.pb"])
def test_copies_that_differ_are_refused_by_every_command(
    name: str, tmp_path: Path, server: HubServer, settings: Settings
) -> None:
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(in_order(differs=name))
    url = server.serve("/a/b/1", archive.read_bytes())
    for read in (
        lambda: inspect(str(archive), settings),
        lambda: inspect(url, settings),
        lambda: fetch(url, settings),
        lambda: export(str(archive), tmp_path / "out", settings),
    ):
        with pytest.raises(UnsafeArchiveError, match="twice, with different content"):
            read()
    assert not (tmp_path / "out").exists()
