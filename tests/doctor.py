"""A checkup in a test: the environment is what the test says, and nothing else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import trustme

from hubcli.commands.doctor import Diagnosis, DoctorOptions, doctor
from hubcli.diagnosing.context import Check

__all__ = ["check_named", "diagnose", "names", "write_distribution"]


def diagnose(variables: Mapping[str, str] | None = None, **options: Any) -> Diagnosis:
    """What the doctor finds with these variables and options."""
    # To read the hundreds of certificate authorities of a system takes OpenSSL 20 ms.
    with patch.dict(os.environ, SSL_CERT_FILE=str(_one_authority())):
        found = doctor(DoctorOptions(**options), environment=variables or {})
    assert found.faults == ()
    return found


@cache
def _one_authority() -> Path:
    file = Path(tempfile.mkdtemp(), "authority.pem")
    trustme.CA().cert_pem.write_to_path(file)
    return file


def check_named(diagnosis: Diagnosis, name: str) -> Check:
    """The check of that name, which is there once."""
    (check,) = [check for check in diagnosis.checks if check.name == name]
    return check


def names(diagnosis: Diagnosis) -> set[str]:
    return {check.name for check in diagnosis.checks}


def write_distribution(site: Path, name: str, version: str, *requires: str) -> None:
    """What pip leaves of an installed package, without the package."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    requirements = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    headers = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requirements}"
    text = f"{headers}\nVersion: of the description\n"
    (folder / "METADATA").write_text(text)
