"""`ls`: states, order, filters, patterns, totals; and that a look changes nothing."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubcli.cache.cached_model import LastUse, UseSource
from hubcli.cache.catalog import CachedModelInfo, EntryState
from hubcli.cache.layout import EntryPaths
from hubcli.cache.record_index import ManifestSummary
from hubcli.cache.records import Manifest
from hubcli.cli.ls import listing_document, show_listing
from hubcli.cli.output import Output
from hubcli.commands.ls import Filter, Listing, SortOrder, ls
from hubcli.config.settings import Settings
from hubcli.errors import UsageError
from hubcli.providers.handle import Handle
from hubcli.savedmodel.layout import ModelFormat
from tests.cases import each_of
from tests.entries import (
    alias_link,
    dead_pid,
    gut_entry,
    hubcli_entry,
    key_of,
    live_process,
    lock,
    model_bytes,
    snapshot,
    tensorflow_hub_entry,
)

DAY = 86400.0
SMALL = "https://tfhub.dev/google/small/1"
LARGE = "https://tfhub.dev/google/large/1"
MIDDLE = "https://www.kaggle.com/models/google/middle/tensorFlow2/base/1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def _list(
    root: Path,
    *patterns: str,
    filters: Sequence[str] = (),
    sort: str | None = None,
    limit: int | None = None,
) -> Listing:
    return ls(
        Settings.read({}, cache_dir=root),
        patterns,
        filters=[Filter.parse(text) for text in filters],
        sort=None if sort is None else SortOrder.parse(sort),
        limit=limit,
    )


def _handles(root: Path, *patterns: str, **options: Any) -> list[str]:
    return [model.handle or model.name for model in _list(root, *patterns, **options).models]


@pytest.fixture
def three(root: Path) -> Path:
    """Three entries that differ in size, age, use and kind, and a foreign file."""
    now = time.time()
    hubcli_entry(
        root,
        SMALL,
        shard_bytes=10,
        fetched_at_s=now - 50 * DAY,
        last_used_at_s=now - DAY,
        form=ModelFormat.TF1,
    )
    hubcli_entry(root, LARGE, shard_bytes=2 * 10**9, fetched_at_s=now - 40 * DAY, pinned=True)
    tensorflow_hub_entry(root, MIDDLE, shard_bytes=10**6, downloaded_at_s=now - 10 * DAY)
    (root / "notes.txt").write_text("mine")
    return root


# --- Rows


def test_an_empty_cache_lists_nothing(root: Path) -> None:
    assert _list(root) == Listing(root, (), 0, 0, 0)
    assert not root.exists()


def test_an_entry_of_hubcli_tells_all_that_its_manifest_knows(root: Path) -> None:
    paths = hubcli_entry(
        root, SMALL, form=ModelFormat.KERAS_2, fetched_at_s=1000, last_used_at_s=2000, pinned=True
    )

    (model,) = _list(root).models

    assert (model.name, model.path, model.state) == (paths.key, paths.model, EntryState.OK)
    assert (model.handle, model.aliases) == (SMALL, Handle.parse(SMALL).aliases)
    assert (model.kind, model.format) == (ModelFormat.KERAS_2.kind, ModelFormat.KERAS_2.value)
    assert model.size_bytes == model_bytes(paths.model)
    assert (model.fetched_at_s, model.last_used_at_s) == (1000, 2000)
    assert model.last_used_by is UseSource.RECORD
    assert model.pinned
    assert (model.holder, model.problem) == (None, None)


@pytest.mark.parametrize("form", ModelFormat)
def test_kind_and_format_of_an_entry_of_tensorflow_hub_are_told(root: Path, form: ModelFormat) -> None:
    tensorflow_hub_entry(root, SMALL, form=form, downloaded_at_s=1000)

    (model,) = _list(root).models

    assert (model.handle, model.state, model.kind) == (SMALL, EntryState.OK, form.kind)
    assert model.format == form.value
    assert (model.fetched_at_s, model.last_used_at_s) == (1000, 1000)


@pytest.mark.parametrize("form", ModelFormat)
@pytest.mark.parametrize("is_large", [False, True])
def test_a_record_of_0_1_0_has_a_kind_from_which_the_format_is_found(
    root: Path, form: ModelFormat, is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_large:  # Such a file is mapped, and its outline read.
        monkeypatch.setattr("hubcli.regular_file._OUTLINED_FROM_BYTES", 1)
    hubcli_entry(root, SMALL, form=form)
    (model,) = _list(root).models
    assert (model.kind, model.recorded_format, model.format) == (form.kind, None, form.value)


def test_the_format_of_an_entry_is_that_of_its_record_or_read_from_the_model(root: Path) -> None:
    recorded = hubcli_entry(root, SMALL, form=ModelFormat.KERAS_3_EXPORT)
    (model,) = _list(root).models
    assert (model.kind, model.recorded_format, model.format) == ("TF2", None, "keras3-export")
    manifest = Manifest.read(recorded.manifest)
    assert manifest is not None
    recorded.manifest.write_text(replace(manifest, format="tf2").to_text())
    (model,) = _list(root).models
    assert (model.recorded_format, model.format) == ("tf2", "tf2")


def test_an_entry_without_descriptor_is_listed_with_what_there_is(root: Path) -> None:
    paths = tensorflow_hub_entry(root, SMALL, descriptor=False, downloaded_at_s=1000)

    (model,) = _list(root).models

    assert (model.handle, model.name, model.state) == (None, paths.key, EntryState.UNKNOWN)
    assert (model.kind, model.size_bytes, model.fetched_at_s) == ("TF2", model_bytes(paths.model), 1000)


def test_a_gutted_entry_is_listed_with_its_problem(root: Path) -> None:
    gut_entry(tensorflow_hub_entry(root, SMALL))

    (model,) = _list(root).models

    assert (model.state, model.kind, model.size_bytes) == (EntryState.GUTTED, None, 0)
    assert model.problem is not None


def test_a_download_is_listed_with_its_holder(root: Path) -> None:
    lock(root, SMALL, 17, host="other.corp", unpacked_bytes=70)

    (model,) = _list(root).models

    assert (model.state, model.holder, model.size_bytes) == (EntryState.DOWNLOADING, "other.corp:17", 70)


def test_a_download_on_this_host_ends_with_its_process(root: Path) -> None:
    with live_process() as pid:
        lock(root, SMALL, pid)
        (model,) = _list(root).models
        assert model.holder is not None
        assert model.holder.endswith(f":{pid}")

    assert _list(root).models == ()
    assert _list(root).leftovers == 1


def test_a_foreign_file_is_listed_as_such(root: Path) -> None:
    root.mkdir()
    (root / "notes.txt").touch()

    (model,) = _list(root).models

    assert (model.name, model.handle, model.state) == ("notes.txt", None, EntryState.FOREIGN)
    assert (model.size_bytes, model.kind, model.fetched_at_s, model.last_used_at_s) == (None,) * 4


def test_aliases_are_no_rows_and_no_bytes(root: Path) -> None:
    paths = hubcli_entry(root, SMALL)
    alias_link(root, "https://models.corp/small", paths.key)

    listing = _list(root)

    assert (len(listing.models), listing.matched) == (1, 1)
    assert listing.size_bytes == model_bytes(paths.model)


# --- Totals


def test_totals_speak_of_all_that_fits_whatever_the_limit(three: Path) -> None:
    whole, limited = _list(three), _list(three, limit=1)

    assert (len(limited.models), limited.matched, limited.size_bytes) == (1, 4, whole.size_bytes)
    assert whole.size_bytes == sum(model.size_bytes or 0 for model in whole.models)


def test_totals_leave_out_what_does_not_fit(three: Path) -> None:
    listing = _list(three, filters=["size<1GB", "state!=foreign"])

    assert listing.matched == 2
    assert listing.size_bytes == sum(model.size_bytes or 0 for model in listing.models) < 10**9


def test_a_limit_of_none_shows_all_and_of_zero_nothing(three: Path) -> None:
    assert len(_list(three, limit=None).models) == 4
    assert _list(three, limit=0).models == ()
    assert len(_list(three, limit=99).models) == 4


def test_leftovers_are_counted_whatever_the_pattern(three: Path) -> None:
    lock(three, "https://tfhub.dev/google/other/1", dead_pid())

    assert _list(three).leftovers == 1
    assert _list(three, "nothing").leftovers == 1


# --- Order


@each_of(
    "sort, order",
    [
        (None, [LARGE, SMALL, MIDDLE]),
        ("name", [LARGE, SMALL, MIDDLE]),
        ("name:asc", [LARGE, SMALL, MIDDLE]),
        ("name:desc", [MIDDLE, SMALL, LARGE]),
        ("size", [LARGE, MIDDLE, SMALL]),
        ("size:desc", [LARGE, MIDDLE, SMALL]),
        ("size:asc", [SMALL, MIDDLE, LARGE]),
        ("fetched", [MIDDLE, LARGE, SMALL]),
        ("fetched:asc", [SMALL, LARGE, MIDDLE]),
        ("used", [SMALL, MIDDLE, LARGE]),
        ("used:asc", [LARGE, MIDDLE, SMALL]),
    ],
)
def test_rows_are_sorted_and_what_has_no_value_comes_last(
    three: Path, sort: str | None, order: list[str]
) -> None:
    assert _handles(three, sort=sort) == [*order, "notes.txt"]


@each_of("text", ["", "colour", "size:", "size:up", "Size", "size:asc:desc", ":asc", "size desc"])
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        SortOrder.parse(text)

    assert "name, size, fetched or used" in refused.value.hint


def _model(name: str, value: int | None) -> CachedModelInfo:
    record = Manifest(
        f"https://h/{name}", (), "", "TF2", (), fetched_at_s=value or 0, last_used_at_s=value or 0
    )
    return CachedModelInfo(
        EntryPaths(Path(), name),
        None if value is None else ManifestSummary.of(record, {}),
        None,
        EntryState.OK,
        size_bytes=value,
        last_use=None if value is None else LastUse(value, UseSource.RECORD),
    )


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.none() | st.integers(0, 2)),
    st.sampled_from(["size", "fetched", "used", "name"]),
    st.sampled_from(["asc", "desc"]),
    st.randoms(),
)
def test_any_rows_are_sorted_the_same_however_they_come(
    values: dict[str, int | None], key: str, direction: str, random: Any
) -> None:
    models = [_model(name, value) for name, value in values.items()]
    ordered = SortOrder.parse(f"{key}:{direction}").apply(models)
    random.shuffle(models)

    assert SortOrder.parse(f"{key}:{direction}").apply(models) == ordered
    has_value = [model.size_bytes is not None for model in ordered]
    assert has_value == sorted(has_value, reverse=True)
    if key == "name":
        named = [model.name for model in ordered if model.handle]
        assert named == sorted(named, reverse=direction == "desc")
    else:
        sign = -1 if direction == "desc" else 1
        present = [(sign * model.size_bytes, model.name) for model in ordered if model.size_bytes is not None]
        assert present == sorted(present)


# --- Filters


@each_of(
    "filters, fitting",
    [
        (["size>1GB"], {LARGE}),
        (["size>=1GB"], {LARGE}),
        (["size<1GB"], {SMALL, MIDDLE}),
        (["size<=1GB"], {SMALL, MIDDLE}),
        (["size!=0"], {SMALL, MIDDLE, LARGE}),
        (["size=0"], set()),
        ([" size > 1 GB "], {LARGE}),
        (["used>30d"], {LARGE}),
        (["used<30d"], {SMALL, MIDDLE}),
        (["used<=2d"], {SMALL}),
        (["fetched>30d"], {SMALL, LARGE}),
        (["fetched>=45d"], {SMALL}),
        (["fetched<2w"], {MIDDLE}),
        (["kind=TF1"], {SMALL}),
        (["kind=tf2"], {LARGE, MIDDLE}),
        (["kind!=TF2"], {SMALL, "notes.txt"}),
        (["kind=TF1 Hub"], set()),
        (["state=ok"], {SMALL, MIDDLE, LARGE}),
        (["state!=ok"], {"notes.txt"}),
        (["state=foreign"], {"notes.txt"}),
        (["pinned=yes"], {LARGE}),
        (["pinned=no"], {SMALL, MIDDLE, "notes.txt"}),
        (["pinned!=yes"], {SMALL, MIDDLE, "notes.txt"}),
        (["size>1kB", "used<30d"], {MIDDLE}),
        (["size>1GB", "size<1GB"], set()),
    ],
)
def test_only_rows_that_fit_every_filter_are_listed(
    three: Path, filters: list[str], fitting: set[str]
) -> None:
    assert set(_handles(three, filters=filters)) == fitting


@each_of("operator", ["<", "<=", ">", ">=", "=", "!="])
@each_of("size_bytes", [999, 1000, 1001])
def test_each_operator_compares_as_it_is_written(operator: str, size_bytes: int) -> None:
    python = {"=": "=="}.get(operator, operator)

    fits = Filter.parse(f"size{operator}1kB").accepts(_model("x", size_bytes), 0)

    assert fits is eval(f"{size_bytes} {python} 1000")


@each_of("operator", ["<", "<=", ">", ">=", "=", "!="])
@each_of("key", ["size", "used", "fetched"])
def test_a_row_without_the_value_fits_no_comparison(operator: str, key: str) -> None:
    assert not Filter.parse(f"{key}{operator}0").accepts(_model("x", None), 0)


@each_of(
    "text",
    [
        *("", "size", "size>", ">1GB", "colour=red", "size>big", "used>1GB", "size>>1", "size==1", "size=>1"),
        *("kind<TF2", "state>=ok", "pinned>no", "size>-1", "Size>1"),
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        Filter.parse(text)

    assert refused.value.hint


@each_of("number", ["2", "02", " 2 ", "+2", "1e3", "2.0", "86400"])
@each_of("key, readings", [("size", "GB"), ("used", "h"), ("fetched", "h")])
def test_a_filter_on_a_bare_number_is_refused(key: str, readings: str, number: str) -> None:
    """`used>2` was two seconds: every model."""
    with pytest.raises(UsageError, match="has no unit") as refused:
        Filter.parse(f"{key}>{number}")

    assert f"{key}>" in refused.value.message
    assert readings in refused.value.hint or "86400s" in refused.value.hint or "86400B" in refused.value.hint


@given(
    st.text()
    | st.tuples(st.sampled_from(["size", "used"]), st.sampled_from("<>="), st.text("0123456789.kGd")).map(
        "".join
    )
)
@example("size>" + "9" * 400)
@example("size<.1.")
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        condition = Filter.parse(text)
    except UsageError:
        return
    condition.accepts(_model("x", 5), 0)


# --- Patterns


@each_of(
    "patterns, fitting",
    [
        (["*"], {SMALL, LARGE, MIDDLE, "notes.txt"}),
        (["*google*"], {SMALL, LARGE, MIDDLE}),
        (["https://tfhub.dev/*"], {SMALL, LARGE}),
        (["*/small/?"], {SMALL}),
        (["*/[sl]*/1"], {SMALL, LARGE}),
        (["*small*", "*middle*"], {SMALL, MIDDLE}),
        (["google/*"], set()),
        (["notes.txt"], {"notes.txt"}),
        (["*.txt"], {"notes.txt"}),
        (["nothing"], set()),
        (["/nowhere"], set()),
    ],
)
def test_rows_are_found_by_pattern(three: Path, patterns: list[str], fitting: set[str]) -> None:
    assert set(_handles(three, *patterns)) == fitting


@each_of(
    "spelling, handle",
    [
        (SMALL, SMALL),
        (f"{SMALL}/", SMALL),
        (SMALL.replace("https", "http"), SMALL),
        (f"{SMALL}?tf-hub-format=compressed", SMALL),
        (f"{SMALL}?tfhub-redirect=true", SMALL),
        (MIDDLE, MIDDLE),
        ("google/middle/tensorFlow2/base/1", MIDDLE),
        ("https://kaggle.com/models/google/middle/frameworks/TensorFlow2/variations/base/versions/1", MIDDLE),
        (f"{MIDDLE}/", MIDDLE),
        (f"{MIDDLE}?tfhub-redirect=true", MIDDLE),
        (key_of(SMALL), SMALL),
    ],
)
def test_a_row_is_found_by_any_spelling_of_its_handle(three: Path, spelling: str, handle: str) -> None:
    assert _handles(three, spelling) == [handle]


@pytest.mark.parametrize(
    "typed", [SMALL, f"{SMALL}/", f"{SMALL}?tf-hub-format=compressed", f"http{SMALL[5:]}"]
)
@pytest.mark.parametrize("query", [SMALL, f"{SMALL}/", f"{SMALL}?tf-hub-format=compressed"])
def test_an_entry_of_tensorflow_hub_is_found_by_any_spelling(root: Path, typed: str, query: str) -> None:
    tensorflow_hub_entry(root, typed)

    assert _handles(root, query) == [typed]


def test_an_entry_without_descriptor_is_found_by_its_handle(root: Path) -> None:
    paths = tensorflow_hub_entry(root, SMALL, descriptor=False)

    assert _handles(root, f"{SMALL}/") == [paths.key]


def test_a_handle_finds_no_other_version(three: Path) -> None:
    assert _handles(three, SMALL[:-2]) == []
    assert _handles(three, f"{SMALL}1") == []


# --- What must not happen


@pytest.fixture
def every_state(three: Path) -> Path:
    gut_entry(hubcli_entry(three, "https://tfhub.dev/google/gutted/1"))
    tensorflow_hub_entry(three, "https://tfhub.dev/google/unknown/1", descriptor=False)
    lock(three, "https://tfhub.dev/google/other/1", 17, host="other.corp")
    lock(three, "https://tfhub.dev/google/crashed/1", dead_pid())
    hubcli_entry(three, "https://tfhub.dev/google/broken/1").manifest.write_bytes(b"{")
    return three


def test_every_state_is_listed(every_state: Path) -> None:
    listed = _list(every_state)

    assert {model.state for model in listed.models} == set(EntryState)
    assert (listed.matched, listed.leftovers) == (8, 1)


def test_a_look_writes_nothing(every_state: Path) -> None:
    before = snapshot(every_state)

    _list(every_state, sort="used", filters=["size>0"])
    _list(every_state, SMALL, "*")

    assert snapshot(every_state) == before


def _show(listing: Listing) -> str:
    """All that a user may see, written as to a pipe."""
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape")
    with contextlib.redirect_stdout(pipe), contextlib.redirect_stderr(io.StringIO()):
        output = Output()
        show_listing(listing, output, narrowed=False)
        output.document(listing_document(listing))
    pipe.seek(0)
    return pipe.read()


def test_every_state_can_be_shown(every_state: Path) -> None:
    text = _show(_list(every_state))

    for words in (
        "ok",
        "ok, pinned",
        "incomplete: ",
        "downloading by other.corp:17",
        "unknown handle",
        "foreign",
    ):
        assert words in text


def _with_manifest(root: Path, content: bytes) -> None:
    """One entry with that manifest is listed and shown."""
    key_of_small = key_of(SMALL)
    (root / f"{key_of_small}.hubcli.json").write_bytes(content)
    listing = _list(root)
    assert [model.name for model in listing.models] == [key_of_small]
    _show(listing)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("one")
    hubcli_entry(root, SMALL)
    return root


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What hubcli writes into the manifest of that entry."""
    paths = hubcli_entry(tmp_path_factory.mktemp("valid"), SMALL)
    document: dict[str, Any] = json.loads(paths.manifest.read_bytes())
    return document


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["schema", "handle", "aliases", "source", "kind", "etag", "archive", "files", "fetched_at"]


