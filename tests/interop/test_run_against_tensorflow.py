"""TensorFlow is the judge of what `hubcli run` gives: of every model of the zoo and of the corpus.

Each signature of each MetaGraph, and each trace of the root's functions, gets the same inputs through the C
library and through `tf.saved_model.load`, or a session of TensorFlow 1 where TensorFlow 2 does not load the
graph. What gives something else when it is called again is only run.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hubcli.errors import HubcliError, TensorFlowError
from hubcli.formats.tensor_layout import DType
from hubcli.running.batching import Batch
from hubcli.running.endpoints import Endpoint, Port
from hubcli.running.model import RunnableModel, Selection, read_runnable
from hubcli.running.numbers import decoded, encoded, is_supported
from hubcli.running.session import OutputBatch, Session
from hubcli.running.traces import function_endpoints
from hubcli.savedmodel.functions import read_functions, read_signatures
from hubcli.savedmodel.graph import read_outline
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.tf.run_protocol import STRING, WITHOUT_VALUES, Tensor
from tests.corpus import KINDS, corpus_model
from tests.installed import Late, require_installed
from tests.savedmodel.conftest import Zoo
from tests.savedmodel.zoo import SPECIMENS

require_installed("tensorflow")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

if TYPE_CHECKING:
    Output = Sequence[Tensor]

tf = Late("tensorflow")
# Models that calls change.
STATEFUL = ("serving_counter", "mutable_table", "tfjs_multiple_signatures")
WHOLE = ("int", "uint", "bool", "string", "qint", "quint")
UNABLE = {
    "without_checkpoint": "its values are gone: TensorFlow doesn't load it",
    "tfx_tft_tf2": "TensorFlow 2.21 has no kernel of its op BoostedTreesBucketize",
    "python_op": "it calls Python of the process that made it",
}
# What signatures without shapes take, of those that are wrong for other values.
EXAMPLE = b"\n\x0f\n\r\n\x01x\x12\x08\x12\x06\n\x04" + struct.pack("<f", 1)  # A tf.train.Example with x.
VALUES = {
    ("serving_half_plus_three", "x"): Tensor(1, (2, 1), struct.pack("<2f", 1, 2)),
    **{
        (name, "inputs"): Tensor(STRING, (2,), [EXAMPLE] * 2)
        for name in KINDS
        if name.startswith("serving_half")
    },
}
CALLS = 6  # Dropout of a few elements gives the same twice now and then,
MANY_ELEMENTS, CALLS_OF_MANY = 1000, 1  # and that of many never.
UNKNOWN = 2  # rows, or elements of another dimension that is unknown


@pytest.fixture(params=[*SPECIMENS, *KINDS])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str, zoo: Zoo) -> Path:
    if name in UNABLE:
        pytest.skip(UNABLE[name])
    return zoo(name) if name in SPECIMENS else corpus_model(name)


@pytest.fixture(scope="module")
def by_c() -> Iterator[Session]:
    """The C library, in one process for all models: starting it takes longer than most of them."""
    with Session("c", 120) as session:
        yield session


@pytest.fixture(scope="module")
def in_python() -> Iterator[Session]:
    """TensorFlow's Python package in another process, which starts when a model needs it."""
    with Session("python", 120) as session:
        yield session


def endpoints(path: Path) -> Iterator[tuple[RunnableModel, Endpoint]]:
    """Everything of the model that can be run."""
    with read_outline(path) as outlines:
        for outline in outlines:
            tags = frozenset(outline.rest.meta_info_def.tags)
            objects = None if outline.objects is None else ObjectGraph(outline.objects)
            found: list[Endpoint] = []
            for signature in read_signatures(outline.rest.signature_def):
                if signature.outputs:
                    selection = Selection(signature=signature.name, tag_set=tags)
                    signed = read_runnable(path.name, path, selection, is_scanned=False)
                    yield signed, signed.endpoints[0]
            functions = () if objects is None else read_functions(objects, submodules=False)
            for function in functions:
                for variant in function.variants:
                    alone = function._replace(variants=(variant,))
                    assert objects is not None
                    for endpoint in function_endpoints(alone, {}, outline, objects, path):
                        place = function.variants.index(variant)
                        assert endpoint.binding is not None
                        binding = endpoint.binding._replace(place=place)
                        found.append(endpoint._replace(binding=binding))
            base = base_model(path, tags)
            for endpoint in found:
                yield base._replace(endpoints=(endpoint,)), endpoint


