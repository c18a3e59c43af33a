"""benchmarks/rows.py and what reads its runs: bounds, the guard against slower commands, the page."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import benchmarks
from benchmarks import floors, plots, results
from benchmarks.fetch import pack_repeated
from benchmarks.latency import delaying_proxy
from benchmarks.measure import Contender, Cost, tool_beside
from benchmarks.results import Measurement, Run
from benchmarks.row import Group, Row
from hubcli import fetch
from hubcli.config.settings import Settings
from tests.cases import each_of


def measured(name: str = "ls", seconds: float = 1.0, peak_bytes: int = 100, **more: object) -> Measurement:
    return replace(Measurement("start", name, seconds, seconds, seconds, peak_bytes), **more)  # type: ignore[arg-type]


def test_a_row_has_medians_the_largest_peak_and_the_share_of_its_peer() -> None:
    own = [Cost(1.0, 0.5, 10, 0), Cost(3.0, 0.7, 30, 0), Cost(2.0, 0.6, 20, 0)]
    peers = [Cost(4.0, 1.2, 10, 0)] * 3

    row = Measurement.of("start", "ls", own, "cat", peers, bound=0.6)

    assert (row.seconds, row.least_seconds, row.cpu_seconds, row.peak_bytes) == (2.0, 1.0, 0.6, 30)
    assert (row.share, row.is_met) == (0.5, True)
    assert row.cpu_share == pytest.approx(0.5)


@each_of(
    "kind, bound, is_met",
    [
        ("share", 0.5, True),
        ("share", 0.49, False),
        ("speed", 2.0, True),
        ("speed", 2.1, False),
        ("seconds", 1.0, True),
        ("seconds", 0.9, False),
        ("megabytes", 80, True),
        ("megabytes", 79, False),
        ("share", None, None),
    ],
)
def test_a_bound_is_judged_by_its_kind(kind: str, bound: float | None, is_met: bool | None) -> None:
    row = measured(peak_bytes=80_000_000, peer="cat", share=0.5, bound=bound, bound_kind=kind)

    assert row.is_met is is_met
    assert replace(row, skipped="no nginx").is_met is None
    # Of processor time, the same bound of what the machine did for it alone.
    busy = replace(row, seconds=9.0, share=9.0, cpu_share=0.5, by_cpu=True)
    assert busy.is_met is is_met
    if bound is not None:
        assert (plots.taken_of_bound(row) <= 1) is is_met


def run_of(*rows: Measurement) -> Run:
    return Run(rows, "2026-01-01T00:00:00+00:00", "Linux", 2, 0.0)


@each_of(
    "change, says",
    [
        ({}, "0 worse"),
        ({"seconds": 1.09}, "0 worse"),
        ({"seconds": 1.11}, "1 worse"),
        ({"peak_bytes": 109}, "0 worse"),
        ({"peak_bytes": 111}, "1 worse"),
        # The machine was slower, as its peer shows.
        ({"seconds": 5.0, "peer": "cat", "share": 0.5}, "0 worse"),
        ({"seconds": 0.1, "peer": "cat", "share": 0.56}, "1 worse"),
        ({"cpu_seconds": 5.0}, "0 worse"),
    ],
)
def test_two_runs_are_compared_row_by_row(change: dict[str, object], says: str, tmp_path: Path) -> None:
    old = measured(peer="cat", share=0.5) if "peer" in change else measured()
    run_of(old, measured("rm")).write(tmp_path / "old.json")
    run_of(replace(old, **change), measured("rm"), measured("new")).write(tmp_path / "new.json")  # type: ignore[arg-type]

    status = results.main([str(tmp_path / "old.json"), str(tmp_path / "new.json")])

    assert status == int(says == "1 worse")


def test_processor_time_decides_where_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_of(measured()).write(tmp_path / "old.json")
    run_of(measured(cpu_seconds=1.2), measured("gone", skipped="no nginx")).write(tmp_path / "new.json")
    paths = [str(tmp_path / "old.json"), str(tmp_path / "new.json")]

    assert results.main(paths) == 0
    assert results.main([*paths, "--by", "cpu"]) == 1
    assert " 1.200 " in capsys.readouterr().out


def test_a_row_that_is_measured_no_more_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_of(measured("gone"), measured("skipped")).write(tmp_path / "old.json")
    run_of(measured("skipped", skipped="no nginx")).write(tmp_path / "new.json")

    results.main([str(tmp_path / "old.json"), str(tmp_path / "new.json")])

    lines = capsys.readouterr().out.splitlines()
    assert f"not in {tmp_path}/new.json: start: gone" in lines
    assert f"skipped in {tmp_path}/new.json: start: skipped: no nginx" in lines


@each_of("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "rows": [{"name": 1}]}'])
def test_what_is_no_run_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)

    with pytest.raises(SystemExit, match=r"run\.json"):
        Run.read(tmp_path / "run.json")


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = run_of(measured(bound=1.4), measured("rm", skipped="no nginx"))
    run.write(tmp_path / "run.json")

    assert Run.read(tmp_path / "run.json") == run
    assert json.loads((tmp_path / "run.json").read_text())["schema"] == 1


def test_the_picture_has_a_bar_for_each_row_with_a_bound() -> None:
    rows = [
        measured("a <b>", bound=2.0, bound_kind="seconds"),
        measured("c"),
        measured("d", bound=9, skipped="x"),
    ]

    svg = plots.picture(rows)

    assert svg.count("<rect") == 1
    assert "a &lt;b&gt;" in svg
    assert "50% of the bound" in svg


@pytest.mark.sources
def test_the_page_and_its_picture_are_those_of_the_run_that_is_kept() -> None:
    assert plots.main(["--check"]) == 0


def test_rows_of_one_command_run_it_once_a_round_and_a_skipped_group_never(tmp_path: Path) -> None:
    log = tmp_path / "log"
    own = Contender("own", lambda _: ["sh", "-c", 'echo own >> "$0"', str(log)])
    peer = Contender("peer", lambda _: ["sh", "-c", 'echo peer >> "$0"', str(log)])
    group = Group(2, [Row("a", own, "peer", 9.0), Row("b", own)], [peer])

    rows = group.measure("shell", tmp_path)
    assert [row.name for row in rows] == ["a", "b", "peer"]
    assert log.read_text().split().count("own") == 3  # One to warm up.

    replace(group, warms_up=False).measure("shell", tmp_path)
    assert log.read_text().split().count("own") == 5
    skipped = replace(group, skipped="the machine has 2 cores").measure("shell", tmp_path)
    assert [row.skipped for row in skipped] == ["the machine has 2 cores"] * 2
    assert log.read_text().split().count("own") == 5


def test_a_row_whose_peer_is_not_installed_is_skipped_alone(tmp_path: Path) -> None:
    own = Contender("own", lambda _: ["true"])
    rows = [Row("a", own), Row("b", own, "peer", 1.0, skipped="peer is not installed")]

    found = Group(1, rows, warms_up=False).measure("shell", tmp_path)

    assert [(row.name, row.skipped, row.bound) for row in found] == [
        ("a", "", None),
        ("b", "peer is not installed", 1.0),
    ]


def test_each_row_that_is_kept_has_its_memory() -> None:
    run = Run.read(Path(benchmarks.__file__).with_name("costs.json"))

    assert [row.name for row in run.rows if not row.skipped and row.peak_bytes < 1 << 20] == []


def test_each_floor_does_the_work_that_it_stands_for(settings: Settings, tmp_path: Path) -> None:
    model, python = fetch("example://mul/1", settings).path, Path(sys.executable)
    shards = sorted(model.glob("variables/*.data-*"))
    words = ("finetune-export", str(model), "-q", "--weights", str(model), "--method", "rewrite")

    for contender in (
        floors.hashing(python, "one shard", shards),
        floors.hashing(python, "two shards", shards * 2),
        floors.parsing(python, "parsed", model),
        floors.copying_after(tool_beside(python, "hubcli"), "copied", model, model),
        floors.rewriting(python, "rewritten", (*words, "--allow-unchanged"), tmp_path),
    ):
        (tmp_path / contender.name).mkdir()
        subprocess.run(contender.command(tmp_path / contender.name), check=True)

    copies = {name: {path.name for path in (tmp_path / name).iterdir()} for name in ("copied", "rewritten")}
    assert copies == {"copied": {"small", "out"}, "rewritten": {"once", "again"}}
    assert "hubcli.savedmodel.weights.rewrite" in (tmp_path / "modules").read_text().split()


def test_the_huge_archive_is_many_streams_of_one_model(settings: Settings, tmp_path: Path) -> None:
    pack_repeated(tmp_path / "huge.tar.gz", 9 << 20)

    result = fetch(f"file://{tmp_path}/huge.tar.gz", settings)

    assert (result.path / "assets/weights.bin").stat().st_size == 8 << 20  # Whole blocks.


def test_the_proxy_delays_and_gives_what_came() -> None:
    content = bytes(range(256)) * 12_000  # Three windows.

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(content)
        await writer.drain()
        writer.close()

    async def received() -> tuple[bytes, float]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, delaying_proxy(server.sockets[0].getsockname()[1], 0.05) as port:
            began_s = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET\n")
            got = await reader.read(-1)
            writer.close()
            return got, time.monotonic() - began_s

    got, seconds = asyncio.run(received())
    assert got == content
    assert seconds >= 4 * 0.05  # The handshake, the request and its answer, and two windows more.
