"""Names in the cache root: those of tensorflow_hub, those of hubcli, and everyone else's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.cache.layout import TAG_NAME, UPKEEP_NAME, CacheName, EntryPaths, NameKind
from tests.cases import each_of

KEY = "1ce02" + "0" * 35
UID = "0123456789abcdef" * 2


@each_of(
    "text, kind",
    [
        (KEY, NameKind.MODEL),
        (f"{KEY}.descriptor.txt", NameKind.DESCRIPTOR),
        (f"{KEY}.hubcli.json", NameKind.MANIFEST),
        (f"{KEY}.lock", NameKind.LOCK),
        (f"{KEY}.hubcli.pin", NameKind.PIN),
        (f"{KEY}.hubcli.part", NameKind.SPOOL),
        (f"{KEY}.hubcli.part.journal", NameKind.SPOOL),
        (f"{KEY}.hubcli.part.json", NameKind.SPOOL),
        (f"{KEY}.{UID}.tmp", NameKind.STAGING),
        (f"{KEY}.{UID}.trash", NameKind.TRASH),
        (f"{KEY}.lock.tmp{UID}", NameKind.LEFTOVER),
        (f"{KEY}.descriptor.txt.tmp{UID}", NameKind.LEFTOVER),
        (f"{KEY}.hubcli.json.tmp{UID}", NameKind.LEFTOVER),
        (f"{KEY}.link.tmp{UID}", NameKind.LEFTOVER),
    ],
)
def test_a_name_of_the_cache_is_understood(text: str, kind: NameKind) -> None:
    assert CacheName.parse(text) == CacheName(text, kind, KEY)


def test_the_names_that_belong_to_the_root_are_understood() -> None:
    assert CacheName.parse(TAG_NAME) == CacheName("CACHEDIR.TAG", NameKind.TAG, None)
    assert CacheName.parse(UPKEEP_NAME) == CacheName("hubcli.upkeep", NameKind.TAG, None)


@each_of(
    "text",
    [
        "",
        "photos",
        KEY[:-1],
        KEY + "0",
        KEY.upper(),
        f"{KEY}\n",
        f"{KEY}.",
        f"{KEY}.tmp",
        f"{KEY}.lock.tmp",
        f"{KEY}.lock.bak",
        f"{KEY}.hubcli.json~",
        f"{KEY}.{UID}.tmp.tmp",
        f"{KEY}.{UID[:-1]}.tmp",
        f"{KEY}.{UID.upper()}.tmp",
        f"{KEY}.zip",
        f"{KEY}.hubcli.part.tmp",
        f"{KEY}.hubcli.pin~",
        f"{KEY}.trash",
        f"{KEY}.{UID[:-1]}.trash",
        f".{KEY}",
        f"./{KEY}",
        "cachedir.tag",
    ],
)
def test_any_other_name_is_foreign(text: str) -> None:
    assert CacheName.parse(text) == CacheName(text, NameKind.FOREIGN, None)


@given(st.text())
def test_no_name_is_too_strange(text: str) -> None:
    assert CacheName.parse(text).text == text


def test_the_paths_of_an_entry_are_named_as_they_are_read() -> None:
    paths = EntryPaths(Path("/root"), KEY)

    read = [
        CacheName.parse(path.name)
        for path in (
            *(paths.model, paths.descriptor, paths.manifest, paths.lock, paths.pin),
            *(paths.staging(UID), paths.trash(UID)),
        )
    ]
    assert [name.kind for name in read] == [
        NameKind.MODEL,
        NameKind.DESCRIPTOR,
        NameKind.MANIFEST,
        NameKind.LOCK,
        NameKind.PIN,
        NameKind.STAGING,
        NameKind.TRASH,
    ]
    assert {name.key for name in read} == {KEY}


@pytest.mark.tensorflow
def test_tensorflow_hub_names_them_the_same() -> None:
    pytest.importorskip("tensorflow_hub")
    from tensorflow_hub import resolver

    paths = EntryPaths(Path("/root"), KEY)

    assert resolver._lock_filename(str(paths.model)) == str(paths.lock)
    assert resolver._module_descriptor_file(str(paths.model)) == str(paths.descriptor)
    assert resolver._temp_download_dir(str(paths.model), UID) == str(paths.staging(UID))


@pytest.mark.tensorflow
def test_what_tensorflow_hub_leaves_of_an_interrupted_write_is_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorflow_hub")
    import tensorflow as tf
    from tensorflow_hub import tf_utils

    def killed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.compat.v1.gfile, "Rename", killed)
    paths = EntryPaths(tmp_path, KEY)
    for path in (paths.lock, paths.descriptor):
        with pytest.raises(KeyboardInterrupt):
            tf_utils.atomic_write_string_to_file(str(path), "content", overwrite=False)

    left = [CacheName.parse(path.name) for path in tmp_path.iterdir()]
    assert [(name.kind, name.key) for name in left] == [(NameKind.LEFTOVER, KEY)] * 2
