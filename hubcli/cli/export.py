"""`hubcli export`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, TypeAlias

from hubcli.cli.conversion_options import ConversionFlags
from hubcli.cli.edit_options import EditFlags
from hubcli.cli.main import LazyImports
from hubcli.cli.options import (
    BUILT_IN,
    BucketFlags,
    CompletionHint,
    GlobalOptions,
    NoSync,
    Replace,
    argument,
    option,
    value_option,
)
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
    argument("SOURCE", "A handle, a directory, an archive or a Keras file."),
    CompletionHint(handles=True, files=True, words=(BUILT_IN,)),
]
DestinationArgument: TypeAlias = Annotated[
    str, argument("DEST", "A directory, or a .tar.gz, .tar, .tflite or .onnx file, also in a bucket.")
]
Format: TypeAlias = Annotated[
    ExportFormat | None,
    option("Output format; default: by the name of DEST.", "--format", show_default=False),
]
LayoutOption: TypeAlias = Annotated[
    Layout,
    option(
        "serving: DEST/<name>/<version>/. hub: DEST/<publisher>/<model>/<version>, an archive.",
        "--layout",
        panel=_LAYOUTS,
    ),
]
Name: TypeAlias = Annotated[
    str | None,
    value_option(
        "NAME", "Model name; default: from the handle. With hub: PUBLISHER/MODEL.", "--name", panel=_LAYOUTS
    ),
]
Version: TypeAlias = Annotated[
    str | None, value_option("N", "Version; default: from the handle.", "--version", panel=_LAYOUTS)
]
OutputLayers: TypeAlias = Annotated[
    list[str] | None, value_option("NAME", "Last layer of the exported part. Repeatable.", panel=_KERAS)
]
InputLayers: TypeAlias = Annotated[
    list[str] | None, value_option("NAME", "First layer of the exported part. Repeatable.", panel=_KERAS)
]
CustomObjects: TypeAlias = Annotated[
    str | None,
    value_option("MODULE|FILE", "Python file or module with the model's custom classes.", panel=_KERAS),
]
Unsafe: TypeAlias = Annotated[
    bool,
    option("Trust the model: run code in a Keras model, convert despite the scan.", "--unsafe", panel=_KERAS),
]


DryRun: TypeAlias = Annotated[
    bool, option("Show what the export would lose without writing it.", "--dry-run")
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
        edit_flags = replace(edit_flags, signature=None, tolerance=None, no_compare=False)
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
