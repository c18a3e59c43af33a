"""Edited models as they are planned, written and proven, on the file alone."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.errors import BrokenModelError, ChecksumError, UsageError, ValuesError
from hubcli.exporting import comparing
from hubcli.exporting.comparing import EditComparison, difference
from hubcli.exporting.editing import EditOptions, EditPlan, plan_edits, prove, require_comparable
from hubcli.exporting.requests import signatures_of
from hubcli.formats import HalfType
from hubcli.formats.bundles import Bundle, write_index
from hubcli.formats.wire import encode_field
from hubcli.formats.wire_message import map_entry
from hubcli.savedmodel.checks.integrity import ModelCheck
from hubcli.savedmodel.edit.checkpoint import SourceCheckpoint
from hubcli.savedmodel.edit.editable import EditableModel
from hubcli.savedmodel.edit.signatures import rename_signatures
from hubcli.tf.run_protocol import Tensor
from tests.cases import each_of
from tests.corpus import KINDS, corpus_model
from tests.models import example_files, tree_files, write_tree

EVERYTHING = EditOptions(
    renames={"serving_default": "predict"},
    clear_devices=True,
    serving=True,
    half=HalfType.FLOAT16,
    warmup="3",
    defaults=("predict.x=[[2.5]]",),
    compare=False,
)


def test_edits_are_given_again_by_the_options_of_a_command_line() -> None:
    assert EVERYTHING.arguments == (
        "--rename-signature", "serving_default=predict", "--add-defaults", "predict.x=[[2.5]]",
        "--half", "float16", "--warmup", "3", "--clear-devices", "--serving", "--no-compare"
    )  # fmt: skip
    assert EditOptions(signatures=("a", "b"), tolerance=0.5).arguments == (
        "--signature", "a", "--signature", "b", "--tolerance", "0.5"
    )  # fmt: skip
    assert EditOptions(drops=("a",), allow_none=True).arguments == ("--drop-signature", "a", "--allow-none")
    assert EditOptions().arguments == ()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "model", example_files())


def written(source: Path, place: Path, options: EditOptions) -> EditPlan:
    """The plan, written, and whole."""
    plan = plan_edits(source, options)
    plan.write(place)
    prove(plan, place, options)
    assert [
        str(fault) for fault in ModelCheck(place, (), quick=True).run().faults if fault.code != "missing"
    ] == []
    return plan


def test_everything_at_once_is_what_was_planned(model: Path, tmp_path: Path) -> None:
    plan = written(model, tmp_path / "out", EVERYTHING)
    files = tree_files(tmp_path / "out")
    assert sorted(files) == [
        "assets.extra/tf_serving_warmup_requests",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    ]
    report = plan.report()
    assert report.signatures == {"serving_default": "predict"}
    assert {loss.kind for loss in report.losses} >= {
        "functions",
        "objects",
        "variables",
        "precision",
        "files",
    }
    assert len(files["variables/variables.data-00000-of-00001"]) == report.variables_after
    assert report.size_after <= sum(map(len, files.values())) < report.size_before
    port = signatures_of(plan.model)["predict"].inputs[0]
    assert port.default is not None
    assert struct.unpack("<f", port.default.data) == (2.5,)
    checkpoint = SourceCheckpoint.of(tmp_path / "out")
    assert checkpoint is not None
    assert checkpoint.float_keys() == frozenset()


def test_a_second_export_has_the_same_bytes(model: Path, tmp_path: Path) -> None:
    for place in ("first", "second"):
        written(model, tmp_path / place, EVERYTHING)
    assert tree_files(tmp_path / "first") == tree_files(tmp_path / "second")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("is_served", [False, True])
def test_real_models_are_written_whole_and_again_the_same(name: str, is_served: bool, tmp_path: Path) -> None:
    options = EditOptions(clear_devices=True, serving=is_served, compare=False)
    source = corpus_model(name)
    for place in ("first", "second"):
        written(source, tmp_path / place, options)
    before, after = tree_files(source), tree_files(tmp_path / "first")
    assert after == tree_files(tmp_path / "second")
    # Assets, and what stands beside the model, survive.
    for path, content in before.items():
        if path.startswith("assets"):
            assert after[path] == content


def test_another_form_of_the_graph_does_not_stay_beside_an_edited_one(model: Path, tmp_path: Path) -> None:
    (model / "saved_model.pbtxt").write_text("meta_graphs { }")
    written(model, tmp_path / "out", EditOptions(renames={"serving_default": "x"}, compare=False))
    assert "saved_model.pbtxt" not in tree_files(tmp_path / "out")


def test_an_edit_that_keeps_the_tensors_has_the_size_that_was_planned(model: Path, tmp_path: Path) -> None:
    plan = written(model, tmp_path / "out", EditOptions(renames={"serving_default": "x"}, compare=False))
    assert plan.report().size_after == sum(map(len, tree_files(tmp_path / "out").values()))


@each_of("name", KINDS)
def test_a_renaming_that_is_undone_gives_the_bytes_back(name: str, tmp_path: Path) -> None:
    source = corpus_model(name)
    old = EditableModel.parse((source / "saved_model.pb").read_bytes()).signature_names
    # A turn of all names, each of another length but one, and its inverse.
    new = {own: f"{own}{'x' * 200 * place}" for place, own in enumerate(old)}
    turned = dict(zip(old, [*old[1:], old[0]], strict=True))
    for place, renames in enumerate((new, turned)):
        there, back = tmp_path / f"there-{place}", tmp_path / f"back-{place}"
        written(source, there, EditOptions(renames=renames, compare=False))
        inverse = {value: key for key, value in renames.items()}
        written(there, back, EditOptions(renames=inverse, compare=False))
        expected = {path: data for path, data in tree_files(source).items() if path != "fingerprint.pb"}
        is_changed = any(key != value for key, value in renames.items())
        assert tree_files(back) == (expected if is_changed else tree_files(source))


@given(st.permutations(["first", "second", "third"]), st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_renaming_has_an_inverse(order: list[str], prefix: str) -> None:
    """Names are any text but those that TensorFlow keeps for itself."""
    names = ["first", "second", "third"]
    model = EditableModel.parse(
        encode_field(2, b"".join(encode_field(5, map_entry(name, b"\x1a\x01m")) for name in names))
    )
    renames = {old: prefix + new for old, new in zip(names, order, strict=True)}
    renamed = rename_signatures(model, renames).model
    assert renamed.signature_names == [prefix + name for name in order]
    back = rename_signatures(renamed, {new: old for old, new in renames.items()}).model
    assert back.encode() == model.encode()


def test_a_fingerprint_is_right_or_absent(model: Path, tmp_path: Path) -> None:
    written(model, tmp_path / "warm", EditOptions(warmup="1", compare=False))
    assert tree_files(tmp_path / "warm")["fingerprint.pb"] == example_files()["fingerprint.pb"]
    plan = written(model, tmp_path / "renamed", EditOptions(renames={"serving_default": "x"}, compare=False))
    assert "fingerprint.pb" not in tree_files(tmp_path / "renamed")
    assert [loss.text for loss in plan.losses] == ["Removed 1 file (99 B): fingerprint.pb"]


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b"\0" + data[1:]]
)
def test_a_file_that_is_not_what_was_planned_is_found(
    change: Callable[[bytes], bytes], model: Path, tmp_path: Path
) -> None:
    options = EditOptions(renames={"serving_default": "predict"}, compare=False)
    plan = written(model, tmp_path / "out", options)
    main = tmp_path / "out" / "saved_model.pb"
    main.write_bytes(change(main.read_bytes()))
    with pytest.raises(BrokenModelError):
        prove(plan, tmp_path / "out", options)


def test_warmup_requests_of_the_source_are_told_of(model: Path) -> None:
    place = model / "assets.extra" / "tf_serving_warmup_requests"
    place.parent.mkdir()
    place.write_bytes(b"old")
    replaced = plan_edits(model, EditOptions(warmup="1", compare=False)).report()
    assert [loss.names for loss in replaced.losses] == [("assets.extra/tf_serving_warmup_requests",)]
    renamed = plan_edits(model, EditOptions(renames={"serving_default": "predict"})).report()
    assert "its requests may name signatures that the export lacks" in renamed.notes[0]
    assert plan_edits(model, EditOptions(clear_devices=True)).report().notes == ()


def test_half_without_tensorflow_needs_no_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "has_tensorflow", lambda: False)
    with pytest.raises(UsageError, match="TensorFlow is not installed") as caught:
        require_comparable(EditOptions(half=HalfType.FLOAT16))
    assert "--no-compare" in caught.value.hint
    for options in (
        EditOptions(half=HalfType.FLOAT16, compare=False),
        EditOptions(half=HalfType.FLOAT16, dry_run=True),
        EditOptions(serving=True),
    ):
        require_comparable(options)


def test_a_plan_writes_nothing_and_leaves_its_source(model: Path, tmp_path: Path) -> None:
    before = tree_files(tmp_path)
    plan_edits(model, EVERYTHING).report()
    assert tree_files(tmp_path) == before


def test_a_model_in_text_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path / "text", {"saved_model.pbtxt": b"meta_graphs { }"})
    with pytest.raises(UsageError, match=r"in saved_model\.pbtxt, which hubcli cannot edit"):
        plan_edits(tmp_path / "text", EditOptions(clear_devices=True))


def test_a_damaged_model_gives_our_error(tmp_path: Path) -> None:
    files = example_files()
    write_tree(tmp_path / "cut", {**files, "saved_model.pb": files["saved_model.pb"][:-5]})
    with pytest.raises(BrokenModelError, match="exceeds its message"):
        plan_edits(tmp_path / "cut", EditOptions(clear_devices=True))


def test_a_damaged_tensor_is_found_while_it_is_copied(tmp_path: Path) -> None:
    files = example_files()
    shard = bytearray(files["variables/variables.data-00000-of-00001"])
    shard[-1] ^= 1
    source = write_tree(tmp_path / "bad", {**files, "variables/variables.data-00000-of-00001": bytes(shard)})
    with pytest.raises((ChecksumError, BrokenModelError)):
        plan_edits(source, EditOptions(serving=True)).write(tmp_path / "out")


def test_tensors_that_share_bytes_are_refused(model: Path, tmp_path: Path) -> None:
    """A small file could stand for any number of large tensors."""
    bundle = Bundle.open(model / "variables", "variables")
    entries = bundle.index.entries
    copy = bundle.index.by_name["v/.ATTRIBUTES/VARIABLE_VALUE"]._replace(key=b"zz")
    write_index(model / "variables" / "variables.index", 1, [*entries, copy])
    with pytest.raises(BrokenModelError, match="shares bytes with another tensor"):
        plan_edits(model, EditOptions(serving=True)).write(tmp_path / "out")


def test_half_needs_float32_variables() -> None:
    with pytest.raises(UsageError, match="--half requires a model of TensorFlow 2"):
        plan_edits(corpus_model("serving_half_plus_two"), EditOptions(half=HalfType.FLOAT16))


def test_half_refuses_what_assigns_to_weights() -> None:
    with pytest.raises(ValuesError, match="assigns to a float32 variable") as caught:
        plan_edits(corpus_model("basic_pitch_nmp"), EditOptions(half=HalfType.FLOAT16))
    assert "--serving" in caught.value.hint


def floats(*values: float) -> dict[str, list[Tensor]]:
    return {"y": [Tensor(1, (len(values),), struct.pack(f"<{len(values)}f", *values))]}


@each_of(
    "left, right, apart",
    [
        ((1.0, 2.0), (1.0, 2.0), 0.0),
        ((1.0, -4.0), (1.5, -4.0), 0.125),
        ((float("nan"), 2.0), (float("nan"), 2.0), 0.0),
        ((float("nan"), 2.0), (1.0, 2.0), float("inf")),
        ((1.0,), (1.0, 2.0), float("inf")),
        ((0.0,), (-0.0,), 5e-324),
        ((float("inf"), 2.0), (1.0, 2.0), float("inf")),
        ((float("inf"),), (float("-inf"),), float("inf")),
        ((3e38, float("inf")), (3e38, float("inf")), 0.0),
    ],
)
def test_the_distance_is_relative_to_the_largest_value(
    left: tuple[float, ...], right: tuple[float, ...], apart: float
) -> None:
    assert difference(floats(*left), floats(*right)) == apart


def test_texts_and_integers_are_equal_or_not() -> None:
    first, other = Tensor(7, (1,), [b"a"]), Tensor(7, (1,), [b"b"])
    assert difference({"y": [first]}, {"y": [first]}) == 0.0
    assert difference({"y": [first]}, {"y": [other]}) == float("inf")
    assert difference({"y": [first]}, {"z": [first]}) == float("inf")


def test_half_weights_of_a_model_that_nobody_could_call_need_a_word(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "has_tensorflow", lambda: True)
    monkeypatch.setattr(
        comparing, "compare_with_source", lambda *given: EditComparison(notes=("it changes each time",))
    )
    options = EditOptions(half=HalfType.BFLOAT16)
    plan = plan_edits(model, options)
    plan.write(tmp_path / "out")
    with pytest.raises(UsageError, match="no signature was called: it changes each time") as caught:
        prove(plan, tmp_path / "out", options)
    assert "--no-compare" in caught.value.hint
    assert prove(plan, tmp_path / "out", EditOptions(serving=True)).notes == ("it changes each time",)


@each_of(
    "edits, copied",
    [
        ({"clear_devices": True}, {"variables", "variables/variables.index", "assets/words.txt"}),
        ({"serving": True}, {"assets/words.txt"}),
        ({"half": HalfType.FLOAT16}, {"assets/words.txt"}),
    ],
)
def test_files_that_no_edit_changes_are_copied_as_they_are(edits: dict[str, Any], copied: set[str]) -> None:
    paths = {"saved_model.pb", "variables", "variables/variables.index", "assets/words.txt", "assets.extra/x"}
    assert {path for path in paths if EditOptions(**edits).copies(path)} == copied
