"""`hubcli inspect --json`: the document, its keys stable."""

from __future__ import annotations

import math
from typing import Any

from hubcli.cli.main import LazyImports
from hubcli.commands.inspect import Inspection
from hubcli.issues import Issue
from hubcli.savedmodel.compare.diff import Difference
from hubcli.savedmodel.functions import Function, FunctionVariant, Signature, SignatureTensor
from hubcli.savedmodel.model import Asset, Checkpoint, Fingerprint, MetaGraph, SavedModelInfo, Sizes
from hubcli.savedmodel.types import (
    DTypeValue,
    Fields,
    Items,
    Literal,
    Shape,
    ShapeValue,
    Structure,
    TensorSpec,
    TypeSpec,
)
from hubcli.savedmodel.variables import Variable

with LazyImports():
    from hubcli.cli.views.targets import targets_document

__all__ = ["diff_document", "inspection_document"]


def inspection_document(inspection: Inspection) -> dict[str, Any]:
    """All that is known of the model."""
    info = inspection.info
    document = {
        "target": inspection.target,
        "path": None if inspection.path is None else str(inspection.path),
        "received_bytes": inspection.received_bytes,
        "format": info.format.value,
        "root_class": info.root_class,
        "tensorflow_version": info.tensorflow_version,
        "fingerprint": None if info.fingerprint is None else _fingerprint(info.fingerprint),
        "sizes": _sizes(info.sizes),
        "meta_graphs": [_meta_graph(graph) for graph in info.meta_graphs],
        "functions": [_function(function) for function in info.functions],
        "variables": [_variable(variable) for variable in info.variables],
        "parameters": {
            "total": info.parameters.total,
            "trainable": info.parameters.trainable,
            "in_file": info.parameters.in_file,
        },
        "lists": {
            "variables": _list_or_none(info.lists.variables),
            "trainable_variables": _list_or_none(info.lists.trainable_variables),
        },
        "regularization_losses": info.lists.losses,
        "checkpoint": None if info.checkpoint is None else _checkpoint(info.checkpoint, info),
        "assets": [_asset(asset) for asset in info.assets],
        "findings": [_finding(finding) for finding in info.findings],
        "reusable": {
            "conforms": info.reusable.conforms,
            "problems": [_problem(problem) for problem in info.reusable.problems],
        },
    }
    if info.compatibility is not None:
        document["compatibility"] = targets_document(info.compatibility)
    return document


def diff_document(left: str, right: str, differences: tuple[Difference, ...]) -> dict[str, Any]:
    """`hubcli inspect A --diff B --json`."""
    return {
        "target": left,
        "other": right,
        "alike": not differences,
        "differences": [
            {
                "part": difference.part,
                "name": difference.name,
                "left": difference.left,
                "right": difference.right,
            }
            for difference in differences
        ],
    }


def _list_or_none(paths: tuple[str, ...] | None) -> list[str] | None:
    return None if paths is None else list(paths)


def _shape(shape: Shape) -> list[int | None] | None:
    return None if shape is None else list(shape)


def _fingerprint(fingerprint: Fingerprint) -> dict[str, Any]:
    """Hashes are strings: many readers of JSON keep 53 bits of a number."""
    return {
        "saved_model_checksum": str(fingerprint.saved_model_checksum),
        "graph_def_program_hash": str(fingerprint.graph_def_program_hash),
        "signature_def_hash": str(fingerprint.signature_def_hash),
        "saved_object_graph_hash": str(fingerprint.saved_object_graph_hash),
        "checkpoint_hash": str(fingerprint.checkpoint_hash),
        "version": fingerprint.version,
        "uuid": fingerprint.uuid,
    }


def _sizes(sizes: Sizes) -> dict[str, int | None]:
    return {
        "total": sizes.total,
        "graph": sizes.graph,
        "variables": sizes.variables,
        "assets": sizes.assets,
        "other": sizes.other,
    }


def _meta_graph(graph: MetaGraph) -> dict[str, Any]:
    return {
        "tags": list(graph.tags),
        "tensorflow_version": graph.tensorflow_version,
        "signatures": [_signature(signature) for signature in graph.signatures],
        "init_op": graph.init_op,
        "train_op": graph.train_op,
        "ops": dict(graph.ops),
    }


