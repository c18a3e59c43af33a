"""TensorFlow Serving's predict requests: what works with `curl` on Serving works here, and the other way.

Where Serving refuses a request for the same reason, the message has Serving's words: scripts look for them.
Source: https://www.tensorflow.org/tfx/serving/api_rest#predict_api.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hubcli.errors import InputError
from hubcli.running.endpoints import Endpoint, Port
from hubcli.running.inputs import Columns, InputReader
from hubcli.running.json_text import port_rows, port_text, row_count
from hubcli.running.session import OutputBatch
from hubcli.running.values import depth_of_first
from hubcli.savedmodel.types import shape_text
from hubcli.units import plural

__all__ = ["PredictRequest", "answer_text"]

_OBJECT = "but expecting an object as multiple input tensors required"
_OBJECTS = "but expecting list of objects as multiple input tensors required"


class PredictRequest(NamedTuple):
    """A predict body: values by rows (`instances`) or by columns, and the signature, if it names one."""

    signature: str | None
    is_by_rows: bool
    body: Any

    @classmethod
    def parse(cls, document: Any) -> PredictRequest:
        """The request in a JSON document. Raises InputError."""
        if not isinstance(document, dict):
            raise InputError("The request must be an object with instances or inputs")
        given = [key for key in ("instances", "inputs") if key in document]
        if len(given) != 1:
            raise InputError(
                "The request has both 'instances' and 'inputs', and must have one of them"
                if given
                else "Missing 'inputs' or 'instances' key",
                hint='Use {"instances": [...]} or {"inputs": ...}.',
            )
        signature = document.get("signature_name")
        if signature is not None and not isinstance(signature, str):
            raise InputError("'signature_name' key must be a string value")
        body = document[given[0]]
        is_by_rows = given == ["instances"]
        if is_by_rows and (not isinstance(body, list) or not body):
            raise InputError("'instances' must be a list with at least one element")
        return cls(signature or None, is_by_rows, body)

    def columns(self, endpoint: Endpoint) -> Columns:
        """The tensors of the endpoint's inputs. Raises InputError."""
        values = self._values(endpoint)
        for port in endpoint.inputs:
            if port.name in values:
                _require_rank(port, values[port.name])
        return InputReader(endpoint).of_values({name: [value] for name, value in values.items()})

    def _values(self, endpoint: Endpoint) -> Mapping[str, Any]:
        names = [port.name for port in endpoint.inputs]
        if not self.is_by_rows:
            is_named = isinstance(self.body, dict) and self.body.keys() != {"b64"}
            if is_named:
                missing = next((p.name for p in endpoint.inputs if _is_missing(p, self.body)), None)
                if missing is not None:
                    raise InputError(f"Missing named input: {missing} in 'inputs' object")
                return {name: self.body[name] for name in names if name in self.body}
            if len(names) != 1:
                raise InputError(
                    f"inputs is a plain value/list, {_OBJECT}",
                    hint=f"Use an object with {', '.join(names)}.",
                )
            return {names[0]: self.body}
        return self._of_rows(names)

    def _of_rows(self, names: Sequence[str]) -> Mapping[str, Any]:
        columns: dict[str, list[Any]] = {}
        for number, row in enumerate(self.body):
            is_named = isinstance(row, dict) and row.keys() != {"b64"}
            if not is_named and len(names) != 1:
                raise InputError(
                    f"instances is a plain list, {_OBJECTS}",
                    hint=f"Use objects with {', '.join(names)}. It is element {number}.",
                )
            values = row if is_named else {names[0]: row}
            if not values.keys() <= set(names) or (number and values.keys() != columns.keys()):
                raise InputError(
                    f"Failed to process element: {number} of 'instances' list: "
                    f"keys must be equal to: {','.join(sorted(names))}"
                )
            for name, value in values.items():
                columns.setdefault(name, []).append(value)
        return columns


def answer_text(request: PredictRequest, endpoint: Endpoint, batch: OutputBatch) -> str:
    """The answer's JSON: `predictions` by rows, `outputs` by columns; names where there are several outputs.

    Non-finite numbers are bare, and outputs whose names end in `_bytes` are in base64, as Serving has them.
    Raises InputError if the request is by rows, and an output has none.
    """
    ports = endpoint.outputs
    names = [json.dumps(port.name) for port in ports]
    if not request.is_by_rows:
        texts = [port_text(port, own, is_bare=True) for port, own in zip(ports, batch.parts, strict=True)]
        if len(ports) == 1:
            return f'{{"outputs": {texts[0]}}}'
        return f'{{"outputs": {_object(names, texts)}}}'
    _require_same_rows(ports, batch)
    columns = [port_rows(port, own, is_bare=True) for port, own in zip(ports, batch.parts, strict=True)]
    rows = columns[0] if len(ports) == 1 else [_object(names, row) for row in zip(*columns, strict=True)]
    return f'{{"predictions": [{", ".join(rows)}]}}'


def _is_missing(port: Port, body: Mapping[str, Any]) -> bool:
    return port.name not in body and port.default is None


def _require_rank(port: Port, value: Any) -> None:
    """Raises InputError for a value that lacks a dimension: Serving makes no batch of one of it."""
    depth = depth_of_first(value)
    is_dense = port.kind == "dense" and not isinstance(value, dict)
    if is_dense and port.shape is not None and depth == len(port.shape) - 1:
        raise InputError(
            f"{port.name} has the shape {shape_text(port.shape)}, "
            f"and the value has {plural(depth, 'dimension')}",
            hint="Under instances each element is a row; under inputs the value has all rows.",
        )


def _require_same_rows(ports: Sequence[Port], batch: OutputBatch) -> None:
    """Raises InputError unless the outputs have the same number of rows."""
    hint, expected = 'Use columns: {"inputs": ...}.', None
    for port, parts in zip(ports, batch.parts, strict=True):
        rows = row_count(port, parts)
        if rows is None:
            raise InputError(f"Tensor name: {port.name} has no shape information", hint=hint)
        if expected not in (None, rows):
            raise InputError(
                f"Tensor name: {port.name} has inconsistent batch size: {rows} expecting: {expected}",
                hint=hint,
            )
        expected = rows


def _object(names: Sequence[str], texts: Sequence[str]) -> str:
    return "{" + ", ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True)) + "}"
