"""The table of releases: what it says of ops, attributes and types that are known to have come or gone."""

from __future__ import annotations

from pathlib import Path

import hubcli
from hubcli.formats.tensor_layout import DTYPE_ENUM
from hubcli.savedmodel.nodes import op_classes
from hubcli.savedmodel.targets.releases import (
    OpReleases,
    described_unknown_op,
    module_of,
    op_releases,
    package_by_op,
    pip_command,
    release_key,
)

TABLE = Path(hubcli.__file__).parent / "savedmodel" / "targets" / "op_releases.tsv.gz"


def _has(op: str, release: str) -> bool:
    table = op_releases()
    return table.has(op, table.place(release))


def test_every_release_from_2_4_to_2_21_is_there_in_order() -> None:
    releases = op_releases().releases
    assert releases == tuple(f"2.{minor}" for minor in range(4, 22))
    assert sorted(releases, key=release_key) == list(releases)


def test_ops_come_and_go() -> None:
    assert not _has("DisableCopyOnRead", "2.9")
    assert _has("DisableCopyOnRead", "2.10")
    assert _has("DisableCopyOnRead", "2.21")
    assert _has("TfLiteSubgraphExecute", "2.18")
    assert not _has("TfLiteSubgraphExecute", "2.19")
    assert op_releases().span("CaseFoldUTF8") is None


def test_every_op_that_the_scan_knows_is_one_of_the_newest_release() -> None:
    newest = op_releases().releases[-1]
    # TensorFlow's Python package registers three more, in libraries that it loads when they are used.
    assert len([op for op in op_classes() if not _has(op, newest)]) <= 3


def test_later_attributes_have_their_defaults() -> None:
    table = op_releases()
    policy = table.later_attributes("GatherNd")["bad_indices_policy"]
    assert (table.releases[policy.first], policy.default) == ("2.17", b"\x12\x00")
    assert set(table.later_attributes("MatMul")) == {"grad_a", "grad_b"}
    assert table.later_attributes("Abs") == {}


def test_allowed_types_change() -> None:
    table = op_releases()
    text = DTYPE_ENUM["DT_STRING"]
    changes = table.allowed_types("AsString")["T"]
    assert [text in (types or ()) for _, types in changes] == [False] * (len(changes) - 1) + [True]
    assert table.allowed_types("Identity") == {}


def test_element_types_come_with_a_release() -> None:
    table = op_releases()
    assert table.type_span(DTYPE_ENUM["DT_FLOAT"]) == 0
    int4 = table.type_span(DTYPE_ENUM["DT_INT4"])
    assert int4 is not None
    assert "2.13" < table.releases[int4] <= "2.15"
    assert table.type_span(99) is None


def test_kernels_for_cpus_go_before_their_op() -> None:
    table = op_releases()
    assert {"2.12", "2.21"} <= table.lacks_kernel("BoostedTreesBucketize")
    assert "2.8" not in table.lacks_kernel("BoostedTreesBucketize")
    assert table.lacks_kernel("MatMul") == frozenset()


def test_the_table_is_small() -> None:
    assert TABLE.stat().st_size < 24_000


def test_a_table_of_two_releases_reads_as_it_says() -> None:
    table = OpReleases(
        "# releases\t2.4 2.5\ntype\tINT4\t2.5\nreference\tAssign\nNew\t2.5\nOld\t\t2.4\n"
        "Both\t\t\tx=2.5:2801\tT=2.4:1.3|2.5:*\n"
    )
    assert [table.has(op, place) for op in ("New", "Old", "Both") for place in (0, 1)] == [
        *(False, True),
        *(True, False),
        *(True, True),
    ]
    assert table.reference_ops == {"Assign"}
    assert table.allowed_types("Both") == {"T": ((0, frozenset({1, 3})), (1, None))}


def test_packages_are_named_with_their_line_for_pip() -> None:
    package = package_by_op()["CaseFoldUTF8"].split()[0]
    assert pip_command(package, "2.15") == "pip install 'tensorflow-text==2.15.*'"
    assert module_of(package) == "tensorflow_text"
    assert pip_command("tensorflow-io", "2.15") == "pip install tensorflow-io"


def test_an_unknown_op_is_told_with_who_has_it() -> None:
    assert described_unknown_op("CaseFoldUTF8") == "tensorflow-text has it"
    assert described_unknown_op("TfLiteSubgraphExecute") == "2.18 was the last release with it"
    assert described_unknown_op("OpOfNobody") == ""


def test_the_table_carries_no_time_so_that_it_is_made_alike_again() -> None:
    assert TABLE.read_bytes()[4:8] == bytes(4)
