"""The index of records: listings are the same with and without it, and no removal uses it."""

from __future__ import annotations

import json
import os
import shutil
import time
from binascii import crc32
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hubcli.cache import disk_usage, record_index
from hubcli.cache.cached_model import CachedModel
from hubcli.cache.catalog import CachedModelInfo, read_catalog
from hubcli.cache.gc.collect import ActionResult, collect
from hubcli.cache.gc.plan import Policy
from hubcli.cache.gc.planner import make_plan
from hubcli.cache.gc.snapshot import take_snapshot
from hubcli.cache.layout import INDEX_NAME, NEW_INDEX_NAME, EntryPaths, RootNames
from hubcli.cache.record_index import MIN_RECORDS, ManifestSummary, RecordReader
from hubcli.cache.records import Manifest
from hubcli.commands.gc import gc
from hubcli.commands.pin import pin, unpin
from hubcli.commands.rm import rm
from hubcli.config.settings import Settings
from hubcli.errors import NotFoundError
from hubcli.fetching.model_ref import cached_model_refs
from hubcli.units import to_iso_utc
from tests.entries import SHARD, hubcli_entry, key_of, tensorflow_hub_entry

HANDLES = tuple(f"https://tfhub.dev/google/model-{letter}/1" for letter in "abc")
_LATER_NS = 60 * 10**9


class Clock:
    """The listings' clock: a minute ahead, so that what was written just now counts as old to them."""

    def __init__(self) -> None:
        self.ahead_ns = _LATER_NS

    def time_ns(self) -> int:
        return time.time_ns() + self.ahead_ns

    def time(self) -> float:
        return self.time_ns() / 1e9


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(record_index, "time", clock)
    return clock


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single model is enough for an index."""
    monkeypatch.setattr(record_index, "MIN_RECORDS", 1)


@pytest.fixture
def root(tmp_path: Path, small: None) -> Path:
    for handle in HANDLES:
        hubcli_entry(tmp_path / "cache", handle)
    return tmp_path / "cache"


def listed(root: Path, *, with_index: bool) -> dict[str, CachedModelInfo]:
    return {model.name: model for model in read_catalog(root, with_index=with_index).models}


def from_index(root: Path) -> set[str]:
    """The keys of the models that a listing now takes from the index."""
    reader = RecordReader(RootNames.read(root), with_index=True)
    before = dict(reader._rows)
    return {key for key in before if reader.read(key) is not None and reader._rows.get(key) is before[key]}


def manifest_of(root: Path, handle: str) -> Path:
    return EntryPaths(root, key_of(handle)).manifest


def write_in_place(path: Path, content: bytes) -> None:
    """Writes into the same file, until it has another time: a tick of the clock may not have passed yet."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        path.write_bytes(content)


def test_a_listing_writes_the_index_and_the_next_one_reads_no_manifest(root: Path, clock: Clock) -> None:
    anew = listed(root, with_index=False)
    assert not (root / INDEX_NAME).exists()

    assert listed(root, with_index=True) == anew

    assert from_index(root) == {key_of(handle) for handle in HANDLES}
    assert listed(root, with_index=True) == anew
    assert not (root / NEW_INDEX_NAME).exists()
    for model in anew.values():
        assert model.manifest == Manifest.read(model.paths.manifest)


def test_a_small_cache_has_no_index(tmp_path: Path, clock: Clock) -> None:
    hubcli_entry(tmp_path, HANDLES[0])

    read_catalog(tmp_path)

    assert MIN_RECORDS == 500
    assert not (tmp_path / INDEX_NAME).exists()


def test_the_index_is_no_foreign_name_and_stays(root: Path, clock: Clock) -> None:
    read_catalog(root)
    (root / NEW_INDEX_NAME).touch()

    assert RootNames.read(root).foreign == set()
    assert gc(Settings.read({}, cache_dir=root, no_sync=True)).plan.items == ()
    assert (root / INDEX_NAME).exists()


