"""A scheme of buckets is known wherever one may be named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hubcli.config.buckets import bucket_options
from hubcli.config.environment import BucketConfig
from hubcli.config.settings import Settings
from hubcli.config.tiers import TierConfig
from hubcli.errors import AuthenticationError
from hubcli.net.retries import RetryPolicy
from hubcli.providers import BUCKETS
from hubcli.providers.bucket import BucketAddress
from hubcli.providers.handle import Handle
from hubcli.providers.provider import ACCEPTED
from hubcli.publishing.hub_tree import HubPlace
from hubcli.publishing.target import parse_target
from tests.cases import each_of

ANONYMOUS = BucketConfig(anonymous=True)


@each_of("scheme", BUCKETS)
def test_a_bucket_is_a_handle_a_tier_and_a_place_to_publish(scheme: str) -> None:
    address = f"{scheme}://bucket/maker/mul/1"
    assert Handle.parse(address).canonical == address
    assert f"{scheme}://" in ACCEPTED
    assert TierConfig.parse(f"{address}?mode=read-write").address == address
    place = parse_target(address, None)
    assert isinstance(place, HubPlace)
    assert place.is_remote
    assert not bucket_options(ANONYMOUS, scheme, "account").has_account


@each_of("scheme", BUCKETS)
def test_a_bucket_of_each_scheme_is_opened_and_its_refusals_are_told(scheme: str, settings: Settings) -> None:
    pytest.importorskip("obstore", reason="obstore is not installed: pip install 'hubcli[buckets]'")
    from hubcli.net.bucket_client import BucketClient

    query = "?account=account" if scheme == "az" else ""
    address = BucketAddress.parse(f"{scheme}://bucket{query}")
    anonymous = replace(settings, access=replace(settings.access, buckets=ANONYMOUS))
    client = BucketClient(address, anonymous, RetryPolicy(0))
    assert client.store() is not None
    denied = client.obstore.exceptions.PermissionDeniedError("status code: 403")
    assert isinstance(client.translated(denied, str(address)), AuthenticationError)
