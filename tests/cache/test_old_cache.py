"""A cache that hubcli 0.1.0 wrote is read, verified, used and collected."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import models
from tests.entries import key_of
from tests.forkserver import run_python
from tests.installed import require_installed
from tests.old_cache import (
    ADOPTED,
    ALIASES,
    ARCHIVED,
    DIRECTORY,
    EXAMPLE,
    FETCHED,
    FIXTURE,
    HUBCLI,
    INTERRUPTED,
    KAGGLE,
    KAGGLE_LATEST,
    KAGGLE_NAME,
    KAGGLE_TAKEN,
    KERAS,
    KILLED,
    KILLED_SMALL,
    OF_TENSORFLOW_HUB,
    ORIGINAL,
    PINNED,
    PINNED_OF_TENSORFLOW_HUB,
    PLAIN,
    TENSORFLOW_1,
    TENSORFLOW_HUB,
    UNDESCRIBED,
    OldCache,
    large_archive,
    large_reply,
)
from tests.server import HubServer

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Offline = Callable[..., str]

PINS = {PINNED, PINNED_OF_TENSORFLOW_HUB}
STOPPED = (INTERRUPTED, KILLED, KILLED_SMALL)
# A proxy at a closed port: every request to the network fails.
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
RESOLVE = """
import sys, tensorflow_hub as hub
for handle in sys.argv[1:]:
    print(hub.resolve(handle))
