"""A server that plays Kaggle: its API's addresses for one variation of a model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from hubcli.config.environment import KaggleAccount, NetworkConfig
from hubcli.config.settings import Settings
from tests.server import HubServer, Reply

NAME = "google/nnlm/tensorFlow2/en-dim128"
PAGE = f"https://www.kaggle.com/models/{NAME}"
API = f"/api/v1/models/{NAME}"
TOKEN = "KGAT_s3cret-token"

__all__ = ["API", "NAME", "PAGE", "TOKEN", "everything_below", "kaggle_at", "serve_latest", "serve_version"]


def kaggle_at(server: HubServer, settings: Settings, **account: object) -> Settings:
    """The settings with the server for Kaggle, and these credentials."""
    access = NetworkConfig(kaggle=KaggleAccount(endpoint=server.url, **account))  # type: ignore[arg-type]
    return replace(settings, access=access)


def serve_latest(server: HubServer, number: object) -> None:
    """Lets the API tell the latest version."""
    body = json.dumps({"id": 7, "versionNumber": number, "licenseName": "Apache 2.0"}).encode()
    server.serve(f"{API}/get", Reply(body, headers={"Content-Type": "application/json"}))


def serve_version(server: HubServer, number: int, reply: Reply | bytes) -> str:
    """Serves the archive of a version; its whole address."""
    return server.serve(f"{API}/{number}/download", reply)


def everything_below(folder: Path) -> bytes:
    """The names and bytes of all files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return b"\n".join(bytes(path) + b"\n" + path.read_bytes() for path in files)
