"""Compares output and exit statuses of two hubclis, command line by command line, on one prepared cache.

    python -m tools.compare_behaviour OLDER NEWER

Each is the Python of an environment that has hubcli, or the directory of a checkout, which runs with this
Python. What differs is printed, and the exit status is 1. What varies from run to run, such as times and
temporary paths, is masked by `MASKS`; what is meant to differ is listed in `INTENDED`.

`--record FILE` writes what OLDER does; with FILE as OLDER, that is compared. The tests compare
tests/data/behaviour.json.xz, which is what hubcli did before its modules were arranged anew:

    python -m tools.compare_behaviour --record tests/data/behaviour.json.xz CHECKOUT_OF_475f6e7
"""

from __future__ import annotations

import argparse
import difflib
import json
import lzma
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

from hubcli.cli.options import GLOBAL_OPTIONS
from tests.entries import key_of
from tests.forked_python import LIBRARIES
from tools.behaviour_lines import WORKSPACES, Line, lines
from tools.behaviour_workspace import workspace

__all__ = [
    "INTENDED",
    "AddedKey",
    "AddedLine",
    "ChangedText",
    "Outcome",
    "RephrasedMessages",
    "ReworkedHelp",
    "compare",
    "read_record",
    "run_all",
]

# Runs the lines in processes that are forked from one that has loaded everything: 30 ms instead of 300. Those
# that only read follow each other in one process, by `main`: 3 ms.
_PROGRAM = """
import contextlib, gc, importlib, json, os, pkgutil, runpy, sys, tempfile, traceback
import hubcli, rich.table, rich.progress
names = [module.name for module in pkgutil.walk_packages(hubcli.__path__, "hubcli.")]
groups, libraries = json.load(sys.stdin)
for name in [*libraries, *names]:
    if not name.endswith((".__main__", ".keras_layer", ".keras.layer")):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
with contextlib.suppress(ImportError, OSError):
    from hubcli.config.environment import NetworkConfig
    from hubcli.net.connections import trusted_context
    trusted_context(NetworkConfig())
with contextlib.suppress(ImportError):  # An older checkout builds it for each line.
    from hubcli.cli.app import COMMANDS
    from hubcli.cli.entrypoint import command_of
    for name in COMMANDS:
        command_of(name)
gc.collect()
gc.freeze()

def be_ready(line, stdin, stdout, stderr):
    for number, file in enumerate((stdin, stdout, stderr)):
        os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(line["environment"])
    exec(line["before"], {})
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", 1)

def be_hubcli(line, stdin, stdout, stderr):
    be_ready(line, stdin, stdout, stderr)
    status = 1
    try:
        sys.argv = ["hubcli", *line["words"]]
        runpy.run_module("hubcli", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        status = 120
    os._exit(status)

def run_in_turn(lines, stdin, outputs, statuses):
    from hubcli.cli.main import main
    for line, files in zip(lines, outputs):
        be_ready(line, stdin, *files)
        status = main(line["words"])
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            stream.close()
        os.write(statuses.fileno(), b"%d\\n" % status)
    os._exit(0)

def outcomes_of(lines):
    os.chdir(lines[0]["cwd"])
    with contextlib.ExitStack() as opened:
        temporary = [opened.enter_context(tempfile.TemporaryFile()) for _ in range(2 * len(lines) + 1)]
        outputs, statuses = list(zip(temporary[1::2], temporary[2::2])), temporary[0]
        stdin = opened.enter_context(open(lines[0]["stdin"] or os.devnull, "rb"))
        pid = os.fork()
        if not pid:
            if len(lines) > 1:
                run_in_turn(lines, stdin, outputs, statuses)
            be_hubcli(lines[0], stdin, *outputs[0])
        last = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        for file in temporary:
            file.seek(0)
        ended = [int(status) for status in statuses]
        # Lines that the process did not reach have its own status.
        ended += [last] * (len(lines) - len(ended))
        return [
            [status, stdout.read().decode(), stderr.read().decode()]
            for status, (stdout, stderr) in zip(ended, outputs)
        ]

outcomes = [outcome for lines in groups for outcome in outcomes_of(lines)]
print(json.dumps(outcomes))
"""

