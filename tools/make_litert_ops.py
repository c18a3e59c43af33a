"""Updates hubcli/savedmodel/targets/litert_ops.tsv.gz: what LiteRT's converter makes of TensorFlow's ops.

    python -m tools.make_litert_ops

Run it from the top of the repository, with the TensorFlow that is promised. The converter has no list of the
ops that become builtin ones: these are its builtin ops by name, and those of `_BUILTIN`, whose builtin op has
another name. `hubcli inspect --for litert --try` asks the converter. Select TensorFlow ops are those that the
converter's own `IsAllowlistedFlexOp` lets through: it is called for every op of the registry.
"""

from __future__ import annotations

import ctypes
import gzip
import re
from importlib.util import find_spec
from pathlib import Path

from tools.make_op_list import registered_ops

_TARGET = Path(__file__).parent.parent / "hubcli" / "savedmodel" / "targets" / "litert_ops.tsv.gz"
_IS_ALLOWED = "_ZN6tflite4flex19IsAllowlistedFlexOpERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
# Ops that the converter folds, inlines or turns into a builtin op of another name.
_BUILTIN = """
All Any ArgMax ArgMin Assert AssignVariableOp AvgPool AvgPool3D BatchMatMulV3 BiasAdd Concat ConcatV2 Const
Conv2DBackpropInput Conv3DBackpropInputV2 CumsumV2 DepthwiseConv2dNative EnsureShape FakeQuantWithMinMaxArgs
FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
Identity IdentityN If InvertPermutation L2Loss LookupTableFindV2 LookupTableImportV2 LookupTableSizeV2 LRN
MatMul Max MaxPool MaxPool3D Min NoOp NonMaxSuppressionV4 NonMaxSuppressionV5 PartitionedCall Placeholder
PlaceholderWithDefault PreventGradient Prod ReadVariableOp RealDiv Reciprocal ReverseV2 Roll Selu Sigmoid
Softplus StatefulPartitionedCall StatelessIf StatelessWhile StopGradient TensorListFromTensor
TensorListGetItem TensorListLength TensorListReserve TensorListSetItem TensorListStack TopKV2 TruncateDiv
VarHandleOp VarIsInitializedOp While Xdivy ZerosLike
"""


class _String(ctypes.Structure):
    """A std::string as libstdc++ lays it out; the text may stand anywhere."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("short", ctypes.c_char * 16),
    )


def is_select_op(library: ctypes.CDLL, op: str) -> bool:
    """Whether the converter lets the op through to TensorFlow's own kernel."""
    encoded = ctypes.create_string_buffer(op.encode())
    text = _String(ctypes.addressof(encoded), len(op), b"")
    return bool(getattr(library, _IS_ALLOWED)(ctypes.byref(text)))


def builtin_ops(folder: Path) -> set[str]:
    """The names of LiteRT's builtin ops, in small letters alone."""
    source = (folder / "lite" / "python" / "schema_py_generated.py").read_text(encoding="utf-8")
    start = source.index("class BuiltinOperator(object)")
    part = source[start : source.index("\nclass ", start)]
    return {
        name.replace("_", "").lower() for name in re.findall(r"^    ([A-Z0-9_]+) = \d+", part, re.MULTILINE)
    }


def main() -> None:
    """Writes a line for each op: its name, `b` for builtin, `s` for Select TF ops."""
    spec = find_spec("tensorflow")
    assert spec is not None
    folder = Path(next(iter(spec.submodule_search_locations or ())))
    library = ctypes.CDLL(str(folder / "python" / "lib_pywrap_tensorflow_common.so"))
    getattr(library, _IS_ALLOWED).restype = ctypes.c_bool
    builtin, named = builtin_ops(folder), set(_BUILTIN.split())
    lines = []
    for op in sorted(registered_ops()):
        is_builtin = op in named or re.sub(r"V\d+$", "", op).lower() in builtin
        if is_builtin or is_select_op(library, op):
            lines.append(f"{op}\t{'b' if is_builtin else 's'}\n")
    _TARGET.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
    print(f"{len(lines)} ops, {sum(line.endswith('s' + chr(10)) for line in lines)} of them Select TF ops")


if __name__ == "__main__":
    main()
