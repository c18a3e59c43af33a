"""Trained values on the disk until their export is there: where they go, and what errors tell of them."""

from __future__ import annotations

import shlex
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from hubcli.errors import HubcliError, Interrupted, OutputError, ValuesError
from hubcli.finetuning.kept_values import KeptValues

if TYPE_CHECKING:
    from hubcli.tf.live_model import TrainedValues


class Values:
    """Values that are one file; the first writes raise what is given."""

    def __init__(self, *raised: BaseException, is_finished: bool = True) -> None:
        self.raised = list(raised)
        self.is_finished = is_finished

    def write(self, prefix: Path) -> None:
        if self.raised:
            raise self.raised.pop(0)
        prefix.with_name("values.index").write_text("values")


def keeping(kept_values: KeptValues, values: Values) -> Path:
    kept_values.keep(cast("TrainedValues", values))
    assert kept_values.path is not None
    return kept_values.path


def kept_for(destination: Path, notes: list[str] | None = None) -> KeptValues:
    def command(path: Path, more: tuple[str, ...]) -> list[str]:
        return ["hubcli", "finetune-export", "a model", str(destination), "--weights", str(path), *more]

    return KeptValues(destination, command, (notes if notes is not None else []).append)


def test_they_stand_beside_the_destination_and_never_in_the_place_of_others(out: Path) -> None:
    (out / "tuned.trained-values").mkdir()  # Empty, and somebody's all the same.
    (out / "tuned.trained-values-2").write_text("a file")
    path = keeping(kept_for(out / "tuned"), Values())
    assert path == out / "tuned.trained-values-3"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert sorted(path.name for path in path.iterdir()) == ["README.txt", "values.index"]
    assert (
        f"hubcli finetune-export 'a model' {out / 'tuned'} --weights {path}"
        in (path / "README.txt").read_text()
    )
    assert list((out / "tuned.trained-values").iterdir()) == []


def test_an_interrupt_when_they_have_their_name_already_keeps_them_once(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupts = [KeyboardInterrupt()]

    def remove_tree(path: Path) -> None:
        assert not path.exists()  # It has its name.
        if interrupts:
            raise interrupts.pop()

    monkeypatch.setattr("hubcli.finetuning.kept_values.remove_tree", remove_tree)
    kept_values = kept_for(out / "tuned")
    with pytest.raises(KeyboardInterrupt):
        kept_values.keep(cast("TrainedValues", Values()))
    assert kept_values.path == out / "tuned.trained-values"
    assert list(out.iterdir()) == [kept_values.path]
    assert sorted(path.name for path in kept_values.path.iterdir()) == ["README.txt", "values.index"]


def test_they_go_where_they_can_be_written(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "temp"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    assert keeping(kept_for(out / "absent" / "tuned"), Values()).parent == tmp_path / "here"
    full = OSError(28, "No space left on device")
    assert keeping(kept_for(out / "tuned"), Values(full)).parent == tmp_path / "here"
    assert keeping(kept_for(out / "tuned"), Values(full, full)).parent == tmp_path / "temp"
    assert list(out.iterdir()) == []
    notes: list[str] = []
    kept_values = kept_for(out / "tuned", notes)
    kept_values.keep(cast("TrainedValues", Values(full, full, full)))
    assert kept_values.path is None
    assert "Cannot save the trained values" in notes[0]
    assert "No space left on device" in notes[0]


def test_without_a_temporary_directory_they_stand_beside_the_destination(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gettempdir() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", gettempdir)
    assert keeping(kept_for(out / "tuned"), Values()).parent == out
    notes: list[str] = []
    full = OSError(28, "No space left on device")
    kept_for(out / "tuned", notes).keep(cast("TrainedValues", Values(full, full)))
    assert "No space left on device; No usable temporary directory found" in notes[0]


def test_a_long_name_is_cut(out: Path) -> None:
    path = keeping(kept_for(out / ("é" * 120)), Values())
    assert path.is_dir()


def test_an_interrupt_while_they_are_written_waits_for_them(out: Path) -> None:
    kept_values = kept_for(out / "tuned")
    with pytest.raises(Interrupted) as caught, kept_values.named_in_errors():
        kept_values.keep(cast("TrainedValues", Values(KeyboardInterrupt())))
    assert caught.value.trained_values == str(out / "tuned.trained-values")
    assert [path.name for path in out.iterdir()] == ["tuned.trained-values"]


@pytest.mark.parametrize(
    ("raised", "kind", "option"),
    [
        (OutputError("It Cannot write", hint="Name another place"), OutputError, ""),
        (ValuesError("NaN", hint="Allow it: --allow-nan."), ValuesError, "--allow-nan"),
        (KeyboardInterrupt(), Interrupted, ""),
        (ZeroDivisionError("of ours"), HubcliError, ""),
    ],
)
def test_whatever_is_raised_names_them_and_the_command(
    raised: BaseException, kind: type[HubcliError], option: str, out: Path
) -> None:
    kept_values = kept_for(out / "tuned")
    keeping(kept_values, Values(is_finished=False))
    with pytest.raises(kind) as caught, kept_values.named_in_errors():
        raise raised
    error = caught.value
    assert str(error) == error.message
    assert error.message.endswith(
        f"; the values of the unfinished training are kept in {out / 'tuned.trained-values'}"
    )
    assert error.export_command is not None
    assert error.hint.endswith(f"To export the kept values: {error.export_command}")
    assert (shlex.split(error.export_command)[-1] == option) is bool(option)


def test_nothing_is_told_where_nothing_is_kept(out: Path) -> None:
    for raised in (OutputError("It Cannot write"), KeyboardInterrupt(), ZeroDivisionError()):
        with pytest.raises(type(raised)) as caught, kept_for(out / "tuned").named_in_errors():
            raise raised
        assert caught.value is raised


def test_they_go_once_the_export_is_there(out: Path) -> None:
    kept_values = kept_for(out / "tuned")
    keeping(kept_values, Values())
    kept_values.discard()
    assert list(out.iterdir()) == []
