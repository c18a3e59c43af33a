"""What a killed export leaves beside its destination is found and removed, and a living one never is."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hubcli.commands.export import export
from hubcli.config.settings import Settings
from hubcli.config.user_directories import export_records
from hubcli.errors import OutputError
from hubcli.exporting.staging import (
    Staging,
    StagingState,
    forget_removed,
    leftovers_in,
    recorded_folders,
    remove_leftovers_of,
)
from tests.conftest import Run
from tests.forkserver import Process, open_python
from tests.models import example_files, write_tree

_EXPORTING = """
import sys
from pathlib import Path
from hubcli.exporting.destination import staged_output
with staged_output(Path(sys.argv[1]), cache_root=Path("/nonexistent"), force=True) as staged:
    staged.mkdir()
    (staged / "half").write_bytes(bytes(1000))
    print("here", flush=True)
    sys.stdin.read()
"""


@contextmanager
def exporting(place: Path) -> Iterator[Process | subprocess.Popen[str]]:
    """A process in the middle of an export to the place; killed in the end."""
    with open_python(["-c", _EXPORTING, place], stdin=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "here\n"
        try:
            yield running
        finally:
            running.kill()


def beside(place: Path) -> list[str]:
    return sorted(name for name in os.listdir(place.parent) if name.endswith(".hubcli-tmp"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "room").mkdir()
    Path.home().mkdir()  # Exports that run are noted there.
    return tmp_path / "room" / "model"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "source", example_files())


@pytest.fixture
def killed(place: Path) -> Path:
    """The staging directory of an export to the place that was killed."""
    with exporting(place):
        pass
    (name,) = beside(place)
    return place.parent / name


def test_the_next_export_to_a_place_removes_what_a_killed_one_left(
    killed: Path, place: Path, model: Path, settings: Settings
) -> None:
    export(str(model), place.with_name("other"), settings)
    assert killed.exists()
    export(str(model), place, settings)
    assert not killed.exists()
    assert sorted(os.listdir(place.parent)) == ["model", "other"]


def test_a_living_export_to_the_same_place_is_left_alone(
    place: Path, model: Path, settings: Settings
) -> None:
    with exporting(place) as running:
        export(str(model), place, settings)
        assert len(beside(place)) == 1
        assert list(leftovers_in(place.parent)) == []
        out, _ = running.communicate("")
        assert running.returncode == 0, out
    assert beside(place) == []
    assert (place / "half").exists()


def test_doctor_finds_it_from_anywhere_and_removes_it_when_told(
    killed: Path, place: Path, hubcli: Run, tmp_path: Path
) -> None:
    assert recorded_folders() == (place.parent,)
    with exporting(place.with_name("alive")):
        found = hubcli("doctor", "--json")
        (check,) = [check for check in json.loads(found.stdout)["checks"] if check["name"] == "exports"]
        assert (check["status"], check["value"]) == ("warning", [str(killed)])
        assert "hubcli doctor --fix" in check["hint"]
        assert killed.exists()
        fixed = hubcli("doctor", "--fix")
        assert "1 leftover of interrupted exports" in fixed.stdout
        assert not killed.exists()
        assert len(beside(place)) == 1
        again = json.loads(hubcli("doctor", "--json").stdout)["checks"]
        assert "exports" not in [leftover["name"] for leftover in again]


def test_what_is_gone_is_forgotten_and_what_is_there_is_not(killed: Path, place: Path) -> None:
    records = export_records()
    assert records is not None
    with exporting(place.with_name("alive")):
        shutil.rmtree(killed)
        assert len(os.listdir(records)) == 2
        forget_removed()
        assert len(os.listdir(records)) == 1
        assert recorded_folders() == (place.parent,)


def test_doctor_looks_in_the_working_directory_too(killed: Path, place: Path) -> None:
    shutil.rmtree(Path.home() / ".local")
    result = subprocess.run(
        [sys.executable, "-m", "hubcli", "doctor", "--fix", "--cache-dir", str(place.parent / "cache")],
        cwd=place.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "removed 1 leftover of interrupted exports" in result.stdout, result.stderr
    assert not killed.exists()


def test_one_without_a_lock_is_told_and_never_removed(
    place: Path, model: Path, settings: Settings, hubcli: Run
) -> None:
    """As hubcli 0.1.0 made them, and as they are on file systems without locks."""
    old = place.with_name(".model.0123456789ab.hubcli-tmp")
    write_tree(old, {"new/saved_model.pb": b"x"})
    os.utime(old, (0, 0))
    export(str(model), place, settings)
    (leftover,) = leftovers_in(place.parent)
    assert (leftover.path, leftover.state) == (old, StagingState.UNKNOWN)
    assert leftover.remove() is False
    assert (old / "new" / "saved_model.pb").exists()


def test_what_was_moved_aside_to_be_replaced_goes_back(
    killed: Path, place: Path, model: Path, settings: Settings
) -> None:
    """Where a system can't exchange two names, there is a moment in which the place is empty."""
    write_tree(killed / "old", {"mine": b"work"})
    with pytest.raises(OutputError, match="not empty"):
        export(str(model), place, settings)
    assert (place / "mine").read_bytes() == b"work"
    assert not killed.exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["link", "fifo", "lock is a fifo", "lock is a link", "file", "other name"])
