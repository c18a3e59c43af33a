"""`hubcli.resolve` and `hubcli.load`: any handle, the cache of the command line, and where a model lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import hubcli
from hubcli.commands.fetch import fetch
from hubcli.config.settings import Mirror, Settings
from hubcli.errors import (
    ArgumentError,
    HandleError,
    HubcliError,
    IntegrityError,
    MissingPathError,
    NetworkError,
    NotFoundError,
    OfflineError,
    TensorFlowError,
    UsageError,
)
from tests import models
from tests.cases import each_of
from tests.server import HubServer, Reply


def resolve(handle: str, settings: Settings) -> Path:
    return Path(hubcli.resolve(handle, settings=settings))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The built-in example as a directory of its own."""
    return models.write_tree(tmp_path / "model", models.example_files())


def test_a_handle_is_fetched_once_and_found_then(server: HubServer, settings: Settings) -> None:
    url = server.serve("/maker/model/1", models.archive())
    path = resolve(url, settings)
    assert models.tree_files(path) == models.example_files()
    assert resolve(url, settings) == path == fetch(url, settings).path
    assert len(server.requests) == 1


def test_mirrors_and_other_spellings_are_those_of_the_command_line(
    server: HubServer, settings: Settings
) -> None:
    server.serve("/maker/model/1", models.archive())
    mirrored = replace(settings, mirrors=(Mirror("https://tfhub.dev", server.url),))
    path = resolve("https://tfhub.dev/maker/model/1", mirrored)
    assert resolve("http://tfhub.dev/maker/model/1/?tfhub-redirect=true", settings) == path


def test_an_archive_and_an_example_are_unpacked_into_the_cache(tmp_path: Path, settings: Settings) -> None:
    file = tmp_path / "model.tar.gz"
    file.write_bytes(models.archive())
    for handle in (str(file), file.as_uri(), "example://mul/1"):
        assert models.tree_files(resolve(handle, settings)) == models.example_files()


def test_a_directory_is_its_own_place_as_it_was_typed(
    model: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hubcli.resolve(str(model), settings=settings) == str(model)
    assert hubcli.resolve(model.as_uri(), settings=settings) == str(model)
    monkeypatch.chdir(model.parent)
    assert hubcli.resolve("model", settings=settings) == "model"
    monkeypatch.setenv("HOME", str(model.parent))
    assert hubcli.resolve("~/model", settings=settings) == str(model)
    assert not settings.cache_root.exists()


def test_what_is_resolved_counts_as_used(settings: Settings) -> None:
    path = resolve("example://mul/1", settings)
    for handle in ("example://mul/1", str(path)):
        (manifest,) = settings.cache_root.glob("*.hubcli.json")
        os.utime(manifest, (1.0, 1.0))
        resolve(handle, settings)
        assert manifest.stat().st_mtime > 1e9, handle


def test_a_gutted_entry_is_fetched_anew(server: HubServer, settings: Settings) -> None:
    url = server.serve("/maker/model/1", models.archive())
    shutil.rmtree(resolve(url, settings) / "variables")
    assert models.tree_files(resolve(url, settings)) == models.example_files()


def test_damaged_bytes_are_refused(server: HubServer, settings: Settings) -> None:
    url = server.serve("/maker/model/1", models.archive()[:-20])
    with pytest.raises(IntegrityError):
        resolve(url, settings)


def test_offline_a_miss_fails_and_a_hit_does_not(server: HubServer, settings: Settings) -> None:
    url = server.serve("/maker/model/1", models.archive())
    offline = replace(settings, offline=True)
    for miss in (url, "gs://bucket/model", "gs://bucket/model.tar.gz", "s3://bucket/model"):
        with pytest.raises(OfflineError):
            resolve(miss, offline)
    assert resolve(url, settings) == resolve(url, offline)


def test_what_cannot_be_resolved_is_said(server: HubServer, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="404"):
        resolve(f"{server.url}/nothing/1", settings)
    for missing in (str(tmp_path / "nothing"), "./nothing", "nothing", str(tmp_path / "nothing.tar.gz")):
        with pytest.raises(MissingPathError, match=r"nothing.* does not exist\.$") as raised:
            resolve(missing, settings)
        assert isinstance(raised.value, OSError)
        assert raised.value.hint
    for unreadable in ("ftp://host/model", "gs://bucket", "s3://bucket", ""):
        with pytest.raises(HandleError):
            resolve(unreadable, settings)


@each_of("handle", [None, 3, b"/model", Path("/model")])
def test_what_is_no_text_is_a_value_error(handle: object) -> None:
    with pytest.raises(ArgumentError, match="Expected a string, got") as raised:
        hubcli.resolve(handle)  # type: ignore[arg-type]
    assert isinstance(raised.value, ValueError)


def test_an_unknown_load_format_is_said_where_it_matters(settings: Settings, model: Path) -> None:
    odd = replace(settings, load_format="ZIPPED")
    with pytest.raises(UsageError, match="Invalid TFHUB_MODEL_LOAD_FORMAT 'ZIPPED'"):
        resolve("https://tfhub.dev/maker/model/1", odd)
    assert resolve(str(model), odd) == model


def test_without_tensorflow_a_fetch_works_and_a_load_says_what_is_missing(cache: Path) -> None:
    program = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "import hubcli\n"
        "hubcli.resolve('example://mul/1')\n"
        "try: hubcli.load('example://mul/1')\n"
        "except hubcli.HubcliError as error: print(error.code, error.message, error.hint)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HUBCLI_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (
        result.stdout.strip() == "tensorflow tensorflow is not installed Install it: pip install 'hubcli[tf]'"
    )