def test_what_was_written_just_now_is_not_in_the_index(root: Path) -> None:
    read_catalog(root)
    assert not (root / INDEX_NAME).exists()
    manifest = manifest_of(root, HANDLES[0])
    for letter in "xyz":  # Within a tick of the clock, and of the same size.
        manifest.write_bytes(
            manifest.read_bytes().replace(b"model-", b"madel-" if letter == "y" else b"model-")
        )
        assert listed(root, with_index=True) == listed(root, with_index=False)


def test_one_model_that_changed_does_not_write_the_index_anew(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_catalog(root)
    written = (root / INDEX_NAME).stat().st_ino
    os.utime(manifest_of(root, HANDLES[0]), (2_000_000_000, 2_000_000_000))
    monkeypatch.setattr(record_index, "MIN_RECORDS", 2)

    assert listed(root, with_index=True) == listed(root, with_index=False)

    assert (root / INDEX_NAME).stat().st_ino == written
    assert from_index(root) == {key_of(handle) for handle in HANDLES[1:]}


def _rewrite(root: Path, handle: str) -> None:
    """Writes a manifest of the same size into the same file, and gives it the time that it had."""
    path = manifest_of(root, handle)
    if path.exists():
        status, content = path.stat(), path.read_bytes()
        write_in_place(path, content.swapcase() if b"TF2" not in content else content.replace(b"TF2", b"TF1"))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace(root: Path, handle: str) -> None:
    """Renames another manifest into place."""
    path = manifest_of(root, handle)
    manifest = Manifest.read(path)
    if manifest is not None:
        new = root.parent / "new"
        new.write_text(replace(manifest, kind="TF3").to_text())
        new.replace(path)


def _garble(root: Path, handle: str) -> None:
    if manifest_of(root, handle).exists():
        write_in_place(manifest_of(root, handle), b"{")


def _truncate_shard(root: Path, handle: str) -> None:
    shard = EntryPaths(root, key_of(handle)).model / SHARD
    if shard.exists():
        os.truncate(shard, 7)


def _use(root: Path, handle: str) -> None:
    CachedModel.read(EntryPaths(root, key_of(handle))).touch()


def _settings(root: Path) -> Settings:
    return Settings.read({}, cache_dir=root, no_sync=True)


def _pin(verb: Callable[[str, Settings], object], root: Path, handle: str) -> None:
    with suppress(NotFoundError):
        verb(handle, _settings(root))


_STEPS: dict[str, Callable[[Path, str], object]] = {
    "fetch": lambda root, handle: hubcli_entry(root, handle),
    "adopt": lambda root, handle: tensorflow_hub_entry(root, f"{handle}1"),
    "rm": lambda root, handle: rm([handle], _settings(root), force=True),
    "pin": lambda root, handle: _pin(pin, root, handle),
    "unpin": lambda root, handle: _pin(unpin, root, handle),
    "use": _use,
    "gc": lambda root, handle: gc(_settings(root), Policy(older_than_s=86400)),
    "dry run": lambda root, handle: gc(_settings(root), Policy(older_than_s=86400), dry_run=True),
    "rewrite": _rewrite,
    "replace": _replace,
    "garble": _garble,
    "truncate shard": _truncate_shard,
    "remove files": lambda root, handle: shutil.rmtree(
        EntryPaths(root, key_of(handle)).model / "variables", ignore_errors=True
    ),
    "truncate index": lambda root, handle: (root / INDEX_NAME).write_bytes(_bytes(root / INDEX_NAME)[:-9]),
    "foreign index": lambda root, handle: (root / INDEX_NAME).write_bytes(b"hubcli-index 2 00000000 0\n"),
    "list": lambda root, handle: None,
}


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    st.lists(
        st.tuples(st.sampled_from([*_STEPS, "clock back"]), st.sampled_from(HANDLES)), min_size=1, max_size=6
    )
)
@example([("list", HANDLES[0]), ("rewrite", HANDLES[0]), ("clock back", HANDLES[0]), ("replace", HANDLES[0])])
@example([("use", HANDLES[0]), ("gc", HANDLES[0]), ("fetch", HANDLES[1]), ("garble", HANDLES[2])])
def test_a_listing_tells_the_same_with_the_index_after_any_steps(
    tmp_path_factory: pytest.TempPathFactory, small: None, clock: Clock, steps: list[tuple[str, str]]
) -> None:
    root = tmp_path_factory.mktemp("steps") / "cache"
    for handle in HANDLES[:2]:
        hubcli_entry(root, handle)
    for name, handle in steps:
        if name == "clock back":
            clock.ahead_ns -= _LATER_NS // 4
        else:
            _STEPS[name](root, handle)
        assert listed(root, with_index=True) == listed(root, with_index=False), (name, handle)
        with_index, without = take_snapshot(root, with_index=True), take_snapshot(root)
        by_key = {model.key: replace(model, inode=0, listed_at_ns=0) for model in without.models}
        assert {model.key: replace(model, inode=0, listed_at_ns=0) for model in with_index.models} == by_key
        assert with_index.fragments == without.fragments
        no_links = take_snapshot(root, with_index=True, with_links=False)
        assert {model.key for model in no_links.models} == by_key.keys()
        assert no_links.fragments == without.fragments


