"""Which ops of a model LiteRT's converter supports: builtin ops, Select TensorFlow ops, or none.

Measured with the converter of TensorFlow 2.21, which `hubcli inspect --for litert --try` runs.
litert_ops.tsv.gz has a line for each op that it supports: its name, `b` for builtin or `s` for Select ops.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from hubcli.issues import Severity
from hubcli.savedmodel.targets.loader_rules import cpu_obstacles, unrestored_variables
from hubcli.savedmodel.targets.needs import Place, Reach, Uses
from hubcli.savedmodel.targets.obstacle import LOAD, ModelNeeds, Obstacle, obstacle
from hubcli.savedmodel.targets.packages import package_by_op
from hubcli.savedmodel.targets.releases import op_releases
from hubcli.units import first_few

__all__ = ["litert_obstacles"]

_LITERT_OPS = Path(__file__).with_name("litert_ops.tsv.gz")
_MAX_NAMED = 8
# Ops that restore and save variables, which a conversion leaves out.
_SAVER_OPS = frozenset(
    [
        "DisableCopyOnRead",
        "MergeV2Checkpoints",
        "RestoreV2",
        "SaveV2",
        "ShardedFilename",
        "StaticRegexFullMatch",
        "StringJoin",
    ]
)


def litert_obstacles(needs: ModelNeeds) -> Iterator[Obstacle]:
    """What prevents a conversion of the model's signatures, or requires Select TensorFlow ops."""
    yield from _signatures(needs)
    # The converter loads the graph in a session, on CPUs.
    yield from (pin for pin in cpu_obstacles(needs) if pin.is_blocking and pin.when == LOAD)
    # A variable without a value would be converted with the bytes that were in memory.
    yield from unrestored_variables(needs)
    known, places = _litert_ops(), _places(needs)
    impossible = [op for op in places if op not in known]
    for op in impossible:
        package = package_by_op().get(op, "").split(" ")[0]
        origin = f", which {package} registers" if package else ""
        yield obstacle(
            "no-litert-op",
            f"LiteRT has no {op}{origin}: it is neither a builtin op nor among the Select TensorFlow ops",
            "Register a custom op with the interpreter, or remove it from the signature",
            place=places[op],
            nodes=needs.graph.ops[op].count,
        )
    selected = [op for op in places if known.get(op) == "s"]
    if selected:
        yield obstacle(
            "select-ops",
            f"It may need Select TensorFlow ops: {first_few(selected, _MAX_NAMED)}",
            "Convert with Select TensorFlow ops: hubcli export --select-tf-ops. To check: --try",
            severity=Severity.WARNING,
            place=places[selected[0]],
        )


def _signatures(needs: ModelNeeds) -> Iterator[Obstacle]:
    """Signatures that the converter doesn't support."""
    if not needs.signatures:
        yield obstacle(
            "no-signature",
            "It has no signature, and the converter accepts only signatures",
            "Save it with signatures=…",
            part="signatures",
        )
    definitions = needs.rest.signature_def
    for name in needs.signatures:
        tensors = (*definitions[name].inputs.values(), *definitions[name].outputs.values())
        if any(tensor.WhichOneof("encoding") not in (None, "name") for tensor in tensors):
            yield obstacle(
                "composite-tensor",
                f"Signature {name} takes or returns sparse or ragged tensors, which LiteRT does not support",
                "Take and return their parts as dense tensors, and save it again",
                part=f"signature {name}",
            )
            return


def _places(needs: ModelNeeds) -> dict[str, Place]:
    """The ops to convert with a place of each: what signatures reach, and unknown ops of the graph."""
    found: dict[str, Place] = {}
    for op, uses in sorted(needs.graph.ops.items()):
        place = None if op in _SAVER_OPS else _place(needs, op, uses)
        if place is not None:
            found[op] = place
    return found


def _place(needs: ModelNeeds, op: str, uses: Uses) -> Place | None:
    if needs.objects is None:
        return uses.first(Reach.GRAPH)
    # The graph itself of a TensorFlow 2 model only saves and restores, but it is loaded, too.
    is_unknown = op_releases().span(op) is None
    return uses.first(Reach.CALLED, Reach.GRAPH) if is_unknown else uses.first(Reach.CALLED)


@cache
def _litert_ops() -> dict[str, str]:
    """`b` for each op that becomes a builtin one, `s` for each that may be a Select TensorFlow op."""
    text = gzip.decompress(_LITERT_OPS.read_bytes()).decode()
    return dict(line.split("\t") for line in text.splitlines())
