"""The config file: what each key sets, what comes before it, and how what is wrong with it is told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hubcli
import hubcli.cli.app
from hubcli.config.config_file import KEYS
from hubcli.config.environment import ConfigFile
from hubcli.config.settings import AutoGcRules, Settings, read_config
from hubcli.errors import ExitStatus, UsageError
from tests import models
from tests.cases import each_of
from tests.cli.command_batch import run_many
from tests.conftest import Run
from tests.doctor import check_named, diagnose
from tests.server import HubServer, Reply

DOCS = Path(__file__).parent.parent.parent / "docs" / "reference" / "config-file.md"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own file, which is not there yet."""
    if sys.platform == "darwin":
        pytest.skip("the folder is named otherwise")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    file = tmp_path / "config" / "hubcli" / "config.toml"
    file.parent.mkdir(parents=True)
    return file


# --- What it sets, and what comes first


SET: dict[str, tuple[str, Callable[[Settings], Any], Any]] = {
    "cache-dir": ('"/models"', lambda settings: settings.cache_root, Path("/models")),
    "offline": ("true", lambda settings: settings.offline, True),
    "mirrors": ('["https://a=https://b"]', lambda settings: settings.mirrored("https://a/x"), "https://b/x"),
    "timeout": ('"1m"', lambda settings: settings.timeout_s, 60.0),
    "lock-timeout": ("7", lambda settings: settings.lock_timeout_s, 7.0),
    "min-rate": ('"2KiB"', lambda settings: settings.min_rate_bytes_s, 2048),
    "sync": ("false", lambda settings: settings.durability.is_on, False),
    "connections": ("3", lambda settings: settings.connections, 3),
    "retries": ("0", lambda settings: settings.retries, 0),
    "jobs": ("4", lambda settings: settings.jobs, 4),
    "cacert": ('"/dev/../etc/passwd"', lambda settings: settings.access.ca_file, Path("/dev/../etc/passwd")),
    "kaggle-endpoint": (
        '"https://k.corp/"',
        lambda settings: settings.access.kaggle.endpoint,
        "https://k.corp",
    ),
    "tiers": ('["/mnt/tier"]', lambda settings: [tier.address for tier in settings.tiers], ["/mnt/tier"]),
    "bucket-anonymous": ("true", lambda settings: settings.access.buckets.anonymous, True),
    "bucket-requester-pays": ("true", lambda settings: settings.access.buckets.requester_pays, True),
    "color": ('"never"', lambda settings: settings.color, "never"),
    "progress": ("false", lambda settings: settings.progress, False),
}


@each_of("key", SET)
def test_each_key_sets_its_setting(key: str, config: Path) -> None:
    text, look, expected = SET[key]
    before = look(Settings.read({}))
    config.write_text(f"# mine\n{key} = {text}\n")

    assert before != expected
    assert look(Settings.read({})) == expected


def test_every_key_is_tried_here_or_is_the_rules_of_gc() -> None:
    assert {*SET, "gc"} == set(KEYS)


@each_of(
    "key, variables, expected",
    [
        ("cache-dir", {"HUBCLI_CACHE_DIR": "/v"}, Path("/v")),
        ("cache-dir", {"TFHUB_CACHE_DIR": "/v"}, Path("/v")),
        ("offline", {"HUBCLI_OFFLINE": "0"}, False),
        ("mirrors", {"HUBCLI_MIRRORS": "https://a=https://v"}, "https://v/x"),
        ("cacert", {"SSL_CERT_FILE": "/v"}, Path("/v")),
        ("cacert", {"SSL_CERT_DIR": "/v"}, None),
        ("kaggle-endpoint", {"HUBCLI_KAGGLE_ENDPOINT": "https://v"}, "https://v"),
        ("min-rate", {"HUBCLI_MIN_RATE": "0"}, 0),
        ("min-rate", {"HUBCLI_MIN_RATE": ""}, 2048),
        ("sync", {"HUBCLI_NO_SYNC": "0"}, True),
        ("sync", {"HUBCLI_NO_SYNC": ""}, False),
        ("bucket-anonymous", {"HUBCLI_BUCKET_ANONYMOUS": "0"}, False),
        ("bucket-requester-pays", {"HUBCLI_BUCKET_REQUESTER_PAYS": "0"}, False),
        ("color", {"FORCE_COLOR": "1"}, "always"),
        ("progress", {"HUBCLI_NO_PROGRESS": "0"}, True),
    ],
)
def test_a_variable_comes_before_the_file(
    key: str, variables: dict[str, str], expected: object, config: Path
) -> None:
    text, look, _ = SET[key]
    config.write_text(f"{key} = {text}\n")

    assert look(Settings.read(variables)) == expected


