"""`hubcli inspect`."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, NamedTuple, TypeAlias

import typer

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import (
    TAG_SETS,
    BucketFlags,
    CompletionWords,
    GlobalOptions,
    MinRate,
    Model,
    Timeout,
    option,
    value_option,
)
from hubcli.cli.output import PICTURE_COLUMNS, Output, printable, write_svg
from hubcli.config.settings import Settings
from hubcli.errors import ExitStatus, UsageError, did_you_mean
from hubcli.progress import ProgressListener
from hubcli.units import format_size
from hubcli.urls import redacted

with LazyImports():
    from hubcli.cli.progress import listener_for
    from hubcli.cli.tables import Style
    from hubcli.cli.views.inspect_json import diff_document, inspection_document
    from hubcli.cli.views.inspect_text import Part, inspection_text
    from hubcli.commands.inspect import Inspection, InspectOptions, inspect
    from hubcli.issues import FINDING_SEVERITIES, Severity
    from hubcli.savedmodel.compare.diff import Difference, compare
    from hubcli.savedmodel.targets.target import target_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hubcli.savedmodel.targets.target import Target

__all__ = ["inspect_command"]

_PARTS = "Parts to show"
_CHECKS = "Checks (exit 9 on findings)"


Signatures: TypeAlias = Annotated[bool, option("Show signatures.", "--signatures", panel=_PARTS)]
Functions: TypeAlias = Annotated[
    bool, option("Show functions and their traces.", "--functions", panel=_PARTS)
]
Variables: TypeAlias = Annotated[bool, option("Show all variables.", "--variables", panel=_PARTS)]
Assets: TypeAlias = Annotated[bool, option("Show assets.", "--assets", panel=_PARTS)]
Ops: TypeAlias = Annotated[bool, option("Show ops and how often each occurs.", "--ops", panel=_PARTS)]
Tree: TypeAlias = Annotated[
    bool, option("Show the object tree with parameter counts.", "--tree", panel=_PARTS)
]
Depth: TypeAlias = Annotated[int | None, value_option("N", "With --tree: maximum depth.", min=1)]
All: TypeAlias = Annotated[bool, option("Include submodules; do not abbreviate.", "--all")]
TagSet: TypeAlias = Annotated[
    str | None, value_option("TAG,...", "Tags of the MetaGraph to inspect."), TAG_SETS
]
Fetch: TypeAlias = Annotated[bool, option("Fetch the model into the cache if it is not cached.", "--fetch")]
Svg: TypeAlias = Annotated[str | None, value_option("FILE", "Also save the output as SVG.")]
Check: TypeAlias = Annotated[
    bool, option("Check for the Reusable SavedModel interface.", "--check", panel=_CHECKS)
]
Scan: TypeAlias = Annotated[
    bool,
    option("Scan for ops and files that run code or access files or the network.", "--scan", panel=_CHECKS),
]
FailOn: TypeAlias = Annotated[
    str | None,
    value_option(
        "SEVERITY",
        "With --scan: minimum severity that fails: info, low, medium, high or critical. \\[default: high]",
        panel=_CHECKS,
    ),
    CompletionWords(lambda: [severity.value for severity in FINDING_SEVERITIES]),
]
Diff: TypeAlias = Annotated[
    str | None, value_option("OTHER", "Compare with another model, values included.", panel=_CHECKS)
]
For: TypeAlias = Annotated[
    str | None,
    value_option(
        "TARGET,...",
        "Check whether these can load the model, such as tensorflow>=2.12, serving==2.19, session, "
        "litert, cpu, keras3-layer or hub.KerasLayer.",
        "--for",
        panel=_CHECKS,
    ),
    CompletionWords(lambda: target_names()),
]
Try: TypeAlias = Annotated[
    bool, option("With --for litert: run the converter too; needs TensorFlow.", "--try", panel=_CHECKS)
]


def inspect_command(
    shared: GlobalOptions,
    bucket_flags: BucketFlags,
    target: Model,
    signatures: Signatures = False,
    functions: Functions = False,
    variables: Variables = False,
    assets: Assets = False,
    ops: Ops = False,
    tree: Tree = False,
    depth: Depth = None,
    everything: All = False,
    tag_set: TagSet = None,
    fetch: Fetch = False,
    svg: Svg = None,
    check: Check = False,
    scan: Scan = False,
    fail_on: FailOn = None,
    diff: Diff = None,
    for_: For = None,
    try_: Try = False,
    timeout: Timeout = None,
    min_rate: MinRate = None,
) -> None:
    """Show signatures, functions and variables of a model.

    Needs no TensorFlow. For a model that is not cached, only the start of its archive is downloaded.

    Examples:
    hubcli inspect example://mul/1
    hubcli inspect https://tfhub.dev/spotify/basic-pitch/1 --signatures
    hubcli inspect ./model --tree --depth 2
    hubcli inspect ./model.tar.gz --check --scan --json
    hubcli inspect ./model --for 'tensorflow>=2.12,litert'
    """
    disable_garbage_collection()
    settings = shared.settings(timeout=timeout, min_rate=min_rate, **bucket_flags.keywords())
    output = shared.output(settings)
    severity = Severity.HIGH if fail_on is None else _parse_severity(fail_on)
    if fail_on is not None and not scan:
        output.note("--fail-on has no effect without --scan")
    if depth is not None and not tree:
        raise UsageError("--depth requires --tree", hint="Add --tree, or remove --depth.")
    targets = () if for_ is None else _parse_targets(for_, is_tried=try_)
    if try_ and for_ is None:
        raise UsageError("--try requires --for litert", hint="Add --for litert, or remove --try.")
    if targets and diff is not None:
        raise UsageError("--for and --diff cannot be used together", hint="Use only one of them.")
    flag_by_part = {
        Part.SIGNATURES: signatures,
        Part.FUNCTIONS: functions,
        Part.VARIABLES: variables,
        Part.ASSETS: assets,
        Part.OPS: ops,
        Part.TREE: tree,
        Part.REUSABLE: check,
        Part.FINDINGS: scan,
        Part.TARGETS: bool(targets),
    }
    parts = tuple(part for part, is_wanted in flag_by_part.items() if is_wanted)
    of_graph = bool(parts) and set(parts) <= {
        Part.SIGNATURES,
        Part.FUNCTIONS,
        Part.OPS,
        Part.ASSETS,
        Part.TARGETS,
    }
    options = InspectOptions(
        everything,
        _parse_tag_set(tag_set),
        fetch,
        hash_assets=diff is not None,
        graph_alone=of_graph and not shared.as_json and diff is None,
        targets=targets,
        try_conversion=try_,
    )
    run = _InspectRun(
        settings,
        options,
        output,
        parts=parts,
        check=check,
        fail_on=severity if scan else None,
        svg=svg,
        depth=depth,
    )
    raise typer.Exit(run.inspect(target) if diff is None else run.diff(target, diff))


def _parse_targets(text: str, *, is_tried: bool) -> tuple[Target, ...]:
    """The targets in the list; raises UsageError for an unknown one, and for a trial without litert."""
    from hubcli.savedmodel.targets.target import TargetKind, parse_targets  # Most inspections need none.

    targets = parse_targets(text)
    if is_tried and all(target.kind is not TargetKind.LITERT for target in targets):
        raise UsageError("--try requires --for litert", hint="Add litert to --for, or remove --try.")
    return targets


def _parse_tag_set(text: str | None) -> frozenset[str] | None:
    """The tags in `serve,gpu`; none at all in an empty text."""
    return None if text is None else frozenset(filter(None, (tag.strip() for tag in text.split(","))))


def _parse_severity(text: str) -> Severity:
    """The severity of that name; raises UsageError for another word."""
    words = {severity.value: severity for severity in FINDING_SEVERITIES}
    if text.lower() not in words:
        raise UsageError(
            f"Invalid severity '{text}'{did_you_mean(text, words)}", hint=f"Use {', '.join(words)}."
        )
    return words[text.lower()]


class _Notes(ProgressListener):
    """Prints notes alone."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def note(self, text: str) -> None:
        self._output.note(text)


