"""Objects of buckets as byte sources, where a server sends them too slowly, or sends what was not listed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hubcli.config.settings import Settings
from hubcli.errors import BodyChangedError, TooSlowError
from hubcli.net import rate
from tests.bucket_servers import BucketServer
from tests.cases import each_of
from tests.server import HubServer, Reply

pytest.importorskip("obstore", reason="buckets need obstore")

from hubcli.net.bucket_store import open_store


def test_an_object_slower_than_the_minimum_rate_is_aborted(
    gcs_server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.read({**gcs_server.variables, "HUBCLI_CACHE_DIR": "/nowhere"})
    # No network sends a pebibyte in a second, and the first wait is longer than the window.
    monkeypatch.setattr(rate, "WINDOW_S", 1e-9)
    store = open_store(gcs_server.new_bucket(), replace(settings, retries=0, min_rate_bytes_s=1 << 50))
    store.create("a", b"model")
    with store.open("a") as source, pytest.raises(TooSlowError) as caught:
        list(source.read())
    assert "/a is too slow: " in caught.value.message
    assert caught.value.is_transient


@each_of(
    "body, etag",
    [
        pytest.param(b"other", '"2"', id="as many bytes under another ETag"),
        pytest.param(b"longer model", '"1"', id="more bytes under the same ETag"),
    ],
)
def test_an_object_that_changed_is_refused_where_the_server_ignores_conditions(
    server: HubServer, body: bytes, etag: str
) -> None:
    server.serve("/models/x", Reply(b"model", headers={"ETag": '"1"'}))
    variables = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "key", "AWS_ENDPOINT_URL": server.url}
    settings = Settings.read({**variables, "HUBCLI_CACHE_DIR": "/nowhere"})
    store = open_store("s3://models", replace(settings, retries=0))
    with store.open("x") as source:
        server.serve("/models/x", Reply(body, headers={"ETag": etag}))
        with pytest.raises(BodyChangedError, match=r"/x changed during the download$"):
            list(source.read())
    assert server.requests[-1].headers["if-match"] == '"1"'
