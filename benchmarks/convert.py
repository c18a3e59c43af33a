"""`hubcli export` to LiteRT, against the converter called by hand: MobileNetV2, or another built model.

By hand nothing is compared, and nothing names the source. The converter runs in a process of its own for
hubcli, beside the SavedModel's, with which the result is compared: what that costs, `--no-compare` shows.
Run it from the top of the repository, with TensorFlow and tf_keras at hand: `python -m benchmarks.convert`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Contender, compare, median_seconds, options_parser, print_table, tool_beside
from benchmarks.models import MODELS, is_built

_BY_HAND = "tf.lite.TFLiteConverter by hand"
_CONVERT = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
converter = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1])
if len(sys.argv) > 3:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
with open(sys.argv[2], "wb") as file:
    file.write(converter.convert())
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the table."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="hubcli-convert-", dir=options.work_dir) as folder:
        work = Path(folder)
        models = options.model_dir or work / "models"
        if not is_built(models, options.model):
            build = [str(options.python), "-m", "benchmarks.models", str(models), options.model]
            subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        contenders = _contenders(options.python, models / options.model)
        costs = compare(contenders, options.rounds, work)
    by_hand = median_seconds(costs[_BY_HAND])
    rows = [
        (
            name,
            f"{median_seconds(own):.1f}",
            f"{statistics.median(cost.cpu_seconds for cost in own):.1f}",
            f"{max(cost.peak_rss_bytes for cost in own) / 1e6:.0f}",
            f"{median_seconds(own) / by_hand:.2f}",
        )
        for name, own in costs.items()
    ]
    print(f"{options.model}, {options.rounds} rounds")
    print_table(("command", "median s", "CPU s", "peak MB", "it / by hand"), rows)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("convert", __doc__, rounds=3)
    parser.add_argument("--model", choices=sorted(MODELS), default="mobilenet_v2", help="what is converted")
    parser.add_argument("--model-dir", type=Path, help="where the model is, or is built")
    return parser.parse_args(arguments)


def _contenders(python: Path, model: Path) -> list[Contender]:
    hubcli = tool_beside(python, "hubcli")

    def export(*options: str) -> Contender:
        def command(folder: Path) -> list[str]:
            return [hubcli, "export", str(model), str(folder / "model.tflite"), *options]

        return Contender(" ".join(("hubcli export FILE.tflite", *options)), command, check=_require_file)

    def by_hand(name: str, *options: str) -> Contender:
        def command(folder: Path) -> list[str]:
            return [str(python), "-c", _CONVERT, str(model), str(folder / "model.tflite"), *options]

        return Contender(name, command, check=_require_file)

    return [
        export(),
        export("--no-compare"),
        by_hand(_BY_HAND),
        export("--quantize", "dynamic"),
        by_hand(f"{_BY_HAND}, dynamic", "dynamic"),
    ]


def _require_file(folder: Path) -> None:
    """Raises AssertionError where a run wrote no model."""
    assert (folder / "model.tflite").read_bytes()[4:8] == b"TFL3"


if __name__ == "__main__":
    sys.exit(main())
