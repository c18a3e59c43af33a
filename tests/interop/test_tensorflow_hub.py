"""The real tensorflow_hub 0.16.1 is the judge of what the cache looks like."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hubcli.commands.fetch import fetch
from hubcli.commands.ls import ls
from hubcli.config.settings import Mirror, Settings
from hubcli.providers.handle import Handle, key_of
from tests import models
from tests.forkserver import Process, open_python, run_python
from tests.installed import require_installed
from tests.kill_server import KillServer, Order
from tests.server import HubServer, Reply

require_installed("tensorflow_hub")
pytestmark = pytest.mark.tensorflow

LOAD = """
import sys, tensorflow_hub as hub
for handle in sys.argv[1:]:
    print(float(hub.load(handle)([[21.0]])[0, 0]))
"""
SIGNATURES = """
import sys, tensorflow_hub as hub
print(sorted(hub.load(sys.argv[1]).signatures["serving_default"].structured_outputs))
"""
RESOLVE = """
import sys
from absl import logging
logging.set_verbosity(logging.INFO)
import tensorflow_hub as hub
print(hub.resolve(sys.argv[1]))
"""
# Four processes, forked from one that has loaded tensorflow_hub, once it is told to.
AT_ONCE = """
import os, sys
import tensorflow_hub as hub
print("ready", flush=True)
sys.stdin.readline()
children = []
for _ in range(4):
    children.append(os.fork())
    if not children[-1]:
        os.write(1, hub.resolve(sys.argv[1]).encode() + b"\\n")
        os._exit(0)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""
# A proxy at a closed port: every request to the network fails.
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")


