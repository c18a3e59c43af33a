"""A static nginx is a host of the protocol: it serves the file at the handle's path."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubcli.commands.fetch import fetch
from hubcli.config.settings import Mirror, Settings
from tests import models
from tests.server import free_port

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

CONFIG = """
daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}/www; }}
}}
"""


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a running nginx, and the directory that it serves."""
    if NGINX is None:
        pytest.skip("nginx isn't installed: apt-get install nginx-light")
    root, port = tmp_path / "nginx", free_port()
    (root / "www").mkdir(parents=True)
    config = root / "nginx.conf"
    config.write_text(CONFIG.format(root=root, port=port))
    process = subprocess.Popen([NGINX, "-c", str(config), "-e", str(root / "error.log")])
    try:
        wait_for_port(port, process)
        yield f"http://127.0.0.1:{port}", root / "www"
    finally:
        process.terminate()
        process.wait()


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("nginx didn't start")


def test_a_directory_of_archives_is_a_mirror_of_tfhub(nginx: tuple[str, Path], cache: Path) -> None:
    url, www = nginx
    models.write_tree(www, {"tfhub/maker/model/1": models.archive(assets__large=bytes(3_000_000))})
    settings = Settings(cache, "--cache-dir", mirrors=(Mirror("https://tfhub.dev", f"{url}/tfhub"),))
    result = fetch("https://tfhub.dev/maker/model/1", settings)
    assert result.size_bytes == 3_000_000 + sum(map(len, models.example_files().values()))
    assert result.source == f"{url}/tfhub/maker/model/1?tf-hub-format=compressed"
