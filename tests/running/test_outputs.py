"""Where results may be written: existing files are replaced only with --force."""

from __future__ import annotations

import errno
import json
import os
import signal
import struct
import zipfile
from pathlib import Path

import pytest

from hubcli.commands.run import RunResult
from hubcli.errors import OutputError, UsageError
from hubcli.running import output_file as module
from hubcli.running.output_file import OutputForm, output_form, require_free, staged_file
from hubcli.running.outputs import write_outputs
from hubcli.running.session import OutputBatch
from hubcli.tf.run_protocol import STRING, Tensor
from tests.cases import each_of
from tests.running.ports import port, signature


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    folder = tmp_path / "arrays"
    folder.mkdir()
    (folder / "y.npy").touch()
    return folder


def test_an_output_of_a_result_is_found_by_its_name() -> None:
    result = RunResult("model", "signature serving_default", "c", "2.21.0", {"y": [[1.0]]}, 0.1, 0.1)
    assert result["y"] == [[1.0]]


def test_a_free_place_needs_no_force(tmp_path: Path) -> None:
    require_free(tmp_path / "y.npz", force=False)


def test_what_is_there_is_replaced_by_force_alone(arrays: Path) -> None:
    file = arrays / "y.npy"
    for path, is_directory in ((file, False), (arrays, True)):
        with pytest.raises(OutputError, match="already exists"):
            require_free(path, force=False, is_directory=is_directory)
        require_free(path, force=True, is_directory=is_directory)


def test_no_force_replaces_what_is_of_another_kind(arrays: Path) -> None:
    with pytest.raises(OutputError, match="is a directory"):
        require_free(arrays, force=True)
    with pytest.raises(OutputError, match="contains more than arrays"):
        require_free(arrays / "y.npy", force=True, is_directory=True)
    (arrays / "thesis.tex").touch()
    with pytest.raises(OutputError, match="contains more than arrays"):
        require_free(arrays, force=True, is_directory=True)


def test_texts_of_several_runs_are_one_array_as_wide_as_the_longest(tmp_path: Path) -> None:
    endpoint = signature(outputs=(port("y", "string", (None,)),))
    batches = [
        OutputBatch(((Tensor(STRING, (len(texts),), texts),),), len(texts), whole=False, seconds=())
        for texts in ([b"a", b"long text"], [b""])
    ]
    form = OutputForm("npy", tmp_path / "y.npy")
    assert write_outputs(form, endpoint, iter(batches), force=False) == 3
    content = form.path.read_bytes()
    assert b"'|S9'" in content
    assert content.endswith(b"a".ljust(9, b"\0") + b"long text" + bytes(9))


def batch_of(*parts: Tensor, rows: int = 1) -> OutputBatch:
    return OutputBatch(tuple((part,) for part in parts), rows, whole=False, seconds=())


def floats(*values: float, shape: tuple[int, ...] | None = None) -> Tensor:
    return Tensor(1, (len(values),) if shape is None else shape, struct.pack(f"<{len(values)}f", *values))


@each_of("kind", ["dir", "npz"])
def test_outputs_with_like_names_have_files_of_their_own(tmp_path: Path, kind: str) -> None:
    names = ["a/b", "a_b", "A:b", ".c", "c", "é" * 200, "é" * 201]
    endpoint = signature(outputs=tuple(port(name, shape=(None,)) for name in names))
    batch = batch_of(*(floats(number) for number in range(len(names))))
    form = OutputForm(kind, tmp_path / kind)
    write_outputs(form, endpoint, iter([batch]), force=False)
    if kind == "npz":
        with zipfile.ZipFile(form.path) as archive:
            written = [archive.read(member)[-4:] for member in archive.infolist()]
            assert archive.namelist()[:5] == ["a_b.npy", "a_b_2.npy", "A_b_3.npy", "c.npy", "c_2.npy"]
            assert len(set(map(str.casefold, archive.namelist()))) == len(names)
    else:
        written = [file.read_bytes()[-4:] for file in form.path.iterdir()]
    assert sorted(struct.unpack("<f", data)[0] for data in written) == list(range(len(names)))


def test_a_table_takes_neither_other_columns_nor_other_rows_later(tmp_path: Path) -> None:
    two = signature(outputs=(port("y", shape=(None, None)), port("loss", shape=())))
    matrix = floats(1, 2, 3, 4, shape=(2, 2))
    for endpoint, batches, message in (
        (two, [batch_of(matrix, floats(0, shape=()), rows=2)], "the outputs differ in their number of rows"),
        (
            signature(outputs=two.outputs[:1]),
            [batch_of(matrix, rows=2), batch_of(floats(1, 2, 3, shape=(1, 3)))],
            "its rows have 2 columns, then 3",
        ),
        (
            signature(outputs=two.outputs[1:]),
            [batch_of(floats(0, shape=()), rows=2), batch_of(floats(1, shape=()), rows=2)],
            "Cannot join the output loss of several runs",
        ),
    ):
        with pytest.raises(UsageError, match=message):
            write_outputs(OutputForm("csv", tmp_path / "y.csv"), endpoint, iter(batches), force=False)
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_numpy_would_shorten_is_not_written_as_an_array(tmp_path: Path) -> None:
    endpoint = signature(outputs=(port("y", "string", (None,)),))
    batch = batch_of(Tensor(STRING, (1,), [b"PNG\0"]))
    with pytest.raises(UsageError, match="NumPy drops the zero bytes at the end of its texts"):
        write_outputs(OutputForm("npz", tmp_path / "y.npz"), endpoint, iter([batch]), force=False)
    write_outputs(OutputForm("json", tmp_path / "y.json"), endpoint, iter([batch]), force=False)
    assert json.loads((tmp_path / "y.json").read_text()) == {"outputs": {"y": ["PNG\0"]}}


