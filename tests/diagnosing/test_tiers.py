"""Shared tiers in doctor: which are set, and whether each can be reached."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hubcli.diagnosing.context import Status
from hubcli.net.directory_store import DirectoryStore
from tests.doctor import check_named, diagnose
from tests.server import HubServer, Reply

# Nobody listens there.
NOBODY = "http://127.0.0.1:1"


def test_tiers_are_listed_without_credentials_and_an_invalid_one_is_a_problem(tmp_path: Path) -> None:
    found = diagnose({"HUBCLI_TIERS": f"https://me:s3cret@models.example/hub {tmp_path}?mode=read-write"})
    assert check_named(found, "tiers").value == {
        "https://models.example/hub": "read",
        str(tmp_path): "read-write",
    }
    assert "s3cret" not in repr(found.checks)
    assert not any(check.name in ("tiers", "tier") for check in diagnose().checks)
    problem = check_named(diagnose({"HUBCLI_TIERS": "s3://models/hub?mode=write"}), "tiers")
    assert problem.status is Status.PROBLEM
    assert "HUBCLI_TIERS has the invalid mode='write'" in problem.message


def test_a_tier_in_a_directory_is_always_checked(tmp_path: Path) -> None:
    writable = {"HUBCLI_TIERS": f"{tmp_path}?mode=read-write"}
    check = check_named(diagnose(writable), "tier")
    assert (check.status, check.value["exists"]) == (Status.INFO, False)
    check = check_named(diagnose({"HUBCLI_TIERS": str(tmp_path)}), "tier")
    assert (check.status, check.message) == (Status.WARNING, f"{tmp_path} is not a shared tier")

    (tmp_path / "hubcli-tier.json").write_text('{"hubcli_tier": 1}')
    check = check_named(diagnose(writable), "tier")
    assert (check.status, check.value["exists"]) == (Status.OK, True)


def test_a_tier_on_the_network_is_checked_only_with_network(server: HubServer) -> None:
    server.serve("/tier/hubcli-tier.json", Reply(b'{"hubcli_tier": 1}'))
    tiers = {"HUBCLI_TIERS": f"{server.url}/tier {NOBODY}/tier"}
    assert not any(check.name == "tier" for check in diagnose(tiers).checks)
    assert not any(check.name == "tier" for check in diagnose(tiers, offline=True).checks)
    alone = diagnose(tiers, network=True, hosts=(f"{server.url}/",))
    assert not any(check.name == "tier" for check in alone.checks)


def test_each_tier_is_a_check_of_its_own(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubcli.diagnosing.network.hosts_in_force", lambda case: ())
    server.serve("/tier/hubcli-tier.json", Reply(b'{"hubcli_tier": 1}'))
    tiers = {"HUBCLI_TIERS": f"{server.url}/tier {NOBODY}/tier"}

    reached, down = [check for check in diagnose(tiers, network=True).checks if check.name == "tier"]

    assert (reached.status, reached.value["exists"]) == (Status.OK, True)
    assert (down.status, down.value["exists"]) == (Status.WARNING, None)
    assert down.message.startswith(f"{NOBODY}/tier cannot be used: ")
    assert down.hint


def test_a_bucket_that_cannot_be_reached_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore", reason="buckets need obstore")
    monkeypatch.setattr("hubcli.diagnosing.network.hosts_in_force", lambda case: ())
    keys = {"AWS_ENDPOINT_URL": NOBODY, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    check = check_named(diagnose({"HUBCLI_TIERS": "s3://models/hub", **keys}, network=True), "tier")
    assert check.status is Status.WARNING
    assert "s3://models/hub cannot be used" in check.message
    assert "cannot be reached" in check.message


def test_one_that_never_answers_takes_no_longer_than_the_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like a directory of an NFS server that is down."""
    monkeypatch.setattr(DirectoryStore, "head", lambda store, key: time.sleep(30))
    check = check_named(diagnose({"HUBCLI_TIERS": str(tmp_path)}, timeout_s=0.05), "tier")
    assert check.status is Status.WARNING
    assert "no answer within 0.05 s" in check.message
