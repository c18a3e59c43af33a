"""What is converted, what the options mean, and what stands at the destination when a conversion fails."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hubcli.commands.export import ExportOptions, ExportResult, export
from hubcli.config.settings import Settings
from hubcli.errors import (
    BrokenModelError,
    ConversionError,
    DiskFullError,
    HubcliError,
    OutputError,
    TensorFlowError,
    UnsafeModelError,
    UsageError,
)
from hubcli.exporting import ExportFormat, Quantization, conversion, converter
from hubcli.exporting.conversion import ConversionOptions, origin_of, plan_conversion
from hubcli.exporting.editing import EditOptions
from hubcli.issues import Issue, Severity
from hubcli.progress import ProgressListener
from hubcli.tf.run_process import RunnerError
from hubcli.tf.run_protocol import Tensor
from tests.cases import each_of
from tests.corpus import corpus_model
from tests.models import example_files, write_tree
from tests.savedmodel.targets.recorded import unpack

EXAMPLE = "example://mul/1"
TFLITE, ONNX = ExportFormat.TFLITE, ExportFormat.ONNX
INT8 = Quantization.INT8
FULL = os.strerror(errno.ENOSPC)


@each_of(
    "form, options, message",
    [
        (ONNX, ConversionOptions(quantize=INT8), "--quantize requires a DEST that ends in .tflite"),
        (ONNX, ConversionOptions(select_tf_ops=True), "--select-tf-ops requires a DEST that ends in .tflite"),
        (
            ONNX,
            ConversionOptions(representative=("x.npz",)),
            "--representative requires a DEST that ends in .tflite",
        ),
        (TFLITE, ConversionOptions(opset=17), "--opset requires a DEST that ends in .onnx"),
        (TFLITE, ConversionOptions(representative=("x.npz",)), "--representative requires --quantize int8"),
        (TFLITE, ConversionOptions(opset=0), "--opset requires a DEST that ends in .onnx"),
        (ONNX, ConversionOptions(opset=8), "Invalid opset 8"),
        (ONNX, ConversionOptions(opset=19), "Invalid opset 19"),
        (TFLITE, ConversionOptions(tolerance=-1.0), "Invalid tolerance"),
        (TFLITE, ConversionOptions(tolerance=float("nan")), "Invalid tolerance"),
        (TFLITE, ConversionOptions(tolerance=float("inf")), "Invalid tolerance"),
        (TFLITE, ConversionOptions(timeout_s=0.0), "--timeout is 0 s"),
        (TFLITE, ConversionOptions(timeout_s=1e12), "--timeout is 1e.12 s"),
        (TFLITE, ConversionOptions(compare=False, inputs=("x.npz",)), "--inputs and --no-compare cannot"),
        (TFLITE, ConversionOptions(compare=False, tolerance=0.0), "--tolerance and --no-compare cannot"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    form: ExportFormat, options: ConversionOptions, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        options.require_valid(form)


def test_the_tolerance_is_wider_where_weights_are_rounded() -> None:
    allowed = [ConversionOptions(quantize=kind).largest_error for kind in (None, *Quantization)]
    assert allowed == [1e-4, 0.05, 0.01, 0.1]
    assert ConversionOptions(quantize=INT8, tolerance=0.0).largest_error == 0.0


def planned(name: str, form: ExportFormat, **options: Any) -> conversion.ConversionPlan:
    return plan_conversion(name, corpus_model(name), form, ConversionOptions(**options), unsafe=False)


def test_a_tflite_file_gets_every_signature_the_default_first() -> None:
    plan = planned("tfjs_multiple_signatures", TFLITE)
    assert [endpoint.name for endpoint in plan.endpoints] == ["serving_default", "timestwo"]
    assert plan.left_out == ()


def test_named_signatures_alone_are_converted() -> None:
    plan = planned("tfjs_multiple_signatures", TFLITE, signatures=("timestwo", "timestwo"))
    assert [endpoint.name for endpoint in plan.endpoints] == ["timestwo"]
    assert plan.left_out == ("serving_default",)


def test_an_onnx_file_gets_the_default_signature() -> None:
    plan = planned("tfjs_multiple_signatures", ONNX)
    assert [endpoint.name for endpoint in plan.endpoints] == ["serving_default"]
    assert plan.left_out == ("timestwo",)


def test_an_onnx_file_of_a_model_without_a_default_signature_needs_a_choice() -> None:
    with pytest.raises(UsageError, match="holds one signature, and java_python_model has 5") as caught:
        planned("java_python_model", ONNX)
    assert "--signature NAME: add, get_const" in caught.value.hint
    assert [
        endpoint.name for endpoint in planned("java_python_model", ONNX, signatures=("add",)).endpoints
    ] == ["add"]


def test_a_signature_that_is_not_there_is_an_error_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="no signature 'timestow'. Did you mean 'timestwo'") as caught:
        planned("tfjs_multiple_signatures", TFLITE, signatures=("timestow",))
    assert "serving_default, timestwo" in caught.value.hint


def test_int8_needs_representative_inputs_of_each_signature() -> None:
    options: dict[str, Any] = {"quantize": INT8, "representative": ("a.npz",)}
    with pytest.raises(UsageError, match="representative inputs of the signature timestwo"):
        planned("tfjs_multiple_signatures", TFLITE, **options)
    options["representative"] = ("timestwo=b=c.npz", "a.npz")
    plan = planned("tfjs_multiple_signatures", TFLITE, **options)
    assert plan.representative == {"timestwo": "b=c.npz", "serving_default": "a.npz"}


def test_two_files_for_a_signature_are_refused() -> None:
    with pytest.raises(UsageError, match="--inputs names two files for the signature serving_default"):
        planned("tfjs_multiple_signatures", TFLITE, inputs=("a.npz", "serving_default=b.npz"))


def test_a_model_in_which_the_scan_finds_something_is_not_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Issue.of_part(Severity.HIGH, "writes-files", "WriteFile writes files", "graph")
    monkeypatch.setattr("hubcli.running.model.scan_ops", lambda outline, objects: [finding])
    with pytest.raises(
        UnsafeModelError, match="Refusing to convert .*: the scan found high: WriteFile"
    ) as caught:
        planned("tfjs_multiple_signatures", TFLITE)
    assert "If you trust the author, add --unsafe" in caught.value.hint
    model = corpus_model("tfjs_multiple_signatures")
    assert plan_conversion("m", model, TFLITE, ConversionOptions(), unsafe=True).endpoints


class FakeProcess:
    """A converter whose files give their inputs back; `error` is what it ends with."""

    error: Exception | None = None
    orders: list[dict[str, Any]]

    def __init__(self, runner: str, library: Path | None, timeout_s: float) -> None:
        type(self).orders = [{"runner": runner, "timeout_s": timeout_s}]

    def ask(
        self, order: str, tensors: Sequence[Tensor] = (), *, doing: str, **fields: Any
    ) -> tuple[dict[str, Any], list[Tensor]]:
        self.orders.append({"order": order, **fields})
        if order == "convert":
            Path(fields["destination"]).write_bytes(b"converted")
            if self.error is not None:
                raise self.error
            return {"converter": "a converter"}, []
        if order == "run":
            return {}, list(tensors)
        return {}, []

    def limit(self, timeout_s: float) -> None:
        self.orders.append({"limit_s": timeout_s})

    def close(self) -> str:
        return "what it wrote"


class FakeSession:
    """A SavedModel that gives its inputs back."""

    def __init__(self, runner: str, timeout_s: float, run_timeout_s: float) -> None: ...

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *error: object) -> None: ...

    def open(self, model: Any, endpoint: Any) -> None: ...

    def run(self, endpoint: Any, batches: Any) -> Any:
        from hubcli.running.session import OutputBatch

        return iter(
            [OutputBatch(tuple((tensor,) for tensor in batch.tensors), None, False, ()) for batch in batches]
        )


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> type[FakeProcess]:
    pytest.importorskip("numpy")
    monkeypatch.setattr(converter, "RunProcess", FakeProcess)
    monkeypatch.setattr(conversion, "Session", FakeSession)
    monkeypatch.setattr(conversion, "has_package", lambda name: True)
    monkeypatch.setattr(FakeProcess, "error", None)
    return FakeProcess


def converted(place: Path, settings: Settings, **options: Any) -> ExportResult:
    return export(EXAMPLE, place, settings, ExportOptions(**options))


def test_the_file_is_written_with_its_origin(
    process: type[FakeProcess], settings: Settings, tmp_path: Path
) -> None:
    result = converted(tmp_path / "out" / "mul.tflite", settings)
    assert (tmp_path / "out" / "mul.tflite").read_bytes() == b"converted"
    assert (result.format, result.file_count, result.size_bytes) == (TFLITE, 1, 9)
    assert result.conversion is not None
    assert (result.conversion.converter, result.conversion.largest_error) == ("a converter", 0.0)
    order = next(order for order in process.orders if order.get("order") == "convert")
    origin = json.loads(order["origin"])
    assert origin["source"] == EXAMPLE
    assert len(origin["saved_model_sha256"]) == 64
    assert (origin["signatures"], origin["quantize"]) == (["serving_default"], None)
    assert os.listdir(tmp_path / "out") == ["mul.tflite"]


def test_of_a_directory_the_origin_names_no_folder_above_it(
    process: type[FakeProcess], settings: Settings, tmp_path: Path
) -> None:
    export(EXAMPLE, tmp_path / "secret" / "mul", settings)
    export(str(tmp_path / "secret" / "mul"), tmp_path / "mul.onnx", settings)
    order = next(order for order in process.orders if order.get("order") == "convert")
    assert json.loads(order["origin"])["source"] == "mul"
    assert "secret" not in order["origin"]
    assert (process.orders[0]["runner"], order["opset"]) == ("onnx", 18)


def test_tensors_of_signatures_that_feed_inner_ones_are_given_to_the_converter(
    process: type[FakeProcess], settings: Settings, tmp_path: Path
) -> None:
    for signature in ("serving_default", "tensorflow/serving/regress"):
        model = str(corpus_model("serving_half_plus_three"))
        options = ConversionOptions(signatures=(signature,), compare=False)
        export(model, tmp_path / "m.onnx", settings, ExportOptions(conversion=options, force=True))
        order = next(order for order in process.orders if order.get("order") == "convert")
        if signature == "serving_default":
            (frozen,) = order["frozen"]
            assert frozen == {
                "name": "serving_default",
                "inputs": [{"name": "x", "tensor": "x:0", "type": 1, "shape": None}],
                "outputs": [{"name": "y", "tensor": "y:0"}],
            }
        else:
            assert order["frozen"] == []  # It feeds a placeholder.


@pytest.mark.parametrize("name", ["mul.tar.gz", "mul.keras", "mul.tar.gz, edited"])
def test_an_archive_and_a_keras_file_are_converted_beside_the_destination(
    name: str,
    process: type[FakeProcess],
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    tmp_path: Path,
) -> None:
    """The origin names the file; what was unpacked or made of it doesn't stay."""

    def make(source: Path, place: Path, **options: Any) -> None:
        assert source == tmp_path / "mul.keras"
        write_tree(place, example_files())

    monkeypatch.setattr("hubcli.commands.export.export_keras_model", make)
    source = tmp_path / name.partition(",")[0]
    export(EXAMPLE, tmp_path / "mul.tar.gz", settings)
    (tmp_path / "mul.keras").write_bytes(b"PK\x03\x04")
    renames = {"serving_default": "double"} if "edited" in name else {}
    options = ExportOptions(edits=EditOptions(renames=renames))
    result = export(str(source), tmp_path / "out" / "mul.tflite", settings, options)
    assert result.plan is not None
    assert [endpoint.name for endpoint in result.plan.endpoints] == list(renames.values()) or not renames
    order = next(order for order in process.orders if order.get("order") == "convert")
    assert json.loads(order["origin"])["source"] == source.name
    assert Path(order["model"]).name == ("edited" if renames else "source")
    assert os.listdir(tmp_path / "out") == ["mul.tflite"]


