"""The tests of this room by the oldest and the newest httpx that pyproject.toml promises.

hubcli reads large bodies and bounds answers below httpx, on the connections of httpcore: partly by what
neither documents. What a new release changes there shows here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import hubcli
from tests.forkserver import ROOT

_INSTALL_TIMEOUT_S = 120


def promised(package: str) -> str:
    """The least version in pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(rf'"{package}>=([\d.]+)"', text)
    assert found is not None
    return found[1]


def installed(tmp_path: Path, *requirements: str) -> Path:
    """A directory with those packages. Skips the test where no index of packages can be reached."""
    folder = tmp_path / "packages"
    options = ("--quiet", "--no-compile", "--target", str(folder))
    command = [sys.executable, "-m", "pip", "install", *options, *requirements]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"the index of packages doesn't answer: {' '.join(requirements)} can't be installed")
    if result.returncode:
        pytest.skip(f"{' '.join(requirements)} can't be installed here: {result.stderr.strip()[-200:]}")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_bodies_are_read_and_bounded_as_by_the_httpx_of_today(which: str, tmp_path: Path) -> None:
    packages = ("httpx", "httpcore")
    requirements = [f"{name}=={promised(name)}" if which == "oldest" else name for name in packages]
    folder = installed(tmp_path, *requirements)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    program = "import httpx, httpcore; print(httpx.__version__, httpcore.__version__, httpx.__file__)"
    versions = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert str(folder) in versions
    if which == "oldest":
        assert versions.startswith(promised("httpx"))
    elif all(version(name) in versions.split() for name in packages):
        return  # It is that of this run, whose quick tests prove it.
    # In one process: they wait for clocks, and each worker would take longer to start than its tests.
    options = ["-q", "-n", "0", "-m", "not slow", "-p", "no:cacheprovider"]
    # Buckets and directories aren't read by httpx.
    options += [f"--ignore=tests/net/{Path(__file__).name}"]
    options += [f"--ignore-glob=tests/net/test_{name}*" for name in ("bucket", "directory")]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/net", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{versions}{result.stdout[-3000:]}"


def test_what_httpx_does_not_document_is_used_by_one_module() -> None:
    private = re.compile(r"\.(_transport|_mounts|_pool|_network_backend)\b|NetworkStream|NetworkBackend")
    package = Path(hubcli.__file__).parent
    users = [path for path in package.rglob("*.py") if private.search(path.read_text(encoding="utf-8"))]
    assert [path.relative_to(package).as_posix() for path in users] == ["net/bounds.py"]
