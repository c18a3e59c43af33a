"""The zoo: SavedModels of every kind, written by TensorFlow itself.

One builder per model, of the model's name, in the module that its `Specimen` names. This table is read
without TensorFlow, so that collecting the tests costs nothing; `build` imports the module.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

__all__ = ["SPECIMENS", "Specimen", "build", "builders"]


@dataclass(frozen=True, slots=True)
class Specimen:
    """Where a model's builder stands, and which format its files are."""

    module: str
    format: str = "tf2"


def _of(module: str, *names: str, format: str = "tf2") -> dict[str, Specimen]:  # noqa: A002
    return dict.fromkeys(names, Specimen(module, format))


SPECIMENS = {
    **_of(
        "modules",
        "reusable",
        "reusable_with_tuples",
        "plain_module",
        "submodules",
        "signature_only",
        "several_signatures",
        "without_variables",
        "empty_module",
        "control_flow",
        "custom_gradient",
        "python_op",
        "bare_functions",
        "wrapped_functions",
        "many_options",
        "without_saver",
        "resaved",
        "resaved_from_tf1",
    ),
    **_of(
        "arguments",
        "nested_arguments",
        "keyword_arguments",
        "python_values",
        "odd_values",
        "given_input_signature",
        "unknown_shapes",
        "ragged",
        "sparse",
        "sparse_signature",
        "composite_specs",
        "rare_specs",
        "signature_defaults",
        "no_traces",
    ),
    **_of(
        "states",
        "every_dtype",
        "narrow_dtypes",
        "variables_of_unknown_shape",
        "mirrored",
        "mirrored_expanded",
        "two_shards",
        "split_variables",
        "odd_names",
        "static_vocabulary",
        "mutable_table",
        "optimizer_of_checkpoint",
        "containers",
    ),
    **_of(
        "keras_two",
        "keras2_functional",
        "keras2_adam",
        "keras2_legacy_adam",
        "keras2_saved_by_tf",
        "keras2_text",
        format="keras2",
    ),
    **_of("keras_three", "keras3_export", "keras3_archive", "keras3_frozen", format="keras3-export"),
    **_of("keras_three", "keras3_saved_by_tf"),
    **_of(
        "tf1",
        "tf1_tag_sets",
        "tf1_assets",
        "tf1_partitioned",
        "tf1_resources",
        "tf1_text",
        "tf1_sparse_signature",
        "tf1_functions",
        format="tf1",
    ),
    **_of("tf1", "tf1_hub", format="tf1-hub"),
    **_of("edited", "tf2_text", "unclaimed_tensors", "two_meta_graphs", "without_checkpoint"),
}


def builders(name: str) -> ModuleType:
    """The module that builds the model of that name; its import registers the classes that it needs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return import_module(f"{__name__}.{SPECIMENS[name].module}")


def build(name: str, target: Path) -> None:
    """Write the model of that name to the directory, which isn't there yet, with the same values in each run.

    Among random ones, outputs are sometimes near 0, and what rounding costs is large beside them.
    """
    build_model, seeds = getattr(builders(name), name), import_module("tensorflow").random
    random.seed(name)  # Keras takes its own seeds from here.
    import_module("numpy").random.seed(1)
    seeds.set_seed(1)
    try:
        build_model(target)
    finally:
        seeds.set_seed(None)  # With a seed, two models that draw random numbers would draw the same ones.
