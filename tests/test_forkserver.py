"""Forked processes behave as those of an interpreter that was started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hubcli.errors import TensorFlowError
from hubcli.tf.run_process import RunProcess, find_library
from tests import forkserver
from tests.cases import each_of
from tests.forkserver import ROOT, Process, forked_commands, open_python, run_python

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")


def both(*arguments: str, **options: str) -> tuple[subprocess.CompletedProcess[str], ...]:
    """What comes of the command in a forked process, and in an interpreter of its own."""
    environment = {**os.environ, **options}
    started = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    return run_python(arguments, env=environment), started


@each_of(
    "code",
    [
        "print('out'); import sys; print('err', file=sys.stderr)",
        "import sys; sys.exit(3)",
        "import sys; sys.exit('a text')",
        "raise SystemExit",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import os; os._exit(5)",
        "import sys; print(sys.argv, __name__, sys.path[0])",
        "import atexit; atexit.register(print, 'last')",
        "import threading; threading.Timer(0.05, print, ['late']).start()",
        "import os; print(os.environ['GIVEN'], os.getcwd())",
    ],
)
def test_output_and_status_are_those_of_an_interpreter(code: str) -> None:
    forked, started = both("-c", code, "an argument", GIVEN="a value")
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        started.returncode,
        started.stdout,
        started.stderr,
    )


def test_an_exception_is_shown_and_ends_with_1() -> None:
    forked, started = both("-c", "import json; json.loads('{')")
    assert forked.returncode == started.returncode == 1
    assert forked.stderr.splitlines()[-1] == started.stderr.splitlines()[-1]


def test_standard_input_is_read() -> None:
    assert run_python(["-c", "print(input()[::-1])"], given="abc\n").stdout == "cba\n"


def test_a_module_of_the_working_directory_is_run(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("print('mine', __name__)")
    assert run_python(["-m", "mine"], cwd=tmp_path).stdout == "mine __main__\n"
    assert run_python([str(tmp_path / "mine.py")]).stdout == "mine __main__\n"


@linux
def test_a_running_process_is_read_from_signalled_and_waited_for() -> None:
    code = "import time; print('ready', flush=True); time.sleep(60)"
    with open_python(["-c", code]) as process:
        assert isinstance(process, Process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == -signal.SIGINT


@linux
def test_what_does_not_end_is_killed() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_python(["-c", "import time; time.sleep(60)"], timeout=0.1)


def test_what_the_start_of_an_interpreter_reads_gets_one() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONUTF8": "0"}
    code = "import sys; print(sys.flags.hash_randomization, hash('a'), sys.flags.utf8_mode)"
    first, second = (run_python(["-c", code], env=environment).stdout for _ in range(2))
    assert first == second
    assert first.endswith(" 0\n")


@linux
def test_the_command_of_a_script_is_hubcli(tmp_path: Path) -> None:
    folder = forked_commands(tmp_path / "bin")
    shell = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    script = "command -v hubcli; hubcli fetch /nowhere | cat; hubcli fetch /nowhere 2>/dev/null || echo $?"
    result = subprocess.run(["bash", "-c", script], env=shell, capture_output=True, text=True, check=False)
    found = run_python(["-m", "hubcli", "fetch", "/nowhere"])
    assert result.stdout == f"{folder / 'hubcli'}\n{found.returncode}\n"
    assert result.stderr == found.stderr


@linux
@pytest.mark.tensorflow
def test_a_runner_of_models_is_forked_and_ends_as_one_that_was_started(forked_runners: None) -> None:
    library = find_library()
    if library is None:
        pytest.skip("TensorFlow isn't installed: pip install '.[dev]'")
    running = RunProcess("c", library, 60)
    process = running._process
    assert isinstance(process, Process)
    assert running.ask("memory", doing="measuring")[0]["peak_bytes"] > 0
    process.kill()
    with pytest.raises(TensorFlowError, match="was killed while measuring"):
        running.ask("memory", doing="measuring")
    running.close()
    assert process.returncode == -signal.SIGKILL
    assert not Path(f"/proc/{process.pid}").exists()


@linux
@pytest.mark.slow
def test_a_server_that_nobody_needed_ends_with_the_process_that_started_it() -> None:
    program = f"from tests.forkserver import _begin\n_begin('\\0hubcli-unneeded-{os.getpid()}', ())"
    # Its output is at its end once the server has ended, too.
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, timeout=60)


@linux
def test_a_module_that_does_not_parse_fails_in_the_process_alone_that_imports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each test would wait two minutes for a server, while somebody writes the module."""
    (tmp_path / "unparsable.py").write_text("def (")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = forkserver._Server(("unparsable",))
    try:
        order = {"arguments": ["-c", "import unparsable"], "environment": dict(os.environ), "directory": "/"}
        with (tmp_path / "err").open("w+") as err:
            assert server.start(order, (0, 1, err.fileno())).wait() == 1
            err.seek(0)
            assert err.read().splitlines()[-1].startswith("SyntaxError")
    finally:
        server.close()
