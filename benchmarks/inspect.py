"""`hubcli inspect` of SavedModels of several sizes, against `saved_model_cli show --all`.

Run it from the top of the repository: `python -m benchmarks.inspect`. Archives on a host, against a
fetch, are measured by `python -m benchmarks.inspect_remote`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
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
from benchmarks.models import MODELS, is_built

_BOUNDED_MODEL = "resnet50"
_SECONDS_BOUND = 0.2
_MEMORY_BOUND_BYTES = 40_000_000
_RATIO_BOUND = 30.0
_PEER = "saved_model_cli show --all"
_SIGNATURE = b"serving_default"
_QUIET_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclass(frozen=True, slots=True)
class _Judgement:
    """One bound of the design page beside what was measured; None where that was left out."""

    what: str
    measured: str
    bound: str
    met: bool | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the tables; 1 where a bound is not met."""
    options = _options(arguments)
    judgements: list[_Judgement] = []
    with tempfile.TemporaryDirectory(prefix="hubcli-inspect-", dir=options.work_dir) as folder:
        work = Path(folder)
        models = options.model_dir or work / "models"
        _build_missing(options.python, models, options.models)
        for name in options.models:
            contenders = _contenders(options.python, models / name, with_peer=not options.skip_peer)
            print(f"{name} …", file=sys.stderr)
            _check_outputs(contenders, work)
            costs = compare(contenders, options.rounds, work)
            print(f"{_described(models / name)}, {options.rounds} rounds", flush=True)
            _print_costs(costs)
            print(flush=True)
            if name == _BOUNDED_MODEL:
                judgements = _judge(costs)
    return _report(judgements)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("inspect", __doc__, rounds=5)
    parser.add_argument(
        "--models",
        nargs="+",
        choices=MODELS,
        default=list(MODELS),
        metavar="NAME",
        help=f"of {', '.join(MODELS)} (default: all)",
    )
    parser.add_argument(
        "--model-dir", type=Path, help="where models are, or are built and kept (default: temp directory)"
    )
    parser.add_argument("--skip-peer", action="store_true", help="measure hubcli alone")
    return parser.parse_args(arguments)


def _build_missing(python: Path, folder: Path, names: Sequence[str]) -> None:
    """Builds in a process of its own: a command's peak memory is never counted below its parent's."""
    missing = [name for name in names if not is_built(folder, name)]
    if not missing:
        return
    print(f"building {', '.join(missing)} …", file=sys.stderr)
    command = [str(python.absolute()), "-m", "benchmarks.models", str(folder.absolute()), *missing]
    top = Path(__file__).parent.parent
    build = subprocess.run(command, cwd=top, env={**os.environ, **_QUIET_TENSORFLOW}, stdout=sys.stderr)
    if build.returncode:
        sys.exit(f"building the models failed with {build.returncode}")


def _contenders(python: Path, model: Path, *, with_peer: bool) -> list[Contender]:
    """The forms of hubcli's inspection, then the peer, which loads TensorFlow and often the model."""

    def hubcli(*options: str) -> Contender:
        return Contender(
            " ".join(("hubcli inspect", *options)),
            lambda folder: [tool_beside(python, "hubcli"), "inspect", str(model), *options],
            lambda folder: {"HUBCLI_CACHE_DIR": str(folder)},
        )

    peer = Contender(
        _PEER,
        lambda folder: [tool_beside(python, "saved_model_cli"), "show", "--dir", str(model), "--all"],
        lambda folder: _QUIET_TENSORFLOW,
    )
    return [hubcli(), hubcli("--json"), *([peer] if with_peer else [])]


def _check_outputs(contenders: Sequence[Contender], work: Path) -> None:
    """Exits where a command fails or doesn't name the signature that each of the models has."""
    for contender in contenders:
        environment = {**os.environ, **contender.environment(work)}
        run = subprocess.run(contender.command(work), env=environment, capture_output=True)
        if run.returncode or _SIGNATURE not in run.stdout:
            what = f"failed with {run.returncode}" if run.returncode else f"names no {_SIGNATURE.decode()}"
            sys.exit(f"{contender.name} {what}:\n{run.stderr.decode(errors='replace')}")


def _described(model: Path) -> str:
    """The model's name and what its two large parts weigh."""
    graph_bytes = (model / "saved_model.pb").stat().st_size
    variable_bytes = sum(path.stat().st_size for path in (model / "variables").iterdir())
    return f"{model.name}: saved_model.pb {graph_bytes / 1e6:.1f} MB, variables {variable_bytes / 1e6:.1f} MB"


def _print_costs(costs: dict[str, list[Cost]]) -> None:
    rows = []
    for name, own in costs.items():
        ratio = _ratio(costs, name)
        rows.append(
            (
                name,
                f"{median_seconds(own):.3f}",
                f"{statistics.median(cost.cpu_seconds for cost in own):.3f}",
                "" if ratio is None else f"{ratio:.1f}",
                f"{_peak_bytes(own) / 1e6:.0f}",
                f"{own[0].output_bytes / 1e3:.1f}",
            )
        )
    print_table(("command", "median s", "CPU s", "peer / it", "peak MB", "output kB"), rows)


def _judge(costs: dict[str, list[Cost]]) -> list[_Judgement]:
    """The three bounds, for each form of `hubcli inspect`."""
    judgements = []
    for name, own in costs.items():
        if name == _PEER:
            continue
        seconds, peak, ratio = median_seconds(own), _peak_bytes(own), _ratio(costs, name)
        judgements += [
            _Judgement(f"{name}, s", f"{seconds:.3f}", f"≤ {_SECONDS_BOUND:.3f}", seconds <= _SECONDS_BOUND),
            _Judgement(
                f"{name}, peak MB",
                f"{peak / 1e6:.1f}",
                f"≤ {_MEMORY_BOUND_BYTES / 1e6:.1f}",
                peak <= _MEMORY_BOUND_BYTES,
            ),
            _Judgement(
                f"{name}, peer / it",
                "" if ratio is None else f"{ratio:.1f}",
                f"≥ {_RATIO_BOUND:.1f}",
                None if ratio is None else ratio >= _RATIO_BOUND,
            ),
        ]
    return judgements


def _ratio(costs: dict[str, list[Cost]], name: str) -> float | None:
    """How often the command fits into its peer's time; None without a peer."""
    return median_seconds(costs[_PEER]) / median_seconds(costs[name]) if _PEER in costs else None


def _peak_bytes(costs: Sequence[Cost]) -> int:
    return max(cost.peak_rss_bytes for cost in costs)


def _report(judgements: Sequence[_Judgement]) -> int:
    if not judgements:
        print(f"no bounds: they are {_BOUNDED_MODEL}'s")
        return 0
    verdicts = {True: "met", False: "not met", None: "not measured"}
    rows = [(each.what, each.measured, each.bound, verdicts[each.met]) for each in judgements]
    print_table((f"bounds, {_BOUNDED_MODEL}", "measured", "bound", "verdict"), rows)
    return 1 if any(each.met is False for each in judgements) else 0


if __name__ == "__main__":
    sys.exit(main())
