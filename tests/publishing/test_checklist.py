"""The publisher's checklist: each code has a model that has the fault, and the same model without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hubcli.archive.pack import pack
from hubcli.commands.fetch import fetch
from hubcli.commands.publish import model_card_of
from hubcli.config.settings import Settings
from hubcli.errors import BrokenModelError
from hubcli.issues import Severity, codes
from hubcli.publishing import checklist as module
from hubcli.publishing.checklist import checklist
from hubcli.publishing.model_card import model_card
from hubcli.publishing.readme import Readme
from hubcli.publishing.upload_files import read_files
from tests import models
from tests.cases import each_of
from tests.corpus import KINDS, corpus_model
from tests.savedmodel.protos import (
    FLOAT,
    STRING,
    Objects,
    Spec,
    function,
    graph,
    message,
    meta_graph,
    node,
    shape_proto,
    write_model,
)

README = {"README.md": b"# A model"}
BATCH = Spec(FLOAT, (None, 4))


def tensor(dtype: int, *shape: int | None) -> dict[str, Any]:
    return {"name": "x:0", "dtype": dtype, "tensor_shape": shape_proto(shape)}


def signature(takes: dict[str, Any], gives: dict[str, Any] | None = None) -> Any:
    gives = gives or {"y": tensor(FLOAT, None, 8)}
    return message("SignatureDef", inputs=takes, outputs=gives, method_name="tensorflow/serving/predict")


class Model(NamedTuple):
    """A model that follows all advice, unless it is told otherwise; `nodes` are those of its `__call__`."""

    parameters: tuple[str, ...] = ("x", "training")
    nodes: tuple[Any, ...] = ()
    result: str = "x"
    variable: str = "kernel"
    trainable: bool = True
    has_losses: bool = True
    is_tf1: bool = False
    signatures: dict[str, Any] | None = None
    files: dict[str, bytes] = README
    main: tuple[Any, ...] = ()
    assets: tuple[Any, ...] = ()

    def objects(self) -> Objects:
        objects = Objects()
        kernel = objects.variable(self.variable)
        variants = []
        for is_training in (True, False) if "training" in self.parameters else (False,):
            more: tuple[Any, ...] = (is_training,) if "training" in self.parameters else ()
            more += (Spec(FLOAT, ()),) * (len(self.parameters) - 1 - len(more))
            kwargs = dict(zip(self.parameters[1:], more, strict=True))
            name = f"call_{is_training}"
            variants.append(objects.concrete(name, BATCH, kwargs=kwargs, outputs=BATCH, captures=[kernel]))
        objects.function("__call__", *variants, parameters=self.parameters)
        objects.list_of("variables", [kernel])
        objects.list_of("trainable_variables", [kernel] if self.trainable else [])
        if self.has_losses:
            objects.list_of("regularization_losses", [])
            loss = objects.bare(None, objects.concrete("loss", outputs=Spec(FLOAT, ())))
            objects.hang(loss, "0", len(objects.message.nodes) - 2)
        return objects

    def write(self, folder: Path) -> Path:
        calls = [
            function(f"call_{value}", *self.nodes, inputs=("x",), results={"y": self.result})
            for value in (True, False)
        ]
        signatures = self.signatures
        if signatures is None:
            signatures = {"serving_default": signature({"x": tensor(FLOAT, None, 4)})}
        proto = meta_graph(
            graph(*self.main, functions=calls),
            None if self.is_tf1 else self.objects(),
            signature_def=signatures,
            asset_file_def=list(self.assets),
        )
        return write_model(folder, proto, files=self.files)


def serving(
    takes: dict[str, Any], gives: dict[str, Any] | None = None, name: str = "serving_default"
) -> Model:
    return Model(signatures={name: signature(takes, gives)})


def pinned(device: str) -> Any:
    proto = node("matmul", "MatMul", "x")
    proto.device = device
    return proto


DROPOUT = (node("dropout/random", "RandomUniform", "x"),)
NORMED = (node("bn", "FusedBatchNormV3", "x"),)
VOCABULARY = (node("table", "HashTableV2"), node("init", "InitializeTableFromTextFileV2", "table", "file"))
IN_GRAPH = (node("table", "HashTableV2"), node("import", "LookupTableImportV2", "table"))
ASSET = message("AssetFileDef", tensor_info={"name": "file:0"}, filename="vocab.txt")
IMAGE, TEXT = tensor(FLOAT, None, 8, 8, 3), tensor(STRING, None)

# The code, a model that has the fault, and one that hasn't.
CASES: list[tuple[str, Model, Model]] = [
    (
        "training-fixed",
        Model(parameters=("x", "rate"), nodes=DROPOUT),
        Model(parameters=("x", "training", "rate"), nodes=DROPOUT),
    ),
    ("dropout-fixed", Model(nodes=DROPOUT), Model(parameters=("x", "training", "rate"), nodes=DROPOUT)),
    ("batch-norm-fixed", Model(nodes=NORMED), Model(parameters=("x", "training", "momentum"), nodes=NORMED)),
    ("batch-norm-fixed", Model(variable="moving_mean"), Model()),
    (
        "ends-in-sigmoid",
        Model(nodes=(node("out", "Sigmoid", "x"),), result="out:y:0"),
        Model(nodes=(node("mid", "Sigmoid", "x"), node("out", "MatMul", "mid")), result="out:product:0"),
    ),
    ("no-logits", Model(nodes=(node("out", "Softmax", "x"),), result="out:softmax:0"), Model()),
    ("no-regularization-losses", Model(has_losses=False), Model()),
    ("nothing-trainable", Model(trainable=False), Model()),
    (
        "statistics-trainable",
        Model(variable="moving_variance"),
        Model(variable="moving_variance", trainable=False),
    ),
    ("no-default-signature", serving({"x": TEXT}, name="predict"), serving({"x": TEXT})),
    ("no-default-signature", Model(signatures={}), Model()),
    ("signature-batch-fixed", serving({"x": tensor(FLOAT, 1, 4)}), serving({"x": tensor(FLOAT, None, 4)})),
    ("signature-text-input", serving({"x": tensor(STRING, None, 1)}), serving({"x": TEXT})),
    ("signature-image-input", serving({"x": tensor(FLOAT, None, 8, 8, 1)}), serving({"x": IMAGE})),
    ("signature-image-input", serving({"x": tensor(STRING, None, 8, 8, 3)}), serving({"x": IMAGE})),
    (
        "signature-image-output",
        serving({"x": IMAGE}, {"y": tensor(FLOAT, None, 1, 8)}),
        serving({"x": IMAGE}, {"y": tensor(FLOAT, None, 8, 8, 2)}),
    ),
    (
        "signature-image-name",
        serving({"pictures": IMAGE})._replace(is_tf1=True),
        serving({"images": IMAGE})._replace(is_tf1=True),
    ),
    ("vocabulary-outside", Model(main=VOCABULARY), Model(main=VOCABULARY, assets=(ASSET,))),
    (
        "vocabulary-in-graph",
        serving({"x": TEXT})._replace(main=IN_GRAPH),
        serving({"x": tensor(FLOAT, None)})._replace(main=IN_GRAPH),
    ),
    (
        "asset-missing",
        Model(assets=(ASSET,)),
        Model(assets=(ASSET,), files={**README, "assets/vocab.txt": b"a"}),
    ),
    ("device-pins", Model(nodes=(pinned("/device:GPU:0"),)), Model(nodes=(pinned("/device:CPU:0"),))),
    ("no-readme", Model(files={}), Model(files={"Model_Card.md": b"x"})),
]  # fmt: skip


@each_of("code, faulty, sound", CASES)
def test_each_point_is_found_where_it_is_and_nowhere_else(
    code: str, faulty: Model, sound: Model, tmp_path: Path
) -> None:
    found = [issue for issue in checklist(faulty.write(tmp_path / "faulty")) if issue.code == code]
    assert len(found) == 1
    assert found[0].message
    assert found[0].hint.endswith((".", "SIZE", "README.md", "--clear-devices")) or code == "asset-missing"
    assert code not in {issue.code for issue in checklist(sound.write(tmp_path / "sound"))}


def test_every_code_of_the_checklist_is_proven() -> None:
    proven = {code for code, _, _ in CASES} | {"large-model", "large-graph"}
    assert set(codes()["publish --check"]) <= proven


def test_a_model_that_follows_all_advice_has_no_issue(tmp_path: Path) -> None:
    assert checklist(Model().write(tmp_path)) == ()


def test_size_is_told_above_the_bounds_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model().write(tmp_path)
    total = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    monkeypatch.setattr(module, "_LARGE_MODEL_BYTES", total)
    monkeypatch.setattr(module, "_LARGE_GRAPH_BYTES", (model / "saved_model.pb").stat().st_size)
    assert checklist(model) == ()
    monkeypatch.setattr(module, "_LARGE_MODEL_BYTES", total - 1)
    monkeypatch.setattr(module, "_LARGE_GRAPH_BYTES", (model / "saved_model.pb").stat().st_size - 1)
    assert [issue.code for issue in checklist(model)] == ["large-graph", "large-model"]


def test_the_gravest_come_first_with_those_of_inspect(tmp_path: Path) -> None:
    faulty = Model(parameters=("x",), has_losses=False, nodes=(pinned("/gpu:0"),), files={})
    issues = checklist(faulty.write(tmp_path))
    ranks = [issue.severity.rank for issue in issues]
    assert ranks == sorted(ranks, reverse=True)
    assert {Severity.WARNING, Severity.HINT} <= {issue.severity for issue in issues}


@each_of("name", KINDS)
def test_real_models_are_read_whole(name: str) -> None:
    for issue in checklist(corpus_model(name)):
        assert issue.code in {code for meanings in codes().values() for code in meanings}
    assert model_card(corpus_model(name)).count("<!-- TODO") >= 4


def test_what_is_no_model_is_an_error_of_ours(tmp_path: Path) -> None:
    for make in (checklist, model_card):
        checked: Callable[[Path], object] = make
        with pytest.raises(BrokenModelError):
            checked(tmp_path)
        (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 100)
        with pytest.raises(BrokenModelError):
            checked(tmp_path)
        (tmp_path / "saved_model.pb").unlink()


# Model card --------------------------------------------------------------------------------------


def test_a_card_tells_what_the_files_tell(tmp_path: Path) -> None:
    model = serving({"images": IMAGE}, {"logits": tensor(FLOAT, None, 10)}).write(tmp_path / "my-model")
    card = model_card(model, license="MIT")
    assert Readme.parse("README.md", card.encode())[2:] == ("my-model", "MIT")
    for text in (
        "# my-model",
        'obj = hub.load("my-model")',
        'hub.KerasLayer("my-model", trainable=True)',
        "| input | `images` | float32[?, 8, 8, 3] |",
        "| output | `logits` | float32[?, 10] |",
        "| Parameters | 2, 2 of them trainable |",
        "## Limitations",
    ):
        assert text in card


@each_of(
    "source, title, address",
    [
        ("example://mul/1", "mul", "example://mul/1"),
        ("CACHED", "mul", "example://mul/1"),
        ("ARCHIVE", "my-mul", "my-mul"),
        ("VERSION", "trained", "trained"),
    ],
)
def test_a_card_is_named_after_the_handle_not_after_a_directory_of_the_cache(
    source: str, title: str, address: str, tmp_path: Path, settings: Settings
) -> None:
    cached = fetch("example://mul/1", settings).path
    archive = tmp_path / "my-mul.tar.gz"
    pack(read_files(cached), archive)
    version = models.write_tree(tmp_path / "trained" / "0001", models.example_files())
    sources = {"CACHED": cached, "ARCHIVE": archive, "VERSION": version}
    card = model_card_of(str(sources.get(source, source)), settings)
    assert f"title: {title}\n" in card
    assert f'hub.load("{address}")' in card


def test_a_card_for_a_handle_loads_it_and_its_front_matter_is_yaml(
    tmp_path: Path, settings: Settings
) -> None:
    model = models.write_tree(tmp_path / 'a: "b', models.example_files())
    card = model_card_of(str(model), settings, "me/mul/tensorFlow2/small", "Apache: 2.0")
    assert 'hub.load("https://www.kaggle.com/models/me/mul/tensorFlow2/small")' in card
    assert "license: 'Apache: 2.0'\ntitle: me/mul/tensorFlow2/small\n" in card
    card = model_card_of(str(model), settings)
    assert "title: 'a: \"b'\n" in card
    assert 'hub.load("a: \'b")' in card


def test_a_name_in_a_model_can_not_end_its_cell_or_begin_a_tag(tmp_path: Path) -> None:
    name = "a|b`c<script>\x1b[31m\nd"
    card = model_card(serving({name: IMAGE}).write(tmp_path), name="x\n---\n# y")
    assert "a¦b'c‹script›[31m d" in card
    assert "<script" not in card
    assert "\x1b" not in card
    assert card.startswith("---\nlicense: TODO\ntitle: 'x --- # y'\n---\n")
