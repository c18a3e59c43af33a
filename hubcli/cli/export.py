"""`hubcli export`."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from hubcli.cli.conversion_options import ConversionFlags
from hubcli.cli.edit_options import EditFlags
from hubcli.cli.main import LazyImports
from hubcli.cli.options import BUILT_IN, BucketFlags, CompletionHint, GlobalOptions, NoSync, Replace
from hubcli.exporting import ExportFormat, Layout

with LazyImports():
    from hubcli.cli.progress import listener_for
    from hubcli.cli.views.conversion import show_conversion
    from hubcli.cli.views.export import export_document, export_summary, losses_payload
    from hubcli.commands.export import ExportOptions, export

__all__ = ["export_command"]

_LAYOUTS = "Layouts of many models"
_KERAS = "Keras models, by TensorFlow"


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
        metavar="DEST",
        help="A directory, or a .tar.gz, .tar, .tflite or .onnx file, also in a bucket.",
        show_default=False,
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
        help="Trust the model: run code in a Keras model, convert despite the scan.",
        rich_help_panel=_KERAS,
    ),
]


DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Show what the export would lose without writing it.")
]


def export_command(
    shared: GlobalOptions,
    bucket_flags: BucketFlags,
    edit_flags: EditFlags,
    conversion_flags: ConversionFlags,
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
    dry_run: DryRun = False,
    no_sync: NoSync = False,
) -> None:
    """Export a model as a directory, an archive, LiteRT or ONNX.

    Prints the path. Archives are reproducible. A converted model is compared with its source, and written
    only if its outputs are within the tolerance. A handle that is not cached is fetched first.

    Examples:
    hubcli export example://mul/1 mul.tar.gz
    hubcli export example://mul/1 ./mul --force
    hubcli export https://tfhub.dev/google/elmo/3 ./models --layout serving
    hubcli export model.keras ./features --output-layer pooling
    hubcli export ./mul ./served --serving --dry-run
    hubcli export ./mul ./out --rename-signature serving_default=predict
    hubcli export ./model model.tflite --quantize float16
    """
    form = format_ or ExportFormat.of_name(destination) or ExportFormat.DIRECTORY
    conversion = None
    if form.is_conversion:
        conversion = conversion_flags.options(edit_flags)
        # A conversion chooses its signatures and compares by itself: these options do not edit the model.
        edit_flags = edit_flags._replace(signature=None, tolerance=None, no_compare=False)
    else:
        conversion_flags.refuse()
    settings = shared.settings(no_sync=no_sync, **bucket_flags.keywords())
    output = shared.output(settings)
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
        edits=edit_flags.options(),
        dry_run=dry_run,
        conversion=conversion,
        on_log=output.say if shared.debug else None,
    )
    with listener_for(output, patience_s=0.5) as listener:
        result = export(source, destination, settings, options, listener)
    if result.plan is not None:
        show_conversion(result, output)
        return
    output.say(export_summary(result))
    if shared.as_json:
        output.document(export_document(result))
    elif result.is_dry_run:
        if payload := losses_payload(result):
            output.payload(payload)
    else:
        output.payload(str(result.destination))