def base_model(path: Path, tags: frozenset[str]) -> RunnableModel:
    """What loading the model takes, whatever is run."""
    with read_outline(path) as outlines:
        for outline in outlines:
            if frozenset(outline.rest.meta_info_def.tags) != tags:
                continue
            for signature in read_signatures(outline.rest.signature_def):
                if signature.outputs:
                    selection = Selection(signature=signature.name, tag_set=tags)
                    return read_runnable(path.name, path, selection, is_scanned=False)
            assert outline.objects is not None
            for function in read_functions(ObjectGraph(outline.objects), submodules=False):
                if function.variants:
                    selection = Selection(function=function.path, tag_set=tags)
                    return read_runnable(path.name, path, selection, is_scanned=False)
    pytest.skip("there is nothing to run")


def example_tensors(port: Port) -> list[Tensor] | None:
    """Values for an input; None for a type that can't be given."""
    if port.kind == "ragged":
        types = port.part_types
        splits = [Tensor(number, (3,), _packed(number, [0, 1, 2])) for number in types[1:]]
        inner = () if port.shape is None else tuple(size or UNKNOWN for size in port.shape[len(types) :])
        return [_values(types[0], (2, *inner)), *splits]
    if port.kind == "sparse":
        rank = 2 if port.shape is None else len(port.shape)
        indices = Tensor(9, (1, rank), _packed(9, [0] * rank))
        sizes = [3] * rank if port.shape is None else [size or 3 for size in port.shape]
        return [indices, _values(port.dtype.number, (1,)), Tensor(9, (rank,), _packed(9, sizes))]
    if port.kind != "dense" or not is_supported(port.dtype):
        return None
    shape = (UNKNOWN,) if port.shape is None else tuple(size or UNKNOWN for size in port.shape)
    return [_values(port.dtype.number, shape)]


def _packed(number: int, values: list[int]) -> bytes:
    return struct.pack(f"<{len(values)}{'q' if number == 9 else 'i'}", *values)


def _values(number: int, shape: tuple[int, ...]) -> Tensor:
    dtype, count = DType.of(number), math.prod(shape)
    if dtype.name == "string":
        values: list[Any] = [("a", "b", "other")[place % 3] for place in range(count)]
    elif dtype.name == "bool":
        values = [place % 2 == 0 for place in range(count)]
    elif dtype.is_floating or dtype.name.startswith("complex"):
        values = [((place * 7) % 11 + 1) / 4 for place in range(count)]
    else:
        values = [place % 2 + (0 if dtype.name.startswith("int2") else 1) for place in range(count)]
    return Tensor(number, shape, encoded(dtype, values))


def by_tensorflow(loaded: Any, endpoint: Endpoint, tensors: list[list[Tensor]]) -> list[Any]:
    """The same call of the loaded object: the flat outputs, in the endpoint's order."""
    values = [[_native(part) for part in parts] for parts in tensors]
    if isinstance(loaded, tf.compat.v1.Session):
        return _by_session(loaded, endpoint, values)
    if endpoint.binding is None:
        function = loaded.signatures[endpoint.name]
        given = {
            port.name: _composite(port, parts) for port, parts in zip(endpoint.inputs, values, strict=True)
        }
        result = function(**given)
        outputs = [result[port.name] for port in endpoint.outputs]
    else:
        function = getattr(loaded, endpoint.name)
        concrete = (
            function
            if hasattr(function, "_call_flat")
            else (function.concrete_functions[endpoint.binding.place])
        )
        outputs = concrete._call_flat(
            [tensor for parts in values for tensor in parts], concrete.captured_inputs
        )
    return [tensor for tensor in tf.nest.flatten(outputs, expand_composites=True) if tensor is not None]


