"""What Keras would run or open because of a config: one walk over the parsed JSON, the same for every format.

An allow-list: each class, function, module and op that the config names must
belong to Keras or TensorFlow and be known to be pure. Sources of how a config
names code: tf_keras/src/saving/serialization_lib.py and
legacy/serialization.py, keras/src/saving/serialization_lib.py,
tf_keras/src/layers/core/tf_op_layer.py, lambda_layer.py, rnn/cell_wrappers.py.
"""

from __future__ import annotations

import re
import sys
from enum import Enum
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.savedmodel.checks.keras_json import KerasConfig, hidden_config
from hubcli.savedmodel.checks.keras_names import (
    DATA_CLASSES,
    FUNCTIONS,
    KERAS_2_CLASSES,
    KERAS_3_CLASSES,
    NOT_PURE_LAYERS,
    TYPE_SPECS,
    is_pure_function,
    is_pure_method,
    is_pure_op,
)

__all__ = ["ConfigIssue", "IssueKind", "KerasConfig", "TrustedNames", "walk_config"]

_MAX_NODES = 5_000_000
_MAX_ISSUES, _MAX_NAME = 20, 80


class IssueKind(str, Enum):
    """What needs trust in a config: Python code, a class that isn't Keras's, an op, a file."""

    CODE = "code"
    CLASS = "class"
    OP = "op"
    FILE = "file"


class ConfigIssue(NamedTuple):
    """Why a config needs --unsafe: `layer` is the innermost named object ("" if none is named)."""

    kind: IssueKind
    layer: str
    reason: str

    def __str__(self) -> str:
        return f"layer {self.layer}: {self.reason}" if self.layer else self.reason


class TrustedNames(NamedTuple):
    """The classes and functions of the user's own code by name, and their modules."""

    classes: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()


def walk_config(
    config: KerasConfig, *, is_keras_3: bool = False, trusted: TrustedNames | None = None
) -> tuple[ConfigIssue, ...]:
    """Everything in the config that needs trust, at most 20, each once; none where it is pure.

    Raises BrokenModelError for a config of more than 5 million values.
    """
    walk = _Walk(is_keras_3, trusted or TrustedNames())
    # Nearly every config is pure, which is faster to check than to find the layer that isn't.
    if config.classed is not None and config.repeated_key is None:
        for found in config.classed:
            walk.visit_object(found, found["class_name"], "")
        if not walk.found:
            return ()
        walk.found.clear()
    if config.repeated_key is not None:
        reason = f"the key {_quoted(config.repeated_key)} appears twice in one object"
        walk.add(IssueKind.CODE, "", reason)
    walk.run(config.value)
    return tuple(walk.found)


_OP_LAYERS = frozenset({"TFOpLambda", "SlicingOpLambda"})
_LOOKUPS = frozenset({"IntegerLookup", "StringLookup", "TextVectorization"})
_NODE_FIELDS = frozenset({"name", "op", "input", "attr", "device"})
# Modules in which Keras looks for a class or a function; others would be imported.
_KERAS_MODULE = (
    r"(?:tf_)?keras(?:\.src)?(?:\.(?:activations|applications|constraints|dtype_policies|engine|initializers|layers|losses|"
    r"metrics|mixed_precision|models|ops|optimizers|premade_models|quantizers|random|regularizers)"
    r"(?:\.[a-z0-9_]+)*)?|tensorflow\.python\.ops\.init_ops_v2"  # TensorFlow's own initializers
)
_TENSORFLOW_MODULE = r"tensorflow\.python\.(?:framework|ops)(?:\.[a-z0-9_]+)*"
_TYPE_SUFFIX, _FUNCTION_TYPE = "_type", "function_type"
_NUMBERS = (int, float, bool)


