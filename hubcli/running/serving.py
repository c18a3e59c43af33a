"""TensorFlow Serving's predict requests: what works with `curl` on Serving works here, and the other way.

Source: https://www.tensorflow.org/tfx/serving/api_rest#predict_api.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hubcli.errors import InputError
from hubcli.running.endpoints import Endpoint
from hubcli.running.inputs import Columns, InputReader
from hubcli.running.json_text import has_rows, port_rows, port_text
from hubcli.running.session import OutputBatch

__all__ = ["PredictRequest", "answer_text"]

_KEYS = {"instances", "inputs", "signature_name"}


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
                f"The request must have instances or inputs{', not both' if given else ''}",
                hint='Use {"instances": [...]} or {"inputs": ...}.',
            )
        signature = document.get("signature_name")
        if signature is not None and not isinstance(signature, str):
            raise InputError("signature_name must be a string")
        body = document[given[0]]
        is_by_rows = given == ["instances"]
        if is_by_rows and (not isinstance(body, list) or not body):
            raise InputError("instances must be a list with at least one row")
        return cls(signature or None, is_by_rows, body)

    def columns(self, endpoint: Endpoint) -> Columns:
        """The tensors of the endpoint's inputs. Raises InputError."""
        reader = InputReader(endpoint)
        return reader.of_values({name: [value] for name, value in self._values(endpoint).items()})

    def _values(self, endpoint: Endpoint) -> Mapping[str, Any]:
        names = [port.name for port in endpoint.inputs]
        if not self.is_by_rows:
            is_named = isinstance(self.body, dict) and self.body.keys() != {"b64"}
            if is_named:
                return dict(self.body)
            if len(names) != 1:
                raise InputError(f"inputs must be an object with a tensor for each of {', '.join(names)}")
            return {names[0]: self.body}
        return self._of_rows(names)

    def _of_rows(self, names: Sequence[str]) -> Mapping[str, Any]:
        columns: dict[str, list[Any]] = {}
        for number, row in enumerate(self.body):
            is_named = isinstance(row, dict) and row.keys() != {"b64"}
            if not is_named and len(names) != 1:
                raise InputError(
                    f"instances[{number}] must be an object with a value for each of {', '.join(names)}"
                )
            values = row if is_named else {names[0]: row}
            if number and values.keys() != columns.keys():
                raise InputError(f"instances[{number}] has other inputs than instances[0]")
            for name, value in values.items():
                columns.setdefault(name, []).append(value)
        return columns


def answer_text(request: PredictRequest, endpoint: Endpoint, batch: OutputBatch) -> str:
    """The answer's JSON: `predictions` by rows, `outputs` by columns; names where there are several outputs.

    Non-finite numbers are bare, and outputs whose names end in `_bytes` are in base64, as Serving has them.
    Raises InputError where rows are asked for, and an output has none.
    """
    ports = endpoint.outputs
    names = [json.dumps(port.name) for port in ports]
    if not request.is_by_rows:
        texts = [port_text(port, own, is_bare=True) for port, own in zip(ports, batch.parts, strict=True)]
        if len(ports) == 1:
            return f'{{"outputs": {texts[0]}}}'
        return f'{{"outputs": {_object(names, texts)}}}'
    if not has_rows(endpoint, batch):
        raise InputError("An output has no row for each instance", hint="Use inputs instead of instances.")
    columns = [port_rows(port, own, is_bare=True) for port, own in zip(ports, batch.parts, strict=True)]
    rows = columns[0] if len(ports) == 1 else [_object(names, row) for row in zip(*columns, strict=True)]
    return f'{{"predictions": [{", ".join(rows)}]}}'


def _object(names: Sequence[str], texts: Sequence[str]) -> str:
    return "{" + ", ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True)) + "}"