@given(st.binary(max_size=200))
@example(b"[" * 100_000)
def test_a_manifest_of_random_bytes_breaks_nothing(cache: Path, content: bytes) -> None:
    _with_manifest(cache, content)


@given(st.dictionaries(st.sampled_from([*KEYS, "last_used_at"]), JSON, min_size=1, max_size=4))
@example({"files": [{"path": "x", "size": float("inf"), "sha256": None}]})
@example({"fetched_at": "0001-01-01T00:00:00+14:00"})
@example({"last_used_at": "9999-12-31T23:59:59-12:00"})
@example({"handle": "\ud800"})
@example({"kind": "\ud800"})
def test_a_manifest_of_other_values_breaks_nothing(
    cache: Path, valid: dict[str, Any], changes: dict[str, Any]
) -> None:
    _with_manifest(cache, json.dumps({**valid, **changes}).encode())


ESCAPES = "\x1b]0;owned\x07"


def test_a_handle_cannot_command_the_terminal(cache: Path, valid: dict[str, Any]) -> None:
    document = {**valid, "handle": f"https://h/x{ESCAPES}\n/etc", "kind": ESCAPES}
    (cache / f"{key_of(SMALL)}.hubcli.json").write_text(json.dumps(document))

    text = _show(_list(cache))

    assert not {"\x1b", "\x07"} & set(text)
    assert "\n/etc" not in text


def test_a_descriptor_cannot_command_the_terminal(root: Path) -> None:
    paths = tensorflow_hub_entry(root, SMALL)
    paths.descriptor.write_text(paths.descriptor.read_text().replace(SMALL, f"https://h/{ESCAPES}"))

    assert not {"\x1b", "\x07"} & set(_show(_list(root)))


def test_a_foreign_name_cannot_command_the_terminal(root: Path) -> None:
    root.mkdir()
    (root / f"notes{ESCAPES}\n").touch()

    assert not {"\x1b", "\x07"} & set(_show(_list(root)))


def test_a_name_that_is_no_utf8_can_be_shown(root: Path) -> None:
    root.mkdir()
    (root / "caf\udce9").touch()

    assert "caf\udce9" in _show(_list(root))