"""
LOAD = """
import sys, tensorflow_hub as hub
print(float(hub.load(sys.argv[1])([[21.0]])[0, 0]))
"""


@pytest.fixture
def old(tmp_path: Path) -> OldCache:
    """The cache of 0.1.0, where the fixture `hubcli` looks."""
    return OldCache.unpack(tmp_path)


@pytest.fixture
def offline(hubcli: Run) -> Offline:
    """Runs hubcli without a network, and fails where it does; what it wrote to standard output."""

    def run(*arguments: str, **variables: str) -> str:
        result = hubcli(*arguments, **NO_NETWORK, **variables)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def entries(offline: Offline) -> dict[str, dict[str, object]]:
    """What `ls --json` tells of each entry, by handle, or by key where none is known."""
    listed = json.loads(offline("ls", "--json"))["models"]
    return {entry["handle"] or Path(entry["path"]).name: entry for entry in listed}


def name_in_listing(handle: str) -> str:
    """How the handle is listed."""
    if handle == KAGGLE_LATEST:
        return f"{KAGGLE_LATEST}/2"
    return key_of(UNDESCRIBED) if handle == UNDESCRIBED else handle


def test_the_fixture_is_small_and_names_no_place_but_its_own() -> None:
    assert FIXTURE.stat().st_size < 200_000
    with tarfile.open(FIXTURE) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            text = member.linkname.encode() if file is None else file.read(1 << 20)
            for path in re.findall(rb"(?:file://|^)(/[\w./-]+)", text):
                assert Path(path.decode()).is_relative_to(ORIGINAL), member.name


def test_ls_lists_every_model_with_its_state(old: OldCache, offline: Offline) -> None:
    listed = entries(offline)
    assert set(listed) == {name_in_listing(handle) for handle in (*HUBCLI, *TENSORFLOW_HUB)}
    assert {handle for handle, entry in listed.items() if entry["pinned"]} == PINS
    by_kind = {handle: entry["kind"] for handle, entry in listed.items()}
    assert (by_kind[KERAS], by_kind[TENSORFLOW_1]) == ("Keras", "TF1")
    assert {by_kind[name] for name in by_kind if name not in (KERAS, TENSORFLOW_1)} == {"TF2"}
    unknown = [handle for handle, entry in listed.items() if entry["state"] != "ok"]
    assert unknown == [key_of(UNDESCRIBED)]
    rows = offline("ls").splitlines()
    assert rows[-1] == "16 entries, 239 kB"
    assert sum("ok, pinned" in row for row in rows) == len(PINS)


def test_ls_tells_what_the_records_of_the_downloads_hold(old: OldCache, offline: Offline) -> None:
    listed = entries(offline)
    for handle in (FETCHED, KAGGLE, ARCHIVED, DIRECTORY, ADOPTED):
        manifest = json.loads((old.root / f"{key_of(handle)}.hubcli.json").read_text())
        recorded = {key: manifest[key] for key in ("aliases", "kind", "fetched_at")}
        assert {key: listed[handle][key] for key in recorded} == recorded


def test_every_model_is_used_without_a_network(old: OldCache, offline: Offline) -> None:
    for handles in ([*HUBCLI, *TENSORFLOW_HUB[:3]], list(ALIASES.values())):
        paths = [Path(line) for line in offline("fetch", "-q", *handles).splitlines()]
        assert [path.resolve() for path in paths] == [old.model(handle).resolve() for handle in handles]
        assert all((path / "saved_model.pb").is_file() for path in paths)


def test_every_model_is_inspected(old: OldCache, offline: Offline) -> None:
    for handle in (*HUBCLI, *TENSORFLOW_HUB[:3]):
        document = json.loads(offline("inspect", "--json", handle))
        (graph,) = document["meta_graphs"]
        assert [signature["name"] for signature in graph["signatures"]] == ["serving_default"], handle
        assert document["variables"], handle


def test_every_model_is_verified_against_its_record(old: OldCache, offline: Offline) -> None:
    verified = json.loads(offline("verify", "--json"))
    assert {model["target"] for model in verified["models"]} == {
        name_in_listing(handle) for handle in (*HUBCLI, *TENSORFLOW_HUB)
    }
    assert all(model["ok"] for model in verified["models"])


def test_bytes_that_differ_from_the_records_are_found(old: OldCache, hubcli: Run) -> None:
    damaged = {FETCHED, KAGGLE_TAKEN, DIRECTORY}
    for handle in damaged:
        extra = old.model(handle) / "assets.extra" / "name.txt"
        extra.write_bytes(extra.read_bytes()[:-1] + b"?")
    result = hubcli("verify", "--json")
    assert result.returncode == 9
    assert {model["target"] for model in json.loads(result.stdout)["models"] if not model["ok"]} == damaged


@pytest.mark.parametrize("handle", [INTERRUPTED, KILLED])
def test_a_partial_download_is_resumed_from_its_journal(
    handle: str, old: OldCache, server: HubServer, hubcli: Run
) -> None:
    """0.1.0 didn't sync what a journal tells: it counts where the machine hasn't been started since."""
    os.utime(old.root / f"{key_of(handle)}.hubcli.part.journal")
    reply = large_reply()
    reply.body = bytes(1 << 20) + reply.body[1 << 20 :]  # What is there isn't asked for again.
    server.serve(handle.removeprefix("https://tfhub.dev"), reply)
    result = hubcli("fetch", "--mirror", f"https://tfhub.dev={server.url}", handle)
    assert result.returncode == 0, result.stderr
    assert re.search(r"\b1\.[01] MB", result.stderr.splitlines()[0])
    archive = json.loads((old.root / f"{key_of(handle)}.hubcli.json").read_text())["archive"]
    assert archive["sha256"] == hashlib.sha256(large_archive()).hexdigest()
    assert hubcli("verify", handle).returncode == 0
    assert old.names(handle) == {"", ".descriptor.txt", ".hubcli.json"}


def test_a_journal_from_before_the_last_start_of_the_machine_is_not_believed(
    old: OldCache, server: HubServer, hubcli: Run
) -> None:
    os.utime(old.root / f"{key_of(KILLED)}.hubcli.part.journal", (1, 1))
    server.serve("/maker/killed/1", large_reply())
    result = hubcli("fetch", "-q", "--mirror", f"https://tfhub.dev={server.url}", KILLED)
    assert result.returncode == 0, result.stderr
    assert server.sent_bytes >= len(large_archive())
    assert hubcli("verify", KILLED).returncode == 0
    assert old.names(KILLED) == {"", ".descriptor.txt", ".hubcli.json"}


def test_a_partial_download_of_another_archive_is_begun_anew(
    old: OldCache, server: HubServer, hubcli: Run
) -> None:
    os.utime(old.root / f"{key_of(INTERRUPTED)}.hubcli.part.journal")
    packed = models.pack({**models.example_files(), "assets.extra/large": bytes(9 << 20)}, level=0)
    reply = large_reply()
    reply.body, reply.etag = packed, '"another"'
    server.serve("/maker/interrupted/1", reply)
    result = hubcli("fetch", "-q", "--mirror", f"https://tfhub.dev={server.url}", INTERRUPTED)
    assert result.returncode == 0, result.stderr
    assert (old.model(INTERRUPTED) / "assets.extra" / "large").read_bytes() == bytes(9 << 20)


def test_a_model_whose_fetch_was_killed_is_fetched(old: OldCache, server: HubServer, hubcli: Run) -> None:
    server.serve("/maker/killed-small/1", models.archive())
    result = hubcli("fetch", "-q", "--mirror", f"https://tfhub.dev={server.url}", KILLED_SMALL)
    assert result.returncode == 0, result.stderr
    assert old.names(KILLED_SMALL) == {"", ".descriptor.txt", ".hubcli.json"}


def test_pins_are_set_and_taken_off(old: OldCache, offline: Offline) -> None:
    offline("unpin", PINNED, PINNED_OF_TENSORFLOW_HUB)
    offline("pin", FETCHED, OF_TENSORFLOW_HUB)
    pinned = {handle for handle, entry in entries(offline).items() if entry["pinned"]}
    assert pinned == {FETCHED, OF_TENSORFLOW_HUB}
    assert ".hubcli.pin" not in old.names(PINNED)


def test_rm_removes_models_with_their_records_and_links(old: OldCache, offline: Offline) -> None:
    handles = [FETCHED, KAGGLE, KAGGLE_LATEST, OF_TENSORFLOW_HUB, ADOPTED, EXAMPLE]
    keys = {old.model(handle).resolve().name for handle in handles}
    offline("rm", "-y", *handles)
    assert not [path for path in old.root.iterdir() if path.name.split(".")[0] in keys]
    assert not [path for path in old.root.iterdir() if path.is_symlink() and not path.exists()]
    assert len(entries(offline)) == len((*HUBCLI, *TENSORFLOW_HUB)) - len(handles)


def test_rm_of_a_pinned_model_is_refused(old: OldCache, hubcli: Run) -> None:
    result = hubcli("rm", "-y", PINNED)
    assert "pinned" in result.stderr + result.stdout
    assert old.model(PINNED).is_dir()


def test_a_link_of_kagglehub_goes_with_its_model_and_copies_stay(old: OldCache, offline: Offline) -> None:
    linked = old.kagglehub / "models" / KAGGLE_NAME
    assert models.tree_files(linked / "1") == models.tree_files(old.model(KAGGLE))
    offline("rm", "-y", KAGGLE, KAGGLE_TAKEN, KAGGLEHUB_CACHE=str(old.kagglehub))
    assert sorted(path.name for path in linked.iterdir()) == ["3", "3.complete", "4", "4.complete"]


def test_a_copy_of_kagglehub_is_found(old: OldCache, offline: Offline) -> None:
    path = Path(offline("fetch", "-q", f"{KAGGLE_LATEST}/4", KAGGLEHUB_CACHE=str(old.kagglehub)).strip())
    assert models.tree_files(path) == models.tree_files(old.kagglehub / "models" / KAGGLE_NAME / "4")


def test_gc_would_remove_what_downloads_left_and_removes_nothing_on_a_dry_run(
    old: OldCache, offline: Offline
) -> None:
    before = sorted(path.name for path in old.root.iterdir())
    items = json.loads(offline("gc", "--dry-run", "--json"))["items"]
    assert sorted(path.name for path in old.root.iterdir()) == before
    assert {item["name"].split(".")[0] for item in items} == {key_of(handle) for handle in STOPPED}
    assert {item["reason"] for item in items} == {"old-partial", "owner-dead", "no-model"}


def test_gc_removes_what_downloads_left_and_keeps_every_model(old: OldCache, offline: Offline) -> None:
    listed = entries(offline)
    offline("gc")
    assert entries(offline) == listed
    assert [old.names(handle) for handle in STOPPED] == [set()] * len(STOPPED)
    assert offline("gc") == ""


def test_gc_keeps_a_partial_download_that_is_fresh(old: OldCache, offline: Offline) -> None:
    for name in (".hubcli.part", ".hubcli.part.journal"):
        os.utime(old.root / (key_of(INTERRUPTED) + name))
    offline("gc")
    assert old.names(INTERRUPTED) == {".hubcli.part", ".hubcli.part.journal"}
    assert old.names(KILLED) == set()


def test_gc_with_a_rule_keeps_pinned_models_alone(old: OldCache, offline: Offline) -> None:
    offline("gc", "--older-than", "50d", "-y")
    assert set(entries(offline)) == PINS
    assert not [path for path in old.root.iterdir() if path.is_symlink() and not path.exists()]
    assert Path(offline("fetch", "-q", ALIASES[PINNED]).strip()).resolve() == old.model(PINNED)


def test_gc_spares_what_was_used_since(old: OldCache, offline: Offline) -> None:
    offline("fetch", "-q", FETCHED, PLAIN)
    offline("gc", "--older-than", "50d", "-y")
    assert set(entries(offline)) == {*PINS, FETCHED, PLAIN}


def test_the_lock_file_fetches_what_is_cached(old: OldCache, offline: Offline) -> None:
    paths = offline("fetch", "-q", "--locked", "-r", str(old.lock_file)).split()
    assert {Path(path).resolve() for path in paths} == {
        old.model(handle).resolve() for handle in (FETCHED, f"{KAGGLE_LATEST}/2", ARCHIVED, EXAMPLE)
    }


def test_the_lock_file_is_written_in_the_same_bytes(old: OldCache, offline: Offline) -> None:
    before = old.lock_file.read_bytes()
    anew = old.folder / "anew.lock"
    offline("fetch", "--lock", str(anew), FETCHED, KAGGLE_LATEST, ARCHIVED, EXAMPLE)
    assert anew.read_bytes() == before


def test_the_lock_file_finds_a_byte_that_differs(old: OldCache, hubcli: Run) -> None:
    (old.model(ARCHIVED) / "assets.extra" / "name.txt").write_bytes(b"Archived")
    result = hubcli("fetch", "--locked", "-r", str(old.lock_file))
    assert result.returncode == 6, result.stderr
    assert ARCHIVED in result.stderr


def test_a_model_of_it_is_exported(old: OldCache, offline: Offline, tmp_path: Path) -> None:
    offline("export", KERAS, str(tmp_path / "export"))
    assert models.tree_files(tmp_path / "export") == models.tree_files(old.model(KERAS))


def test_doctor_counts_its_models_and_finds_its_stale_locks(old: OldCache, hubcli: Run) -> None:
    checks = json.loads(hubcli("doctor", "--json").stdout)["checks"]
    (count,) = [check for check in checks if check["name"] == "entries"]
    assert count["message"].startswith("16 models")
    (locks,) = [check for check in checks if check["name"] == "locks"]
    assert locks["status"] == "problem"
    assert "killed" in json.dumps(locks)


@pytest.mark.tensorflow
def test_tensorflow_hub_finds_every_model_in_it(old: OldCache) -> None:
    require_installed("tensorflow_hub")
    environment = {**os.environ, "TFHUB_CACHE_DIR": str(old.root), **NO_NETWORK}
    handles = [handle for handle in (*HUBCLI, *TENSORFLOW_HUB, *ALIASES.values()) if handle != EXAMPLE]
    result = run_python(["-c", RESOLVE, *handles], env=environment, with_tensorflow=True)
    assert result.stdout.split() == [str(old.model(handle)) for handle in handles], result.stderr
    loaded = run_python(["-c", LOAD, ALIASES[FETCHED]], env=environment, with_tensorflow=True)
    assert loaded.stdout.split() == ["42.0"], loaded.stderr
