"""The options of `export` for a destination that the model is converted to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

import typer

from hubcli.cli.main import LazyImports
from hubcli.cli.options import CompletionHint, value_option
from hubcli.errors import UsageError
from hubcli.exporting import Quantization

with LazyImports():
    from hubcli.exporting.conversion import ConversionOptions
    from hubcli.units import parse_duration_s

if TYPE_CHECKING:
    from hubcli.cli.edit_options import EditFlags

__all__ = ["ConversionFlags"]

_PANEL = "Conversion to LiteRT and ONNX, by TensorFlow"

Quantize: TypeAlias = Annotated[
    Quantization | None,
    typer.Option(
        "--quantize",
        help="Store the weights of a .tflite file in fewer bits.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Representative: TypeAlias = Annotated[
    list[str] | None,
    value_option(
        "[SIGNATURE=]FILE",
        "Inputs to calibrate --quantize int8 on: npz, npy, JSON Lines or CSV. Repeatable.",
        rich_help_panel=_PANEL,
    ),
    CompletionHint(files=True),
]
SelectTfOps: TypeAlias = Annotated[
    bool,
    typer.Option("--select-tf-ops", help="Allow TensorFlow ops in a .tflite file.", rich_help_panel=_PANEL),
]
Opset: TypeAlias = Annotated[
    int | None,
    value_option("N", "ONNX opset, 9 to 18. \\[default: 18]", "--opset", rich_help_panel=_PANEL),
]
ComparedInputs: TypeAlias = Annotated[
    list[str] | None,
    value_option(
        "[SIGNATURE=]FILE",
        "Inputs to compare the outputs on. Repeatable. \\[default: sampled]",
        "--inputs",
        rich_help_panel=_PANEL,
    ),
    CompletionHint(files=True),
]
ConversionTimeout: TypeAlias = Annotated[
    str | None,
    value_option(
        "TIME",
        "Limit for the conversion, and for each run. \\[default: 1h, 2m a run]",
        "--timeout",
        rich_help_panel=_PANEL,
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
                option = "--" + name.replace("_", "-")
                raise UsageError(
                    f"{option} requires a conversion to LiteRT or ONNX",
                    hint=f"Use a DEST that ends in .tflite or .onnx, or remove {option}.",
                )
