"""Shared tiers: which are read before the origin, and whether each can be reached.

A tier in a directory is always checked; one in a bucket or on a web server only with `--network`, by
a request for one object with the credentials of a fetch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hubcli.config.settings import Settings
from hubcli.config.tiers import TIER_MARKER
from hubcli.diagnosing.context import Check, DiagnosisContext, Section, Status
from hubcli.errors import HubcliError, NetworkError
from hubcli.urls import without_secrets

if TYPE_CHECKING:
    from hubcli.config.tiers import TierConfig

__all__ = ["check_tiers"]

_check = partial(Check.of, Section.NETWORK)
_AT_ONCE = 8


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
