"""Lists of models: what their lines mean, and doubles."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hubcli.commands.fetch import fetch
from hubcli.config.settings import Settings
from hubcli.errors import ExitStatus, UsageError
from hubcli.fetching.cached import link_spellings
from hubcli.fetching.options import RequestList, Requirement, fetch_requests
from tests.cases import each_of

HANDLE = "https://tfhub.dev/maker/model/1"
HEX = "0a" * 32


def asked_in(tmp_path: Path, text: str | bytes) -> list[tuple[str, str | None]]:
    """What a list with that text asks for: handle and hash."""
    file = tmp_path / "models.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(line.text, line.sha256) for line in RequestList.of((), (str(file),)).requirements]


@each_of(
    "text, handles",
    [
        ("", []),
        ("\n\n  \n", []),
        ("# nothing\n   # here\n", []),
        (f"{HANDLE}", [HANDLE]),
        (f"  {HANDLE}\t\r\n", [HANDLE]),
        (f"{HANDLE} # why\n", [HANDLE]),
        (f"{HANDLE}#fragment\n", [f"{HANDLE}#fragment"]),
        ("./my models/a b\n", ["./my models/a b"]),
        (b"\xef\xbb\xbf" + HANDLE.encode(), [HANDLE]),
        (f"\ufeff{HANDLE}\r\n".encode("utf-16-le"), [HANDLE]),
        (f"\ufeff{HANDLE}\r\n".encode("utf-16-be"), [HANDLE]),
        (b"./caf\xe9\n", ["./caf\udce9"]),
        (f"{HANDLE}\nexample://mul/1\n{HANDLE}\n", [HANDLE, "example://mul/1", HANDLE]),
    ],
)
def test_a_line_is_a_handle_and_comments_are_none(
    text: str | bytes, handles: list[str], tmp_path: Path
) -> None:
    assert [handle for handle, _ in asked_in(tmp_path, text)] == handles


@each_of("option", [f"--sha256={HEX}", f"--sha256 {HEX}", f"--sha256={HEX.upper()}   # so"])
def test_a_line_can_promise_the_hash_of_the_archive(option: str, tmp_path: Path) -> None:
    assert asked_in(tmp_path, f"{HANDLE}  {option}\nexample://mul/1\n") == [
        (HANDLE, HEX),
        ("example://mul/1", None),
    ]


@each_of("option", ["--sha256", "--sha256=12", "--sha265=" + HEX, f"--sha256={HEX} --pin", "--force", "\0"])
def test_a_line_that_is_not_understood_is_named(option: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"models\.txt, line 3 is invalid"):
        asked_in(tmp_path, f"# one\n\n{HANDLE} {option}\n")


@each_of("mark", ["<<<<<<< HEAD", "||||||| merged common ancestors", ">>>>>>> theirs"])
def test_a_merge_that_is_not_resolved_is_told_and_nothing_of_it_fetched(mark: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"models\.txt, line 2: unresolved merge conflict"):
        asked_in(tmp_path, f"{HANDLE}\n{mark}\nexample://mul/1\n")


def test_what_is_typed_comes_before_the_lists_and_these_in_their_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).write_text(f"https://tfhub.dev/maker/{name}/1\n")
    requirements = RequestList.of((HANDLE,), (str(tmp_path / "b"), str(tmp_path / "a"))).requirements
    assert [requirement.text.split("/")[-2] for requirement in requirements] == ["model", "b", "a"]


def test_a_list_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    for name, reason in (("absent.txt", "No such file"), ("", "Is a directory")):
        with pytest.raises(UsageError, match=reason) as caught:
            RequestList.of((), (str(tmp_path / name),))
        assert caught.value.exit_status is ExitStatus.USAGE


def test_a_list_without_end_is_refused() -> None:
    with pytest.raises(UsageError, match="too long"):
        RequestList.of((), ("/dev/zero",))


def test_standard_input_is_one_list() -> None:
    with pytest.raises(UsageError, match="-r - is given twice"):
        RequestList.of((), ("-", "-"))


def test_a_model_is_wanted_once_in_whatever_spelling() -> None:
    spellings = (HANDLE, "example://mul/1", f"{HANDLE}/", "http://tfhub.dev/maker/model/1", "example://mul/1")
    requests = fetch_requests(Requirement(text) for text in spellings)
    assert [model.name for model in requests] == [HANDLE, "example://mul/1"]


def test_a_hash_that_one_spelling_promises_holds_for_the_model() -> None:
    requests = fetch_requests((Requirement(HANDLE), Requirement(f"{HANDLE}/", HEX)))
    assert [model.sha256 for model in requests] == [HEX]


def test_two_hashes_of_one_archive_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="models.txt, line 2: different SHA-256"):
        fetch_requests((Requirement(HANDLE, HEX), Requirement(f"{HANDLE}/", "0" * 64, "models.txt, line 2")))


def test_a_handle_that_is_none_keeps_its_place_and_its_error() -> None:
    requests = fetch_requests((Requirement("tfhub.dev/x"), Requirement(HANDLE)))
    assert [model.error is None for model in requests] == [False, True]


def test_every_typed_spelling_is_found_afterwards(settings: Settings) -> None:
    typed = "example://mul/1/"
    (model,) = fetch_requests((Requirement("example://mul/1"), Requirement(typed)))
    assert model.handle is not None
    result = fetch(model.handle, settings)
    link_spellings(model.spellings, settings, result.path.name)
    link = settings.cache_root / hashlib.sha1(typed.encode()).hexdigest()
    assert link.resolve() == result.path.resolve()
