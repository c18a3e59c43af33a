"""`hubcli run`."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import (
    TAG_SETS,
    BucketFlags,
    CompletionHint,
    GlobalOptions,
    Model,
    option,
    value_option,
)
from hubcli.errors import UsageError

with LazyImports():
    import json

    from hubcli.cli.run_output import OutputOptions, RunOutput
    from hubcli.commands.run import RunOptions
    from hubcli.running.media import parse_image_size
    from hubcli.units import parse_duration_s

__all__ = ["run_command"]

_DEFAULT_TIMEOUT = "1h"
_CHOICE = "What to run"
_INPUTS = "Inputs"
_OUTPUTS = "Outputs"
_HOW = "How to run it"

Signature: TypeAlias = Annotated[
    str | None,
    value_option("NAME", "A signature. \\[default: serving_default, or the only one]", panel=_CHOICE),
    CompletionHint(of_model="signatures"),
]
Function: TypeAlias = Annotated[
    str | None,
    value_option("PATH", "A traced function, such as __call__ or encoder.__call__.", panel=_CHOICE),
    CompletionHint(of_model="functions"),
]
Arguments: TypeAlias = Annotated[
    list[str] | None,
    value_option(
        "NAME=JSON",
        "A Python argument that chooses a trace of the function. Repeatable.",
        "--arg",
        panel=_CHOICE,
    ),
]
TagSet: TypeAlias = Annotated[
    str | None, value_option("TAG,...", "Tags of the MetaGraph to run.", panel=_CHOICE), TAG_SETS
]
Inputs: TypeAlias = Annotated[
    list[str] | None,
    value_option(
        "[NAME=]VALUE",
        "JSON, text, @FILE or @- (standard input). Repeat to stack a batch.",
        "--input",
        "-i",
        panel=_INPUTS,
    ),
    CompletionHint(of_model="inputs"),
]
Request: TypeAlias = Annotated[
    str | None,
    value_option(
        "FILE|-",
        "TensorFlow Serving predict request; prints the response of TensorFlow Serving.",
        panel=_INPUTS,
    ),
]
BatchSize: TypeAlias = Annotated[
    int | None, value_option("N", "Rows per run. \\[default: 32 for a stream, else all]", panel=_INPUTS)
]
ImageSize: TypeAlias = Annotated[
    str | None,
    value_option("HEIGHTxWIDTH", "Resize images where the signature has no fixed size.", panel=_INPUTS),
]
Scale: TypeAlias = Annotated[
    str | None, value_option("LOW,HIGH", "Range of image values. \\[default: 0,1]", panel=_INPUTS)
]
OutputFile: TypeAlias = Annotated[
    str | None,
    value_option(
        "FILE|DIR",
        "Write .npz, .npy, .json, .jsonl, .csv, or a directory of .npy files.",
        "--output",
        "-o",
        panel=_OUTPUTS,
    ),
    CompletionHint(files=True, directories=True),
]
Force: TypeAlias = Annotated[bool, option("Overwrite the file of --output.", "--force", panel=_OUTPUTS)]
JsonLines: TypeAlias = Annotated[bool, option("Print one JSON object a row.", "--json-lines", panel=_OUTPUTS)]
Top: TypeAlias = Annotated[
    int | None, value_option("K", "Show the K classes with the largest values.", min=1, panel=_OUTPUTS)
]
Labels: TypeAlias = Annotated[
    str | None, value_option("FILE", "With --top: file with the class names, one per line.", panel=_OUTPUTS)
]
Repeat: TypeAlias = Annotated[
    int | None, value_option("N", "Measure latency, throughput and memory over N runs.", min=1, panel=_HOW)
]
DryRun: TypeAlias = Annotated[bool, option("Check the inputs without TensorFlow.", "--dry-run", panel=_HOW)]
Runner: TypeAlias = Annotated[
    str,
    option("Run with TensorFlow's C library or its Python package.", metavar="auto|c|python", panel=_HOW),
    CompletionHint(words=("auto", "c", "python")),
]
Timeout: TypeAlias = Annotated[
    str | None,
    value_option(
        "TIME", f"Fail if loading or a run takes longer. \\[default: {_DEFAULT_TIMEOUT}]", panel=_HOW
    ),
]
Unsafe: TypeAlias = Annotated[
    bool, option("Run the model even if the scan finds unsafe ops.", "--unsafe", panel=_HOW)
]


def run_command(
    shared: GlobalOptions,
    bucket_flags: BucketFlags,
    target: Model,
    signature: Signature = None,
    function: Function = None,
    arg: Arguments = None,
    tag_set: TagSet = None,
    inputs: Inputs = None,
    request: Request = None,
    batch_size: BatchSize = None,
    image_size: ImageSize = None,
    scale: Scale = None,
    output_file: OutputFile = None,
    force: Force = False,
    json_lines: JsonLines = False,
    top: Top = None,
    labels: Labels = None,
    repeat: Repeat = None,
    dry_run: DryRun = False,
    runner: Runner = "auto",
    timeout: Timeout = None,
    unsafe: Unsafe = False,
) -> None:
    """Run a signature or function of a model.

    The model runs in a separate process, in TensorFlow's C library. It is scanned first, and refused if the
    scan finds ops that run code or access files: a scan, not a sandbox. A handle that is not cached is
    fetched. Without --input, rows are read from standard input.

    Examples:
    hubcli run example://mul/1 --input "[[1], [2]]"
    hubcli run ./model --input images=@cat.jpg --top 5
    hubcli run ./model --input @rows.jsonl --json-lines
    hubcli run ./model --function __call__ --input x=@x.npy -o out.npz
    """
    disable_garbage_collection()
    settings = shared.settings(**bucket_flags.keywords())
    options = RunOptions(
        signature=signature,
        function=function,
        arguments=dict(map(_argument, arg or ())),
        tag_set=None if tag_set is None else frozenset(filter(None, map(str.strip, tag_set.split(",")))),
        batch_size=batch_size,
        image_size=None if image_size is None else parse_image_size(image_size),
        scale=(0.0, 1.0) if scale is None else _scale(scale),
        runner=runner,
        timeout_s=parse_duration_s(timeout or _DEFAULT_TIMEOUT),
        unsafe=unsafe,
        dry_run=dry_run,
    )
    options.require_valid()
    output = shared.output(settings)
    form = OutputOptions(output_file, force, json_lines, top, labels, repeat, shared.debug)
    form.require_valid(as_json=shared.as_json, has_request=request is not None)
    if request is not None and inputs:
        raise UsageError("--request and --input cannot be used together", hint="Use only one of them.")
    RunOutput(target, settings, options, output, form).run(tuple(inputs or ()), request)


def _argument(text: str) -> tuple[str, Any]:
    """Name and value of `NAME=JSON`; a value that is not JSON is taken as text. Raises UsageError."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise UsageError(f"Invalid --arg '{text}'", hint="Use --arg NAME=JSON, such as training=false.")
    try:
        return name, json.loads({"True": "true", "False": "false", "None": "null"}.get(value, value))
    except (ValueError, RecursionError):
        return name, value


def _scale(text: str) -> tuple[float, float]:
    low, _, high = text.partition(",")
    try:
        pair = float(low), float(high)
    except ValueError:
        pair = 0.0, 0.0
    if not abs(pair[0]) < abs(pair[1] - pair[0]) * 1e9 < 1e30:
        raise UsageError(f"Invalid scale '{text}'", hint="Use LOW,HIGH such as --scale=-1,1.")
    return pair
