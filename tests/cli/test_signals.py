"""Signals that end a run: held off for a moment, never lost, raised once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubcli.cli.entrypoint import held_interrupts, turn_signals_into_interrupts
from hubcli.cli.main import main, repeat_lost_interrupt

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handled_signals() -> Iterator[None]:
    """The signals, handled as in a run; afterwards as before."""
    before = [signal.getsignal(number) for number in SIGNALS]
    turn_signals_into_interrupts()
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_each_of_them_interrupts(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupt_while_modules_load_is_no_traceback(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_argv: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("hubcli.cli.entrypoint.run", interrupt)
    assert main(["ls", *(["--json"] if as_json else [])]) == 130
    signal.raise_signal(signal.SIGINT)  # A second one is ignored.
    stdout, stderr = capsys.readouterr()
    assert stderr == "Error: Interrupted\n"
    assert not as_json or json.loads(stdout)["error"]["code"] == "interrupted"


def test_an_interrupt_that_python_drops_in_a_callback_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched:
        pass

    def interrupt(_reference: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sys, "unraisablehook", repeat_lost_interrupt)
    objects = [Watched()]
    reference = weakref.ref(objects[0], interrupt)
    objects.clear()
    assert reference() is None
    with pytest.raises(KeyboardInterrupt):
        time.sleep(10)


_INTERRUPTED_IN_EXEC = """
import signal, sys
import hubcli.cli.entrypoint
from hubcli.cli.main import main, repeat_lost_interrupt
def run(argv):
    try:
        exec("signal.raise_signal(signal.SIGINT)")
    except KeyboardInterrupt:
        return 130
hubcli.cli.entrypoint.run = run
sys.exit(main(["ls"]))
"""


def test_the_status_is_130_wherever_the_interrupt_came(tmp_path: Path) -> None:
    """Of `python -m hubcli`: a console script leaves Python in another way."""
    (tmp_path / "interrupted.py").write_text(_INTERRUPTED_IN_EXEC)
    run = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, check=False, timeout=250)
    assert run.returncode == 130


def test_nothing_interrupts_the_cleaning() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    for number in SIGNALS:
        signal.raise_signal(number)


def test_a_held_one_comes_when_all_holds_have_ended() -> None:
    reached = []

    def held() -> None:
        with held_interrupts():
            with held_interrupts():
                signal.raise_signal(signal.SIGTERM)
                reached.append("inner")
            reached.append("outer")
        reached.append("behind")

    with pytest.raises(KeyboardInterrupt):
        held()
    assert reached == ["inner", "outer"]


def test_a_held_one_comes_with_the_error_that_ended_the_hold() -> None:
    def failing() -> None:
        with held_interrupts():
            signal.raise_signal(signal.SIGINT)
            raise ValueError

    with pytest.raises(KeyboardInterrupt) as interrupt:
        failing()
    assert isinstance(interrupt.value.__context__, ValueError)


def test_a_second_one_does_not_wait_for_what_hangs() -> None:
    with held_interrupts():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_without_a_signal_a_hold_ends_quietly() -> None:
    with held_interrupts():
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_what_another_thread_does_holds_nothing_off() -> None:
    holding, finished = threading.Event(), threading.Event()

    def hold() -> None:
        with held_interrupts():
            holding.set()
            finished.wait(120)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert holding.wait(120)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        finished.set()
        thread.join()


def test_what_the_caller_ignores_stays_ignored() -> None:
    program = (
        "import signal; from hubcli.cli.entrypoint import turn_signals_into_interrupts as turn; turn();"
        "print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, callable(signal.getsignal(signal.SIGTERM)))"
    )
    result = subprocess.run(
        ["nohup", sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["True", "True"]