def tensorflow_hub(
    script: str, *arguments: str, cache: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TFHUB_CACHE_DIR": str(cache), **variables}
    return run_python(["-c", script, *arguments], env=environment, with_tensorflow=True)


def test_the_main_job(cache: Path, server: HubServer) -> None:
    """A model of the world out there, through a mirror, loaded without a network."""
    corpus = models.CORPUS / "basic_pitch_nmp"
    if not corpus.is_dir():
        pytest.skip("the corpus of real models isn't beside the project")
    handle = "https://tfhub.dev/spotify/basic-pitch/1"
    server.serve("/spotify/basic-pitch/1", models.pack(models.tree_files(corpus)))
    settings = Settings(cache, "--cache-dir", mirrors=(Mirror("https://tfhub.dev", server.url),))
    assert models.tree_files(fetch(handle, settings).path) == models.tree_files(corpus)
    loaded = tensorflow_hub(SIGNATURES, handle, cache=cache, **NO_NETWORK)
    assert loaded.stdout.strip() == "['contour', 'note', 'onset']", loaded.stderr


@pytest.mark.parametrize(
    "typed",
    [
        "http://tfhub.dev/maker/model/1/?tfhub-redirect=true",
        "https://kaggle.com/models/maker/model/frameworks/TensorFlow2/variations/small/versions/1",
        "https://hub.tensorflow.google.cn/maker/model/1",
    ],
)
def test_hub_load_finds_a_fetched_model_under_every_spelling(typed: str, cache: Path, tmp_path: Path) -> None:
    from hubcli.commands.fetch import FetchOptions

    file = tmp_path / "model.tar.gz"
    file.write_bytes(models.archive())
    fetch(typed, Settings(cache, "--cache-dir"), FetchOptions(local=str(file)))
    handle = Handle.parse(typed)
    spellings = [typed, handle.canonical, *handle.aliases]
    loaded = tensorflow_hub(LOAD, *spellings, cache=cache, **NO_NETWORK)
    assert loaded.stdout.split() == ["42.0"] * len(spellings), loaded.stderr


def test_what_tensorflow_hub_cached_is_listed_and_used(cache: Path, server: HubServer) -> None:
    packed = models.pack(models.example_files(), with_folders=True)
    url = server.serve("/maker/model/1", packed)
    resolved = tensorflow_hub(RESOLVE, url, cache=cache)
    assert resolved.returncode == 0, resolved.stderr
    settings = Settings(cache, "--cache-dir")
    (listed,) = ls(settings).models
    assert (listed.handle, listed.state.value, listed.kind) == (url, "ok", "TF2")
    result = fetch(url, settings)
    assert (str(result.path), result.was_cached) == (resolved.stdout.strip(), True)
    assert len(server.requests) == 1


@pytest.fixture
def stalled(server: HubServer) -> tuple[HubServer, str]:
    """A server that sends half a model, then waits to be released."""
    packed = models.pack(models.example_files(), with_folders=True)
    return server, server.serve("/maker/model/1", Reply(packed, stall_at=len(packed) // 2))


def start(arguments: list[str], cache: Path) -> Process | subprocess.Popen[str]:
    environment = {**os.environ, "TFHUB_CACHE_DIR": str(cache)}
    return open_python(arguments, env=environment, stdin=subprocess.PIPE, with_tensorflow=True)


def read_until(process: Process | subprocess.Popen[str], text: str) -> None:
    """Returns when the process has written a line with the text to standard error."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} never came: {''.join(seen)}")


def test_hubcli_waits_for_tensorflow_hub(stalled: tuple[HubServer, str], cache: Path) -> None:
    server, url = stalled
    theirs = start(["-c", RESOLVE, url], cache)
    assert server.stalled.wait(60)
    ours = start(["-m", "hubcli", "fetch", url], cache)
    read_until(ours, f"{theirs.pid}, which is fetching")
    server.release.set()
    their_path, our_path = theirs.communicate(timeout=250)[0], ours.communicate(timeout=250)[0]
    assert (theirs.returncode, ours.returncode) == (0, 0)
    assert their_path == our_path
    assert len(server.requests) == 1


@pytest.mark.slow
def test_tensorflow_hub_waits_for_hubcli(stalled: tuple[HubServer, str], cache: Path) -> None:
    server, url = stalled
    ours = start(["-m", "hubcli", "fetch", url], cache)
    assert server.stalled.wait(60)
    theirs = start(["-c", RESOLVE, url], cache)
    read_until(theirs, f".{ours.pid}.")
    server.release.set()
    our_path, their_path = ours.communicate(timeout=250)[0], theirs.communicate(timeout=250)[0]
    assert (theirs.returncode, ours.returncode) == (0, 0)
    assert their_path == our_path
    assert len(server.requests) == 1


@pytest.mark.slow
def test_many_of_both_at_once_download_once(server: HubServer, cache: Path) -> None:
    url = server.serve("/maker/model/1", models.pack(models.example_files(), with_folders=True))
    theirs = start(["-c", AT_ONCE, url], cache)
    assert theirs.stdout is not None
    with KillServer.running(cache) as kill_server:
        assert theirs.stdout.readline() == "ready\n"
        assert theirs.stdin is not None
        theirs.stdin.write("go\n")
        theirs.stdin.flush()
        ours = kill_server.run_at_once([Order(("fetch", url, "-q"))] * 6)
    output, errors = theirs.communicate(timeout=250)
    assert (theirs.returncode, [result.status for result in ours]) == (0, [0] * 6), errors
    assert {*output.splitlines(), *(result.output.strip() for result in ours)} == {str(cache / key_of(url))}
    assert len(output.splitlines()) == 4
    assert len(server.requests) == 1
    assert [model.state.value for model in ls(Settings(cache, "--cache-dir")).models] == ["ok"]
    assert [path.name for path in cache.iterdir() if path.suffix in (".lock", ".tmp")] == []


def test_the_built_in_example_loads_and_is_reusable(cache: Path) -> None:
    """It multiplies by two and has what the Reusable SavedModel interface asks for."""
    path = fetch("example://mul/1", Settings(cache, "--cache-dir")).path
    script = (
        "import sys, tensorflow_hub as hub; m = hub.load(sys.argv[1]); "
        "print(len(m.variables), len(m.trainable_variables), float(m.regularization_losses[0]()))"
    )
    loaded = tensorflow_hub(script, str(path), cache=cache)
    assert loaded.stdout.split()[:2] == ["1", "1"], loaded.stderr
    assert float(loaded.stdout.split()[2]) == pytest.approx(0.004)
