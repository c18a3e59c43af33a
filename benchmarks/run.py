"""`hubcli run` of one input and of 100,000 rows, against `saved_model_cli run` and a Python loop.

Run it from the top of the repository: `python -m benchmarks.run`, with TensorFlow installed. The rows of the
loop are timed by the loop itself, without its imports; those of hubcli are whole processes.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measure import (
    Contender,
    Cost,
    compare,
    median_seconds,
    options_parser,
    print_table,
    tool_beside,
)

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}
_PEER = "saved_model_cli run"
_BATCH = 64
_BUILD = """
import sys, tensorflow as tf
tiny = tf.Module()
tiny.half = tf.Variable(0.5)
spec = tf.TensorSpec([None, 1], tf.float32, name="x")
tiny.f = tf.function(lambda x: {"y": x * tiny.half + 2.0}, input_signature=[spec])
tf.saved_model.save(tiny, sys.argv[1] + "/tiny", signatures=tiny.f)
small = tf.Module()
small.w = tf.Variable(tf.random.stateless_normal([8, 4], [1, 2]))
spec = tf.TensorSpec([None, 8], tf.float32, name="x")
small.f = tf.function(lambda x: {"y": tf.nn.softmax(x @ small.w)}, input_signature=[spec])
tf.saved_model.save(small, sys.argv[1] + "/small", signatures=small.f)
if "--resnet" in sys.argv:
    import keras
    keras.applications.ResNet50(weights=None).export(sys.argv[1] + "/resnet50", verbose=False)
"""
_LOOP = """
import json, sys, time
import numpy as np, tensorflow as tf
f = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
def flush(rows):
    y = f(x=tf.constant(np.array([row["x"] for row in rows], np.float32)))["y"].numpy()
    for row in y.tolist():
        out.write(json.dumps({"y": row}) + "\\n")
