"""The options of `export` for a destination that the model is converted to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from hubcli.cli.main import LazyImports
from hubcli.cli.options import CompletionHint, value_option
from hubcli.errors import UsageError
from hubcli.exporting import Quantization

with LazyImports():
    from hubcli.exporting.conversion import ConversionOptions
    from hubcli.units import parse_duration_s

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ComparedInputs",
    "ConversionTimeout",
    "Opset",
    "Quantize",
    "Representative",
    "SelectTfOps",
    "conversion_options",
]

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


def conversion_options(
    *,
    is_conversion: bool,
    signature: Sequence[str] | None,
    quantize: Quantization | None,
    representative: Sequence[str] | None,
    select_tf_ops: bool,
    opset: int | None,
    inputs: Sequence[str] | None,
    tolerance: float | None,
    no_compare: bool,
    timeout: str | None,
) -> ConversionOptions | None:
    """The options as values; None for another destination. Raises UsageError where it takes none of them."""
    own: dict[str, Any] = {
        "--quantize": quantize,
        "--representative": representative,
        "--select-tf-ops": select_tf_ops,
        "--opset": opset,
        "--inputs": inputs,
        "--timeout": timeout,
    }
    if not is_conversion:
        for option, value in own.items():
            if value is not None and value is not False:  # A mere 0 or "" is an option too.
                raise UsageError(
                    f"{option} requires a conversion to LiteRT or ONNX",
                    hint=f"Use a DEST that ends in .tflite or .onnx, or remove {option}.",
                )
        return None
    more = {} if timeout is None else {"timeout_s": parse_duration_s(timeout)}
    return ConversionOptions(
        signatures=tuple(signature or ()),
        quantize=quantize,
        representative=tuple(representative or ()),
        select_tf_ops=select_tf_ops,
        opset=opset,
        inputs=tuple(inputs or ()),
        tolerance=tolerance,
        compare=not no_compare,
        **more,
    )
