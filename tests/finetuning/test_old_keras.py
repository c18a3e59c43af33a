"""`finetune-export` of Keras 2 models as older releases wrote them: no training of theirs is refused."""

from __future__ import annotations

from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from hubcli.commands.finetune_export import FinetuneOptions, Method, finetune_export
from hubcli.commands.inspect import inspect
from hubcli.errors import UsageError
from hubcli.formats.bundles import Bundle
from hubcli.savedmodel.model import SavedModelInfo
from tests.installed import require_installed

require_installed("tf_keras")

if TYPE_CHECKING:
    from hubcli.finetuning.result import FinetuneResult

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

NAMES = ("2.4", "2.8", "2.11", "2.15")
# What models that the releases themselves wrote tell of the function.
SIGNATURES = {"2.4": "(*args)", "2.8": "(*args, **kwargs)", "2.11": "(*args, **kwargs)", "2.15": "(args_0)"}


class Models(Protocol):
    def __call__(self, release: str) -> Path: ...


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    from tests.savedmodel import old_keras

    folder = tmp_path_factory.mktemp("old")

    @once
    def base(is_legacy: bool) -> Path:
        return old_keras.save_base(folder / f"base-{is_legacy}", is_legacy=is_legacy)

    @once
    def model(name: str) -> Path:
        release = old_keras.RELEASES[name]
        return old_keras.written_by(release, base(release.is_legacy), folder / name)

    return model


def info_of(model: Path) -> SavedModelInfo:
    return inspect(str(model)).info


def values_of(model: Path) -> dict[str, bytes]:
    """The bytes of every variable by its checkpoint key."""
    tensors = Bundle.open(model / "variables", "variables").values()
    return {
        key: b"".join(tensor.pieces()) for key, tensor in tensors.items() if not key.startswith("_CHECKPOINT")
    }


def trained(model: Path, out: Path, script: Path, method: Method) -> FinetuneResult:
    options = FinetuneOptions(train=f"{script}:add", arguments={"by": 0.5}, method=method)
    return finetune_export(str(model), out / "tuned", options=options)


@pytest.mark.parametrize(
    "release", [pytest.param(name, marks=() if name == "2.8" else pytest.mark.slow) for name in NAMES]
)
def test_a_training_of_a_keras_2_model_is_saved_again(
    release: str, models: Models, script: Path, out: Path
) -> None:
    source = models(release)
    functions = {function.path: function.python_signature for function in info_of(source).functions}
    assert functions["_default_save_signature"] == SIGNATURES[release]
    assert sum(variable.is_slot for variable in info_of(source).variables) >= 8
    result = trained(source, out, script, Method.AUTO)
    assert (result.method, result.requested_method) == (Method.RESAVE, Method.AUTO)
    assert result.staged_model is not None
    assert result.staged_model.reason == ""
    assert len(result.staged_model.values.changed) == result.staged_model.values.trainable == 6
    assert any(call.startswith("__call__") for call in result.staged_model.compared)
    paths = {variable.path for variable in info_of(source).variables if not variable.is_slot}
    assert paths <= {variable.path for variable in info_of(out / "tuned").variables}
    assert list(out.iterdir()) == [out / "tuned"]


def test_slots_that_share_a_name_keep_their_values_and_are_never_mixed_up(
    models: Models, script: Path, out: Path
) -> None:
    source = models("2.8")
    slots = [variable for variable in info_of(source).variables if variable.is_slot]
    assert len({slot.path for slot in slots}) < len(slots)
    trained(source, out, script, Method.REWRITE)
    before, after = values_of(source), values_of(out / "tuned")
    assert {slot.checkpoint_key for slot in slots} <= before.keys()
    assert all(after[str(slot.checkpoint_key)] == before[str(slot.checkpoint_key)] for slot in slots)
    changed = {key for key in before if before[key] != after[key]}
    assert len(changed) == 6


def test_weights_of_a_model_with_slots_are_found_and_its_slots_are_named_by_keys(
    models: Models, script: Path, out: Path, tmp_path: Path
) -> None:
    source = models("2.8")
    trained(source, out, script, Method.AUTO)
    options = FinetuneOptions(weights=out / "tuned")
    result = finetune_export(str(source), tmp_path / "again", options=options)
    assert result.method is Method.REWRITE
    assert result.staged_model is not None
    assert len(result.staged_model.values.changed) == 6
    slot = next(
        variable
        for variable in info_of(source).variables
        if variable.is_slot and variable.path.endswith("w/m")
    )
    (tmp_path / "map").write_text(f"{slot.path} = {slot.checkpoint_key}\n", encoding="utf-8")
    named = FinetuneOptions(weights=source, map_file=tmp_path / "map", allow_unchanged=True)
    with pytest.raises(UsageError, match="2 variables of .* have the path") as caught:
        finetune_export(str(source), tmp_path / "third", options=named)
    assert "Use the key" in caught.value.hint
