"""The packages of an environment, read from their metadata; none is imported.

This file is also run as it is by other interpreters (`python -I -c`), from Python 3.8 on: it may use
nothing but the standard library, and no newer syntax.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from typing import Any, Sequence  # noqa: UP035 - as Python 3.8 has it

__all__ = ["LISTED_PACKAGES", "TENSORFLOWS", "take_inventory"]

# Distributions that bring the package `tensorflow`; the first is the usual one.
TENSORFLOWS = (
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-gpu",
    "tensorflow-intel",
    "tensorflow-macos",
    "tensorflow-cpu-aws",
    "tensorflow-rocm",
    "intel-tensorflow",
    "tf-nightly",
    "tf-nightly-cpu",
)
# The packages that `doctor` lists, in this order.
LISTED_PACKAGES = (
    "tensorflow",
    "keras",
    "tf_keras",
    "tensorflow_hub",
    "kagglehub",
    "setuptools",
    "protobuf",
    "numpy",
    "h5py",
    "safetensors",
)
_NAMES = (*TENSORFLOWS, *LISTED_PACKAGES[1:], "ml_dtypes", "typer", "rich", "httpx", "hubcli")


def take_inventory(more: Sequence[str] = ()) -> dict[str, Any]:
    """What is installed for this interpreter, as JSON can hold it; `more` are directories to look in first.

    Each package has its `version`, its `requires` and the `folder` that it is in. `has_upb` says whether
    protobuf has its quick parser.
    """
    path = [*more, *sys.path]
    packages: dict[str, dict[str, Any]] = {}
    for name in _NAMES:
        # The first on the path is the one that Python imports.
        for found in importlib.metadata.distributions(name=name, path=path):
            facts = _facts(found)
            if facts is not None:
                packages[name] = facts
            break
    upb = f"{packages.get('protobuf', {}).get('folder', '')}/google/_upb"
    return {
        "python": ".".join(str(number) for number in sys.version_info[:3]),
        "executable": sys.executable,
        "platform": sys.platform,
        "packages": packages,
        "has_upb": os.path.isdir(upb) and any(name.startswith("_message.") for name in os.listdir(upb)),  # noqa: PTH112, PTH208
    }


def _facts(found: importlib.metadata.Distribution) -> dict[str, Any] | None:
    """Version, requirements and folder; None if unreadable. Read by hand: the email parser is much slower."""
    try:
        text = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
    except (OSError, ValueError):
        return None
    fields = [line.partition(": ") for line in text.replace("\r", "").partition("\n\n")[0].splitlines()]
    version = next((value.strip() for name, _, value in fields if name == "Version"), "")
    requires = [value.strip() for name, _, value in fields if name == "Requires-Dist"]
    folder = str(found.locate_file(""))
    return {"version": version, "requires": requires, "folder": folder} if version else None


def _of_the_user() -> list[str]:
    """The user's own packages, where this interpreter would look for them if it were not isolated."""
    import site

    is_alone = sys.prefix != sys.base_prefix or os.environ.get("PYTHONNOUSERSITE")
    return [] if is_alone else [site.getusersitepackages()]


if __name__ == "__main__":
    # On a line of its own: what runs at the start of an interpreter may have printed something.
    sys.stdout.write(f"\n{json.dumps(take_inventory([*sys.argv[1:], *_of_the_user()]))}\n")
