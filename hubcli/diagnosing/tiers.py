"""Buckets and shared tiers: where the credentials are, which tiers are read, whether each can be reached.

No request is sent for the credentials: a role of a machine or a pod is named, and not tried. A tier in a
directory is always checked; one in a bucket or on a web server only with `--network`, by a request for one
object with the credentials of a fetch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hubcli.config.buckets import bucket_options
from hubcli.config.settings import Settings
from hubcli.config.tiers import TIER_MARKER
from hubcli.diagnosing.context import Check, DiagnosisContext, Section, Status
from hubcli.errors import HubcliError, NetworkError
from hubcli.providers import BUCKETS
from hubcli.urls import without_secrets

if TYPE_CHECKING:
    from hubcli.config.tiers import TierConfig

__all__ = ["check_buckets", "check_tiers"]

_credential_check = partial(Check.of, Section.CREDENTIALS)
_check = partial(Check.of, Section.NETWORK)
# Variables by which a cloud counts as one that the user has set up.
_PREFIXES = {
    "s3": ("AWS_ACCESS", "AWS_PROFILE", "AWS_ROLE", "AWS_ENDPOINT", "AWS_CONTAINER"),
    "gs": ("GOOGLE_", "STORAGE_EMULATOR_HOST"),
    "az": ("AZURE_",),
}
_AT_ONCE = 8


def check_buckets(context: DiagnosisContext) -> Iterator[Check]:
    """Where the credentials of each cloud are, and what keeps those that are set up from being used.

    Reports nothing to users of no cloud.
    """
    config = context.settings.access.buckets
    buckets = [
        scheme for scheme in BUCKETS if any(name.startswith(_PREFIXES[scheme]) for name in config.variables)
    ]
    if find_spec("obstore") is None:
        if buckets:
            message = "obstore is not installed: s3://, gs:// and az:// cannot be used"
            yield _credential_check("buckets", Status.WARNING, message, None, "pip install 'hubcli[buckets]'")
        return
    places: dict[str, str | None] = {}
    for scheme in BUCKETS:
        try:
            found = bucket_options(config, scheme)
        except HubcliError as error:  # noqa: PERF203 - each cloud by itself
            places[scheme] = None
            if scheme in buckets:
                yield _credential_check(
                    f"buckets-{scheme}", Status.WARNING, error.message, scheme, error.hint
                )
        else:
            places[scheme] = found.place if found.has_account or scheme in buckets else None
    if config.anonymous:
        message = "none are sent: HUBCLI_BUCKET_ANONYMOUS or bucket-anonymous is set"
        yield _credential_check("buckets", Status.INFO, message, places)
    elif sources := [f"{scheme}:// by {place}" for scheme, place in places.items() if place is not None]:
        yield _credential_check("buckets", Status.OK, "; ".join(sources), places)


def check_tiers(context: DiagnosisContext) -> Iterator[Check]:
    """The tiers with their modes, then whether each can be reached; nothing if no tier is set."""
    fault = context.faults.get("HUBCLI_TIERS")
    tiers = {_name(tier): "read-write" if tier.is_writable else "read" for tier in context.settings.tiers}
    if fault is not None:
        yield _check("tiers", Status.PROBLEM, fault.message, None, fault.hint)
        return
    if not tiers:
        return
    yield _check("tiers", Status.OK, "; ".join(f"{name} ({mode})" for name, mode in tiers.items()), tiers)
    # If hosts are named, only these get requests.
    is_network = context.options.network and not context.options.hosts
    reached = [tier for tier in context.settings.tiers if tier.is_local or is_network]
    if reached:
        yield from _reach_all(reached, context.settings)


def _name(tier: TierConfig) -> str:
    return tier.address if tier.is_local else without_secrets(tier.address)


def _reach_all(tiers: list[TierConfig], settings: Settings) -> Iterator[Check]:
    from hubcli.concurrency import CancellationToken, run_concurrently

    jobs = [partial(_reach, tier, replace(settings, retries=0)) for tier in tiers]
    with closing(run_concurrently(jobs, _AT_ONCE, CancellationToken())) as results:
        yield from (check for _, check in sorted(results, key=lambda pair: pair[0]))


def _reach(tier: TierConfig, settings: Settings) -> Check:
    """Looks up the marker, within the time limit: an unreachable NFS server never answers."""
    from hubcli.net.bucket_client import in_thread
    from hubcli.net.bucket_store import open_store

    name, began_s = _name(tier), time.monotonic()
    value: dict[str, Any] = {"tier": name, "exists": None, "seconds": None}
    try:
        try:
            store = open_store(tier.address, settings)
            exists = in_thread(lambda: store.head(TIER_MARKER) is not None, settings.timeout_s)
        except TimeoutError as error:
            raise NetworkError(
                f"no answer within {settings.timeout_s:g} s", hint="Check the network and the address."
            ) from error
    except HubcliError as error:
        return _check("tier", Status.WARNING, f"{name} cannot be used: {error.message}", value, error.hint)
    value.update(exists=exists, seconds=round(time.monotonic() - began_s, 4))
    if exists:
        return _check("tier", Status.OK, f"{name} answers in {value['seconds'] * 1000:.0f} ms", value)
    if tier.is_writable:
        return _check(
            "tier", Status.INFO, f"{name} is empty: the first model that is put there creates it", value
        )
    hint = "Check its address, or run: hubcli push HANDLE --tier 'ADDRESS?mode=read-write'"
    return _check("tier", Status.WARNING, f"{name} is not a shared tier", value, hint)