def test_what_is_not_a_regular_file_is_never_replaced(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe.npz", tmp_path / "link.npz"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        for is_directory in (False, True):
            with pytest.raises(OutputError, match="is not a regular file"):
                require_free(path, force=True, is_directory=is_directory)


def test_a_place_in_a_directory_that_is_missing_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="missing is not a directory") as refused:
        require_free(tmp_path / "missing" / "y.npz", force=False)
    assert refused.value.hint == "Create it, or use another path."


def test_a_dash_is_not_the_name_of_a_file() -> None:
    with pytest.raises(UsageError, match="--output writes files, not standard output"):
        output_form("-")
    assert output_form("./-").kind == "dir"


def test_a_directory_of_arrays_is_replaced_in_one_step(arrays: Path) -> None:
    (arrays / "old.npy").touch()
    endpoint = signature(outputs=(port("y", shape=(None,)),))
    write_outputs(OutputForm("dir", arrays), endpoint, iter([batch_of(floats(1))]), force=True)
    assert [file.name for file in arrays.iterdir()] == ["y.npy"]
    assert list(arrays.parent.iterdir()) == [arrays]


def test_neither_an_empty_name_nor_the_working_directory_is_an_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="--output is empty"):
        output_form(" ")
    monkeypatch.chdir(tmp_path)
    for name in (".", str(tmp_path), "../" + tmp_path.name):
        for force in (False, True):
            with pytest.raises(OutputError, match="is the working directory"):
                require_free(Path(name), force=force, is_directory=True)


def test_links_are_followed(tmp_path: Path, arrays: Path) -> None:
    (tmp_path / "file.json").touch()
    for link, target in (("link.json", "file.json"), ("link", "arrays")):
        (tmp_path / link).symlink_to(target)
        before = sorted(os.listdir(tmp_path))
        write(output_form(str(tmp_path / link)), force=True)
        assert (tmp_path / link).is_symlink()
        assert sorted(os.listdir(tmp_path)) == before
    assert json.loads((tmp_path / "file.json").read_text()) == {"outputs": {"y": [1.0]}}


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    for name in ("x" * 250 + ".json", "x" * 255):
        write(output_form(str(tmp_path / name)))
        assert name in os.listdir(tmp_path)


def test_what_another_process_writes_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = tmp_path / "y.json", tmp_path / "arrays"
    monkeypatch.setattr(module, "require_free", lambda *_arguments, **_options: None)
    file.write_text("another's")
    folder.mkdir()
    (folder / "another.npy").touch()
    for path in (file, folder):
        with pytest.raises(OutputError, match="was created by another process"):
            write(output_form(str(path)))
    assert file.read_text() == "another's"
    assert os.listdir(folder) == ["another.npy"]
    assert sorted(os.listdir(tmp_path)) == ["arrays", "y.json"]


@pytest.mark.parametrize("name", ["y.json", "arrays"])
def test_what_a_killed_run_left_is_removed_by_the_next_and_what_a_living_one_writes_is_not(
    name: str, tmp_path: Path
) -> None:
    place = tmp_path / name
    reading, writing = os.pipe()
    child = os.fork()
    if not child:  # It is killed while it writes.
        with staged_file(place, force=False, is_directory=name == "arrays"):
            os.write(writing, b"x")
            signal.pause()
    try:
        os.read(reading, 1)
        (staged,) = tmp_path.iterdir()
        os.utime(staged, (0, 0))
        write(output_form(str(place)))
        assert {staged, place} == set(tmp_path.iterdir())
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    write(output_form(str(place)), force=True)
    assert list(tmp_path.iterdir()) == [place]


def test_a_directory_that_cannot_be_moved_is_to_be_removed_first(
    arrays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crossing(_new: Path, _old: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(module, "exchange", crossing)
    with pytest.raises(OutputError, match=f"Cannot replace {arrays}: ") as refused:
        write(output_form(str(arrays)), force=True)
    assert refused.value.hint == f"Remove it first: rm -r {arrays}"
    assert os.listdir(arrays) == ["y.npy"]


def write(form: OutputForm, *, force: bool = False) -> None:
    endpoint = signature(outputs=(port("y", shape=(None,)),))
    write_outputs(form, endpoint, iter([batch_of(floats(1))]), force=force)
