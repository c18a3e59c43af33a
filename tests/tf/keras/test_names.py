"""No false refusals: every layer that an installed Keras exports is on a list; every application passes."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hubcli.savedmodel.checks.keras_config import KerasConfig, walk_config
from hubcli.savedmodel.checks.keras_names import (
    FUNCTIONS,
    KERAS_2_CLASSES,
    KERAS_3_CLASSES,
    NOT_PURE_LAYERS,
    is_pure_function,
    is_pure_op,
)
from hubcli.tf.importing import KerasGeneration, import_keras, import_tensorflow
from hubcli.tf.keras.export import export_keras
from tests.tf import keras_models

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
BOTH = pytest.mark.parametrize("generation", list(KerasGeneration), ids=["keras2", "keras3"])
CLASSES = {KerasGeneration.KERAS_2: KERAS_2_CLASSES, KerasGeneration.KERAS_3: KERAS_3_CLASSES}
OP_LAYERS = {
    *("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"),
    *("ClassMethod", "InstanceMethod", "InstanceProperty"),
}
# Classes that stand in no config, or that a config must not name.
NOT_IN_CONFIGS = {"OptimizerMap", "Reduction", "_RNNCellWrapper"}
# Operations of Keras 3 that take a Python function.
TAKES_FUNCTIONS = {
    *("AssociativeScan", "Cond", "ForiLoop", "JVP", "Map", "Scan", "Switch", "VectorizedMap", "Vectorize"),
    *("WhileLoop", "Function"),
}


def classes_in(*modules: Any) -> set[str]:
    """Names of the classes that the modules export."""
    return {name for module in modules for name in dir(module) if inspect.isclass(getattr(module, name))}


@BOTH
def test_every_exported_layer_is_on_exactly_one_list(generation: KerasGeneration) -> None:
    """A release of Keras with a new layer fails here: decide whether it is pure."""
    keras = import_keras(generation)
    layers = classes_in(keras.layers)
    if generation is KerasGeneration.KERAS_2:
        from tf_keras.src.layers import serialization

        serialization.populate_deserializable_objects()
        layers |= {name for name, value in serialization.LOCAL.ALL_OBJECTS.items() if inspect.isclass(value)}
        layers |= classes_in(keras.layers.experimental, keras.layers.experimental.preprocessing)
        layers -= OP_LAYERS
    allowed = layers & CLASSES[generation]
    assert sorted(layers - allowed - set(NOT_PURE_LAYERS) - NOT_IN_CONFIGS) == []
    assert sorted(allowed & set(NOT_PURE_LAYERS)) == []


@BOTH
def test_every_exported_part_is_on_the_list(generation: KerasGeneration) -> None:
    keras = import_keras(generation)
    parts = classes_in(
        *(keras.initializers, keras.regularizers, keras.constraints, keras.losses, keras.metrics),
        *(keras.optimizers, keras.optimizers.schedules, keras.mixed_precision, keras.models),
    )
    if generation is KerasGeneration.KERAS_3:
        parts |= classes_in(keras.dtype_policies, keras.quantizers) | {"SeedGenerator"}
    assert sorted(parts - CLASSES[generation] - NOT_IN_CONFIGS) == []
    activations = {
        name for name in dir(keras.activations) if inspect.isfunction(getattr(keras.activations, name))
    }
    assert sorted(activations - FUNCTIONS - {"deserialize", "get", "serialize"}) == []


def test_every_operation_of_keras_3_is_on_the_list_or_takes_a_function() -> None:
    import_keras(KerasGeneration.KERAS_3)
    from keras.src.layers import Layer
    from keras.src.ops.operation import Operation

    def below(cls: Any) -> Iterator[Any]:
        for inner in cls.__subclasses__():
            yield inner
            yield from below(inner)

    operations = {
        subclass.__name__
        for subclass in below(Operation)
        if not issubclass(subclass, Layer) and subclass.__module__.startswith("keras.src.ops")
    }
    assert sorted(operations - KERAS_3_CLASSES - TAKES_FUNCTIONS) == []
    assert not TAKES_FUNCTIONS & KERAS_3_CLASSES


def test_every_pure_name_is_one_of_tensorflow_without_effects() -> None:
    tf = import_tensorflow()
    from tensorflow.python.util.tf_export import get_symbol_from_name

    import hubcli.savedmodel.checks.keras_names as lists

    for name in ("math.multiply", "__operators__.add", "nn.relu6", "image.resize", "strings.lower"):
        assert is_pure_function(name)
        assert get_symbol_from_name(name) is not None
    for module, names in lists._PURE_FUNCTIONS.items():
        found = [name for name in names if get_symbol_from_name(f"{module}.{name}".lstrip("."))]
        assert module.startswith("keras.") or len(found) > len(names) * 0.6
        assert not any(
            inspect.isclass(get_symbol_from_name(f"{module}.{name}".lstrip("."))) for name in found
        )
    for name in lists._PURE_OPS:
        op = getattr(tf.raw_ops, name, None)
        signature = str(inspect.signature(op)) if op is not None else ""
        assert not any(word in signature for word in ("filename", "path", "handle", "func", "resource"))
    assert not is_pure_op("PyFunc")


def small(keras: Any) -> dict[str, Any]:
    """Functional models of layers that no application has, by name."""
    layers = keras.layers

    def images(*chain: Any) -> Any:
        inputs = x = keras.Input([8, 8, 3])
        for layer in chain:
            x = layer(x)
        return keras.Model(inputs, x)

    def steps(*chain: Any) -> Any:
        inputs = x = keras.Input([4, 3])
        for layer in chain:
            x = layer(x)
        return keras.Model(inputs, x)

    def attention() -> Any:
        inputs = keras.Input([4, 8])
        x = layers.MultiHeadAttention(2, 4)(inputs, inputs)
        return keras.Model(inputs, layers.LayerNormalization()(layers.Attention()([x, inputs])))

    def texts() -> Any:
        inputs = keras.Input([1], dtype="string")
        x = layers.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot")(inputs)
        return keras.Model(inputs, x)

    cell = layers.LSTMCell(2)
    return {
        "preprocessing": images(
            layers.Rescaling(1 / 255.0), layers.Resizing(4, 4), layers.CenterCrop(2, 2), layers.RandomFlip(),
            layers.RandomRotation(0.1), layers.RandomZoom(0.1), layers.RandomContrast(0.1),
            layers.Normalization(mean=[0.0], variance=[1.0]),
        ),
        "wrapped": steps(
            layers.TimeDistributed(layers.Dense(3, activation="gelu")),
            layers.Bidirectional(layers.GRU(2, return_sequences=True)),
            layers.RNN([cell, layers.GRUCell(3)], return_sequences=True),
            layers.LSTM(2, kernel_regularizer="l2", bias_constraint="non_neg", dtype="mixed_float16"),
        ),
        "attention": attention(),
        "texts": texts(),
        "text": keras_models.text(keras),
        "numbers": steps(
            layers.Flatten(), layers.Discretization([0.5]), layers.CategoryEncoding(2, "multi_hot")
        ),
    }  # fmt: skip


@BOTH
def test_common_layers_pass(generation: KerasGeneration) -> None:
    for name, model in small(import_keras(generation)).items():
        for config in configs_of(model, generation):
            issues = walk_config(config, is_keras_3=generation is KerasGeneration.KERAS_3)
            assert issues == (), (name, issues)


def configs_of(model: Any, generation: KerasGeneration) -> Iterator[KerasConfig]:
    """The config of the model as each format has it."""
    yield KerasConfig.parse(model.to_json())
    if generation is KerasGeneration.KERAS_3:
        from keras.src.legacy.saving import json_utils, saving_options, saving_utils
        from keras.src.saving import serialization_lib

        yield KerasConfig.parse(json.dumps(serialization_lib.serialize_keras_object(model)))
        with saving_options.keras_option_scope(use_legacy_config=True):
            metadata = saving_utils.model_metadata(model, include_optimizer=False)
            yield KerasConfig.parse(json.dumps(metadata["model_config"], default=json_utils.get_json_type))
        return
    from tf_keras.src.saving import serialization_lib as lib
    from tf_keras.src.saving.legacy import saving_utils as legacy
    from tf_keras.src.saving.legacy.saved_model import json_utils as saved

    yield KerasConfig.parse(json.dumps(lib.serialize_keras_object(model)))
    h5 = legacy.model_metadata(model, include_optimizer=False)["model_config"]
    yield KerasConfig.parse(json.dumps(h5, default=saved.get_json_type))
    for layer in model._flatten_layers():  # Nodes of keras_metadata.pb.
        yield KerasConfig.parse(layer._trackable_saved_model_saver.tracking_metadata)


def applications(generation: KerasGeneration) -> list[str]:
    """Names of the models of keras.applications, as both generations have them, without importing one."""
    families = {
        "ConvNeXt": ["Tiny", "Small", "Base", "Large", "XLarge"],
        "DenseNet": ["121", "169", "201"],
        "EfficientNet": [f"B{number}" for number in range(8)],
        "EfficientNetV2": ["B0", "B1", "B2", "B3", "S", "M", "L"],
        "MobileNet": ["", "V2", "V3Large", "V3Small"],
        "NASNet": ["Large", "Mobile"],
        "ResNet": [f"{depth}{version}" for depth in (50, 101, 152) for version in ("", "V2")],
        "": ["InceptionResNetV2", "InceptionV3", "VGG16", "VGG19", "Xception"],
    }
    if generation is KerasGeneration.KERAS_2:
        sizes = [2, 4, 6, 8, 16, 32, 40, 64, 80, 120, 160, 320]
        families["RegNet"] = [f"{kind}{size:03}" for kind in "XY" for size in sizes]
        families["ResNetRS"] = [str(depth) for depth in (50, 101, 152, 200, 270, 350, 420)]
    return [f"{family}{name}" for family, names in families.items() for name in names]


ALL = [(generation, name) for generation in KerasGeneration for name in applications(generation)]
QUICK = {"MobileNetV3Small"}
# Those with the most kinds of layers: the others repeat them, and all take half an hour to build.
OF_A_FAMILY = {*("MobileNetV2", "RegNetX002", "Xception")}
# Functions that build models of two more families, and arguments with which each block occurs once.
SHORT: dict[tuple[str, str], dict[str, Any]] = {
    ("convnext", "ConvNeXt"): {"depths": [1, 1, 1, 1], "projection_dims": [96, 192, 384, 768]},
    ("efficientnet", "EfficientNet"): {
        "width_coefficient": 1.0,
        "depth_coefficient": 0.1,
        "default_size": 224,
    },
}
SIZES = {"NASNetLarge": 331, "NASNetMobile": 224}


@BOTH
def test_no_application_is_missing_here(generation: KerasGeneration) -> None:
    module = import_keras(generation).applications
    there = {name for name in dir(module) if name[0].isupper()}
    assert sorted(there) == sorted(applications(generation))


@pytest.mark.parametrize(
    ("generation", "name"),
    [
        pytest.param(
            generation,
            name,
            id=f"{name}-keras{generation.value}",
            marks=() if name in QUICK else pytest.mark.slow if name in OF_A_FAMILY else pytest.mark.soak,
        )
        for generation, name in ALL
    ],
)
def test_every_application_passes_in_every_format(generation: KerasGeneration, name: str) -> None:
    keras = import_keras(generation)
    size = SIZES.get(name, 96)
    require_passing(
        getattr(keras.applications, name)(weights=None, classes=2, input_shape=(size, size, 3)), generation
    )


def require_passing(model: Any, generation: KerasGeneration) -> None:
    try:
        for config in configs_of(model, generation):
            assert walk_config(config, is_keras_3=generation is KerasGeneration.KERAS_3) == ()
    finally:
        import_keras(generation).backend.clear_session()


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize(("module", "name"), SHORT)
def test_each_block_of_a_family_passes_in_every_format(
    generation: KerasGeneration, module: str, name: str
) -> None:
    package = import_keras(generation).layers.Layer.__module__.partition(".")[0]
    family = getattr(importlib.import_module(f"{package}.src.applications.{module}"), name)
    arguments = {"weights": None, "classes": 2, "input_shape": (96, 96, 3)}
    require_passing(family(**SHORT[module, name], **arguments), generation)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("generation", "ending", "name"),
    [
        pytest.param(KerasGeneration.KERAS_2, "", "MobileNetV3Small", marks=pytest.mark.soak),
        (KerasGeneration.KERAS_2, ".h5", ""),
        pytest.param(KerasGeneration.KERAS_2, ".h5", "MobileNetV3Small", marks=pytest.mark.soak),
        pytest.param(KerasGeneration.KERAS_2, ".keras", "MobileNetV3Small", marks=pytest.mark.soak),
        # Keras 3.15 itself can't read back an .h5 of MobileNetV3: its operations take numbers by position.
        pytest.param(KerasGeneration.KERAS_3, ".h5", "MobileNetV2", marks=pytest.mark.soak),
        pytest.param(KerasGeneration.KERAS_3, ".keras", "MobileNetV3Small", marks=pytest.mark.soak),
    ],
)
def test_an_application_is_exported_without_unsafe(
    generation: KerasGeneration, ending: str, name: str, tmp_path: Path
) -> None:
    keras = import_keras(generation)
    arguments: dict[str, Any] = {"weights": None, "classes": 2, "input_shape": (32, 32, 3)}
    model = getattr(keras.applications, name)(**arguments) if name else three_blocks(**arguments)
    report = export_keras(keras_models.save(model, tmp_path, ending), tmp_path / "out")
    assert report.comparison.is_equal


def three_blocks(**arguments: Any) -> Any:
    """MobileNetV3 of Keras 2 with three of its eleven blocks, which have all kinds of its layers."""
    from tf_keras.src.applications import mobilenet_v3 as application

    def blocks(x: Any, kernel: int, activation: Any, se_ratio: float) -> Any:
        x = application._inverted_res_block(x, 1, 16, 3, 2, se_ratio, application.relu, 0)
        x = application._inverted_res_block(x, 3, 24, 3, 1, None, application.relu, 1)
        return application._inverted_res_block(x, 2, 24, kernel, 1, se_ratio, activation, 2)

    return application.MobileNetV3(blocks, 64, model_type="small", **arguments)


@BOTH
@pytest.mark.parametrize("ending", [".h5", ".keras"])
def test_layers_that_an_application_has_for_itself_are_found(
    generation: KerasGeneration, ending: str, tmp_path: Path
) -> None:
    """Keras finds them in some formats alone: hubcli brings them."""
    keras = import_keras(generation)
    if generation is KerasGeneration.KERAS_2:
        from tf_keras.src.applications import convnext, inception_resnet_v2
    else:
        from keras.src.applications import convnext, inception_resnet_v2
    inputs = keras.Input([4])
    x = convnext.LayerScale(1e-6, 4)(inputs)
    x = inception_resnet_v2.CustomScaleLayer(0.5)([x, inputs])
    report = export_keras(keras_models.save(keras.Model(inputs, x), tmp_path, ending), tmp_path / "out")
    assert report.trainable_variables == 1
