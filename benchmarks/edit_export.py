"""Edited exports: a signature renamed in a model of 400 MB against `cp -r`; ResNet50 with Adam for serving.

Of ResNet50, trained for one step by tf_keras, the sizes and the processor time of loading are told, before
and after: by `tf.saved_model.load`, and by the session loader in TensorFlow's C library. Run it from the top
of the repository, with TensorFlow and tf_keras at hand: `python -m benchmarks.edit_export`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.measure import Contender, compare, median_seconds, options_parser, print_table, tool_beside
from benchmarks.models import is_built
from benchmarks.verify import write_model

_COPY, _MODEL, _FOLD_BOUND = "cp -r", "resnet50_adam", 1.2
_RENAME = ("--rename-signature", "serving_default=predict", "--no-compare")
_EDITS = {
    "--serving": ("--serving",),
    "--serving --half float16": ("--serving", "--half", "float16"),
}
_LOAD_BY_PYTHON = """
import os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
began = time.process_time()
tf.saved_model.load(sys.argv[1])
print(time.process_time() - began)
"""
_LOAD_BY_SESSION = """
import os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from hubcli.tf.c_api import CApiLibrary, CApiSession
from hubcli.tf.run_process import find_library
library = CApiLibrary(str(find_library()))
CApiSession(library)
began = time.process_time()
CApiSession(library, sys.argv[1], ["serve"])
print(time.process_time() - began)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the tables; 1 where a rename takes longer than its bound."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="hubcli-edit-", dir=options.work_dir) as folder:
        work = Path(folder)
        fold = _rename(options, work)
        models = options.model_dir or work / "models"
        if not is_built(models, _MODEL):
            build = [str(options.python), "-m", "benchmarks.models", str(models), _MODEL]
            subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        rows = list(_edits(options, models / _MODEL, work))
    titles = (
        "ResNet50 with Adam",
        "saved_model.pb MB",
        "variables MB",
        "TF2 load CPU s",
        "session load CPU s",
        "error",
    )
    print_table(titles, rows)
    return 0 if fold <= _FOLD_BOUND else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("edit_export", __doc__, rounds=5)
    parser.add_argument("--size-mib", type=int, default=384, help="MiB of the tensors of the renamed model")
    parser.add_argument("--model-dir", type=Path, help=f"where {_MODEL} is, or is built")
    return parser.parse_args(arguments)


def _rename(options: argparse.Namespace, work: Path) -> float:
    """Prints what a rename and a copy take; how many times as long the rename takes."""
    model, hubcli = work / "model", tool_beside(options.python, "hubcli")
    write_model(model, options.size_mib << 20)

    def export(folder: Path) -> list[str]:
        return [hubcli, "export", str(model), str(folder / "DIR"), *_RENAME, "--no-sync"]

    contenders = [
        Contender("hubcli export --rename-signature", export),
        Contender(_COPY, lambda folder: ["cp", "-r", str(model), str(folder / "DIR")]),
    ]
    costs = compare(contenders, options.rounds, work)
    copy = median_seconds(costs[_COPY])
    rows = [
        (
            name,
            f"{median_seconds(ours):.2f}",
            f"{statistics.median(cost.cpu_seconds for cost in ours):.2f}",
            f"{max(cost.peak_rss_bytes for cost in ours) / 1e6:.0f}",
            f"{median_seconds(ours) / copy:.2f}",
        )
        for name, ours in costs.items()
    ]
    print(f"model {options.size_mib} MiB, {options.rounds} rounds")
    print_table(("command", "median s", "CPU s", "peak MB", f"it / {_COPY}"), rows)
    return median_seconds(costs[contenders[0].name]) / copy


def _edits(options: argparse.Namespace, model: Path, work: Path) -> Iterator[tuple[str, ...]]:
    """A row for the model, and one for each of its edited exports."""
    yield ("as it is", *_measured(options, model), "")
    for place, (name, edits) in enumerate(_EDITS.items()):
        export = work / f"edited-{place}"
        command = [tool_beside(options.python, "hubcli"), "export", str(model), str(export), *edits, "--json"]
        document = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        error = document["edited"]["largest_error"]
        yield name, *_measured(options, export), f"{error:.1g}" if error else "equal"


def _measured(options: argparse.Namespace, model: Path) -> Iterator[str]:
    yield f"{(model / 'saved_model.pb').stat().st_size / 1e6:.2f}"
    yield f"{sum(file.stat().st_size for file in (model / 'variables').iterdir()) / 1e6:.1f}"
    for program in (_LOAD_BY_PYTHON, _LOAD_BY_SESSION):
        command = [str(options.python), "-c", program, str(model)]
        times = [
            float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for _ in range(min(3, options.rounds))
        ]
        yield f"{statistics.median(times):.2f}"


if __name__ == "__main__":
    sys.exit(main())
