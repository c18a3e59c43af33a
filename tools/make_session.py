"""Makes docs/pictures/session.svg and session.cast: a terminal session, recorded from a real run.

A model of 48 MB is made by TensorFlow, and a local server sends it slowly. hubcli fetches it, is interrupted
by Ctrl-C, resumes, inspects it, and fine-tunes it. Run it with the `[dev]` extra installed:
`python -m tools.make_session`.

The cast is asciicast version 2 (https://docs.asciinema.org/manual/asciicast/v2/), which `asciinema play`
shows. The SVG shows the same frames one after the other by CSS alone, and only the last one where nothing
shall move.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from rich.text import Text

from hubcli.commands.export import export
from tests.recipes import recipe
from tools.make_pictures import PICTURES, last_state

HANDLE = "https://models.example/film/text/1"
COLUMNS, ROWS = 104, 30
_BYTES_PER_S = 7_000_000
# Time in which nothing happens is shortened to this, and a frame is shown at least for the other.
_LONGEST_PAUSE_S, _SHORTEST_FRAME_S = 1.2, 0.12
_TYPED_S, _READ_S, _END_S = 0.9, 2.5, 5.0
_PROMPT = "\x1b[1;32m$\x1b[0m "


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, and after how many seconds of its run Ctrl-C is pressed, if at all."""

    line: str
    interrupt_after_s: float | None = None


SESSION = (
    Command(f"hubcli fetch {HANDLE}", interrupt_after_s=4.5),
    Command(f"hubcli fetch {HANDLE}"),
    Command(f"hubcli inspect {HANDLE}"),
    Command(f"hubcli finetune-export {HANDLE} tuned --train train.py:train --arg epochs=3"),
    Command("hubcli inspect tuned --check --scan -q && echo reusable, and no risky ops"),
)

Event = tuple[float, str]
"""Seconds since the start of the session, and what appeared on the screen then."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Records the session, and writes both files."""
    parser = argparse.ArgumentParser(prog="python -m tools.make_session", description=__doc__)
    parser.add_argument("--to", type=Path, default=PICTURES, help="the directory of the files")
    options = parser.parse_args(arguments)
    options.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:  # A temporary cache would be warned of.
        events = record(Path(folder))
    (options.to / "session.cast").write_text(cast_of(events), encoding="utf-8")
    (options.to / "session.svg").write_text(svg_of_frames(frames_of(events)), encoding="utf-8")
    return 0


# The run -----------------------------------------------------------------------------------------------


def record(folder: Path, commands: Sequence[Command] = SESSION) -> list[Event]:
    """What a user of that home saw: prompts, commands, and all output, with shortened pauses."""
    home, work = folder / "home", folder / "home" / "film"
    work.mkdir(parents=True)
    (work / "train.py").write_text(recipe("train.py"), encoding="utf-8")
    make_model(folder / "model")
    export(str(folder / "model"), folder / "model.tar.gz")
    events: list[Event] = []
    with _slow_server((folder / "model.tar.gz").read_bytes()) as address:
        variables = _variables(home, address)
        clock = 0.0
        for command in commands:
            events.append((clock, f"{_PROMPT}{command.line}\n"))
            clock += _TYPED_S
            last_s = 0.0
            for seconds, text in _run(command, work, variables):
                clock += min(seconds - last_s, _LONGEST_PAUSE_S)
                last_s = seconds
                events.append((clock, text.replace(str(home), "~")))
            clock += _READ_S
            events.append((clock, "\n"))
    return events


