"""`finetune-export` by both methods on ResNet50, against saving by hand and `cp -r`; memory with 1 GiB too.

Every number of the model gets another value, from a second SavedModel whose
keys are mapped first. By hand means: load both, assign, `tf.saved_model.save`,
without any check. Run it from the top of the repository, with TensorFlow and
tf_keras at hand: `python -m benchmarks.finetune_export`.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.measure import Contender, Cost, compare, median_seconds, options_parser, print_table
from benchmarks.models import is_built

_MODEL = "resnet50"
_PEER, _IMPORT = "cp -r", "the imports of rewrite"
_REWRITE, _RESAVE, _BY_HAND = "finetune-export --method rewrite", "finetune-export", "load and save by hand"
_FOLD_BOUND = 2.0
_MEMORY_BOUND_BYTES = 80_000_000
_LARGE_BYTES = 1 << 30
_XOR_1 = bytes(value ^ 1 for value in range(256))
# What the rewrite imports is what it has imported when it is done.
RECORD_IMPORTS = """
import pathlib, sys
before, file = set(sys.modules), pathlib.Path(sys.argv.pop(1))
from hubcli.cli.main import main
try:
    main()
finally:
    file.write_text("\\n".join(name for name in sys.modules if name not in before))
"""
IMPORT_ALL = """
import importlib, pathlib, sys
for name in pathlib.Path(sys.argv[1]).read_text().split():
    importlib.import_module(name)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the tables; 1 where a bound is not met."""
    options = _options(arguments)
    if options.run:
        _run(*options.run)
        return 0
    is_met = True
    with tempfile.TemporaryDirectory(prefix="hubcli-finetune-", dir=options.work_dir) as folder:
        work = Path(folder)
        models = options.model_dir or work / "models"
        if not is_built(models, _MODEL):
            build = [str(options.python), "-m", "benchmarks.models", str(models), _MODEL]
            subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        shutil.copytree(models / _MODEL, work / "resnet50")
        _python(options.python, "large", str(work / "large"))
        for name, contenders_of in (("resnet50", _commands), ("large", _functions)):
            _python(options.python, "tune", str(work / name), str(work / f"{name}-tuned"))
            contenders = contenders_of(options.python, work / name, work / f"{name}-tuned")
            costs = compare(contenders, options.rounds, work)
            print(f"{name}, {options.rounds} rounds", flush=True)
            is_met &= _report(contenders, costs, with_time=name == "resnet50")
    return 0 if is_met else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("finetune_export", __doc__, rounds=5)
    parser.add_argument("--model-dir", type=Path, help="where benchmarks.models has built its models")
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _python(python: Path, *arguments: str) -> None:
    """One of the steps in a process of its own: this one must stay small."""
    subprocess.run([str(python), "-m", "benchmarks.finetune_export", "--run", *arguments], check=True)


def _commands(python: Path, model: Path, tuned: Path) -> list[Contender]:
    """Whole commands, as a user types them."""
    hubcli = [str(python), "-m", "hubcli", "finetune-export", str(model)]
    weights = ["--weights", str(tuned), "-q"]
    steps = [str(python), "-m", "benchmarks.finetune_export", "--run"]
    modules, once = model.with_name("modules"), str(model.with_name("once"))
    recorded = [str(python), "-c", RECORD_IMPORTS, str(modules), *hubcli[3:], once, *weights]
    subprocess.run([*recorded, "--method", "rewrite"], check=True, stdout=subprocess.DEVNULL)
    return [
        Contender(
            _REWRITE,
            lambda folder: [*hubcli, str(folder / "out"), *weights, "--method", "rewrite"],
            check=_require_model,
        ),
        Contender(_RESAVE, lambda folder: [*hubcli, str(folder / "out"), *weights], check=_require_model),
        Contender(
            _BY_HAND,
            lambda folder: [*steps, "by-hand", str(model), str(tuned), str(folder / "out")],
            check=_require_model,
        ),
        Contender(_IMPORT, lambda folder: [str(python), "-c", IMPORT_ALL, str(modules)]),
        _copying(model),
    ]


def _functions(python: Path, model: Path, tuned: Path) -> list[Contender]:
    """The rewrite alone: the model of 1 GiB has no objects that could be mapped."""
    step = [str(python), "-m", "benchmarks.finetune_export", "--run", "rewrite", str(model), str(tuned)]
    return [
        Contender("rewrite", lambda folder: [*step, str(folder / "out")], check=_require_model),
        _copying(model),
    ]


def _copying(model: Path) -> Contender:
    return Contender(
        _PEER, lambda folder: ["cp", "-r", str(model), str(folder / "out")], check=_require_model
    )


def _require_model(folder: Path) -> None:
    if not (folder / "out/variables/variables.index").is_file():
        sys.exit("a run wrote no model")


def _report(contenders: Sequence[Contender], costs: dict[str, list[Cost]], *, with_time: bool) -> bool:
    limit = _FOLD_BOUND * median_seconds(costs[_PEER])
    limit += median_seconds(costs[_IMPORT]) if with_time else 0.0
    rows, is_met = [], True
    for contender in contenders:
        ours, is_bound = costs[contender.name], "rewrite" in contender.name and contender.name != _IMPORT
        peak = max(cost.peak_rss_bytes for cost in ours)
        met = peak <= _MEMORY_BOUND_BYTES and (not with_time or median_seconds(ours) <= limit)
        is_met &= met or not is_bound
        rows.append(
            (
                contender.name,
                f"{median_seconds(ours):.3f}",
                f"{statistics.median(cost.cpu_seconds for cost in ours):.2f}",
                f"{peak / 1e6:.0f}",
                f"{limit:.3f}" if is_bound and with_time else "",
                ("met" if met else "not met") if is_bound else "",
            )
        )
    print_table(("command", "median s", "CPU s", "peak MB", "bound s", "verdict"), rows)
    return is_met


# The steps, each in its own process ---------------------------------------------------------------


def _run(step: str, *arguments: str) -> None:
    paths = [Path(argument) for argument in arguments]
    if step == "large":
        from benchmarks.verify import write_model

        write_model(paths[0], _LARGE_BYTES)
    elif step == "tune":
        _tune(*paths)
    elif step == "by-hand":
        _by_hand(*paths)
    else:
        _rewrite(*paths)


def _rewrite(model: Path, tuned: Path, out: Path) -> None:
    from hubcli.finetuning.weights import best_measure
    from hubcli.savedmodel.weights.rewrite import RewriteOptions, rewrite
    from hubcli.savedmodel.weights.sources import open_weights

    # The bytes of the model of 1 GiB are random: some of its numbers are NaN.
    rewrite(model, out, open_weights(tuned).tensors, RewriteOptions(allow_nan=True, measure=best_measure()))


def _by_hand(model: Path, tuned: Path, out: Path) -> None:
    import tensorflow as tf

    obj, values = tf.saved_model.load(str(model)), tf.saved_model.load(str(tuned))
    for variable, value in zip(obj.variables, values.variables, strict=True):
        variable.assign(value)
    tf.saved_model.save(obj, str(out), signatures=obj.signatures)


def _tune(model: Path, tuned: Path) -> None:
    """The model with the last bit of every number turned over."""
    from hubcli.formats.tensor_values import TensorValues
    from hubcli.savedmodel.compare.diff import Distance
    from hubcli.savedmodel.weights.rewrite import RewriteOptions, rewrite
    from hubcli.savedmodel.weights.sources import open_weights

    class Tuned(TensorValues):
        def __init__(self, values: TensorValues) -> None:
            super().__init__(values.key, values.dtype, values.shape)
            self._values = values

        def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
            for piece in self._values.pieces(start, end):
                turned = bytearray(piece)
                turned[0::4] = turned[0::4].translate(_XOR_1)
                yield bytes(turned)

    tensors = open_weights(model).tensors
    values = {key: Tuned(tensor) for key, tensor in tensors.items() if tensor.dtype.name == "float32"}
    rewrite(
        model, tuned, values, RewriteOptions(allow_nan=True, measure=lambda dtype, new, old: Distance(None))
    )


if __name__ == "__main__":
    sys.exit(main())
