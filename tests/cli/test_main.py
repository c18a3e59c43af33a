"""The command line as a process: exit statuses, streams, interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli.cli.app import COMMANDS
from tests import models
from tests.cases import each_of
from tests.cli.command_batch import help_texts, run_many
from tests.cli.terminal import start
from tests.forkserver import run_python, start_python
from tests.server import HubServer, Reply

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_path_alone_goes_to_standard_output(hubcli: Run, cache: Path) -> None:
    result = hubcli("fetch", "example://mul/1")
    assert result.returncode == 0
    assert result.stdout == f"{cache}/0ed234e54d322935d542637169f159ee254449a0\n"
    assert result.stderr.startswith("Fetched example://mul/1")


def test_quiet_says_nothing_else(hubcli: Run) -> None:
    result = hubcli("fetch", "-q", "example://mul/1")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 1


def test_python_m_hubcli_and_the_script_are_one(hubcli: Run) -> None:
    script = Path(sys.executable).with_name("hubcli")
    if not script.exists():
        pytest.skip("the console script isn't installed beside this interpreter")
    script_run = subprocess.run([str(script), "--version"], capture_output=True, text=True, check=True)
    assert script_run.stdout == hubcli("--version").stdout


FAILURES: list[tuple[list[str], int, str]] = [
    (["fetch", "tfhub.dev/x"], 3, "handle"),
    (["fetch", ""], 3, "handle"),
    (["fetch", "ftp://host/x"], 3, "handle"),
    (["fetch", "/nowhere/model.tar.gz"], 4, "not-found"),
    (["fetch", "--offline", "https://tfhub.dev/a/b/1"], 5, "offline"),
    (["fetch", "http://127.0.0.1:9/m/1", "--retries", "0"], 5, "network"),
    (["fetch", "example://mul/1", "--sha256", "0" * 64], 6, "checksum"),
    (["fetch"], 2, "usage"),
    (["fetsh"], 2, "usage"),
    (["fetch", "--nope", "example://mul/1"], 2, "usage"),
    (["fetch", "a/b/1", "c/d/1", "--from", "x"], 2, "usage"),
    (["fetch", "--timeout", "soon", "example://mul/1"], 2, "usage"),
    (["fetch", "--mirror", "nonsense", "example://mul/1"], 2, "usage"),
    (["ls", "--sort", "colour"], 2, "usage"),
    (["gc", "--max-size", "much"], 2, "usage"),
    (["gc", "--cache-dir", "/"], 2, "usage"),
    (["rm", "tfhub.dev/x"], 3, "handle"),
    (["rm", "https://tfhub.dev/a/b/1"], 4, "not-found"),
    (["rm"], 2, "usage"),
    (["pin", "tfhub.dev/x"], 3, "handle"),
    (["pin", "https://tfhub.dev/a/b/1"], 4, "not-found"),
    (["unpin", "https://tfhub.dev/a/b/1"], 4, "not-found"),
    (["verify", "tfhub.dev/x"], 3, "handle"),
    (["verify", "/nowhere/model.tar.gz"], 4, "not-found"),
    (["verify", "https://tfhub.dev/a/b/1"], 4, "not-found"),
    (["verify", "--nope"], 2, "usage"),
    (["ls", "--filter", "size>much"], 2, "usage"),
    (["ls", "--cache-dir", "gs://bucket"], 2, "usage"),
]


def test_each_failure_has_its_status_and_code(cache: Path) -> None:
    lines = [arguments for arguments, _, _ in FAILURES]
    plain = run_many(lines, cache=cache)
    as_json = run_many([[*line, "--json"] for line in lines], cache=cache)
    for (line, status, code), text, document in zip(FAILURES, plain, as_json, strict=True):
        assert (line, text.status, document.status) == (line, status, status)
        assert text.stdout == ""
        assert text.stderr.startswith("Error: ")
        assert "Traceback" not in text.stderr
        found = json.loads(document.stdout)
        assert (line, found["schema"], found["error"]["code"]) == (line, 1, code)
        assert found["error"]["message"]


@pytest.mark.parametrize(("arguments", "status", "code"), FAILURES[::7])
def test_its_status_is_that_of_the_process(arguments: list[str], status: int, code: str, hubcli: Run) -> None:
    result = hubcli(*arguments, "--json")
    assert (result.returncode, json.loads(result.stdout)["error"]["code"]) == (status, code)


def test_several_handles_are_all_tried_and_the_first_failure_decides(hubcli: Run) -> None:
    result = hubcli("fetch", "--json", "tfhub.dev/x", "example://mul/1", "/nowhere.tar.gz")
    document = json.loads(result.stdout)
    assert result.returncode == 3
    assert [model["handle"] for model in document["models"]] == ["example://mul/1"]
    assert [error["code"] for error in document["errors"]] == ["handle", "not-found"]
    assert document["error"] == document["errors"][0]


def test_a_fault_of_ours_shows_a_traceback_only_with_debug(hubcli: Run, cache: Path) -> None:
    plain = hubcli("fetch", "tfhub.dev/x")
    debugged = hubcli("fetch", "tfhub.dev/x", "--debug")
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debugged.stderr
    assert debugged.returncode == 3


def test_a_near_miss_is_suggested(hubcli: Run) -> None:
    assert "Did you mean 'fetch'?" in hubcli("fetsh").stderr


def test_help_and_version_are_had_in_every_common_spelling(hubcli: Run) -> None:
    spellings = [["help"], ["--help"], ["help", "ls"], ["ls", "--help"], ["help", "help"], ["help", "-h"]]
    runs = run_many(spellings)
    for spelled, plain in zip(runs[::2], runs[1::2], strict=True):
        assert (spelled.status, spelled.stdout) == (0, plain.stdout)
        assert plain.stdout
    assert hubcli("-V").stdout == hubcli("--version").stdout
    unknown = hubcli("help", "xyzzy")
    assert (unknown.returncode, unknown.stderr.splitlines()[0]) == (2, "Error: No such command 'xyzzy'")


def test_a_handle_without_its_site_is_told_its_address(cache: Path) -> None:
    lines = [[command, "google/nnlm-en-dim50/2"] for command in ("fetch", "inspect", "verify", "rm", "pin")]
    lines.append(["export", "google/nnlm-en-dim50/2", "out"])
    for line, result in zip(lines, run_many(lines, cache=cache), strict=True):
        assert (line, result.status) == (line, 3)
        assert "Hint: Did you mean https://tfhub.dev/google/nnlm-en-dim50/2 ?\n" in result.stderr


@each_of(
    "variable, value",
    [
        ("HUBCLI_MIRRORS", "foo"),
        ("HUBCLI_MIRRORS", "https://a=https://b,me:hunter2@foo"),
        ("HUBCLI_CACHE_DIR", "gs://bucket"),
        ("TFHUB_CACHE_DIR", "~nobody-at-all/x"),
        ("HUBCLI_CONFIG", "/nowhere/config.toml"),
        ("HUBCLI_GC", "older-than=2"),
        ("HUBCLI_KAGGLE_ENDPOINT", "foo"),
        ("KAGGLEHUB_CACHE", "gs://bucket"),
        ("KAGGLE_CONFIG_DIR", "gs://bucket"),
        ("NETRC", "gs://bucket"),
        ("SSL_CERT_FILE", "gs://bucket"),
        ("SSL_CERT_DIR", "gs://bucket"),
    ],
)
def test_a_variable_in_error_is_named(variable: str, value: str, hubcli_in_turn: Run) -> None:
    result = hubcli_in_turn(
        "fetch", "example://mul/1", **{"HUBCLI_CACHE_DIR": "", "SSL_CERT_FILE": "", variable: value}
    )
    assert result.returncode == 2
    assert result.stderr.startswith(f"Error: {variable}")
    assert "Hint: " in result.stderr
    assert "hunter2" not in result.stderr


def test_no_arguments_show_the_help(hubcli: Run) -> None:
    result = hubcli()
    assert result.returncode == 2
    assert "Usage: hubcli" in result.stdout + result.stderr
    assert "Error" not in result.stderr


def test_help_is_help_everywhere() -> None:
    commands = [[], ["fetch"], ["ls"], ["verify"], ["gc"], ["rm"], ["pin"], ["unpin"]]
    lines = [[*command, flag] for command in commands for flag in ("-h", "--help")]
    for line, result in zip(lines, run_many(lines), strict=True):
        assert (line, result.status) == (line, 0)
        assert f"Usage: hubcli {' '.join(line[:-1])}".rstrip() in result.stdout


def test_global_options_are_in_the_help_of_hubcli_and_not_in_that_of_each_command() -> None:
    common = ("--quiet ", "--offline", "--cache-dir ", "--no-color", "--color ", "--no-progress", "--debug")
    assert all(option in help_texts("80")[""].stdout for option in common)
    for result in [help_texts("80")[command] for command in COMMANDS]:
        assert not [option for option in common if f"│ {option}" in result.stdout]


def test_the_help_names_the_variables(hubcli: Run) -> None:
    text = hubcli("--help", COLUMNS="200").stdout + hubcli("fetch", "--help", COLUMNS="200").stdout
    for variable in ("HUBCLI_OFFLINE", "HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR", "NO_COLOR", "HUBCLI_MIRRORS"):
        assert variable in text


def test_the_root_that_tensorflow_hub_does_not_know_is_told(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    result = run_python(["-m", "hubcli", "fetch", "example://mul/1"], env=environment)
    assert f"export TFHUB_CACHE_DIR={home}/.cache/hubcli\n" in result.stderr
    assert result.stderr.count("TFHUB_CACHE_DIR") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_an_interrupt_cleans_up_and_exits_130(
    number: signal.Signals, part: float, server: HubServer, cache: Path
) -> None:
    packed = models.archive(assets__large=os.urandom(300_000))
    url = server.serve("/m/1", Reply(packed, stall_at=int(len(packed) * part)))
    process = start(cache, "fetch", url, "--json")
    assert server.stalled.wait(120)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Interrupted" in stderr
    assert "Traceback" not in stderr
    assert json.loads(stdout)["error"]["code"] == "interrupted"
    assert set(os.listdir(cache)) <= {"CACHEDIR.TAG"}


def test_a_reader_that_goes_away_ends_it_with_120(hubcli: Run, cache: Path, tmp_path: Path) -> None:
    hubcli("fetch", "example://mul/1")
    # Gone before the start: a list this short may be written before a reader that starts it can go.
    reader, stdout = os.pipe()
    os.close(reader)
    environment = {**os.environ, "HUBCLI_CACHE_DIR": str(cache)}
    with Path(os.devnull).open() as stdin, os.fdopen(stdout, "wb"), (tmp_path / "stderr").open("w") as stderr:
        streams = (stdin.fileno(), stdout, stderr.fileno())
        process = start_python(["-m", "hubcli", "ls"], streams, env=environment)
        assert process.wait(120) == 120
    assert (tmp_path / "stderr").read_text() == ""


def test_a_model_comes_from_standard_input(cache: Path) -> None:
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "hubcli",
            "fetch",
            "https://tfhub.dev/a/b/1",
            "--from",
            "-",
            "--cache-dir",
            cache,
        ],
        input=models.archive(),
        capture_output=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert models.tree_files(Path(process.stdout.decode().strip())) == models.example_files()


def test_mirrors_come_from_the_environment(hubcli: Run, server: HubServer) -> None:
    server.serve("/tfhub/maker/model/1", models.archive())
    result = hubcli(
        "fetch", "https://tfhub.dev/maker/model/1", HUBCLI_MIRRORS=f"https://tfhub.dev={server.url}/tfhub"
    )
    assert result.returncode == 0, result.stderr


def test_offline_comes_from_the_environment(hubcli: Run) -> None:
    assert hubcli("fetch", "https://tfhub.dev/maker/model/1", HUBCLI_OFFLINE="1").returncode == 5
