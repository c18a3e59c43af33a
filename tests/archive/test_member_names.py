"""Which names may become paths."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath

from hypothesis import given
from hypothesis import strategies as st

from hubcli.archive import Limits
from hubcli.archive.unpack import NameRules
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, UnsafeArchiveError
from tests import archives
from tests.archive.conftest import Sandbox
from tests.archives import UNSAFE_NAMES, directory, file, tar
from tests.cases import each_of

# Pieces of which names are made that deserve a second look.
_PIECES = st.sampled_from(
    ["..", ".", "/", "\\", ":", "C:", "a", "A", "nul", "con", " ", "\0", "\n", "é", "e\u0301", "ß", "\u202e"]
)
_NAMES = st.one_of(st.text(), st.lists(st.one_of(_PIECES, st.text(max_size=3))).map("".join))


@each_of("name", UNSAFE_NAMES.values())
def test_an_unsafe_name_is_refused(tmp_path: Path, name: str) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.refusal(tar(file(name)), UnsafeArchiveError)
    assert sandbox.files == {}


@each_of("name", UNSAFE_NAMES.values())
def test_an_unsafe_name_in_a_pax_header_is_refused(tmp_path: Path, name: str) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.refusal(tar(archives.pax_named_file(name)), UnsafeArchiveError)
    assert sandbox.files == {}


@each_of("name", UNSAFE_NAMES.values())
def test_an_unsafe_name_in_a_gnu_header_is_refused(tmp_path: Path, name: str) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.refusal(tar(archives.gnu_long_named_file(name)), UnsafeArchiveError)
    assert sandbox.files == {}


@each_of("name", UNSAFE_NAMES.values())
def test_an_unsafe_name_of_a_directory_is_refused(tmp_path: Path, name: str) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.refusal(tar(directory(name)), UnsafeArchiveError)
    assert list(sandbox.destination.iterdir()) == []


def test_a_real_absolute_path_is_refused(sandbox: Sandbox) -> None:
    error = sandbox.refusal(tar(file(str(sandbox.outside / "evil"))), UnsafeArchiveError)
    assert "absolute path" in error.message


def test_a_prefix_that_climbs_out_is_refused(sandbox: Sandbox) -> None:
    sandbox.refusal(tar(file("evil", prefix="../..")), UnsafeArchiveError)
    sandbox.refusal(tar(file("evil", prefix="/tmp")), UnsafeArchiveError)


@each_of("name", ["a\0b", "a\0", "\0", "a/\0/b"])
def test_a_nul_in_a_pax_name_is_refused(tmp_path: Path, name: str) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    error = sandbox.refusal(tar(archives.pax_named_file(name)), UnsafeArchiveError)
    assert "control character" in error.message


def test_a_nul_within_a_gnu_name_is_refused(sandbox: Sandbox) -> None:
    sandbox.refusal(tar(archives.gnu_long_named_file(b"a\0b")), UnsafeArchiveError)


@each_of("name", ["", ".", "./", "./."])
def test_a_file_without_a_name_is_refused(tmp_path: Path, name: str) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.refusal(tar(archives.pax_named_file(name)), UnsafeArchiveError)
    assert sandbox.files == {}


@each_of("name", [b"\xff", b"caf\xe9", b"\xc0\xae\xc0\xae/a", b"\xed\xa0\x80"])
def test_a_name_that_is_no_utf_8_is_refused(tmp_path: Path, name: bytes) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    for member in (file(name), archives.pax_named_file(name), archives.gnu_long_named_file(name)):
        error = sandbox.refusal(tar(member), UnsafeArchiveError)
        assert "not UTF-8" in error.message


@each_of("name", ["a<b", "a>b", 'a"b', "a|b", "a?b", "a*b", "con .txt", "nul  .tar.gz"])
def test_a_name_that_windows_can_not_hold_is_refused(tmp_path: Path, name: str) -> None:
    # "Naming Files, Paths, and Namespaces": reserved characters; what follows a device's name is cut off.
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.refusal(tar(file(name)), UnsafeArchiveError)


@each_of(
    "name",
    ["console", "nullable.txt", "com", "com10", "auxiliary/a", ".hidden", "a b", "a..b", "データ", "ü"],
)
def test_a_name_that_only_looks_reserved_is_taken(tmp_path: Path, name: str) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.unpack(tar(file(name)))
    assert list(sandbox.files) == [name]


def test_a_path_that_is_too_long_is_refused(sandbox: Sandbox) -> None:
    name = "/".join(["a" * 99] * 10)
    error = sandbox.refusal(
        tar(archives.pax_named_file(name)), UnsafeArchiveError, Limits(path_bytes=len(name) - 1)
    )
    assert "--max-path-length" in error.hint


def test_the_length_of_a_path_is_counted_in_bytes(sandbox: Sandbox) -> None:
    sandbox.refusal(tar(file("é" * 30)), UnsafeArchiveError, Limits(path_bytes=59))
    sandbox.unpack(tar(file("é" * 30)), Limits(path_bytes=60))


def test_a_path_that_is_too_deep_is_refused(sandbox: Sandbox) -> None:
    error = sandbox.refusal(tar(file("a/b/c/d")), UnsafeArchiveError, Limits(path_depth=3))
    assert "--max-depth" in error.hint
    assert list(sandbox.destination.iterdir()) == []


def test_a_path_as_deep_as_allowed_is_taken(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(file("a/b/c/d")), Limits(path_depth=4))
    assert list(sandbox.files) == ["a/b/c/d"]


def test_a_path_of_thousands_of_directories_raises_nothing_foreign(tmp_path: Path) -> None:
    # Deeper than Python may recurse: pathlib makes parents, and shutil removes them, call within call.
    archive, cache = tmp_path / "deep.tar", tmp_path / "cache"
    archive.write_bytes(tar(archives.pax_named_file("/".join("a" * 1500))))
    with suppress(HubcliError):
        limits = Limits(path_depth=2000, path_bytes=4000)
        options = FetchOptions(local=str(archive), limits=limits)
        fetch("https://tfhub.dev/a/b/1", Settings.read({}, cache_dir=cache), options)
    assert [path.name for path in cache.glob("*")] in ([], ["CACHEDIR.TAG"])


def test_a_segment_beyond_what_file_systems_hold_is_refused(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(archives.pax_named_file("a" * 255)))
    sandbox.refusal(tar(archives.pax_named_file("é" * 128)), UnsafeArchiveError)


def test_a_refused_name_is_shown_shortened_and_without_control_characters(sandbox: Sandbox) -> None:
    error = sandbox.refusal(tar(archives.pax_named_file("\x1b[31m" + "a" * 5000)), UnsafeArchiveError)
    assert len(error.message) < 400
    assert "\x1b" not in error.message


@given(_NAMES, st.booleans())
def test_a_name_is_refused_or_stays_below_the_destination(name: str, is_directory: bool) -> None:
    try:
        segments = NameRules(Limits()).accept(name, is_directory=is_directory)
    except UnsafeArchiveError:
        return
    assert PurePosixPath("/top", *segments).parts == ("/", "top", *segments)
    assert PureWindowsPath("C:/top", *segments).parts == ("C:\\", "top", *segments)
    assert not {"", ".", ".."} & set(segments)
    assert not set("\0\\/:") & set("".join(segments))


@given(st.lists(st.tuples(_NAMES, st.booleans()), max_size=8))
def test_accepted_names_never_meet(names: list[tuple[str, bool]]) -> None:
    rules, accepted = NameRules(Limits()), dict[str, bool]()
    for name, is_directory in names:
        try:
            segments = rules.accept(name, is_directory=is_directory)
        except UnsafeArchiveError:
            continue
        path = "/".join(segments).casefold()
        if rules.is_repeated:  # The very same name: held against the bytes that came first.
            assert accepted[path] is False
            continue
        assert is_directory or path not in accepted
        assert not any(path.startswith(f"{known}/") for known, is_folder in accepted.items() if not is_folder)
        accepted[path] = is_directory