def make_model(folder: Path) -> None:
    """Writes a Reusable SavedModel that embeds texts, with 48 MB of random values."""
    import tensorflow as tf

    class Embedding(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            values = tf.random.normal([240_000, 50], seed=1)
            self.embeddings = tf.Variable(values, name="embeddings")

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "sentences")])
        def __call__(self, sentences: object) -> object:
            words = tf.strings.split(sentences)
            buckets = tf.strings.to_hash_bucket_fast(words.flat_values, 240_000)
            vectors = tf.gather(self.embeddings, buckets)
            return tf.math.segment_mean(vectors, words.value_rowids())

    model = Embedding()
    root = tf.train.Checkpoint()
    root.__call__ = model.__call__
    root.variables = [model.embeddings]
    root.trainable_variables = [model.embeddings]
    root.regularization_losses = []
    tf.saved_model.save(root, str(folder), signatures=model.__call__)


def _variables(home: Path, address: str) -> dict[str, str]:
    """A user with a home and a cache of their own, whose PATH has this interpreter's hubcli."""
    inherited = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    return {
        **inherited,
        "HOME": str(home),
        "HUBCLI_MIRRORS": f"{HANDLE.rsplit('/', 3)[0]}={address}",
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
        "PYTHONUTF8": "1",
        "PYTHONWARNINGS": "ignore",  # Of Keras, with paths of this machine.
        "TERM": "xterm-256color",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TFHUB_CACHE_DIR": str(home / "models"),
    }


def _run(command: Command, folder: Path, variables: Mapping[str, str]) -> Iterator[Event]:
    """What the command prints on a terminal, with the seconds since its start."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    began = time.monotonic()
    process = subprocess.Popen(
        ["bash", "-c", command.line],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=dict(variables),
        preexec_fn=_own_terminal,
    )
    os.close(theirs)
    pending_interrupt = command.interrupt_after_s
    while True:
        passed = time.monotonic() - began
        if pending_interrupt is not None and passed >= pending_interrupt:
            os.write(ours, b"\x03")
            pending_interrupt = None
        ready, _, _ = select.select([ours], [], [], 0.05)
        if not ready:
            continue
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # Linux's way to say that the other side is closed.
            break
        if not piece:
            break
        yield time.monotonic() - began, piece.decode("utf-8", "replace").replace("\r\n", "\n")
    os.close(ours)
    process.wait(60)


def _own_terminal() -> None:
    """Makes the terminal that of the new process, so that Ctrl-C reaches it as a signal."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def _slow_server(archive: bytes) -> Iterator[str]:
    """A server that answers every path with the archive or a range of it, at a limited rate in all."""
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ranges = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start = int(ranges[1]) if ranges else 0
            end = min(int(ranges[2]) if ranges and ranges[2] else len(archive) - 1, len(archive) - 1)
            self.send_response(206 if ranges else 200)
            self.send_header("ETag", '"1"')
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(end + 1 - start))
            if ranges:
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(archive)}")
            self.end_headers()
            step = 1 << 17
            try:
                for at in range(start, end + 1, step):
                    piece = archive[at : min(at + step, end + 1)]
                    with turn:
                        time.sleep(len(piece) / _BYTES_PER_S)
                    self.wfile.write(piece)
            except OSError:  # The client was interrupted, which is what is shown.
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


# The files ---------------------------------------------------------------------------------------------


def cast_of(events: Sequence[Event]) -> str:
    """The events as asciicast version 2."""
    head = {"version": 2, "width": COLUMNS, "height": ROWS, "title": "hubcli"}
    rows = [[round(seconds, 3), "o", text.replace("\n", "\r\n")] for seconds, text in events]
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in (head, *rows)) + "\n"


Frame = tuple[float, tuple[str, ...]]
"""Seconds since the start, and the lines that the screen shows from then on."""


def frames_of(events: Sequence[Event]) -> list[Frame]:
    """The states of the screen that are long enough to be seen; the last one stays."""
    frames: list[Frame] = []
    screen = ""
    for seconds, text in events:
        screen += text
        lines = tuple(last_state(screen).rstrip("\n").split("\n"))[-ROWS:]
        if frames and seconds - frames[-1][0] < _SHORTEST_FRAME_S:
            frames[-1] = (frames[-1][0], lines)
        elif not frames or frames[-1][1] != lines:
            frames.append((seconds, lines))
    return frames


