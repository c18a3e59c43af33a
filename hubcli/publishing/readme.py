"""The README or model card that a model carries: found at its top, read as text, its license taken out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from hubcli.archive import Limits, MemberStream
from hubcli.archive.unpack import MemberCheck
from hubcli.config.settings import Settings
from hubcli.fetching.byte_sources import Transfer
from hubcli.fetching.sources import members_of, open_source
from hubcli.providers.handle import Handle
from hubcli.publishing.kaggle_api import clean_text
from hubcli.regular_file import read_regular

__all__ = ["MAX_README_BYTES", "Readme", "readme_in_archive", "readme_in_directory"]

MAX_README_BYTES = 256 << 10
# The first that exists counts, in upper or lower case.
_NAMES = ("readme.md", "model_card.md", "modelcard.md", "model-card.md", "card.md", "readme", "readme.txt")
_PARTS = ("assets", "assets.extra", "variables")
_MAX_NAMES = 10_000
_FRONT_MATTER = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
_KEY = re.compile(r"(license|title|model_name):[ \t]*(.+)")
_HINT = "If you trust it, unpack it first."


class Readme(NamedTuple):
    """The file's name, and its text without what stands in front of it for machines."""

    file: str
    text: str
    title: str | None = None
    license: str | None = None

    @classmethod
    def parse(cls, file: str, content: bytes) -> Readme:
        """The text of the file, of which a sign that isn't UTF-8 is replaced.

        A model card may begin with YAML between lines of `---`, as Hugging Face's do; plain values of
        its `license` and `title` are all that is read of it.
        """
        text = clean_text(content.decode("utf-8", "replace"), MAX_README_BYTES, lines=True)
        front, values = _FRONT_MATTER.match(text), dict[str, str]()
        if front is not None:
            text = text[front.end() :].strip("\n")
            for line in front[1].splitlines():
                found = _KEY.fullmatch(line)
                if found is not None:
                    values.setdefault(found[1], found[2].strip(" \t'\"")[:200])
        return cls(file, text, values.get("title") or values.get("model_name"), values.get("license"))


def readme_in_directory(model: Path) -> Readme | None:
    """The README of the model in the directory; None without a readable one."""
    try:
        with_names = [path for path, _ in zip(model.iterdir(), range(_MAX_NAMES), strict=False)]
        for path in _in_order(with_names):
            return Readme.parse(path.name, read_regular(path, MAX_README_BYTES))
    except OSError:
        return None
    return None


def readme_in_archive(archive: Handle, settings: Settings) -> Readme | None:
    """The README of the model in a local archive, at its top or in its one folder; None without one.

    Raises UnsafeArchiveError, TruncatedError as unpacking it would.
    """
    with (
        open_source(archive, settings, None, Transfer()) as source,
        members_of(source, Limits(), lambda size: None) as members,
    ):
        found = dict(_readmes_of(members))
    for path in _in_order(Path(name) for name in sorted(found, key=lambda name: name.count("/"))):
        return Readme.parse(path.name, found[path.as_posix()])
    return None


def _readmes_of(members: MemberStream) -> Iterator[tuple[str, bytes]]:
    check = MemberCheck(Limits(), _HINT)
    for member, pieces in members:
        segments = check.accept(member, pieces) or ()
        is_at_top = len(segments) == 1 or (len(segments) == 2 and segments[0] not in _PARTS)
        is_readme = is_at_top and not member.is_directory and segments[-1].lower() in _NAMES
        content = bytearray()
        for piece in pieces:  # Each must be read before the next member is.
            if is_readme and len(content) < MAX_README_BYTES:
                content += piece
        if is_readme:
            yield "/".join(segments), bytes(content[:MAX_README_BYTES])


def _in_order(paths: Iterable[Path]) -> Iterator[Path]:
    """The paths with a name of a README, the best name first."""
    named = [path for path in paths if path.name.lower() in _NAMES]
    yield from sorted(named, key=lambda path: (len(path.parts), _NAMES.index(path.name.lower())))