def load_judge(model: Path, tags: Sequence[str]) -> Any:
    """The model as TensorFlow loads it: an object, a session of TensorFlow 1, None where it does not."""
    with contextlib.suppress(Exception):
        return tf.saved_model.load(str(model), tags=list(tags))
    session = tf.compat.v1.Session(graph=tf.Graph())
    with contextlib.suppress(Exception):
        tf.compat.v1.saved_model.load(session, list(tags), str(model))
        return session
    return None


def _by_session(session: Any, endpoint: Endpoint, values: list[list[Any]]) -> list[Any]:
    """The same call of a signature by the names of its tensors in the graph."""
    feeds = {
        name: value.numpy()
        for port, parts in zip(endpoint.inputs, values, strict=True)
        for name, value in zip(port.parts, parts, strict=True)
    }
    arrays = session.run([name for port in endpoint.outputs for name in port.parts], feeds)
    return [tf.constant(array) for array in arrays]


@contextlib.contextmanager
def unchanged_variables(loaded: Any) -> Iterator[None]:
    """Gives the variables of the loaded object their values back: a call for training changes some."""
    variables = []
    if loaded is not None and not isinstance(loaded, tf.compat.v1.Session):
        children = tf.train.TrackableView(loaded).descendants()
        variables = [(child, child.numpy()) for child in children if isinstance(child, tf.Variable)]
    yield
    for variable, value in variables:
        if bytes(variable.numpy()) != bytes(value):
            variable.assign(value)


def _composite(port: Port, parts: list[Any]) -> Any:
    if port.kind == "sparse":
        return tf.SparseTensor(*parts)
    if port.kind == "ragged":
        return tf.RaggedTensor.from_nested_row_splits(parts[0], parts[1:])
    return parts[0]


def _native(tensor: Tensor) -> Any:
    if tensor.dtype == STRING:
        return tf.reshape(tf.constant(tensor.data, tf.string, shape=[len(tensor.data)]), tensor.shape)
    dtype = tf.dtypes.as_dtype(tensor.dtype)
    import numpy as np

    return tf.constant(np.frombuffer(tensor.data, dtype.as_numpy_dtype).reshape(tensor.shape), dtype)


def require_equal(ours: Tensor, theirs: Any, what: str) -> None:
    dtype = DType.of(ours.dtype)
    assert (dtype.name, ours.shape) == (theirs.dtype.name, tuple(theirs.shape)), what
    array = theirs.numpy()
    if ours.dtype == STRING:
        flat = [bytes(array)] if not theirs.shape.rank else [bytes(text) for text in array.reshape(-1)]
        assert ours.data == flat, what
        return
    if not is_supported(dtype) or dtype.name.startswith(WHOLE):
        assert bytes(ours.data) == array.tobytes(), what
        return
    own, judged = decoded(dtype, ours.data), decoded(dtype, array.tobytes())
    largest = max((abs(number) for number in judged if math.isfinite(abs(number))), default=0.0)
    relative = 1e-2 if dtype.name in ("float16", "bfloat16") else 1e-5
    for number, other in zip(own, judged, strict=True):
        is_same = number == other or (number != number and other != other)
        assert is_same or abs(number - other) <= relative * abs(other) + 1e-6 * largest, what


