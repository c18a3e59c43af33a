"""Progress: bars for people, lines for logs, nothing with -q."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console

from hubcli.cli import progress
from hubcli.cli.multi_progress import ModelBars
from hubcli.cli.output import Output
from hubcli.cli.progress import listener_for
from tests.cases import each_of
from tests.cli.terminal import run_on_terminal

HANDLE = "https://tfhub.dev/maker/model/1"


def test_without_a_terminal_a_line_comes_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    with listener_for(Output()) as listener:
        listener.started(HANDLE, "somewhere", 4_000_000)
        listener.received(1_000_000)
        listener.received(1_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(",")[0] for line in lines] == [
        f"{HANDLE}: 1.0 MB of 4.0 MB",
        f"{HANDLE}: 2.0 MB of 4.0 MB",
    ]


def test_a_fetch_that_takes_less_than_that_says_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with listener_for(Output()) as listener:
        listener.started(HANDLE, "somewhere", 4_000_000)
        listener.received(4_000_000)
    assert capsys.readouterr().err == ""


def test_quiet_keeps_lines_notes_and_waits_to_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    with listener_for(Output(quiet=True)) as listener:
        listener.started(HANDLE, "somewhere", None)
        listener.received(1_000_000)
        listener.note("a note")
        listener.waiting(HANDLE, "host:1")
    captured = capsys.readouterr()
    assert captured.err + captured.out == ""


@each_of("quiet", [False, True])
def test_a_note_above_a_bar_is_shown_unless_quiet(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    listener = progress._BarListener(Output(quiet=quiet), 0.0)
    listener.started(HANDLE, "somewhere", 10)
    listener.note("something [b]changed[/b]")
    listener.close()
    captured = capsys.readouterr()
    assert ("Note: something [b]changed[/b]\n" in captured.err) is not quiet
    assert captured.out == ""


def test_whoever_is_waited_for_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with listener_for(Output()) as listener:
        listener.waiting(HANDLE, "host:17")
    assert capsys.readouterr().err == f"Waiting for host:17, which is fetching {HANDLE}\n"


def test_a_second_start_counts_from_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    with listener_for(Output()) as listener:
        for _ in range(2):
            listener.started(HANDLE, "somewhere", 4_000_000)
            listener.received(1_000_000)
    assert capsys.readouterr().err.count("1.0 MB of 4.0 MB") == 2


_TWICE = """
import sys
from hubcli.cli.output import Output
from hubcli.cli.progress import listener_for

with listener_for(Output(), patience_s=float(sys.argv[1])) as listener:
    for name in ("first", "second"):
        listener.started(name, "somewhere", 10)
        listener.received(10)
"""


@pytest.mark.parametrize(("patience", "bars"), [("0", True), ("60", False)])
def test_a_bar_comes_only_to_those_who_had_to_wait(patience: str, bars: bool) -> None:
    status, screen = run_on_terminal([sys.executable, "-c", _TWICE, patience], os.environ)
    assert status == 0, screen
    assert ("first" in screen, "second" in screen) == (bars, bars)


_INTERRUPTED_PROGRAM = """
import sys, time
from hubcli.cli.output import Output
from hubcli.cli.progress import listener_for

output = Output()
with listener_for(output) as listener:
    listener.started("first", "somewhere", 10)
    listener.received(10)
    listener.finished()
    sys.stderr.write("Remove it? ")
    sys.stderr.flush()
    time.sleep(0.3)  # A bar that still stood would be drawn three times.
"""


def test_what_is_printed_below_a_bar_goes_where_standard_output_goes(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    program = """
import os, sys
from hubcli.cli.output import Output
from hubcli.cli.progress import listener_for

os.dup2(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY), 1)
output = Output()
with listener_for(output) as listener:
    listener.started("rows", "rows.jsonl", 10)
    output.text("the first row")
    listener.received(10)
    output.text("the second row")
    listener.finished()
"""
    status, screen = run_on_terminal([sys.executable, "-c", program, str(file)], os.environ)
    assert status == 0
    assert "rows" in screen
    assert "second" not in screen
    assert file.read_text() == "the first row\nthe second row\n"


def test_no_bar_is_drawn_over_a_question() -> None:
    status, screen = run_on_terminal([sys.executable, "-c", _INTERRUPTED_PROGRAM], os.environ)
    assert status == 0, screen
    assert "first" in screen
    assert screen.rstrip().endswith("Remove it?")


_INTERRUPTED = """
import os, signal, sys
import rich.progress
from hubcli.cli.progress import multi_progress_for
from hubcli.cli.entrypoint import turn_signals_into_interrupts
from hubcli.cli.output import Output
from hubcli.cli.progress import listener_for
from tests.interrupt_injection import InterruptInjection

FILES = ("rich/live.py", "rich/progress.py", "cli/progress.py", "cli/multi_progress.py", "cli/entrypoint.py")

def bar():
    with listener_for(Output()) as listener:
        listener.started("first", "somewhere", 10)
        listener.received(10)

def table():
    with multi_progress_for(Output(), 2) as board, board.listener("first") as listener:
        listener.started("first", "somewhere", 10)
        board.reported(failed=False)

def trapped(lines):
    turn_signals_into_interrupts()
    trap = InterruptInjection(signal.SIGINT, lines, FILES)
    sys.settrace(trap)
    try:
        {"bar": bar, "table": table}[sys.argv[1]]()
    except KeyboardInterrupt:
        return 130
    finally:
        sys.settrace(None)
    return 0

{"bar": bar, "table": table}[sys.argv[1]]()  # Loads what rich needs, once for all.
lines = 0
status = 130
while status == 130:
    lines += 1
    if not (child := os.fork()):
        os._exit(trapped(lines))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(f"\\n{lines} {status}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("display", ["bar", "table"])
def test_an_interrupt_at_any_line_leaves_the_cursor_on_the_screen(display: str) -> None:
    status, screen = run_on_terminal([sys.executable, "-c", _INTERRUPTED, display], os.environ)
    assert status == 0, screen
    lines, ended = map(int, screen.splitlines()[-1].split())
    assert lines > 50
    assert ended == 0
    assert screen.count("\x1b[?25h") == screen.count("\x1b[?25l")


@each_of("columns, screen", [("60", 30), ("60", 40), ("100", 40), ("100", 60)])
def test_each_of_several_models_has_one_line_however_narrow(
    monkeypatch: pytest.MonkeyPatch, columns: str, screen: int
) -> None:
    """Columns of the terminal when the names were cut, and of the screen, which was made smaller since."""
    monkeypatch.setenv("COLUMNS", columns)
    bars, shown = ModelBars(Output(), 3), io.StringIO()
    with bars.listener("https://host.example/a model with spaces/1") as row:
        row.started(HANDLE, "somewhere", 10_000_000)
        row.received(1_000_000)
        Console(width=screen, file=shown).print(bars._table())
    assert len(shown.getvalue().splitlines()) == 2