# What varies from run to run and from machine to machine, in this order: scene, pattern, what stands for it.
MASKS = (
    ("*", r"http://127\.0\.0\.1:(?!9\b)\d+", "SERVER"),
    ("*", r"\b[0-9a-f]{32}(?=\.(?:tmp|trash))", "UID"),
    ("*", r"\d+(?:\.\d+)? s\b", "N s"),
    ("*", r'("seconds": )[\d.]+', r"\1N"),
    ("*", r"\b\d+[hdmy]o? ago\b", "AGO"),
    ("*", r"(?<=  )now\b", "AGO"),
    ("*", r'"\d{4}-\d\d-\d\dT[\d:.]+Z"', '"TIME"'),
    ("*", r"hubcli \d+\.\d+\.\d+\S*", "hubcli VERSION"),
    # What files take of the disk depends on the file system.
    ("changing", r'("(?:disk_bytes|before|after|freed_bytes)": )\d+', r"\1N"),
    ("changing", r"\d+(?:\.\d+)? [kMGT]?B\b", "N B"),
    # Columns are as wide as what was masked.
    ("*", r" +(?=N B|AGO|$)", " "),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one line, masked."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class AddedKey:
    """A key that newer documents have in addition: `models[].format` in those of lines like `pattern`."""

    pattern: str
    path: str
    reason: str

    def fits(self, name: str) -> bool:
        """Whether it is in the line of this name."""
        return fnmatchcase(name, self.pattern)

    def apply(self, older: Outcome, newer: Outcome) -> tuple[Outcome, Outcome]:
        """Both without the key where the newer alone has it."""
        try:
            before, after = _parsed(older.stdout), _parsed(newer.stdout)
        except ValueError:
            return older, newer
        _drop(after, before, self.path.split("."))
        return (
            Outcome(older.status, _dumped(before), older.stderr),
            Outcome(newer.status, _dumped(after), newer.stderr),
        )


def _parsed(text: str) -> Any:
    """The document; N stands in it for numbers that each run has others of."""
    return json.loads(re.sub(r": N(?=[,\n])", ': "N"', text))


@dataclass(frozen=True, slots=True)
class ChangedText:
    """A text that newer output has in place of the older's, in lines like `pattern`."""

    pattern: str
    older: str
    newer: str
    reason: str

    def fits(self, name: str) -> bool:
        """Whether it is in the line of this name."""
        return fnmatchcase(name, self.pattern)

    def apply(self, older: Outcome, newer: Outcome) -> tuple[Outcome, Outcome]:
        """The older with the newer's text."""
        texts = [text.replace(self.older, self.newer) for text in (older.stdout, older.stderr)]
        return Outcome(older.status, *texts), newer


@dataclass(frozen=True, slots=True)
class AddedLine:
    """A line of output that the newer has in addition, such as a command in the help, by how it begins."""

    pattern: str
    beginning: str
    reason: str

    def fits(self, name: str) -> bool:
        """Whether it is in the output of the line of this name."""
        return fnmatchcase(name, self.pattern)

    def apply(self, older: Outcome, newer: Outcome) -> tuple[Outcome, Outcome]:
        """The newer without it."""
        texts = [
            "\n".join(line for line in text.split("\n") if not line.startswith(self.beginning))
            for text in (newer.stdout, newer.stderr)
        ]
        return older, Outcome(newer.status, *texts)


# What is meant to differ from the record. One that makes no difference is reported too.
@dataclass(frozen=True)
class ReworkedHelp:
    """Help pages in other words: what must be the same are the options, and which of them take a value.

    The global options are left out: they moved from every page to that of hubcli.
    """

    pattern: str
    reason: str

    def fits(self, name: str) -> bool:
        """Whether the line of this name prints such a page."""
        return fnmatchcase(name, self.pattern)

    def apply(self, older: Outcome, newer: Outcome) -> tuple[Outcome, Outcome]:
        """Both with their options alone."""
        before, after = (replace(outcome, stdout=self._options(outcome.stdout)) for outcome in (older, newer))
        return before, after

    @staticmethod
    def _options(page: str) -> str:
        rows = {_CHOICES.sub(" <choices>", " ".join(row.split())) for row in _OPTION_ROW.findall(page)}
        return "\n".join(sorted(row for row in rows if row.split()[0] not in GLOBAL_OPTIONS))


@dataclass(frozen=True)
class RephrasedMessages:
    """Messages and hints in other words: the same are JSON without them, and kinds of lines."""

    pattern: str
    reason: str

    def fits(self, name: str) -> bool:
        """Whether it is in the output of the line of this name."""
        return fnmatchcase(name, self.pattern)

    def apply(self, older: Outcome, newer: Outcome) -> tuple[Outcome, Outcome]:
        """Both without the words."""
        before, after = (
            replace(outcome, stdout=_without_messages(outcome.stdout), stderr=_kinds(outcome.stderr))
            for outcome in (older, newer)
        )
        return before, after


def _without_archive_hash(outcome: Outcome) -> Outcome:
    """Releases of protobuf write the tests' models in different bytes, which are as many."""
    return replace(outcome, stdout=re.sub(r'("sha256": )"[0-9a-f]{64}"', r'\1"…"', outcome.stdout))


def _without_messages(text: str) -> str:
    return _MESSAGE.sub(r'\1"…"', text)


def _kinds(text: str) -> str:
    """How the lines of messages begin, in order: `Error:`, `Hint:`, `Note:`."""
    return "\n".join(_KIND.findall(text))


_MESSAGE = re.compile(r'("(?:message|hint)": )"(?:[^"\\]|\\.)+"')
_KIND = re.compile(r"^(Error|Hint|Note|Warning):", re.MULTILINE)

# The row of an option in a help page: its names, and the kind of its value in capitals, or its choices.
_OPTION_ROW = re.compile(
    r"│ (--[a-z-]+(?: +-[A-Za-z])?(?: +(?:<|[a-z][a-z.0-9]*\||[A-Z][^a-z ]*(?![a-z])))?)"
)
_CHOICES = re.compile(r" (?:<|[a-z][a-z.0-9]*\|)$")

Intended: TypeAlias = AddedKey | AddedLine | ChangedText | ReworkedHelp | RephrasedMessages

_REWORDED = (
    ("changing: rm*", "as asked", "requested"),
    ("changing: gc*", "not used for long", "not used recently"),
    ("changing: gc*", "to fit the size", "over the size limit"),
    ("changing: gc*", "no sign of life", "no longer active"),
    ("changing: pin*", "Pinned already:", "Already pinned:"),
    ("verifying: verify*", " broken\n", " corrupt\n"),
    ("verifying: verify*", "broken  ", "corrupt "),
    (
        "verifying: verify*",
        "its bytes don't have the checksum that the index records",
        "checksum mismatch with the index",
    ),
    (
        "verifying: verify*",
        "can't be read as a SavedModel: A field at byte 2 reaches beyond its message",
        "cannot be read as a SavedModel: A field at byte 2 exceeds its message",
    ),
    ("verifying: verify*", "stream is cut off before its end", "stream is truncated"),
    ("inspecting: inspect tensorflow-1*", "doesn't conform", "does not conform"),
    (
        "inspecting: inspect tensorflow-1*",
        "export it anew from TensorFlow 2 to fine-tune it",
        "to fine-tune it, export it again from TensorFlow 2",
    ),
)

INTENDED: tuple[Intended, ...] = (
    ReworkedHelp("help: *", "help lines in the field's words"),
    ChangedText("help: finetune-export --help", "TAG,TAG", "TAG,...", "spelled as by the other commands"),
    AddedLine("help: fetch --help", "--tier", "shared tiers"),
    AddedLine("help: fetch --help", "--require-tier", "shared tiers"),
    AddedLine("help: inspect --help", "--for ", "targets that may load the model"),
    AddedLine("help: inspect --help", "--try", "LiteRT's converter, asked"),
    RephrasedMessages("*", "messages and hints in the field's words"),
    *(ChangedText(*words, "in the field's words") for words in _REWORDED),
    ChangedText(
        "inspecting: inspect tensorflow-1*",
        "TensorFlow 1 wrote it: there is no object to call, signatures alone",
        "written by TensorFlow 1: signatures only, no callable object",
        "a message in the field's words",
    ),
    *(
        AddedLine("help: *export --help", option, "edits of an export")
        for option in (
            "--add-defaults",
            "--allow-none",
            "--clear-devices",
            "--drop-signature",
            "--half",
            "--no-compare",
            "--rename-signature",
            "--serving",
            "--signature",
            "--tolerance",
            "--warmup",
        )
    ),
    AddedLine("help: export --help", "--dry-run", "what an edited export would lose"),
    *(
        AddedLine("help: export --help", option, "conversions to LiteRT and ONNX")
        for option in (
            "--inputs",
            "--opset",
            "--quantize",
            "--representative",
            "--select-tf-ops",
            "--timeout",
        )
    ),
    *(
        AddedLine(f"help: {command} --help", option, "buckets")
        for command in ("fetch", "inspect", "verify", "export", "finetune-export")
        for option in ("--anonymous", "--requester-pays")
    ),
    AddedKey("listing: ls*--json", "models[].format", "the format, in the words of `inspect --json`"),
    AddedKey("listing: ls*--json", "models[].tier", "the shared tier that a model came from"),
    AddedKey("fetching: fetch*--json*", "models[].tier", "the shared tier that the model was fetched from"),
)


def run_all(hubcli: Path, workspaces: Sequence[str] = WORKSPACES) -> dict[str, Outcome]:
    """The outcome of every line of the workspaces by name, of the hubcli that the Python or checkout has."""
    python, path = str(hubcli), os.environ.get("PYTHONPATH", "")
    if hubcli.is_dir():
        python, path = sys.executable, str(hubcli.resolve())
    run = [line for line in lines() if line.workspace in workspaces]
    with ExitStack() as opened:
        folders: dict[str, Path] = {}
        environments: dict[str, dict[str, str]] = {}
        for name in workspaces:
            # Where the record was made: doctor warns of a cache among temporary files.
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="behaviour-", dir="/tmp"))
            folders[name] = Path(folder).resolve()
            variables = opened.enter_context(workspace(folders[name]))
            environments[name] = {**variables, "PATH": os.environ["PATH"]}
        groups = [
            [
                {
                    **asdict(line),
                    "cwd": str(folders[line.workspace] / "work"),
                    "environment": environments[line.workspace],
                }
                for line in group
            ]
            for group in _groups(run)
        ]
        result = subprocess.run(
            [python, "-c", _PROGRAM],
            cwd=opened.enter_context(tempfile.TemporaryDirectory()),  # Where no module lies.
            env={**environments[workspaces[0]], "PYTHONPATH": path},
            input=json.dumps([groups, LIBRARIES]),
            text=True,
            stdout=subprocess.PIPE,
            check=True,
        )
    outcomes = [Outcome(*outcome) for outcome in json.loads(result.stdout)]
    return {
        line.name: _masked(line, outcome, folders[line.workspace])
        for line, outcome in zip(run, outcomes, strict=True)
    }


