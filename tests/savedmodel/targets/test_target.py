"""Targets as people write them: names, releases, lists, and what is refused."""

from __future__ import annotations

import pytest

from hubcli.errors import UsageError
from hubcli.savedmodel.targets.releases import op_releases
from hubcli.savedmodel.targets.target import TargetKind, parse_targets, target_names
from tests.cases import each_of


def _releases(text: str) -> tuple[str, ...]:
    (target,) = parse_targets(text)
    return target.releases


def test_a_release_stands_for_itself() -> None:
    assert _releases("tensorflow==2.15") == ("2.15",)


@each_of("text", ["tensorflow==2.15.1", "tensorflow == 2.15.*", "TensorFlow==2.15.0"])
def test_a_patch_release_and_spaces_change_nothing(text: str) -> None:
    assert _releases(text) == ("2.15",)


def test_a_comparison_stands_for_every_release_that_is_known() -> None:
    known = op_releases().releases
    assert _releases("tensorflow>=2.12") == known[known.index("2.12") :]
    assert _releases("serving<2.6") == ("2.4", "2.5")
    assert _releases("session<=2.5") == ("2.4", "2.5")
    assert _releases("tensorflow>2.20") == ("2.21",)


@each_of("name", target_names())
def test_a_name_alone_means_the_newest_release(name: str) -> None:
    assert _releases(name) == op_releases().releases[-1:]


def test_several_targets_are_divided_by_commas_and_told_once() -> None:
    targets = parse_targets("serving==2.19, litert,cpu,litert")
    assert [target.text for target in targets] == ["serving==2.19", "litert", "cpu"]
    assert [target.kind for target in targets] == [TargetKind.SERVING, TargetKind.LITERT, TargetKind.CPU]


@each_of(
    "text, message",
    [
        ("tensorflw==2.15", "Unknown target 'tensorflw==2.15'. Did you mean 'tensorflow'?"),
        ("", "Unknown target ''"),
        ("cpu,", "Unknown target ''"),
        ("tensorflow~=2.15", "Invalid target 'tensorflow~=2.15'"),
        ("tensorflow==2", "Invalid target 'tensorflow==2'"),
        ("tensorflow==2.15rc1", "Invalid target"),
        ("tensorflow>=2.12<2.15", "Invalid target"),
        ("tensorflow==99999999999999.1", "Invalid target"),
        ("tensorflow==1.15", "No known release fits 'tensorflow==1.15'"),
        ("tensorflow>2.21", "No known release fits"),
        ("litert==2.15", "The target litert takes no release"),
        ("hub.KerasLayer==0.16", "The target hub.KerasLayer takes no release"),
        (",".join(["cpu"] * 21), "--for takes up to 20 targets"),
        ("c" * 1001, "--for takes up to 20 targets"),
    ],
)
def test_what_is_no_target_is_refused_with_what_there_is(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_targets(text)
    assert message in error.value.message
    assert error.value.hint


def test_an_unknown_target_lists_all_names() -> None:
    with pytest.raises(UsageError) as error:
        parse_targets("onnx")
    assert all(name in error.value.hint for name in target_names())
