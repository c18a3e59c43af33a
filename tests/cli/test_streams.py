"""Streams that are closed, full, or speak another encoding; interrupts that come twice."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from hubcli.cli import entrypoint, output
from hubcli.cli.main import main
from hubcli.errors import HubcliError
from tests import models
from tests.cases import each_of
from tests.cli.terminal import start
from tests.conftest import Run
from tests.forkserver import run_python
from tests.server import HubServer, Reply

HUBCLI = f"{sys.executable} -m hubcli"


def shell(command: str, cache: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "HUBCLI_CACHE_DIR": str(cache), **variables},
        capture_output=True,
        timeout=250,
        check=False,
    )


# What a shell does before it starts a program, and Python with a stream that is closed.
_REDIRECTED = """
import os, runpy, sys
stream, to = {"<": 0, ">": 1, "2>": 2}[sys.argv[1]], sys.argv[2]
if to == "closed":
    os.close(stream)
elif to == "a pipe that nobody reads":
    reading, writing = os.pipe()
    os.dup2(writing, stream)
    os.close(reading)
    os.close(writing)
else:
    os.dup2(os.open(to, os.O_RDWR), stream)
opened = None if to == "closed" else open(stream, "w" if stream else "r", 1, closefd=False)
for name in (("stdin", "__stdin__"), ("stdout", "__stdout__"), ("stderr", "__stderr__"))[stream]:
    setattr(sys, name, opened)
