"""What each command prints, and its exit status, are those of before: 300 command lines on one cache."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tools.behaviour_lines import WORKSPACES, lines
from tools.compare_behaviour import (
    INTENDED,
    AddedKey,
    AddedLine,
    ChangedText,
    Outcome,
    RephrasedMessages,
    ReworkedHelp,
    compare,
    read_record,
    run_all,
)

RECORD = Path(__file__).parents[1] / "data" / "behaviour.json.xz"
LINE = "listing: ls --json"
DOCUMENT = {"schema": 1, "models": [{"handle": "a", "bytes": 5}, {"handle": "b", "bytes": 6}]}


def outcome(document: object, status: int = 0) -> dict[str, Outcome]:
    return {LINE: Outcome(status, json.dumps(document, indent=2) + "\n", "")}


@pytest.mark.skipif(sys.platform != "linux", reason="the record has messages of Linux")
# The smaller ones share the process that imports all of hubcli.
@pytest.mark.parametrize("workspaces", [WORKSPACES[:1], WORKSPACES[1:]], ids=" and ".join)
def test_nothing_differs_from_the_record_but_what_is_meant_to(workspaces: tuple[str, ...]) -> None:
    """`python -m tools.compare_behaviour tests/data/behaviour.json.xz CHECKOUT` shows the same."""
    names = {line.name for line in lines() if line.workspace in workspaces}
    record = {name: outcome for name, outcome in read_record(RECORD).items() if name in names}
    assert record.keys() == names
    newer = run_all(Path(sys.executable), workspaces)
    intended = [change for change in INTENDED if any(change.fits(name) for name in names)]
    found = compare(record, newer, intended)
    assert not found, "\n\n".join(found)


def test_the_record_has_each_exit_status_and_command() -> None:
    record = read_record(RECORD)
    assert {outcome.status for outcome in record.values()} == {*range(10), 120, 130}
    helps = record["help: --help"].stdout
    commands = {name.split()[1] for name in record if name.endswith(" --help")} - {"--help"}
    assert all(f" {command} " in helps for command in commands)
    assert len(commands) == 11


def test_each_intended_difference_fits_a_line() -> None:
    names = [line.name for line in lines()]
    assert all(any(change.fits(name) for name in names) for change in INTENDED)


class TestComparison:
    def test_what_is_equal_is_no_difference(self) -> None:
        assert compare(outcome(DOCUMENT), outcome(DOCUMENT), []) == []

    def test_a_key_that_is_dropped_is_one(self) -> None:
        shorter = {"schema": 1, "models": [{"handle": "a"}, {"handle": "b", "bytes": 6}]}
        (found,) = compare(outcome(DOCUMENT), outcome(shorter), [])
        assert found.startswith(LINE)
        assert '-      "bytes": 5' in found

    def test_a_key_that_is_added_is_one_unless_it_is_intended(self) -> None:
        longer = json.loads(json.dumps(DOCUMENT).replace('"bytes"', '"format": "tf2", "bytes"'))
        assert len(compare(outcome(DOCUMENT), outcome(longer), [])) == 1
        added = AddedKey("listing: ls*--json", "models[].format", "a reason")
        assert compare(outcome(DOCUMENT), outcome(longer), [added]) == []

    def test_an_intended_key_hides_no_other_value(self) -> None:
        other = {"schema": 1, "models": [{"handle": "a", "bytes": 5}, {"handle": "b", "bytes": 7}]}
        added = AddedKey("listing: ls*--json", "models[].bytes", "a reason")
        assert len(compare(outcome(DOCUMENT), outcome(other), [added])) == 2

    def test_an_exit_status_is_one(self) -> None:
        (found,) = compare(outcome(DOCUMENT), outcome(DOCUMENT, 9), [])
        assert "-exit 0\n+exit 9" in found

    def test_a_text_that_is_changed_is_one_unless_it_is_intended(self) -> None:
        before = {LINE: Outcome(0, "", "Note: Going on\n")}
        after = {LINE: replace(before[LINE], stderr="Note: Resuming\n")}
        assert len(compare(before, after, [])) == 1
        assert compare(before, after, [ChangedText(LINE, "Going on", "Resuming", "a reason")]) == []

    def test_a_line_that_is_added_is_one_unless_it_is_intended(self) -> None:
        before = {LINE: Outcome(0, "│ ls   List\n", "")}
        after = {LINE: Outcome(0, "│ ls   List\n│ run  Run\n", "")}
        assert len(compare(before, after, [])) == 1
        assert compare(before, after, [AddedLine(LINE, "│ run ", "a reason")]) == []
        assert len(compare(after, before, [AddedLine(LINE, "│ run ", "a reason")])) == 2

    def test_help_in_other_words_has_the_same_options(self) -> None:
        page = "Remove models.\n│ --older-than  TIME  {} │\n│ --yes  -y           Don't ask. │\n"
        before = {LINE: Outcome(0, page.format("Those not used for so long."), "")}
        after = {LINE: Outcome(0, page.format("Remove models not used for this long."), "")}
        without = {LINE: Outcome(0, "Remove models.\n│ --yes  -y           Don't ask. │\n", "")}
        flag = {LINE: Outcome(0, page.replace("TIME", "").format(""), "")}
        reworked = [ReworkedHelp(LINE, "a reason")]
        assert compare(before, after, reworked) == []
        assert len(compare(before, without, reworked)) == 1
        assert len(compare(before, flag, reworked)) == 1

    def test_messages_in_other_words_are_of_the_same_kinds(self) -> None:
        error = {"schema": 1, "error": {"code": "usage", "message": "'x' is no size", "hint": "Mend it"}}
        before = {LINE: Outcome(2, json.dumps(error), "Note: Going on\nHint: Mend it\n")}
        error["error"] = {"code": "usage", "message": "Invalid size 'x'", "hint": "Use 1GB"}
        after = {LINE: Outcome(2, json.dumps(error), "Note: Resuming\nHint: Use 1GB\n")}
        rephrased = [RephrasedMessages(LINE, "a reason")]
        assert compare(before, after, rephrased) == []
        error["error"] = {"code": "handle", "message": "Invalid size 'x'", "hint": ""}
        assert len(compare(before, {LINE: replace(after[LINE], stdout=json.dumps(error))}, rephrased)) == 1
        assert len(compare(before, {LINE: replace(after[LINE], stderr="Note: Resuming\n")}, rephrased)) == 1
        assert len(compare(before, {LINE: replace(after[LINE], status=3)}, rephrased)) == 1

    def test_an_intended_difference_that_is_none_is_reported(self) -> None:
        added = AddedKey("listing: ls*--json", "models[].format", "a reason")
        (found,) = compare(outcome(DOCUMENT), outcome(DOCUMENT), [added])
        assert found.endswith("makes no difference")

    def test_a_line_that_was_not_run_is_one(self) -> None:
        assert compare(outcome(DOCUMENT), {}, []) == [f"{LINE}: only the older was run"]