def test_a_plan_from_a_snapshot_with_the_index_removes_nothing(root: Path, clock: Clock) -> None:
    read_catalog(root)
    policy = Policy(older_than_s=86400)

    plan = make_plan(take_snapshot(root, with_index=True), policy)

    assert len(plan.items) == len(HANDLES)
    assert {action.result for action in collect(plan)} == {ActionResult.CHANGED}
    assert {model.handle for model in read_catalog(root).models} == set(HANDLES)
    assert len(gc(_settings(root), policy).removed) == len(HANDLES)


def test_an_index_from_before_the_clock_was_set_back_is_ignored(root: Path, clock: Clock) -> None:
    read_catalog(root)
    assert from_index(root)

    clock.ahead_ns -= _LATER_NS // 2

    assert from_index(root) == set()


def _document(root: Path) -> dict[str, list[Any]]:
    document: dict[str, list[Any]] = json.loads((root / INDEX_NAME).read_bytes().partition(b"\n")[2])
    return document


def _write_index(root: Path, document: object) -> None:
    body = json.dumps(document).encode()
    (root / INDEX_NAME).write_bytes(record_index._HEADER % (crc32(body), len(body)) + body)


_YEAR_10000_S = 253402300800.0
_WRONG: list[object] = [
    *(None, True, -1, 1e300, _YEAR_10000_S, float("nan"), 2**70, "x", "x" * 5000, "\ud800", [], {}, [[]])
]


def test_an_index_of_hostile_values_is_ignored_or_tells_values_of_the_right_types(
    root: Path, clock: Clock
) -> None:
    read_catalog(root)
    good, names = _document(root), RootNames.read(root)
    hostile: list[object] = [[], 7, "x", {}, {**good, "keys": good["keys"][:-1]}]
    for name, value in good.items():
        hostile.append({other: good[other] for other in good if other != name})
        hostile += [{**good, name: wrong} for wrong in _WRONG[:3]]
        if isinstance(value, list):
            hostile += [{**good, name: [wrong, *value[1:]]} for wrong in _WRONG]
    ignored = 0
    for document in hostile:
        _write_index(root, document)
        reader = RecordReader(names, with_index=True)
        ignored += not reader._rows
        for key in names.models:
            summary = reader.read(key)
            assert summary is not None
            assert type(summary.handle) is str
            assert sum(summary.sizes_bytes) >= 0
            assert {*map(type, summary.aliases)} == {str}
            assert to_iso_utc(summary.fetched_at_s) + to_iso_utc(summary.last_used_at_s)
    assert len(hostile) * 0.7 < ignored < len(hostile)