sys.argv[1:] = sys.argv[3:]
runpy.run_module("hubcli", run_name="__main__", alter_sys=True)
"""


def redirected(command: str, stream: str, to: str, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HUBCLI_CACHE_DIR": str(cache)}
    return run_python(["-c", _REDIRECTED, stream, to, *command.split()], env=environment)


@pytest.mark.parametrize(
    ("stream", "to", "status"),
    [
        (">", "closed", 120),
        (">", "/dev/full", 8),
        ("2>", "closed", 0),
        ("<", "closed", 0),
    ],
)
def test_a_stream_that_is_closed_or_full_is_no_fault(stream: str, to: str, status: int, cache: Path) -> None:
    for command in ("fetch example://mul/1", "ls", "verify"):
        result = redirected(command, stream, to, cache)
        assert result.returncode == status, result.stderr
        assert "Traceback" not in result.stderr
        assert "fault" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirection", "status"), [(">&-", 120), (">/dev/full", 8), ("2>&-", 0), ("2>/dev/full", 0), ("<&-", 0)]
)
def test_redirected_by_a_shell_it_is_no_fault_either(redirection: str, status: int, cache: Path) -> None:
    for command in ("fetch example://mul/1", "ls", "verify"):
        result = shell(f"{HUBCLI} {command} {redirection}", cache)
        assert result.returncode == status, result.stderr
        assert b"Traceback" not in result.stderr
        assert b"fault" not in result.stderr


@pytest.mark.parametrize("command", ["--help", "help gc", "", "-h", "gc --help", "help"])
@pytest.mark.parametrize(
    ("to", "status"), [("closed", 120), ("/dev/full", 8), ("a pipe that nobody reads", 120)]
)
def test_help_ends_as_any_output_where_it_cannot_be_written(
    command: str, to: str, status: int, cache: Path
) -> None:
    result = redirected(command, ">", to, cache)
    if command or to != "closed":
        assert result.returncode == status, result.stderr
    assert "fault" not in result.stderr
    assert ("Cannot write to standard output" in result.stderr) == (status == 8)


@pytest.mark.slow
@pytest.mark.parametrize(("redirection", "status"), [(">&-", 120), (">/dev/full", 8), ("| true", 120)])
def test_help_ends_so_in_a_shell_too(redirection: str, status: int, cache: Path) -> None:
    for command in ("--help", "help gc", ""):
        result = shell(f"set -o pipefail; {HUBCLI} {command} {redirection}", cache)
        if command or status == 8 or "|" in redirection:
            assert result.returncode == status, result.stderr
        assert b"fault" not in result.stderr
        assert (b"Cannot write to standard output" in result.stderr) == (status == 8)


def test_help_and_usage_errors_need_no_standard_error(cache: Path) -> None:
    assert redirected("gc --help", "2>", "closed", cache).returncode == 0
    assert redirected("", "2>", "closed", cache).returncode == 2
    assert redirected("gc --nosuch", "2>", "closed", cache).returncode == 2


@each_of("unbuffered", ["", "1"])
def test_what_standard_error_does_not_take_leaves_the_status_as_it_is(unbuffered: str, cache: Path) -> None:
    for command, status in {"gc --nosuch": 2, "fetch nope": 3, "ls": 0}.items():
        result = shell(f"{HUBCLI} {command} 2>/dev/full", cache, PYTHONUNBUFFERED=unbuffered)
        assert result.returncode == status, command


def test_help_is_whole_where_it_can_be_written(hubcli: Run) -> None:
    result = hubcli("gc", "--help")
    assert result.returncode == 0
    assert "--older-than" in result.stdout
    assert hubcli().returncode == 2


C_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.slow
@pytest.mark.parametrize("variables", [C_LOCALE, {"PYTHONIOENCODING": "ascii:strict"}], ids=["C", "ascii"])
def test_names_that_the_locale_has_no_letters_for_are_no_fault(
    variables: dict[str, str], tmp_path: Path
) -> None:
    cache = tmp_path / "cäche"
    files = {**models.example_files(), "assets/wörter.txt": b"eins\n"}
    archive = tmp_path / "mödel.tar.gz"
    archive.write_bytes(models.pack(files, prefix="wräpped/"))
    out = tmp_path / "öut"
    for command, status in (
        ("--help", 0),
        ("gc --help", 0),
        (f"inspect {archive}", 0),
        (f"fetch example://mul/1 --from {archive}", 0),
        ("verify", 0),
        ("ls", 0),
        (f"export {archive} {out}", 0),
        (f"inspect {out}", 0),
        (f"inspect {tmp_path}/nöwhere", 3),
        ("--nö", 2),
    ):
        result = shell(f"{HUBCLI} {command}", cache, **variables)
        assert (result.returncode in (3, 4)) if status == 3 else result.returncode == status, (
            command,
            result.stderr,
        )
        assert b"fault" not in result.stderr
    assert models.tree_files(out) == files


def test_standard_input_that_is_closed_is_a_usage_error(cache: Path) -> None:
    result = shell(f"{HUBCLI} fetch https://tfhub.dev/a/b/1 --from - <&-", cache)
    assert result.returncode == 2
    assert b"Standard input is closed" in result.stderr


def test_a_path_that_the_encoding_has_no_letters_for_is_printed_as_its_bytes(tmp_path: Path) -> None:
    cache = tmp_path / "caché"
    result = shell(f"{HUBCLI} fetch example://mul/1", cache, PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(os.fsencode(cache))


def test_words_that_are_not_utf8_are_named_so_in_a_utf8_locale(cache: Path) -> None:
    result = shell(f"{HUBCLI} search $'caf\\xe9'", cache, LC_ALL="C.UTF-8")
    assert result.returncode == 2, result.stderr
    assert b"'\\udce9' is not UTF-8" in result.stderr
    assert b"locale" not in result.stderr


def test_json_is_valid_where_the_path_is_no_text(tmp_path: Path) -> None:
    cache = tmp_path / os.fsdecode(b"cach\xe9")
    result = shell(f"{HUBCLI} fetch example://mul/1 --json", cache)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.decode("ascii"))["models"][0]["path"].startswith(str(cache))


@pytest.mark.parametrize("option", ["--cache-dir ''", "--from ''"])
def test_an_empty_path_is_a_usage_error(option: str, cache: Path) -> None:
    assert shell(f"{HUBCLI} fetch https://tfhub.dev/a/b/1 {option}", cache).returncode == 2


def test_a_working_directory_that_is_gone_is_a_usage_error(tmp_path: Path, cache: Path) -> None:
    removed = tmp_path / "gone"
    removed.mkdir()
    result = shell(
        f"cd {removed}; rmdir {removed}; PYTHONPATH={Path.cwd()} {HUBCLI} ls --cache-dir relative", cache
    )
    assert result.returncode == 2, result.stderr


def test_an_interrupt_while_standard_input_is_read_exits_130(cache: Path) -> None:
    reading, writing = os.pipe()
    process = start(cache, "fetch", "https://tfhub.dev/a/b/1", "--from", "-", stdin=reading)
    os.write(writing, models.archive()[:1000])
    wait_for_staging(cache)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    os.close(writing)
    os.close(reading)
    assert process.returncode == 130, stderr
    assert set(os.listdir(cache)) <= {"CACHEDIR.TAG"}


def wait_for_staging(cache: Path) -> None:
    """Returns when a fetch has begun to write; looks again and again, there is no event to wait for."""
    while not list(cache.glob("*.tmp")):
        time.sleep(0.002)


def test_a_second_interrupt_does_not_stop_the_cleaning(server: HubServer, cache: Path) -> None:
    extra = {f"assets__{number}": bytes(10) for number in range(3000)}
    packed = models.archive(**extra, assets__last=os.urandom(500_000))
    url = server.serve("/m/1", Reply(packed, stall_at=len(packed) - 1000))
    process = start(cache, "fetch", url)
    assert server.stalled.wait(120)
    for _ in range(50):
        process.send_signal(signal.SIGINT)
        if process.poll() is not None:
            break
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert set(os.listdir(cache)) <= {"CACHEDIR.TAG"}


def test_an_interrupt_while_an_error_is_reported_ends_as_any_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report, reported = entrypoint._report, list[HubcliError]()

    def interrupted(error: HubcliError, argv: Sequence[str]) -> int:
        reported.append(error)
        if len(reported) == 1:
            raise KeyboardInterrupt
        return report(error, argv)

    monkeypatch.setattr(entrypoint, "_report", interrupted)
    assert main(["inspect", "/nowhere"]) == 130
    assert capsys.readouterr().err == "Error: Interrupted\n"


@pytest.mark.parametrize("number", [1, 2], ids=["one model", "several"])
def test_a_terminal_that_is_closed_ends_all_and_nothing_is_left(
    number: int, server: HubServer, cache: Path
) -> None:
    packed = models.archive(assets__large=os.urandom(300_000))
    urls = [server.serve(f"/m{place}/1", Reply(packed, stall_at=200_000)) for place in range(number)]
    child, terminal = pty.fork()
    if not child:
        os.environ["HUBCLI_CACHE_DIR"] = str(cache)
        os.execv(sys.executable, [sys.executable, "-m", "hubcli", "fetch", *urls])
    assert server.stalled.wait(120)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    assert set(os.listdir(cache)) <= {"CACHEDIR.TAG"}


def test_an_interrupted_run_tells_what_it_had_fetched(server: HubServer, cache: Path) -> None:
    packed = models.archive()
    url = server.serve("/m/1", Reply(packed, stall_at=100))
    process = start(cache, "fetch", "--json", "--jobs", "1", "example://mul/1", url)
    assert server.stalled.wait(120)
    process.send_signal(signal.SIGTERM)
    document = json.loads(process.communicate(timeout=120)[0])
    assert [model["handle"] for model in document["models"]] == ["example://mul/1"]
    assert document["error"]["code"] == "interrupted"


def test_bytes_that_the_locale_has_no_letters_for_come_behind_what_was_written_before() -> None:
    printed = io.BytesIO()
    stream = io.TextIOWrapper(printed, "ascii")
    stream.write("before, ")
    output.write_text(stream, "caf\udce9\n")
    assert printed.getvalue() == b"before, caf\xe9\n"
