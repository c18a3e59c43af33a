"""Where things are in a tier: the keys of its objects, and the marker that tells the version of the layout.

    hubcli-tier.json                          the marker: version of this layout
    blobs/sha256/<2 hex>/<64 hex>             archives, under their SHA-256
    models/<cache key>/<64 hex>.json          manifests, under the SHA-256 of their archive
    models/<cache key>/current.json           the archives that the handle means now
    leases/<cache key>.json                   which machine downloads the handle from its origin
    orphans/<64 hex>                          since when no manifest names the blob
    blobs/sha256/~listed, models/~listed      empty; a listing without them is invalid

The format is public: docs/reference/tier-format.md describes it.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from hubcli import __version__
from hubcli.config.tiers import TIER_MARKER
from hubcli.errors import IntegrityError, UnsupportedError

__all__ = [
    "BLOBS",
    "LEASES",
    "LISTED",
    "MARKER",
    "MAX_SMALL_BYTES",
    "MODELS",
    "ORPHANS",
    "TIER_VERSION",
    "ManifestKey",
    "blob_key",
    "blob_of_key",
    "blob_of_mark",
    "current_key",
    "is_lease",
    "lease_key",
    "manifest_key",
    "marker_bytes",
    "model_of_current",
    "orphan_key",
    "parse_object",
    "require_known_version",
    "written_by",
]

TIER_VERSION = 1
MARKER = TIER_MARKER
BLOBS, MODELS, LEASES, ORPHANS = "blobs/sha256/", "models/", "leases/", "orphans/"
# `~` comes after the names of all other objects: a listing that has it wasn't cut off before its end.
LISTED = (f"{BLOBS}~listed", f"{MODELS}~listed")
MAX_SMALL_BYTES = 64 << 10

_MANIFEST = re.compile(r"models/([0-9a-f]{40})/([0-9a-f]{64})\.json")
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_CURRENT = re.compile(r"models/([0-9a-f]{40})/current\.json")
_LEASE = re.compile(r"leases/[0-9a-f]{40}\.json")
_ORPHAN = re.compile(r"orphans/([0-9a-f]{64})")


class ManifestKey(NamedTuple):
    """What the key of a manifest tells: the handle's cache key, and the SHA-256 of the archive."""

    model: str
    sha256: str

    @classmethod
    def parse(cls, key: str) -> ManifestKey | None:
        """What the key tells, None for one of another object."""
        match = _MANIFEST.fullmatch(key)
        return None if match is None else cls(match[1], match[2])


def blob_key(sha256: str) -> str:
    """Where the archive with that SHA-256 is."""
    return f"{BLOBS}{sha256[:2]}/{sha256}"


def blob_of_key(key: str) -> str | None:
    """The SHA-256 of the archive under the key; None where the key is of another object."""
    match = _BLOB.fullmatch(key)
    return None if match is None else match[2]


def blob_of_mark(key: str) -> str | None:
    """The SHA-256 of the archive that is marked under the key; None where the key is of another object."""
    match = _ORPHAN.fullmatch(key)
    return None if match is None else match[1]


def model_of_current(key: str) -> str | None:
    """The cache key of the handle whose current.json is there; None where the key is of another object."""
    match = _CURRENT.fullmatch(key)
    return None if match is None else match[1]


def is_lease(key: str) -> bool:
    """Whether the key is that of a lease."""
    return _LEASE.fullmatch(key) is not None


def manifest_key(model: str, sha256: str) -> str:
    """Where the manifest of an archive of the handle with that cache key is."""
    return f"{MODELS}{model}/{sha256}.json"


def current_key(model: str) -> str:
    """Where the tier tells which archives the handle with that cache key means."""
    return f"{MODELS}{model}/current.json"


def lease_key(model: str) -> str:
    """Where the lease on the download of the handle with that cache key is."""
    return f"{LEASES}{model}.json"


def orphan_key(sha256: str) -> str:
    """The mark of a blob that no manifest names."""
    return f"{ORPHANS}{sha256}"


def written_by() -> str:
    """The program that writes an object, as objects name it."""
    return f"hubcli {__version__}"


def marker_bytes() -> bytes:
    """The marker of a tier that this hubcli makes."""
    return (json.dumps({"hubcli_tier": TIER_VERSION}) + "\n").encode()


def require_known_version(content: bytes, tier: str) -> None:
    """Raises UnsupportedError for a tier of a newer layout, IntegrityError for an invalid marker."""
    document = parse_object(content, f"{tier}/{MARKER}")
    version = document.get("hubcli_tier")
    if type(version) is not int or version < 1:
        raise IntegrityError(f"{tier}/{MARKER} is not the marker of a shared tier", hint="Check the address.")
    if version > TIER_VERSION:
        raise UnsupportedError(
            f"{tier} is a shared tier of version {version}; this hubcli knows {TIER_VERSION}",
            hint="Upgrade hubcli.",
        )


def parse_object(content: bytes, name: str) -> dict[str, Any]:
    """The JSON object in the bytes; raises IntegrityError for anything else."""
    try:
        document = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{name} is not JSON") from error
    if not isinstance(document, dict):
        raise IntegrityError(f"{name} is not a JSON object")
    return document
