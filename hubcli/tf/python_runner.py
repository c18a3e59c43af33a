"""A model run by TensorFlow's Python package: for what the C API can't run.

It runs in the process of `hubcli.tf.run_server`, and answers what `CApiRunner` answers there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hubcli.tf.importing import import_tensorflow
from hubcli.tf.run_protocol import STRING, WITHOUT_VALUES, Tensor

__all__ = ["PythonRunner", "from_native", "to_native"]


class PythonRunner:
    """Models loaded by `tf.saved_model.load`, each by the `number` that its orders have. Needs TensorFlow."""

    def __init__(self) -> None:
        self._tf = import_tensorflow()
        self.version = str(self._tf.__version__)
        self._models: dict[int, Any] = {}
        self._calls: dict[int, Callable[[list[Any]], Any]] = {}

    def load(self, order: dict[str, Any]) -> list[str]:
        """Loads the model after the modules that register ops of it."""
        import importlib

        self.unload(order)
        for module in order["modules"]:
            importlib.import_module(module)
        self._models[order["number"]] = self._tf.saved_model.load(order["model"], tags=order["tags"])
        return []

    def unload(self, order: dict[str, Any]) -> None:
        """Frees the model, if there is one."""
        self._models.pop(order["number"], None)
        self._calls.pop(order["number"], None)

    def prepare(self, order: dict[str, Any]) -> None:
        """Chooses a signature, or the trace of a function by its name in the library."""
        model = self._models[order["number"]]
        if "signature" in order:
            signature = model.signatures[order["signature"]]
            names, kinds, outputs = order["names"], order["kinds"], order["output_names"]

            def call_signature(values: list[Any]) -> list[Any]:
                result = signature(**dict(zip(names, self._composites(values, kinds), strict=True)))
                return [result[name] for name in outputs]

            self._calls[order["number"]] = call_signature
            return
        function = _trace(model, order["path"], order["place"])
        if function is None:
            raise LookupError(f"the loaded object has no trace {order['function']} at {order['path']}")
        # The concrete function takes its tensors flat: composites are their parts already.
        self._calls[order["number"]] = lambda values: function._call_flat(values, function.captured_inputs)

    def run(self, order: dict[str, Any], tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[float]]:
        """The outputs, and the seconds of each run."""
        import time

        call, values = self._calls[order["number"]], [to_native(tensor) for tensor in tensors]
        seconds, results = list[float](), list[Any]()
        for _ in range(order["repeat"]):
            began = time.perf_counter()
            results = list(self._tf.nest.flatten(call(values), expand_composites=True))
            seconds.append(time.perf_counter() - began)
        return [from_native(result) for result in results], seconds

    def _composites(self, values: list[Any], kinds: list[tuple[str, int]]) -> Iterator[Any]:
        """The argument that each kind makes of its number of tensors."""
        place = 0
        for kind, count in kinds:
            parts = values[place : place + count]
            place += count
            if kind == "ragged":
                yield self._tf.RaggedTensor.from_nested_row_splits(parts[0], parts[1:])
            elif kind == "sparse":
                yield self._tf.SparseTensor(*parts)
            else:
                yield parts[0]

    def decode_image(self, data: bytes, order: dict[str, Any]) -> Tensor:
        """As CApiRunner's."""
        tf = self._tf
        channels, size, scale = order["channels"], order["size"], order["scale"]
        if order["is_webp"]:
            image = tf.io.decode_webp(data, channels=channels)
        else:
            image = tf.io.decode_image(data, channels=channels, expand_animations=False)[tf.newaxis]
        if size is not None:
            image = tf.raw_ops.ResizeBilinear(images=image, size=size, half_pixel_centers=True)
        if scale is not None:
            low, high = scale
            image = tf.cast(image, tf.float32) * ((high - low) / 255) + low
        elif size is not None:
            image = tf.cast(tf.round(image), tf.uint8)
        return from_native(image)

    def decode_wav(self, data: bytes) -> tuple[Tensor, int]:
        """As CApiRunner's."""
        audio, rate = self._tf.audio.decode_wav(data)
        return from_native(audio), int(rate)


def _trace(obj: Any, path: str, place: int) -> Any:
    """The trace in that place of the function at the dotted path from the object, or None.

    Loading renames functions, and keeps their order.
    """
    holder = obj
    *parents, last = path.split(".")
    for part in parents:
        is_item = part.isdecimal() and hasattr(holder, "__getitem__")
        holder = holder[int(part)] if is_item else getattr(holder, part)
    function = getattr(holder, last, None)
    if hasattr(function, "_call_flat"):  # A trace without a function around it.
        return function
    traces = list(getattr(function, "concrete_functions", None) or ())
    return traces[place] if place < len(traces) else None


def to_native(tensor: Tensor) -> Any:
    """The values as a TensorFlow tensor."""
    tf = import_tensorflow()
    if tensor.dtype == STRING:
        return tf.reshape(tf.constant(tensor.data, tf.string, shape=[len(tensor.data)]), tensor.shape)
    dtype = tf.dtypes.as_dtype(tensor.dtype)
    import numpy as np

    array = np.frombuffer(bytes(tensor.data), dtype.as_numpy_dtype).reshape(tensor.shape)
    return tf.constant(array, dtype)


def from_native(value: Any) -> Tensor:
    """The values of a TensorFlow tensor. Raises ValueError for a type that has none."""
    number = value.dtype.as_datatype_enum
    if number in WITHOUT_VALUES:
        raise ValueError(
            f"an output is a {WITHOUT_VALUES[number]}, which has no values outside of TensorFlow"
        )
    array = value.numpy()
    if number == STRING:
        flat = [bytes(text) for text in array.reshape(-1)] if value.shape.rank else [bytes(array)]
        return Tensor(STRING, tuple(value.shape), flat)
    return Tensor(number, tuple(value.shape), array.tobytes())
