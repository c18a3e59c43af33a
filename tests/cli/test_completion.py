"""Completion in the real shells: what they offer, what they insert, and what they must not run."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cases import each_of
from tests.cli.shells import (
    COMPLETIONS,
    ENTER,
    KILL_LINE,
    TAB,
    bash_offers,
    fish_offers,
    require,
    shell_at_work,
)
from tests.entries import alias_link, gut_entry, hubcli_entry, key_of, tensorflow_hub_entry
from tools.cached_handles import AWK_PROGRAM, SH_PROGRAM

HANDLE = "https://tfhub.dev/google/elmo/3"
OTHER = "https://tfhub.dev/google/nnlm-en-dim50/2"
FOREIGN = "https://models.example/maker/model/1?x=1&y=2"
MUL = "example://mul/1"
SHELLS = ("bash", "zsh", "fish")
# zsh takes half a second to start: what is alike in all shells is quick to see in the others.
QUICK_SHELLS = ("bash", pytest.param("zsh", marks=pytest.mark.slow), "fish")

# What could run, break a line, or command a terminal, were it put on the line as it is.
HOSTILE = (
    "https://h.example/a$(touch${IFS}PWNED)/1",
    "https://h.example/b`id>PWNED`/1",
    "https://h.example/c;touch${IFS}PWNED;/1",
    "https://h.example/d'q\"q/1",
    "https://h.example/e&!!|x>PWNED/1",
    "https://h.example/f%F{red}%n\\n*?[a]/1",
    "https://h.example/g#~{x,y}^h/1",
)
UNSPEAKABLE = (
    "https://h.example/control\x1b]0;owned\x07/1",
    "https://h.example/control\x9b2J/1",
    "https://h.example/control \u202e/1",
    "https://h.example/control space/1",
    "https://h.example/control\ttab/1",
    "https://h.example/control\r/1",
)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A cache with two entries of hubcli's, all their links, and one of tensorflow_hub's."""
    root = tmp_path / "cache"
    hubcli_entry(root, HANDLE, shard_bytes=374_000_000)
    hubcli_entry(root, OTHER, shard_bytes=1_300_000, pinned=True)
    tensorflow_hub_entry(root, FOREIGN)
    (tmp_path / "eggs.tar.gz").touch()
    (tmp_path / "models dir").mkdir()
    return root


def put_descriptor(root: Path, handle: str, text: str | None = None) -> None:
    """A model with that descriptor, as another program could leave it."""
    key = key_of(handle)
    (root / key).mkdir(parents=True)
    content = text if text is not None else f"Module: {handle}\nDownload Time: x\n"
    (root / f"{key}.descriptor.txt").write_text(content, encoding="utf-8", newline="")


# --- What is offered


@pytest.mark.parametrize("breaks", [":=", "=", ""])
@pytest.mark.parametrize("tells_line", [True, False])
def test_bash_completes_handles_wherever_readline_breaks_words(
    breaks: str, tells_line: bool, filled: Path, tmp_path: Path
) -> None:
    lines = [
        "hubcli inspect https",
        f"hubcli inspect {HANDLE[:-3]}",
        "hubcli rm https:",
        "hubcli inspect --diff=h",
    ]
    if not tells_line:
        lines = lines[:2]
    offered = bash_offers(lines, filled, tmp_path, breaks=breaks, tells_line=tells_line)
    escaped = FOREIGN.replace("?", "\\?").replace("&", "\\&")
    assert set(offered[0]) == {HANDLE, OTHER, escaped}
    assert offered[1] == [HANDLE]
    if tells_line:
        assert set(offered[2]) == {HANDLE, OTHER, escaped}
        assert set(offered[3]) == {f"--diff={handle}" for handle in (HANDLE, OTHER, escaped)}


def test_bash_goes_on_within_quotes(filled: Path, tmp_path: Path) -> None:
    assert bash_offers([f"hubcli inspect '{HANDLE[:-3]}", f'hubcli rm "{HANDLE[:-3]}'], filled, tmp_path) == [
        [HANDLE],
        [HANDLE],
    ]