def _signature(signature: Signature) -> dict[str, Any]:
    return {
        "name": signature.name,
        "method": signature.method,
        "inputs": [_signature_tensor(tensor) for tensor in signature.inputs],
        "outputs": [_signature_tensor(tensor) for tensor in signature.outputs],
    }


def _signature_tensor(tensor: SignatureTensor) -> dict[str, Any]:
    default = tensor.default
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": _shape(tensor.shape),
        "tensor": tensor.tensor,
        "kind": tensor.kind,
        "components": list(tensor.components),
        "default": None
        if default is None
        else {"dtype": default.dtype, "shape": _shape(default.shape), "value": _value(default.value)},
    }


def _function(function: Function) -> dict[str, Any]:
    return {
        "path": function.path,
        "python_signature": function.python_signature,
        "call": function.call,
        "variants": [_variant(variant) for variant in function.variants],
    }


def _variant(variant: FunctionVariant) -> dict[str, Any]:
    return {
        "name": variant.name,
        "args": [_structure(value) for value in variant.args],
        "kwargs": {name: _structure(value) for name, value in variant.kwargs},
        "outputs": None if variant.outputs is None else _structure(variant.outputs),
    }


def _structure(value: Structure) -> dict[str, Any]:
    if isinstance(value, TensorSpec):
        return {"kind": "tensor", "dtype": value.dtype, "shape": _shape(value.shape), "name": value.name}
    if isinstance(value, TypeSpec):
        return _type_spec(value)
    if isinstance(value, Items):
        items = [_structure(item) for item in value.items]
        return {"kind": "tuple" if value.is_tuple else "list", "items": items}
    if isinstance(value, Fields):
        named = {key: _structure(item) for key, item in value.items}
        if value.name is None:
            return {"kind": "dict", "items": named}
        return {"kind": "namedtuple", "name": value.name, "items": named}
    if isinstance(value, DTypeValue):
        return {"kind": "value", "dtype": value.dtype}
    if isinstance(value, ShapeValue):
        return {"kind": "value", "shape": _shape(value.shape)}
    assert isinstance(value, Literal)
    if isinstance(value.value, float) and not math.isfinite(value.value):
        return {"kind": "value", "value": None, "float": str(value.value)}
    return {"kind": "value", "value": value.value}


def _type_spec(spec: TypeSpec) -> dict[str, Any]:
    document: dict[str, Any] = {
        "kind": "spec",
        "class": spec.class_name,
        "dtype": spec.dtype,
        "shape": _shape(spec.shape),
    }
    if spec.ragged_rank is not None:
        document |= {"ragged_rank": spec.ragged_rank, "row_splits_dtype": spec.row_splits_dtype}
    return document


def _value(value: bool | int | float | str | None) -> bool | int | float | str | None:
    """JSON has no infinity and no NaN: they are strings."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "path": variable.path,
        "checkpoint_key": variable.checkpoint_key,
        "dtype": variable.dtype,
        "shape": _shape(variable.shape),
        "trainable": variable.trainable,
        "listed": variable.is_listed,
        "slot": variable.is_slot,
        "size_bytes": variable.size_bytes,
    }


def _checkpoint(checkpoint: Checkpoint, info: SavedModelInfo) -> dict[str, Any]:
    claimed = {variable.checkpoint_key for variable in info.variables}
    return {
        "shards": checkpoint.shards,
        "tensors": len(checkpoint.tensors),
        "size_bytes": checkpoint.size_bytes,
        "partitioned": [tensor.key for tensor in checkpoint.tensors if tensor.parts > 1],
        "unclaimed": [
            {
                "key": tensor.key,
                "dtype": tensor.dtype,
                "shape": _shape(tensor.shape),
                "size_bytes": tensor.size_bytes,
            }
            for tensor in checkpoint.tensors
            if tensor.key not in claimed
        ],
    }


def _asset(asset: Asset) -> dict[str, Any]:
    return {"path": asset.path, "size_bytes": asset.size_bytes, "present": asset.is_present}


def _finding(finding: Issue) -> dict[str, Any]:
    return {
        "severity": finding.severity.value,
        "code": finding.code,
        "message": finding.message,
        "where": finding.where,
    }


def _problem(problem: Issue) -> dict[str, Any]:
    return {
        "severity": problem.severity.value,
        "code": problem.code,
        "message": problem.message,
        "remedy": problem.hint,
    }