@pytest.mark.parametrize("path", ["a\0b", "\ud800", "../../x", "/etc/passwd"])
def test_a_path_of_the_index_that_no_file_has_is_a_difference(root: Path, clock: Clock, path: str) -> None:
    read_catalog(root)
    document = _document(root)
    kind, form, tier, aliases, paths = document["shapes"][0]
    document["shapes"][0] = [kind, form, tier, aliases, [path, *paths[1:]]]
    _write_index(root, document)

    problems = {str(model.problem).partition(path)[2] for model in read_catalog(root).models}

    assert any(text.startswith((" is", " has")) for text in problems)


def test_an_index_of_long_texts_or_large_numbers_is_ignored(root: Path, clock: Clock) -> None:
    read_catalog(root)
    good = _document(root)
    kind, form, tier, aliases, paths = good["shapes"][0]
    for wrong in (
        {"handles": ["x" * 2001, *good["handles"][1:]]},
        {"shapes": [[kind, form, tier, [[""] * 9 + ["x" * 2001]], paths]] * len(good["shapes"])},
        {"shapes": [[kind, form, tier, aliases, ["x" * 2001, *paths[1:]]]] * len(good["shapes"])},
        {"sizes_bytes": [[2**63 for _ in paths]] * len(good["keys"])},
    ):
        _write_index(root, {**good, **wrong})
        assert record_index._read_index(root, 100, clock.time_ns()) == {}, wrong


def _status(mode: int, user: int) -> os.stat_result:
    return os.stat_result((mode, 0, 0, 1, user, 0, 0, 0, 0, 0))


def test_in_a_sticky_directory_the_index_of_another_user_is_ignored(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    me, other, owner = os.geteuid(), os.geteuid() + 1, os.geteuid() + 2
    trusted = {
        (mode, user): record_index._is_trusted(_status(0o100644, user), _status(mode, owner))
        for mode in (0o40777, 0o41777)
        for user in (me, other, owner, 0)
    }
    assert {key for key, is_trusted in trusted.items() if not is_trusted} == {(0o41777, other)}
    read_catalog(root)
    root.chmod(0o1777)
    assert from_index(root)
    monkeypatch.setattr(record_index, "_is_trusted", lambda index, top: not top.st_mode & 0o1000)

    assert from_index(root) == set()


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"[" * 100_000, b"hubcli-index 1 00000000 0\n", b"\x00" * 99]
)
def test_an_index_of_other_content_is_ignored_and_written_anew(
    root: Path, clock: Clock, content: bytes
) -> None:
    (root / INDEX_NAME).write_bytes(content)

    assert listed(root, with_index=True) == listed(root, with_index=False)

    assert len(from_index(root)) == len(HANDLES)


def test_an_index_cut_off_or_changed_anywhere_is_ignored(root: Path, clock: Clock) -> None:
    read_catalog(root)
    whole = (root / INDEX_NAME).read_bytes()
    for position in range(0, len(whole), 29):
        for content in (
            whole[:position],
            whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :],
        ):
            (root / INDEX_NAME).write_bytes(content)
            assert record_index._read_index(root, 3, clock.time_ns()) == {}


def test_a_nested_or_too_large_index_is_ignored(root: Path, clock: Clock) -> None:
    body = b"[" * 100_000
    (root / INDEX_NAME).write_bytes(record_index._HEADER % (crc32(body), len(body)) + body)
    assert record_index._read_index(root, 100, clock.time_ns()) == {}
    read_catalog(root)
    document = {**_document(root), "padding": ["x" * 100_000]}
    _write_index(root, document)

    assert record_index._read_index(root, 3, clock.time_ns()) == {}
    assert len(record_index._read_index(root, 100, clock.time_ns())) == 3


def test_a_fifo_in_place_of_the_index_is_not_waited_for(root: Path, clock: Clock) -> None:
    os.mkfifo(root / INDEX_NAME)

    assert len(read_catalog(root).models) == len(HANDLES)


