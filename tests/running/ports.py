"""Endpoints for tests, made without a model."""

from __future__ import annotations

from hubcli.formats.tensor_layout import DTYPE_ENUM, DType
from hubcli.running.endpoints import Endpoint, Port
from hubcli.savedmodel.types import Shape
from hubcli.tf.run_protocol import Tensor

NUMBERS = {DType.of(number).name: number for number in DTYPE_ENUM.values() if 0 < number < 100}


def dtype_named(name: str) -> DType:
    return DType.of(NUMBERS[name])


def port(name: str, dtype: str = "float32", shape: Shape = (None, 2), default: Tensor | None = None) -> Port:
    return Port(name, dtype_named(dtype), shape, parts=(f"{name}:0",), default=default)


def signature(*inputs: Port, outputs: tuple[Port, ...] = ()) -> Endpoint:
    return Endpoint("signature", "serving_default", inputs, outputs or (port("y"),))
