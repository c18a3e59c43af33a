"""Where a model goes: by the layout, by its handle, by names that were given."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.errors import UsageError
from hubcli.exporting import ExportFormat, Layout
from hubcli.exporting.destination import Placement
from hubcli.providers.handle import Handle
from tests.cases import each_of

DEST = Path("dest")
KAGGLE = "https://www.kaggle.com/models/google/bert/tensorFlow2/en-uncased/3"


def place(
    layout: Layout,
    handle: str | None = None,
    name: str | None = None,
    version: str | None = None,
    form: ExportFormat | None = None,
) -> str:
    parsed = None if handle is None else Handle.parse(handle)
    placement = Placement.of(DEST, layout, form, handle=parsed, name=name, version=version)
    assert placement.layout is layout
    return placement.place.as_posix()


@each_of(
    "name, form",
    [
        ("model", "dir"),
        ("model.d", "dir"),
        ("model.v1.2", "dir"),
        ("model.tar.gz", "tar.gz"),
        ("MODEL.TGZ", "tar.gz"),
        ("model.tar", "tar"),
    ],
)
def test_the_name_of_the_destination_tells_the_format(name: str, form: str) -> None:
    assert Placement.plain(Path(name), None).format.value == form


@each_of("form", list(ExportFormat))
@each_of("name", ["model", "model.tar.gz", "model.zip"])
def test_a_format_that_was_given_stands(name: str, form: ExportFormat) -> None:
    assert Placement.plain(Path(name), form).format is form


@each_of("name", ["a.zip", "a.tar.bz2", "a.tar.xz", "a.tar.zst", "a.pb.gz", "A.ZIP"])
def test_a_name_that_promises_another_packing_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="unsupported format"):
        Placement.plain(Path(name), None)


@each_of(
    "handle, serving, hub",
    [
        ("https://tfhub.dev/google/nnlm/2", "dest/nnlm/2", "dest/google/nnlm/2"),
        (
            "http://tfhub.dev/google/imagenet/resnet/classification/5/",
            "dest/imagenet_resnet_classification/5",
            "dest/google/imagenet/resnet/classification/5",
        ),
        (KAGGLE, "dest/bert_tensorFlow2_en-uncased/3", "dest/google/bert/tensorFlow2/en-uncased/3"),
        ("http://models.example:8080/maker/model/1", "dest/model/1", "dest/maker/model/1"),
    ],
)
def test_a_handle_tells_name_and_version(handle: str, serving: str, hub: str) -> None:
    assert place(Layout.SERVING, handle) == serving
    assert place(Layout.HUB, handle) == hub


def test_the_built_in_example_has_no_publisher() -> None:
    assert place(Layout.SERVING, "example://mul/1") == "dest/mul/1"
    with pytest.raises(UsageError, match="missing the publisher") as caught:
        place(Layout.HUB, "example://mul/1")
    assert caught.value.hint == "Use --name PUBLISHER/mul."


def test_what_is_given_stands_before_what_the_handle_tells() -> None:
    handle = "https://tfhub.dev/google/nnlm/2"
    assert place(Layout.SERVING, handle, "other", "7") == "dest/other/7"
    assert place(Layout.HUB, handle, "maker/other", "7") == "dest/maker/other/7"
    assert place(Layout.HUB, handle, version="7") == "dest/google/nnlm/7"


@each_of("layout", [Layout.SERVING, Layout.HUB])
@each_of("source", ["/", "https://models.example/model.tar.gz"])
def test_a_source_without_name_and_version_needs_both(layout: Layout, source: str) -> None:
    with pytest.raises(UsageError, match="requires a version") as caught:
        place(layout, source, "maker/model")
    assert caught.value.hint == "Add --version N."
    with pytest.raises(UsageError, match="requires a name") as caught:
        place(layout, source, version="1")
    assert "--name" in caught.value.hint


@each_of("version", ["", "v1", "1.0", "-1", "../1", "1/2", "٣", "9" * 19])
def test_a_version_is_a_number(version: str) -> None:
    with pytest.raises(UsageError, match="Invalid version"):
        place(Layout.SERVING, None, "name", version)


@each_of("name", ["", "..", "a/..", "../a", "/a", "a/", "a//b", ".hidden/a", "a b", "a\nb", "a\\b"])
@each_of("layout", [Layout.SERVING, Layout.HUB])
def test_a_name_that_is_no_models_is_refused(layout: Layout, name: str) -> None:
    with pytest.raises(UsageError):
        place(layout, None, name, "1")


def test_serving_has_one_name_and_hub_two() -> None:
    with pytest.raises(UsageError, match="the serving layout has one name"):
        place(Layout.SERVING, None, "maker/model", "1")
    with pytest.raises(UsageError, match="missing the publisher"):
        place(Layout.HUB, None, "model", "1")


@pytest.mark.parametrize(("name", "version"), [("a", None), (None, "1")])
def test_the_plain_layout_takes_no_names(name: str | None, version: str | None) -> None:
    with pytest.raises(UsageError, match="requires a layout"):
        place(Layout.PLAIN, None, name, version)


def test_a_layout_has_its_format() -> None:
    handle = "https://tfhub.dev/google/nnlm/2"
    with pytest.raises(UsageError, match="writes directories"):
        place(Layout.SERVING, handle, form=ExportFormat.TAR_GZ)
    with pytest.raises(UsageError, match=r"writes tar.gz"):
        place(Layout.HUB, handle, form=ExportFormat.TAR)
    assert place(Layout.HUB, handle, form=ExportFormat.TAR_GZ)
    assert place(Layout.SERVING, handle, form=ExportFormat.DIRECTORY)