@each_of(
    "key, option, expected",
    [
        ("cache-dir", {"cache_dir": "/o"}, Path("/o")),
        ("mirrors", {"mirrors": ["https://a=https://o"]}, "https://o/x"),
        ("timeout", {"timeout_s": 5.0}, 5.0),
        ("lock-timeout", {"lock_timeout_s": 5.0}, 5.0),
        ("min-rate", {"min_rate": "5"}, 5),
        ("connections", {"connections": 1}, 1),
        ("retries", {"retries": 9}, 9),
        ("jobs", {"jobs": 1}, 1),
        ("color", {"color": "always"}, "always"),
    ],
)
def test_an_option_comes_before_the_file(key: str, option: Any, expected: object, config: Path) -> None:
    text, look, _ = SET[key]
    config.write_text(f"{key} = {text}\n")

    assert look(Settings.read({}, **option)) == expected


def test_mirrors_may_be_a_table(config: Path) -> None:
    config.write_text('[mirrors]\n"https://a/" = "https://b/"\n"https://a/deep" = "https://c"\n')
    settings = Settings.read({})

    assert settings.mirrored("https://a/x") == "https://b/x"
    assert settings.mirrored("https://a/deep/x") == "https://c/x"


def test_the_cache_may_be_a_file_address(config: Path) -> None:
    config.write_text('cache-dir = "file:///models"')

    assert Settings.read({}).cache_root == Path("/models")


def test_a_tilde_is_the_home(config: Path, tmp_path: Path) -> None:
    config.write_text('cache-dir = "~/models"')

    assert Settings.read({}).cache_root == tmp_path / "home" / "models"


def test_the_example_of_the_docs_has_every_key_and_is_read(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "company-ca.pem").touch()
    (example,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    config.write_text(example)
    read = read_config({})

    assert (read.faults, read.unknown) == ({}, ())
    assert set(read.values) == set(KEYS)
    assert Settings.read({}).cache_root == tmp_path / "home" / "models"
    assert AutoGcRules.read({}) is not None


# --- Where it is


@pytest.mark.parametrize("nothing", ["", "/dev/null"])
def test_the_variable_names_another_file_or_none(nothing: str, config: Path, tmp_path: Path) -> None:
    config.write_text("jobs = 7")
    other = tmp_path / "other.toml"
    other.write_text("jobs = 9")

    assert Settings.read({}).jobs == 7
    assert Settings.read({"HUBCLI_CONFIG": str(other)}).jobs == 9
    assert Settings.read({"HUBCLI_CONFIG": nothing}).jobs == 2


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="HUBCLI_CONFIG is '/nowhere/x.toml', which does not exist"):
        Settings.read({"HUBCLI_CONFIG": "/nowhere/x.toml"})
    with pytest.raises(UsageError, match="HUBCLI_CONFIG"):
        Settings.read({"HUBCLI_CONFIG": "https://host/x.toml"})


# --- What is wrong with it


