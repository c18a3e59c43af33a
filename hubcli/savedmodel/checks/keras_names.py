"""Names that a Keras config may hold without --unsafe: what computes from the config and its inputs alone.

They are in keras_names.tsv: the name of a list, then names in it. Collected from tf_keras 2.21,
Keras 3.15 and TensorFlow's public API, 2.21; a test fails when an installed Keras exports a layer that is
in none of the lists.

Left out of the classes are those that run Python code (Lambda), load another model (TFSMLayer,
TorchModuleWrapper, JaxLayer, FlaxLayer) or read files that their config names (feature columns). Of the
functions and ops that an op layer of a Keras 2 model may call, none opens a file, talks to another machine,
takes a Python function, decodes a file format or keeps a state. Left out on purpose: io, data, raw_ops,
py_function, map_fn, while_loop, candidate samplers (one reads a vocabulary file), image.decode_*.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "APPLICATION_LAYERS",
    "DATA_CLASSES",
    "FUNCTIONS",
    "KERAS_2_CLASSES",
    "KERAS_3_CLASSES",
    "NOT_PURE_LAYERS",
    "TYPE_SPECS",
    "is_pure_function",
    "is_pure_method",
    "is_pure_op",
]

_COMPAT = "compat.v1."


def is_pure_function(name: object) -> bool:
    """Whether TFOpLambda may call the function of that name.

    >>> is_pure_function("math.multiply"), is_pure_function("io.write_file")
    (True, False)
    """
    if not isinstance(name, str):
        return False
    # Functions of TensorFlow 1 have their own names, or those of TensorFlow 2.
    return _has(name) or (name.startswith(_COMPAT) and _has(name.removeprefix(_COMPAT)))


def is_pure_op(name: object) -> bool:
    """Whether TensorFlowOpLayer may hold the op."""
    return isinstance(name, str) and name in _PURE_OPS


def is_pure_method(cls: object, method: object) -> bool:
    """Whether ClassMethod may call the method of that class (None: InstanceMethod, of its own input)."""
    if not isinstance(method, str):
        return False
    if cls is None:
        return method in _TENSOR_ATTRIBUTES
    return cls == "RaggedTensor" and method in _RAGGED_CONSTRUCTORS


def _has(name: str) -> bool:
    module, _, function = name.rpartition(".")
    return function in _PURE_FUNCTIONS.get(module, ())


def _read_lists() -> dict[str, frozenset[str]]:
    """The lists of keras_names.tsv by their names."""
    lists: dict[str, list[str]] = {}
    text = Path(__file__).with_name("keras_names.tsv").read_text(encoding="utf-8")
    for line in text.splitlines()[1:]:
        name, _, words = line.partition("\t")
        lists.setdefault(name, []).extend(words.split())
    return {name: frozenset(words) for name, words in lists.items()}


# Layers of Keras 2 and 3 that are refused on purpose.
NOT_PURE_LAYERS = {
    "Lambda": "runs a Python function",
    "TFSMLayer": "loads a SavedModel from a path",
    "TorchModuleWrapper": "runs a pickled PyTorch module",
    "FlaxLayer": "runs Python code of JAX",
    "JaxLayer": "runs Python code of JAX",
    "DenseFeatures": "may read a file that its feature columns name",
    "SequenceFeatures": "may read a file that its feature columns name",
    "DynamicEmbedding": "calls functions that its config names",
    "DynamicLookup": "calls functions that its config names",
    "DeviceWrapper": "calls a device function",
}
# Layers that keras.applications has for itself.
APPLICATION_LAYERS = {
    "LayerScale": "convnext",
    "StochasticDepth": "convnext",
    "CustomScaleLayer": "inception_resnet_v2",
}
_LISTS = _read_lists()
# Objects that are data: what is in them is walked like the rest.
DATA_CLASSES = _LISTS["data"]
TYPE_SPECS = _LISTS["type specs"]
# Activations, and functions of losses and metrics, which take tensors alone.
FUNCTIONS = _LISTS["functions"]
_RAGGED_CONSTRUCTORS = _LISTS["ragged constructors"]
_TENSOR_ATTRIBUTES = _LISTS["tensor attributes"]
_PURE_OPS = _LISTS["ops"]
# By module of TensorFlow, "" for its top.
_PURE_FUNCTIONS = {
    name[2:].lstrip("."): names for name, names in _LISTS.items() if name == "tf" or name.startswith("tf.")
}
_PURE_FUNCTIONS |= dict.fromkeys(("keras.activations", "keras.losses", "keras.metrics"), FUNCTIONS)
# What both generations may hold besides layers: initializers, regularizers, constraints, dtype policies,
# quantizers and seeds; losses, metrics, optimizers and schedules; layers of keras.applications.
_COMMON = _LISTS["parts"] | _LISTS["training"] | {*APPLICATION_LAYERS, "Custom>CustomScaleLayer"}
# Sequential configs of Keras 2 and metadata of SavedModels hold these too.
_COMMON |= {"Functional", "InputSpec", "Model", "Sequential"}
KERAS_2_CLASSES = _LISTS["Keras 2 layers"] | _COMMON
# Operations of keras.ops in a functional model too, but for those that take a function.
KERAS_3_CLASSES = _LISTS["Keras 3 layers"] | _LISTS["Keras 3 operations"] | _COMMON
