"""TensorFlow's messages, as far as hubcli reads them, built at run time in a pool of their own.

Generated modules would pin a protobuf release, and TensorFlow's own names can
stand only once in the default pool. Source: the .proto files below
tensorflow/core/example, framework and protobuf of TensorFlow 2.21.

Each message is a line: fields as `name number type`. `*` means repeated,
`map:` a map from strings, `kind|` a field of that oneof. Fields of type `~…`
are messages that stay bytes in binary files, and are parsed when they are
needed: most never are, and small ones take twenty times their size in memory.
The text format needs their types: hence two pools. Messages `…Entries` have the
entries of maps as they stand in the file, each with what it has of key and value.
They have each field that is left as bytes, and tell whether it is there. They have
no other field that protobuf may write longer than it read it, such as an int32.
All members of a oneof are listed: each one clears what was read of the others.

Protobuf's public modules make them: `inspect` of a small model takes 151 ms of processor time by these,
and 144 by the extension behind them (interleaved, the least of 20). They are imported when the first
message is read, since most commands read none.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from hubcli.errors import BrokenModelError, ModelLimitError
from hubcli.formats.tensor_layout import DTYPE_ENUM
from hubcli.formats.wire import LENGTH_DELIMITED, Bytes, encode_field, scan

__all__ = ["from_text", "is_slow", "parse", "parse_uncounted", "require_few_messages"]

_MESSAGES = """
SavedModel: schema_version 1 int64, meta_graphs 2 MetaGraphDef*
MetaGraphDef: meta_info_def 1 MetaInfoDef, graph_def 2 GraphDef, saver_def 3 SaverDef, \
collection_def 4 map:CollectionDef, signature_def 5 map:SignatureDef, asset_file_def 6 AssetFileDef*, \
object_graph_def 7 SavedObjectGraph
SaverDef: filename_tensor_name 1 string, save_tensor_name 2 string, restore_op_name 3 string
MetaInfoDef: tags 4 string*, tensorflow_version 5 string
CollectionDef: kind|node_list 1 NodeList, kind|bytes_list 2 BytesList, kind|int64_list 3 ~Int64List, \
kind|float_list 4 ~FloatList, kind|any_list 5 AnyList
NodeList: value 1 string*
BytesList: value 1 bytes*
Int64List: value 1 int64*
FloatList: value 1 float*
AnyList: value 1 google.protobuf.Any*
Example: features 1 Features
Features: feature 1 map:Feature
Feature: kind|bytes_list 1 BytesList, kind|float_list 2 FloatList, kind|int64_list 3 Int64List
AssetFileDef: tensor_info 1 TensorInfo, filename 2 string
SignatureDef: inputs 1 map:TensorInfo, outputs 2 map:TensorInfo, method_name 3 string, \
defaults 4 map:TensorProto
TensorInfo: encoding|name 1 string, encoding|coo_sparse 4 CooSparse, \
encoding|composite_tensor 5 CompositeTensor, dtype 2 DataType, tensor_shape 3 TensorShapeProto
CooSparse: values_tensor_name 1 string, indices_tensor_name 2 string, dense_shape_tensor_name 3 string
CompositeTensor: type_spec 1 TypeSpecProto, components 2 TensorInfo*
TensorShapeProto: dim 2 Dim*, unknown_rank 3 bool
Dim: size 1 int64, name 2 string
TensorProto: dtype 1 DataType, tensor_shape 2 TensorShapeProto, tensor_content 4 bytes, float_val 5 float*, \
double_val 6 double*, int_val 7 int32*, string_val 8 bytes*, int64_val 10 int64*, bool_val 11 bool*, \
uint32_val 16 uint32*, uint64_val 17 uint64*, half_val 13 int32*
GraphDef: node 1 NodeDef*, library 2 FunctionDefLibrary
NodeDef: name 1 string, op 2 string, input 3 string*, device 4 string, attr 5 map:~AttrValue
FunctionDefLibrary: function 1 FunctionDef*, gradient 2 ~GradientDef*, \
registered_gradients 3 ~RegisteredGradient*
GradientDef: function_name 1 string, gradient_func 2 string
RegisteredGradient: gradient_func 1 string, registered_op_type 2 string
FunctionDef: signature 1 OpDef, node_def 3 NodeDef*, ret 4 map:string, attr 5 map:~AttrValue
OpDef: name 1 string, input_arg 2 ~ArgDef*, output_arg 3 ~ArgDef*
ArgDef: name 1 string, type 3 DataType, number_attr 5 string, type_list_attr 6 string
AttrValue: value|s 2 bytes, value|i 3 int64, value|f 4 float, value|b 5 bool, value|type 6 DataType, \
value|shape 7 ~TensorShapeProto, value|tensor 8 ~TensorProto, value|placeholder 9 string, \
value|func 10 NameAttrList, value|list 1 ListValue
ListValue: func 9 NameAttrList*
NameAttrList: name 1 string, attr 2 map:~AttrValue
SavedObjectGraph: nodes 1 SavedObject*, concrete_functions 2 map:~SavedConcreteFunction
SavedObject: children 1 ObjectReference*, slot_variables 3 SlotVariableReference*, \
saveable_objects 11 map:SaveableObject, \
kind|user_object 4 SavedUserObject, kind|asset 5 SavedAsset, kind|function 6 SavedFunction, \
kind|variable 7 SavedVariable, kind|bare_concrete_function 8 SavedBareConcreteFunction, \
kind|constant 9 SavedConstant, kind|resource 10 SavedResource, kind|captured_tensor 12 CapturedTensor, \
registered_name 13 string
SaveableObject: save_function 2 int32, restore_function 3 int32
ObjectReference: node_id 1 int32, local_name 2 string
SlotVariableReference: original_variable_node_id 1 int32, slot_name 2 string, slot_variable_node_id 3 int32
SavedUserObject: identifier 1 string
SavedAsset: asset_file_def_index 1 int32
SavedFunction: concrete_functions 1 string*, function_spec 2 ~FunctionSpec
SavedVariable: dtype 1 DataType, shape 2 TensorShapeProto, trainable 3 bool, name 6 string
SavedBareConcreteFunction: concrete_function_name 1 string, argument_keywords 2 string*, \
allowed_positional_arguments 3 int64, function_spec 4 ~FunctionSpec
SavedConstant: operation 1 string
SavedResource: device 1 string
CapturedTensor: name 1 string, concrete_function 2 string
SavedConcreteFunction: bound_inputs 2 int32*, canonicalized_input_signature 3 StructuredValue, \
output_signature 4 StructuredValue
FunctionSpec: fullargspec 1 StructuredValue, is_method 2 bool, input_signature 5 StructuredValue
StructuredValue: kind|none_value 1 NoneValue, kind|float64_value 11 double, kind|int64_value 12 sint64, \
kind|string_value 13 string, kind|bool_value 14 bool, kind|tensor_shape_value 31 TensorShapeProto, \
kind|tensor_dtype_value 32 DataType, kind|tensor_spec_value 33 TensorSpecProto, \
kind|type_spec_value 34 TypeSpecProto, kind|bounded_tensor_spec_value 35 TensorSpecProto, \
kind|list_value 51 ListOfValues, kind|tuple_value 52 ListOfValues, kind|dict_value 53 DictValue, \
kind|named_tuple_value 54 NamedTupleValue, kind|tensor_value 55 TensorProto, kind|numpy_value 56 TensorProto
NoneValue:
TensorSpecProto: name 1 string, shape 2 TensorShapeProto, dtype 3 DataType
TypeSpecProto: type_spec_class 1 TypeSpecClass, type_state 2 StructuredValue, type_spec_class_name 3 string
ListOfValues: values 1 StructuredValue*
DictValue: fields 1 map:StructuredValue
NamedTupleValue: name 1 string, values 2 PairValue*
PairValue: key 1 string, value 2 StructuredValue
FingerprintDef: saved_model_checksum 1 uint64, graph_def_program_hash 2 uint64, signature_def_hash 3 uint64, \
saved_object_graph_hash 4 uint64, checkpoint_hash 5 uint64, version 6 VersionDef, uuid 7 string
VersionDef: producer 1 int32
VariableDef: variable_name 1 string, initializer_name 2 string, \
save_slice_info_def 4 SaveSliceInfoDef, is_resource 5 bool, trainable 7 bool
SaveSliceInfoDef: full_name 1 string, full_shape 2 int64*
TrackableObjectGraph: nodes 1 TrackableObject*
TrackableObject: children 1 ObjectReference*, attributes 2 SerializedTensor*
SerializedTensor: name 1 string, full_name 2 string, checkpoint_key 3 string
GraphDefEntries: node 1 NodeDefEntries*, library 2 bytes, version 3 int64, versions 4 bytes, \
debug_info 5 bytes
NodeDefEntries: name 1 string, op 2 string, input 3 string*, device 4 string, attr 5 Entry*, \
debug_info 6 bytes, full_type 7 bytes
FunctionDefLibraryEntries: function 1 FunctionDefEntries*, gradient 2 bytes*, registered_gradients 3 bytes*
FunctionDefEntries: signature 1 SignatureName, node_def 3 NodeDefEntries*, ret 4 TextEntry*, attr 5 Entry*, \
control_ret 6 bytes*, arg_attr 7 bytes*, resource_ids 8 bytes*
SignatureName: name 1 string, input_arg 2 bytes*, output_arg 3 bytes*, attr 4 bytes*, summary 5 bytes, \
description 6 bytes, is_stateful 17 bool, control_output 20 bytes*
AttrValueEntries: value|tensor 8 bytes, value|func 10 NameAttrListEntries, value|list 1 ListValueEntries
ListValueEntries: func 9 NameAttrListEntries*
NameAttrListEntries: name 1 string, attr 2 Entry*
SavedObjectGraphEntries: nodes 1 SavedObjectEntries*, concrete_functions 2 Entry*
SavedObjectEntries: kind|function 6 SavedFunctionEntries, kind|bare_concrete_function 8 SavedBareEntries
SavedFunctionEntries: has_function_spec|function_spec 2 bytes
SavedBareEntries: has_function_spec|function_spec 4 bytes
Entry: has_key|key 1 string, has_value|value 2 bytes
TextEntry: has_key|key 1 string, has_value|value 2 string
"""
_TYPE_SPEC_CLASSES = {
    "UNKNOWN": 0,
    "SPARSE_TENSOR_SPEC": 1,
    "INDEXED_SLICES_SPEC": 2,
    "RAGGED_TENSOR_SPEC": 3,
    "TENSOR_ARRAY_SPEC": 4,
    "DATA_DATASET_SPEC": 5,
    "DATA_ITERATOR_SPEC": 6,
    "OPTIONAL_SPEC": 7,
    "PER_REPLICA_SPEC": 8,
    "VARIABLE_SPEC": 9,
    "ROW_PARTITION_SPEC": 10,
    "REGISTERED_TYPE_SPEC": 12,
    "EXTENSION_TYPE_SPEC": 13,
}
_ENUMS = {"DataType": DTYPE_ENUM, "TypeSpecClass": _TYPE_SPEC_CLASSES}
_PACKAGE = "tensorflow"
_UNCOUNTED_BYTES = 4 << 20
_MAX_MESSAGES = 300_000
_MAX_DEPTH = 100  # as protobuf itself has it


def parse(message: str, data: Bytes) -> Any:
    """The message of that name in `data`.

    Raises BrokenModelError if it isn't one, or would fill the memory.
    """
    if len(data) > _UNCOUNTED_BYTES:
        require_few_messages(message, data)
    return parse_uncounted(message, data)


def parse_uncounted(message: str, data: Bytes, *, is_lean: bool = True) -> Any:
    """As `parse`, of data whose messages have been counted; without `is_lean`, it leaves nothing as bytes."""
    message_class = _lean_class(message) if is_lean else _message_class(message, is_lean=False)
    try:
        return message_class.FromString(data if type(data) is bytes else bytes(data))
    except _errors() as error:  # Looked up when there is one: this function is called a million times.
        raise BrokenModelError(f"Cannot read a {message}: it is corrupt") from error


@cache
def _lean_class(name: str) -> Any:
    return _message_class(name, is_lean=True)


@cache
def _errors() -> tuple[type[Exception], ...]:
    from google.protobuf.message import DecodeError

    return DecodeError, RecursionError, ValueError


def require_few_messages(message: str, data: Bytes, *, is_lean: bool = True) -> None:
    """Raises BrokenModelError if parsing `data` would take a hundred times its size in memory.

    An empty message has two bytes in the file and fifty in memory, and so has a text in a list. Small data
    is not checked.
    """
    if len(data) > _UNCOUNTED_BYTES:
        descriptor = _message_class(message, is_lean=is_lean).DESCRIPTOR
        budget = _Budget(_MAX_MESSAGES)
        _count(data, 0, len(data), descriptor, budget, 0)


class _Budget:
    def __init__(self, messages: int) -> None:
        self.messages = messages


def _count(data: Bytes, start: int, end: int, descriptor: Any, budget: _Budget, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise BrokenModelError("its messages are nested too deeply")
    counted = _counted_fields(descriptor)
    for field in scan(data, start, end, max_fields=2 * _MAX_MESSAGES):
        if field.wire_type == LENGTH_DELIMITED and field.number in counted:
            budget.messages -= 1
            if budget.messages < 0:
                raise ModelLimitError(f"it holds more than {_MAX_MESSAGES} messages")
            inner = counted[field.number]
            if inner is not None:
                _count(data, field.start, field.end, inner, budget, depth + 1)


@cache
def _counted_fields(descriptor: Any) -> dict[int, Any]:
    """The types of a message's fields that are messages, by number; None for lists of texts."""
    inner = {field.number: field.message_type for field in descriptor.fields}
    lists = {field.number for field in descriptor.fields if _is_list(field) and field.type in _TEXTS}
    return {number: kind for number, kind in inner.items() if kind is not None or number in lists}


