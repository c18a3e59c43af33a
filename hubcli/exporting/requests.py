"""Values written into an export: warmup requests of TensorFlow Serving, and defaults of signature inputs.

Sources: https://www.tensorflow.org/tfx/serving/saved_model_warmup (file, limit of 1,000 records);
tensorflow_serving/apis/prediction_log.proto, predict.proto and model.proto; the record format is that of
tensorflow/core/lib/io/record_writer.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hubcli.errors import InputError, NotFoundError, UsageError, did_you_mean
from hubcli.formats.checksums import masked_crc32c
from hubcli.formats.protos import parse
from hubcli.formats.wire import encode_field
from hubcli.formats.wire_message import map_entry
from hubcli.running.endpoints import DEFAULT_SIGNATURES, Endpoint, Port, signature_endpoint
from hubcli.running.file_kind import FileKind
from hubcli.running.files import InputFile, open_input, parse_json
from hubcli.running.inputs import InputReader
from hubcli.running.serving import PredictRequest
from hubcli.running.values import cut, tensor_of
from hubcli.savedmodel.edit.editable import EditableModel
from hubcli.savedmodel.functions import read_signatures
from hubcli.tf.run_protocol import STRING, Tensor

__all__ = [
    "MAX_REQUESTS",
    "WarmupRequest",
    "encoded_defaults",
    "encoded_requests",
    "read_requests",
    "request_count",
    "sampled_requests",
    "signatures_of",
]

MAX_REQUESTS = 1000
_SIGNATURE_DEF = 5
# Of PredictionLog, PredictLog, PredictRequest, ModelSpec and TensorProto.
_PREDICT_LOG, _REQUEST, _MODEL_SPEC, _INPUTS, _SIGNATURE_NAME = 6, 1, 1, 2, 3
_DTYPE, _SHAPE, _CONTENT, _STRING_VAL = 1, 2, 4, 8

Inputs = Mapping[str, Sequence[Tensor]]


class WarmupRequest(NamedTuple):
    """One request: the signature, and a dense tensor for each input that it gives a value."""

    signature: str
    inputs: Mapping[str, Tensor]


def signatures_of(model: EditableModel) -> dict[str, Endpoint]:
    """The signatures that give something, by name. Raises BrokenModelError."""
    found: dict[str, Endpoint] = {}
    for graph in model.meta_graphs:
        entries = (encode_field(_SIGNATURE_DEF, entry.encode()) for _, entry in graph.signature_entries())
        definitions = parse("MetaGraphDef", b"".join(entries)).signature_def
        for signature in read_signatures(definitions):
            if signature.outputs:
                found.setdefault(
                    signature.name, signature_endpoint(signature, definitions[signature.name], {})
                )
    return found


def encoded_defaults(
    texts: Sequence[str], signatures: Mapping[str, Endpoint]
) -> dict[tuple[str, str], bytes]:
    """The encoded TensorProtos of texts `NAME.INPUT=JSON`, by signature and input.

    Raises UsageError for a name that isn't there, InputError for a value that doesn't fit.
    """
    found: dict[tuple[str, str], bytes] = {}
    for text in texts:
        target, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"Invalid default '{text}'", hint="Use --add-defaults NAME.INPUT=JSON.")
        endpoint, port = _input_named(target, signatures)
        if port.kind != "dense":
            raise InputError(f"{target} is {port.kind}: only a dense input can have a default")
        if (endpoint.name, port.name) in found:
            raise UsageError(f"--add-defaults {target} is given twice", hint="Remove one of them.")
        try:
            tensor = tensor_of(port, _value(port, value, target))
        except InputError as error:  # Of a run: its hints name other options.
            raise InputError(error.message, hint=f"Use JSON that fits the input {port}.") from error
        found[endpoint.name, port.name] = _tensor_proto(tensor)
    return found


def _input_named(target: str, signatures: Mapping[str, Endpoint]) -> tuple[Endpoint, Port]:
    """The input; both names may hold dots."""
    for endpoint in signatures.values():
        for port in endpoint.inputs:
            if target == f"{endpoint.name}.{port.name}":
                return endpoint, port
    names = [f"{endpoint.name}.{port.name}" for endpoint in signatures.values() for port in endpoint.inputs]
    raise UsageError(
        f"The model has no signature input '{target}'{did_you_mean(target, names)}",
        hint=f"Its inputs: {', '.join(names) or 'none'}",
    )


def _value(port: Port, text: str, target: str) -> Any:
    try:
        return parse_json(text, f"--add-defaults {target}")
    except InputError:
        if port.dtype.name == "string":
            return text
        raise


def _tensor_proto(tensor: Tensor) -> bytes:
    shape = b"".join(encode_field(2, encode_field(1, size)) for size in tensor.shape)
    encoded = encode_field(_DTYPE, tensor.dtype) + encode_field(_SHAPE, shape)
    if tensor.dtype == STRING:
        return encoded + b"".join(encode_field(_STRING_VAL, bytes(text)) for text in tensor.data)
    return encoded + encode_field(_CONTENT, bytes(tensor.data))


def read_requests(path: str, signatures: Mapping[str, Endpoint]) -> list[WarmupRequest]:
    """The requests in a file: bodies of Serving's predict API in JSON or JSON Lines, or arrays of an .npz.

    A line without `instances` and `inputs` is one row. Raises InputError, NotFoundError.
    """
    try:
        file = open_input(path, frozenset(), False)
    except NotFoundError as error:
        raise NotFoundError(
            error.message, hint=f"Specify a file, or a number to {MAX_REQUESTS}: --warmup N"
        ) from error
    try:
        requests: list[WarmupRequest] = []
        for where, request in _requests_in(file, signatures):
            if len(requests) == MAX_REQUESTS:
                raise InputError(
                    f"{file.name} contains more than {MAX_REQUESTS:,} requests, the most that Serving reads",
                    hint="Remove some of them.",
                )
            _require_dense(request, signatures, where)
            requests.append(request)
    finally:
        file.close()
    if not requests:
        raise InputError(f"{file.name} contains no requests")
    return requests


def _requests_in(file: InputFile, signatures: Mapping[str, Endpoint]) -> Iterator[tuple[str, WarmupRequest]]:
    if file.kind is FileKind.NPZ:
        endpoint = _endpoint(None, signatures)
        columns = InputReader(endpoint).of_values({name: [array] for name, array in file.arrays().items()})
        yield file.name, _request(endpoint, columns.tensors)
        return
    if file.kind is FileKind.JSON_LINES:
        documents: Iterator[tuple[str, Any]] = file.json_rows()
    elif file.kind is FileKind.JSON:
        document = file.json()
        bodies = document if isinstance(document, list) else [document]
        documents = ((f"request {number + 1}", body) for number, body in enumerate(bodies))
    else:
        raise InputError(
            f"{file.name} contains {file.kind.value}, not requests",
            hint="Use predict requests of TensorFlow Serving in JSON or JSON Lines, or a .npz file.",
        )
    for where, body in documents:
        try:
            yield f"{file.name}, {where}", _of_body(body, signatures)
        except InputError as error:  # noqa: PERF203 - it names the request
            raise InputError(f"{file.name}, {where}: {error.message}", hint=error.hint) from error


def _of_body(body: Any, signatures: Mapping[str, Endpoint]) -> WarmupRequest:
    if not (isinstance(body, dict) and {"instances", "inputs"} & body.keys()):
        body = {"instances": [body]}
    request = PredictRequest.parse(body)
    endpoint = _endpoint(request.signature, signatures)
    return _request(endpoint, request.columns(endpoint).tensors)


def _endpoint(name: str | None, signatures: Mapping[str, Endpoint]) -> Endpoint:
    """The signature of that name, else the default one, else the only one. Raises InputError."""
    if name is None:
        named = next((name for name in DEFAULT_SIGNATURES if name in signatures), None)
        name = named or (next(iter(signatures)) if len(signatures) == 1 else None)
    if name is not None and name in signatures:
        return signatures[name]
    listed = ", ".join(signatures) or "none"
    if name is None:
        raise InputError(
            "A request names no signature, and none is the default",
            hint=f"Add signature_name to it, one of {listed}.",
        )
    raise InputError(f"The model has no signature '{name}'", hint=f"Its signatures: {listed}")


def _request(endpoint: Endpoint, tensors: Inputs) -> WarmupRequest:
    return WarmupRequest(endpoint.name, {name: own[0] for name, own in tensors.items()})


def _require_dense(request: WarmupRequest, signatures: Mapping[str, Endpoint], where: str) -> None:
    for port in signatures[request.signature].inputs:
        if port.kind != "dense":
            raise InputError(
                f"{where}: {port.name} is {port.kind}, and a request can hold only dense tensors"
            )


def request_count(text: str) -> int | None:
    """The number in `--warmup N`, None for a file. Raises UsageError for one that Serving would not read."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):  # A directory of Serving is a number, too.
        return None
    # The length first: Python refuses to read thousands of digits.
    if len(text) > len(str(MAX_REQUESTS)) or not 1 <= int(text) <= MAX_REQUESTS:
        raise UsageError(f"Invalid number of requests {text[:20]}", hint=f"Use 1 to {MAX_REQUESTS}.")
    return int(text)