WRONG = {
    'cache-dir = "models"': "cache-dir is 'models', a relative path",
    'cache-dir = ""': "cache-dir is empty",
    "cache-dir = 5": "cache-dir is 5, not a string",
    'cache-dir = "gs://bucket/x"': "cache-dir is 'gs://bucket/x', not a local directory",
    'cache-dir = "~nobody-at-all/x"': "cache-dir is '~nobody-at-all/x', the home of an unknown user",
    'cache-dir = "/x\\u0000y"': "cache-dir has a NUL character",
    'cache-dir = "~\\u0000/y"': "cache-dir has a NUL character",
    'cache-dir = "file://host/x"': "cache-dir is 'file://host/x', which is not a directory on this machine",
    'offline = "yes"': "offline is 'yes', not true or false",
    "offline = 1": "offline is 1, not true or false",
    'mirrors = "https://a=https://b"': "mirrors is neither a table nor a list of strings",
    'mirrors = ["x"]': "mirrors: Invalid mirror 'x'",
    "mirrors = [5]": "mirrors is neither a table nor a list of strings",
    'mirrors = {"https://a" = 5}': "mirrors has an entry that does not map an address",
    'timeout = "soon"': "timeout is 'soon', not a duration",
    "timeout = true": "timeout is true, not a duration",
    "timeout = 0": "timeout is 0, not more than 0s and at most 1y",
    "timeout = -1.5": "timeout is -1.5, not more than 0s",
    "timeout = nan": "timeout is nan, not more than 0s",
    "timeout = inf": "timeout is inf, not more than 0s",
    "timeout = 1979-05-27": "timeout is datetime.date(1979, 5, 27), not a duration",
    'lock-timeout = "2y"': "lock-timeout is '2y', not more than 0s and at most 1y",
    "connections = 0": "connections is 0, not a whole number from 1 to 64",
    "connections = 65": "connections is 65, not a whole number from 1 to 64",
    "connections = 8.0": "connections is 8.0, not a whole number",
    "connections = true": "connections is true, not a whole number",
    'connections = "8"': "connections is '8', not a whole number",
    f"connections = 0x{'f' * 6000}": "connections is a very large number, not a whole number",
    "retries = -1": "retries is -1, not a whole number",
    "jobs = 0": "jobs is 0, not a whole number from 1 to 32",
    "jobs = 33": "jobs is 33, not a whole number from 1 to 32",
    'cacert = "/nowhere/ca.pem"': "cacert is '/nowhere/ca.pem', which is not a file",
    'kaggle-endpoint = "http://k.corp"': "kaggle-endpoint is 'http://k.corp', which may not get credentials",
    f'cacert = "/{"x" * 5000}"': f"cacert is '/{'x' * 58}…, which is not a file",
    f'kaggle-endpoint = "{"x" * 5000}"': f"kaggle-endpoint is '{'x' * 100}",
    "min-rate = 1.5": "min-rate is 1.5, not a rate",
    "min-rate = -1": "min-rate is -1, not a rate",
    "min-rate = true": "min-rate is true, not a rate",
    "min-rate = []": "min-rate is [], not a rate",
    'min-rate = "fast"': "min-rate is 'fast', not a rate",
    'min-rate = ""': "min-rate is '', not a rate",
    f"min-rate = 0x{'f' * 6000}": "min-rate is a very large number, not a rate",
    f'min-rate = "{"9" * 5000}"': f"min-rate is '{'9' * 59}…, not a rate",
    'sync = "no"': "sync is 'no', not true or false",
    "sync = 0": "sync is 0, not true or false",
    f'gc = "{"x" * 5000}"': f"gc has the invalid rule '{'x' * 100}",
    'gc = "older-than=2"': "gc has the invalid rule 'older-than=2': '2' has no unit",
    'gc = "max-size=much"': "gc has the invalid rule 'max-size=much'",
    "gc = 20": "gc is 20, not a string",
    'color = "sometimes"': "color is 'sometimes', not one of auto, always, never",
    'color = "allways"': "color is 'allways', not one of auto, always, never. Did you mean 'always'?",
    'progress = "no"': "progress is 'no', not true or false",
    "[timeout]\nx = 1": "timeout is {'x': 1}, not a duration",
    'gc = """\n max-size=1GB,\n x=1"""': "gc has the invalid rule 'x=1'",
}


