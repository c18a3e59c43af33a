"""`hubcli finetune-export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from hubcli.cli.edit_options import EditFlags
from hubcli.cli.main import LazyImports, freeze_loaded_objects, reduce_garbage_collection
from hubcli.cli.options import (
    TAG_SETS,
    BucketFlags,
    GlobalOptions,
    NoSync,
    Replace,
    argument,
    option,
    value_option,
)
from hubcli.cli.output import own_standard_output
from hubcli.errors import UsageError
from hubcli.finetuning import FinetuneOptions, Method
from hubcli.tf import StrategyKind

with LazyImports():
    from hubcli.cli.progress import listener_for
    from hubcli.cli.tables import Style
    from hubcli.cli.views.finetune import finetune_document, finetune_payload, finetune_report
    from hubcli.commands.finetune_export import finetune_export

__all__ = ["finetune_export_command"]

_WEIGHTS = "Values from a file"
_TRAINING = "Values from training with TensorFlow"

SourceArgument: TypeAlias = Annotated[
    str, argument("SOURCE", "The original model: a handle, a directory or an archive.")
]
DestinationArgument: TypeAlias = Annotated[
    str | None, argument("DEST", "A directory, or a .tar.gz or .tar file. Not needed with --dry-run.")
]
MethodOption: TypeAlias = Annotated[
    Method,
    option(
        "resave: save with TensorFlow. rewrite: replace values only. auto: what preserves all.", "--method"
    ),
]
AllowUnchanged: TypeAlias = Annotated[
    bool, option("Export even if no trainable value changed.", "--allow-unchanged")
]
AllowNan: TypeAlias = Annotated[bool, option("Allow NaN and infinite values.", "--allow-nan")]
Weights: TypeAlias = Annotated[
    Path | None,
    value_option(
        "FILE", "A checkpoint, a SavedModel, .weights.h5, .h5, .keras, .npz or .safetensors.", panel=_WEIGHTS
    ),
]
Root: TypeAlias = Annotated[
    str | None, value_option("PATH", "Object or layer in the file that is the model.", panel=_WEIGHTS)
]
Map: TypeAlias = Annotated[
    Path | None,
    value_option(
        "FILE", "Mapping of variables to values: lines `variable = key`, or JSON.", "--map", panel=_WEIGHTS
    ),
]
DryRun: TypeAlias = Annotated[
    bool, option("Show the mapping of values to variables without exporting.", "--dry-run", panel=_WEIGHTS)
]
Train: TypeAlias = Annotated[
    str | None,
    value_option(
        "FILE.py:FUNCTION",
        "Function that trains the loaded object: FILE.py:function or package.module:function.",
        panel=_TRAINING,
    ),
]
Arg: TypeAlias = Annotated[
    list[str] | None,
    value_option(
        "KEY=VALUE", "Argument of the function; VALUE is JSON or text. Repeatable.", panel=_TRAINING
    ),
]
StrategyOption: TypeAlias = Annotated[
    StrategyKind | None,
    option(
        "Distribution strategy; with TF_CONFIG on several machines, the chief writes.",
        "--strategy",
        show_default=False,
        panel=_TRAINING,
    ),
]
TagSet: TypeAlias = Annotated[
    str | None, value_option("TAG,...", "Tags of the MetaGraph to train.", panel=_TRAINING), TAG_SETS
]


def finetune_export_command(
    shared: GlobalOptions,
    bucket_flags: BucketFlags,
    edit_flags: EditFlags,
    source: SourceArgument,
    destination: DestinationArgument = None,
    method: MethodOption = Method.AUTO,
    force: Replace = False,
    allow_unchanged: AllowUnchanged = False,
    allow_nan: AllowNan = False,
    weights: Weights = None,
    root: Root = None,
    map_: Map = None,
    dry_run: DryRun = False,
    train: Train = None,
    arg: Arg = None,
    strategy: StrategyOption = None,
    tag_set: TagSet = None,
    no_sync: NoSync = False,
) -> None:
    """Export a fine-tuned model as a drop-in replacement.

    Prints the path. The export is loaded and compared with the original before it is moved to DEST.

    Examples:
    hubcli finetune-export ./model ./tuned --weights training/ckpt-3
    hubcli finetune-export ./model --weights tuned.npz --dry-run
    hubcli finetune-export ./model ./new --weights w.h5 --method rewrite
    hubcli finetune-export ./model ./new --train train.py:run --arg epochs=3
    hubcli finetune-export ./model ./served --weights tuned.npz --serving
    """
    options = FinetuneOptions(
        weights=weights,
        root=root,
        map_file=map_,
        dry_run=dry_run,
        train=train,
        arguments=_arguments(arg or []),
        strategy=None if strategy is None else strategy.value,
        tag_set=None if tag_set is None else frozenset(filter(None, tag_set.split(","))),
        method=method,
        allow_unchanged=allow_unchanged,
        allow_nan=allow_nan,
        force=force,
        edits=edit_flags.options(),
        on_loaded=freeze_loaded_objects,
    )
    if train is None and method is not Method.RESAVE:
        reduce_garbage_collection()
    settings = shared.settings(no_sync=no_sync, **bucket_flags.keywords())
    output = shared.output(settings)
    # What the function and its libraries print is not the payload.
    with own_standard_output(), listener_for(output, patience_s=0.5) as listener:
        result = finetune_export(source, destination, settings, options, listener)
    for line in finetune_report(result):
        output.say(line)
    if shared.as_json:
        output.document(finetune_document(result))
    elif payload := finetune_payload(result, Style.of(output), quiet=shared.quiet):
        output.payload(payload)


def _arguments(texts: list[str]) -> dict[str, Any]:
    """The keyword arguments; a value that is not JSON is text. Raises UsageError for what is not a pair."""
    arguments: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"Invalid --arg '{text}'", hint="Use --arg key=value, such as: --arg epochs=3")
        if key in arguments:
            raise UsageError(f"--arg {key} is given twice", hint="Use only one of them.")
        try:
            arguments[key] = json.loads(value)
        except (ValueError, RecursionError):
            arguments[key] = value
    return arguments