class _InspectRun(NamedTuple):
    """A run of `hubcli inspect`: reads, shows, and says what the asked-for checks found."""

    settings: Settings
    options: InspectOptions
    output: Output
    parts: tuple[Part, ...] = ()
    check: bool = False
    fail_on: Severity | None = None
    svg: str | None = None
    depth: int | None = None

    def inspect(self, target: str) -> int:
        """Shows the model; the exit status."""
        inspection = self._read(target)
        if self.output.as_json:
            self.output.document(inspection_document(inspection))
        elif self.output.quiet:
            self.output.payload(printable(str(inspection.path or inspection.target)))
        else:
            self.output.payload(self._text(inspection, Style.of(self.output)))
        if self.svg is not None:
            self._write_picture(inspection, self.svg)
        return int(ExitStatus.FOUND if self._finds_something(inspection) else ExitStatus.DONE)

    def diff(self, target: str, other: str) -> int:
        """Shows what differs between the two; the exit status."""
        left, right = self._read(target), self._read(other)
        differences = compare(left.info, right.info)
        if self.output.as_json:
            self.output.document(diff_document(left.target, right.target, differences))
        elif differences:
            names = (f"--- {printable(left.target)}", f"+++ {printable(right.target)}")
            self.output.payload("\n".join((*names, *map(_difference_text, differences))))
        else:
            self.output.say("No differences")
        return int(ExitStatus.FOUND if differences else ExitStatus.DONE)

    def _read(self, target: str) -> Inspection:
        # A directory is read without a fetch, and so without a progress display.
        is_directory = os.path.isdir(target)  # noqa: PTH112 - Path.is_dir raises for some invalid paths
        with nullcontext(_Notes(self.output)) if is_directory else listener_for(self.output) as listener:
            inspection = inspect(target, self.settings, self.options, listener)
        if inspection.received_bytes is not None:
            self.output.say(
                f"Read {format_size(inspection.received_bytes)} of {inspection.read_from}; nothing was cached"
            )
        return inspection

    def _text(self, inspection: Inspection, style: Style) -> str:
        deep = self.options.submodules
        return inspection_text(inspection, self.parts, style, in_full=deep, depth=self.depth)

    def _finds_something(self, inspection: Inspection) -> bool:
        worst = max((finding.severity for finding in inspection.info.findings), default=None)
        is_grave = self.fail_on is not None and worst is not None and worst >= self.fail_on
        is_blocked = any(report.is_blocked for report in inspection.info.compatibility or ())
        return is_grave or is_blocked or (self.check and not inspection.info.reusable.conforms)

    def _write_picture(self, inspection: Inspection, file: str) -> None:
        style = Style(PICTURE_COLUMNS, is_styled=True, has_color=True)
        title = redacted(f"hubcli inspect {inspection.target}")
        write_svg(redacted(self._text(inspection, style)), title, Path(file).expanduser())


def _difference_text(difference: Difference) -> str:
    name = f"{difference.part} {difference.name}".rstrip()
    if difference.right is None:
        return printable(f"- {name}: {difference.left}")
    if difference.left is None:
        return printable(f"+ {name}: {difference.right}")
    return printable(f"~ {name}: {difference.left} => {difference.right}")