@each_of("text", WRONG)
def test_a_wrong_value_names_file_line_and_key(text: str, config: Path) -> None:
    config.write_text(
        f"# A comment with {text.split()[0]} = 1\n\n  # and\n{text}  # why\n\nother = 2\n"
        if not text.startswith("[")
        else f"other = 2\n\n\n{text}\n"
    )
    with pytest.raises(UsageError) as refused:
        Settings.read({})

    assert refused.value.exit_status is ExitStatus.USAGE
    assert refused.value.message.startswith(f"{config}, line 4: {WRONG[text]}")
    assert len(refused.value.message) < len(str(config)) + 320
    assert refused.value.hint


@each_of(
    "text, line",
    [
        ("jobs = 99", 1),
        ('"jobs" = 99', 1),
        ("'jobs' = 99", 1),
        ('"j\\u006fbs" = 99', 1),
        ("\n\n \t jobs=99", 3),
        ('note = """\njobs = 1\n"""\njobs = 99', 4),
        ("note = '''\njobs = 1\n'''\n# jobs\njobs = 99", 5),
        ('mirrors = [\n "https://jobs=https://x", # jobs = 1\n]\njobs = 99', 4),
        ("[other]\njobs = 1\n[[others]]\njobs = 2\n[jobs]\na = 1", 5),
        ("[jobs]\na = 1", 1),
        ("[[jobs]]\n[[jobs]]", 1),
        ("jobs.x = 1", 1),
        ("retries = 1\r\njobs = 99\r\n", 2),
        ('[mirrors]\n"https://a" = "https://b"\n"https://c" = 1', 3),
        ('mirrors."https://a" = "https://b"\nmirrors."https://c" = 1', 2),
    ],
)
def test_the_line_is_the_one_of_the_key(text: str, line: int, config: Path) -> None:
    config.write_bytes(text.encode())
    (fault,) = read_config({}).faults.values()

    assert fault.message.startswith(f"{config}, line {line}: ")


INVALID = {
    b"jobs = ": ("line 1", "invalid TOML"),
    b"\n\njobs = 1\njobs = 2\n": ("line 4", "invalid TOML"),
    b"\n[": ("line 2", "invalid TOML"),
    b"jobs = 1 2": ("line 1", "invalid TOML"),
    b"jobs = 0123": ("line 1", "invalid TOML"),
    b'gc = "a\nb"': ("line 1", "invalid TOML"),
    b"a = " + b"9" * 6000: ("", "invalid TOML"),
    b"ok = 1\n\xff\xfe": ("line 2", "not UTF-8"),
    b"\n\xff": ("line 2", "not UTF-8"),
    "jobs = 1".encode("utf-16"): ("line 1", "not UTF-8"),
    b"a\0b = 1": ("line 1", "invalid TOML"),
    b"a = " + b"[" * 20000: ("", "invalid TOML: nested too deeply"),
    b"a = " + b"{a=" * 10000: ("", "invalid TOML: nested too deeply"),
    b"a" + b".a" * 20000 + b" = 1": ("", "invalid TOML: nested too deeply"),
    b"jobs" + b".a" * 20000 + b" = 1": ("", "invalid TOML: nested too deeply"),
    b"jobs = " + b"[" * 40 + b"]" * 40: ("", "invalid TOML: nested too deeply"),
    b"[" + b"x" * 9000 + b"]\n[" + b"x" * 9000 + b"]\n": ("", "invalid TOML: Cannot declare"),
    b"#" * 70000: ("", ": it is larger than 64 KiB"),
}


@each_of("content", INVALID)
def test_a_file_that_cannot_be_parsed_is_told_with_its_line(content: bytes, config: Path) -> None:
    config.write_bytes(content)
    line, what = INVALID[content]
    with pytest.raises(UsageError) as refused:
        Settings.read({})

    assert str(config) in refused.value.message
    assert f"{line}" in refused.value.message
    assert what in refused.value.message
    assert len(refused.value.message) < len(str(config)) + 340
    assert refused.value.hint


