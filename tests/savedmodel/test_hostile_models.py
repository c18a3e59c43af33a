"""Small files that would cost much to read: refused or read in bounded time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.formats.tables import bundle_entry, bundle_header, delimited, entries_block, number, table, varint

_CHILD = """
import json, sys, time
from pathlib import Path
from hubcli.errors import BrokenModelError
from hubcli.savedmodel.layout import check_structure

started = time.process_time()
try:
    check_structure(Path(sys.argv[1]))
except BrokenModelError:
    pass
seconds = time.process_time() - started
status = Path("/proc/self/status").read_text().splitlines()
peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps([seconds, peak_kib / 1024]))
"""


class Cost(NamedTuple):
    """What a check costs in a process of its own: processor time, since others are busy meanwhile."""

    seconds: float
    peak_mib: float


def _cost_of_check(model: Path) -> Cost:
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process's memory is read from /proc")
    command = [sys.executable, "-c", _CHILD, str(model)]
    result = subprocess.run(command, capture_output=True, check=True, text=True, timeout=100)
    return Cost(*json.loads(result.stdout))


def _cost_of_graph(folder: Path, content: bytes) -> Cost:
    (folder / "saved_model.pb").write_bytes(content)
    return _cost_of_check(folder)


def _cost_of_index(folder: Path, index: bytes) -> Cost:
    (folder / "saved_model.pb").write_bytes(delimited(2, delimited(1, b"")))
    (folder / "variables").mkdir()
    (folder / "variables" / "variables.index").write_bytes(index)
    return _cost_of_check(folder)


@pytest.mark.slow
def test_a_million_empty_meta_graphs_cost_little(tmp_path: Path) -> None:
    cost = _cost_of_graph(tmp_path, delimited(2, b"") * 1_000_000)
    assert cost.seconds < 2
    assert cost.peak_mib < 80


@pytest.mark.slow
def test_a_million_small_fields_cost_little(tmp_path: Path) -> None:
    cost = _cost_of_graph(tmp_path, delimited(2, delimited(1, b"") + number(9, 1) * 1_000_000))
    assert cost.seconds < 2
    assert cost.peak_mib < 80


@pytest.mark.slow
def test_hundreds_of_thousands_of_different_fields_cost_little(tmp_path: Path) -> None:
    fields = b"".join(number(field, 0) for field in range(16, 600_000))
    cost = _cost_of_graph(tmp_path, delimited(2, delimited(1, b"") + fields))
    assert cost.seconds < 4
    assert cost.peak_mib < 80


def test_an_identifier_of_200_megabytes_is_not_read(tmp_path: Path) -> None:
    size = 200_000_000
    # The file is a hole behind the heads of the four messages around the identifier.
    head = b"\x0a" + varint(size)
    for field in (4, 1, 7):
        head = varint(field << 3 | 2) + varint(size + len(head)) + head
    head = delimited(1, b"") + head
    head = b"\x12" + varint(size + len(head)) + head
    with (tmp_path / "saved_model.pb").open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    assert _cost_of_check(tmp_path).peak_mib < 80


@pytest.mark.slow
@pytest.mark.parametrize(("length", "count"), [(50_000, 5_000), (10_000, 30_000)])
def test_keys_that_share_a_long_beginning_cost_little(tmp_path: Path, length: int, count: int) -> None:
    # Less than 300 kB of index stand for 250 MB of keys and more.
    entries = varint(0) + varint(0) + varint(2) + bundle_header(1)[:2]
    entries += varint(0) + varint(length) + varint(0) + b"k" * length
    entries += b"".join(varint(length) + b"\3\0" + place.to_bytes(3, "big") for place in range(count))
    cost = _cost_of_index(tmp_path, table([entries + entries_block([])]))
    assert cost.peak_mib < 80


@pytest.mark.slow
def test_a_snappy_bomb_costs_little(tmp_path: Path) -> None:
    block = varint(1 << 28) + b"\0a" + b"\xfe\1\0" * 300_000
    cost = _cost_of_index(tmp_path, table([block], kind=1))
    assert cost.peak_mib < 120
    assert cost.seconds < 5


def test_ten_thousand_tensors_are_read_in_reasonable_time(tmp_path: Path) -> None:
    entries = [(b"layer/%06d" % place, bundle_entry(0, 4 * place, 4)) for place in range(10_000)]
    block = entries_block([(b"", bundle_header(1)), *entries])
    cost = _cost_of_index(tmp_path, table([block]))
    assert cost.seconds < 2
