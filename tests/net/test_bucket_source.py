"""Objects of buckets as byte sources, where a server sends them too slowly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hubcli.config.settings import Settings
from hubcli.errors import TooSlowError
from hubcli.net import rate
from tests.bucket_servers import BucketServer

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