_DOTS = b".a" * 32_000


@each_of(
    "content",
    [
        b"a" + _DOTS + b" = 1",
        b"'a'" + b""" . "a=" . '#"'""" * 3_000 + b" = 1",
        b'jobs = 1 # "\n[[a' + _DOTS + b"]]",
        *(b'a = {b = """\n\\""" \'' + b'"' * quotes + b", c" + _DOTS + b" = 1}" for quotes in (3, 4, 5)),
        *(b"a = {b = '''\n" + b"'" * quotes + b", c" + _DOTS + b" = 1}" for quotes in (3, 4, 5)),
        b"a = {b = '''\n\"''', c" + _DOTS + b" = 1}",
    ],
)
def test_a_key_of_very_many_parts_is_refused_at_once(content: bytes, config: Path) -> None:
    config.write_bytes(content)
    began = time.process_time()
    with pytest.raises(UsageError, match="invalid TOML: nested too deeply"):
        Settings.read({})

    assert time.process_time() - began < 2  # Ten seconds and gigabytes, if the parser gets the first one.


def test_many_strings_without_an_end_are_refused_at_once(config: Path) -> None:
    config.write_bytes(b'"a\\' * 20_000)
    began = time.process_time()
    with pytest.raises(UsageError, match="invalid TOML"):
        Settings.read({})

    assert time.process_time() - began < 2  # Ten seconds, if each is looked for its end.


@each_of("quotes", ['"', "'", '"""', "'''", '"""\n', "'''\n"])
def test_strings_and_comments_may_have_any_number_of_dots(quotes: str, config: Path) -> None:
    dots = "a." * 100
    config.write_text(f"# {dots}\nx = {quotes}{dots}{quotes[:3]} # {dots}\njobs = 5\n")

    assert Settings.read({}).jobs == 5


def test_a_byte_order_mark_and_windows_line_ends_are_read(config: Path) -> None:
    config.write_bytes(b"\xef\xbb\xbfjobs = 5\r\nretries = 1\r\n")

    assert (Settings.read({}).jobs, Settings.read({}).retries) == (5, 1)


def test_a_pipe_a_directory_and_a_device_stop_no_command(config: Path) -> None:
    os.mkfifo(config)
    began = time.monotonic()
    for path in (config, config.parent, Path("/dev/zero")):
        with pytest.raises(UsageError, match="Cannot read .*: it is not a regular file"):
            Settings.read({"HUBCLI_CONFIG": str(path)})
    assert time.monotonic() - began < 60


@pytest.mark.slow
def test_a_hostile_file_of_the_largest_size_takes_a_moment(config: Path) -> None:
    """Errors look for their line: that must not take forever either."""
    lines = [
        b"\n" * 60_000,
        b"x = [\n" + b"1,\n" * 20_000 + b"]\n",
        b"".join(b"[a%d]\njobs=1\n" % n for n in range(4000)),
    ]
    for content in lines:
        config.write_bytes(content + b"jobs = 99\n" if b"[a" not in content else b"jobs = 99\n" + content)
        began = time.process_time()
        assert read_config({}).faults
        assert time.process_time() - began < 20


def test_no_secret_of_a_mirror_is_told(config: Path) -> None:
    for text in (
        'mirrors = ["https://a=me:hunter2@b"]',
        'mirrors = "https://me:hunter2@b"',
        '[mirrors]\n"https://a" = "me:hunter2@b"',
        '[mirrors]\n"a" = "https://me:hunter2@b"',
    ):
        config.write_text(text)
        (fault,) = read_config({}).faults.values()
        assert "hunter2" not in fault.message + fault.hint
    config.write_text('mirrors = ["https://a=https://me:hunter2@b"]')
    assert "hunter2" not in repr(Settings.read({}))
    assert "hunter2" not in json.dumps([[check.message, check.value] for check in diagnose().checks])


