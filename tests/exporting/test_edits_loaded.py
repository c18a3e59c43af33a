"""Each edit on every model of corpus and zoo: both loaders load it, and it gives what the source gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hubcli.errors import HubcliError, InputError, UsageError, ValuesError
from hubcli.exporting.comparing import difference, working_inputs
from hubcli.exporting.editing import EditOptions, plan_edits
from hubcli.formats import HalfType
from hubcli.running.model_process import LoadedModel, ModelProcess
from hubcli.savedmodel.edit.editable import EditableModel
from hubcli.tf.compare import vocabulary
from tests.corpus import KINDS, corpus_model
from tests.savedmodel.zoo import SPECIMENS, build

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

_EDITS = {
    "renamed": EditOptions(clear_devices=True),
    "serving": EditOptions(serving=True, clear_devices=True),
    "half": EditOptions(serving=True, half=HalfType.BFLOAT16),
    "half in whole": EditOptions(half=HalfType.FLOAT16),
}
_TOLERANCE = {"half": 0.03, "half in whole": 0.01}
# Models whose signatures loop for ever on made-up inputs.
_ENDLESS = frozenset({"tf1_functions"})
# What --half refuses, in the words of its errors.
_REFUSED = (
    "--half needs",
    "no float32 variables",
    "assigns to a float32",
    "may use a float32",
    "beyond",
    "is partitioned",
    "NaN",
)


@pytest.fixture(scope="module")
def loaders() -> Iterator[list[ModelProcess]]:
    with ModelProcess("c", 120) as session, ModelProcess("python", 120) as python:
        yield [session, python]


def _model(name: str, tmp_path: Path) -> Path:
    if name in KINDS:
        return corpus_model(name)
    build(name, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("name", [*KINDS, *SPECIMENS])
def test_an_edited_model_gives_what_its_source_gives(
    name: str, tmp_path: Path, loaders: list[ModelProcess]
) -> None:
    source = _model(name, tmp_path)
    if not (source / "saved_model.pb").is_file():
        pytest.skip("hubcli edits saved_model.pb alone")
    names = EditableModel.parse((source / "saved_model.pb").read_bytes()).signature_names
    exports: dict[str, tuple[Path, dict[str, str]]] = {}
    for edit, options in _EDITS.items():
        if edit == "renamed":
            options = EditOptions(clear_devices=True, renames={own: f"{own}_renamed" for own in names})
        if options.serving and not names:
            continue
        refusal = None
        try:
            plan = plan_edits(source, options)
            plan.write(tmp_path / edit)
            exports[edit] = (tmp_path / edit, plan.signatures)
        except (UsageError, ValuesError) as error:
            refusal = error
        if refusal is not None:
            assert options.half is not None, refusal
            assert any(words in refusal.message for words in _REFUSED), refusal
    assert "renamed" in exports
    for process in loaders:
        _compare(name, source, exports, process)


def _compare(
    name: str, source: Path, exports: dict[str, tuple[Path, dict[str, str]]], process: ModelProcess
) -> None:
    words = vocabulary(source)
    for edit, (export, names) in exports.items():
        try:
            before = process.load(source)  # Anew: a signature may have changed its variables.
        except HubcliError:
            return  # This loader doesn't load the source, either.
        after = process.load(export)
        for old, new in names.items():
            if old in before.signatures and name not in _ENDLESS:
                _require_equal(before, old, after, new, words, edit)
        after.close()
        before.close()


def _require_equal(
    before: LoadedModel, old: str, after: LoadedModel, new: str, words: tuple[str, ...], edit: str
) -> None:
    try:
        inputs, expected = working_inputs(before, before.signatures[old], words)
    except InputError:
        return  # What can't be called in the source can't be compared.
    actual = after.call(new, inputs)
    apart = difference(expected, actual)
    if apart > _TOLERANCE.get(edit, 0.0):
        again = before.call(old, inputs)
        assert difference(expected, again) > 0, f"{edit}: {new} differs by {apart}"
