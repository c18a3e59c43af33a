"""The bytes of an answer, which end when it is closed and not before."""

from __future__ import annotations

import gc

from hubcli.config.environment import NetworkConfig
from hubcli.net.bounds import body_blocks
from hubcli.net.client import open_client
from tests.server import HubServer, Reply

BODY = bytes(10_000_000)


def test_blocks_that_nobody_takes_leave_the_pool_alone(server: HubServer) -> None:
    """Python's search for garbage may come upon them while a thread holds the pool's lock: it would hang."""
    url = server.serve("/m", Reply(BODY))
    with open_client(url, 5, NetworkConfig()) as client:
        response = client.follow(url)
        blocks = body_blocks(response, len(BODY), 5)
        assert next(blocks)
        del blocks
        gc.collect()
        # What httpcore's pool would do at their end is to close the connection.
        assert response.extensions["network_stream"].get_extra_info("socket").fileno() >= 0
        response.close()
