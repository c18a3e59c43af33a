"""Shells at work: on a pseudo-terminal as a person has them, and asked what they would offer."""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

COMPLETIONS = Path(__file__).parent.parent.parent / "completions"
TAB, ENTER, KILL_LINE = "\t", "\r", "\x15"
_TIMEOUT_S = 120
_PROMPT = "ready> "
_ROWS_AND_COLUMNS = (500, 120)
# What readline breaks words at, of the characters that handles and options hold.
_PIECES = re.compile(r"[:=]+|[^:=]+")
_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]")

# In each, hubcli is a function that tells its arguments: the real one need not be on the path.
_STARTUP = {
    "bash": (
        "PS1='{prompt}'\nset +o history\nbind 'set completion-query-items 10000'\n"
        "bind 'set page-completions off'\nbind 'set enable-bracketed-paste off'\n"
        'hubcli() {{ printf "%s\\0" "$@" END >"{channel}"; }}\n'
    ),
    "zsh": (
        "PS1='{prompt}'\nLISTMAX=10000\nunsetopt beep\nzle_bracketed_paste=()\n"
        'hubcli() {{ printf "%s\\0" "$@" END >"{channel}"; }}\n'
    ),
    "fish": (
        "set -g fish_greeting\nfunction fish_prompt; echo -n '{prompt}'; end\n"
        "function hubcli; printf '%s\\0' $argv END >'{channel}'; end\n"
    ),
}
_ZSH_FUNCTIONS = f"fpath=('{COMPLETIONS}' $fpath)\nautoload -Uz compinit\n"
_STARTUP_FILES = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}