def _groups(run: Sequence[Line]) -> Iterator[list[Line]]:
    """The lines of each process, in order: those that only read share one, each other has its own."""
    for (_, only_reads), neighbours in groupby(run, lambda line: (line.workspace, line.only_reads)):
        group = list(neighbours)
        yield from [group] if only_reads else ([line] for line in group)


def _masked(line: Line, outcome: Outcome, folder: Path) -> Outcome:
    stdout = outcome.stdout
    if line.scene == "doctor" and stdout:
        stdout = _shape_of_diagnosis(json.loads(stdout))
    # The key of a local archive is made of its path.
    stands_for = {key_of(f"file://{folder}/work/model.tar.gz"): "KEY", str(folder): "FOLDER"}
    texts = [stdout, outcome.stderr]
    for varying, stands in stands_for.items():
        texts = [text.replace(varying, stands) for text in texts]
    for scene, pattern, stands in MASKS:
        if scene in ("*", line.scene):
            texts = [re.sub(pattern, stands, text, flags=re.MULTILINE) for text in texts]
    return Outcome(outcome.status, *texts)


def _shape_of_diagnosis(document: dict[str, Any]) -> str:
    """The keys, and the names of checks but of packages: what they find is the machine's."""
    checks = document["checks"]
    names = sorted(
        {f"{check['section']}: {check['name']}" for check in checks if check["section"] != "packages"}
    )
    keys = sorted({key for check in checks for key in check})
    return _dumped({"keys": sorted(document), "keys of checks": keys, "checks": names})


