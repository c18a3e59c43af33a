"""What of a model can be run: a signature or a traced function, with the tensors that go in and come out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from hubcli.errors import InputError, UsageError, did_you_mean
from hubcli.formats.tensor_layout import DType
from hubcli.savedmodel.functions import Signature, SignatureTensor
from hubcli.savedmodel.types import Shape, TypeSpec, element_count, shape_of, shape_text, type_spec
from hubcli.tf.run_protocol import STRING, Tensor

__all__ = ["DEFAULT_SIGNATURES", "Binding", "Endpoint", "Port", "choose_signature", "signature_endpoint"]

DEFAULT_SIGNATURES = ("serving_default", "default")  # Of TensorFlow 2 and Serving; of TF1 Hub.
_COMPOSITE_PARTS = {"RaggedTensorSpec": "ragged", "SparseTensorSpec": "sparse"}
_MAX_DEFAULT_ELEMENTS = 1 << 20


class Port(NamedTuple):
    """An input or output by its name.

    `kind` is `dense`, `ragged`, `sparse` or the class of a composite that can't be given. `parts` are the
    names of its tensors in the graph: one of a dense port, values and row splits of a ragged one, indices,
    values and shape of a sparse one; empty for a function, whose tensors have places alone. `part_types`
    are their types where they are more than one. `default` is what an input is where it is left out.
    """

    name: str
    dtype: DType
    shape: Shape
    kind: str = "dense"
    parts: tuple[str, ...] = ()
    part_types: tuple[int, ...] = ()
    default: Tensor | None = None

    def __str__(self) -> str:
        kind = "" if self.kind == "dense" else f"{self.kind} "
        return f"{self.name}: {kind}{self.dtype.name}{shape_text(self.shape)}"

    @property
    def part_count(self) -> int:
        """How many tensors it is."""
        return max(1, len(self.part_types), len(self.parts))

    @property
    def has_batch(self) -> bool:
        """Whether its first dimension may have any size: rows may be cut and joined there."""
        return self.shape is None or (bool(self.shape) and self.shape[0] is None)


class Binding(NamedTuple):
    """How the C API calls a function: its name in the library, the graph's tensors that it captures, types.

    `place` is that among the function's traces, by which Python finds it.
    `obstacle` says why that can't be, and only Python can call it; "" if nothing is in the way.
    """

    function: str
    captures: tuple[str, ...]
    input_types: tuple[int, ...]
    output_types: tuple[int, ...]
    obstacle: str = ""
    place: int = 0


class Endpoint(NamedTuple):
    """A signature or one trace of a function. `call` is its literal arguments, by name, for a function.

    `method` is what a signature is for, such as `tensorflow/serving/predict`.
    """

    kind: str
    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    call: tuple[tuple[str, str], ...] = ()
    method: str = ""
    binding: Binding | None = None

    @property
    def title(self) -> str:
        """What it is called, such as `signature serving_default` or `function __call__(training=False)`."""
        arguments = ", ".join(f"{name}={value}" for name, value in self.call)
        return f"{self.kind} {self.name}" + (f"({arguments})" if self.kind == "function" else "")

    @property
    def has_batch(self) -> bool:
        """Whether rows can be cut into batches: each input but scalars has a first dimension of any size."""
        with_rows = [port for port in self.inputs if port.shape != ()]
        return bool(with_rows) and all(port.has_batch and port.kind == "dense" for port in with_rows)

    def parts_of_outputs(self, tensors: Sequence[Any]) -> Iterator[tuple[Port, list[Any]]]:
        """Each output with its own of the tensors, which are those of all outputs in their order."""
        rest = iter(tensors)
        for port in self.outputs:
            yield port, list(islice(rest, port.part_count))

    def port(self, name: str) -> Port:
        """The input of that name. Raises InputError, which lists those that there are."""
        for port in self.inputs:
            if port.name == name:
                return port
        names = [port.name for port in self.inputs]
        raise InputError(
            f"The {self.title} has no input '{name}'{did_you_mean(name, names)}",
            hint=f"Its inputs: {described(self.inputs)}",
        )


def described(ports: tuple[Port, ...]) -> str:
    """The ports in one line."""
    return ", ".join(map(str, ports)) or "none"


def choose_signature(signatures: tuple[Signature, ...], name: str | None, target: str) -> Signature | None:
    """The signature of that name, or the default one if no name is given; None if there is none.

    Raises UsageError for an unknown name, and where several could be meant.
    """
    by_name = {signature.name: signature for signature in signatures}
    listed = "; ".join(_line(signature) for signature in signatures) or "none"
    if name is not None:
        if name in by_name:
            return by_name[name]
        raise UsageError(
            f"{target} has no signature '{name}'{did_you_mean(name, list(by_name))}",
            hint=f"Its signatures: {listed}",
        )
    for default in DEFAULT_SIGNATURES:
        if default in by_name:
            return by_name[default]
    if len(signatures) > 1:
        raise UsageError(
            f"{target} has {len(signatures)} signatures, and no default",
            hint=f"Choose one with --signature NAME: {listed}",
        )
    return signatures[0] if signatures else None


def _line(signature: Signature) -> str:
    inputs = ", ".join(
        f"{tensor.name}: {tensor.dtype}{shape_text(tensor.shape)}" for tensor in signature.inputs
    )
    return f"{signature.name}({inputs})"


def signature_endpoint(signature: Signature, message: Any, placeholders: Mapping[str, int]) -> Endpoint:
    """The endpoint of a signature, read as `message`, its SignatureDef.

    `placeholders` are the types of the graph's placeholders by their names, where they are known: programs
    of TensorFlow 1 wrote signatures by hand, and some name a type that the graph doesn't take.
    """
    inputs = tuple(
        _of_placeholder(
            _port(tensor, message.inputs[tensor.name], message.defaults.get(tensor.name)), placeholders
        )
        for tensor in signature.inputs
    )
    outputs = tuple(_port(tensor, message.outputs[tensor.name], None) for tensor in signature.outputs)
    return Endpoint("signature", signature.name, inputs, outputs, method=signature.method)


def _of_placeholder(port: Port, placeholders: Mapping[str, int]) -> Port:
    """The port with the type of the placeholder that it feeds."""
    number = placeholders.get(port.parts[0].partition(":")[0]) if port.kind == "dense" else None
    return port if number is None else port._replace(dtype=DType.of(number))


def _port(tensor: SignatureTensor, message: Any, default: bytes | None) -> Port:
    number = int(message.dtype)
    # A shape that was left out is unknown; that of a scalar is there, without dimensions.
    shape = tensor.shape if message.HasField("tensor_shape") else None
    port = Port(tensor.name, DType.of(number), shape, parts=(tensor.tensor or "",))
    if tensor.kind == "sparse":
        # Signatures name the values first; everywhere else the indices come first.
        values, indices, dense_shape = tensor.components
        return port._replace(
            kind="sparse", parts=(indices, values, dense_shape), part_types=(_INT64, number, _INT64)
        )
    if tensor.kind == "composite":
        spec = type_spec(message.composite_tensor.type_spec)
        types = tuple(int(part.dtype) for part in message.composite_tensor.components)
        kind = _COMPOSITE_PARTS.get(spec.class_name, spec.class_name)
        dtype = DType.of(types[1 if kind == "sparse" else 0]) if types else port.dtype
        return port._replace(
            kind=kind, parts=tensor.components, part_types=types, dtype=dtype, shape=spec.shape
        )
    return port._replace(default=None if default is None else tensor_of_proto(default))


_INT64 = 9


def composite_port(name: str, spec: TypeSpec, types: tuple[int, ...]) -> Port:
    """The port of a composite argument or result, given the types of its tensors."""
    kind = _COMPOSITE_PARTS.get(spec.class_name, spec.class_name)
    place = 1 if kind == "sparse" else 0
    dtype = DType.of(types[place]) if len(types) > place else DType(0, spec.dtype or "unknown")
    return Port(name, dtype, spec.shape, kind=kind, part_types=types)


# TensorProto's fields of values by the type's number, with the way to write one in memory.
_VALUE_FIELDS = {
    1: ("float_val", "f"), 2: ("double_val", "d"), 3: ("int_val", "i"), 4: ("int_val", "B"),
    5: ("int_val", "h"), 6: ("int_val", "b"), 9: ("int64_val", "q"), 10: ("bool_val", "?"),
    14: ("half_val", "H"), 17: ("int_val", "H"), 19: ("half_val", "H"), 22: ("uint32_val", "I"),
    23: ("uint64_val", "Q"),
}  # fmt: skip


def tensor_of_proto(message: Any) -> Tensor | None:
    """The values in a TensorProto, the last one repeated as often as it takes; None if it is too odd.

    Source: tensorflow/core/framework/tensor.proto.
    """
    import struct

    number, shape = int(message.dtype), shape_of(message.tensor_shape)
    count = element_count(shape)
    if shape is None or count is None or count > _MAX_DEFAULT_ELEMENTS:
        return None
    sizes = tuple(size or 0 for size in shape)
    if number == STRING:
        texts = list(message.string_val) or [b""]
        return Tensor(number, sizes, (texts + texts[-1:] * count)[:count])
    if message.tensor_content:
        size = DType.of(number).item_bytes or 0
        is_whole = len(message.tensor_content) == count * size
        return Tensor(number, sizes, bytes(message.tensor_content)) if is_whole else None
    if number not in _VALUE_FIELDS:
        return None
    field, form = _VALUE_FIELDS[number]
    values = list(getattr(message, field)) or [0]
    values = (values + values[-1:] * count)[:count]
    try:
        return Tensor(number, sizes, struct.pack(f"<{count}{form}", *values))
    except struct.error:
        return None
