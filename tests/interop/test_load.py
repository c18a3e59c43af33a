"""`hubcli.load` beside `tensorflow_hub.load`: the same objects, the same errors."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import hubcli
from hubcli.config.settings import Settings
from tests import models
from tests.buckets import running_bucket
from tests.cases import each_of
from tests.forkserver import run_python
from tests.installed import require_installed
from tests.server import HubServer, Reply

require_installed("tensorflow_hub")
pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _one_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(cache))


UNPACKED, PACKED = "gs://models/maker/model/1/uncompressed", "gs://models/model.tar.gz"
FROM_A_BUCKET = """
import sys, tensorflow_hub, hubcli
handle, unpacked, packed = sys.argv[1:]
for hub in (hubcli, tensorflow_hub):
    print(hub.resolve(handle), *(float(hub.load(one)([[21.0]])[0, 0]) for one in (handle, unpacked, packed)))
try: hubcli.resolve("gs://models/nothing")
except OSError as error: print(error)
assert tensorflow_hub.resolve(packed) == hubcli.resolve(packed)
"""


def theirs() -> Any:
    import tensorflow_hub

    return tensorflow_hub


def raised_by(call: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which one is what is compared
        call()
    return raised.value


@each_of(
    "function, missing",
    [
        *(("resolve", text) for text in ("{}/nothing", "nothing", "./nothing")),
        *(("load", what) for what in ("{}/nothing", "nothing", "./nothing", 3, None)),
    ],
)
def test_errors_for_what_is_not_there_are_the_same(function: str, missing: Any, tmp_path: Path) -> None:
    handle = missing.format(tmp_path) if isinstance(missing, str) else missing
    judge = raised_by(lambda: getattr(theirs(), function)(handle))
    ours = raised_by(lambda: getattr(hubcli, function)(handle))
    assert isinstance(ours, type(judge))
    assert str(ours) == str(judge)


def test_a_directory_without_a_model_is_resolved_and_not_loaded(tmp_path: Path) -> None:
    for hub in (hubcli, theirs()):
        assert hub.resolve(str(tmp_path)) == str(tmp_path)
    judge = raised_by(lambda: theirs().load(str(tmp_path)))
    ours = raised_by(lambda: hubcli.load(str(tmp_path)))
    assert (type(judge), str(judge)) == (ValueError, str(ours))
    assert isinstance(ours, ValueError)


def test_the_same_entry_of_the_cache_is_used(server: HubServer) -> None:
    url = server.serve("/maker/model/1", models.pack(models.example_files(), with_folders=True))
    assert theirs().resolve(url) == hubcli.resolve(url)
    assert len(server.requests) == 1


def test_objects_of_the_tf1_hub_format_are_the_same(tmp_path: Path) -> None:
    """No tags choose its graph for inference, and its signatures are the ones to be called."""
    from tests.savedmodel.zoo.tf1 import tf1_hub

    tf1_hub(tmp_path / "tf1")
    judge, ours = (hub.load(str(tmp_path / "tf1")) for hub in (theirs(), hubcli))
    assert ours._is_hub_module_v1
    assert judge._is_hub_module_v1
    assert sorted(ours.signatures) == sorted(judge.signatures)
    assert len(ours.variables) == len(judge.variables)


def test_uncompressed_the_same_question_is_asked(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """tensorflow_hub goes no further than the bucket's name without a network; neither does hubcli."""
    monkeypatch.setenv("TFHUB_MODEL_LOAD_FORMAT", "UNCOMPRESSED")
    for status, body in ((200, b""), (404, b""), (303, b"http://elsewhere")):
        url = server.serve("/maker/model/1", Reply(body, status))
        server.requests.clear()
        assert isinstance(raised_by(partial(theirs().resolve, url)), ValueError)
        assert isinstance(raised_by(partial(hubcli.resolve, url)), hubcli.HubcliError)
        judge, ours = server.requests
        assert (judge.path, judge.query) == (ours.path, ours.query)


@pytest.mark.slow
def test_models_are_read_from_a_bucket_by_tensorflow_itself(
    server: HubServer, cache: Path, tmp_path: Path
) -> None:
    """Where the host says that they lie, or where the handle does; an archive goes into the cache."""
    files = {
        f"maker/model/1/uncompressed/{name}": content for name, content in models.example_files().items()
    }
    files["model.tar.gz"] = models.pack(models.example_files(), with_folders=True)
    url = server.serve("/maker/model/1", Reply(UNPACKED.encode(), 303))
    with running_bucket(files, tmp_path) as bucket:
        result = run_python(
            ["-c", FROM_A_BUCKET, url, UNPACKED, PACKED],
            env={**os.environ, **bucket.variables, "TFHUB_MODEL_LOAD_FORMAT": "UNCOMPRESSED"},
            timeout=200,
            with_tensorflow=True,
        )
    assert result.stdout.splitlines() == [
        f"{UNPACKED} 42.0 42.0 42.0",
        f"{UNPACKED} 42.0 42.0 42.0",
        "gs://models/nothing does not exist.",
    ], result.stderr
    assert any(path.endswith("saved_model.pb") for path in bucket.requested_paths)
    assert [model.handle for model in hubcli.ls(Settings.read({}, cache_dir=cache)).models] == [PACKED]
