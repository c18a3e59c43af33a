"""What doctor tells of buckets: whether they can be read, and where credentials for each cloud are."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.diagnosing.context import Status
from tests.doctor import check_named, diagnose

KEYS = {"AWS_ACCESS_KEY_ID": "AKIA-name", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-doctor"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def with_obstore() -> None:
    pytest.importorskip("obstore", reason="buckets need obstore")


@pytest.mark.usefixtures("with_obstore")
def test_the_places_of_credentials_are_told_and_no_secret() -> None:
    found = diagnose({**KEYS, "AZURE_STORAGE_ACCOUNT": "models", "AZURE_STORAGE_SAS_TOKEN": "sig=s3cr3t"})

    check = check_named(found, "buckets")
    assert check.status is Status.OK
    assert check.message == "s3:// by AWS_ACCESS_KEY_ID; az:// by AZURE_STORAGE_SAS_TOKEN"
    everything = repr([(check.name, check.message, check.value, check.hint) for check in found.checks])
    assert "s3cr3t" not in everything
    assert "AKIA" not in everything


@pytest.mark.usefixtures("with_obstore")
def test_who_uses_no_cloud_is_told_nothing() -> None:
    names = [check.name for check in diagnose({"AWS_EC2_METADATA_DISABLED": "true"}).checks]
    assert not [name for name in names if name.startswith("buckets")]
    check = check_named(diagnose({**KEYS, "HUBCLI_BUCKET_ANONYMOUS": "1"}), "buckets")
    assert "none are sent" in check.message


@pytest.mark.usefixtures("with_obstore")
def test_what_cannot_be_used_is_a_warning_with_its_cure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubcli.config.aws_profile.find_spec", lambda name: None)
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text("[profile p]\nsso_session = corp\n")

    found = diagnose({"AWS_PROFILE": "p", "AWS_ENDPOINT_URL": "https://minio.example"})

    check = check_named(found, "buckets-s3")
    assert check.status is Status.WARNING
    assert "uses sso_session, which requires the package botocore" in check.message
    assert "hubcli[aws]" in check.hint


def test_without_obstore_who_has_an_account_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubcli.diagnosing.tiers.find_spec", lambda name: None)
    check = check_named(diagnose(KEYS), "buckets")
    assert (check.status, check.hint) == (Status.WARNING, "pip install 'hubcli[buckets]'")
    assert "buckets" not in [check.name for check in diagnose({}).checks]
