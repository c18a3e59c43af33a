"""Known limits of loaders beside their release: sessions and servers, CPUs alone, Keras layers, LiteRT.

Sources: keras/src/export/tfsm_layer.py of Keras 3.15, tensorflow_hub/keras_layer.py 0.16.1; measured with
models of every kind, and with the converter of TensorFlow 2.21, which `inspect --for litert --try` runs.
litert_ops.tsv.gz has a line for each op that it supports: its name, `b` for builtin or `s` for Select ops.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from hubcli.issues import Severity
from hubcli.savedmodel.functions import INIT_OP, op_name
from hubcli.savedmodel.targets.needs import Place, Reach, Uses
from hubcli.savedmodel.targets.obstacle import CALL, LOAD, ModelNeeds, Obstacle, obstacle
from hubcli.savedmodel.targets.releases import op_releases, package_by_op
from hubcli.units import first_few

__all__ = [
    "cluster_obstacles",
    "cpu_obstacles",
    "hub_layer_obstacles",
    "keras_layer_obstacles",
    "litert_obstacles",
    "session_obstacles",
    "unrestored_variables",
]

_TABLES = (
    "HashTableV2",
    "HashTable",
    "MutableHashTableV2",
    "InitializeTableFromTextFileV2",
    "LookupTableImportV2",
)
_DEVICE = re.compile(r"(?:.*/)?device:(?P<kind>[A-Z_]+):\d+", re.IGNORECASE)
_SHORT_DEVICE = re.compile(r"/(?P<kind>[A-Z_]+):\d+", re.IGNORECASE)
_JOB = re.compile(r"/job:(?P<job>[^/]*)")
_OTHER_TASK = re.compile(r"/task:0*[1-9]")
_CLEAR = "Strip the devices: hubcli export --clear-devices"
_LENIENT_RELEASE = "2.4"
_FUNCTIONS = ("function", "bare_concrete_function")
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


def session_obstacles(
    needs: ModelNeeds, releases: tuple[str, ...], *, in_serving: bool
) -> Iterator[Obstacle]:
    """What a session or a server can't use: both know only signatures, and what the graph restores."""
    if not needs.signatures:
        yield obstacle(
            "no-signature",
            "It has no signature, and a session calls only signatures",
            "Save it with signatures=…",
            severity=Severity.ERROR if in_serving else Severity.WARNING,
            when=CALL,
            part="signatures",
            releases=releases,
        )
    tags = set(needs.rest.meta_info_def.tags)
    if in_serving and "serve" not in tags:
        yield obstacle(
            "no-serve-tag",
            f"No MetaGraph has the tag serve: its tags are {','.join(sorted(tags)) or 'none'}",
            "Save it again with tf.saved_model.save, or start the server with --saved_model_tags",
            part="tags",
            releases=releases,
        )
    yield from unrestored_variables(needs, releases)
    yield from _empty_tables(needs, releases)


def unrestored_variables(needs: ModelNeeds, releases: tuple[str, ...] = ()) -> Iterator[Obstacle]:
    """Variables that the graph itself doesn't restore."""
    saver, handles = needs.rest.saver_def, needs.graph.ops.get("VarHandleOp")
    place = None if handles is None else handles.first(Reach.GRAPH)
    if place is not None and not saver.restore_op_name and needs.has_values:
        yield obstacle(
            "values-not-restored",
            "The graph has no op that restores its variables; only tf.saved_model.load does",
            "Load it with tf.saved_model.load and save it again",
            when=CALL,
            place=place,
            releases=releases,
        )


def _empty_tables(needs: ModelNeeds, releases: tuple[str, ...]) -> Iterator[Obstacle]:
    """Tables that the graph itself doesn't fill."""
    ops = needs.graph.ops
    tables = [uses for op in _TABLES if (uses := ops.get(op)) is not None]
    if tables and op_name(needs.rest, INIT_OP) is None:
        yield obstacle(
            "tables-not-initialized",
            "It has tables, but no op that initializes them, such as __saved_model_init_op",
            "Load it with tf.saved_model.load and save it again",
            severity=Severity.WARNING,
            when=CALL,
            place=tables[0].first(),
            releases=releases,
        )


def cpu_obstacles(needs: ModelNeeds) -> Iterator[Obstacle]:
    """Devices that nodes request, and a machine with only CPUs doesn't have."""
    found = [
        device
        for device in sorted(needs.graph.devices)
        if _is_elsewhere(device) or _kind_of(device) not in ("", "CPU")
    ]
    for device in found:
        uses, is_elsewhere = needs.graph.devices[device], _is_elsewhere(device)
        # In functions TensorFlow uses another device if one is missing, unless it is on another machine.
        in_graph, called = uses.first(Reach.GRAPH), uses.first(Reach.CALLED)
        place = in_graph or called
        is_grave = in_graph is not None or (is_elsewhere and called is not None)
        effect = "cannot be placed" if is_grave else "runs on another device if there is none"
        yield obstacle(
            "device-pin",
            f"{uses.count} nodes request {device[:200]}: such a node {effect}"
            if uses.count > 1
            else f"A node requests {device[:200]}, and {effect}",
            _CLEAR,
            severity=Severity.ERROR if is_grave else Severity.WARNING,
            when=LOAD if device in needs.graph.variable_devices else CALL,
            place=place or uses.first(),
            nodes=uses.count,
        )