def _is_list(field: Any) -> bool:
    # Newer releases warn of the label, which older ones have alone.
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == _REPEATED)


def from_text(message: str, text: str) -> bytes:
    """The binary form of a message in text form, without fields that the schema doesn't have.

    Raises BrokenModelError for an invalid one.
    """
    from google.protobuf import text_format

    parsed = _message_class(message, is_lean=False)()
    try:
        text_format.Parse(text, parsed, allow_unknown_field=True, descriptor_pool=_pool(is_lean=False))
    except (text_format.ParseError, RecursionError, ValueError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else "nested too deeply"
        raise BrokenModelError(f"Cannot read the text: {reason}") from error
    return bytes(parsed.SerializeToString())


# What protobuf imports for nothing where it has its extension: messages in pure Python, with the text format,
# 13 ms; and the calendar, with the locale, which messages of times use, 1 ms.
_PURE_PYTHON, _CALENDAR = "google.protobuf.internal.python_message", "calendar"


class _Deferred(ModuleType):
    """Within it, importing the module of that name gives this one, which loads the other when it is used."""

    def __enter__(self) -> None:
        sys.modules.setdefault(self.__name__, self)

    def __exit__(self, *_: object) -> None:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

    def __getattr__(self, name: str) -> Any:
        self.__exit__()
        return getattr(import_module(self.__name__), name)


@cache
def _message_class(name: str, *, is_lean: bool) -> Any:
    pool = _pool(is_lean=is_lean)
    with _Deferred(_PURE_PYTHON), _Deferred(_CALENDAR):
        from google.protobuf.message_factory import GetMessageClass

        return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@cache
def _pool(*, is_lean: bool) -> Any:
    with _Deferred(_PURE_PYTHON):
        from google.protobuf.descriptor_pool import DescriptorPool

    pool = DescriptorPool()
    for file in (_any_file(is_lean), _tensorflow_file(is_lean)):
        pool.AddSerializedFile(file)
    return pool


def is_slow() -> bool:
    """Whether protobuf runs in pure Python, without its extension or by choice, which is 70 times slower."""
    return type(_pool(is_lean=True)).__module__ == "google.protobuf.descriptor_pool"


# Field numbers and values of google/protobuf/descriptor.proto.
_OPTIONAL, _REPEATED = 1, 3
_MESSAGE, _ENUM = 11, 14
_TEXTS = (9, 12)  # string, bytes
_SCALARS = {
    "double": 1,
    "float": 2,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "uint32": 13,
    "sint64": 18,
}


def _any_file(is_lean: bool) -> bytes:
    """google.protobuf.Any: its real name lets the text format expand it."""
    message = _message("Any", "google.protobuf", "type_url 1 string, value 2 bytes", is_lean)
    return _file("google/protobuf/any.proto", "google.protobuf", (), [(4, message)])


def _tensorflow_file(is_lean: bool) -> bytes:
    lines = (line.partition(":") for line in _MESSAGES.strip().splitlines())
    messages = [(4, _message(name, _PACKAGE, fields, is_lean)) for name, _, fields in lines]
    enums = [(5, _enum(name, values)) for name, values in _ENUMS.items()]
    return _file("tensorflow/hubcli.proto", _PACKAGE, ("google/protobuf/any.proto",), messages + enums)


def _file(name: str, package: str, dependencies: tuple[str, ...], parts: list[tuple[int, bytes]]) -> bytes:
    head = encode_field(1, name) + encode_field(2, package)
    head += b"".join(encode_field(3, dependency) for dependency in dependencies)
    return head + b"".join(encode_field(number, part) for number, part in parts) + encode_field(12, "proto3")


def _enum(name: str, values: dict[str, int]) -> bytes:
    pairs = (encode_field(1, label) + encode_field(2, number) for label, number in values.items())
    return encode_field(1, name) + b"".join(encode_field(2, pair) for pair in pairs)


def _message(name: str, package: str, fields: str, is_lean: bool) -> bytes:
    encoded, oneofs = encode_field(1, name), list[str]()
    for text in filter(None, map(str.strip, fields.split(","))):
        label, number, kind = text.split()
        oneof, _, label = label.rpartition("|")
        repeats = kind.endswith("*") or kind.startswith("map:")
        kind = kind.removesuffix("*")
        if kind.startswith("map:"):
            entry = "".join(part.capitalize() for part in label.split("_")) + "Entry"
            encoded += encode_field(3, _map_entry(entry, kind[4:], is_lean))
            kind = f"{package}.{name}.{entry}"
        field = _field(label, int(number), kind, is_lean, repeats=repeats)
        if oneof:
            if oneof not in oneofs:
                oneofs.append(oneof)
            field += encode_field(9, oneofs.index(oneof))
        encoded += encode_field(2, field)
    return encoded + b"".join(encode_field(8, encode_field(1, oneof)) for oneof in oneofs)


def _map_entry(name: str, kind: str, is_lean: bool) -> bytes:
    """The message that protobuf makes of a map's pairs."""
    pair = (_field("key", 1, "string", is_lean), _field("value", 2, kind, is_lean))
    is_map_entry = encode_field(7, encode_field(7, 1))
    return encode_field(1, name) + b"".join(encode_field(2, field) for field in pair) + is_map_entry


def _field(name: str, number: int, kind: str, is_lean: bool, *, repeats: bool = False) -> bytes:
    if kind.startswith("~"):
        kind = "bytes" if is_lean else kind[1:]
    return encode_field(1, name) + encode_field(3, number) + _type_of(kind, repeats)


@cache
def _type_of(kind: str, repeats: bool) -> bytes:
    """The part of a field's descriptor that most have in common with others."""
    label = encode_field(4, _REPEATED if repeats else _OPTIONAL)
    if kind in _SCALARS:
        return label + encode_field(5, _SCALARS[kind])
    full_name = "." + (kind if "." in kind else f"{_PACKAGE}.{kind}")
    return label + encode_field(5, _ENUM if kind in _ENUMS else _MESSAGE) + encode_field(6, full_name)
