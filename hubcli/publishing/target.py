"""Where a model is published: a variation on Kaggle, or a place in the tree of a directory or a bucket."""

from __future__ import annotations

from hubcli.errors import HandleError, UsageError
from hubcli.providers import BUCKETS
from hubcli.providers.handle import Handle
from hubcli.providers.kaggle import KaggleModel
from hubcli.publishing.hub_tree import HubPlace

__all__ = ["parse_target"]

_LOCAL = ("/", "./", "../", "~/", "file://")
_BUCKETS = tuple(f"{scheme}://" for scheme in BUCKETS)


def parse_target(text: str, framework: str | None) -> HubPlace | KaggleModel:
    """Where to publish. Raises UsageError, HandleError."""
    if text.startswith((*_LOCAL, *_BUCKETS)):
        if framework is not None:
            raise UsageError("--framework cannot be used without Kaggle", hint="Remove --framework.")
        if text.startswith("file://"):  # As of a source: escapes are undone, another machine is refused.
            text = str(Handle.parse(text).path)
        return HubPlace.parse(text)
    parts = text.strip("/").split("/")
    if framework is not None and "://" not in text:
        has_version = len(parts) == 4 and parts[3].isdecimal() and parts[2].lower() != framework.lower()
        if len(parts) == 3 or has_version:
            parts.insert(2, framework)
    try:
        model = KaggleModel.of(Handle.parse("/".join(parts) if "://" not in text else text))
    except HandleError as error:
        error.hint = "Use OWNER/MODEL/FRAMEWORK/VARIATION on Kaggle, or ./DIR/PUBLISHER/MODEL/VERSION."
        raise
    if model is None:
        raise UsageError(
            f"Cannot publish to {text}: not Kaggle, a directory or a bucket",
            hint="For a host of your own, publish to its directory: ./DIR/PUBLISHER/MODEL/VERSION",
        )
    if framework is not None and framework.lower() != model.framework.lower():
        raise UsageError(
            f"Framework mismatch: {text} and --framework {framework}", hint="Remove one of them."
        )
    return model