_STYLE = """\
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d8dee9; white-space: pre; }
.frame { visibility: hidden; animation: %(total).2fs step-end infinite; }
.last { visibility: visible; }
@media (prefers-reduced-motion: reduce) { .frame { animation: none !important; } }
"""
_LINE_PX, _LETTER_PX, _MARGIN_PX, _BAR_PX = 19, 8.43, 16, 30


def svg_of_frames(frames: Sequence[Frame]) -> str:
    """An SVG that shows the frames in a loop. A line that several frames have is drawn once, and used."""
    total = frames[-1][0] + _END_S
    numbers: dict[str, int] = {}
    for _, lines in frames:
        for line in lines:
            numbers.setdefault(line, len(numbers))
    drawn = [f'<text id="l{number}">{_spans(line)}</text>' for line, number in numbers.items() if line]
    styles, groups = [_STYLE % {"total": total}], []
    for number, (start, lines) in enumerate(frames):
        end = frames[number + 1][0] if number + 1 < len(frames) else total
        styles.append(_keyframes(number, start / total * 100, end / total * 100))
        uses = "".join(
            f'<use href="#l{numbers[line]}" y="{row * _LINE_PX}"/>' for row, line in enumerate(lines) if line
        )
        last = " last" * (number + 1 == len(frames))
        groups.append(f'<g class="frame{last}" style="animation-name:f{number}">{uses}</g>')
    width, height = round(COLUMNS * _LETTER_PX) + 2 * _MARGIN_PX, ROWS * _LINE_PX + _BAR_PX + _MARGIN_PX
    dots = "".join(
        f'<circle cx="{18 + 18 * at}" cy="15" r="5.5" fill="{color}"/>'
        for at, color in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    visible_frames = "\n".join(groups)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="A terminal session with hubcli">\n<style>\n{"".join(styles)}</style>\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="#1d2026"/>{dots}\n'
        f"<defs>\n{chr(10).join(drawn)}\n</defs>\n"
        f'<g transform="translate({_MARGIN_PX} {_BAR_PX + _LINE_PX - 5})">\n{visible_frames}\n</g>\n</svg>\n'
    )


def _keyframes(number: int, start: float, end: float) -> str:
    """When a frame is visible, in percent of the whole loop."""
    hidden_first = "0%{visibility:hidden}" if start > 0 else ""
    hidden_last = f"{end:.3f}%{{visibility:hidden}}" if end < 100 else ""
    return f"@keyframes f{number}{{{hidden_first}{start:.3f}%{{visibility:visible}}{hidden_last}}}\n"


def _spans(line: str) -> str:
    """The line's text with its colours."""
    console = Console(color_system="truecolor", force_terminal=True, width=4 * COLUMNS)
    pieces = []
    for segment in Text.from_ansi(line).render(console):
        style, text = segment.style, escape(segment.text).replace(" ", "\xa0")
        if style is None or not segment.text.strip():
            pieces.append(text)
            continue
        color = "" if style.color is None else style.color.get_truecolor(DEFAULT_TERMINAL_THEME).hex
        marks = [f'fill="{_visible(color)}"'] * bool(color) + ['font-weight="bold"'] * bool(style.bold)
        marks += ['opacity="0.65"'] * bool(style.dim)
        pieces.append(f"<tspan {' '.join(marks)}>{text}</tspan>" if marks else text)
    return "".join(pieces)


def _visible(color: str) -> str:
    """The colour, or a lighter one where it can't be read on the dark background."""
    return {"#000080": "#81a1c1", "#800080": "#b48ead", "#008080": "#88c0d0", "#008000": "#a3be8c"}.get(
        color, {"#800000": "#d0646e", "#808000": "#ebcb8b", "#000000": "#7b8394"}.get(color, color)
    )


if __name__ == "__main__":
    sys.exit(main())
