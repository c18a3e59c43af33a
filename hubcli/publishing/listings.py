"""What can be found: models and their versions, on Kaggle and in the index of a host.

A host is an address or a directory with `index.json` at its root, as `hubcli export --layout hub` writes it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

from hubcli.concurrency import run_in_threads
from hubcli.config.settings import Settings
from hubcli.errors import AuthenticationError, HubcliError, IntegrityError, NotFoundError, UsageError
from hubcli.exporting.hub_index import INDEX_FILE, MAX_INDEX_BYTES, IndexEntry, parse_index
from hubcli.fetching.byte_sources import Transfer, first_bytes, open_bytes
from hubcli.net.retries import RetryPolicy
from hubcli.providers.handle import Handle
from hubcli.providers.kaggle import KaggleModel, handle_of
from hubcli.publishing.answer_cache import AnswerCache
from hubcli.publishing.kaggle_api import FRAMEWORKS, KaggleApi, KaggleListing, clean_text
from hubcli.regular_file import read_regular
from hubcli.urls import is_address, printed_url, remember_url, without_secrets

__all__ = [
    "HostIndex",
    "ModelHit",
    "VersionHit",
    "index_of_model",
    "kaggle_hits",
    "kaggle_versions",
    "read_index",
]

_THREADS = 4
_MAX_PARENTS = 8  # Directories above a model in which its host may have the index.


class ModelHit(NamedTuple):
    """A model as `fetch` takes it; of Kaggle one variation. Times are seconds since 1970, None if unknown.

    `name` is the short form of the handle, `handle` what every command takes.
    """

    handle: str
    name: str
    title: str
    subtitle: str = ""
    owner: str = ""
    framework: str | None = None
    version: str | None = None
    size_bytes: int | None = None
    license: str | None = None
    votes: int | None = None
    downloads: int | None = None
    updated_s: float | None = None


class VersionHit(NamedTuple):
    """A version that a host has."""

    version: str
    handle: str
    size_bytes: int | None = None
    published_s: float | None = None
    sha256: str | None = None


# Kaggle ------------------------------------------------------------------------------------------


def kaggle_hits(listing: KaggleListing) -> Iterator[ModelHit]:
    """The variations of a model that are SavedModels."""
    for variation in listing.variations:
        if variation.framework not in FRAMEWORKS:
            continue
        version = None if variation.version is None else str(variation.version)
        model = KaggleModel(listing.owner, listing.slug, variation.framework, variation.slug, version)
        parts = (listing.owner, listing.slug, variation.framework, variation.slug, version)
        yield ModelHit(
            handle_of(model).canonical,
            "/".join(filter(None, parts)),
            listing.title,
            listing.subtitle,
            listing.owner,
            variation.framework,
            version,
            variation.size_bytes,
            variation.license_name,
            listing.votes,
            variation.download_count if variation.download_count is not None else listing.download_count,
            listing.updated_s if listing.updated_s is not None else listing.published_s,
        )


def kaggle_versions(api: KaggleApi, model: KaggleModel, limit: int) -> tuple[list[VersionHit], int]:
    """The newest versions, and how many there are; size and date come from the files of each."""
    numbers = api.versions(model)

    def look_up(number: int) -> VersionHit:
        at = model.at_version(str(number))
        handle = handle_of(at).canonical
        try:
            files = api.files(at)
        except HubcliError as error:
            if error.http_status not in (403, 404):
                raise
            return VersionHit(str(number), handle)  # One that may not be read, or was removed meanwhile.
        sizes = [file.size_bytes for file in files]
        size = None if not sizes or None in sizes else sum(size or 0 for size in sizes)
        created = [file.created_s for file in files if file.created_s is not None]
        return VersionHit(str(number), handle, size, max(created, default=None))

    jobs = [partial(look_up, number) for number in numbers[:limit]]
    return run_in_threads(jobs, min(_THREADS, max(1, len(jobs)))), len(numbers)


# Hosts with an index -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostIndex:
    """The entries of the index at `root`, an address or a directory without a slash at its end."""

    root: str
    entries: tuple[IndexEntry, ...]

    @property
    def address(self) -> str:
        """The root as handles have it: without a password, which would be masked in them."""
        return without_secrets(self.root) if "://" in self.root else self.root

    def hits(self) -> Iterator[ModelHit]:
        """The newest version of each model, by name."""
        newest: dict[str, IndexEntry] = {}
        for entry in sorted(self.entries, key=lambda entry: entry.order):
            newest[entry.name] = entry
        for entry in newest.values():
            yield ModelHit(
                f"{self.address}/{entry.path}",
                entry.path,
                clean_text(entry.title) or entry.name,
                owner=entry.name.partition("/")[0],
                framework=_FRAMEWORK_OF_KIND.get(entry.kind or ""),
                version=entry.version,
                size_bytes=entry.model_bytes if entry.model_bytes is not None else entry.archive_bytes,
                license=clean_text(entry.license) or None,
                updated_s=entry.published_s,
            )

    def versions(self, name: str) -> list[VersionHit]:
        """The versions of the model of that name, the newest first."""
        found = sorted((entry for entry in self.entries if entry.name == name), key=lambda entry: entry.order)
        return [
            VersionHit(
                entry.version,
                f"{self.address}/{entry.path}",
                entry.model_bytes if entry.model_bytes is not None else entry.archive_bytes,
                entry.published_s,
                entry.sha256,
            )
            for entry in reversed(found)
        ]


def read_index(
    root: str, settings: Settings, answers: AnswerCache, on_retry: Callable[[str], None]
) -> HostIndex:
    """The index of the host at the address, or of the directory.

    Raises NotFoundError if it has none, IntegrityError for an invalid one, UsageError for an address that can
    have none, NetworkError.
    """
    remember_url(root)
    is_web = root.lower().startswith(("http://", "https://"))
    if is_web and (not is_address(root) or set("?#").intersection(root)):
        raise UsageError(
            f"'{printed_url(root)}' is not the address of a host",
            hint="Use https://HOST or https://HOST/DIR.",
        )
    root = root.rstrip("/")
    address = f"{root}/{INDEX_FILE}"
    try:
        if "://" in root:
            name = printed_url(address)
            parsed: list[tuple[IndexEntry, ...]] = []

            def ask() -> bytes:
                content = _downloaded(address, settings, on_retry)
                parsed.append(parse_index(content, name))  # What is no index must not be cached.
                return content

            content = answers.get(("index", address), name, ask)
            return HostIndex(root, parsed[0] if parsed else parse_index(content, name))
        return HostIndex(root, parse_index(read_regular(address, MAX_INDEX_BYTES + 1), address))
    except (NotFoundError, FileNotFoundError, NotADirectoryError) as error:
        hint = "To write an index, run: hubcli export SOURCE DIR --layout hub"
        raise NotFoundError(f"{printed_url(address)} does not exist", hint=hint) from error
    except OSError as error:
        raise NotFoundError(
            f"Cannot read {address}: {error.strerror}", hint="Check its permissions."
        ) from error


def _downloaded(address: str, settings: Settings, on_retry: Callable[[str], None]) -> bytes:
    """The file, cut behind the limit of an index."""
    retries = RetryPolicy.of(settings, settings.retries, on_retry)
    with open_bytes(settings.mirrored(address), settings, Transfer(retries)) as source:
        return first_bytes(source, MAX_INDEX_BYTES)


def index_of_model(
    handle: Handle, settings: Settings, answers: AnswerCache, on_retry: Callable[[str], None]
) -> tuple[HostIndex, str]:
    """The index that lists the model, and the model's name there; the directories above it are tried.

    Raises NotFoundError if none of them has one, or none that lists the model.
    """
    address = handle.canonical if handle.path is None else str(handle.path)
    if "://" in address and urlsplit(address).query:
        raise UsageError(
            f"{handle.provider.display_name(handle)} is not on a host with an index",
            hint="Use https://HOST/PUBLISHER/MODEL.",
        )
    base, _, path = address.partition("://") if "://" in address else ("", "", address)
    segments = [segment for segment in path.split("/") if segment]
    is_numbered = bool(segments) and segments[-1].isdecimal()
    if is_numbered and (handle.path is not None or segments[-1] == handle.version):
        segments.pop()
    lead = f"{base}://" if base else "/"
    first = 1 if base else 0  # The host itself doesn't belong to a name.
    places = range(len(segments) - 2, max(first, len(segments) - 2 - _MAX_PARENTS) - 1, -1)
    others = ""  # The address of an index without the model.
    for place in places:
        root, name = lead + "/".join(segments[:place]), "/".join(segments[place:])
        try:
            index = read_index(root, settings, answers, on_retry)
        except (NotFoundError, IntegrityError):
            continue
        except AuthenticationError as error:  # Buckets answer 403 for a missing object.
            if error.http_status != 403:
                raise
            continue
        if any(entry.name == name for entry in index.entries):
            return index, name
        others = others or without_secrets(index.address)
    if others:
        raise NotFoundError(
            f"{handle.provider.display_name(handle)} is not in the index of {others}",
            hint=f"See: hubcli search --host {shlex.quote(others)}",
        )
    raise NotFoundError(
        f"No {INDEX_FILE} above {handle.provider.display_name(handle)} lists its versions",
        hint="Use a model on Kaggle, or write an index: hubcli export SOURCE DIR --layout hub",
    )


_FRAMEWORK_OF_KIND = {
    "TF2": "tensorFlow2",
    "Keras": "tensorFlow2",
    "TF1": "tensorFlow1",
    "TF1 Hub": "tensorFlow1",
}