def test_each_signature_and_trace_gives_what_tensorflow_gives(
    name: str, model: Path, by_c: Session, in_python: Session
) -> None:
    compared = 0
    loaded: dict[tuple[str, ...], Any] = {}
    for runnable, endpoint in endpoints(model):
        tensors = [
            [VALUES[name, port.name]] if (name, port.name) in VALUES else example_tensors(port)
            for port in endpoint.inputs
        ]
        if any(parts_of_input is None for parts_of_input in tensors):
            continue
        given = [parts_of_input for parts_of_input in tensors if parts_of_input is not None]
        if runnable.tags not in loaded:
            loaded[runnable.tags] = load_judge(model, runnable.tags)
        judge = loaded[runnable.tags]
        flat = [part for parts in given for part in parts]
        theirs = None
        is_calm = name not in STATEFUL
        # What raises isn't found by TensorFlow, or doesn't take these inputs.
        with unchanged_variables(judge), contextlib.suppress(Exception):
            theirs = None if judge is None else by_tensorflow(judge, endpoint, given)
            calls = CALLS if _element_count(theirs) < MANY_ELEMENTS else CALLS_OF_MANY
            for _ in range(calls if theirs is not None and is_calm else 0):
                is_calm = is_calm and _are_same(theirs, by_tensorflow(judge, endpoint, given))
        is_able = _is_able(by_c, runnable, endpoint)
        for is_once in (False, True) if is_able and endpoint.kind == "signature" else (False,):
            runner = by_c if is_able else in_python
            compared += _compare(runner, runnable, endpoint, flat, theirs, is_calm=is_calm, is_once=is_once)
    assert compared or name not in KINDS or name in STATEFUL, "nothing of it was compared"


def _element_count(outputs: list[Any] | None) -> int:
    return sum(tensor.shape.num_elements() or 0 for tensor in outputs or ())


def _are_same(first: list[Any] | None, second: list[Any] | None) -> bool:
    """Whether two calls gave the same: what draws random numbers doesn't."""
    return [_value_text(tensor) for tensor in first or ()] == [_value_text(tensor) for tensor in second or ()]


def _value_text(tensor: Any) -> str:
    if tensor.dtype.as_datatype_enum in WITHOUT_VALUES:
        return str(tensor.dtype)
    value = tensor.numpy()
    return (
        repr(value.tolist() if value.dtype == object else value.tobytes())
        if hasattr(value, "dtype")
        else repr(value)
    )


def _compare(
    session: Session,
    runnable: RunnableModel,
    endpoint: Endpoint,
    flat: list[Tensor],
    theirs: list[Any] | None,
    *,
    is_calm: bool,
    is_once: bool,
) -> int:
    """Runs it, and holds what it gives against TensorFlow's; whether there was something to compare."""
    try:
        ours = _run(session, runnable, endpoint, flat, is_once=is_once)
    except HubcliError as error:
        has_values = all(output.dtype.as_datatype_enum not in WITHOUT_VALUES for output in theirs or ())
        if theirs is not None and (has_values or "which has no values" not in error.message):
            raise
        return 0
    if theirs is None:
        return 0
    assert len(ours) == len(theirs), endpoint.title
    for place, (own, other) in enumerate(zip(ours, theirs, strict=True)):
        what = f"{endpoint.title}, output {place}, {'once' if is_once else 'optimized'}"
        if is_calm:
            require_equal(own, other, what)
        assert DType.of(own.dtype).name == other.dtype.name, what
    return int(is_calm)


def _is_able(session: Session, runnable: RunnableModel, endpoint: Endpoint) -> bool:
    """Whether the C library can load it; where the reader says that it can't, it is refused."""
    has_obstacle = bool(runnable.obstacle or (endpoint.binding is not None and endpoint.binding.obstacle))
    if not has_obstacle and runnable.path.name != "tf1_assets":
        return True
    with pytest.raises(TensorFlowError, match=None if has_obstacle else "fed more than once"):
        session.open(runnable, endpoint)
    return False


def _run(
    session: Session, runnable: RunnableModel, endpoint: Endpoint, flat: list[Tensor], *, is_once: bool
) -> list[Tensor]:
    session.open(runnable, endpoint, is_once=is_once)
    batches: list[OutputBatch] = list(session.run(endpoint, [Batch(flat, None)]))
    return [part for parts in batches[0].parts for part in parts]


def test_an_op_without_a_kernel_is_named(by_c: Session) -> None:
    runnable, endpoint = next(endpoints(corpus_model("tfx_tft_tf2")))
    flat = [part for port in endpoint.inputs for part in example_tensors(port) or ()]
    with pytest.raises(TensorFlowError, match="has no kernel for the op BoostedTreesBucketize") as caught:
        _run(by_c, runnable, endpoint, flat, is_once=True)
    assert "hubcli inspect" in caught.value.hint