def test_a_target_may_be_a_handle_or_a_file(filled: Path, tmp_path: Path) -> None:
    lines = [
        "hubcli inspect ",
        "hubcli inspect e",
        "hubcli pin egg",
        "hubcli export x e",
        "hubcli export x y e",
    ]
    bash, fish = bash_offers(lines, filled, tmp_path), fish_offers(lines, filled, tmp_path)
    assert {HANDLE, OTHER, MUL, "eggs.tar.gz", "models\\ dir/"} <= set(bash[0])
    assert {HANDLE, OTHER, FOREIGN, MUL, "eggs.tar.gz", "models dir/"} <= {word for word, _ in fish[0]}
    for offered in (bash, [[word for word, _ in group] for group in fish]):
        assert set(offered[1]) == {MUL, "eggs.tar.gz"}
        assert "eggs.tar.gz" not in offered[2]  # fish offers handles that hold these letters somewhere
        assert offered[3] == ["eggs.tar.gz"]
        assert offered[4] == []


def test_directories_belong_where_a_directory_is_asked_for(filled: Path, tmp_path: Path) -> None:
    lines = ["hubcli ls --cache-dir ", "hubcli fetch -r ", "hubcli fetch --jobs "]
    bash, fish = bash_offers(lines, filled, tmp_path), fish_offers(lines, filled, tmp_path)
    assert {"cache", "models dir"} == set(bash[0])
    assert {"cache/", "models dir/"} == {word for word, _ in fish[0]} - {"home/"}  # fish makes one
    assert {"-", "eggs.tar.gz"} <= set(bash[1])
    assert {"-", "eggs.tar.gz"} <= {word for word, _ in fish[1]}
    assert bash[2] == [] == fish[2]


@pytest.mark.parametrize("shell", QUICK_SHELLS)
def test_the_cache_is_the_one_on_the_line(shell: str, filled: Path, tmp_path: Path) -> None:
    lines = [
        "inspect --cache-dir {}",
        "inspect --cache-dir={}",
        "--cache-dir {} inspect",
        "--cache-dir={} -q pin",
    ]
    with shell_at_work(shell, tmp_path, tmp_path / "nowhere") as running:
        for line in lines:
            running.type(f"hubcli {line.format(filled)} https://tfhub.dev/google/e{TAB}{ENTER}")
            assert running.arguments()[-1] == HANDLE, line