class _Walk:
    """One walk, without recursion: a config may be deeply nested."""

    def __init__(self, is_keras_3: bool, trusted: TrustedNames) -> None:
        self.is_keras_3 = is_keras_3
        self.trusted = trusted
        self.found: list[ConfigIssue] = []
        self._seen = 0

    def add(self, kind: IssueKind, layer: str, reason: str) -> None:
        """Records the issue, unless it is recorded already or there are 20."""
        issue = ConfigIssue(kind, _quoted(layer)[1:-1] if layer else "", reason)
        if len(self.found) < _MAX_ISSUES and issue not in self.found:
            self.found.append(issue)

    def run(self, config: Any) -> None:
        """Visits every value of the config, in its order."""
        pending: list[tuple[Any, str]] = [(config, "")]
        while pending:
            value, layer = pending.pop()
            if isinstance(value, str):
                hidden = hidden_config(value)
                if hidden is not None:
                    pending.append((hidden, layer))
                continue
            self._seen += len(value)
            if self._seen > _MAX_NODES:
                raise BrokenModelError(f"its config contains more than {_MAX_NODES} values")
            inner = value
            if isinstance(value, dict):
                layer = _name_of(value) or layer
                self._visit(value, layer)
                inner = value.values()
            # Most are numbers and words, which hold nothing: no call for each, and no list for each object.
            for each in reversed(inner):
                if ("{" in each) if type(each) is str else (each and type(each) not in _NUMBERS):
                    pending.append((each, layer))  # noqa: PERF401

    def _visit(self, config: dict[str, Any], layer: str) -> None:
        if "class_name" in config:
            self.visit_object(config, config["class_name"], layer)
        values = config.values()
        if "lambda" in values or "function" in values:  # Few have one: no look at each key of the others.
            for key, value in config.items():
                if key.endswith(_TYPE_SUFFIX) and value in ("lambda", "function"):
                    self._visit_function_key(config, key, value, layer)

    def _visit_function_key(self, config: dict[str, Any], key: str, kind: str, layer: str) -> None:
        """A function in the legacy spelling: `residual_fn`, `residual_fn_type` and `residual_fn_module`."""
        stem = key.removesuffix(_TYPE_SUFFIX)
        if kind == "lambda":
            self.add(IssueKind.CODE, layer, f"{stem} is Python bytecode")
        elif not self._is_own_function(config.get(stem)):
            self.add(IssueKind.CLASS, layer, f"{stem} is the Python function {_quoted(config.get(stem))}")
        else:
            module = config.get("module" if key == _FUNCTION_TYPE else f"{stem}_module")
            self._check_own_module(module, layer)

    def visit_object(self, config: dict[str, Any], name: Any, layer: str) -> None:
        """Records why the object of that class needs trust, without the objects in it."""
        if not isinstance(name, str):
            self.add(IssueKind.CLASS, layer, f"its class is {_quoted(name)}, not a name")
        elif name == "__lambda__":
            self.add(IssueKind.CODE, layer, "it holds Python bytecode")
        elif name == "function":
            self._visit_function(config, layer)
        elif name in ("TypeSpec", "__typespec__"):
            self._visit_type_spec(config, layer)
        elif name in DATA_CLASSES:
            pass
        elif name in self.trusted.classes:
            self._visit_own_class(config, name, layer)
        elif name == "Lambda":
            self._visit_lambda(config, layer)
        else:
            self._visit_class(config, name, layer)

    def _visit_class(self, layer_config: dict[str, Any], name: str, layer: str) -> None:
        config = layer_config.get("config")
        inner = config if isinstance(config, dict) else {}
        reason = None if self.is_keras_3 else _op_layer_issue(name, inner, layer_config)
        if reason:
            self.add(IssueKind.OP, layer, reason)
        elif reason is None and name not in (KERAS_3_CLASSES if self.is_keras_3 else KERAS_2_CLASSES):
            why = NOT_PURE_LAYERS.get(name)
            sentence = f"{name} {why}" if why else f"its class {_quoted(name)} is not part of Keras"
            self.add(IssueKind.CLASS, layer, sentence)
            return
        if name in _LOOKUPS and isinstance(inner.get("vocabulary"), str):
            path = _quoted(inner["vocabulary"])
            self.add(IssueKind.FILE, layer, f"it reads its vocabulary from the file {path}")
        registered = layer_config.get("registered_name")
        if registered not in (None, name, f"Custom>{name}"):
            self.add(IssueKind.CLASS, layer, f"its registered name is {_quoted(registered)}")
        self._check_module(layer_config.get("module"), layer)

    def _visit_own_class(self, config: dict[str, Any], name: str, layer: str) -> None:
        """A class of the user's: by its registered name, or from a module that holds the user's code."""
        registered = config.get("registered_name", name)
        if not _is_one_of(registered, self.trusted.classes):
            module = config.get("module")
            if module is not None and not _is_one_of(module, self.trusted.modules):
                self.add(IssueKind.CLASS, layer, f"its module {_quoted(module)} would be imported")

    def _visit_lambda(self, layer_config: dict[str, Any], layer: str) -> None:
        """A Lambda layer needs trust unless its function is named, and Keras's own or the user's."""
        config = layer_config.get("config")
        function = config.get("function") if isinstance(config, dict) else None
        if isinstance(function, dict) and function.get("class_name") == "function":
            return  # It is visited as every function is.
        if not self._is_own_function(function):
            self.add(IssueKind.CODE, layer, "a Lambda layer runs Python code")

    def _visit_function(self, config: dict[str, Any], layer: str) -> None:
        name = config.get("config")
        if self._is_own_function(name):
            return
        if not (isinstance(name, str) and name in FUNCTIONS):
            self.add(IssueKind.CLASS, layer, f"it names the Python function {_quoted(name)}")
            return
        if config.get("registered_name") not in (None, "function", name):
            registered = _quoted(config.get("registered_name"))
            self.add(IssueKind.CLASS, layer, f"it names the Python function {registered}")
        if config.get("module") != "builtins":
            self._check_module(config.get("module"), layer)

    def _visit_type_spec(self, config: dict[str, Any], layer: str) -> None:
        spec = config.get("type_spec", config.get("spec_name"))
        module, registered = config.get("module"), config.get("registered_name")
        is_known = isinstance(spec, str) and spec in TYPE_SPECS and registered in (None, spec)
        if is_known and (module is None or _matches(_TENSORFLOW_MODULE, module)):
            return
        self.add(IssueKind.CLASS, layer, f"its type {_quoted(spec)} is not part of TensorFlow")

    def _is_own_function(self, name: Any) -> bool:
        return _is_one_of(name, self.trusted.functions)

    def _check_module(self, module: Any, layer: str) -> None:
        if module is not None and not _matches(_KERAS_MODULE, module):
            self.add(IssueKind.CLASS, layer, f"its module {_quoted(module)} would be imported")

    def _check_own_module(self, module: Any, layer: str) -> None:
        """Names of a loaded module would replace those of Keras's own code."""
        if module is None or module == "__main__" or _is_one_of(module, self.trusted.modules):
            return
        if not isinstance(module, str) or module in sys.modules:
            self.add(IssueKind.CODE, layer, f"it takes names from the module {_quoted(module)}")


