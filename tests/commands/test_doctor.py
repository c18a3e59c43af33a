"""The doctor as a whole: nothing is sent, nothing stops it, and settings in error are among what it finds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hubcli
from hubcli.commands import doctor as doctor_module
from hubcli.commands.doctor import DoctorOptions, doctor
from hubcli.diagnosing.context import Check, DiagnosisContext, Section, Status
from hubcli.diagnosing.settings import OUR_VARIABLES
from tests.conftest import Run
from tests.doctor import check_named, diagnose, names
from tests.forkserver import run_python

EVERYTHING_WRONG = {
    "HUBCLI_CACHE_DIR": "gs://bucket/cache",
    "HUBCLI_KAGGLE_ENDPOINT": "nonsense",
    "HUBCLI_MIRRORS": "nonsense",
    "HUBCLI_GC": "nonsense",
    "SSL_CERT_FILE": "gs://bucket/ca.pem",
    "NETRC": "gs://bucket/netrc",
    "KAGGLE_CONFIG_DIR": "gs://bucket/kaggle",
    "KAGGLEHUB_CACHE": "gs://bucket/kagglehub",
    "TFHUB_MODEL_LOAD_FORMAT": "nonsense",
}


def test_every_setting_that_is_in_error_is_a_problem_of_its_own() -> None:
    found = diagnose(EVERYTHING_WRONG, ca_file="/nowhere", mirrors=("nonsense",))
    problems = [check.name for check in found.problems]
    assert set(problems) == {
        *("root", "load-format", "kagglehub-cache", "mirrors", "kaggle-endpoint", "certificates"),
        *("kaggle", "netrc", "upkeep"),
    }
    assert all(check.hint for check in found.problems)
    assert {"offline", "proxies", "tls", "tensorflow", "config-file"} <= names(found)


def test_flags_in_error_are_problems_too() -> None:
    found = diagnose(cache_dir="gs://bucket/cache", ca_file="/nowhere", mirrors=("nonsense",))
    assert {check.name for check in found.problems} == {"root", "certificates", "mirrors"}


def test_a_flag_spares_the_variable_that_it_overrides(cache: Path) -> None:
    found = diagnose({"HUBCLI_CACHE_DIR": "gs://bucket/cache"}, cache_dir=str(cache))
    assert check_named(found, "root").status is Status.OK


def test_a_check_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(case: DiagnosisContext) -> list[Check]:
        raise RuntimeError("s3cret")

    monkeypatch.setattr(doctor_module, "_CHECKS", [(Section.CACHE, "root", fail), *doctor_module._CHECKS[1:]])
    found = doctor(environment={})
    assert check_named(found, "root").message == "this check failed: RuntimeError"
    assert [type(fault) for fault in found.faults] == [RuntimeError]
    assert check_named(found, "writable").status is Status.OK
    assert "s3cret" not in repr(found.checks)


def test_nothing_goes_out_without_network(cache: Path, tmp_path: Path) -> None:
    """Python tells of every name that is looked up and every connection that is made."""
    program = (
        "import sys\n"
        "sent = []\n"
        "watched = ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname', 'socket.sendto')\n"
        "sys.addaudithook(lambda event, facts: sent.append(event) if event in watched else None)\n"
        "from hubcli.cli.main import main\n"
        "status = main(['doctor', *sys.argv[1:]])\n"
        "assert not sent, sent\n"
        "import socket\n"
        "try: socket.create_connection(('127.0.0.1', 1))\n"
        "except OSError: pass\n"
        "assert sent\n"  # It is told of one.
    )
    variables = {
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "HUBCLI_MIRRORS": "https://tfhub.dev=http://127.0.0.1:1",
    }
    environment = {**os.environ, "HUBCLI_CACHE_DIR": str(cache), **variables}
    with_imports = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert with_imports.returncode == 0, with_imports.stderr
    for more in (("--json",), ("--python", sys.executable)):
        result = run_python(["-c", program, *more], env=environment)
        assert result.returncode == 0, result.stderr


def test_without_a_working_directory_it_works(tmp_path: Path, cache: Path) -> None:
    for root, status in ((str(cache), 0), ("relative", 9)):
        removed = tmp_path / "gone"
        removed.mkdir()
        result = subprocess.run(
            ["sh", "-c", 'rmdir "$PWD" && exec "$0" -m hubcli doctor --json', sys.executable],
            cwd=removed,
            env={**os.environ, "HUBCLI_CACHE_DIR": root},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == status, result.stderr
        checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
        assert checks["root"]["status"] == ("ok" if status == 0 else "problem")


# Settings -----------------------------------------------------------------------------------------


def test_variables_in_force_are_told() -> None:
    found = diagnose(
        {"HUBCLI_OFFLINE": "1", "KAGGLE_KEY": "s3cret", "SHELL": "/bin/sh", "TFHUB_CACHE_DIR": ""}
    )
    messages = {check.name: check.message for check in found.checks if check.section is Section.SETTINGS}
    del messages["config-file"]
    assert messages == {"HUBCLI_OFFLINE": "1", "KAGGLE_KEY": "(set, not shown)"}


def test_a_variable_that_hubcli_does_not_know_is_a_warning() -> None:
    check = check_named(diagnose({"HUBCLI_CACHEDIR": "/x"}), "HUBCLI_CACHEDIR")
    assert (check.status, check.hint) == (Status.WARNING, "Did you mean HUBCLI_CACHE_DIR?")
    assert "Known:" in check_named(diagnose({"HUBCLI_ZZZZZZZZZ": "1"}), "HUBCLI_ZZZZZZZZZ").hint


def test_all_variables_of_hubcli_are_known_to_it() -> None:
    named = set[str]()
    for file in Path(hubcli.__file__).parent.rglob("*.py"):
        named |= set(re.findall(r"\bHUBCLI_[A-Z_]+[A-Z]\b", file.read_text(encoding="utf-8")))
    assert named == set(OUR_VARIABLES)


def test_a_config_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    if sys.platform == "darwin":
        pytest.skip("the folder is named otherwise")
    file = tmp_path / "hubcli" / "config.toml"
    assert check_named(diagnose(), "config-file").message == f"none at {file}"
    file.parent.mkdir()
    for text, status in (
        ('gc = "max-size=20GB"', Status.OK),
        ("# nothing", Status.INFO),
        ("gc = nonsense", Status.PROBLEM),
        ('gc = "max-size=nonsense"', Status.PROBLEM),
    ):
        file.write_text(text)
        assert check_named(diagnose(), "config-file").status is status
        assert str(file) in check_named(diagnose(), "config-file").message


def test_rules_of_the_variable_are_checked() -> None:
    assert check_named(diagnose({"HUBCLI_GC": "older-than=never"}), "upkeep").status is Status.PROBLEM
    assert check_named(diagnose({"HUBCLI_GC": "older-than=90d"}), "upkeep").status is Status.OK


# As a function ------------------------------------------------------------------------------------


def test_it_is_a_function_of_the_package(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(cache))
    found = hubcli.doctor(DoctorOptions(python=sys.executable))
    assert found.is_well is (found.problems == ())
    assert check_named(found, "root").value["path"] == str(cache)
    assert len({check.name for check in found.checks}) == len(found.checks)


def test_its_values_are_json(hubcli: Run) -> None:
    assert json.loads(json.dumps([check.value for check in diagnose().checks]))