@pytest.mark.parametrize("variable", ["HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR", "XDG_CACHE_HOME", "HOME"])
def test_the_cache_is_found_as_hubcli_finds_it(variable: str, filled: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    value = filled if variable.endswith("DIR") else home
    default = {"XDG_CACHE_HOME": home / "hubcli", "HOME": home / ".cache" / "hubcli"}.get(variable)
    if default is not None:
        default.parent.mkdir(parents=True)
        default.symlink_to(filled)
    result = subprocess.run(
        [require("bash"), "--norc", "-c", f". '{COMPLETIONS}/hubcli.bash'; _hubcli_handles ''"],
        env={"PATH": os.environ["PATH"], variable: str(value)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.split("\t")[0] for line in result.stdout.splitlines()} == {HANDLE, OTHER, FOREIGN}


@pytest.mark.parametrize("typed", ["~/models", "$HOME/models", "models"])
def test_a_home_or_a_relative_directory_on_the_line_is_found(
    typed: str, filled: Path, tmp_path: Path
) -> None:
    (tmp_path / "models").symlink_to(filled)
    result = subprocess.run(
        [require("bash"), "--norc", "-c", f". '{COMPLETIONS}/hubcli.bash'; _hubcli_handles '{typed}'"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(result.stdout.splitlines()) == 3


def test_each_model_is_offered_once_and_what_is_gone_is_not(filled: Path, tmp_path: Path) -> None:
    removed = tensorflow_hub_entry(filled, "https://tfhub.dev/google/gone/1")
    shutil.rmtree(removed.model)
    gut_entry(hubcli_entry(filled, "https://tfhub.dev/google/gutted/1"))
    alias_link(filled, "https://elsewhere.example/alias/1", key_of(HANDLE))
    put_descriptor(filled, "https://twice.example/1", f"Module: {HANDLE}\n")
    offered = fish_offers(["hubcli rm "], filled, tmp_path)[0]
    words = [word for word, _ in offered]
    assert sorted(words) == sorted([HANDLE, OTHER, FOREIGN, "https://tfhub.dev/google/gutted/1"])


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_sizes_are_shown_as_ls_shows_them(shell: str, filled: Path, tmp_path: Path) -> None:
    with shell_at_work(shell, tmp_path, filled) as running:
        running.type(f"hubcli rm https://tfhub.dev/{TAB}{TAB}")
        running.wait_for("374 MB", "1.3 MB", "elmo/3", "nnlm-en-dim50/2")


@each_of("size_bytes", [0, 999, 1000, 999_499, 999_500, 99_949_999, 99_950_000, 10**15])
def test_a_size_is_written_as_hubcli_writes_it(size_bytes: int, tmp_path: Path) -> None:
    from hubcli.units import format_size

    put_descriptor(tmp_path, HANDLE)
    (tmp_path / f"{key_of(HANDLE)}.hubcli.json").write_text(
        f'{{\n "archive": {{\n  "size": 5\n }},\n "files": [\n  {{\n   "size": {size_bytes},\n  }}\n ]\n}}\n'
    )
    assert fish_offers(["hubcli rm h"], tmp_path, tmp_path) == [[(HANDLE, format_size(size_bytes))]]


@each_of("kind", ["fifo", "device"])
def test_a_record_that_never_ends_does_not_hold_up_the_shell(kind: str, tmp_path: Path) -> None:
    cache = tmp_path / kind
    for handle in (HANDLE, OTHER):
        put_descriptor(cache, handle)
    record = cache / f"{key_of(OTHER)}.hubcli.json"
    if kind == "fifo":
        os.mkfifo(record)
    else:
        record.symlink_to("/dev/zero")
    assert fish_offers(["hubcli rm h"], cache, tmp_path) == [[(HANDLE, "")]]


@pytest.mark.parametrize("awk", ["mawk", "gawk", "original-awk", "busybox awk"])
def test_handles_are_read_by_every_awk(awk: str, filled: Path, tmp_path: Path) -> None:
    program = require(awk.split()[0])
    own = tmp_path / "own"
    own.mkdir()
    (own / "awk").write_text(f'#!/bin/sh\nexec {" ".join([program, *awk.split()[1:]])} "$@"\n')
    (own / "awk").chmod(0o755)
    result = subprocess.run(
        [require("sh"), "-c", SH_PROGRAM, "hubcli", str(filled), AWK_PROGRAM, "1"],
        env={**os.environ, "PATH": f"{own}:{os.environ['PATH']}", "hubcli_typed": "https://tfhub"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(result.stdout.splitlines()) == [f"{HANDLE}\t374 MB", f"{OTHER}\t1.3 MB"]


# --- What is inserted, and what must not run


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_a_handle_on_a_terminal(shell: str, filled: Path, tmp_path: Path) -> None:
    with shell_at_work(shell, tmp_path, filled) as running:
        running.type(f"hubcli inspect --tree https://tfhub.dev/google/e{TAB}{ENTER}")
        assert running.arguments() == ["inspect", "--tree", HANDLE]
        running.type(f"hubcli insp{TAB}{MUL[:8]}{TAB}{ENTER}")
        assert running.arguments() == ["inspect", MUL]
        running.type(f"hubcli ls --filter kin{TAB}TF1{ENTER}")
        assert running.arguments() == ["ls", "--filter", "kind=TF1"]
        running.type(f"hubcli export {HANDLE} out --format=tar.{TAB}{ENTER}")
        assert running.arguments() == ["export", HANDLE, "out", "--format=tar.gz"]
        running.type(f"hubcli verify egg{TAB}{ENTER}")
        assert running.arguments() == ["verify", "eggs.tar.gz"]


def test_tab_completes_a_handle_beside_bash_completion(filled: Path, tmp_path: Path) -> None:
    others = Path("/usr/share/bash-completion/bash_completion")
    if not others.is_file():
        pytest.skip("bash-completion isn't on this machine")
    with shell_at_work("bash", tmp_path, filled, before=f". {others}") as running:
        running.type(f"hubcli inspect https://tfhub.dev/google/e{TAB}{ENTER}")
        assert running.arguments() == ["inspect", HANDLE]
        running.type(f"hubcli rm '{HANDLE[:-4]}{TAB}{ENTER}")
        assert running.arguments() == ["rm", HANDLE]


@each_of("shell", SHELLS)
def test_a_hostile_handle_is_one_argument_and_runs_nothing(shell: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for handle in HOSTILE:
        put_descriptor(cache, handle)
    with shell_at_work(shell, tmp_path, cache) as running:
        for handle in HOSTILE:
            prefix = handle[: len("https://h.example/a")]
            running.type(f"hubcli rm {prefix}{TAB}{ENTER}")
            assert running.arguments() == ["rm", handle]
    assert "PWNED" not in os.listdir(tmp_path)


@pytest.mark.parametrize("shell", QUICK_SHELLS)
def test_what_could_command_a_terminal_is_not_offered(shell: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for handle in UNSPEAKABLE:
        put_descriptor(cache, handle)
    put_descriptor(cache, "https://h.example/control-free/1")
    put_descriptor(cache, "https://h.example/none", "no descriptor\n")
    put_descriptor(cache, "https://h.example/empty", "")
    put_descriptor(cache, "https://h.example/binary", "Module: \0\x01\n")
    os.mkfifo(cache / f"{'a' * 40}.descriptor.txt")
    (cache / ("a" * 40)).mkdir()
    (cache / "$(touch PWNED).descriptor.txt").touch()
    (cache / "a\n b.descriptor.txt").touch()
    with shell_at_work(shell, tmp_path, cache) as running:
        running.type(f"hubcli rm https://h.example/{TAB}{TAB}")
        running.wait_for("control-free")
        assert b"owned" not in running.screen
        assert b"\xe2\x80\xae" not in running.screen
        running.type(f"{KILL_LINE}hubcli rm https://h.example/c{TAB}{ENTER}")
        assert running.arguments() == ["rm", "https://h.example/control-free/1"]
    assert "PWNED" not in [*os.listdir(tmp_path), *os.listdir(cache)]


@pytest.mark.parametrize("shell", QUICK_SHELLS)
def test_a_cache_that_is_not_there_or_cannot_be_read_is_no_noise(shell: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "eggs.tar.gz").touch()
    for number, cache in enumerate((tmp_path / "nowhere", tmp_path / "file", tmp_path / "-")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "eggs.tar.gz").touch()
        with shell_at_work(shell, folder, cache) as running:
            running.type(f"hubcli inspect egg{TAB}{ENTER}")
            assert running.arguments() == ["inspect", "eggs.tar.gz"]
            assert "No such" not in running.text
            assert "cd:" not in running.text


def test_nothing_is_written(filled: Path, tmp_path: Path) -> None:
    def everything() -> list[tuple[str, int]]:
        return sorted((str(path), path.lstat().st_mtime_ns) for path in tmp_path.rglob("*"))

    before = everything()
    bash_offers(["hubcli inspect "], filled, tmp_path)
    assert everything() == before


# --- What it costs


def test_handles_are_read_without_python(filled: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "awk"):
        (tools / name).symlink_to(require(name))
    result = subprocess.run(
        [require("bash"), "--norc", "-c", f". '{COMPLETIONS}/hubcli.bash'; _hubcli_handles ''"],
        env={"PATH": str(tools), "HUBCLI_CACHE_DIR": str(filled)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert HANDLE in result.stdout


def test_a_thousand_entries_are_completed_in_a_moment(tmp_path: Path) -> None:
    """The bound of 50 ms is benchmarks/start.py's; this one holds on a busy machine too."""
    cache = tmp_path / "cache"
    for number in range(1000):
        put_descriptor(cache, f"https://tfhub.dev/maker/model-{number}/1")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    (offered,) = bash_offers(["hubcli inspect https://tfhub.dev/maker/"], cache, tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert len(offered) == 1000
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


# --- By a part of the handle


ELMO_2 = "https://tfhub.dev/google/elmo/2"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_part_of_the_handle_is_enough(shell: str, filled: Path, tmp_path: Path) -> None:
    with shell_at_work(shell, tmp_path, filled) as running:
        for typed, handle in (("elmo", HANDLE), ("ELMO/", HANDLE), ("dim50", OTHER), ("google/nn", OTHER)):
            running.type(f"hubcli rm {typed}{TAB}{ENTER}")
            assert running.arguments() == ["rm", handle]
        running.type(f"hubcli inspect --tree elm{TAB}{ENTER}")
        assert running.arguments() == ["inspect", "--tree", HANDLE]
        running.type(f"hubcli inspect eggs{TAB}{ENTER}")  # A file that begins so comes first.
        assert running.arguments() == ["inspect", "eggs.tar.gz"]


@pytest.mark.parametrize("shell", QUICK_SHELLS)
def test_a_part_that_several_hold_shows_them_and_loses_nothing(
    shell: str, filled: Path, tmp_path: Path
) -> None:
    hubcli_entry(filled, "https://models.example/other/my-elmo/1")
    with shell_at_work(shell, tmp_path, filled) as running:
        running.type(f"hubcli rm elmo{TAB}{TAB}")
        running.wait_for("google/elmo/3", "my-elmo/1")
        running.type(f"{KILL_LINE}hubcli rm ogle/elm{TAB}{ENTER}")
        assert running.arguments() == ["rm", HANDLE]


def test_bash_offers_handles_that_hold_the_word_where_nothing_begins_with_it(
    filled: Path, tmp_path: Path
) -> None:
    hubcli_entry(filled, ELMO_2)
    lines = [
        "hubcli rm elmo",
        "hubcli rm 'elmo",
        "hubcli inspect --diff=lmo/3",
        "hubcli rm xyzzy",
        "hubcli pin dev/",
    ]
    offered = bash_offers(lines, filled, tmp_path)

    assert set(offered[0]) == {ELMO_2, HANDLE}
    assert set(offered[1]) == {ELMO_2, HANDLE}
    assert offered[2] == [f"--diff={HANDLE}"]
    assert offered[3] == []
    assert set(offered[4]) >= {ELMO_2, HANDLE, OTHER}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_hostile_handle_found_by_a_part_is_one_argument_too(shell: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for handle in HOSTILE:
        put_descriptor(cache, handle)
    with shell_at_work(shell, tmp_path, cache) as running:
        for handle in HOSTILE[:3]:
            running.type(f"hubcli rm example/{handle[len('https://h.example/')]}{TAB}{ENTER}")
            assert running.arguments() == ["rm", handle]
    assert "PWNED" not in os.listdir(tmp_path)


# --- The config file, by which the cache is found


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ('cache-dir = "{}"', True),
        ("# mine\n\n  cache-dir='{}' # models\r\n", True),
        ('jobs = 2\n"cache-dir" = "{}"', True),
        ('cache-dir = "~/linked"', True),
        ('[other]\ncache-dir = "{}"', False),
        ('cache-dir = """{}"""', False),
        ('# cache-dir = "{}"', False),
        ('cache-dir = "$(touch PWNED)"', False),
        ("", False),
    ],
)
@pytest.mark.parametrize("awk", ["mawk", "busybox"])
def test_the_cache_of_the_config_file_is_found_without_python(
    awk: str, text: str, is_found: bool, filled: Path, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "uname"):
        (tools / name).symlink_to(require(name))
    (tools / "awk").symlink_to(require(awk))
    (tmp_path / "linked").symlink_to(filled)
    for place, named in (("default", False), ("elsewhere", True)):
        config = tmp_path / ".config" / "hubcli" / "config.toml" if not named else tmp_path / "other.toml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(text.format(filled))
        variables = {"PATH": str(tools), "HOME": str(tmp_path)}
        if named:
            variables["HUBCLI_CONFIG"] = str(config)
        result = subprocess.run(
            [require("bash"), "--norc", "-c", f". '{COMPLETIONS}/hubcli.bash'; _hubcli_handles '' ''"],
            env=variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert bool(result.stdout) is is_found, (place, result)
        config.unlink()
    assert "PWNED" not in os.listdir(tmp_path)
