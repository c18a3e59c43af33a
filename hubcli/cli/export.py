"""`hubcli export`: its options, with those of a conversion, and its run."""

from __future__ import annotations

from typing import Annotated, NamedTuple, TypeAlias

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
from hubcli.errors import UsageError
from hubcli.exporting import ExportFormat, Layout, Quantization

with LazyImports():
    from hubcli.cli.progress import listener_for
    from hubcli.cli.views.export import export_document, export_summary, losses_payload, show_conversion
    from hubcli.commands.export import ExportOptions, export
    from hubcli.exporting.conversion import ConversionOptions
    from hubcli.units import parse_duration_s

__all__ = ["export_command"]

_LAYOUTS = "Layouts of many models"
_KERAS = "Keras models, by TensorFlow"
_CONVERSION = "Conversion to LiteRT and ONNX, by TensorFlow"


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
Quantize: TypeAlias = Annotated[
    Quantization | None,
    option(
        "Store the weights of a .tflite file in fewer bits.",
        "--quantize",
        show_default=False,
        panel=_CONVERSION,
    ),
]
Representative: TypeAlias = Annotated[
    list[str] | None,
    value_option(
        "[SIGNATURE=]FILE",
        "Inputs to calibrate --quantize int8 on: npz, npy, JSON Lines or CSV. Repeatable.",
        panel=_CONVERSION,
    ),
    CompletionHint(files=True),
]
SelectTfOps: TypeAlias = Annotated[
    bool, option("Allow TensorFlow ops in a .tflite file.", "--select-tf-ops", panel=_CONVERSION)
]
Opset: TypeAlias = Annotated[
    int | None, value_option("N", "ONNX opset, 9 to 18. \\[default: 18]", "--opset", panel=_CONVERSION)
]
ComparedInputs: TypeAlias = Annotated[
    list[str] | None,
    value_option(
        "[SIGNATURE=]FILE",
        "Inputs to compare the outputs on. Repeatable. \\[default: sampled]",
        "--inputs",
        panel=_CONVERSION,
    ),
    CompletionHint(files=True),
]
ConversionTimeout: TypeAlias = Annotated[
    str | None,
    value_option(
        "TIME",
        "Limit for the conversion, and for each run. \\[default: 1h, 2m a run]",
        "--timeout",
        panel=_CONVERSION,
    ),
]


class ConversionFlags(NamedTuple):
    """These options as they stand on the command line; a command with a parameter of this type has them."""

    quantize: Quantize = None
    representative: Representative = None
    select_tf_ops: SelectTfOps = False
    opset: Opset = None
    inputs: ComparedInputs = None
    timeout: ConversionTimeout = None

    def options(self, edits: EditFlags) -> ConversionOptions:
        """The options as values; signatures, tolerance and comparison are among those of edits."""
        more = {} if self.timeout is None else {"timeout_s": parse_duration_s(self.timeout)}
        return ConversionOptions(
            signatures=tuple(edits.signature or ()),
            quantize=self.quantize,
            representative=tuple(self.representative or ()),
            select_tf_ops=self.select_tf_ops,
            opset=self.opset,
            inputs=tuple(self.inputs or ()),
            tolerance=edits.tolerance,
            compare=not edits.no_compare,
            **more,
        )

    def refuse(self) -> None:
        """Raises UsageError if one is given, for a destination that the model isn't converted to."""
        for name, value in self._asdict().items():
            if value is not None and value is not False:  # A mere 0 or "" is an option too.
                flag = "--" + name.replace("_", "-")
                raise UsageError(
                    f"{flag} requires a conversion to LiteRT or ONNX",
                    hint=f"Use a DEST that ends in .tflite or .onnx, or remove {flag}.",
                )


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
