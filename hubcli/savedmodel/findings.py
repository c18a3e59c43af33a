"""What the user of a model should know of its files: assets that aren't there or lead out, missing values."""

from __future__ import annotations

from collections.abc import Iterator

from hubcli.savedmodel.info import Asset, Checkpoint, Finding, Severity
from hubcli.savedmodel.variables import Variable

__all__ = ["find"]


def find(
    assets: tuple[Asset, ...], variables: tuple[Variable, ...], checkpoint: Checkpoint | None
) -> Iterator[Finding]:
    """The findings about files, in the order of the model's parts."""
    for asset in assets:
        if leads_out(asset.path):
            yield Finding(
                Severity.HIGH,
                "asset-path",
                "TensorFlow would read a file outside of the model",
                f"asset {asset.path}",
            )
        elif asset.is_present is False:
            yield Finding(
                Severity.MEDIUM,
                "asset-missing",
                "The model declares a file that isn't there",
                f"asset {asset.path}",
            )
    if checkpoint is None and variables:
        yield Finding(
            Severity.MEDIUM,
            "variables-missing",
            f"The model has {len(variables)} variables and no variables/variables.index",
            "variables",
        )
    for variable in variables if checkpoint is not None else ():
        if variable.checkpoint_key is None and variable.is_listed and variable.node is not None:
            yield Finding(
                Severity.MEDIUM,
                "value-missing",
                "The checkpoint holds no value of it",
                f"variable {variable.path}",
            )


def leads_out(path: str) -> bool:
    """Whether the path names a file outside of the model's directory.

    >>> leads_out("assets/vocab.txt"), leads_out("assets/../../vocab.txt")
    (False, True)
    """
    parts = path.replace("\\", "/").split("/")
    return ".." in parts or path.startswith("/") or "assets//" in path or "\0" in path
