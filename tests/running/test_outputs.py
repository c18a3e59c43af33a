"""Where results may be written: existing files are replaced only with --force."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.commands.run import RunResult
from hubcli.errors import OutputError
from hubcli.running.outputs import OutputForm, require_free, write_outputs
from hubcli.running.session import OutputBatch
from hubcli.tf.run_protocol import STRING, Tensor
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
