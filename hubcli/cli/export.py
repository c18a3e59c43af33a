"""`hubcli export`."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import typer

from hubcli.cli.main import LazyImports
from hubcli.cli.options import (
    BUILT_IN,
    AsJson,
    CacheDir,
    Color,
    CompletionHint,
    Debug,
    NoColor,
    NoProgress,
    NoSync,
    Offline,
    Quiet,
    Replace,
    value_option,
)
from hubcli.cli.output import Output
from hubcli.config.settings import Settings
from hubcli.exporting import ExportFormat, Layout, Quantization

with LazyImports():
    from hubcli.cli.progress import listener_for
    from hubcli.cli.views.conversion import show_conversion
    from hubcli.cli.views.models import export_document, export_summary
    from hubcli.commands.export import ExportOptions, export
    from hubcli.exporting.conversion import ConversionOptions
    from hubcli.units import parse_duration_s

__all__ = ["export_command"]

_LAYOUTS = "Layouts of many models"
_KERAS = "Keras models, by TensorFlow"
_CONVERSION = "Conversion to LiteRT and ONNX, by TensorFlow"


SourceArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="A handle, a directory, an archive or a Keras file.", show_default=False
    ),
    CompletionHint(handles=True, files=True, words=(BUILT_IN,)),
]
DestinationArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="DEST", help="A directory, or a .tar.gz, .tar, .tflite or .onnx file.", show_default=False
    ),
]
Format: TypeAlias = Annotated[
    ExportFormat | None,
    typer.Option("--format", help="Output format; default: by the name of DEST.", show_default=False),
]
LayoutOption: TypeAlias = Annotated[
    Layout,
    typer.Option(
        "--layout",
        help="serving: DEST/<name>/<version>/. hub: DEST/<publisher>/<model>/<version>, an archive.",
        rich_help_panel=_LAYOUTS,
    ),
]
Name: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Model name; default: from the handle. With hub: PUBLISHER/MODEL.",
        show_default=False,
        rich_help_panel=_LAYOUTS,
    ),
]
Version: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--version",
        metavar="N",
        help="Version; default: from the handle.",
        show_default=False,
        rich_help_panel=_LAYOUTS,
    ),
]
OutputLayers: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Last layer of the exported part. Repeatable.",
        show_default=False,
        rich_help_panel=_KERAS,
    ),
]
InputLayers: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="First layer of the exported part. Repeatable.",
        show_default=False,
        rich_help_panel=_KERAS,
    ),
]
CustomObjects: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE|FILE",
        help="Python file or module with the model's custom classes.",
        show_default=False,
        rich_help_panel=_KERAS,
    ),
]
Unsafe: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--unsafe",
        help="Trust the model: run code stored in a Keras model, convert despite the scan.",
        rich_help_panel=_KERAS,
    ),
]

# Options of conversions.
SignatureNames: TypeAlias = Annotated[
    list[str] | None,
    value_option(
        "NAME",
        "Signature to convert. Repeatable. \\[default: all; for .onnx the default one]",
        "--signature",
        rich_help_panel=_CONVERSION,
    ),
    CompletionHint(of_model="signatures"),
]
Quantize: TypeAlias = Annotated[
    Quantization | None,
    typer.Option(
        "--quantize",
        help="Store weights of a .tflite file in fewer bits.",
        show_default=False,
        rich_help_panel=_CONVERSION,
    ),
]
Representative: TypeAlias = Annotated[
    list[str] | None,
    value_option(
        "[SIGNATURE=]FILE",
        "Inputs to calibrate --quantize int8 on: npz, npy, JSON Lines, CSV. Repeatable.",
        rich_help_panel=_CONVERSION,
    ),
    CompletionHint(files=True),
]
SelectTfOps: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--select-tf-ops", help="Allow TensorFlow ops in a .tflite file.", rich_help_panel=_CONVERSION
    ),
]
Opset: TypeAlias = Annotated[
    int | None,
    value_option("N", "ONNX opset, 9 to 18. \\[default: 18]", "--opset", rich_help_panel=_CONVERSION),
]
ComparedInputs: TypeAlias = Annotated[
    list[str] | None,
    value_option(
        "[SIGNATURE=]FILE",
        "Inputs to compare outputs on. Repeatable. \\[default: sampled]",
        "--inputs",
        rich_help_panel=_CONVERSION,
    ),
    CompletionHint(files=True),
]
Tolerance: TypeAlias = Annotated[
    float | None,
    value_option(
        "ERROR",
        "Largest error allowed. \\[default: 0.0001; float16: 0.01; dynamic: 0.05; int8: 0.1]",
        "--tolerance",
        rich_help_panel=_CONVERSION,
    ),
]
NoCompare: TypeAlias = Annotated[
    bool, typer.Option("--no-compare", help="Do not compare outputs.", rich_help_panel=_CONVERSION)
]
ConversionTimeout: TypeAlias = Annotated[
    str | None,
    value_option(
        "TIME",
        "Limit for the conversion and for each run. \\[default: 1h]",
        "--timeout",
        rich_help_panel=_CONVERSION,
    ),
]
DryRun: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Show what would be converted, without writing it.", rich_help_panel=_CONVERSION
    ),
]


def export_command(
    source: SourceArgument,
    destination: DestinationArgument,
    format_: Format = None,
    force: Replace = False,
    layout: LayoutOption = Layout.PLAIN,
    name: Name = None,
    version: Version = None,
    output_layer: OutputLayers = None,
    input_layer: InputLayers = None,
    custom_objects: CustomObjects = None,
    unsafe: Unsafe = False,
    signature: SignatureNames = None,
    quantize: Quantize = None,
    representative: Representative = None,
    select_tf_ops: SelectTfOps = False,
    opset: Opset = None,
    inputs: ComparedInputs = None,
    tolerance: Tolerance = None,
    no_compare: NoCompare = False,
    timeout: ConversionTimeout = None,
    dry_run: DryRun = False,
    no_sync: NoSync = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    offline: Offline = False,
    cache_dir: CacheDir = None,
    color: Color = None,
    no_color: NoColor = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Export a model as a directory or an archive, or convert it to LiteRT or ONNX.

    Prints the path. Archives are reproducible. A converted model is compared with its source, and written
    only if its outputs are within the tolerance. A handle that is not cached is fetched first.

    Examples:
    hubcli export example://mul/1 mul.tar.gz
    hubcli export example://mul/1 ./mul --force
    hubcli export https://tfhub.dev/google/elmo/3 ./models --layout serving
    hubcli export model.keras ./features --output-layer pooling
    hubcli export example://mul/1 mul.tflite
    """
    settings = Settings.read(
        cache_dir=cache_dir,
        offline=offline,
        color=color,
        no_color=no_color,
        no_progress=no_progress,
        no_sync=no_sync,
    )
    output = Output.of(settings, as_json=as_json, quiet=quiet)
    options = ExportOptions(
        format=format_,
        layout=layout,
        name=name,
        version=version,
        force=force,
        output_layers=tuple(output_layer or ()),
        input_layers=tuple(input_layer or ()),
        custom_objects=custom_objects,
        unsafe=unsafe,
        conversion=_conversion_options(
            signatures=tuple(signature or ()),
            quantize=quantize,
            representative=tuple(representative or ()),
            select_tf_ops=select_tf_ops,
            opset=opset,
            inputs=tuple(inputs or ()),
            tolerance=tolerance,
            no_compare=no_compare,
            timeout=timeout,
        ),
        dry_run=dry_run,
        on_log=output.say if debug else None,
    )
    with listener_for(output, patience_s=0.5) as listener:
        result = export(source, destination, settings, options, listener)
    if result.plan is not None:
        show_conversion(result, output)
        return
    output.say(export_summary(result))
    if as_json:
        output.document(export_document(result))
    else:
        output.payload(str(result.destination))


def _conversion_options(*, no_compare: bool, timeout: str | None, **values: Any) -> ConversionOptions | None:
    """The options of a conversion; None where none of them is given. Raises UsageError for the time."""
    # By identity: a tolerance of 0 equals False.
    given = {
        name: value for name, value in values.items() if not (value is None or value is False or value == ())
    }
    if no_compare:
        given["compare"] = False
    if timeout is not None:
        given["timeout_s"] = parse_duration_s(timeout)
    return ConversionOptions(**given) if given else None
