"""Makes docs/pictures/*.svg: what hubcli shows on a terminal, from real runs.

Run it with the `[dev]` extra installed: `python -m tools.make_pictures`. `--model DIR` is the
SavedModel that the pictures show under the handle of Spotify's Basic Pitch, for machines that can't
reach tfhub.dev; a local server plays the host then.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from hubcli.cli.output import svg_of
from hubcli.commands.export import export
from hubcli.units import to_iso_utc
from tests.cli.terminal import run_on_terminal
from tests.server import HubServer, Reply

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
HANDLE = "https://tfhub.dev/spotify/basic-pitch/1"
_HOST = "https://tfhub.dev"
_CONTROL = re.compile("(\n|\r|\x1b\\[\\d*A|\x1b\\[2K|\x1b\\[\\?\\d+[hl])")


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture: commands as a user types them, and how many lines of each are shown."""

    name: str
    title: str
    columns: int
    commands: Sequence[tuple[str, int]]


SCENES = (
    Scene(
        "overview",
        "fetch, list, look inside",
        100,
        (
            (f"hubcli fetch {HANDLE} example://mul/1", 8),
            ("hubcli ls", 8),
            (f"hubcli inspect {HANDLE} --signatures --check", 24),
        ),
    ),
    Scene("inspect", "the object as a tree", 100, ((f"hubcli inspect {HANDLE} --tree", 60),)),
    Scene(
        "gc",
        "what would go, and why",
        100,
        (
            (f"hubcli pin {HANDLE}", 2),
            ("hubcli gc --older-than 30d --dry-run", 12),
            ("hubcli gc --older-than 30d --yes", 12),
            ("hubcli verify", 6),
        ),
    ),
    Scene("doctor", "why a download or a load fails", 100, (("hubcli doctor", 60),)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the scenes in one cache, in their order, and writes a picture of each."""
    parser = argparse.ArgumentParser(prog="python -m tools.make_pictures", description=__doc__)
    parser.add_argument("--model", type=Path, help="a SavedModel to show; without it tfhub.dev is asked")
    parser.add_argument("--to", type=Path, default=PICTURES, help="the directory of the pictures")
    options = parser.parse_args(arguments)
    options.to.mkdir(parents=True, exist_ok=True)
    base = Path.home()  # A temporary directory would be warned of.
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base) as folder, _mirror(options.model, Path(folder)) as mirror:
        variables = _environment(Path(folder), mirror)
        for scene in SCENES:
            if scene.name == "gc":
                _age(Path(variables["TFHUB_CACHE_DIR"]))
                variables.pop("HUBCLI_MIRRORS", None)
            (options.to / f"{scene.name}.svg").write_text(_picture(scene, variables), encoding="utf-8")
            print(options.to / f"{scene.name}.svg")
    return 0


@contextmanager
def _mirror(model: Path | None, folder: Path) -> Iterator[str]:
    """A server that answers for the handle's host, where there is a model to serve; else nothing."""
    if model is None:
        yield ""
        return
    archive = folder / "model.tar.gz"
    export(str(model), archive)
    with HubServer().running() as server:
        server.serve(HANDLE.removeprefix(_HOST), Reply(archive.read_bytes()))
        yield f"{_HOST}={server.url}"


def _environment(folder: Path, mirror: str) -> dict[str, str]:
    """A user with a home and a cache of their own, whose PATH has this interpreter's hubcli."""
    home = Path(folder, "home")
    home.mkdir()
    inherited = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    return {
        **inherited,
        "HOME": str(home),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
        "TERM": "xterm-256color",
        "PYTHONUTF8": "1",
        "TFHUB_CACHE_DIR": str(home / "models"),
        **({"HUBCLI_MIRRORS": mirror} if mirror else {}),
    }


def _age(cache: Path) -> None:
    """Makes all models of the cache look as if nobody had used them for forty days."""
    long_ago = time.time() - 40 * 86400
    for path in (*cache.rglob("*"), *cache.glob("*")):
        if not path.is_symlink():
            os.utime(path, (long_ago, long_ago))
    for record in cache.glob("*.hubcli.json"):
        text = re.sub(r'"\d{4}-[^"]+Z"', f'"{to_iso_utc(long_ago)}"', record.read_text())
        record.write_text(text)
        os.utime(record, (long_ago, long_ago))


def _picture(scene: Scene, variables: dict[str, str]) -> str:
    console = Console(
        record=True, file=io.StringIO(), width=scene.columns, force_terminal=True, highlight=False
    )
    for number, (command, lines) in enumerate(scene.commands):
        status, screen = run_on_terminal(shlex.split(command), variables, columns=scene.columns)
        if status != 0:  # The documentation would show a failure of this machine.
            raise SystemExit(f"{command} ended with {status}; without tfhub.dev, use --model DIR\n{screen}")
        screen_text = last_state(screen).replace(variables["HOME"], "~").replace(sys.prefix, "~/.venv")
        console.print(Text.from_ansi(f"{chr(10) if number else ''}\x1b[1;32m$\x1b[0m {command}"))
        console.print(Text.from_ansi("\n".join(_cut(screen_text.rstrip("\n").split("\n"), lines))))
    return svg_of(console, scene.title, f"hubcli-{scene.name}")


def last_state(screen: str) -> str:
    """What is left on the screen: progress bars go up a line, erase it, and write it anew."""
    lines, at = [""], 0
    for piece in _CONTROL.split(screen):
        up = re.fullmatch("\x1b\\[(\\d*)A", piece)
        if piece == "\n":
            at += 1
            lines += [""] * (at == len(lines))
        elif up is not None:
            at = max(0, at - int(up[1] or 1))
        elif piece in ("\r", "\x1b[2K"):
            lines[at] = ""
        elif not piece.startswith("\x1b[?"):
            lines[at] += piece
    return "\n".join(lines)


def _cut(lines: list[str], most: int) -> list[str]:
    return lines if len(lines) <= most else [*lines[: most - 1], "…"]


if __name__ == "__main__":
    sys.exit(main())
