"""Collections race with the real hub.load: it loads each time, from the cache or from the network."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from hubcli.cache.cached_model import UseSource
from hubcli.cache.gc.plan import Policy
from hubcli.commands.gc import gc
from hubcli.commands.ls import ls
from hubcli.config.settings import Settings
from tests import models
from tests.cache.test_gc_races import finish, start
from tests.conftest import ROOT
from tests.forkserver import run_python
from tests.installed import require_installed
from tests.server import HubServer

require_installed("tensorflow_hub")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

ROUNDS = 30

LOADS = """
import json, os, sys, tensorflow_hub as hub
from pathlib import Path
cache, wrong = Path(sys.argv[2]), []
for number in range(int(sys.argv[3])):
    before = list(cache.glob("*/saved_model.pb"))
    try:
        assert float(hub.load(f"{sys.argv[1]}/{number}")([[21.0]])[0, 0]) == 42.0
    except Exception as error:
        wrong.append(repr(error))
    # The models before it are made old: the collections take them while the next one comes.
    for path in before:
        for file in (path, path.parent, Path(f"{path.parent}.descriptor.txt")):
            try:
                if file.suffix == ".txt":
                    words = file.read_text().split("Download Time: ")
                    file.write_text(f"{words[0]}Download Time: 2020{words[1][4:]}")
                os.utime(file, (1_600_000_000, 1_600_000_000))
            except FileNotFoundError:
                pass
print(json.dumps(wrong))
"""


def keeps_access_times(folder: Path) -> bool:
    file = folder / "probe"
    file.write_bytes(b"x")
    os.utime(file, (1, 1))
    file.read_bytes()
    return file.stat().st_atime > 1


def test_loads_race_with_two_collections(cache: Path, server: HubServer) -> None:
    """Each load downloads a model of its own, while those before it are old enough to go."""
    packed = models.pack(models.example_files(), with_folders=True)
    for number in range(ROUNDS):
        server.serve(f"/maker/model/{number}", packed)
    cache.mkdir()
    collectors = start(["old-gc", "old-gc"], cache, ROUNDS)
    loads = run_python(
        ["-c", LOADS, f"{server.url}/maker/model", str(cache), str(ROUNDS)],
        env={**os.environ, "TFHUB_CACHE_DIR": str(cache)},
        cwd=ROOT,
        timeout=240,
        with_tensorflow=True,
    )
    collected = [finish(process) for process in collectors]
    assert loads.returncode == 0, loads.stderr
    assert json.loads(loads.stdout.splitlines()[-1]) == []
    assert len(server.requests) == ROUNDS
    assert sum(report["seen"].get("removed", 0) for report in collected) > ROUNDS / 2, collected


def test_what_hub_load_read_is_used_and_what_it_did_not_is_not(
    cache: Path, tmp_path: Path, server: HubServer
) -> None:
    if not keeps_access_times(tmp_path):
        pytest.skip("this mount keeps no access times")
    urls = [
        server.serve(f"/maker/{name}/1", models.pack(models.example_files(), with_folders=True))
        for name in ("loaded", "idle")
    ]
    load = "import sys, tensorflow_hub as hub\nfor handle in sys.argv[1:]: hub.load(handle)"
    environment = {**os.environ, "TFHUB_CACHE_DIR": str(cache)}
    run_python(["-c", load, *urls], env=environment, check=True, with_tensorflow=True)
    long_ago = time.time() - 40 * 86400
    for path in cache.rglob("*"):
        os.utime(path, (long_ago, long_ago))
    for path in cache.glob("*.descriptor.txt"):
        path.write_text(path.read_text().replace(time.strftime("%Y-"), "2020-"))
    run_python(["-c", load, urls[0]], env=environment, check=True, with_tensorflow=True)
    settings = Settings.read({}, cache_dir=cache)
    used = {model.handle: model.last_used_by for model in ls(settings).models}
    assert [used[url] for url in urls] == [UseSource.ACCESS_TIME] * 2
    gc(settings, Policy(older_than_s=30 * 86400))
    assert [model.handle for model in ls(settings).models] == [urls[0]]