def test_a_manifest_too_large_for_a_row_is_read_anew_and_the_others_are_indexed(
    root: Path, clock: Clock
) -> None:
    path = manifest_of(root, HANDLES[0])
    manifest = Manifest.read(path)
    assert manifest is not None
    write_in_place(path, replace(manifest, aliases=("x" * 5000,)).to_text().encode())

    assert listed(root, with_index=True) == listed(root, with_index=False)

    assert from_index(root) == {key_of(handle) for handle in HANDLES[1:]}


@given(st.text(max_size=8), st.lists(st.text(max_size=12), max_size=3).map(tuple))
@example("a://\0b", ("\0", "a://\0b", "x\0b\0b"))
@example("", ("", "a"))
def test_a_summary_has_the_aliases_of_its_manifest(handle: str, aliases: tuple[str, ...]) -> None:
    manifest = Manifest(handle, (*aliases, f"http{handle[5:]}", f"{handle}/"), "", "TF2", (), 0.0, 0.0)

    assert ManifestSummary.of(manifest, {}).aliases == manifest.aliases


def test_another_process_that_writes_the_index_is_left_to_it(root: Path, clock: Clock) -> None:
    (root / NEW_INDEX_NAME).write_bytes(b"half")
    os.utime(root / NEW_INDEX_NAME, (clock.time(), clock.time()))

    read_catalog(root)

    assert (root / NEW_INDEX_NAME).read_bytes() == b"half"
    assert not (root / INDEX_NAME).exists()


@pytest.mark.parametrize(
    "written_at_s", [1, 4_000_000_000], ids=["long ago", "before the clock was set back"]
)
def test_what_an_interrupted_listing_left_is_replaced(root: Path, clock: Clock, written_at_s: int) -> None:
    (root / NEW_INDEX_NAME).write_bytes(b"half")
    os.utime(root / NEW_INDEX_NAME, (written_at_s, written_at_s))

    read_catalog(root)

    assert not (root / NEW_INDEX_NAME).exists()
    assert len(from_index(root)) == len(HANDLES)


def test_a_link_in_place_of_the_new_index_leads_nowhere(root: Path, clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    (root / NEW_INDEX_NAME).symlink_to(tmp_path / "mine")
    os.utime(root / NEW_INDEX_NAME, (clock.time(), clock.time()), follow_symlinks=False)

    read_catalog(root)

    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_an_index_that_cannot_be_written_changes_nothing(root: Path, clock: Clock) -> None:
    (root / INDEX_NAME).mkdir()

    assert listed(root, with_index=True) == listed(root, with_index=False)

    assert not (root / NEW_INDEX_NAME).exists()


@pytest.mark.parametrize("kind", ["nfs4", "fuse.gcsfuse"])
def test_a_file_system_whose_times_may_not_tell_of_changes_gets_no_index(
    root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(disk_usage, "_mount_of", lambda directory: (kind, ("rw",)))

    read_catalog(root)

    assert not (root / INDEX_NAME).exists()


def test_no_removal_pin_or_publication_rests_on_the_index(root: Path, clock: Clock) -> None:
    for handle in HANDLES:
        os.utime(manifest_of(root, handle))  # Used just now.
    read_catalog(root)
    document = _document(root)
    document["last_used_at_s"] = document["fetched_at_s"] = [0.0] * len(HANDLES)
    document["handles"] = ["https://tfhub.dev/google/other/1"] * len(HANDLES)
    document["sizes_bytes"] = [[1 for _ in sizes] for sizes in document["sizes_bytes"]]
    _write_index(root, document)
    assert {model.state.value for model in read_catalog(root).models} == {"gutted"}
    settings = _settings(root)

    with pytest.raises(NotFoundError):
        pin("*/other/*", settings)
    assert {ref.name for ref in cached_model_refs(settings).targets} == set(HANDLES)
    assert gc(settings, Policy(older_than_s=86400)).removed == ()
    removal = rm(["https://tfhub.dev/google/other/1"], settings, force=True)

    assert len(removal.errors) == 1
    assert {model.handle for model in read_catalog(root, with_index=False).models} == set(HANDLES)
