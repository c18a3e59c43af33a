"""A model's bytes on their way into the cache: unpacked into its staging directory, checked, published.

From an origin, a shared tier or a file, they pass the same checks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hubcli.archive.unpack import lift_wrapping_folder
from hubcli.cache.cached_model import CachedModel
from hubcli.cache.records import Manifest
from hubcli.cache.store import Staging
from hubcli.concurrency import CancellationToken, stage_bytes
from hubcli.config.settings import Settings
from hubcli.errors import BrokenModelError, LockLostError
from hubcli.fetching.cached import Aliases, AliasRecord
from hubcli.fetching.options import FetchOptions
from hubcli.fetching.sources import DiskSpaceGuard, Unpacked, unpack_source
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.savedmodel.checks.integrity import ModelCheck
from hubcli.savedmodel.layout import check_structure
from hubcli.units import format_size

if TYPE_CHECKING:
    from hubcli.fetching.tiers import Tier, TierModel
    from hubcli.net.byte_source import ByteSource

__all__ = ["Claim", "ModelUnpacker"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a shared tier says of a model: checked beside the rest."""

    tier: Tier
    model: TierModel


@dataclass(eq=False)
class ModelUnpacker:
    """Unpacks one model, from one source after the other until one is whole."""

    handle: Handle
    settings: Settings
    options: FetchOptions
    listener: ProgressListener
    stop: CancellationToken
    aliases: Aliases
    disk_space: DiskSpaceGuard | None = None
    source: ByteSource | None = None

    def _begin(self, source: ByteSource, staging: Staging) -> None:
        """Tells that the bytes of the source come now."""
        self.source = source
        self.listener.started(str(self.handle), source.name, source.size_bytes)
        self.disk_space = DiskSpaceGuard(staging.path, source.name, source.size_bytes)
        if source.resumed_bytes:
            self.listener.resumed(source.resumed_bytes)
            self.listener.note(f"Resuming {self.handle} at {format_size(source.resumed_bytes)}")

    def publish(
        self,
        source: ByteSource,
        staging: Staging,
        *,
        keep: Callable[[bytes], None] | None = None,
        claim: Claim | None = None,
    ) -> CachedModel:
        """Unpacks what the source has, checks it and publishes it; `keep` gets the bytes of the archive.

        Raises IntegrityError, NetworkError, DiskFullError, LockLostError if another process took over.
        """
        self._begin(source, staging)
        try:
            unpacked = unpack_source(
                source,
                staging.path,
                self.options.limits,
                on_received=self._received,
                on_unpacked=self._unpacked,
                durability=self.settings.durability,
                keep=keep,
                ahead_bytes=stage_bytes(self.settings.jobs),
            )
        except FileNotFoundError as error:
            raise LockLostError(f"Another process took over {self.handle}") from error
        manifest = self._checked(source, staging.path, unpacked, claim)
        self.aliases.withdraw_others(AliasRecord(manifest.handle, manifest.aliases))
        return staging.publish(manifest)

    def _received(self, size_bytes: int) -> None:
        self.stop.check()
        if self.source is not None and self.source.is_spooled:
            arrived = self.source.arrived_bytes()
            if arrived:
                self.listener.arrived(arrived)
        self.listener.received(size_bytes)
        if self.disk_space is not None:
            self.disk_space.received(size_bytes)

    def _unpacked(self, size_bytes: int) -> None:
        self.stop.check()
        self.listener.unpacked(size_bytes)
        if self.disk_space is not None:
            self.disk_space.unpacked(size_bytes)

    def _checked(
        self,
        source: ByteSource,
        staged: Path,
        unpacked: Unpacked,
        claim: Claim | None,
    ) -> Manifest:
        """The manifest of what was staged, once it has passed every check."""
        if claim is not None:
            claim.model.check_archive(unpacked.archive_sha256, unpacked.archive_bytes)
        self.options.expected.check_archive(source.name, unpacked.archive_sha256)
        wrapping, files = lift_wrapping_folder(staged, unpacked.files)
        if wrapping is not None:
            self.listener.note(f"Removed the top folder '{wrapping}' of the archive")
        if claim is not None:
            claim.tier.check(claim.model, files)
        self.options.expected.check_unpacked(source.name, files)
        try:
            found = check_structure(staged)
            self._check_content(staged)
        except BrokenModelError as error:
            raise BrokenModelError(f"{source.name}: {error.message}", hint=error.hint) from error
        now_s = time.time()
        record = self.aliases.record()
        return Manifest(
            handle=record.handle,
            aliases=record.aliases,
            source=source.name,
            kind=found.kind,
            format=found.value,
            files=files,
            fetched_at_s=now_s,
            last_used_at_s=now_s,
            etag=source.etag if claim is None else claim.model.etag,
            tier=None if claim is None else claim.model.tier,
            is_private=source.is_private if claim is None else claim.model.is_private,
            archive_sha256=unpacked.archive_sha256,
            archive_bytes=unpacked.archive_bytes,
        )

    def _check_content(self, staged: Path) -> None:
        """Every tensor against its checksum; assets that lead out are refused, missing ones are said."""
        for fault in ModelCheck(staged).run(lambda _: self.stop.check()).faults:
            if fault.code == "missing":
                self.listener.note(f"{self.handle} is incomplete: {fault}")
            else:
                raise BrokenModelError(str(fault))
