"""The options that edit an export, which `export` and `finetune-export` have alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

from hubcli.cli.options import CompletionHint, option, value_option
from hubcli.errors import UsageError
from hubcli.exporting import EditOptions
from hubcli.formats import HalfType

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EditFlags"]

_PANEL = "Edits of the exported model"
_OF_SIGNATURES = CompletionHint(of_model="signatures")

KeepSignature: TypeAlias = Annotated[
    list[str] | None,
    value_option("NAME", "Keep this signature and drop the others. Repeatable.", "--signature", panel=_PANEL),
    _OF_SIGNATURES,
]
DropSignature: TypeAlias = Annotated[
    list[str] | None, value_option("NAME", "Drop this signature. Repeatable.", panel=_PANEL), _OF_SIGNATURES
]
RenameSignature: TypeAlias = Annotated[
    list[str] | None, value_option("OLD=NEW", "Rename a signature. Repeatable.", panel=_PANEL)
]
AllowNone: TypeAlias = Annotated[
    bool, option("Allow an export without signatures.", "--allow-none", panel=_PANEL)
]
ClearDevices: TypeAlias = Annotated[
    bool, option("Remove device names from the graph.", "--clear-devices", panel=_PANEL)
]
Serving: TypeAlias = Annotated[
    bool, option("Keep only what the signatures need to be served.", "--serving", panel=_PANEL)
]
Half: TypeAlias = Annotated[
    HalfType | None,
    option("Store float32 weights in half the bytes.", "--half", show_default=False, panel=_PANEL),
]
Tolerance: TypeAlias = Annotated[
    float | None,
    value_option(
        "X",
        "Largest error allowed, relative to an output's largest value. \\[default: 0.01 with --half]",
        panel=_PANEL,
    ),
]
NoCompare: TypeAlias = Annotated[
    bool, option("Do not run the export to compare it with SOURCE.", "--no-compare", panel=_PANEL)
]
Warmup: TypeAlias = Annotated[
    str | None,
    value_option("FILE|N", "Write warmup requests: those in FILE, or N sampled ones.", panel=_PANEL),
    CompletionHint(files=True),
]
AddDefaults: TypeAlias = Annotated[
    list[str] | None,
    value_option("NAME.INPUT=JSON", "Default of a signature input. Repeatable.", panel=_PANEL),
]


class EditFlags(NamedTuple):
    """These options as they stand on the command line; a command with a parameter of this type has them."""

    signature: KeepSignature = None
    drop_signature: DropSignature = None
    rename_signature: RenameSignature = None
    allow_none: AllowNone = False
    clear_devices: ClearDevices = False
    serving: Serving = False
    half: Half = None
    tolerance: Tolerance = None
    warmup: Warmup = None
    add_defaults: AddDefaults = None
    no_compare: NoCompare = False

    def options(self) -> EditOptions:
        """The edits that the options ask for. Raises UsageError for what doesn't go together."""
        if self.tolerance is not None and self.half is None:
            raise UsageError(
                "--tolerance requires --half", hint="Add --half float16 or bfloat16, or remove --tolerance."
            )
        # NaN is beyond both bounds.
        if self.tolerance is not None and not 0 <= self.tolerance <= 1:
            raise UsageError(f"Invalid tolerance {self.tolerance:g}", hint="Use a number from 0 to 1.")
        if self.half is not None and self.no_compare and self.tolerance is not None:
            raise UsageError(
                "--tolerance and --no-compare cannot be used together", hint="Use only one of them."
            )
        if self.warmup is not None and not self.warmup.strip():
            raise UsageError("--warmup is empty", hint="Specify a file or a number of requests.")
        return EditOptions(
            signatures=tuple(self.signature or ()),
            drops=tuple(self.drop_signature or ()),
            renames=_renames(self.rename_signature or ()),
            allow_none=self.allow_none,
            clear_devices=self.clear_devices,
            serving=self.serving,
            half=self.half,
            tolerance=self.tolerance,
            compare=not self.no_compare,
            warmup=self.warmup,
            defaults=tuple(self.add_defaults or ()),
        )


def _renames(texts: Sequence[str]) -> dict[str, str]:
    renames: dict[str, str] = {}
    for text in texts:
        old, equals, new = text.partition("=")
        if not (old and equals and new):
            raise UsageError(f"Invalid --rename-signature '{text}'", hint="Use --rename-signature OLD=NEW.")
        if old in renames:
            raise UsageError(f"--rename-signature {old} is given twice", hint="Use only one of them.")
        renames[old] = new
    return renames
