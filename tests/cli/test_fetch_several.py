"""`hubcli fetch` of many models: a few at a time, each on its own, in the order given."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from hubcli.cli.main import main
from hubcli.concurrency import _WorkerPool
from tests import models
from tests.cli.terminal import run_on_terminal, start
from tests.forkserver import run_python
from tests.server import HubServer, Reply

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ARCHIVE = models.archive()
LARGE = models.archive(assets__large=os.urandom(300_000))


def key(url: str) -> str:
    return hashlib.sha1(url.encode()).hexdigest()


def names(stdout: str) -> list[str]:
    """The ends of the printed paths."""
    return [Path(line).name for line in stdout.splitlines()]


def test_paths_come_in_the_order_given_whichever_model_is_first(server: HubServer, cache: Path) -> None:
    slow = server.serve("/slow/1", Reply(LARGE, stall_at=1000))
    quick = server.serve("/quick/1", ARCHIVE)
    process = start(cache, "fetch", slow, quick)
    assert server.stalled.wait(120)
    wait_until_published(cache / key(quick))
    server.release.set()
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert names(stdout) == [key(slow), key(quick)]
    assert [line.split()[1] for line in stderr.splitlines()] == [slow, quick]


def wait_until_published(model: Path) -> None:
    """Returns when the model is there; looks again and again, there is no event to wait for."""
    while not model.exists():
        time.sleep(0.002)


def test_so_many_run_at_a_time_and_no_more(server: HubServer, cache: Path) -> None:
    urls = [server.serve(f"/m{number}/1", Reply(ARCHIVE, stall_at=10)) for number in range(3)]
    process = start(cache, "fetch", "--jobs", "2", *urls, "example://mul/1")
    while len(server.requests) < 2:
        time.sleep(0.002)
    assert server.stalled.wait(120)
    assert {request.path for request in server.requests} == {"/m0/1", "/m1/1"}
    server.release.set()
    stdout, stderr = process.communicate(timeout=120)
    assert names(stdout)[:3] == [key(url) for url in urls], stderr


def test_one_failure_stops_no_other_and_the_first_in_the_order_decides(
    server: HubServer, hubcli: Run
) -> None:
    damaged = server.serve("/damaged/1", ARCHIVE[:-9])
    whole = server.serve("/whole/1", ARCHIVE)
    result = hubcli("fetch", "--json", "--jobs", "4", damaged, server.url + "/absent/1", whole, "tfhub.dev/x")
    document = json.loads(result.stdout)
    assert result.returncode == 6
    assert [model["handle"] for model in document["models"]] == [whole]
    assert [error["handle"] for error in document["errors"]] == [
        damaged,
        server.url + "/absent/1",
        "tfhub.dev/x",
    ]
    assert [error["code"] for error in document["errors"]][1:] == ["not-found", "handle"]


def test_an_error_tells_whose_it_is(server: HubServer, hubcli: Run) -> None:
    url = server.serve("/damaged/1", ARCHIVE[:-9])
    error = hubcli("fetch", url, "example://mul/1").stderr.splitlines()[0]
    assert error.startswith("Error: ")
    assert url in error


def test_json_comes_in_the_order_given(server: HubServer, hubcli: Run) -> None:
    urls = [server.serve(f"/m{number}/1", ARCHIVE) for number in range(9)]
    document = json.loads(hubcli("fetch", "--json", "--jobs", "9", *urls).stdout)
    assert [model["handle"] for model in document["models"]] == urls


def test_a_model_named_twice_is_fetched_and_printed_once(server: HubServer, hubcli: Run) -> None:
    url = server.serve("/m/1", ARCHIVE)
    result = hubcli("fetch", url, f"{url}/", f"{url}?tf-hub-format=compressed")
    assert names(result.stdout) == [key(url)]
    assert len(server.requests) == 1


def test_lists_come_from_files_and_from_standard_input(
    server: HubServer, cache: Path, tmp_path: Path
) -> None:
    urls = [server.serve(f"/m{number}/1", ARCHIVE) for number in range(3)]
    sha256 = hashlib.sha256(ARCHIVE).hexdigest()
    (tmp_path / "models.txt").write_text(f"# mine\n{urls[1]} --sha256={sha256}\n")
    result = run_python(
        ["-m", "hubcli", "fetch", urls[0], "-r", tmp_path / "models.txt", "-r", "-"],
        given=f"{urls[2]}\n{urls[0]}\n",
        env={**os.environ, "HUBCLI_CACHE_DIR": str(cache)},
    )
    assert result.returncode == 0, result.stderr
    assert names(result.stdout) == [key(url) for url in urls]


def test_a_hash_in_a_list_is_kept(server: HubServer, hubcli: Run, cache: Path, tmp_path: Path) -> None:
    url = server.serve("/m/1", ARCHIVE)
    (tmp_path / "models.txt").write_text(f"{url} --sha256={'0' * 64}\nexample://mul/1\n")
    result = hubcli("fetch", "-r", str(tmp_path / "models.txt"))
    assert result.returncode == 6
    assert len(names(result.stdout)) == 1
    assert not (cache / key(url)).exists()


@pytest.mark.parametrize("option", ["--from", "--sha256"])
def test_what_is_of_one_model_does_not_go_with_a_list(option: str, hubcli: Run, tmp_path: Path) -> None:
    (tmp_path / "models.txt").write_text("example://mul/1\n")
    result = hubcli("fetch", "-r", str(tmp_path / "models.txt"), option, "0" * 64)
    assert result.returncode == 2
    assert f"{option} takes exactly one handle" in result.stderr


def test_an_empty_list_is_no_error(hubcli: Run, tmp_path: Path) -> None:
    (tmp_path / "models.txt").write_text("# none yet\n")
    result = hubcli("fetch", "-r", str(tmp_path / "models.txt"), "--json")
    assert (result.returncode, json.loads(result.stdout)["models"]) == (0, [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("jobs", ["1", "2", "4"])
def test_an_interrupt_ends_all_and_keeps_what_was_done(
    number: signal.Signals, jobs: str, server: HubServer, cache: Path
) -> None:
    finished_url = server.serve("/done/1", ARCHIVE)
    running = [server.serve(f"/m{n}/1", Reply(LARGE, stall_at=len(LARGE) // 2)) for n in range(4)]
    process = start(cache, "fetch", "--json", "--jobs", jobs, finished_url, *running)
    wait_until_published(cache / key(finished_url))
    while len(server.requests) < 1 + int(jobs):
        time.sleep(0.002)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    document = json.loads(stdout)
    assert document["error"]["code"] == "interrupted"
    assert [model["handle"] for model in document["models"]] == [finished_url]
    assert [path.name for path in cache.iterdir() if re.search(r"\.(lock|tmp|trash)", path.name)] == []
    assert len(list(cache.glob("*.descriptor.txt"))) == 1


def test_what_ended_in_the_moment_of_an_interrupt_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    def interrupted(pool: _WorkerPool[object]) -> NoReturn:
        while pool._finished.qsize() < 2:
            time.sleep(0.002)
        raise KeyboardInterrupt

    monkeypatch.setattr(_WorkerPool, "next_done", interrupted)
    handles = ["example://mul/1", "/nowhere"]
    assert main(["fetch", "--json", "--jobs", "2", "--cache-dir", str(cache), *handles]) == 130
    document = json.loads(capsys.readouterr().out)
    assert [model["handle"] for model in document["models"]] == ["example://mul/1"]


def test_what_was_done_out_of_turn_is_told_at_an_interrupt(server: HubServer, cache: Path) -> None:
    slow = server.serve("/slow/1", Reply(LARGE, stall_at=1000))
    quick = server.serve("/quick/1", ARCHIVE)
    process = start(cache, "fetch", slow, quick, "example://mul/1")
    assert server.stalled.wait(120)
    wait_until_published(cache / key(quick))
    wait_until_published(cache / key("example://mul/1"))
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert key(quick) in names(stdout)
    assert key(slow) not in names(stdout)


def test_a_reader_that_goes_away_ends_all(server: HubServer, cache: Path) -> None:
    stuck = server.serve("/stuck/1", Reply(LARGE, stall_at=1000))
    process = start(cache, "fetch", "example://mul/1", stuck)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(120) == 120
    assert list(cache.glob("*.tmp")) + list(cache.glob("*.lock")) == []


def test_a_terminal_shows_a_bar_for_each_that_runs_and_one_for_all(server: HubServer, cache: Path) -> None:
    urls = [server.serve(f"/maker/model{number}/1", ARCHIVE) for number in range(3)]
    command = [sys.executable, "-m", "hubcli", "fetch", *urls, "--cache-dir", str(cache)]
    status, screen = run_on_terminal(command, os.environ, columns=80)
    assert status == 0, screen
    assert "0 of 3 models" in screen
    assert "━" in screen
    left = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", screen).replace("\r", "\n").splitlines()
    assert [line for line in left if line.startswith(str(cache))] == [str(cache / key(url)) for url in urls]


def test_standard_output_stays_pure_where_the_bars_are_elsewhere(server: HubServer, cache: Path) -> None:
    urls = [server.serve(f"/maker/model{number}/1", ARCHIVE) for number in range(3)]
    words = " ".join([sys.executable, "-m", "hubcli", "fetch", *urls, "--cache-dir", str(cache)])
    paths = cache.parent / "paths"
    status, screen = run_on_terminal(["sh", "-c", f"{words} > {paths}"], os.environ, columns=80)
    assert status == 0, screen
    assert names(paths.read_text()) == [key(url) for url in urls]
    assert str(cache) not in screen