def test_what_only_looks_like_one_is_left_alone(kind: str, place: Path, killed: Path) -> None:
    name = place.with_name(".model.aaaaaaaaaaaa.hubcli-tmp")
    if kind == "link":
        name.symlink_to(write_tree(place.parent / "mine", {"lock": b""}))
    elif kind == "fifo":
        os.mkfifo(name)
    elif kind == "file":
        name.write_bytes(b"")
    elif kind == "other name":
        name = place.with_name(".model.AAAAAAAAAAAA.hubcli-tmp")
        write_tree(name, {"lock": b""})
    else:
        write_tree(name, {"new/x": b"", "elsewhere": b""})
        os.mkfifo(name / "lock") if "fifo" in kind else (name / "lock").symlink_to("elsewhere")
    remove_leftovers_of(place)
    assert os.path.lexists(name)
    assert not killed.exists()


def test_a_process_that_was_forked_off_keeps_it(place: Path) -> None:
    """The lock is that of the open file: processes that share it share it."""
    with Staging(place) as staging:
        staging.make()
        descriptor = os.dup(staging._descriptor)
    assert list(leftovers_in(place.parent)) == []
    os.close(descriptor)
    assert [path.state for path in leftovers_in(place.parent)] == [StagingState.DEAD]


def test_a_file_system_without_locks_is_written_all_the_same(
    place: Path, model: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patched, Staging(place) as staging:
        patched.setattr(fcntl, "flock", unable)
        staging.make()
        assert list(staging.path.iterdir()) == []
        export(str(model), place, settings)
    (leftover,) = leftovers_in(place.parent)  # By now locks can be had, and tell nothing of it.
    assert leftover.state is StagingState.UNKNOWN
    assert leftover.remove() is False  # It may be a process between its first two steps.


def test_an_empty_one_that_is_old_goes(place: Path) -> None:
    folder = place.with_name(".model.0123456789ab.hubcli-tmp")
    folder.mkdir()
    os.utime(folder, (0, 0))
    remove_leftovers_of(place)
    assert not folder.exists()


def test_many_at_once_never_take_each_other_for_dead(place: Path) -> None:
    """Each sweeps and makes its own at the same time as the others, some of which are abandoned."""
    failures: list[str] = []

    def write(number: int) -> None:
        for _ in range(10):
            remove_leftovers_of(place)
            with Staging(place) as staging:
                staging.make()
                (staging.path / "mine").write_bytes(b"x")
                remove_leftovers_of(place)
                if not (staging.path / "mine").exists() or not (staging.path / "lock").exists():
                    failures.append(str(staging.path))
                if number % 2:
                    staging.remove()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    remove_leftovers_of(place)
    assert beside(place) == []


def test_another_container_sees_that_it_lives(place: Path) -> None:
    """In a namespace of its own a process has a number that there is another's, or nobody's."""
    in_namespace = ["unshare", "--pid", "--fork", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*in_namespace, "true"], check=False).returncode:
        pytest.skip("needs the right to make a namespace of processes")
    look = (
        "import sys; from pathlib import Path; from hubcli.exporting.staging import *; "
        "print([one.state.value for one in leftovers_in(Path(sys.argv[1]))])"
    )
    command = [*in_namespace, sys.executable, "-c", look, str(place.parent)]
    with exporting(place) as running:
        assert subprocess.check_output(command, text=True) == "[]\n"
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert subprocess.check_output(command, text=True) == "['dead']\n"
