"""The doctor on credentials: found where they are, and shown nowhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hubcli.diagnosing.context import Environment, Status
from tests.cases import each_of
from tests.conftest import Run
from tests.doctor import check_named, diagnose, names

SECRETS = ("t0ken", "us3rname", "k3y", "pa55word", "l0gin")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_none_is_no_fault() -> None:
    found = diagnose()
    assert check_named(found, "kaggle").status is Status.INFO
    assert check_named(found, "netrc").status is Status.INFO
    assert "modes" not in names(found)


def test_the_place_that_counts_is_named_in_the_order_of_kagglehub(home: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "config" / "kaggle.json", json.dumps({"username": "us3rname", "key": "k3y"}))
    variables = {"KAGGLE_CONFIG_DIR": str(config.parent)}
    places = [check_named(diagnose(variables), "kaggle").value["place"]]
    variables |= {"KAGGLE_USERNAME": "us3rname", "KAGGLE_KEY": "k3y"}
    places.append(check_named(diagnose(variables), "kaggle").value["place"])
    token = write(home / ".kaggle" / "access_token", "t0ken")
    places.append(check_named(diagnose(variables), "kaggle").value["place"])
    variables["KAGGLE_API_TOKEN"] = "t0ken"
    check = check_named(diagnose(variables), "kaggle")
    places.append(check.value["place"])
    assert places == [str(config), "KAGGLE_USERNAME and KAGGLE_KEY", str(token), "KAGGLE_API_TOKEN"]
    assert check.value["unused"] == [str(token), "KAGGLE_USERNAME", str(config)]
    assert not any(secret in repr(check) for secret in SECRETS)


def test_a_login_of_kaggles_command_is_told_and_so_is_its_end(home: Path) -> None:
    def login(expires: str) -> str:
        content = json.dumps({"access_token": "t0ken", "access_token_expiration": expires})
        return str(write(home / ".kaggle" / "credentials.json", content))

    place = login("2999-01-02T03:04:05+00:00")
    found = diagnose()
    assert check_named(found, "kaggle").value == {"place": place, "unused": []}
    assert "kaggle-login" not in names(found)
    assert "t0ken" not in repr(found)
    login("2020-01-02T03:04:05+00:00")
    check = check_named(diagnose(), "kaggle-login")
    assert check.status is Status.INFO
    assert "has expired" in check.message
    assert "kaggle auth login" in check.hint
    login("")
    assert "has no valid token" in check_named(diagnose(), "kaggle-login").message
    assert "kaggle-login" not in names(diagnose({"KAGGLE_API_TOKEN": "t0ken"}))


def test_those_that_can_not_be_used_are_a_problem(home: Path) -> None:
    write(home / ".kaggle" / "kaggle.json", "{k3y")
    found = diagnose()
    assert check_named(found, "kaggle").status is Status.PROBLEM
    assert "kaggle.json" in check_named(found, "kaggle").message
    assert check_named(diagnose({"KAGGLE_API_TOKEN": "t0ken t0ken"}), "kaggle").status is Status.PROBLEM
    assert check_named(diagnose({"KAGGLE_API_TOKEN": "/t0ken"}), "kaggle").status is Status.PROBLEM


def test_one_of_two_variables_is_a_warning() -> None:
    check = check_named(diagnose({"KAGGLE_KEY": "k3y"}), "kaggle-variables")
    assert (check.status, check.value) == (Status.WARNING, ["KAGGLE_KEY"])


def test_a_folder_without_the_file_is_a_warning(tmp_path: Path) -> None:
    assert (
        check_named(diagnose({"KAGGLE_CONFIG_DIR": str(tmp_path)}), "kaggle-folder").status is Status.WARNING
    )
    assert check_named(diagnose({"KAGGLE_CONFIG_DIR": "gs://b/c"}), "kaggle").status is Status.PROBLEM


def test_entries_of_netrc_are_counted_and_the_hosts_in_question_named(tmp_path: Path) -> None:
    text = "machine tfhub.dev login l0gin password pa55word\nmachine other.example login a password b\n"
    file = write(tmp_path / "netrc", f"{text}default login c password d\n")
    check = check_named(diagnose({"NETRC": str(file)}), "netrc")
    assert check.value == {"path": str(file), "entries": 3, "hosts": ["tfhub.dev"], "default": True}
    assert "other.example" not in repr(check)


@pytest.mark.parametrize("text", ["machine a login b pa55word c d", "pa55word"])
def test_a_netrc_that_can_not_be_understood_is_a_problem(text: str, tmp_path: Path) -> None:
    check = check_named(diagnose({"NETRC": str(write(tmp_path / "netrc", text))}), "netrc")
    assert check.status is Status.PROBLEM
    assert "pa55word" not in repr(check)
    assert check_named(diagnose({"NETRC": str(tmp_path / "gone")}), "netrc").status is Status.PROBLEM


def test_files_that_others_can_read_are_a_warning(home: Path, tmp_path: Path) -> None:
    open_files = [
        write(tmp_path / "token", "t0ken", 0o640),
        write(home / ".kaggle" / "access_token", "t0ken", 0o644),
        write(home / ".kaggle" / "kaggle.json", "{}", 0o604),
        write(home / ".netrc", "default login l0gin password pa55word", 0o644),
    ]
    check = check_named(diagnose({"KAGGLE_API_TOKEN": str(open_files[0])}), "modes")
    assert check.status is Status.WARNING
    assert check.value == list(map(str, open_files))
    assert check.hint == f"chmod 600 {' '.join(map(str, open_files))}"
    for file in open_files:
        file.chmod(0o600)
    assert "modes" not in names(diagnose({"KAGGLE_API_TOKEN": str(open_files[0])}))


VARIABLES = {
    "all is well": {
        "KAGGLE_API_TOKEN": "t0ken",
        "KAGGLE_USERNAME": "us3rname",
        "KAGGLE_KEY": "k3y",
        "HTTPS_PROXY": "http://l0gin:pa55word@127.0.0.1:1",
        "all_proxy": "l0gin:pa55word@127.0.0.1:1",
        "HUBCLI_MIRRORS": "https://tfhub.dev=https://l0gin:pa55word@127.0.0.1:1/x?token=t0ken",
        "HUBCLI_KAGGLE_ENDPOINT": "https://127.0.0.1:1/k",
    },
    "nothing can be understood": {
        "KAGGLE_API_TOKEN": "t0ken t0ken",
        "HTTPS_PROXY": "http://l0gin:pa55word/pa55word#x@127.0.0.1:1",
        "HTTP_PROXY": "ftp://l0gin:pa55word@127.0.0.1:1",
        "all_proxy": "socks5://l0gin:pa55word@127.0.0.1:1",
        "HUBCLI_MIRRORS": "tfhub.dev=https://l0gin:pa55word@127.0.0.1:1, l0gin:pa55word@h",
        "HUBCLI_KAGGLE_ENDPOINT": "https://l0gin:pa55word/x@127.0.0.1:1",
        "HUBCLI_CACHE_DIR": "https://l0gin:pa55word@bucket/c?token=t0ken",
        "SSL_CERT_FILE": "https://l0gin:pa55word@bucket/c",
        "HUBCLI_TOKEN": "t0ken",
        "KAGGLE_SECRET": "t0ken",
    },
}


@pytest.mark.parametrize(
    "option", [("--debug",), ("--json",), ("-q", "--network", "--debug", "--timeout", "1s")]
)
@pytest.mark.parametrize("kind", VARIABLES)
def test_no_byte_of_a_secret_is_shown(kind: str, option: tuple[str, ...], hubcli: Run, home: Path) -> None:
    write(home / ".netrc", "machine 127.0.0.1 login l0gin password pa55word pa55word", 0o644)
    write(home / ".kaggle" / "access_token", "t0ken", 0o644)
    write(home / ".kaggle" / "kaggle.json", json.dumps({"username": "us3rname", "key": "k3y"}), 0o644)
    result = hubcli("doctor", *option, **VARIABLES[kind])
    assert result.returncode == 9
    output = result.stdout + result.stderr
    assert output
    assert not [secret for secret in SECRETS if secret in output], output


def test_a_fetch_by_a_proxy_that_can_not_be_used_shows_no_secret_either(hubcli: Run) -> None:
    result = hubcli("fetch", "https://tfhub.dev/a/b/1", "--debug", HTTPS_PROXY="http://me:pa55word/x@h:1")
    assert result.returncode == 5
    assert "Invalid proxy URL" in result.stderr
    assert "pa55word" not in result.stdout + result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another")
def test_without_a_home_it_says_so() -> None:
    """A user whom the system has no entry of, as in many containers."""
    program = (
        "import os, httpx, platformdirs\n"
        "from hubcli.commands.doctor import doctor\n"
        "doctor(environment={})\n"  # That user may not be able to read the modules.
        "os.environ.pop('HOME', None)\n"
        "os.setuid(54321)\n"
        "found = doctor(environment={})\n"
        "assert not found.faults, found\n"
        "print({check.name: check.message for check in found.checks})\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "'root': 'No home directory for the cache'" in result.stdout
    assert "'config-file': 'none: HUBCLI_CONFIG is empty, or no home directory'" in result.stdout
    assert "'netrc': 'no home directory for it'" in result.stdout


@each_of(
    "name, value, text",
    [
        (
            "HUBCLI_TIERS",
            "https://l0gin:pa55word@a.example/m, s3://bucket?mode=read-write",
            "https://a.example s3://bucket?mode=read-write",
        ),
        (
            "HUBCLI_MIRRORS",
            "https://tfhub.dev=https://l0gin:pa55word@a.example/m",
            "https://tfhub.dev=https://a.example",
        ),
        ("HTTPS_PROXY", "http://l0gin:pa55word@127.0.0.1:1", "http://127.0.0.1:1"),
        ("HUBCLI_CACHE_DIR", "/models", "/models"),
        ("HUBCLI_CACHE_DIR", "l0gin:pa55word@a.example", "(set, not shown)"),
        ("KAGGLE_KEY", "k3y", "(set, not shown)"),
    ],
)
def test_a_variable_is_shown_without_what_is_secret_in_it(name: str, value: str, text: str) -> None:
    assert Environment({name: value}).printable() == {name: text}
