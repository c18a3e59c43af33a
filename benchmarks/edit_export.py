"""Edited exports: ResNet50 with Adam for serving, with whole and half weights.

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

from benchmarks.measure import options_parser, print_table, tool_beside
from benchmarks.models import is_built

_MODEL = "resnet50_adam"
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
    """Measures and prints the table."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="hubcli-edit-", dir=options.work_dir) as folder:
        work = Path(folder)
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
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("edit_export", __doc__, rounds=5)
    parser.add_argument("--model-dir", type=Path, help=f"where {_MODEL} is, or is built")
    return parser.parse_args(arguments)


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