# --- Unknown keys


def test_an_unknown_key_warns_once_and_is_ignored(config: Path, hubcli: Run) -> None:
    config.write_text("jobs = 3\n\ntiemout = 5\n[colors]\nx = 1\n")
    result = hubcli("ls")

    assert result.returncode == 0
    assert result.stderr.startswith(
        f"Warning: {config}, line 3: unknown key 'tiemout', ignored. Did you mean 'timeout'?\n"
        f"Warning: {config}, line 4: unknown key 'colors', ignored. Did you mean 'color'?\n"
    )
    assert result.stderr.count("Warning") == 2
    assert hubcli("ls", "-q").stderr == ""


def test_an_unclear_variable_warns_once(hubcli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBCLI_NO_SYNC", "n")
    result = hubcli("ls")

    assert result.returncode == 0
    assert result.stderr.startswith("Warning: HUBCLI_NO_SYNC is 'n', which counts as on; use 1 or 0\n")
    assert result.stderr.count("Warning") == 1
    assert hubcli("ls", "-q").stderr == ""
    assert json.loads(hubcli("ls", "--json").stdout)["schema"] == 1


def test_names_that_could_command_a_terminal_are_escaped_and_many_are_bounded(
    config: Path, hubcli: Run
) -> None:
    config.write_text('"\\u001b[2J" = 1\n' + "".join(f"key{number} = 1\n" for number in range(100)))
    stderr = hubcli("ls").stderr

    assert "\x1b" not in stderr
    assert stderr.count("unknown key") == 10


# --- Who reads it


COMMANDS = [
    ["fetch", "example://mul/1"],
    ["ls"],
    ["inspect", "example://mul/1"],
    ["run", "example://mul/1", "--input", "[1]", "--dry-run"],
    ["verify"],
    ["export", "example://mul/1", "exported"],
    ["pin", "example://mul/1"],
    ["unpin", "example://mul/1"],
    ["gc", "--dry-run"],
    ["rm", "example://mul/1", "--dry-run"],
    ["doctor"],
]
# These need TensorFlow, a host that answers, or a shared tier.
OTHER_COMMANDS = [
    ["finetune-export", "example://mul/1", "tuned", "--weights", "values.npz"],
    ["info", "google/bert/tensorFlow2/small"],
    ["publish", "example://mul/1", "www/maker/mul/1"],
    ["push", "example://mul/1"],
    ["search"],
    ["tier", "ls"],
    ["versions", "google/bert/tensorFlow2/small"],
]


def test_every_command_reads_it(
    config: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [*COMMANDS, *OTHER_COMMANDS]
    assert {line[0] for line in every} == set(hubcli.cli.app.COMMANDS)
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    config.write_text(f'cache-dir = "{cache}"\noffline = true\n')
    for line, result in zip(COMMANDS, run_many([[*words, "--json"] for words in COMMANDS]), strict=True):
        document = json.loads(result.stdout)
        assert result.status == 0, (line, result.stderr)
        if line[0] in ("fetch", "inspect"):
            path = document["path"] if line[0] == "inspect" else document["models"][0]["path"]
            assert path.startswith(f"{cache}/")
        assert document.get("cache_dir", str(cache)) == str(cache)
    config.write_text("jobs = 99\n")
    for line, result in zip(every, run_many(every), strict=True):
        expected = (9, "") if line[0] == "doctor" else (2, f"Error: {config}, line 1: jobs is 99")
        assert (result.status, result.stderr[: len(expected[1])]) == expected


def test_a_command_that_runs_code_of_others_reads_it_too(config: Path, tmp_path: Path) -> None:
    models.write_tree(tmp_path / "mul", models.example_files())
    config.write_text("jobs = 99\n")
    line = [
        "finetune-export",
        str(tmp_path / "mul"),
        "tuned",
        "--weights",
        str(tmp_path / "mul"),
        "--dry-run",
    ]
    result = subprocess.run(
        [sys.executable, "-m", "hubcli", *line], capture_output=True, text=True, check=False
    )

    assert result.returncode == 2
    assert result.stderr.startswith(f"Error: {config}, line 1: jobs is 99")


def test_python_reads_it_too(config: Path, cache: Path) -> None:
    config.write_text(f'cache-dir = "{cache}"\n')

    assert hubcli.resolve("example://mul/1").startswith(f"{cache}/")
    assert [model.handle for model in hubcli.ls().models] == ["example://mul/1"]


def test_retries_of_the_file_count_for_every_fetch(config: Path, server: HubServer, cache: Path) -> None:
    config.write_text(f'cache-dir = "{cache}"\nretries = 1\n')
    url = server.serve("/m/1", Reply(b"", status=503))
    with pytest.raises(hubcli.HubcliError):
        hubcli.fetch(url)
    requests = len(server.requests)
    with pytest.raises(hubcli.HubcliError):
        hubcli.fetch(url, Settings.read({}, cache_dir=cache, config=ConfigFile()))

    assert requests == 2
    assert len(server.requests) - requests == 6


def test_mirrors_of_the_file_are_asked(config: Path, server: HubServer, hubcli: Run) -> None:
    server.serve("/tfhub/maker/model/1", models.archive())
    config.write_text(f'[mirrors]\n"https://tfhub.dev" = "{server.url}/tfhub"\n')
    result = hubcli("fetch", "https://tfhub.dev/maker/model/1")

    assert result.returncode == 0, result.stderr


def test_a_root_that_tensorflow_hub_does_not_know_is_told(config: Path, cache: Path) -> None:
    config.write_text(f'cache-dir = "{cache}"\n')
    (result,) = run_many([["fetch", "example://mul/1"]])

    assert f"export TFHUB_CACHE_DIR={cache}\n" in result.stderr


# --- What it costs, and the doctor


def test_nobody_without_a_file_loads_a_parser(config: Path) -> None:
    program = "import sys; from hubcli.cli.main import main; main(['ls']); print(*sys.modules)"
    for text, is_loaded in ((None, False), ("jobs = 2", True)):
        if text is not None:
            config.write_text(text)
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        loaded = set(result.stdout.split())
        assert bool({"tomllib", "tomli"} & loaded) is is_loaded


def test_the_doctor_tells_where_it_is_and_what_comes_from_it(config: Path) -> None:
    assert check_named(diagnose(), "config-file").message == f"none at {config}"
    config.write_text('cache-dir = "/models"\noffline = true\ntiemout = 1\nmirrors = ["https://a=https://b"]')
    found = diagnose({"HUBCLI_OFFLINE": "0"})

    assert check_named(found, "config-file").message == str(config)
    assert check_named(found, "config-cache-dir").message == "/models (config file)"
    assert (
        check_named(found, "config-offline").message == "true in the config file; HUBCLI_OFFLINE comes first"
    )
    assert check_named(found, "config-mirrors").value == "https://a=https://b"
    assert "unknown key 'tiemout'" in check_named(found, "config-unknown").message
    assert check_named(found, "root").value["source"] == f"config file {config}"
    assert check_named(found, "offline").value is False


def test_the_doctor_tells_of_all_that_is_wrong_and_uses_the_rest(config: Path) -> None:
    config.write_text('jobs = 99\ntimeout = "soon"\ncache-dir = "relative"\noffline = true\n')
    found = diagnose()

    assert [check.name for check in found.problems] == [
        "root",
        "config-file",
        "config-timeout",
        "config-cache-dir",
    ]
    assert check_named(found, "offline").message == "on (config file): only cached models are available"
    assert check_named(diagnose({"HUBCLI_CACHE_DIR": "/x"}), "root").value["path"] == "/x"
    config.write_text("nonsense")
    assert [check.name for check in diagnose().problems] == ["config-file"]
