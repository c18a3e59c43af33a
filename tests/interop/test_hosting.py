"""What `export` writes is what others read: a web server's clients, tensorflow_hub, TensorFlow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli.commands.export import ExportOptions, Layout, export
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.config.settings import Settings
from tests import models
from tests.corpus import corpus_model
from tests.forkserver import run_python
from tests.interop.test_nginx import nginx as nginx
from tests.interop.test_nginx import wait_for_port
from tests.server import free_port

Run = Callable[..., "subprocess.CompletedProcess[str]"]
HANDLE = "https://tfhub.dev/maker/model/1"
HUB = ExportOptions(layout=Layout.HUB)

LOAD = """
import sys, tensorflow_hub as hub
for handle in sys.argv[1:]:
    print(float(hub.load(handle)([[21.0]])[0, 0]))
"""


def tensorflow(script: str, *arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("tensorflow_hub")
    environment = {**os.environ, "TFHUB_CACHE_DIR": str(cache)}
    return run_python(["-c", script, *arguments], env=environment, with_tensorflow=True)


@pytest.fixture
def hosted(nginx: tuple[str, Path], settings: Settings, tmp_path: Path) -> str:
    """The address of the built-in example on nginx, put there by export."""
    url, www = nginx
    packed = tmp_path / "model.tar.gz"
    packed.write_bytes(models.archive())
    fetch(HANDLE, settings, FetchOptions(local=str(packed)))
    export(HANDLE, www, settings, HUB)
    return f"{url}/maker/model/1"


def test_any_web_server_over_a_hub_layout_is_a_host(hosted: str, tmp_path: Path, hubcli: Run) -> None:
    result = hubcli("fetch", hosted, "--cache-dir", str(tmp_path / "other"))
    assert result.returncode == 0, result.stderr
    assert models.tree_files(Path(result.stdout.strip())) == models.example_files()


def test_it_is_a_mirror_too(hosted: str, tmp_path: Path, hubcli: Run) -> None:
    mirror = f"https://tfhub.dev={hosted.removesuffix('/maker/model/1')}"
    result = hubcli("fetch", HANDLE, "--mirror", mirror, "--cache-dir", str(tmp_path / "other"))
    assert models.tree_files(Path(result.stdout.strip())) == models.example_files()


@pytest.mark.parametrize(
    ("handle", "prefix"),
    [
        ("https://www.kaggle.com/models/maker/model/tensorFlow2/small/3", "https://www.kaggle.com/models"),
        ("https://tfhub.dev/maker/deep/er/model/3", "https://tfhub.dev"),
    ],
)
def test_every_kind_of_handle_has_a_mirror(
    handle: str, prefix: str, nginx: tuple[str, Path], settings: Settings, tmp_path: Path, hubcli: Run
) -> None:
    url, www = nginx
    packed = tmp_path / "model.tar.gz"
    packed.write_bytes(models.archive())
    fetch(handle, settings, FetchOptions(local=str(packed)))
    export(handle, www, settings, HUB)
    result = hubcli("fetch", handle, "--mirror", f"{prefix}={url}", "--cache-dir", str(tmp_path / "other"))
    assert result.returncode == 0, result.stderr
    assert models.tree_files(Path(result.stdout.strip())) == models.example_files()


@pytest.fixture
def versions(hosted: str, nginx: tuple[str, Path], tmp_path: Path, settings: Settings) -> str:
    """The address of a model without a version, of which there are 1, 2 and 10."""
    for version in ("10", "2"):
        files = {**models.example_files(), "assets.extra/version": version.encode()}
        model = models.write_tree(tmp_path / version, files)
        options = ExportOptions(layout=Layout.HUB, name="maker/model", version=version)
        export(str(model), nginx[1], settings, options)
    return hosted.removesuffix("/1")


def test_a_handle_without_a_version_is_the_newest_one(versions: str, tmp_path: Path, hubcli: Run) -> None:
    result = hubcli("fetch", versions, "--cache-dir", str(tmp_path / "other"))
    assert result.returncode == 0, result.stderr
    assert (Path(result.stdout.strip()) / "assets.extra" / "version").read_text() == "10"


@pytest.mark.tensorflow
def test_hub_load_reads_the_newest_one_too(versions: str, tmp_path: Path) -> None:
    loaded = tensorflow(LOAD, versions, cache=tmp_path / "theirs")
    assert loaded.stdout.split() == ["42.0"], loaded.stderr
    (version,) = tmp_path.glob("theirs/*/assets.extra/version")
    assert version.read_text() == "10"


def test_another_server_and_a_copied_tree_answer_alike(
    versions: str, nginx: tuple[str, Path], tmp_path: Path, hubcli: Run
) -> None:
    copied, port = tmp_path / "copied", free_port()
    shutil.copytree(nginx[1], copied)  # Links are followed, as by an upload.
    command = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        "127.0.0.1",
        "--directory",
        str(copied),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, server)
        url = f"http://127.0.0.1:{port}/maker/model"
        result = hubcli("fetch", url, "--cache-dir", str(tmp_path / "other"))
        assert (Path(result.stdout.strip()) / "assets.extra" / "version").read_text() == "10"
        (
            copied / "maker" / "model" / "index.html"
        ).unlink()  # As 0.1.0 wrote it: the server lists the directory.
        result = hubcli("fetch", f"{url}?again=1", "--cache-dir", str(tmp_path / "other"))
        assert "If the handle has no version, add one, such as HANDLE/1." in result.stderr
    finally:
        server.terminate()
        server.wait()


def test_a_tree_without_an_index_is_told_by_the_hint(
    versions: str, nginx: tuple[str, Path], tmp_path: Path, hubcli: Run
) -> None:
    (nginx[1] / "maker" / "model" / "index.html").unlink()
    result = hubcli("fetch", versions, "--cache-dir", str(tmp_path / "other"))
    assert result.returncode == 5
    assert "/maker/model/?tf-hub-format=compressed answers 403 Forbidden" in result.stderr
    assert "Add the version" in result.stderr
    result = hubcli("fetch", f"{versions}-absent", "--cache-dir", str(tmp_path / "other"))
    assert result.returncode == 4
    assert "add its version, such as HANDLE/1" in result.stderr


@pytest.mark.tensorflow
def test_hub_load_reads_it_from_there(hosted: str, tmp_path: Path) -> None:
    loaded = tensorflow(LOAD, hosted, cache=tmp_path / "theirs")
    assert loaded.stdout.split() == ["42.0"], loaded.stderr


@pytest.mark.tensorflow
def test_hub_load_reads_exported_directories_and_archives(settings: Settings, tmp_path: Path) -> None:
    for name in ("plain", "model.tar.gz", "model.tar"):
        export("example://mul/1", tmp_path / name, settings)
    export("example://mul/1", tmp_path, settings, ExportOptions(layout=Layout.SERVING))
    sources = [str(tmp_path / "plain"), str(tmp_path / "mul" / "1")]
    loaded = tensorflow(LOAD, *sources, cache=tmp_path / "theirs")
    assert loaded.stdout.split() == ["42.0"] * 2, loaded.stderr


@pytest.mark.tensorflow
def test_tensorflow_hubs_own_unpacker_reads_both_archives(settings: Settings, tmp_path: Path) -> None:
    source = corpus_model("tfx_tft_tf2")
    script = (
        "import sys, tensorflow_hub as hub; from tensorflow_hub import file_utils\n"
        "file_utils.extract_tarfile_to_destination(open(sys.argv[1], 'rb'), sys.argv[2])"
    )
    for name in ("a.tar.gz", "a.tar"):
        export(str(source), tmp_path / name, settings)
        back = tmp_path / f"{name}.d"
        result = tensorflow(script, str(tmp_path / name), str(back), cache=tmp_path / "theirs")
        assert models.tree_files(back) == models.tree_files(source), result.stderr


def test_gzip_and_tar_take_the_archive_for_whole(settings: Settings, tmp_path: Path) -> None:
    if not shutil.which("gzip"):
        pytest.skip("gzip isn't here")
    export("example://mul/1", tmp_path / "a.tar.gz", settings)
    subprocess.run(["gzip", "-t", tmp_path / "a.tar.gz"], check=True)
    listing = subprocess.run(
        ["tar", "-tzf", tmp_path / "a.tar.gz"], check=True, capture_output=True, text=True
    )
    assert listing.stderr == ""
    assert "./saved_model.pb" in listing.stdout.splitlines()
