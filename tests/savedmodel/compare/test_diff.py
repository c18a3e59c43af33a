"""What differs between two models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hubcli.formats.checksums import unmask_crc32c
from hubcli.savedmodel.compare.diff import Difference, compare
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.reader import read_model
from tests.formats.tables import bundle_entry, index_of
from tests.savedmodel.conftest import Zoo
from tests.savedmodel.protos import FLOAT, Objects, Spec, asset_file, call_signature, index, meta_graph, read

X = Spec(FLOAT, (None, 2))


def differences(folder: Path, left: Any, right: Any, **files: tuple[bytes, bytes]) -> list[Difference]:
    """Between models of those MetaGraphs, or lists of them, with those indexes."""
    changes = []
    for name, graphs, place in (("left", left, 0), ("right", right, 1)):
        listed = graphs if isinstance(graphs, list) else [graphs]
        more = {key: pair[place] for key, pair in files.items()}
        changes.append(read(folder / name, *listed, **more))  # type: ignore[arg-type]
    return list(compare(*changes))


def with_function(*variants: Any, parameters: tuple[str, ...] = ("x",)) -> Any:
    objects = Objects()
    names = [objects.concrete(f"f{place}", *args) for place, args in enumerate(variants)]
    objects.function("f", *names, parameters=parameters)
    return meta_graph(None, objects)


def with_variable(name: str = "v", **more: Any) -> Any:
    objects = Objects()
    variable = objects.variable(name, **more)
    objects.list_of("variables", [variable])
    return meta_graph(None, objects)


def test_equal_models_differ_in_nothing(tmp_path: Path) -> None:
    assert differences(tmp_path, with_function([X]), with_function([X])) == []


def test_formats_differ(tmp_path: Path) -> None:
    found = differences(tmp_path, meta_graph(), meta_graph(None, Objects()))
    assert found == [Difference("format", "", "tf1", "tf2")]


def test_releases_differ(tmp_path: Path) -> None:
    found = differences(tmp_path, meta_graph(version="2.20"), meta_graph(version=""))
    assert found == [Difference("version", "", "2.20", "unknown")]


def test_signatures_differ(tmp_path: Path) -> None:
    left = meta_graph(signature_def={"a": call_signature("o:0"), "same": call_signature("o:0")})
    right = meta_graph(signature_def={"b": call_signature("o:0"), "same": call_signature("other:0")})
    found = differences(tmp_path, left, right)
    assert [(difference.name, difference.left is None, difference.right is None) for difference in found] == [
        ("a", False, True),
        ("b", True, False),
    ]


def test_signatures_of_several_graphs_go_by_their_tags(tmp_path: Path) -> None:
    graphs = [meta_graph(tags=(tag,), signature_def={"s": call_signature("o:0")}) for tag in ("one", "two")]
    found = differences(tmp_path, graphs, [graphs[0], meta_graph(tags=("two",))])
    assert [difference.name for difference in found] == ["two:s"]


def test_one_graph_more_leaves_the_signatures_of_the_others_alone(tmp_path: Path) -> None:
    graphs = [meta_graph(tags=(tag,), signature_def={"s": call_signature("o:0")}) for tag in ("one", "two")]
    found = differences(tmp_path, graphs[0], graphs)
    assert [difference for difference in found if difference.right is None] == []


def test_functions_and_their_variants_differ(tmp_path: Path) -> None:
    found = differences(tmp_path, with_function([X]), with_function([X], [Spec(FLOAT, (1,))]))
    assert found == [Difference("function", "f(float32[1]) -> float32[?, 2]", None, "traced")]
    found = differences(tmp_path, with_function([X]), with_function([X], parameters=("y",)))
    assert found == [Difference("function", "f", "(x)", "(y)")]
    found = differences(tmp_path, with_function([X]), meta_graph(None, Objects()))
    assert found == [Difference("function", "f", "(x)", None)]


def test_variables_differ_by_type_shape_training_and_list(tmp_path: Path) -> None:
    changes: tuple[dict[str, Any], ...] = ({"dtype": 2}, {"shape": (3,)}, {"trainable": False})
    for place, more in enumerate(changes):
        found = differences(tmp_path / str(place), with_variable(), with_variable(**more))
        assert [difference.part for difference in found] == ["variable"]
    objects = Objects()
    objects.variable("v")
    found = differences(tmp_path / "list", with_variable(), meta_graph(None, objects))
    assert found[0].right == "float32[2], trainable, not in the list `variables`"


def _masked_note(masked: int) -> str:
    return f"crc32c {unmask_crc32c(masked):08x}"


def test_values_differ_by_checksum(tmp_path: Path) -> None:
    indexes = (index(v=(FLOAT, (2,), 1)), index(v=(FLOAT, (2,), 2)))
    found = differences(tmp_path, with_variable(), with_variable(), index_bytes=indexes)
    assert found == [Difference("value", "v", _masked_note(1), _masked_note(2))]


def test_values_of_variables_of_another_shape_are_not_compared(tmp_path: Path) -> None:
    indexes = (index(v=(FLOAT, (2,), 1)), index(v=(FLOAT, (3,), 2)))
    found = differences(tmp_path, with_variable(), with_variable(shape=(3,)), index_bytes=indexes)
    assert [difference.part for difference in found] == ["variable"]


def test_a_value_that_one_lacks_differs(tmp_path: Path) -> None:
    indexes = (index(v=(FLOAT, (2,), 1)), index(w=(FLOAT, (2,), 1)))
    found = differences(tmp_path, with_variable(), with_variable(), index_bytes=indexes)
    assert Difference("value", "v", _masked_note(1), None) in found


def test_values_that_no_variable_claims_differ(tmp_path: Path) -> None:
    indexes = tuple(index_of([(b"t", bundle_entry(0, 0, 4) + b"\x35" + bytes([n, 0, 0, 0]))]) for n in (1, 2))
    assert differences(tmp_path, meta_graph(), meta_graph(), index_bytes=indexes) != []  # type: ignore[arg-type]


def test_assets_differ(tmp_path: Path) -> None:
    declared = meta_graph(asset_file_def=[asset_file("a:0", "v")])
    files = ({"assets/v": b"12"}, {"assets/v": b"123"})
    found = differences(tmp_path, declared, declared, files=files)  # type: ignore[arg-type]
    assert found == [Difference("asset", "assets/v", "2 bytes", "3 bytes")]
    found = differences(tmp_path / "b", declared, meta_graph())
    assert found == [Difference("asset", "assets/v", "missing", None)]


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["two_shards", "split_variables"])
def test_values_that_are_cut_otherwise_are_the_same(name: str, zoo: Zoo, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    loaded = tf.saved_model.load(str(zoo(name)))
    tf.saved_model.save(loaded, str(tmp_path / "again"), signatures=loaded.signatures)
    infos = [read_model(ModelFiles.of_directory(model)) for model in (zoo(name), tmp_path / "again")]
    assert [difference for difference in compare(*infos) if difference.part in ("variable", "value")] == []