def test_a_handle_is_fetched_and_converted_from_the_cache(
    process: type[FakeProcess], settings: Settings, tmp_path: Path
) -> None:
    result = export(EXAMPLE, tmp_path / "mul.tflite", settings)
    order = next(order for order in process.orders if order.get("order") == "convert")
    assert Path(order["model"]).is_relative_to(settings.cache_root)
    assert json.loads(order["origin"])["source"] == EXAMPLE
    assert result.conversion is not None


def test_a_corrupt_model_is_not_converted(
    process: type[FakeProcess], settings: Settings, tmp_path: Path
) -> None:
    shard = "variables/variables.data-00000-of-00001"
    files = example_files()
    files[shard] = bytes(len(files[shard]))
    source = write_tree(tmp_path / "model", files)
    for dry_run in (False, True):
        with pytest.raises(BrokenModelError, match="checksum mismatch"):
            export(str(source), tmp_path / "mul.tflite", settings, ExportOptions(dry_run=dry_run))
    assert os.listdir(tmp_path) == ["model"]


def test_a_conversion_that_is_not_compared_starts_no_session(
    process: type[FakeProcess], monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    monkeypatch.setattr(conversion, "Session", None)
    result = converted(tmp_path / "mul.tflite", settings, conversion=ConversionOptions(compare=False))
    assert result.conversion is not None
    assert result.conversion.comparisons == ()


def test_an_edited_conversion_loses_no_files_of_its_source(
    process: type[FakeProcess], settings: Settings, tmp_path: Path
) -> None:
    """DEST is one file: a fingerprint, or old requests, would not be in it anyway."""
    files = {**example_files(), "assets.extra/tf_serving_warmup_requests": b"old"}
    source = write_tree(tmp_path / "model", files)
    edits = EditOptions(renames={"serving_default": "double"}, compare=False)
    options = ExportOptions(edits=edits, conversion=ConversionOptions(compare=False))
    result = export(str(source), tmp_path / "mul.tflite", settings, options)
    assert result.edited is not None
    assert (result.edited.losses, result.edited.notes) == ((), ())


def test_a_model_whose_graph_gives_variables_no_value_is_not_converted_to_litert(tmp_path: Path) -> None:
    """LiteRT's converter writes what was in memory; tf2onnx restores them from the objects."""
    model = unpack(tmp_path) / "without_saver"
    with pytest.raises(
        ConversionError, match="cannot be converted to LiteRT: the graph has no saver"
    ) as caught:
        plan_conversion("m", model, TFLITE, ConversionOptions(compare=False), unsafe=False)
    assert ".onnx" in caught.value.hint
    assert plan_conversion("m", model, ONNX, ConversionOptions(), unsafe=False).endpoints


def test_a_model_in_the_text_format_has_an_origin(tmp_path: Path) -> None:
    port = '{ name: "n:0" dtype: DT_FLOAT tensor_shape { } }'
    text = (
        'meta_graphs { meta_info_def { tags: "serve" } graph_def { node { name: "n" op: "Placeholder" } } '
        f'signature_def {{ key: "s" value {{ inputs {{ key: "x" value {port} }} '
        f'outputs {{ key: "y" value {port} }} }} }} }}'
    )
    (tmp_path / "saved_model.pbtxt").write_text(text)
    plan = plan_conversion("m", tmp_path, ONNX, ConversionOptions(), unsafe=False)
    origin = origin_of("m", plan, "1")
    assert origin["saved_model_sha256"] == hashlib.sha256(text.encode()).hexdigest()


NO_OP = "cannot be converted to LiteRT: no op"


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        (RunnerError("no op", kind="NeedsSelectOpsError"), ConversionError, NO_OP, "--select-tf-ops"),
        (RunnerError("no op", kind="UnsupportedOpsError"), ConversionError, NO_OP, "--signature"),
        (RunnerError("no op", kind="ValueError"), ConversionError, NO_OP, "--debug"),
        (TensorFlowError("By SIGSEGV", hint="--runner python"), TensorFlowError, "SIGSEGV", "--debug"),
        (TensorFlowError("Stopped", hint="More: --timeout TIME"), TensorFlowError, "Stopped", "--timeout"),
        (
            RunnerError(f"[Errno 28] {FULL}: 'x'", kind="OSError"),
            DiskFullError,
            "Not enough disk space for",
            "Free some",
        ),
    ],
)
def test_a_conversion_that_fails_leaves_what_was_there(
    process: type[FakeProcess],
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    tmp_path: Path,
    error: HubcliError,
    kind: type[HubcliError],
    message: str,
    hint: str,
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mul.tflite").write_bytes(b"old")
    monkeypatch.setattr(process, "error", error)
    logs: list[str] = []
    with pytest.raises(kind, match=message) as caught:
        converted(tmp_path / "out" / "mul.tflite", settings, force=True, on_log=logs.append)
    assert hint in caught.value.hint
    assert logs == ["what it wrote"]
    assert (tmp_path / "out" / "mul.tflite").read_bytes() == b"old"
    assert os.listdir(tmp_path / "out") == ["mul.tflite"]


def test_a_run_has_a_shorter_limit_than_the_conversion(
    process: type[FakeProcess], settings: Settings, tmp_path: Path
) -> None:
    """A loop may never end on made-up inputs."""
    converted(tmp_path / "mul.tflite", settings)
    limits = [order.get("timeout_s", order.get("limit_s")) for order in process.orders]
    assert [limit for limit in limits if limit is not None] == [3600.0, 120.0, 3600.0]
    place = [order.get("order") for order in process.orders].index("run")
    assert process.orders[place - 1] == {"limit_s": 120.0}
    converted(tmp_path / "m.tflite", settings, conversion=ConversionOptions(timeout_s=7.0))
    assert {order["limit_s"] for order in process.orders if "limit_s" in order} == {7.0}


def test_a_file_that_computes_something_else_is_not_written(
    process: type[FakeProcess], monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    class Doubling(FakeProcess):
        def ask(self, order: str, tensors: Sequence[Tensor] = (), *, doing: str, **fields: Any) -> Any:
            if order != "run":
                return super().ask(order, tensors, doing=doing, **fields)
            values = [2 * value for value in array("f", bytes(tensors[0].data))]
            return {}, [Tensor(1, tensors[0].shape, array("f", values).tobytes())]

    monkeypatch.setattr(converter, "RunProcess", Doubling)
    with pytest.raises(
        ConversionError, match="output output_0 differs from the SavedModel's: error 1, tolerance"
    ):
        converted(tmp_path / "mul.tflite", settings)
    assert not (tmp_path / "mul.tflite").exists()
    loose = ConversionOptions(tolerance=1.0)
    assert converted(tmp_path / "mul.tflite", settings, conversion=loose).conversion is not None
    (tmp_path / "mul.tflite").unlink()
    unchecked = converted(tmp_path / "mul.tflite", settings, conversion=ConversionOptions(compare=False))
    assert unchecked.conversion is not None
    assert unchecked.conversion.largest_error is None


def test_a_dry_run_starts_no_process_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    monkeypatch.setattr(converter, "RunProcess", None)
    result = converted(tmp_path / "out" / "mul.tflite", settings, dry_run=True)
    assert result.plan is not None
    assert [endpoint.name for endpoint in result.plan.endpoints] == ["serving_default"]
    assert (result.conversion, result.is_dry_run) == (None, True)
    assert not (tmp_path / "out").exists()


def test_what_is_at_the_destination_is_refused_before_anything_is_converted(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    monkeypatch.setattr(converter, "RunProcess", None)
    (tmp_path / "mul.tflite").write_bytes(b"old")
    with pytest.raises(OutputError, match="already exists"):
        converted(tmp_path / "mul.tflite", settings)


@pytest.mark.parametrize("package", ["tensorflow", "tf2onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path, package: str
) -> None:
    monkeypatch.setattr(conversion, "has_package", lambda name: name != package)
    with pytest.raises(TensorFlowError, match=f"{package} is not installed") as caught:
        converted(tmp_path / "mul.onnx", settings)
    extra = "tf" if package == "tensorflow" else "onnx"
    assert caught.value.hint == f"Install it: pip install 'hubcli[{extra}]'"
    assert not (tmp_path / "mul.onnx").exists()


def test_edits_that_only_a_saved_model_can_have_are_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--warmup cannot be used with the converted model mul.tflite"):
        converted(tmp_path / "mul.tflite", settings, edits=EditOptions(warmup="3"))
    with pytest.raises(UsageError, match="--add-defaults cannot be used with the converted model mul.onnx"):
        converted(tmp_path / "mul.onnx", settings, edits=EditOptions(defaults=("s.x=1",)))


def test_defaults_that_the_format_lacks_are_told(settings: Settings, tmp_path: Path) -> None:
    class Notes(ProgressListener):
        def note(self, text: str) -> None:
            noted.append(text)

    noted: list[str] = []
    edits = EditOptions(defaults=("serving_default.x=[[1]]",), compare=False)
    export(EXAMPLE, tmp_path / "mul", settings, ExportOptions(edits=edits))
    export(str(tmp_path / "mul"), tmp_path / "m.onnx", settings, ExportOptions(dry_run=True), Notes())
    assert noted == ["ONNX has no default values: callers must give serving_default.x"]


def test_an_edited_model_is_converted_under_its_new_names(
    process: type[FakeProcess], settings: Settings, tmp_path: Path
) -> None:
    edits = EditOptions(renames={"serving_default": "double"})
    options = ConversionOptions(signatures=("serving_default",), compare=False)
    result = converted(tmp_path / "mul.tflite", settings, edits=edits, conversion=options)
    assert result.plan is not None
    assert [endpoint.name for endpoint in result.plan.endpoints] == ["double"]
    assert result.edited is not None
