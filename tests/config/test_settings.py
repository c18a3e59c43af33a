"""What flags and environment decide."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import platformdirs
import pytest

from hubcli.config.environment import FLAGS, ConfigFile, user_directory
from hubcli.config.settings import AutoGcRules, Mirror, Settings, read_config
from hubcli.errors import ExitStatus, UsageError
from tests.cases import each_of

FLAG, OURS, THEIRS = Path("/flag"), "/ours", "/theirs"


def test_the_flag_names_the_cache_before_all_else() -> None:
    settings = Settings.read({"HUBCLI_CACHE_DIR": OURS, "TFHUB_CACHE_DIR": THEIRS}, cache_dir=FLAG)

    assert (settings.cache_root, settings.cache_root_source) == (FLAG, "--cache-dir")


def test_our_variable_names_the_cache_before_that_of_tensorflow_hub() -> None:
    settings = Settings.read({"HUBCLI_CACHE_DIR": OURS, "TFHUB_CACHE_DIR": THEIRS})

    assert (settings.cache_root, settings.cache_root_source) == (Path(OURS), "HUBCLI_CACHE_DIR")


@pytest.mark.parametrize("others", [{}, {"HUBCLI_CACHE_DIR": ""}])
def test_the_variable_of_tensorflow_hub_names_the_cache(others: dict[str, str]) -> None:
    settings = Settings.read({"TFHUB_CACHE_DIR": THEIRS, **others})

    assert (settings.cache_root, settings.cache_root_source) == (Path(THEIRS), "TFHUB_CACHE_DIR")
    assert not settings.root_is_unknown_to_tensorflow_hub


@pytest.mark.parametrize("environment", [{}, {"TFHUB_CACHE_DIR": "", "HUBCLI_CACHE_DIR": ""}])
def test_without_any_the_cache_is_the_users_own(environment: dict[str, str]) -> None:
    settings = Settings.read(environment)

    assert settings.cache_root.name == "hubcli"
    assert settings.cache_root.is_absolute()
    assert settings.root_is_unknown_to_tensorflow_hub


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBCLI_CACHE_DIR", OURS)

    assert Settings.read().cache_root == Path(OURS)


def test_a_relative_root_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert Settings.read({}, cache_dir=Path("cache")).cache_root == tmp_path / "cache"


def test_a_root_may_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert Settings.read({"TFHUB_CACHE_DIR": "~/cache"}).cache_root == tmp_path / "cache"


@each_of(
    "text, path",
    [
        ("file:///a/b", "/a/b"),
        ("file://localhost/a/b", "/a/b"),
        ("file:///a//b/../c/", "/a/c"),
        ("file:///a/caché", "/a/caché"),
        ("file:///a%20b", "/a%20b"),  # TensorFlow decodes nothing.
        ("file:///~/a", "/~/a"),
        ("file:///a?b#c", "/a?b#c"),
    ],
)
def test_a_root_may_be_a_file_address_as_tensorflow_takes_it(text: str, path: str) -> None:
    assert Settings.read({"TFHUB_CACHE_DIR": text}).cache_root == Path(path)
    assert Settings.read({"HUBCLI_CACHE_DIR": text}).cache_root == Path(path)
    assert Settings.read({}, cache_dir=text).cache_root == Path(path)


@each_of("text", ["file://", "file:///", "file://host/a", "file://a", "file:/a", "FILE:///a"])
def test_a_file_address_that_names_no_directory_here_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="TFHUB_CACHE_DIR"):
        Settings.read({"TFHUB_CACHE_DIR": text})


@pytest.mark.parametrize("variable", ["HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR"])
def test_a_root_in_a_bucket_is_refused(variable: str) -> None:
    with pytest.raises(UsageError) as refused:
        Settings.read({variable: "gs://bucket/cache"})

    assert refused.value.exit_status is ExitStatus.USAGE
    assert variable in refused.value.message
    assert "gs://bucket/cache" in refused.value.message
    assert refused.value.hint


def test_a_flag_that_names_a_bucket_is_refused() -> None:
    with pytest.raises(UsageError) as refused:
        Settings.read({}, cache_dir=Path("gs://bucket/cache"))

    assert "--cache-dir" in refused.value.message


def test_a_root_in_the_home_of_nobody_is_refused() -> None:
    with pytest.raises(UsageError):
        Settings.read({"TFHUB_CACHE_DIR": "~no-such-user-at-all/cache"})


@each_of(
    "environment, flag, offline",
    [
        ({}, False, False),
        ({}, True, True),
        ({"HUBCLI_OFFLINE": "1"}, False, True),
        ({"HUBCLI_OFFLINE": "0"}, False, False),
        ({"HUBCLI_OFFLINE": ""}, False, False),
        ({"HUBCLI_OFFLINE": "0"}, True, True),
    ],
)
def test_offline_by_flag_or_variable(environment: dict[str, str], flag: bool, offline: bool) -> None:
    assert Settings.read(environment, offline=flag).offline is offline


def test_a_variable_that_is_neither_on_nor_off_counts_as_on_with_a_warning() -> None:
    for word in ("1", "TRUE", " yes ", "on", "0", "False", "no", "off", ""):
        assert Settings.read(dict.fromkeys(FLAGS, word)).unclear == ()
    settings = Settings.read({**dict.fromkeys(FLAGS, "None"), "FORCE_COLOR": "3"})

    assert settings.unclear[0] == "HUBCLI_OFFLINE is 'None', which counts as on; use 1 or 0"
    assert len(settings.unclear) == len(FLAGS)
    assert settings.offline
    assert not settings.sync
    assert not settings.progress
    assert settings.access.buckets.anonymous
    assert settings.access.buckets.requester_pays


@each_of(
    "environment, flag, no_color",
    [
        ({}, False, False),
        ({}, True, True),
        ({"NO_COLOR": "1"}, False, True),
        ({"NO_COLOR": "0"}, False, True),  # https://no-color.org: any value but an empty one
        ({"NO_COLOR": ""}, False, False),
        ({"TERM": "dumb"}, False, True),
        ({"TERM": "xterm"}, False, False),
    ],
)
def test_no_colour_by_flag_or_variable(environment: dict[str, str], flag: bool, no_color: bool) -> None:
    assert Settings.read(environment, no_color=flag).no_color is no_color


@each_of(
    "environment, option, color",
    [
        ({}, None, "auto"),
        ({}, "always", "always"),
        ({"NO_COLOR": "1"}, "always", "always"),
        ({"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}, "never", "never"),
        ({"NO_COLOR": "1"}, "auto", "auto"),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, None, "never"),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, None, "always"),
        ({"FORCE_COLOR": "3"}, None, "always"),
        ({"FORCE_COLOR": "0"}, None, "auto"),
        ({"FORCE_COLOR": ""}, None, "auto"),
        ({"CLICOLOR_FORCE": "1", "CLICOLOR": "0"}, None, "always"),
        ({"CLICOLOR_FORCE": "0"}, None, "auto"),
        ({"CLICOLOR": "0"}, None, "never"),
        ({"CLICOLOR": "1"}, None, "auto"),
    ],
)
def test_colours_by_option_then_by_variable(
    environment: dict[str, str], option: str | None, color: str
) -> None:
    assert Settings.read(environment, color=option).color == color


def test_another_word_for_colours_or_two_that_contradict_are_refused() -> None:
    with pytest.raises(
        UsageError, match="--color is 'nevr', not one of auto, always, never. Did you mean 'never'"
    ):
        Settings.read({}, color="nevr")
    with pytest.raises(UsageError, match="--no-color and --color always cannot be used together"):
        Settings.read({}, color="always", no_color=True)
    assert Settings.read({}, color="never", no_color=True).color == "never"


@each_of(
    "environment, flag, progress",
    [
        ({}, False, True),
        ({}, True, False),
        ({"HUBCLI_NO_PROGRESS": "1"}, False, False),
        ({"HUBCLI_NO_PROGRESS": "0"}, False, True),
        ({"HUBCLI_NO_PROGRESS": "0"}, True, False),
    ],
)
def test_no_progress_by_flag_or_variable(environment: dict[str, str], flag: bool, progress: bool) -> None:
    assert Settings.read(environment, no_progress=flag).progress is progress


def _mirrored(url: str, *mirrors: str, environment: str = "") -> str:
    return Settings.read({"HUBCLI_MIRRORS": environment}, mirrors=mirrors).mirrored(url)


@each_of(
    "mirror",
    [
        "https://tfhub.dev=https://mirror.corp/tfhub",
        "https://tfhub.dev/=https://mirror.corp/tfhub/",
        " https://tfhub.dev=https://mirror.corp/tfhub ",
    ],
)
def test_a_mirror_is_asked_instead(mirror: str) -> None:
    url = "https://tfhub.dev/google/nnlm/1?tf-hub-format=compressed"

    assert _mirrored(url, mirror) == "https://mirror.corp/tfhub/google/nnlm/1?tf-hub-format=compressed"


def test_a_url_without_mirror_stays() -> None:
    assert _mirrored("https://tfhub.dev/x") == "https://tfhub.dev/x"
    assert _mirrored("http://tfhub.dev/x", "https://tfhub.dev=https://m") == "http://tfhub.dev/x"


@each_of(
    "url",
    [
        "https://tfhub.dev.evil/google/nnlm/1",
        "https://tfhub.devil/google/nnlm/1",
        "https://tfhub.dev@evil/google/nnlm/1",
        "https://tfhub.dev:8443/google/nnlm/1",
        "https://evil/https://tfhub.dev/google",
    ],
)
def test_a_mirror_ends_at_the_boundary_of_its_host(url: str) -> None:
    assert _mirrored(url, "https://tfhub.dev=https://mirror.corp") == url


def test_a_mirror_ends_at_the_boundary_of_its_path() -> None:
    mirror = "https://tfhub.dev/google=https://mirror.corp"

    assert _mirrored("https://tfhub.dev/google2/x", mirror) == "https://tfhub.dev/google2/x"
    assert _mirrored("https://tfhub.dev/google/x", mirror) == "https://mirror.corp/x"
    assert _mirrored("https://tfhub.dev/google?x", mirror) == "https://mirror.corp?x"
    assert _mirrored("https://tfhub.dev/google", mirror) == "https://mirror.corp"


def test_the_longest_mirror_wins_wherever_it_stands() -> None:
    short, long = "https://tfhub.dev=https://short", "https://tfhub.dev/google=https://long"

    for flags, environment in [((short, long), ""), ((long, short), ""), ((short,), long), ((long,), short)]:
        assert _mirrored("https://tfhub.dev/google/x", *flags, environment=environment) == "https://long/x"
        assert (
            _mirrored("https://tfhub.dev/other/x", *flags, environment=environment) == "https://short/other/x"
        )


def test_a_flag_wins_over_the_variable_for_the_same_prefix() -> None:
    assert (
        _mirrored("https://h/x", "https://h=https://flag", environment="https://h=https://env")
        == "https://flag/x"
    )


@each_of("separator", [" ", ",", ", ", "\n"])
def test_the_variable_names_many_mirrors(separator: str) -> None:
    environment = f"https://a=https://x{separator}https://b=https://y"

    assert _mirrored("https://b/1", environment=environment) == "https://y/1"
    assert _mirrored("https://a/1", environment=environment) == "https://x/1"


@each_of("text", ["", "x", "https://a", "https://a=b", "a=https://b", "https://a https://b"])
def test_what_is_no_mirror_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        Mirror.parse(text)

    assert "--mirror" in refused.value.hint


def test_a_refused_mirror_shows_no_password() -> None:
    with pytest.raises(UsageError) as refused:
        Mirror.parse("https://me:hunter2@mirror.corp")

    assert "hunter2" not in refused.value.message


def test_settings_show_no_password_of_a_mirror() -> None:
    settings = Settings.read({}, mirrors=["https://a=https://me:hunter2@mirror.corp"])

    assert "hunter2" not in repr(settings)
    assert settings.mirrored("https://a/x") == "https://me:hunter2@mirror.corp/x"


@each_of(
    "text, endpoint",
    [
        ("", "https://www.kaggle.com"),
        ("https://kaggle.corp/", "https://kaggle.corp"),
        ("https://kaggle.corp:8443/api-of-ours/", "https://kaggle.corp:8443/api-of-ours"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_endpoint_of_kaggle(text: str, endpoint: str) -> None:
    assert Settings.read({"HUBCLI_KAGGLE_ENDPOINT": text}).access.kaggle.endpoint == endpoint


@each_of(
    "text",
    [
        "kaggle.corp",
        "https://",
        "ftp://kaggle.corp",
        "http://kaggle.corp",
        "http://127.0.0.1.evil",
        "https://me:hunter2@kaggle.corp",
        "https://kaggle.corp?token=hunter2",
        "https://kaggle.corp:x",
        "https://[",
    ],
)
def test_an_endpoint_that_credentials_can_not_be_sent_to_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="HUBCLI_KAGGLE_ENDPOINT") as refused:
        Settings.read({"HUBCLI_KAGGLE_ENDPOINT": text})

    assert "hunter2" not in refused.value.message


@pytest.mark.parametrize(
    ("environment", "root"),
    [
        ({}, ".cache/kagglehub"),
        ({"KAGGLEHUB_CACHE": ""}, ".cache/kagglehub"),
        ({"KAGGLEHUB_CACHE": "~/hub"}, "hub"),
    ],
)
def test_the_cache_of_kagglehub(
    environment: dict[str, str], root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert Settings.read(environment).kagglehub_root == tmp_path / root


@each_of("text", ["tfhub.dev=https://me:s3cret@host", "https://a=me:s3cret@host", "s3cret@"])
def test_a_mirror_that_is_none_is_not_quoted_where_it_may_hold_a_password(text: str) -> None:
    with pytest.raises(UsageError, match="Invalid mirror .not shown") as refused:
        Mirror.parse(text)
    assert "s3cret" not in refused.value.message


def test_the_users_own_directories_are_those_of_platformdirs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = (None, "", str(tmp_path / "named"), "not/absolute", "~/of-home", f" {tmp_path}", f"{tmp_path} ")
    for home, kind in product((str(tmp_path), ""), ("cache", "config", "state")):
        monkeypatch.setenv("HOME", home)
        for named in names:
            monkeypatch.delenv(f"XDG_{kind.upper()}_HOME", raising=False)
            if named is not None:
                monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", named)
            expected = getattr(platformdirs, f"user_{kind}_path")("hubcli", appauthor=False)
            if expected.is_absolute():
                assert user_directory(kind, "it", "it") == expected, (kind, named)


@pytest.mark.parametrize("path", [None, Path("~/.cache/hubcli")])
def test_a_user_without_a_home_is_told_to_name_a_directory(
    path: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Platformdirs raises then, or leaves the tilde as it is."""

    def find(*_: object, **__: object) -> Path:
        if path is None:
            raise RuntimeError("no home")
        return path

    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", find)
    monkeypatch.setattr("platformdirs.user_config_path", find)
    for room in ("settings", "environment"):
        monkeypatch.setattr(f"hubcli.config.{room}.in_home", lambda name: None)
    with pytest.raises(UsageError, match="No home directory for the cache"):
        Settings.read({})
    assert read_config({}) == ConfigFile()
    assert AutoGcRules.read({}) is None
    assert Settings.read({"HUBCLI_CACHE_DIR": "/cache"}).cache_root == Path("/cache")