with open(sys.argv[2]) as lines, open(sys.argv[3], "w") as out:
    flush([{"x": [0.0] * 8}])
    began, rows = time.perf_counter(), []
    for line in lines:
        rows.append(json.loads(line))
        if len(rows) == int(sys.argv[4]):
            flush(rows)
            rows = []
    if rows:
        flush(rows)
    print(time.perf_counter() - began)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the tables; 1 where a bound is not met."""
    options = _options(arguments)
    met = True
    with tempfile.TemporaryDirectory(prefix="hubcli-run-", dir=options.work_dir) as folder:
        work = Path(folder)
        build_models(options.python, work, with_resnet=not options.skip_resnet)
        met &= _one_input(options, work, "tiny", (1, 1), ratio=4.5, memory=0.75)
        if not options.skip_resnet:
            met &= _one_input(options, work, "resnet50", (1, 224, 224, 3), ratio=2.0, memory=1.0)
        met &= _rows(options, work)
    return 0 if met else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("run", __doc__, rounds=5)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of JSON Lines")
    parser.add_argument("--skip-resnet", action="store_true", help="leave the large model out")
    return parser.parse_args(arguments)


def build_models(python: Path, work: Path, *, with_resnet: bool) -> None:
    """Saves `tiny` and `small`, and ResNet50 if asked for, into the directory."""
    command = [str(python), "-c", _BUILD, str(work), *(["--resnet"] if with_resnet else [])]
    subprocess.run(command, check=True, stdout=sys.stderr, stderr=subprocess.DEVNULL)


def _write_npy(path: Path, shape: tuple[int, ...]) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape!r}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    count = 1
    for size in shape:
        count *= size
    values = struct.pack(f"<{count}f", *(random.Random(7).random() for _ in range(count)))
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + values)


def one_input(python: Path, models: Path, work: Path, name: str, shape: tuple[int, ...]) -> list[Contender]:
    """One run of a model on the array of a file, put into `work`: hubcli, its dry run, and the peer."""
    model, file = models / name, work / f"{name}.npy"
    named = _input_name(python, model)
    _write_npy(file, shape)

    def hubcli(*more: str) -> Callable[[Path], Sequence[str]]:
        tool = tool_beside(python, "hubcli")
        return lambda folder: [tool, "run", str(model), "--input", f"{named}=@{file}", *more]

    return [
        Contender("hubcli run", hubcli(), lambda folder: {"HUBCLI_CACHE_DIR": str(folder)}),
        Contender(
            "hubcli run --dry-run",
            hubcli("--dry-run"),
            lambda folder: {"HUBCLI_CACHE_DIR": str(folder)},
        ),
        Contender(
            _PEER,
            lambda folder: [
                tool_beside(python, "saved_model_cli"), "run", "--dir", str(model),
                "--tag_set", "serve", "--signature_def", "serving_default", "--inputs", f"{named}={file}",
            ],
            lambda folder: _QUIET,
        ),
    ]  # fmt: skip


def _one_input(
    options: argparse.Namespace,
    work: Path,
    name: str,
    shape: tuple[int, ...],
    *,
    ratio: float,
    memory: float,
) -> bool:
    """One run of a model on arrays of files, and what it costs."""
    contenders = one_input(options.python, work, work, name, shape)
    costs = compare(contenders, options.rounds, work)
    print(f"{name}, {options.rounds} rounds")
    _print_costs(costs)
    own, dry, peer = costs["hubcli run"], costs["hubcli run --dry-run"], costs[_PEER]
    faster = median_seconds(peer) / median_seconds(own)
    share = _peak(own) / _peak(peer)
    rows = [
        ("times as fast as the peer", f"{faster:.2f}", f"≥ {ratio}"),
        ("memory, of the peer's", f"{share:.2f}", f"≤ {memory}"),
        ("dry run, s", f"{median_seconds(dry):.3f}", "≤ 0.2"),
    ]
    print_table(("bound", "measured", "bound"), rows)
    print(flush=True)
    return faster >= ratio and share <= memory


def _input_name(python: Path, model: Path) -> str:
    command = [tool_beside(python, "hubcli"), "inspect", str(model), "--signatures", "--json"]
    document = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    signatures = document["meta_graphs"][0]["signatures"]
    default = next(signature for signature in signatures if signature["name"] == "serving_default")
    return str(default["inputs"][0]["name"])


def _peak(costs: Sequence[Cost]) -> int:
    return max(cost.peak_rss_bytes for cost in costs)


def _print_costs(costs: dict[str, list[Cost]]) -> None:
    rows = [
        (
            name,
            f"{median_seconds(own):.3f}",
            f"{statistics.median(cost.cpu_seconds for cost in own):.3f}",
            f"{_peak(own) / 1e6:.0f}",
        )
        for name, own in costs.items()
    ]
    print_table(("command", "median s", "CPU s", "peak MB"), rows)


def _rows(options: argparse.Namespace, work: Path) -> bool:
    """Rows of JSON Lines through a small model, against a loop over its loaded signature."""
    chance, rows = random.Random(11), work / "rows.jsonl"
    with rows.open("w") as file:
        for _ in range(options.rows):
            file.write(json.dumps({"x": [round(chance.gauss(0, 1), 6) for _ in range(8)]}) + "\n")
    model = str(work / "small")
    hubcli = [
        tool_beside(options.python, "hubcli"), "run", model, "--input", f"@{rows}", "--json-lines",
        "--batch-size", str(_BATCH),
    ]  # fmt: skip
    loops: list[float] = []

    def loop(folder: Path) -> Sequence[str]:
        return [str(options.python), "-c", _LOOP, model, str(rows), str(folder / "out.jsonl"), str(_BATCH)]

    whole: list[float] = []
    for number in range(options.rounds + 1):
        with tempfile.TemporaryDirectory(dir=work) as folder:
            cost = compare([Contender("hubcli run", lambda _: hubcli)], 1, Path(folder))["hubcli run"][0]
            completed = subprocess.run(loop(Path(folder)), check=True, capture_output=True, text=True)
        if number:
            whole.append(cost.seconds)
            loops.append(float(completed.stdout))
    rate, peer = options.rows / statistics.median(whole), options.rows / statistics.median(loops)
    print(f"{options.rows} rows, batches of {_BATCH}")
    print_table(
        ("", "rows/s"),
        [
            ("hubcli run, whole process", f"{rate:.0f}"),
            ("Python loop, without its start", f"{peer:.0f}"),
            ("share (≥ 0.8)", f"{rate / peer:.2f}"),
        ],
    )
    return bool(rate >= 0.8 * peer)


if __name__ == "__main__":
    sys.exit(main())
