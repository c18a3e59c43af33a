"""`hubcli inspect`."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from hubcli.cli.completion_hints import BUILT_IN, TAG_SETS, CompletionHint, CompletionWords
from hubcli.cli.options import (
    AsJson,
    CacheDir,
    Color,
    Debug,
    MinRate,
    NoColor,
    NoProgress,
    Offline,
    Quiet,
    Timeout,
)
from hubcli.cli.output import Output
from hubcli.config.settings import Settings
from hubcli.errors import UsageError
from hubcli.units import parse_duration_s

__all__ = ["inspect_command"]

_PARTS = "One part (several may be given)"
_CHECKS = "Checks; exit 9 where they find something"


def _severities() -> list[str]:
    from hubcli.issues import FINDING_SEVERITIES

    return [severity.word for severity in FINDING_SEVERITIES]


TargetArgument: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="TARGET", help="A handle, a directory or an archive.", show_default=False),
    CompletionHint(handles=True, files=True, words=(BUILT_IN,)),
]
Signatures: TypeAlias = Annotated[
    bool, typer.Option("--signatures", help="Signatures.", rich_help_panel=_PARTS)
]
Functions: TypeAlias = Annotated[
    bool, typer.Option("--functions", help="Functions and their traced variants.", rich_help_panel=_PARTS)
]
Variables: TypeAlias = Annotated[
    bool, typer.Option("--variables", help="Every variable.", rich_help_panel=_PARTS)
]
Assets: TypeAlias = Annotated[bool, typer.Option("--assets", help="Assets.", rich_help_panel=_PARTS)]
Ops: TypeAlias = Annotated[bool, typer.Option("--ops", help="Ops with counts.", rich_help_panel=_PARTS)]
Tree: TypeAlias = Annotated[
    bool,
    typer.Option("--tree", help="The object as a tree, with its parameters.", rich_help_panel=_PARTS),
]
Depth: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="With --tree: N levels below the root.", show_default=False),
]
All: TypeAlias = Annotated[
    bool, typer.Option("--all", help="Functions of submodules too, and nothing shortened.")
]
TagSet: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="TAG,...", help="One MetaGraph of several, by its tags.", show_default=False),
    TAG_SETS,
]
Fetch: TypeAlias = Annotated[
    bool, typer.Option("--fetch", help="Cache a model that isn't cached, rather than look into its archive.")
]
Svg: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Write what is shown as a picture too.", show_default=False),
]
Check: TypeAlias = Annotated[
    bool,
    typer.Option("--check", help="Has it the Reusable SavedModel interface?", rich_help_panel=_CHECKS),
]
Scan: TypeAlias = Annotated[
    bool,
    typer.Option("--scan", help="Ops that run code, touch files or the network.", rich_help_panel=_CHECKS),
]
FailOn: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="SEVERITY", help="With --scan: info, low, medium, high or critical.", rich_help_panel=_CHECKS
    ),
    CompletionWords(_severities),
]
Diff: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="OTHER",
        help="What differs from that model, values included.",
        show_default=False,
        rich_help_panel=_CHECKS,
    ),
]


def inspect_command(
    target: TargetArgument,
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
    fail_on: FailOn = "high",
    diff: Diff = None,
    timeout: Timeout = "30s",
    min_rate: MinRate = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    offline: Offline = False,
    cache_dir: CacheDir = None,
    color: Color = None,
    no_color: NoColor = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Show what a model is made of, without TensorFlow.

    TARGET may be a model that isn't cached: then the first bytes of its archive are enough.

    Examples:
    hubcli inspect example://mul/1
    hubcli inspect https://tfhub.dev/spotify/basic-pitch/1 --signatures
    hubcli inspect ./model --tree --depth 2
    hubcli inspect ./model.tar.gz --check --scan --json
    """
    from hubcli.cli.inspect_run import InspectRun, parse_severity, parse_tag_set
    from hubcli.cli.signals import disable_garbage_collection
    from hubcli.cli.views.inspect_text import Part
    from hubcli.commands.inspect import InspectOptions

    disable_garbage_collection()
    settings = Settings.read(
        cache_dir=cache_dir,
        offline=offline,
        color=color,
        no_color=no_color,
        no_progress=no_progress,
        timeout_s=None if timeout is None else parse_duration_s(timeout),
        min_rate=min_rate,
    )
    output = Output.of(settings, as_json=as_json, quiet=quiet)
    severity = parse_severity(fail_on)
    if depth is not None and not tree:
        raise UsageError("--depth is for --tree", hint="Add --tree, or leave --depth out.")
    wanted = {
        Part.SIGNATURES: signatures,
        Part.FUNCTIONS: functions,
        Part.VARIABLES: variables,
        Part.ASSETS: assets,
        Part.OPS: ops,
        Part.TREE: tree,
        Part.REUSABLE: check,
        Part.FINDINGS: scan,
    }
    parts = tuple(part for part, is_wanted in wanted.items() if is_wanted)
    of_graph = bool(parts) and set(parts) <= {Part.SIGNATURES, Part.FUNCTIONS, Part.OPS, Part.ASSETS}
    options = InspectOptions(
        everything,
        parse_tag_set(tag_set),
        fetch,
        hash_assets=diff is not None,
        graph_alone=of_graph and not as_json and diff is None,
    )
    run = InspectRun(
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
