"""Every spelling of a handle, what it means, and what is refused."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubcli.errors import ExitStatus, HandleError
from hubcli.providers.handle import Handle, key_of
from tests.cases import each_of

FORMAT = "?tf-hub-format=compressed"
TFHUB = "https://tfhub.dev/google/nnlm-en-dim128/2"
DEEP = "https://tfhub.dev/tensorflow/efficientnet/b0/feature-vector/1"
KAGGLE = "https://www.kaggle.com/models/google/nnlm/tensorFlow2/en-dim128/1"
KAGGLE_UNVERSIONED = "https://www.kaggle.com/models/google/nnlm/tensorFlow2/en-dim128"
CHINA = "https://hub.tensorflow.google.cn/google/nnlm-en-dim128/2"

UNDERSTOOD = [
    # text, kind, canonical, version, archive URL
    (TFHUB, "tfhub", TFHUB, "2", TFHUB + FORMAT),
    (
        "https://tfhub.dev/google/spice",
        "tfhub",
        None,
        None,
        f"https://tfhub.dev/google/spice{FORMAT}",
    ),
    (DEEP, "tfhub", DEEP, "1", DEEP + FORMAT),
    (
        "https://www.kaggle.com/models/google/nnlm/frameworks/tensorFlow2/variations/en-dim128/versions/1",
        "kaggle",
        KAGGLE,
        "1",
        KAGGLE + FORMAT,
    ),
    (
        "https://www.kaggle.com/models/google/nnlm/frameworks/TensorFlow2/variations/en-dim128",
        "kaggle",
        KAGGLE_UNVERSIONED,
        None,
        KAGGLE_UNVERSIONED + FORMAT,
    ),
    (KAGGLE, "kaggle", KAGGLE, "1", KAGGLE + FORMAT),
    (KAGGLE_UNVERSIONED, "kaggle", KAGGLE_UNVERSIONED, None, KAGGLE_UNVERSIONED + FORMAT),
    ("google/nnlm/tensorFlow2/en-dim128/1", "kaggle", KAGGLE, "1", KAGGLE + FORMAT),
    (
        "google/nnlm/TensorFlow2/en-dim128",
        "kaggle",
        KAGGLE_UNVERSIONED,
        None,
        KAGGLE_UNVERSIONED + FORMAT,
    ),
    (
        "google/nnlm/tensorFlow1/en-dim128/3",
        "kaggle",
        "https://www.kaggle.com/models/google/nnlm/tensorFlow1/en-dim128/3",
        "3",
        f"https://www.kaggle.com/models/google/nnlm/tensorFlow1/en-dim128/3{FORMAT}",
    ),
    (
        "https://www.kaggle.com/api/v1/models/google/nnlm/tensorFlow2/en-dim128/1/download",
        "kaggle",
        KAGGLE,
        "1",
        KAGGLE + FORMAT,
    ),
    (
        CHINA,
        "tfhub-cn",
        CHINA,
        "2",
        "https://gcs.tensorflow.google.cn/tfhub-modules/google/nnlm-en-dim128/2.tar.gz",
    ),
    (
        "https://models.corp/team/thing/4",
        "http",
        None,
        "4",
        f"https://models.corp/team/thing/4{FORMAT}",
    ),
    (
        "http://[::1]:8501/thing",
        "http",
        None,
        None,
        f"http://[::1]:8501/thing{FORMAT}",
    ),
    (
        "https://models.corp/thing?channel=beta",
        "http",
        None,
        None,
        "https://models.corp/thing?channel=beta&tf-hub-format=compressed",
    ),
    (
        "https://models.corp/thing.tar.gz",
        "http",
        None,
        None,
        "https://models.corp/thing.tar.gz",
    ),
    ("gs://bucket/folder/model", "gcs", None, None, None),
    ("gs://bucket/model.tar.gz", "gcs", None, None, None),
    ("gs://bucket/model.tar", "gcs", None, None, None),
    ("gs://bucket/model.tgz", "gcs", None, None, None),
    ("s3://bucket/folder/model/2", "s3", None, "2", None),
    ("S3://bucket/model/", "s3", "s3://bucket/model", None, None),
    ("az://container/model.tar.gz", "azure", None, None, None),
    ("az://container/model?account=models", "azure", None, None, None),
    (
        "https://models.s3.eu-west-1.amazonaws.com/m.tar.gz",
        "http",
        None,
        None,
        "https://models.s3.eu-west-1.amazonaws.com/m.tar.gz",
    ),
    ("example://mul/1", "example", None, "1", None),
    ("example://mul", "example", None, None, None),
]


@each_of("text, provider, canonical, version, archive_url", UNDERSTOOD)
def test_every_spelling_is_understood(
    text: str, provider: str, canonical: str | None, version: str | None, archive_url: str | None
) -> None:
    handle = Handle.parse(text)

    assert (handle.provider.name, handle.canonical, handle.version) == (provider, canonical or text, version)
    assert handle.archive_url == archive_url
    assert handle.is_remote == (archive_url is not None or provider in ("s3", "gcs", "azure"))
    assert str(handle) == handle.canonical


EQUIVALENT = [
    [
        base + left_in
        for base in (TFHUB, TFHUB.replace("https", "http"), TFHUB.replace("tfhub.dev", "TFHub.dev"))
        for left_in in (
            "",
            "/",
            FORMAT,
            "?tfhub-redirect=true",
            "/?tf-hub-format=compressed",
            f"{FORMAT}&x=1",
            "#top",
        )
    ],
    [
        *(
            f"https://{host}/models/google/nnlm/{tail}{left_in}"
            for host in ("www.kaggle.com", "kaggle.com", "WWW.Kaggle.com")
            for framework in ("tensorFlow2", "TensorFlow2", "tensorflow2")
            for tail in (
                f"{framework}/en-dim128/1",
                f"frameworks/{framework}/variations/en-dim128/versions/1",
            )
            for left_in in ("", "/", FORMAT, "?tfhub-redirect=true")
        ),
        "http://www.kaggle.com/models/google/nnlm/tensorFlow2/en-dim128/1",
        "google/nnlm/tensorFlow2/en-dim128/1",
        "google/nnlm/TensorFlow2/en-dim128/1/",
    ],
    [CHINA + left_in for left_in in ("", "/", FORMAT, "?tfhub-redirect=true")],
    [f"https://models.corp/thing/4{left_in}" for left_in in ("", "/", FORMAT, "?tfhub-redirect=true")],
    [
        "https://models.corp/thing?channel=beta",
        "https://models.corp/thing?channel=beta&tf-hub-format=compressed",
    ],
    ["example://mul/1", "example://mul/1/"],
]


@each_of("spellings", EQUIVALENT)
def test_equivalent_spellings_share_one_key(spellings: list[str]) -> None:
    assert len({Handle.parse(text).cache_key for text in spellings}) == 1


@each_of("spellings", EQUIVALENT)
def test_the_copy_is_linked_under_the_spelling_that_was_typed(spellings: list[str]) -> None:
    for text in spellings:
        if "://" in text:  # tensorflow_hub takes the bare Kaggle form for a path.
            handle = Handle.parse(text)
            assert _sha1(text) in {handle.cache_key, *handle.alias_keys}


@each_of(
    "spelling",
    [
        TFHUB,
        TFHUB.replace("https", "http"),
        f"{TFHUB}/",
        f"{TFHUB}{FORMAT}",
        f"{TFHUB}?tfhub-redirect=true",
    ],
)
@each_of("typed", [TFHUB, f"{TFHUB}/", f"http{TFHUB[5:]}"])
def test_each_common_spelling_of_a_tfhub_model_is_an_alias_of_the_others(spelling: str, typed: str) -> None:
    handle = Handle.parse(typed)

    assert _sha1(spelling) in {handle.cache_key, *handle.alias_keys}


@each_of("host", ["www.kaggle.com", "kaggle.com"])
@each_of("framework", ["tensorFlow2", "TensorFlow2"])
@each_of("left_in", ["", "/", FORMAT, "?tfhub-redirect=true"])
@each_of("form", ["{}/en-dim128/1", "frameworks/{}/variations/en-dim128/versions/1"])
def test_each_spelling_of_a_kaggle_model_is_an_alias_of_its_short_form(
    host: str, framework: str, left_in: str, form: str
) -> None:
    handle = Handle.parse("google/nnlm/tensorFlow2/en-dim128/1")

    spelling = f"https://{host}/models/google/nnlm/{form.format(framework)}{left_in}"

    assert _sha1(spelling) in {handle.cache_key, *handle.alias_keys}


@each_of("text", [row[0] for row in UNDERSTOOD])
def test_every_alias_is_parsed_to_the_handle_that_it_stands_for(text: str) -> None:
    handle = Handle.parse(text)

    assert {Handle.parse(alias).canonical for alias in handle.aliases} <= {handle.canonical}
    assert handle.canonical not in handle.aliases
    assert handle.cache_key not in handle.alias_keys
    assert len(set(handle.alias_keys)) == len(handle.alias_keys)


def test_another_version_is_another_model() -> None:
    texts = [TFHUB, TFHUB[:-1] + "3", TFHUB[:-2], KAGGLE, KAGGLE_UNVERSIONED]
    keys = [{Handle.parse(text).cache_key, *Handle.parse(text).alias_keys} for text in texts]

    assert sum(map(len, keys)) == len(set().union(*keys))


def test_another_host_with_the_same_path_is_another_model() -> None:
    assert Handle.parse(f"https://tfhub.dev.evil{TFHUB[17:]}").provider.name == "http"
    assert Handle.parse(f"https://eviltfhub.dev{TFHUB[17:]}").provider.name == "http"
    assert Handle.parse(f"https://tfhub.dev@evil.example{TFHUB[17:]}").provider.name == "http"


def test_the_key_is_the_sha1_of_the_canonical_spelling() -> None:
    assert Handle.parse(f"{TFHUB}/").cache_key == _sha1(TFHUB)


def test_the_key_is_the_same_in_a_python_without_a_sha1_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of("a/\udcff")
    monkeypatch.setitem(sys.modules, "_sha1", None)
    assert key_of("a/\udcff") == key == hashlib.sha1(b"a/\xff").hexdigest()


@each_of(
    "text, is_immutable",
    [
        (TFHUB, True),
        ("https://tfhub.dev/google/spice", False),
        (KAGGLE, True),
        ("https://models.corp/x/1", False),
    ],
)
def test_only_versioned_models_of_a_model_host_never_change(text: str, is_immutable: bool) -> None:
    assert Handle.parse(text).is_immutable == is_immutable


@pytest.mark.tensorflow
def test_tensorflow_hub_computes_the_same_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow_hub")
    from tensorflow_hub import compressed_module_resolver

    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    for text in {*(row[0] for row in UNDERSTOOD), *(text for texts in EQUIVALENT for text in texts)}:
        handle = Handle.parse(text)
        theirs = [
            Path(compressed_module_resolver._module_dir(spelling))
            for spelling in (handle.canonical, *handle.aliases)
        ]
        assert theirs[0] == tmp_path / handle.cache_key
        assert {path.name for path in theirs[1:]} <= set(handle.alias_keys)


@pytest.mark.tensorflow
def test_tensorflow_hub_appends_the_same_query(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow_hub")
    from tensorflow_hub.compressed_module_resolver import HttpCompressedFileResolver

    for text in (TFHUB, KAGGLE, "https://models.corp/thing?channel=beta"):
        theirs = HttpCompressedFileResolver()._append_compressed_format_query(text)
        assert Handle.parse(text).archive_url == theirs


# --- What is on this disk


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model, an archive, and their like with spaces."""
    for name in ("model", "my model", "home/model"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "saved_model.pb").write_bytes(b"")
    for name in ("model.tar.gz", "my model.tar.gz"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@each_of(
    "text, path",
    [
        ("./model", "model"),
        ("model", "model"),
        ("model/", "model"),
        ("./model/../model", "model"),
        ("my model", "my model"),
        ("./my model", "my model"),
        ("../{here}/model", "model"),
        ("{root}/model", "model"),
        ("~/model", "home/model"),
        (".", ""),
        ("./nowhere", "nowhere"),
        ("file://{root}/model", "model"),
        ("file://localhost{root}/model", "model"),
        ("FILE://{root}/my%20model", "my model"),
    ],
)
def test_a_directory_is_understood(here: Path, text: str, path: str) -> None:
    handle = Handle.parse(text.format(here=here.name, root=here))

    assert (handle.provider.name, handle.path) == ("path", here / path)
    assert handle.canonical == str(here / path)
    assert not handle.is_remote


@each_of(
    "text, path",
    [
        ("./model.tar.gz", "model.tar.gz"),
        ("model.tar.gz", "model.tar.gz"),
        ("my model.tar.gz", "my model.tar.gz"),
        ("file://{root}/model.tar.gz", "model.tar.gz"),
        ("file://{root}/my%20model.tar.gz", "my model.tar.gz"),
        ("./nowhere.tgz", "nowhere.tgz"),
    ],
)
def test_an_archive_is_understood(here: Path, text: str, path: str) -> None:
    handle = Handle.parse(text.format(root=here))

    assert (handle.provider.name, handle.path) == ("archive", here / path)
    assert handle.canonical == (here / path).as_uri()
    assert Handle.parse(handle.canonical).canonical == handle.canonical


def test_an_existing_directory_wins_over_kaggles_short_form(here: Path) -> None:
    (here / "google/nnlm/tensorFlow2/en-dim128").mkdir(parents=True)

    assert Handle.parse("google/nnlm/tensorFlow2/en-dim128").provider.name == "path"
    assert Handle.parse("google/nnlm/tensorFlow2/en-dim128/1").provider.name == "kaggle"


def test_a_link_is_named_as_it_was_typed(here: Path) -> None:
    (here / "link").symlink_to("model")

    assert Handle.parse("./link").path == here / "link"


def test_the_main_file_of_a_model_is_refused_with_the_name_of_its_directory(here: Path) -> None:
    with pytest.raises(HandleError) as refused:
        Handle.parse("./model/saved_model.pb")

    assert str(here / "model") in refused.value.hint


def test_a_file_url_of_another_host_is_refused() -> None:
    _assert_refused("file://server/share/model")


def test_a_path_that_is_no_utf8_has_a_key(here: Path) -> None:
    path = here / os.fsdecode(b"mod\xe8le")
    path.mkdir()

    assert len(Handle.parse(f"./{path.name}").cache_key) == 40


def test_an_archive_whose_path_is_no_utf8_is_understood(here: Path) -> None:
    name = os.fsdecode(b"mod\xe8le.tar.gz")
    (here / name).touch()

    handle = Handle.parse(f"./{name}")

    assert Handle.parse(handle.canonical).path == here / name


# --- What is refused


def _assert_refused(text: str, *, message: str = "", hint: str = "") -> HandleError:
    with pytest.raises(HandleError) as refused:
        Handle.parse(text)
    error = refused.value
    assert error.exit_status is ExitStatus.HANDLE
    assert int(error.exit_status) == 3
    assert message in error.message
    assert error.hint
    assert hint in error.hint
    return error


@each_of("text", ["", " ", "\n\t"])
def test_empty_text_is_refused(text: str) -> None:
    _assert_refused(text, message="empty", hint="https://tfhub.dev/")


@each_of("text", [f" {TFHUB}", f"{TFHUB}\n", "https://tfhub.dev/google/my model/1", "two words"])
def test_spaces_are_refused(text: str) -> None:
    _assert_refused(text, message="spaces", hint="Accepted: ")


@each_of(
    "text",
    [TFHUB[8:], KAGGLE[8:], KAGGLE[12:], CHINA[8:], "tfhub.dev/x", "TFHub.dev/google/nnlm-en-dim128/2"],
)
def test_a_missing_scheme_is_suggested(text: str) -> None:
    _assert_refused(text, message=f"'{text}'", hint=f"https://{text}")


@pytest.mark.parametrize(
    "text",
    ["https://www.kaggle.com/datasets/google/nnlm", "https://kaggle.com/datasets/google/nnlm?version=7"],
)
def test_a_kaggle_dataset_page_is_refused(text: str) -> None:
    _assert_refused(text, message=text, hint="Use a model of Kaggle")


@each_of("path", ["", "google", "organizations/google", "collections/google/x", "code", "discussions"])
def test_a_kaggle_page_that_is_no_model_is_refused(path: str) -> None:
    _assert_refused(f"https://www.kaggle.com/{path}", message=f"https://www.kaggle.com/{path}", hint="Kaggle")


@each_of("path", ["", "/google", "/google/nnlm", "/google/nnlm/tensorFlow2", "/google/nnlm/code"])
def test_a_kaggle_page_of_many_models_is_refused(path: str) -> None:
    text = f"https://www.kaggle.com/models{path}"
    _assert_refused(text, message=text, hint="https://www.kaggle.com/models/<owner>/<model>/")


@each_of("path", ["", "/", "/google", "/google/", "/google/1"])
def test_a_publisher_page_is_refused(path: str) -> None:
    _assert_refused(
        f"https://tfhub.dev{path}", message="publisher", hint="https://tfhub.dev/<publisher>/<model>"
    )


@pytest.mark.parametrize("path", ["google/collections/bert/1", "collections/bert"])
def test_a_collection_page_is_refused(path: str) -> None:
    text = f"https://tfhub.dev/{path}"
    _assert_refused(text, message=f"'{text}' is the page of a collection", hint="one of its models")


@each_of(
    "text",
    [
        "google/nnlm/pyTorch/en-dim128/1",
        "google/nnlm/tfLite/en-dim128",
        "https://www.kaggle.com/models/google/nnlm/jax/en-dim128/1",
        "https://www.kaggle.com/models/google/nnlm/frameworks/tfJs/variations/en-dim128/versions/1",
    ],
)
def test_an_unknown_framework_is_refused(text: str) -> None:
    _assert_refused(text, message="framework", hint="tensorFlow2")


def test_a_version_that_is_no_number_is_refused() -> None:
    _assert_refused("google/nnlm/tensorFlow2/en-dim128/latest", message="'latest'", hint="Use a whole number")


@pytest.mark.parametrize("text", ["ftp://host/model.tar.gz", "hdfs://a/b"])
def test_an_unknown_scheme_is_refused(text: str) -> None:
    _assert_refused(text, message=text, hint="--from")


@pytest.mark.parametrize("query", ["lite-format=tflite", "tfjs-format=file"])
def test_what_is_no_saved_model_is_refused(query: str) -> None:
    _assert_refused(f"{TFHUB}?{query}", message="TF Lite or TF.js")


@each_of(
    "text",
    [
        "bert",
        "google/bert",
        "a/b/c/d/e/f",
        "nowhere.tar.gz",
        "google/../tensorFlow2/x",
        "https://",
        "https:///x",
        "https://host",
        "https://host:99999/x",
        "https://host:port/x",
        "https://[::1/x",
        "file://[",
        "file://\u2100/x",
        "https://tfhub.dev/google//nnlm/1",
        "https://tfhub.dev/google/../nnlm/1",
        "https://tfhub.dev/google/nnlm%2f1",
        "gs://",
        "gs://bucket",
        "gs://bucket/",
        "example://",
        "example://a/b/c",
        "model\0",
        "-",
    ],
)
def test_what_names_no_model_is_refused(text: str, here: Path) -> None:
    _assert_refused(text)


def test_text_longer_than_any_file_name_is_refused() -> None:
    _assert_refused("x" * 5000)


@each_of("start", ["/", "./", "~/", "file:///"])
def test_a_path_longer_than_the_system_allows_is_refused_or_not_there(start: str) -> None:
    try:
        handle = Handle.parse(start + "x" * 5000)
    except HandleError:
        return
    assert handle.provider.name == "path"


def test_the_home_of_nobody_is_refused() -> None:
    _assert_refused("~no-such-user-at-all/model", message="~no-such-user-at-all")


# --- What must never be shown

SECRETIVE = [
    "https://me:hunter2@models.corp/thing/4",
    "https://hunter2@models.corp/thing/4",
    "https://me:hunter2@tfhub.dev/google/nnlm-en-dim128/2",
    "https://me:hunter2@www.kaggle.com/models/google/nnlm/tensorFlow2/en-dim128/1",
    "https://storage.googleapis.com/b/m.tar.gz?X-Goog-Algorithm=G&X-Goog-Signature=hunter2",
    "https://storage.googleapis.com/b/m.tar.gz?GoogleAccessId=x&Expires=1&Signature=hunter2",
    "https://b.s3.amazonaws.com/m.tar.gz?X-Amz-Credential=hunter2&X-Amz-Signature=hunter2",
    "https://account.blob.core.windows.net/c/m.tgz?sv=1&se=2&sp=r&sig=hunter2",
    "https://models.corp/thing/4?token=hunter2",
    "https://models.corp/thing/4?access_token=hunter2&v=1",
    "https://models.corp/thing/4?private-token=hunter2",
    "https://models.corp/thing/4?api_key=hunter2",
    "https://models.corp/thing/4?password=hunter2",
    "https://models.corp/thing/4?authorization=hunter2",
    "https://models.corp/thing/4?pwd=hunter2",
    "https://models.corp/thing/4?%74oken=hunter2",
    "https://models.corp/thing/4#access_token=hunter2",
    f"{TFHUB}?token=hunter2",
    f"{KAGGLE}?token=hunter2",
    "gs://me:hunter2@bucket/model.tar.gz",
    "gs://bucket/model.tar.gz?access_token=hunter2",
    "s3://me:hunter2@bucket/model",
    "az://container/model?account=models&sig=hunter2",
]


@each_of("text", SECRETIVE)
def test_a_secret_is_never_shown_nor_stored(text: str) -> None:
    handle = Handle.parse(text)

    assert "hunter2" not in "\n".join([str(handle), repr(handle), handle.canonical, *handle.aliases])


@each_of("text", SECRETIVE[:2] + SECRETIVE[4:12])
def test_a_secret_is_still_sent(text: str) -> None:
    assert "hunter2" in str(Handle.parse(text).archive_url)


def test_nothing_is_added_to_a_signed_url() -> None:
    text = "https://storage.googleapis.com/b/m.tar.gz?X-Goog-Algorithm=G%2F&X-Goog-Signature=hunter2"

    assert Handle.parse(text).archive_url == text


@each_of(
    "text",
    [
        "s3://me:hunter2@bucket",
        "ftp://host/model?token=hunter2",
        "https://me:hunter2@tfhub.dev/google",
        "https://www.kaggle.com/datasets/x/y?token=hunter2",
        "https://me:hunter2@host:port/x",
        "https://me:hunter2@host",
        "https://me:hunter2@host/a model",
        "https://me:hunter2@exa\u2100mple.com/x",
        "https://me:hunter2@[::1/x",
        "https://me:hunter2/@host/x",
        "tfhub.dev/google/nnlm/1?token=hunter2",
        "me:hunter2@tfhub.dev/google/nnlm/1",
        "file://me:hunter2@host/model",
        "file://me:hunter2@exa\u2100mple.com/model",
        "gs://me:hunter2@bucket",
    ],
)
def test_a_secret_is_in_no_error(text: str) -> None:
    error = _assert_refused(text)

    assert "hunter2" not in f"{error} {error!r} {error.message} {error.hint}"


# --- Any text that is typed

PIECES = [
    *("https://", "http://", "HTTPS://", "gs://", "file://", "example://", "s3://", "://"),
    *("tfhub.dev", "kaggle.com", "www.kaggle.com", "hub.tensorflow.google.cn", "host", "[::1]", ":80", ":x"),
    *("/", "//", "models", "google", "frameworks", "tensorFlow2", "variations", "versions", "1", "x.tar.gz"),
    *("?", "&", "tf-hub-format=compressed", "tfhub-redirect=true", "token=a", "a=b", "#", "@", "me:pw@", ";"),
    *("~", ".", "..", " ", "%00", "%2f", "%", "\\", "é", "K", "\u2100", "１", "\n", "İ"),
]
ANY_TEXT = st.text() | st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@given(ANY_TEXT)
@example("~")
@example("@//\u2100")
@example("https://@//\u2100")
@example("gs://@")
@example("https://host/x?")
@example("https://host/x;y?&a&&")
def test_any_text_is_a_handle_or_refused(text: str) -> None:
    try:
        handle = Handle.parse(text)
    except HandleError:
        return
    assert len({handle.cache_key, *handle.alias_keys}) == 1 + len(handle.alias_keys)


@given(ANY_TEXT)
@example("https://host/x?tf-hub-format=compressed&tf-hub-format=compressed")
@example("FILE:///%00")
def test_the_canonical_spelling_stands_for_itself(text: str) -> None:
    try:
        handle = Handle.parse(text)
    except HandleError:
        return
    again = Handle.parse(handle.canonical)

    assert (again.canonical, again.cache_key, again.provider) == (
        handle.canonical,
        handle.cache_key,
        handle.provider,
    )
    assert (again.version, again.path) == (handle.version, handle.path)


@given(ANY_TEXT)
def test_the_aliases_stand_for_the_same_model(text: str) -> None:
    try:
        handle = Handle.parse(text)
    except HandleError:
        return
    for alias in handle.aliases:
        assert Handle.parse(alias).cache_key == handle.cache_key


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


# --- What was probably meant


@each_of(
    "text, address",
    [
        ("google/nnlm-en-dim50/2", "https://tfhub.dev/google/nnlm-en-dim50/2"),
        ("google/nnlm-en-dim50/2/", "https://tfhub.dev/google/nnlm-en-dim50/2"),
        ("google/nnlm-en-dim50/2?tf-hub-format=compressed", "https://tfhub.dev/google/nnlm-en-dim50/2"),
        ("google/nnlm-en-dim50@2", "https://tfhub.dev/google/nnlm-en-dim50/2"),
        ("google/nnlm-en-dim50", "https://tfhub.dev/google/nnlm-en-dim50"),
        (
            "google/imagenet/mobilenet_v2/classification/5",
            "https://tfhub.dev/google/imagenet/mobilenet_v2/classification/5",
        ),
        ("tensorflow/efficientdet/d0/1", "https://tfhub.dev/tensorflow/efficientdet/d0/1"),
        ("a/b/c/d/e/2", "https://tfhub.dev/a/b/c/d/e/2"),
        ("models/google/nnlm/tensorFlow2/x/1", "https://www.kaggle.com/models/google/nnlm/tensorFlow2/x/1"),
        ("https:/tfhub.dev/google/elmo/3", "https://tfhub.dev/google/elmo/3"),
        ("https//tfhub.dev/google/elmo/3", "https://tfhub.dev/google/elmo/3"),
        ("htps://tfhub.dev/google/elmo/3", "https://tfhub.dev/google/elmo/3"),
        ("tfhub.dev/google/elmo/3", "https://tfhub.dev/google/elmo/3"),
    ],
)
def test_a_near_miss_is_told_the_address_that_was_meant(text: str, address: str) -> None:
    with pytest.raises(HandleError) as refused:
        Handle.parse(text)

    assert refused.value.hint.startswith(f"Did you mean {address} ?")


@each_of("text", ["a/b/c", "elmo", "google/nnlm/pytorch/x/1", "x/y.tar.gz", "-/-/2", "a//2"])
def test_what_is_near_to_no_address_gets_no_suggestion(text: str) -> None:
    with pytest.raises(HandleError) as refused:
        Handle.parse(text)

    assert "Did you mean" not in refused.value.hint


@each_of("text", ["me:hunter2@host/x/1", "hunter2@host/x/1", "https:/me:hunter2@host.example/x"])
def test_no_suggestion_tells_a_secret(text: str) -> None:
    with pytest.raises(HandleError) as refused:
        Handle.parse(text)

    assert "hunter2" not in refused.value.message + refused.value.hint


# --- Names of before


def test_kinds_of_handles_work_for_another_release_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match=r"handle\.provider\.name"):
        from hubcli.providers.handle import HandleKind
    for text, provider, *_ in UNDERSTOOD:
        with pytest.warns(DeprecationWarning, match=r"handle\.provider\.name"):
            kind = Handle.parse(text).kind
        assert provider in ("s3", "azure") or kind is HandleKind(provider)  # Those came later.
        assert kind == provider
    assert HandleKind.TFHUB_CN.value == "tfhub-cn"