def _op_layer_issue(name: str, config: dict[str, Any], layer_config: dict[str, Any]) -> str | None:
    """Why the op layer isn't pure, "" if it is, None if the class is not an op layer."""
    reason = ""
    if name in _OP_LAYERS:
        if not is_pure_function(config.get("function")):
            reason = f"it calls the TensorFlow function {_quoted(config.get('function'))}"
    elif name == "TensorFlowOpLayer":
        reason = _node_issue(config.get("node_def"))
    elif name == "ClassMethod":
        owner, method = config.get("cls_symbol"), config.get("method_name")
        if not isinstance(owner, str) or not is_pure_method(owner, method):
            reason = f"it calls the method {_quoted(method)} of {_quoted(owner)}"
    elif name in ("InstanceMethod", "InstanceProperty"):
        if not is_pure_method(None, config.get("attr_name")):
            reason = f"it reads the attribute {_quoted(config.get('attr_name'))}"
    else:
        return None
    return reason or _constants_issue([layer_config.get("inbound_nodes"), config.get("constants")])


def _node_issue(node: Any) -> str:
    """Why a node of a graph isn't pure; "" if it is."""
    if not isinstance(node, dict) or not node.keys() <= _NODE_FIELDS:
        return "its node is not a JSON object of name, op, inputs and attributes"
    if not is_pure_op(node.get("op")):
        return f"it runs the TensorFlow op {_quoted(node.get('op'))}"
    attributes = node.get("attr", {})
    if not isinstance(attributes, dict) or any(
        not isinstance(value, dict) or "func" in value or _holds_functions(value.get("list"))
        for value in attributes.values()
    ):
        return f"the attributes of its op {node['op']} name a function"
    return ""


def _holds_functions(values: Any) -> bool:
    return values is not None and (not isinstance(values, dict) or "func" in values)


def _constants_issue(values: Any) -> str:
    """Why a constant is none of numbers, booleans, shapes, dtypes, text and nests of these; "" if all are."""
    pending = [values]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            name = item.get("class_name")
            is_data = isinstance(name, str) and (name in DATA_CLASSES or name == "TypeSpec")
            if name is not None and not is_data:
                return f"its constants contain an object of the class {_quoted(name)}"
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return ""


def _name_of(layer_config: dict[str, Any]) -> str:
    """The object's own name; "" if it has none."""
    name = layer_config.get("name")
    if isinstance(name, str) and name:
        return name
    config = layer_config.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return name if isinstance(name, str) else ""


def _is_one_of(value: Any, names: frozenset[str]) -> bool:
    return isinstance(value, str) and value in names


def _matches(pattern: str, module: Any) -> bool:
    # Compiled when the first module is named: most configs of Keras 2 name none.
    return isinstance(module, str) and re.fullmatch(pattern, module, re.ASCII) is not None


def _quoted(value: Any) -> str:
    """A value from a file, in quotes: printable, on one line, and shortened."""
    if isinstance(value, str):
        value = value[: 2 * _MAX_NAME]
    text = ascii(value) if not isinstance(value, (dict, list)) else f"'{type(value).__name__}'"
    return text if len(text) <= _MAX_NAME else f"{text[:_MAX_NAME]}…'"
