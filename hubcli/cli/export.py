"""`hubcli export`."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import typer

from hubcli.cli.main import LazyImports
from hubcli.cli.options import BUILT_IN, CompletionHint, GlobalOptions, NoSync, Replace
from hubcli.exporting import ExportFormat, Layout

with LazyImports():
    from hubcli.cli.progress import listener_for
    from hubcli.commands.export import ExportOptions, ExportResult, export
    from hubcli.units import format_size

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
    str, typer.Argument(metavar="DEST", help="A directory, or a .tar.gz or .tar file.", show_default=False)
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
    typer.Option("--unsafe", help="Trust the Keras model and run code stored in it.", rich_help_panel=_KERAS),
]


def export_command(
    shared: GlobalOptions,
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
    no_sync: NoSync = False,
) -> None:
    """Export a model as a directory or an archive.

    Prints the path. Archives are reproducible. A handle that is not cached is fetched first.

    Examples:
    hubcli export example://mul/1 mul.tar.gz
    hubcli export example://mul/1 ./mul --force
    hubcli export https://tfhub.dev/google/elmo/3 ./models --layout serving
    hubcli export model.keras ./features --output-layer pooling
    """
    settings = shared.settings(no_sync=no_sync)
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
    )
    with listener_for(output, patience_s=0.5) as listener:
        result = export(source, destination, settings, options, listener)
    output.say(_summary(result))
    if shared.as_json:
        output.document(_document(result))
    else:
        output.payload(str(result.destination))


def _summary(result: ExportResult) -> str:
    """One line for a person."""
    files = "1 file" if result.file_count == 1 else f"{result.file_count} files"
    return f"Exported {result.source}  {format_size(result.size_bytes)}, {files}, {result.seconds:.1f} s"


def _document(result: ExportResult) -> dict[str, Any]:
    """`hubcli export --json`."""
    return {
        "source": result.source,
        "destination": str(result.destination),
        "layout": result.layout.value,
        "format": result.format.value,
        "bytes": result.size_bytes,
        "files": result.file_count,
        "sha256": result.sha256,
        "seconds": round(result.seconds, 3),
    }
