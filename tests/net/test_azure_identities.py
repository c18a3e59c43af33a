"""Identities of Azure without a key: each gets a token from a service of the test's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hubcli.commands.fetch import fetch
from hubcli.config.settings import Settings
from tests import models
from tests.server import HubServer, Reply

pytest.importorskip("obstore", reason="buckets need obstore")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: HubServer) -> Path:
    """A home without credentials, and a container at the test's server."""
    monkeypatch.setenv("HOME", str(tmp_path))
    dates = {"Last-Modified": "Sun, 29 Nov 2026 00:00:00 GMT"}
    server.serve("/models/c/m.tar.gz", Reply(models.archive(), etag='"1"', headers=dates))
    return tmp_path


def token_of_fetch(home: Path, server: HubServer, **variables: str) -> str:
    """The token by which the object was asked for."""
    names = {"AZURE_STORAGE_ACCOUNT": "models", "AZURE_STORAGE_ENDPOINT": f"{server.url}/models", **variables}
    fetch("az://c/m.tar.gz", Settings.read(names, cache_dir=home / "cache"))
    return server.requests[-1].headers["authorization"]


def test_a_managed_identity_asks_the_service_of_its_machine(
    home: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = {"access_token": "of-the-machine", "expires_on": "1999999999", "token_type": "Bearer"}
    token["resource"] = "x"
    server.serve("/identity", Reply(json.dumps(token).encode()))
    monkeypatch.setenv("IDENTITY_HEADER", "header-of-the-machine")
    found = token_of_fetch(home, server, IDENTITY_ENDPOINT=f"{server.url}/identity", AZURE_CLIENT_ID="me")
    assert found == "Bearer of-the-machine"
    (question,) = [request for request in server.requests if request.path == "/identity"]
    assert question.headers["x-identity-header"] == "header-of-the-machine"
    assert "client_id=me" in question.query


def test_the_azure_cli_gives_a_token(home: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    token = {"accessToken": "of-the-cli", "expiresOn": "2037-01-01 00:00:00.000000", "tokenType": "Bearer"}
    token.update(subscription="s", tenant="t")
    (home / ".azure").mkdir()
    (home / ".azure" / "azureProfile.json").write_text("{}")
    program = home / "az"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(token)}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    assert token_of_fetch(home, server) == "Bearer of-the-cli"


@pytest.mark.parametrize("kind", ["secret", "workload"])
def test_a_service_principal_gets_a_token(
    kind: str, home: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"access_token": "of-the-service", "expires_in": 3600, "token_type": "Bearer"}
    server.serve("/tenant/oauth2/v2.0/token", Reply(json.dumps(answer).encode()))
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", server.url)
    ids = {"AZURE_CLIENT_ID": "me", "AZURE_TENANT_ID": "tenant"}
    (home / "token").write_text("of-the-pod")
    proof = {
        "secret": {"AZURE_CLIENT_SECRET": "s3cr3t"},
        "workload": {"AZURE_FEDERATED_TOKEN_FILE": str(home / "token")},
    }
    assert token_of_fetch(home, server, **ids, **proof[kind]) == "Bearer of-the-service"