def require(shell: str) -> str:
    """The path of the shell; skips the test if it is not installed."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} isn't on this machine")
    return path


@dataclass
class Shell:
    """An interactive shell in which `hubcli` is a function that tells its arguments."""

    terminal: int
    channel: int
    process: int
    screen: bytes = field(default=b"")

    def type(self, keys: str) -> None:
        """Sends the keys, and forgets what was on the screen before."""
        self.screen = b""
        os.write(self.terminal, keys.encode())

    def wait_for(self, *texts: str) -> str:
        """The screen since the last keys, once every text has been on it."""
        self._pump(lambda: all(text in self.text for text in texts), f"no {texts} on the screen")
        return self.text

    def arguments(self) -> list[str]:
        """The arguments with which hubcli is called."""
        seen = b""

        def is_whole() -> bool:
            nonlocal seen
            if select.select([self.channel], [], [], 0)[0]:
                seen += os.read(self.channel, 1 << 16)
            return seen.endswith(b"END\0")

        self._pump(is_whole, "hubcli wasn't called")
        return seen.decode(errors="surrogateescape").split("\0")[:-2]

    @property
    def text(self) -> str:
        """The screen since the last keys, without what moves the cursor and colours it."""
        return _CONTROL.sub(b"", self.screen).decode(errors="replace")

    def _pump(self, is_done: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + _TIMEOUT_S
        while not is_done():
            if time.monotonic() > deadline:
                raise AssertionError(f"{complaint}:\n{self.text}")
            if self.terminal in select.select([self.terminal, self.channel], [], [], 1)[0]:
                self.screen += os.read(self.terminal, 1 << 16)


def _loading(shell: str) -> str:
    """What loads the completion script when the shell starts."""
    if shell == "zsh":
        return f"{_ZSH_FUNCTIONS}compinit -C -d '{_zsh_dump()}'\n"
    return {"bash": f". '{COMPLETIONS}/hubcli.bash'\n", "fish": f"source '{COMPLETIONS}/hubcli.fish'\n"}[
        shell
    ]


@functools.cache
def _zsh_dump() -> Path:
    """What zsh finds in its thousand functions, in 0.3 s: once for all of its shells."""
    folder = Path(tempfile.mkdtemp(prefix="hubcli-zsh-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    script = f"{_ZSH_FUNCTIONS}compinit -u -d '{folder / 'dump'}'"
    subprocess.run([require("zsh"), "-f", "-c", script], check=True, timeout=_TIMEOUT_S)
    return folder / "dump"


def home_of(shell: str, folder: Path) -> Path:
    """A home in which the shell starts with `hubcli` as that function, and without completion."""
    home = folder / f"home-{shell}"
    file = home / _STARTUP_FILES[shell]
    file.parent.mkdir(parents=True)
    file.write_text(_STARTUP[shell].format(prompt=_PROMPT, channel=folder / f"channel-{shell}"))
    if shell == "fish":  # Else it reads all man pages of the machine behind its first prompt.
        (home / ".local/share/fish/generated_completions").mkdir(parents=True)
    return home


@contextmanager
def shell_at_work(
    name: str, folder: Path, cache: Path, *, before: str = "", home: Path | None = None
) -> Iterator[Shell]:
    """The shell in that home, or in one where `before` and the completion script are read."""
    program, channel = require(name), folder / f"channel-{name}"
    if home is None:
        home = home_of(name, folder)
        with (home / _STARTUP_FILES[name]).open("a") as file:
            file.write(f"{before}\n{_loading(name)}")
    os.mkfifo(channel)
    variables = {
        **os.environ,
        "HOME": str(home),
        "ZDOTDIR": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "HUBCLI_CACHE_DIR": str(cache),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }
    command = [program, "--noprofile", "-i"] if name == "bash" else [program, "-i"]
    with _started(command, variables, folder) as (process, terminal):
        shell = Shell(terminal, os.open(channel, os.O_RDWR), process)
        try:
            shell.wait_for(_PROMPT)
            yield shell
        finally:
            os.close(shell.channel)


@contextmanager
def _started(command: Sequence[str], variables: Mapping[str, str], folder: Path) -> Iterator[tuple[int, int]]:
    process, terminal = pty.fork()
    if not process:
        os.chdir(folder)
        os.execve(command[0], list(command), variables)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *_ROWS_AND_COLUMNS, 0, 0))
    try:
        yield process, terminal
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)


def bash_offers(
    lines: Sequence[str], cache: Path, folder: Path, *, breaks: str = ":=", tells_line: bool = True
) -> list[list[str]]:
    """What the function gives readline for each line, the cursor at its end: whole words again.

    `breaks` are those characters of COMP_WORDBREAKS that matter here.
    """
    script = [f". '{COMPLETIONS}/hubcli.bash'", f"COMP_WORDBREAKS=$' \\t\\n\"\\'><;|&({breaks}'"]
    candidates = []
    for line in lines:
        *_, last = re.split(r"(?<!\\) ", line)
        words = [piece for word in re.split(r"(?<!\\) ", line) for piece in _pieces(word, breaks)]
        # Bash has no empty word behind a : or =, but replaces what follows it.
        replaced = "" if words[-1][:1] in (":", "=") and words[-1][0] in breaks else words[-1]
        candidates.append(last.removesuffix(replaced).lstrip("'\""))
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
        comp_line = "'" + line.replace("'", "'\\''") + "'"
        script += [
            f"COMP_LINE={comp_line}; COMP_POINT=${{#COMP_LINE}}"
            if tells_line
            else "unset COMP_LINE COMP_POINT",
            f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _hubcli hubcli",
            'printf "%s\\n" "${COMPREPLY[@]}" END',
        ]
    groups = _groups(["bash", "--norc", "--noprofile"], script, cache, folder)
    return [
        [start + word for word in group.split("\n")[:-1] if word]
        for start, group in zip(candidates, groups, strict=True)
    ]


def _pieces(word: str, breaks: str) -> list[str]:
    if not word or not breaks or word[:1] in "'\"":
        return [word]
    return re.findall(f"[{breaks}]+|(?:[^{breaks}\\\\]|\\\\.)+", word)


def _groups(shell: Sequence[str], script: Sequence[str], cache: Path, folder: Path) -> list[str]:
    """What the shell prints before each line `END`."""
    name, *options = shell
    process = subprocess.run(
        [require(name), *options, "-c", "\n".join(script)],
        env={**os.environ, "HUBCLI_CACHE_DIR": str(cache), "LC_ALL": "C.UTF-8"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stderr == ""
    return process.stdout.split("END\n")[:-1]


def fish_offers(lines: Sequence[str], cache: Path, folder: Path) -> list[list[tuple[str, str]]]:
    """The words that fish offers for each line, and what it says of each."""
    script = [f"source '{COMPLETIONS}/hubcli.fish'"]
    for line in lines:
        quoted = "'" + line.replace("\\", "\\\\").replace("'", "\\'") + "'"
        script += [f"complete -C {quoted}", "echo END"]
    groups = _groups(["fish", "--no-config"], script, cache, folder)
    return [
        [(row.partition("\t")[0], row.partition("\t")[2]) for row in group.splitlines()] for group in groups
    ]
