"""What an error says is about what was typed, and its hint can be typed as it stands."""

from __future__ import annotations

from pathlib import Path

from tests.cases import each_of
from tests.conftest import Run
from tests.entries import hubcli_entry

EXAMPLE = "example://mul/1"
SEE_LS = "Hint: See: hubcli ls"


@each_of("words", [["rm"], ["pin"], ["unpin"], ["ls", "--path"]])
def test_a_word_that_is_not_cached_leads_to_what_is_cached(words: list[str], hubcli_in_turn: Run) -> None:
    result = hubcli_in_turn(*words, "bert")
    assert result.returncode == 3
    first, last = result.stderr.splitlines()
    assert first == "Error: 'bert' is neither a handle nor an existing directory. Did you mean '*bert*'?"
    assert last == SEE_LS


@each_of("words, file", [([], "FILE"), (["--lock", "models.lock"], "models.lock")])
def test_locked_without_handles_names_the_list(words: list[str], file: str, hubcli_in_turn: Run) -> None:
    result = hubcli_in_turn("fetch", "--locked", *words)
    assert (result.returncode, result.stderr.splitlines()[1]) == (
        2,
        f"Hint: To fetch all that a lock file records: hubcli fetch --locked -r {file}",
    )


def test_a_tier_that_is_not_there_is_created_by_the_hint(hubcli_in_turn: Run, tmp_path: Path) -> None:
    tier = str(tmp_path / "a tier")
    result = hubcli_in_turn("tier", "ls", "--tier", tier)
    assert result.returncode == 4
    assert result.stderr.splitlines()[1].endswith(
        f"To create a tier there: hubcli push HANDLE --tier '{tier}'"
    )


def test_a_tier_without_its_option_is_corrected(hubcli_in_turn: Run) -> None:
    for command in ("ls", "stat", "verify", "gc"):
        result = hubcli_in_turn("tier", command, "s3://models/hub?mode=read")
        assert result.returncode == 2
        hint = "Hint: Specify the tier as an option: --tier 's3://models/hub?mode=read'"
        assert result.stderr.splitlines()[1] == hint


def test_a_model_is_called_as_it_was_named(hubcli_in_turn: Run) -> None:
    assert hubcli_in_turn("fetch", EXAMPLE).returncode == 0
    assert hubcli_in_turn("info", EXAMPLE).stderr.splitlines() == [
        f"Error: {EXAMPLE} has no README.md and no model card",
        f"Hint: Run: hubcli inspect {EXAMPLE}",
    ]
    checked = hubcli_in_turn("publish", EXAMPLE, "--check")
    assert f"hubcli publish --card {EXAMPLE} > README.md" in checked.stdout


@each_of(
    "value, error, hint",
    [
        ("foo=1", "The signature serving_default has no input 'foo'", "Its inputs: x: float32[?, 1]"),
        ('"a"', "x: 'a' is not a number, and the type is float32", "The input is x: float32[?, 1]."),
        ("@nothing.json", "Cannot read nothing.json: No such file or directory", "Check the path."),
    ],
)
def test_an_input_is_described_as_inspect_describes_it(
    value: str, error: str, hint: str, hubcli_in_turn: Run
) -> None:
    result = hubcli_in_turn("run", EXAMPLE, "--dry-run", "--input", value)
    assert result.stderr.splitlines() == [f"Error: {error}", f"Hint: {hint}"]


@each_of("severity", ["low", "high"])
def test_a_severity_without_the_scan_has_no_effect_and_says_so(severity: str, hubcli_in_turn: Run) -> None:
    note = "Note: --fail-on has no effect without --scan\n"
    assert note in hubcli_in_turn("inspect", EXAMPLE, "--fail-on", severity).stderr
    assert note not in hubcli_in_turn("inspect", EXAMPLE, "--fail-on", severity, "--scan").stderr
    assert note not in hubcli_in_turn("inspect", EXAMPLE).stderr


def test_an_error_of_the_network_is_in_words_without_the_number_of_the_system(hubcli_in_turn: Run) -> None:
    result = hubcli_in_turn("fetch", "https://127.0.0.1:1/a/b/1", "--retries", "1")
    assert result.returncode == 5
    assert "Connection refused: retrying in 0." in result.stderr
    assert "Errno" not in result.stderr