@pytest.mark.tensorflow
class TestWithTensorFlow:
    @pytest.fixture
    def uncompressed(self, settings: Settings) -> Settings:
        return replace(settings, load_format="UNCOMPRESSED")

    def test_a_model_is_loaded_by_its_handle(self, server: HubServer, settings: Settings) -> None:
        url = server.serve("/maker/model/1", models.archive())
        model = hubcli.load(url, settings=settings)
        assert float(model([[21.0]])[0, 0]) == 42.0

    def test_it_is_read_where_the_host_says_that_it_lies(
        self, server: HubServer, uncompressed: Settings, model: Path
    ) -> None:
        url = server.serve("/maker/model/1", Reply(str(model).encode(), 303))
        assert resolve(url, uncompressed) == model
        assert float(hubcli.load(url, settings=uncompressed)([[21.0]])[0, 0]) == 42.0
        assert {request.query for request in server.requests} == {"tf-hub-format=uncompressed"}
        assert not uncompressed.cache_root.exists()

    def test_it_is_read_behind_a_redirect(
        self, server: HubServer, uncompressed: Settings, model: Path
    ) -> None:
        target = server.serve("/maker/model/1", Reply(str(model).encode(), 303))
        for status in (301, 302, 307, 308):
            assert resolve(server.redirect(f"/maker/at-{status}/1", target, status), uncompressed) == model

    def test_through_a_mirror_too(self, server: HubServer, uncompressed: Settings, model: Path) -> None:
        server.serve("/maker/model/1", Reply(str(model).encode(), 303))
        mirrored = replace(uncompressed, mirrors=(Mirror("https://tfhub.dev", server.url),))
        assert resolve("https://tfhub.dev/maker/model/1/", mirrored) == model

    def test_it_must_be_there(self, server: HubServer, uncompressed: Settings, tmp_path: Path) -> None:
        url = server.serve("/maker/model/1", Reply(f"{tmp_path}/gone".encode(), 303))
        with pytest.raises(MissingPathError, match=r"gone does not exist\."):
            resolve(url, uncompressed)

    def test_offline_nobody_is_asked(self, server: HubServer, uncompressed: Settings) -> None:
        with pytest.raises(OfflineError):
            resolve(f"{server.url}/maker/model/1", replace(uncompressed, offline=True))
        assert not server.requests

    def test_a_host_without_it_is_no_fallback(self, server: HubServer, uncompressed: Settings) -> None:
        url = server.serve("/maker/model/1", models.archive())
        with pytest.raises(NetworkError, match="answers 200"):
            resolve(url, uncompressed)

    def test_tags_choose_the_graph_and_wrong_ones_are_said(self, model: Path, settings: Settings) -> None:
        assert hubcli.load(str(model), {"serve"}, settings=settings).signatures
        with pytest.raises(TensorFlowError, match="cannot load"):
            hubcli.load(str(model), ["train"], settings=settings)

    def test_options_reach_tensorflow(self, model: Path, settings: Settings) -> None:
        import tensorflow as tf

        options = tf.saved_model.LoadOptions(experimental_io_device="/job:nowhere")
        with pytest.raises(HubcliError, match="nowhere"):
            hubcli.load(str(model), options=options, settings=settings)

    def test_a_damaged_file_is_told_without_a_traceback(self, model: Path, settings: Settings) -> None:
        (model / "saved_model.pb").write_bytes(b"nothing")
        with pytest.raises(TensorFlowError, match="cannot load"):
            hubcli.load(str(model), settings=settings)
