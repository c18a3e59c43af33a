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
from hubcli.publishing.hub_tree import HubPlace, parse_target
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


@each_of(
    "url, address",
    [
        ("https://models.s3.amazonaws.com/a/m.tar.gz", "s3://models/a/m.tar.gz"),
        ("https://models.s3.eu-west-1.amazonaws.com/a%20b/m.tar.gz", "s3://models/a b/m.tar.gz"),
        ("https://s3.eu-west-1.amazonaws.com/models/m", "s3://models/m"),
        ("https://storage.googleapis.com/models/a/m.tar.gz", "gs://models/a/m.tar.gz"),
        ("https://models.storage.googleapis.com/m", "gs://models/m"),
        ("https://owner.blob.core.windows.net/models/m", "az://models/m?account=owner"),
        ("https://storage.googleapis.com/models/m?X-Goog-Signature=1", None),
        ("https://storage.googleapis.com/models/../m", None),
        ("https://models.s3.amazonaws.com/a%23b/m.tar.gz", None),
        ("https://owner.blob.core.windows.net/models/m%3Faccount=other", None),
        ("https://storage.googleapis.com/models/a%0Ab", None),
        ("https://storage.googleapis.com/models", None),
        ("https://storage.googleapis.com.example/models/m", None),
        ("https://[/models/m", None),
    ],
)
def test_a_web_address_of_a_cloud_names_an_object(url: str, address: str | None) -> None:
    found = BucketAddress.of_url(url)
    assert (None if found is None else str(found)) == address