def test_a_directory_without_a_model_is_not_called_an_archive(hubcli_in_turn: Run, tmp_path: Path) -> None:
    result = hubcli_in_turn("inspect", str(tmp_path))
    assert result.stderr.splitlines()[1].startswith("Hint: Specify the directory of saved_model.pb.")


def test_a_corrupt_model_is_named_with_its_file_and_a_remedy(hubcli_in_turn: Run, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_text("junk")
    text = hubcli_in_turn("run", "--input", "1", "--dry-run", str(tmp_path)).stderr
    assert text.endswith("Hint: Fetch or export the model again.\n"), text
    unpublished = hubcli_in_turn("publish", str(tmp_path), str(tmp_path / "www" / "a" / "b" / "1"), "--yes")
    assert "exceeds its message in saved_model.pb [model]" in unpublished.stdout + unpublished.stderr


def test_a_local_file_that_is_not_an_archive_is_not_called_a_url(hubcli_in_turn: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.tar.gz"
    page.write_text("<html>")
    assert "Hint: Check the URL or path: " in hubcli_in_turn("fetch", str(page)).stderr


def test_signatures_are_listed_as_inputs_are(hubcli_in_turn: Run) -> None:
    result = hubcli_in_turn("run", EXAMPLE, "--dry-run", "--signature", "x", "--input", "1")
    assert result.stderr.splitlines()[1] == "Hint: Its signatures: serving_default(x: float32[?, 1])"


def test_an_invalid_mirror_begins_as_other_errors_do(hubcli_in_turn: Run) -> None:
    result = hubcli_in_turn("fetch", EXAMPLE, "--mirror", "foo")
    assert result.stderr.splitlines()[0] == "Error: Invalid mirror 'foo'"


def test_the_help_of_an_option_is_about_the_command(hubcli_in_turn: Run) -> None:
    assert "Overwrite the file of --output." in hubcli_in_turn("run", "--help", COLUMNS="120").stdout
    assert "Overwrite DEST." in hubcli_in_turn("export", "--help", COLUMNS="120").stdout


def test_the_doctor_aligns_what_it_says_behind_long_names(hubcli_in_turn: Run, cache: Path) -> None:
    hubcli_entry(cache, "https://tfhub.dev/google/elmo/3")
    lines = hubcli_in_turn("doctor", SSL_CERT_DIR="/etc/ssl", REQUESTS_CA_BUNDLE="/etc/ssl/x.pem").stdout
    section = lines.partition("Settings\n")[2].partition("\n\n")[0].splitlines()
    places = {line.split()[1]: line.index("/etc/ssl") for line in section if "/etc/ssl" in line}
    assert places.keys() >= {"SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}, section
    assert len(set(places.values())) == 1, section


@each_of(
    "words, error, hint",
    [
        ("ls --limit x", "--limit': 'x' is not a whole number", "See: hubcli ls --help"),
        ("ls --limit -1", "--limit': -1 is out of range", "Use 0 or more."),
        ("fetch --connections 99", "--connections': 99 is out of range", "Use 1 to 64."),
        ("export a y --tolerance x", "--tolerance': 'x' is not a number", "See: hubcli export --help"),
    ],
)
def test_a_number_that_an_option_does_not_take_leads_to_those_that_it_takes(
    words: str, error: str, hint: str, hubcli_in_turn: Run
) -> None:
    result = hubcli_in_turn(*words.split())
    assert result.returncode == 2
    assert result.stderr.splitlines() == [f"Error: Invalid value for '{error}", f"Hint: {hint}"]


@each_of(
    "handle, hint",
    [("foo", "Use OWNER/MODEL/FRAMEWORK/VARIATION on"), ("a/b/c/d", "Use tensorFlow2 or tensorFlow1.")],
)
def test_where_to_publish_is_corrected_in_the_part_that_is_wrong(
    handle: str, hint: str, hubcli_in_turn: Run
) -> None:
    result = hubcli_in_turn("publish", EXAMPLE, handle, "--dry-run")
    assert (result.returncode, result.stderr.splitlines()[-1][: 6 + len(hint)]) == (3, f"Hint: {hint}")
