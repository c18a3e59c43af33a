"""The caches of others: whether `hub.load` looks in this one, and what kagglehub holds."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from hubcli.cache.kagglehub import KaggleHub
from hubcli.cache.layout import is_key
from hubcli.diagnosing.cache import is_directory, temporary_directory
from hubcli.diagnosing.check import Check, Section, Status
from hubcli.diagnosing.context import DiagnosisContext
from hubcli.units import plural
from hubcli.urls import without_secrets

__all__ = ["check_hub_load", "check_kagglehub", "check_load_format"]

_check = partial(Check.of, Section.CACHE)

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FORMATS = ("COMPRESSED", "AUTO")


def check_hub_load(case: DiagnosisContext) -> Iterator[Check]:
    """Where tensorflow_hub looks: TFHUB_CACHE_DIR as it is written, else a temporary directory."""
    if not case.has_root:
        return
    root, text = case.settings.cache_root, case.environment.get("TFHUB_CACHE_DIR")
    export = f"export TFHUB_CACHE_DIR={shlex.quote(str(root))}"
    default = temporary_directory(case) / "tfhub_modules"
    if _REMOTE.match(text):
        where = f"looks in {without_secrets(text)}, where hubcli can't"
    elif text.startswith("~"):
        # The shell expands it in `export A=~/b`, not in quotes, an .env file or a Dockerfile.
        where = f"looks in a directory named '{text.partition('/')[0]}': TFHUB_CACHE_DIR isn't expanded there"
    elif text and not os.path.isabs(text):  # noqa: PTH117 - a string, as tensorflow_hub takes it
        where = f"looks in {text} below wherever it is started"
    elif _are_same(Path(text) if text else default, root):
        yield _check("hub-load", Status.OK, "looks in the same directory", str(root))
        return
    else:
        where = f"looks in {text or default}, not here{_count(Path(text) if text else default)}"
    message = f"{where}; what hubcli fetches it doesn't see"
    yield _check("hub-load", Status.WARNING, message, text or str(default), export)


def check_load_format(case: DiagnosisContext) -> Iterator[Check]:
    """What else the variables of tensorflow_hub change."""
    text = case.environment.get("TFHUB_MODEL_LOAD_FORMAT")
    hint = "unset TFHUB_MODEL_LOAD_FORMAT"
    if text == "UNCOMPRESSED":
        message = "UNCOMPRESSED: hub.load reads from Google's storage and uses no cache"
        yield _check("load-format", Status.WARNING, message, text, hint)
    elif text and text not in _FORMATS:
        message = f"'{text}' is no word of TFHUB_MODEL_LOAD_FORMAT: hub.load refuses every handle"
        yield _check("load-format", Status.PROBLEM, message, text, f"{hint}, or write COMPRESSED")
    if case.environment.get("TFHUB_DISABLE_CERT_VALIDATION") == "true":
        message = "TFHUB_DISABLE_CERT_VALIDATION: hub.load believes any server; hubcli does not"
        hint = "unset TFHUB_DISABLE_CERT_VALIDATION, and name the authority in SSL_CERT_FILE"
        yield _check("load-certificates", Status.WARNING, message, "true", hint)


def check_kagglehub(case: DiagnosisContext) -> Iterator[Check]:
    """What kagglehub's cache holds, which `fetch` takes from there."""
    fault = case.faults.get("KAGGLEHUB_CACHE")
    root = case.settings.kagglehub_root
    if fault is not None:
        yield _check("kagglehub-cache", Status.PROBLEM, fault.message, None, fault.hint)
    elif root is None:
        yield _check("kagglehub-cache", Status.INFO, "there is no home directory for its cache", None)
    elif os.path.lexists(root) and not is_directory(root):
        message = f"{root} is no directory"
        yield _check(
            "kagglehub-cache", Status.WARNING, message, {"path": str(root)}, "Check KAGGLEHUB_CACHE."
        )
    else:
        count = KaggleHub.of(case.settings).count()
        message = f"{root}: {plural(count, 'model')}" if count else f"no model in {root}"
        yield _check("kagglehub-cache", Status.INFO, message, {"path": str(root), "models": count})


def _are_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _count(directory: Path) -> str:
    try:
        models = sum(is_key(path.name) for path in directory.iterdir())
    except OSError:
        return ""
    return f" ({plural(models, 'model')} there)" if models else ""
