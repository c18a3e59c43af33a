"""Models that are part of hubcli: for first steps, documentation and tests."""

from __future__ import annotations

from hubcli.providers.handle import Handle
from hubcli.providers.provider import SEGMENT, Provider, refusal

__all__ = ["Example"]


class Example(Provider):
    """`example://<name>[/<version>]`."""

    name = "example"
    title = "hubcli"
    is_remote = False

    def parse(self, text: str) -> Handle:
        """The handle of an example, whether it exists or not. Raises HandleError."""
        name = text.split("://", 1)[1].rstrip("/")
        segments = name.split("/")
        if not all(map(SEGMENT.fullmatch, segments)) or len(segments) > 2:
            raise refusal(text, "is not a built-in example", "Use example://mul/1.")
        version = segments[1] if len(segments) == 2 else None
        return Handle(text, self, f"example://{name}", version)
