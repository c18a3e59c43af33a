"""Issues: the order of severities, what is printed, and that each code is registered, told and documented."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hubcli
from hubcli.issues import FINDING_SEVERITIES, Issue, Location, Severity, codes
from tools.make_docs import CODES, codes_page

PACKAGE = Path(hubcli.__file__).parent
# Which argument of a call is a code, by the name of what is called.
CALLS = {
    "Issue": 1,
    "of_part": 1,
    "of_file": 0,
    "_fault": 0,
    "_check": 0,
    "_issue": 0,
    "_credential_check": 0,
    "of": 1,
    "Risk": 0,
    "FileKind": 0,
    "MemberKind": 1,
    "CompatibilityRule": 0,
    "obstacle": 0,
    "_LaterKind": 0,
    "_refusal": 0,
}
# Codes that are handed on from where they were made, or that are names: what each may be.
HANDED_ON = {
    "kind.code", "member.code", "inner.code", "risk.code", "pair.name", "code", "error.code",
}  # fmt: skip
NAMES = {
    "_name(found.url)": "<host>",
    "check_name": "<package>-wants-<package>",
}
# Of the doctor, whose checks have names: variables, packages, keys of the config file.
NAMES_OF_FILES = {"settings.py": {"<variable>", "config-<key>"}, "packages.py": {"<package>"}}


def _name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _literals(node: ast.expr, file: str) -> Iterator[str]:
    """The codes that an argument may be."""
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, str)
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _literals(node.body, file)
        yield from _literals(node.orelse, file)
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else f"<{ast.unparse(part.value)}>"
                 for part in node.values if isinstance(part, ast.Constant | ast.FormattedValue)]  # fmt: skip
        yield "".join(map(str, parts))
    elif ast.unparse(node) in NAMES:
        yield NAMES[ast.unparse(node)]
    elif ast.unparse(node) == "name":
        yield from NAMES_OF_FILES.get(file, ())
    else:
        assert ast.unparse(node) in HANDED_ON, f"{file}: {ast.unparse(node)} is no known code"


def _told_by(file: Path) -> str:
    if file.name == "errors.py":
        return "errors"
    if file.parent.name == "diagnosing" or file.name == "doctor.py":
        return "doctor"
    if file.parent.name == "targets":
        return "inspect --for"
    if file.name == "checklist.py":
        return "publish --check"
    if file.parent.name == "tiers":
        return "tier verify"
    if file.name == "reusable.py":
        return "inspect --check"
    if file.name in ("integrity.py", "shard_chunks.py", "verify.py"):
        return "verify"
    if file.name in ("upload_files.py", "publish.py"):
        return "publish"
    return "inspect --scan"


def _emitted() -> set[tuple[str, str]]:
    """Every code in the source, with who tells it; issues.py makes the type alone."""
    files = [file for file in PACKAGE.rglob("*.py") if file.name != "issues.py"]
    return {
        ("errors" if isinstance(node, ast.ClassDef) else _told_by(file), code)
        for file in files
        if "cli" not in file.relative_to(PACKAGE).parts
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for code in _codes_of(node, file)
    }


def _codes_of(node: ast.AST, file: Path) -> Iterator[str]:
    if isinstance(node, ast.Call):
        place = _place_of_code(node, file)
        if place is not None and len(node.args) > place:
            yield from _literals(node.args[place], file.name)
    elif isinstance(node, ast.ClassDef) and node.bases:  # Of an error.
        yield from _codes_of_class(node)
    elif isinstance(node, ast.Tuple) and file == PACKAGE / "commands" / "doctor.py":
        yield from _names_of_checkups(node)


def _place_of_code(call: ast.Call, file: Path) -> int | None:
    """Which of the arguments is a code; None where none is."""
    name = _name_of(call)
    if name == "partial":
        return 2 if ast.unparse(call.args[0]) == "Check.of" else None
    if name == "of" and "Check" not in ast.unparse(call.func):
        return None
    return None if name in ("_check", "_credential_check") and _told_by(file) != "doctor" else CALLS.get(name)


def _codes_of_class(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "code":
            yield from _literals(statement.value, "errors.py")


def _names_of_checkups(node: ast.Tuple) -> Iterator[str]:
    """The name in a row of the table of checkups, which a check that fails goes by."""
    if len(node.elts) == 3 and ast.unparse(node.elts[0]).startswith("Section."):
        yield from _literals(node.elts[1], "doctor.py")


@pytest.mark.sources
def test_every_code_that_can_be_told_is_registered_and_every_registered_one_can_be_told() -> None:
    registered = {(told_by, code) for told_by, meanings in codes().items() for code in meanings}
    emitted = {(told_by, re.sub(r"<error.*?>|<next\(.*?\)>", "<key>", code)) for told_by, code in _emitted()}

    assert emitted - registered == set()
    assert registered - emitted == set()


def test_each_code_has_one_sentence() -> None:
    for meanings in codes().values():
        for code, meaning in meanings.items():
            assert re.fullmatch(r"<?[a-z0-9]+>?(-<?[a-z0-9]+>?)*", code)
            assert meaning.endswith(".")
            assert ". " not in meaning
            assert not meaning.startswith(code)


def test_the_page_of_codes_is_what_the_registry_says() -> None:
    assert CODES.read_text(encoding="utf-8") == codes_page()


def test_severities_are_ordered_by_gravity_and_not_by_their_letters() -> None:
    assert sorted(FINDING_SEVERITIES, reverse=True)[0] is Severity.CRITICAL
    assert Severity.INFO < Severity.LOW < Severity.MEDIUM < Severity.HIGH < Severity.CRITICAL
    assert Severity.HINT < Severity.WARNING < Severity.ERROR
    assert Severity.OK <= Severity.INFO <= Severity.WARNING < Severity.PROBLEM
    assert max(Severity.HIGH, Severity.CRITICAL) is Severity.CRITICAL
    assert Severity.MEDIUM >= Severity.MEDIUM
    assert {Severity.MEDIUM: 1}.get("medium") == 1  # type: ignore[call-overload]


def test_an_issue_is_printed_with_its_place() -> None:
    assert str(Issue.of_file("size", "is short")) == "is short"
    assert str(Issue.of_file("size", "is short", "a")) == "a: is short"
    assert str(Issue.of_file("tensor", "is bad", "a", "t", 4, 8)) == "a, tensor t, bytes 4 to 7: is bad"
    assert str(Issue.of_file("tensor", "is bad", "a", "t", 4, 4)) == "a, tensor t, no bytes: is bad"
    assert str(Issue.of_part(Severity.LOW, "prints", "it prints", "graph")) == "graph: it prints"


def test_what_an_issue_was_called_before_is_still_there() -> None:
    issue = Issue.of_file("tensor", "is bad", "a", "t", 4, 8)
    assert (issue.file, issue.tensor, issue.start, issue.end) == ("a", "t", 4, 8)
    assert Issue(Severity.HINT, "no-logits", "m", hint="do").remedy == "do"
    assert Issue.of_part(Severity.LOW, "prints", "m", "graph").where == "graph"
    assert Issue(Severity.LOW, "prints", "m").location == Location()