def compare(
    older: dict[str, Outcome],
    newer: dict[str, Outcome],
    intended: Sequence[Intended] = INTENDED,
) -> list[str]:
    """Each difference that isn't intended as a text, and each intended one that is none."""
    found, used = [], set()
    for name in dict.fromkeys((*older, *newer)):
        if name not in newer or name not in older:
            found.append(f"{name}: only {'the older' if name in older else 'the newer'} was run")
            continue
        before, after = (_without_archive_hash(outcome) for outcome in (older[name], newer[name]))
        for change in intended:
            if change.fits(name):
                applied = change.apply(before, after)
                if applied != (before, after):
                    used.add(change)
                before, after = applied
        if before != after:
            found.append(_difference(name, before, after))
    found += [f"{change} makes no difference" for change in intended if change not in used]
    return found


def _difference(name: str, before: Outcome, after: Outcome) -> str:
    older, newer = (
        f"exit {outcome.status}\n--- stdout\n{outcome.stdout}\n--- stderr\n{outcome.stderr}".splitlines()
        for outcome in (before, after)
    )
    return "\n".join([name, *difflib.unified_diff(older, newer, "older", "newer", lineterm="", n=1)])


def _drop(after: Any, before: Any, path: Sequence[str]) -> None:
    """Takes the key at the path out of `after` wherever `before` hasn't got it."""
    name, rest = path[0].removesuffix("[]"), path[1:]
    if not isinstance(after, dict) or not isinstance(before, dict) or name not in after:
        return
    if not rest:
        if name not in before:
            del after[name]
    elif path[0].endswith("[]"):
        for newer_item, older_item in zip(after[name], before.get(name, []), strict=False):
            _drop(newer_item, older_item, rest)
    else:
        _drop(after[name], before.get(name), rest)


def _dumped(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def read_record(file: Path) -> dict[str, Outcome]:
    """What `--record` wrote."""
    return {
        name: Outcome(**fields) for name, fields in json.loads(lzma.decompress(file.read_bytes())).items()
    }


def _write_record(file: Path, outcomes: dict[str, Outcome]) -> None:
    document = {name: asdict(outcome) for name, outcome in outcomes.items()}
    file.write_bytes(lzma.compress(_dumped(document).encode(), preset=9))


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares or records; 1 where something differs."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.compare_behaviour",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("older", type=Path, help="a Python, a checkout, or a record")
    parser.add_argument("newer", type=Path, nargs="?", help="a Python or a checkout")
    parser.add_argument("--record", type=Path, help="write what OLDER does to this file")
    options = parser.parse_args(arguments)
    older = read_record(options.older) if options.older.suffix == ".xz" else run_all(options.older)
    if options.record is not None:
        _write_record(options.record, older)
    if options.newer is None:
        return 0
    found = compare(older, run_all(options.newer))
    print("\n\n".join([*found, f"{len(older)} command lines, {len(found)} differences"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
