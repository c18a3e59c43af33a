"""What `hubcli run` prints of outputs, of batches that a test makes up."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hubcli.cli.output import Output
from hubcli.cli.run_output import OutputOptions, RunOutput
from hubcli.commands.run import RunOptions
from hubcli.config.settings import Settings
from hubcli.errors import UsageError
from hubcli.running.session import OutputBatch
from hubcli.tf.run_protocol import Tensor
from tests.running.ports import port, signature

NAN = float("nan")
CLASSES = Tensor(1, (2, 3), struct.pack("<6f", 0.25, 0.5, 0.125, NAN, -1, 8))


def lines(capsys: pytest.CaptureFixture[str], top: int | None, labels: str | None = None) -> list[Any]:
    form = OutputOptions(None, False, True, top, labels, None, False)
    run = RunOutput("model", Settings.read({}), RunOptions(), Output(), form)
    opened: Any = SimpleNamespace(
        endpoint=signature(port("x"), outputs=(port("y", shape=(None, 3)),)),
        outputs=lambda: iter([OutputBatch(((CLASSES,),), 2, False, (0.1,))]),
    )
    run._print_lines(opened)
    return [json.loads(line)["y"] for line in capsys.readouterr().out.splitlines()]


def test_each_row_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = lines(capsys, None)
    assert first == [0.25, 0.5, 0.125]
    assert second[1:] == [-1.0, 8.0]


def test_the_best_classes_of_each_row_are_ranked_and_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("cat\ndog\nbird\n")
    first, second = lines(capsys, 2, str(file))
    assert [(own["index"], own["label"], own["value"]) for own in first] == [
        (1, "dog", 0.5),
        (0, "cat", 0.25),
    ]
    assert [own["label"] for own in second] == ["bird", "dog"]
    assert [[own["index"] for own in row] for row in lines(capsys, 1)] == [[1], [2]]
    file.write_text("cat\ndog\n")
    with pytest.raises(UsageError, match="The file has 2 labels, and y has 3 classes"):
        lines(capsys, 2, str(file))