def cluster_obstacles(
    needs: ModelNeeds, releases: tuple[str, ...], *, in_session: bool
) -> Iterator[Obstacle]:
    """Devices of other machines that reachable nodes request."""
    # tf.saved_model.load creates the functions, and not the graph itself.
    reaches = (Reach.GRAPH, Reach.CALLED) if in_session or needs.objects is None else (Reach.CALLED,)
    found = [device for device in sorted(needs.graph.devices) if _is_elsewhere(device)]
    for device in found:
        uses = needs.graph.devices[device]
        place = uses.first(*reaches)
        # In functions, a session of 2.4 uses another device.
        is_lenient = in_session and uses.first(Reach.GRAPH) is None
        refusing = tuple(release for release in releases if not is_lenient or release != _LENIENT_RELEASE)
        if place is not None and refusing:
            yield obstacle(
                "device-pin",
                f"A node requests {device[:200]}, a device of another machine",
                _CLEAR,
                # Variables get their values while a session loads the model.
                when=LOAD if device in needs.graph.variable_devices and in_session else CALL,
                place=place,
                releases=refusing,
                nodes=uses.count,
            )


def _kind_of(device: str) -> str:
    match = _DEVICE.match(device) or _SHORT_DEVICE.search(device.rpartition("/task:")[2])
    return match["kind"].upper() if match is not None else ""


def _is_elsewhere(device: str) -> bool:
    """Whether it is a device of another machine than the one that loads the model."""
    job = _JOB.search(device)
    return (job is not None and job["job"] != "localhost") or _OTHER_TASK.search(device) is not None


def keras_layer_obstacles(needs: ModelNeeds) -> Iterator[Obstacle]:
    """The limits of keras.layers.TFSMLayer: it passes no tags, and calls one endpoint with one argument."""
    if needs.meta_graphs > 1:
        yield obstacle(
            "several-meta-graphs",
            f"It has {needs.meta_graphs} MetaGraphs, and TFSMLayer passes no tags that choose one",
            "Load it with tf.saved_model.load(…, tags=[…]) and save it again",
            part="tags",
        )
    endpoints = _endpoints(needs)
    if "serve" in endpoints:
        chosen = "serve"
    elif not endpoints:
        yield obstacle(
            "no-endpoint",
            "It has neither a function nor a signature that TFSMLayer could call",
            "Save it with a traced function or signatures=…",
            part="signatures",
        )
        return
    else:
        chosen = "serving_default" if "serving_default" in endpoints else endpoints[0]
        yield obstacle(
            "endpoint-argument",
            "TFSMLayer calls the endpoint serve, which is missing",
            f"Pass call_endpoint={chosen!r}",
            severity=Severity.WARNING,
            part="signatures",
        )
    yield from _layer_call(needs, chosen)


def _layer_call(needs: ModelNeeds, chosen: str) -> Iterator[Obstacle]:
    """What TFSMLayer can't do with the endpoint that it calls."""
    definitions = needs.rest.signature_def
    inputs = len(definitions[chosen].inputs) if chosen in definitions else 0
    if inputs > 1 and not _has_function(needs, chosen):
        yield obstacle(
            "several-inputs",
            f"Signature {chosen} has {inputs} inputs, and TFSMLayer passes one positional argument",
            "Wrap it in a function of one argument, and save it again",
            severity=Severity.WARNING,
            when=CALL,
            part=f"signature {chosen}",
        )
    if needs.objects is not None and needs.objects.child(0, "regularization_losses") is not None:
        yield obstacle(
            "training-ignored",
            "TFSMLayer ignores trainable_variables, regularization losses and the argument training",
            "To fine-tune, use hubcli.KerasLayer",
            severity=Severity.HINT,
            when=CALL,
            part="objects",
        )


def _endpoints(needs: ModelNeeds) -> list[str]:
    """What TFSMLayer may call: functions of the root, and signatures."""
    found = set(needs.signatures)
    if needs.objects is not None:
        found |= {
            child.name for child in needs.objects.children(0) if needs.objects.kind(child.node) in _FUNCTIONS
        }
    return sorted(found)


def _has_function(needs: ModelNeeds, name: str) -> bool:
    child = None if needs.objects is None else needs.objects.child(0, name)
    return child is not None and needs.objects is not None and needs.objects.kind(child) in _FUNCTIONS


def hub_layer_obstacles(needs: ModelNeeds, *, is_hub_format: bool) -> Iterator[Obstacle]:
    """What tensorflow_hub's KerasLayer needs: a callable object, or a signature that is named."""
    yield obstacle(
        "tf-keras-needed",
        "hub.KerasLayer 0.16.1 is a layer of Keras 2, which models of Keras 3 do not accept",
        "Use it with tf_keras: pip install tf-keras. In Keras 3 use hubcli.KerasLayer",
        severity=Severity.HINT,
        when=CALL,
        part="objects",
    )
    if needs.meta_graphs > 1 and not is_hub_format:
        yield obstacle(
            "several-meta-graphs",
            f"It has {needs.meta_graphs} MetaGraphs, and hub.KerasLayer needs the tags of one",
            "Pass tags=[…], as hubcli inspect shows them",
            severity=Severity.WARNING,
            part="tags",
        )
    if needs.objects is not None and _has_function(needs, "__call__"):
        return
    names = needs.signatures
    if is_hub_format and "default" in names:
        return
    if not names:
        yield obstacle(
            "no-endpoint",
            "It has neither a traced __call__ nor a signature, so that hub.KerasLayer has nothing to call",
            "Save an object with a traced __call__, or with signatures=…",
            part="signatures",
        )
        return
    chosen = "serving_default" if "serving_default" in names else names[0]
    yield obstacle(
        "endpoint-argument",
        "It has no traced __call__, so that hub.KerasLayer needs the name of a signature, and trains nothing",
        f"Pass signature={chosen!r} and signature_outputs_as_dict=True",
        severity=Severity.WARNING,
        part="signatures",
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
