"""Kinds of hosts stand apart: nobody else names one, and they know nothing of how bytes travel."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import hubcli
from tests.cases import each_of

PACKAGE = Path(hubcli.__file__).parent

# Whose subject Kaggle is: its host, its credentials and their diagnosis, kagglehub's cache; and what
# a user reads and types of them.
KAGGLE_IS_THE_SUBJECT = {
    "_moved.py",  # The old name of a module.
    "providers/__init__.py",  # The line that registers it.
    "providers/provider.py",  # The hint with every accepted spelling.
    "providers/handle.py",  # The members of the deprecated HandleKind.
    "providers/kaggle.py",
    "providers/kaggle_credentials.py",
    "publishing/answer_cache.py",
    "publishing/blobs.py",
    "publishing/hub_tree.py",
    "publishing/kaggle_api.py",
    "publishing/kaggle_creation.py",
    "publishing/kaggle_upload.py",
    "publishing/listings.py",
    "publishing/model_card.py",
    "publishing/readme.py",
    "publishing/upload_files.py",
    "commands/publish.py",
    "commands/info.py",
    "commands/search.py",
    "commands/versions.py",
    "providers/tfhub.py",  # What tfhub.dev redirects to.
    "config/environment.py",
    "config/settings.py",
    "config/config_file.py",
    "diagnosing/settings.py",
    "cache/other_caches.py",
    "fetching/options.py",  # --kagglehub
    "diagnosing/context.py",
    "diagnosing/inventory.py",
    "diagnosing/network.py",
    "diagnosing/packages.py",
    "diagnosing/cache.py",
    "commands/doctor.py",
}
HELP = "cli/"


class Module(NamedTuple):
    """What the tests look for in a module: read once, for all of them."""

    names: frozenset[str]
    reads_provider: bool


@cache
def read_module(module: str) -> Module:
    nodes = list(ast.walk(ast.parse((PACKAGE / module).read_text("utf-8"))))
    return Module(names(nodes), any(map(_reads_provider, nodes)))


def names(nodes: Sequence[ast.AST]) -> frozenset[str]:
    """Every name, attribute, import and text of the module but its documentation."""
    documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr) and _is_text(node.value)}
    found = set()
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            found.add(node.value)
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                found.add(value)
    return frozenset(found)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def modules() -> list[str]:
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.sources
def test_kaggle_is_named_only_where_it_is_the_subject() -> None:
    naming = {
        module
        for module in modules()
        if not module.startswith(HELP) and any("kaggle" in name.lower() for name in read_module(module).names)
    }
    assert naming == KAGGLE_IS_THE_SUBJECT


@pytest.mark.sources
def test_tfhub_is_named_only_by_its_provider_and_in_hints() -> None:
    naming = {
        module
        for module in modules()
        if not module.startswith((HELP, "providers/"))
        and any("tfhub.dev" in name or "tensorflow.google.cn" in name for name in read_module(module).names)
    }
    # Examples of a mirror's prefix.
    assert naming == {"config/config_file.py", "config/environment.py", "diagnosing/context.py"}


@pytest.mark.sources
def test_no_module_asks_which_provider_a_handle_has() -> None:
    """What differs between kinds is a method of theirs; kagglehub's cache alone holds those of one."""
    asking = {
        module
        for module in modules()
        if not module.startswith("providers/") and read_module(module).reads_provider
    }
    assert asking == {"cache/other_caches.py"}


def _reads_provider(node: ast.AST) -> bool:
    return (
        (isinstance(node, ast.Attribute) and node.attr == "kind" and _is_handle(node.value))
        or (isinstance(node, ast.Attribute) and node.attr == "name" and _is_provider(node.value))
        or (isinstance(node, ast.Name) and node.id == "HandleKind")
    )


def _is_handle(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id in ("handle", "parsed")) or (
        isinstance(node, ast.Attribute) and node.attr == "handle"
    )


def _is_provider(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "provider") or (
        isinstance(node, ast.Attribute) and node.attr == "provider"
    )


@each_of("module", [path.stem for path in sorted((PACKAGE / "providers").glob("*.py"))])
def test_a_provider_imports_nothing_of_net(module: str) -> None:
    tree = ast.parse((PACKAGE / "providers" / f"{module}.py").read_text("utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    forbidden = (
        "hubcli.net",
        "hubcli.fetching",
        "hubcli.cache",
        "httpx",
        "httpcore",
        "urllib.request",
        "http",
    )
    assert not [name for name in imported if name.startswith(forbidden)]


@each_of("module", ["byte_source", "download", "spool"])
def test_what_reads_byte_sources_knows_no_http(module: str) -> None:
    program = f"import sys; import hubcli.net.{module}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert not loaded & {"httpx", "httpcore", "hubcli.net.client", "hubcli.net.http_source"}


def test_a_handle_loads_its_own_provider_alone() -> None:
    program = (
        "import sys; from hubcli.providers.handle import Handle; Handle.parse('example://mul/1');"
        "print(*(name for name in sys.modules if name.startswith('hubcli.providers.')))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {name.rpartition(".")[2] for name in result.stdout.split()} == {"handle", "provider", "example"}