def sampled_requests(
    count: int,
    signatures: Mapping[str, Endpoint],
    sample: Callable[[Endpoint], Inputs],
) -> tuple[list[WarmupRequest], list[str]]:
    """That many generated requests, the signatures in turn, and notes on signatures that have none.

    Where inputs have rows, batches of one and of two take turns. Raises InputError if no signature can be
    called with generated values.
    """
    usable: list[tuple[Endpoint, Inputs]] = []
    notes = []
    for endpoint in signatures.values():
        if any(port.kind != "dense" for port in endpoint.inputs):
            notes.append(f"No warmup request for the {endpoint.title}: not all of its inputs are dense")
            continue
        try:
            usable.append((endpoint, sample(endpoint)))
        except InputError as error:
            notes.append(f"No warmup request for the {endpoint.title}: {error.message}")
    if not usable:
        raise InputError(
            "No signature can be called with generated inputs", hint="Specify requests: --warmup FILE"
        )
    requests = []
    for number in range(count):
        endpoint, inputs = usable[number % len(usable)]
        is_cut = endpoint.has_batch and number // len(usable) % 2 == 1
        tensors = {
            port.name: cut(inputs[port.name][0], 0, 1)
            if is_cut and port.shape != ()
            else inputs[port.name][0]
            for port in endpoint.inputs
        }
        requests.append(WarmupRequest(endpoint.name, tensors))
    return requests, notes


def encoded_requests(requests: Sequence[WarmupRequest]) -> bytes:
    """The bytes of `tf_serving_warmup_requests`: a record for each request, its inputs sorted by name."""
    return b"".join(_record(_prediction_log(request)) for request in requests)


def _prediction_log(request: WarmupRequest) -> bytes:
    spec = encode_field(_MODEL_SPEC, encode_field(_SIGNATURE_NAME, request.signature))
    inputs = b"".join(
        encode_field(_INPUTS, map_entry(name, _tensor_proto(tensor)))
        for name, tensor in sorted(request.inputs.items())
    )
    return encode_field(_PREDICT_LOG, encode_field(_REQUEST, spec + inputs))


def _record(data: bytes) -> bytes:
    length = len(data).to_bytes(8, "little")
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    return masked_crc32c(data).to_bytes(4, "little")
