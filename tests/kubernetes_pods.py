"""Kubernetes manifests played without a cluster: each pod as processes, each of its volumes as a directory.

What is played: replicas at the same time, init containers one after another, volumes of the kinds emptyDir,
configMap and persistentVolumeClaim, mounts that nothing is written to, commands and variables. Images and
security contexts are not: `hubcli` is the one that is tested.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.forkserver import run_python

__all__ = ["Cluster", "Finished", "failed"]


@dataclass(frozen=True)
class Finished:
    """How a container of a pod ended."""

    pod: str
    container: str
    status: int
    output: str
    errors: str


@dataclass
class Cluster:
    """Where volumes lie, and what replaces the manifest's own values: data of config maps, and variables."""

    folder: Path
    data: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    def apply(self, manifest: Path) -> list[list[Finished]]:
        """Runs each Job and Deployment of the file in its order, its pods at once; a list for each pod."""
        documents = list(yaml.safe_load_all(manifest.read_text(encoding="utf-8")))
        for document in documents:
            if document["kind"] == "ConfigMap":
                self._write_config_map(document)
        finished: list[list[Finished]] = []
        for document in documents:
            if document["kind"] not in ("Job", "Deployment"):
                continue
            spec = document["spec"]["template"]["spec"]
            pods = [f"{document['metadata']['name']}-{n}" for n in range(document["spec"].get("replicas", 1))]
            with ThreadPoolExecutor(len(pods)) as threads:
                finished += threads.map(lambda pod, spec=spec: self._run_pod(pod, spec), pods)
        return finished

    def _write_config_map(self, document: Mapping[str, Any]) -> None:
        folder = self.folder / "config-maps" / document["metadata"]["name"]
        folder.mkdir(parents=True)
        for name, text in {**document["data"], **self.data}.items():
            (folder / name).write_text(text, encoding="utf-8")

    def _run_pod(self, pod: str, spec: Mapping[str, Any]) -> list[Finished]:
        """Its containers in order, up to the first that fails."""
        folders = {volume["name"]: self._volume(pod, volume) for volume in spec["volumes"]}
        finished: list[Finished] = []
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            finished.append(self._run_container(pod, container, folders))
            if finished[-1].status:
                break
        return finished

    def _volume(self, pod: str, volume: Mapping[str, Any]) -> Path:
        if "configMap" in volume:
            return self.folder / "config-maps" / str(volume["configMap"]["name"])
        if "persistentVolumeClaim" in volume:
            folder = self.folder / "claims" / str(volume["persistentVolumeClaim"]["claimName"])
        else:
            assert "emptyDir" in volume
            folder = self.folder / "pods" / pod / str(volume["name"])
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _run_container(self, pod: str, container: Mapping[str, Any], folders: Mapping[str, Path]) -> Finished:
        """A process with links to its mounts below a root of its own; it changes none that are read-only."""
        root = Path(tempfile.mkdtemp(prefix=f"{pod}-", dir=self.folder))
        places: dict[str, str] = {}
        before: dict[Path, dict[str, tuple[int, int]]] = {}
        for mount in container["volumeMounts"]:
            place = root / mount["mountPath"].removeprefix("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            source = folders[mount["name"]]
            place.symlink_to(source)
            places[mount["mountPath"]] = str(place)
            if mount.get("readOnly"):
                before[source] = _tree(source)
        variables = {item["name"]: item["value"] for item in container.get("env", ())}
        variables = {name: _placed(value, places) for name, value in variables.items()}
        words = [
            _placed(word, places) for word in (*container.get("command", ()), *container.get("args", ()))
        ]
        if "command" not in container:
            words = ["-m", "hubcli", *words]
        else:
            assert words.pop(0) == "python"
        result = run_python(words, env={**os.environ, **self.variables, **variables})
        for source, tree in before.items():
            assert tree == _tree(source), f"{pod} changed {source}"
        return Finished(pod, container["name"], result.returncode, result.stdout, result.stderr)


def _placed(text: str, places: Mapping[str, str]) -> str:
    """The text with a mount's directory in the place of its path in the container."""
    for path, place in places.items():
        if text == path or text.startswith((f"{path}/", f"{path}?")):
            return place + text.removeprefix(path)
    return text


def _tree(folder: Path) -> dict[str, tuple[int, int]]:
    facts = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        facts[str(path.relative_to(folder))] = (status.st_size if path.is_file() else 0, status.st_mode)
    return facts


def failed(pods: Sequence[Sequence[Finished]]) -> list[Finished]:
    """The containers that ended with a failure."""
    return [step for pod in pods for step in pod if step.status]
