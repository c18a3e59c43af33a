"""The examples for Kubernetes, played without a cluster: each pod has a cache of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests import models
from tests.bucket_servers import BucketServer
from tests.documentation import ROOT
from tests.forkserver import run_python
from tests.installed import require_installed
from tests.kubernetes_pods import Cluster, Finished, failed
from tests.server import HubServer, Reply

EXAMPLES = ROOT / "examples" / "kubernetes"
if not EXAMPLES.is_dir():
    pytest.skip("the examples are not here", allow_module_level=True)
MODEL = "https://tfhub.dev/google/nnlm-en-dim50/2"
FILES = {**models.example_files(), "assets/tokens.txt": os.urandom(50_000)}


@pytest.fixture
def mirror(server: HubServer) -> Mapping[str, str]:
    """The variables that have the test's server answer for tfhub.dev, which the examples name."""
    server.serve("/google/nnlm-en-dim50/2", Reply(models.pack(FILES, level=1), etag='"1"'))
    return {"HUBCLI_MIRRORS": f"https://tfhub.dev={server.url}"}


@pytest.fixture
def lock_file(mirror: Mapping[str, str], tmp_path: Path) -> str:
    """What `hubcli fetch --lock` writes of the model, on a machine that is no pod."""
    path = tmp_path / "models.lock"
    command = ["-m", "hubcli", "fetch", MODEL, "--lock", str(path), "--cache-dir", str(tmp_path / "desk")]
    run_python(command, env={**os.environ, **mirror}, check=True)
    return path.read_text(encoding="utf-8")


def assert_serves_the_model(pod: list[Finished]) -> None:
    """The service of the pod, which prints where its model is, found the right one."""
    assert pod[-1].container == "service"
    assert models.tree_files(Path(pod[-1].output.strip())) == FILES


@pytest.mark.slow
def test_pods_with_init_containers_share_one_download(
    s3_server: BucketServer, server: HubServer, mirror: Mapping[str, str], lock_file: str, tmp_path: Path
) -> None:
    require_installed("obstore")
    s3_server.make_bucket("models")
    server.requests.clear()
    cluster = Cluster(tmp_path / "cluster", {"models.lock": lock_file}, {**mirror, **s3_server.variables})
    pods = cluster.apply(EXAMPLES / "init-container.yaml")
    assert not failed(pods)
    assert len(pods) == 4
    for pod in pods:
        assert_serves_the_model(pod)
    assert len({pod[-1].output for pod in pods}) == 4  # Each has a copy of its own.
    assert [request.method for request in server.requests].count("GET") == 1


@pytest.mark.slow
def test_pods_fetch_from_a_volume_that_they_cannot_write_to(
    server: HubServer, mirror: Mapping[str, str], lock_file: str, tmp_path: Path
) -> None:
    server.requests.clear()
    cluster = Cluster(tmp_path / "cluster", {"models.lock": lock_file}, mirror)
    job, *pods = cluster.apply(EXAMPLES / "shared-volume.yaml")
    assert not failed([job, *pods])
    assert len(pods) == 4
    for pod in pods:
        assert_serves_the_model(pod)
    assert [request.method for request in server.requests].count("GET") == 1


@pytest.mark.slow
def test_a_pod_does_not_start_where_the_volume_has_other_bytes(
    mirror: Mapping[str, str], lock_file: str, tmp_path: Path
) -> None:
    (locked,) = json.loads(lock_file)["models"]
    text = lock_file.replace(locked["archive"]["sha256"], "0" * 64)
    cluster = Cluster(tmp_path / "cluster", {"models.lock": text}, mirror)
    pods = cluster.apply(EXAMPLES / "shared-volume.yaml")
    assert all(pod[-1].container == "models" for pod in pods)
    assert pods[0][-1].status == 6
    assert "Traceback" not in "".join(step.errors for pod in pods for step in pod)


def test_each_manifest_mounts_only_volumes_that_it_declares() -> None:
    for path in EXAMPLES.glob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            spec = document.get("spec", {}).get("template", {}).get("spec", {})
            volumes = {volume["name"] for volume in spec.get("volumes", ())}
            for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
                assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, path
