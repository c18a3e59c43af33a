"""Findings about a model's files: missing and truncated shards, assets, links that lead out."""

from __future__ import annotations

from collections.abc import Iterator

from hubcli.formats.files import INDEX_FILE, MAIN_FILES
from hubcli.formats.tensor_bundle import BundleIndex
from hubcli.issues import Issue, Severity
from hubcli.savedmodel.checks.layout import climbs_out, shards_of
from hubcli.savedmodel.model import Asset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hubcli.savedmodel.files import ModelFiles
    from hubcli.savedmodel.variables import Variable

__all__ = ["find"]


def find(
    files: ModelFiles, index: BundleIndex | None, assets: tuple[Asset, ...], variables: tuple[Variable, ...]
) -> Iterator[Issue]:
    """The findings about files, in the order of the model's parts."""
    for path in files.links_out:
        yield Issue.of_part(Severity.MEDIUM, "link-out", "It is a link to a file outside of the model", path)
    mains = [name for name in MAIN_FILES if files.has(name)]
    if len(mains) > 1:
        message = f"Which of {', '.join(mains)} is read depends on the loader; this is about {mains[0]}"
        yield Issue.of_part(Severity.MEDIUM, "several-main-files", message, mains[1])
    yield from _about_assets(assets)
    if index is None:
        if variables:
            message = f"The model has {len(variables)} variables and no {INDEX_FILE}"
            yield Issue.of_part(Severity.MEDIUM, "variables-missing", message, "variables")
        return
    yield from _about_shards(files, index)
    for variable in variables:
        if variable.checkpoint_key is None and variable.is_listed and variable.node is not None:
            where = f"variable {variable.path}"
            yield Issue.of_part(
                Severity.MEDIUM, "value-missing", "The checkpoint holds no value of it", where
            )


def _about_shards(files: ModelFiles, index: BundleIndex) -> Iterator[Issue]:
    if not files.is_complete:
        return
    for path, size, needed in shards_of(index, files.sizes_bytes.get):
        if size is None:
            yield Issue.of_part(
                Severity.MEDIUM, "shard-missing", "The index names a shard that isn't there", path
            )
        elif size < needed:
            message = f"It has {size} bytes; the index needs {needed}"
            yield Issue.of_part(Severity.MEDIUM, "shard-cut", message, path)


def _about_assets(assets: tuple[Asset, ...]) -> Iterator[Issue]:
    for asset in assets:
        if climbs_out(asset.path.removeprefix("assets/")):
            yield Issue.of_part(
                Severity.HIGH,
                "asset-path",
                "TensorFlow would read a file outside of the model",
                f"asset {asset.path}",
            )
        elif asset.is_present is False:
            yield Issue.of_part(
                Severity.MEDIUM,
                "asset-missing",
                "The model declares a file that isn't there",
                f"asset {asset.path}",
            )
