"""The Reusable SavedModel interface: each problem has a model that has it and one that hasn't."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hubcli.savedmodel.model import Conformance
from tests.cases import each_of
from tests.savedmodel.protos import (
    FLOAT,
    INT,
    STRING,
    Func,
    Objects,
    Spec,
    function,
    graph,
    meta_graph,
    node,
    read,
)

BATCH = Spec(FLOAT, (None, 4))


class Model:
    """A model that conforms, unless it is told otherwise."""

    def __init__(
        self,
        *,
        args: Sequence[Any] = (BATCH,),
        outputs: Any = BATCH,
        traced: Sequence[bool] = (True, False),
        takes_training: bool = True,
        has_lists: bool = True,
    ) -> None:
        self.objects = Objects()
        self.kernel = self.objects.variable("kernel")
        self.bias = self.objects.variable("bias", trainable=False)
        parameters = ("x", "training") if takes_training else ("x",)
        variants = []
        for place, is_training in enumerate(traced if takes_training else (False,)):
            more = (is_training,) if takes_training else ()
            name = f"call_{place}"
            captures = [self.kernel, self.bias]
            variants.append(self.objects.concrete(name, *args, *more, outputs=outputs, captures=captures))
        self.call = self.objects.function("__call__", *variants, parameters=parameters)
        if has_lists:
            self.objects.list_of("variables", [self.kernel, self.bias])
            self.objects.list_of("trainable_variables", [self.kernel])

    def check(self, folder: Path, graph_def: Any = None) -> Conformance:
        return read(folder, meta_graph(graph_def, self.objects)).reusable


def codes(conformance: Conformance) -> list[str]:
    return [problem.code for problem in conformance.problems]


def codes_of(folder: Path, model: Model, graph_def: Any = None) -> list[str]:
    return codes(model.check(folder, graph_def))


def test_a_model_that_follows_all_advice_has_no_problem(tmp_path: Path) -> None:
    conformance = Model().check(tmp_path)
    assert conformance.problems == ()
    assert conformance.conforms


def test_every_problem_has_a_sentence_and_a_remedy(tmp_path: Path) -> None:
    model = Model(args=(Spec(FLOAT, (1, 4)), Spec(FLOAT, (1, 4))), traced=(True,))
    model.objects.list_of("regularization_losses", [model.kernel])
    problems = model.check(tmp_path).problems
    assert len(problems) >= 3
    assert all(problem.message and problem.remedy.endswith(".") for problem in problems)


def test_errors_come_before_advice(tmp_path: Path) -> None:
    model = Model(args=(Spec(FLOAT, (1, 4)), BATCH))
    assert [problem.severity for problem in model.check(tmp_path).problems] == ["error", "warning"]


def test_advice_alone_is_no_lack_of_conformance(tmp_path: Path) -> None:
    conformance = Model(args=(Spec(FLOAT, (1, 4)),)).check(tmp_path)
    assert codes(conformance) == ["batch-fixed"]
    assert conformance.conforms


# What is there to call ---------------------------------------------------------------------------


def test_a_graph_of_tensorflow_1_has_no_object(tmp_path: Path) -> None:
    conformance = read(tmp_path, meta_graph()).reusable
    assert codes(conformance) == ["no-object"]
    assert not conformance.conforms


def test_an_object_without_a_call(tmp_path: Path) -> None:
    objects = Objects()
    objects.traced("serve", BATCH)
    assert codes(read(tmp_path, meta_graph(None, objects)).reusable) == ["no-call"]


def test_a_call_that_was_never_traced(tmp_path: Path) -> None:
    objects = Objects()
    objects.function("__call__")
    assert codes(read(tmp_path, meta_graph(None, objects)).reusable) == ["no-call"]


@each_of("args", [(), (3,), ("a", BATCH), ([],), ({},)])
def test_a_call_whose_first_argument_is_no_tensor(tmp_path: Path, args: tuple[Any, ...]) -> None:
    assert "call-input" in codes_of(tmp_path, Model(args=args, takes_training=False))


@each_of("first", [BATCH, [BATCH, BATCH], {"a": BATCH, "b": [BATCH]}, (BATCH,)])
def test_a_tensor_and_a_list_and_a_dict_are_one_input(tmp_path: Path, first: Any) -> None:
    assert codes_of(tmp_path, Model(args=(first,))) == []


def test_a_call_of_two_tensors(tmp_path: Path) -> None:
    assert codes_of(tmp_path, Model(args=(BATCH, BATCH), takes_training=False)) == ["call-inputs"]


def test_further_arguments_that_are_no_tensors_are_allowed(tmp_path: Path) -> None:
    assert codes_of(tmp_path, Model(args=(BATCH, 3, "a", None), takes_training=False)) == []


# training ----------------------------------------------------------------------------------------


def test_a_call_without_training_is_fine(tmp_path: Path) -> None:
    assert codes_of(tmp_path, Model(takes_training=False)) == []


@pytest.mark.parametrize("only", [True, False])
def test_training_that_was_traced_for_one_value(tmp_path: Path, only: bool) -> None:
    conformance = Model(traced=(only,)).check(tmp_path)
    assert codes(conformance) == ["training-untraced"]
    assert f"training={not only}" in conformance.problems[0].message


def test_training_that_was_traced_over_other_arguments(tmp_path: Path) -> None:
    model = Model()
    name = model.objects.concrete("more", [BATCH], True)
    model.objects.message.nodes[model.call].function.concrete_functions.append(name)
    assert codes_of(tmp_path, model) == ["training-differs"]


def test_names_of_tensors_are_no_other_arguments(tmp_path: Path) -> None:
    model = Model(traced=())
    names = [
        model.objects.concrete("a", Spec(FLOAT, (None, 4), "x"), True),
        model.objects.concrete("b", Spec(FLOAT, (None, 4), "y"), False),
    ]
    model.objects.message.nodes[model.call].function.concrete_functions.extend(names)
    assert codes_of(tmp_path, model) == []


def test_training_by_keyword_counts(tmp_path: Path) -> None:
    objects = Objects()
    name = objects.concrete("f", BATCH, kwargs={"training": True})
    objects.function("__call__", name)
    assert "training-untraced" in codes(read(tmp_path, meta_graph(None, objects)).reusable)


def test_training_that_is_none_counts_for_nothing(tmp_path: Path) -> None:
    objects = Objects()
    objects.function("__call__", objects.concrete("f", BATCH, None), parameters=("x", "training"))
    assert codes(read(tmp_path, meta_graph(None, objects)).reusable) == []


# Variables ---------------------------------------------------------------------------------------


def test_a_plain_module_without_lists_is_the_trap(tmp_path: Path) -> None:
    conformance = Model(has_lists=False).check(tmp_path)
    assert codes(conformance) == ["no-variables"]
    assert "tf.Module" in conformance.problems[0].message
    assert "uses 2" in conformance.problems[0].message


def test_a_module_without_variables_needs_no_lists(tmp_path: Path) -> None:
    objects = Objects()
    objects.traced("__call__", BATCH)
    assert codes(read(tmp_path, meta_graph(None, objects)).reusable) == []


def test_a_variable_that_a_call_uses_and_the_list_lacks(tmp_path: Path) -> None:
    model = Model(has_lists=False)
    model.objects.list_of("variables", [model.kernel])
    model.objects.list_of("trainable_variables", [model.kernel])
    conformance = model.check(tmp_path)
    assert codes(conformance) == ["variables-incomplete"]
    assert "bias" in conformance.problems[0].message


def test_of_many_variables_a_few_are_named(tmp_path: Path) -> None:
    objects = Objects()
    nodes = [objects.variable(f"v{place}") for place in range(9)]
    objects.function("__call__", objects.concrete("f", BATCH, captures=nodes))
    objects.list_of("variables", [])
    objects.list_of("trainable_variables", [])
    problem = read(tmp_path, meta_graph(None, objects)).reusable.problems[0]
    assert "v0, v1, v2 and 6 more" in problem.message


def test_a_list_of_variables_without_one_of_trainable_ones(tmp_path: Path) -> None:
    model = Model(has_lists=False)
    model.objects.list_of("variables", [model.kernel, model.bias])
    conformance = model.check(tmp_path)
    assert codes(conformance) == ["no-trainable-variables"]
    assert conformance.conforms


def test_without_trainable_variables_no_list_of_them_is_needed(tmp_path: Path) -> None:
    objects = Objects()
    objects.list_of("variables", [objects.variable("v", trainable=False)])
    objects.traced("__call__", BATCH)
    assert codes(read(tmp_path, meta_graph(None, objects)).reusable) == []


def test_a_trainable_variable_that_the_list_of_all_lacks(tmp_path: Path) -> None:
    model = Model(has_lists=False)
    model.objects.list_of("variables", [model.kernel, model.bias])
    model.objects.list_of("trainable_variables", [model.kernel, model.objects.variable("other")])
    conformance = model.check(tmp_path)
    assert codes(conformance) == ["trainable-not-listed"]
    assert "other" in conformance.problems[0].message


def test_a_frozen_variable_among_the_trainable_ones(tmp_path: Path) -> None:
    model = Model(has_lists=False)
    model.objects.list_of("variables", [model.kernel, model.bias])
    model.objects.list_of("trainable_variables", [model.kernel, model.bias])
    conformance = model.check(tmp_path)
    assert codes(conformance) == ["trainable-flag"]
    assert "bias" in conformance.problems[0].message


def test_a_trainable_variable_may_be_left_out_of_the_list(tmp_path: Path) -> None:
    """As that of a frozen Keras layer is."""
    model = Model(has_lists=False)
    model.objects.list_of("variables", [model.kernel, model.bias])
    model.objects.list_of("trainable_variables", [])
    assert codes_of(tmp_path, model) == []


def test_the_slots_of_an_optimizer_are_told(tmp_path: Path) -> None:
    model = Model()
    optimizer = model.objects.user("optimizer")
    slot = model.objects.variable(None, shape=(5,))
    model.objects.message.nodes[optimizer].slot_variables.add(
        original_variable_node_id=model.kernel, slot_name="m", slot_variable_node_id=slot
    )
    conformance = model.check(tmp_path)
    assert codes(conformance) == ["optimizer-slots"]
    assert "1 variable of an optimizer (20 B)" in conformance.problems[0].message
    assert conformance.conforms


# Losses ------------------------------------------------------------------------------------------


def _with_loss(*args: Any, outputs: Any) -> Model:
    model = Model()
    loss = model.objects.function(None, model.objects.concrete("loss", *args, outputs=outputs), parameters=())
    model.objects.list_of("regularization_losses", [loss])
    return model


@each_of("dtype", [FLOAT, 2, 14, 19])
def test_a_loss_that_gives_a_scalar_float_is_fine(tmp_path: Path, dtype: int) -> None:
    assert codes_of(tmp_path, _with_loss(outputs=Spec(dtype, ()))) == []


@each_of(
    "args, outputs",
    [
        ((BATCH,), Spec(FLOAT, ())),
        ((), Spec(FLOAT, (1,))),
        ((), Spec(FLOAT, None)),
        ((), Spec(INT, ())),
        ((), [Spec(FLOAT, ())]),
        ((), 0.0),
    ],
)
def test_a_loss_of_another_form(tmp_path: Path, args: tuple[Any, ...], outputs: Any) -> None:
    assert codes_of(tmp_path, _with_loss(*args, outputs=outputs)) == ["loss-signature"]


def test_a_loss_that_is_a_variable_or_was_never_traced(tmp_path: Path) -> None:
    model = Model()
    model.objects.list_of("regularization_losses", [model.kernel, model.objects.function(None)])
    conformance = model.check(tmp_path)
    assert codes(conformance) == ["loss-signature", "loss-signature"]
    assert "regularization_losses[1]" in conformance.problems[1].message


def test_a_loss_that_takes_a_python_value(tmp_path: Path) -> None:
    assert codes_of(tmp_path, _with_loss(3, outputs=Spec(FLOAT, ()))) == ["loss-signature"]


def test_a_loss_whose_result_the_file_does_not_tell(tmp_path: Path) -> None:
    model = _with_loss(outputs=Spec(FLOAT, ()))
    model.objects.message.concrete_functions["loss"].ClearField("output_signature")
    assert codes_of(tmp_path, model) == ["loss-signature"]


# Shapes ------------------------------------------------------------------------------------------


def test_a_batch_of_one_size(tmp_path: Path) -> None:
    conformance = Model(args=({"a": BATCH, "b": Spec(INT, (8, 2))},)).check(tmp_path)
    assert codes(conformance) == ["batch-fixed"]
    assert "int32[8, 2]" in conformance.problems[0].message


@each_of("shape", [(None,), (None, 3), None, ()])
def test_a_batch_of_any_size(tmp_path: Path, shape: tuple[int | None, ...] | None) -> None:
    assert "batch-fixed" not in codes_of(tmp_path, Model(args=(Spec(FLOAT, shape),)))


def test_a_batch_of_one_size_beside_one_of_any_size(tmp_path: Path) -> None:
    model = Model(args=(BATCH,), takes_training=False)
    name = model.objects.concrete("more", Spec(FLOAT, (1, 4)))
    model.objects.message.nodes[model.call].function.concrete_functions.append(name)
    assert codes_of(tmp_path, model) == []


# Common APIs -------------------------------------------------------------------------------------


def test_text_of_one_dimension_that_gives_vectors_is_fine(tmp_path: Path) -> None:
    model = Model(args=(Spec(STRING, (None,)),), outputs=Spec(FLOAT, (None, 128)))
    assert codes_of(tmp_path, model) == []


@each_of("shape", [(), (None, 1), (None, None)])
def test_text_of_another_form(tmp_path: Path, shape: tuple[int | None, ...]) -> None:
    model = Model(args=(Spec(STRING, shape),), outputs=Spec(FLOAT, (None, 128)))
    assert codes_of(tmp_path, model) == ["text-input"]


@each_of("output", [Spec(FLOAT, (None,)), Spec(INT, (None, 128)), Spec(FLOAT, (None, 2, 3))])
def test_text_that_gives_no_vectors(tmp_path: Path, output: Spec) -> None:
    conformance = Model(args=(Spec(STRING, (None,)),), outputs=output).check(tmp_path)
    assert codes(conformance) == ["text-output"]
    assert conformance.problems[0].severity == "hint"


def test_text_that_gives_several_tensors_is_another_api(tmp_path: Path) -> None:
    outputs = {"a": Spec(INT, (None, 3)), "b": Spec(FLOAT, (None,))}
    assert codes_of(tmp_path, Model(args=(Spec(STRING, (None,)),), outputs=outputs)) == []


@pytest.mark.parametrize("channels", [3, None])
def test_images_of_three_channels_are_fine(tmp_path: Path, channels: int | None) -> None:
    assert codes_of(tmp_path, Model(args=(Spec(FLOAT, (None, 224, 224, channels)),))) == []


@each_of("dtype, channels", [(FLOAT, 1), (FLOAT, 4), (4, 3), (INT, 3)])
def test_images_of_another_form(tmp_path: Path, dtype: int, channels: int) -> None:
    conformance = Model(args=(Spec(dtype, (None, 224, 224, channels)),)).check(tmp_path)
    assert codes(conformance) == ["image-input"]
    assert conformance.problems[0].severity == "hint"


def test_sound_is_no_image(tmp_path: Path) -> None:
    assert codes_of(tmp_path, Model(args=(Spec(INT, (None, 16_000)),))) == []


# Outputs -----------------------------------------------------------------------------------------


@each_of("op", ["Softmax", "TopK", "TopKV2"])
def test_probabilities_are_told(tmp_path: Path, op: str) -> None:
    body = function("call_0", node("p", op, "x"), inputs=("x",), results={"o": "p:softmax:0"})
    conformance = Model().check(tmp_path, graph(functions=[body]))
    assert codes(conformance) == ["no-logits"]
    assert conformance.problems[0].severity == "hint"
    assert op in conformance.problems[0].message


def test_logits_are_fine(tmp_path: Path) -> None:
    body = function(
        "call_0", node("p", "Softmax", "x"), node("m", "MatMul", "p:softmax:0"), results={"o": "m:product:0"}
    )
    assert codes_of(tmp_path, Model(), graph(functions=[body])) == []


def test_probabilities_behind_a_call_and_identities_are_told(tmp_path: Path) -> None:
    outer = function(
        "call_0",
        node("go", "StatefulPartitionedCall", "x", f=Func("inner")),
        node("id", "Identity", "go:output:0"),
        results={"o": "id:output:0"},
    )
    inner = function("inner", node("p", "Softmax", "x"), results={"o": "p:softmax:0"})
    assert codes_of(tmp_path, Model(), graph(functions=[outer, inner])) == ["no-logits"]
