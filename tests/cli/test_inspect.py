"""`hubcli inspect` as a process: its forms, exit statuses and layouts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from hubcli.formats.checksums import unmask_crc32c
from tests.cases import each_of
from tests.cli.terminal import run_on_terminal
from tests.conftest import Run
from tests.corpus import CORPUS, corpus_model
from tests.golden import compare_golden
from tests.savedmodel.protos import (
    FLOAT,
    Func,
    Objects,
    Spec,
    asset_file,
    call_signature,
    function,
    graph,
    index,
    init_signature,
    meta_graph,
    node,
    saver,
    write_model,
)

MODELS = ("serving_half_plus_two", "tfx_keras_serving")
PARTS = ("--signatures", "--functions", "--variables", "--assets", "--ops", "--tree", "--check", "--scan")


def compare(name: str, text: str) -> None:
    text = text.replace(str(CORPUS), "CORPUS")
    text = re.sub(r"first [\d.]+ k?B", "first N", text)
    text = re.sub(r'("received_bytes": )\d+', r"\1N", text)
    text = re.sub(r"Read [\d.]+ k?B of", "Read N of", text)
    compare_golden(name, text)


def good_model(
    folder: Path, *, value: int = 7, size: int = 4, version: str = "2.21.0", **extra: bytes
) -> Path:
    """A model that conforms."""
    objects = Objects()
    kernel = objects.variable("kernel", shape=(size, 2))
    objects.function("__call__", objects.concrete("f", Spec(FLOAT, (None, size), "x"), captures=[kernel]))
    objects.list_of("variables", [kernel])
    objects.list_of("trainable_variables", [kernel])
    encoded = meta_graph(
        graph(
            node("o", "StatefulPartitionedCall", f=Func("f")), functions=[function("f", node("m", "MatMul"))]
        ),
        objects,
        version=version,
        signature_def={"serving_default": call_signature("o:0")},
        asset_file_def=[asset_file("a:0", "vocab.txt")],
    )
    files = {"assets/vocab.txt": b"a\nb\n", **{name.replace("__", "/"): data for name, data in extra.items()}}
    return write_model(folder, encoded, index_bytes=index(kernel=(FLOAT, (size, 2), value)), files=files)


def evil_model(folder: Path, *ops: str) -> Path:
    """A model whose graph has those ops."""
    return write_model(folder, meta_graph(graph(*(node(f"n{place}", op) for place, op in enumerate(ops)))))


# Golden output -----------------------------------------------------------------------------------


def test_the_example_is_shown(hubcli: Run) -> None:
    result = hubcli("inspect", "example://mul/1")
    compare(
        "inspect-example.pipe.txt",
        f"exit {result.returncode}\n--- stdout\n{result.stdout}--- stderr\n{result.stderr}",
    )


def test_the_example_as_json(hubcli: Run) -> None:
    compare("inspect-example.json", hubcli("inspect", "example://mul/1", "--json").stdout)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_the_corpus_is_shown(hubcli: Run, name: str) -> None:
    result = hubcli("inspect", str(corpus_model(name)))
    compare(
        f"inspect-{name}.pipe.txt",
        f"exit {result.returncode}\n--- stdout\n{result.stdout}--- stderr\n{result.stderr}",
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_the_corpus_as_json(hubcli: Run, name: str) -> None:
    compare(f"inspect-{name}.json", hubcli("inspect", str(corpus_model(name)), "--json").stdout)


def test_the_keys_of_the_document_are_those_that_scripts_rely_on(hubcli: Run, tmp_path: Path) -> None:
    document = json.loads(hubcli("inspect", str(good_model(tmp_path / "m")), "--json").stdout)
    assert list(document) == [
        "schema", "target", "path", "received_bytes", "format", "root_class", "tensorflow_version",
        "fingerprint", "sizes", "meta_graphs", "functions", "variables", "parameters", "lists",
        "regularization_losses", "checkpoint", "assets", "findings", "reusable",
    ]  # fmt: skip
    assert document["schema"] == 1
    assert document["functions"][0]["call"] == "obj(x)"
    assert document["variables"][0]["checkpoint_key"] == "kernel/.ATTRIBUTES/VARIABLE_VALUE"
    assert document["reusable"] == {"conforms": True, "problems": []}
    assert document["assets"] == [{"path": "assets/vocab.txt", "size_bytes": 4, "present": True}]


# Exit statuses -----------------------------------------------------------------------------------


def test_without_checks_a_model_with_findings_is_no_failure(hubcli: Run, tmp_path: Path) -> None:
    assert hubcli("inspect", str(evil_model(tmp_path / "m", "PyFunc"))).returncode == 0


def test_a_model_that_conforms_passes_the_check(hubcli: Run, tmp_path: Path) -> None:
    result = hubcli("inspect", str(good_model(tmp_path / "m")), "--check")
    assert (result.returncode, result.stderr) == (0, "")
    assert "conforms" in result.stdout


def test_a_model_that_does_not_conform_fails_the_check(hubcli: Run, tmp_path: Path) -> None:
    result = hubcli("inspect", str(evil_model(tmp_path / "m")), "--check")
    assert result.returncode == 9
    assert "[no-object]" in result.stdout
    assert "export it again" in result.stdout


@each_of("form", ["--json", "-q"])
def test_the_checks_exit_alike_in_every_form(hubcli_in_turn: Run, tmp_path: Path, form: str) -> None:
    model = str(evil_model(tmp_path / "m", "WriteFile"))
    assert hubcli_in_turn("inspect", model, "--check", form).returncode == 9
    assert hubcli_in_turn("inspect", model, "--scan", form).returncode == 9


_WORST = {"PyFunc": 4, "WriteFile": 3, "XlaCustomCall": 2, "Print": 1, "MatMul": -1}
_WORDS = ("info", "low", "medium", "high", "critical")


@each_of("op", _WORST)
def test_the_scan_fails_from_the_severity_on_that_is_named(
    hubcli_in_turn: Run, tmp_path: Path, op: str
) -> None:
    model = str(evil_model(tmp_path / "m", op))
    for place, word in enumerate(_WORDS):
        expected = 9 if _WORST[op] >= place else 0
        assert hubcli_in_turn("inspect", model, "--scan", "--fail-on", word).returncode == expected, word
    assert hubcli_in_turn("inspect", model, "--scan").returncode == (9 if _WORST[op] >= 3 else 0)


def test_a_severity_that_is_none_is_a_fault_of_the_command_line(hubcli: Run, tmp_path: Path) -> None:
    result = hubcli("inspect", str(evil_model(tmp_path / "m")), "--scan", "--fail-on", "grave")
    assert result.returncode == 2
    assert "info, low, medium, high, critical" in result.stderr


def test_a_severity_that_is_none_is_told_without_a_scan_too(hubcli: Run, tmp_path: Path) -> None:
    assert hubcli("inspect", str(evil_model(tmp_path / "m")), "--fail-on", "grave").returncode == 2


def test_a_save_that_the_saver_asks_for_passes_the_scan(hubcli: Run, tmp_path: Path) -> None:
    encoded = graph(node("s", "SaveV2", "p"), node("p", "Const"), node("d", "Identity", "p", "^s"))
    harmless = write_model(tmp_path / "a", meta_graph(encoded, saver_def=saver("d:0", filename="p:0")))
    assert hubcli("inspect", str(harmless), "--scan", "--fail-on", "info").returncode == 0
    signature = {"__saved_model_init_op": init_signature("s")}
    evil = write_model(tmp_path / "b", meta_graph(encoded, saver_def=saver("d:0"), signature_def=signature))
    assert hubcli("inspect", str(evil), "--scan").returncode == 9


@each_of(
    "target, status",
    [("/gone", 4), ("0" * 40, 4), ("not a handle", 3), ("https://tfhub.dev/a/b/1 --offline", 5)],
)
def test_failures_have_the_exit_status_of_their_kind(hubcli_in_turn: Run, target: str, status: int) -> None:
    arguments = target.split(" --") if " --" in target else [target]
    result = hubcli_in_turn("inspect", *arguments[:1], *(f"--{part}" for part in arguments[1:]))
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")


def test_a_broken_model_is_an_error_in_json_too(hubcli: Run, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    result = hubcli("inspect", str(tmp_path), "--json")
    assert result.returncode == 6
    error = json.loads(result.stdout)["error"]
    assert "git-LFS" in error["message"]
    assert "git lfs pull" in error["hint"]


# Options -----------------------------------------------------------------------------------------


def test_tags_choose_one_graph(hubcli_in_turn: Run, tmp_path: Path) -> None:
    graphs = [meta_graph(tags=("serve",)), meta_graph(tags=("serve", "gpu")), meta_graph(tags=())]
    model = str(write_model(tmp_path, *graphs))
    for tags, expected in (
        ("serve", ["serve"]),
        ("gpu,serve", ["gpu", "serve"]),
        ("serve, gpu", ["gpu", "serve"]),
        ("", []),
    ):
        result = hubcli_in_turn("inspect", model, "--tag-set", tags, "--json")
        assert [graph["tags"] for graph in json.loads(result.stdout)["meta_graphs"]] == [expected]
    result = hubcli_in_turn("inspect", model, "--tag-set", "train")
    assert result.returncode == 2
    assert "--tag-set" in result.stderr


def test_quiet_prints_the_path_alone(hubcli: Run, tmp_path: Path) -> None:
    model = good_model(tmp_path / "m")
    result = hubcli("inspect", str(model), "-q")
    assert (result.stdout, result.stderr) == (f"{model}\n", "")
    assert hubcli("inspect", "example://mul/1", "-q").stdout == "example://mul/1\n"


@each_of("part", PARTS)
def test_one_part_is_shown_alone(hubcli_in_turn: Run, tmp_path: Path, part: str) -> None:
    result = hubcli_in_turn("inspect", str(good_model(tmp_path / "m")), part)
    assert result.returncode == 0
    assert result.stdout.count("\n\n") <= 1


def test_a_picture_is_written(hubcli: Run, tmp_path: Path) -> None:
    picture = tmp_path / "picture.svg"
    model = str(good_model(tmp_path / "m"))
    result = hubcli("inspect", model, "--tree", "--svg", str(picture))
    assert result.returncode == 0
    assert picture.read_text(encoding="utf-8").startswith("<svg")
    require_whole_lines(picture.read_text(encoding="utf-8"))
    assert "kernel" in picture.read_text(encoding="utf-8")
    result = hubcli("inspect", model, "--svg", str(tmp_path / "gone" / "picture.svg"))
    assert result.returncode == 8
    assert "Cannot write" in result.stderr


def test_a_cached_model_is_found_by_its_key(hubcli: Run) -> None:
    path = hubcli("fetch", "example://mul/1").stdout.strip()
    result = hubcli("inspect", Path(path).name)
    assert result.returncode == 0
    assert result.stdout.startswith("example://mul/1")


# Differences -------------------------------------------------------------------------------------


def test_a_model_does_not_differ_from_itself(hubcli: Run, tmp_path: Path) -> None:
    model, other = (str(good_model(tmp_path / name)) for name in "ab")
    result = hubcli("inspect", model, "--diff", other)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "No differences\n")
    document = json.loads(hubcli("inspect", model, "--diff", other, "--json").stdout)
    assert (document["alike"], document["differences"]) == (True, [])


def test_differences_are_lines_with_a_sign(hubcli: Run, tmp_path: Path) -> None:
    model = str(good_model(tmp_path / "a"))
    other = str(good_model(tmp_path / "b", size=5, version="2.20.0"))
    result = hubcli("inspect", model, "--diff", other)
    assert result.returncode == 9
    lines = result.stdout.splitlines()
    assert lines[:2] == [f"--- {model}", f"+++ {other}"]
    assert "~ variable kernel: float32[4, 2], trainable => float32[5, 2], trainable" in lines
    assert "~ version: 2.21.0 => 2.20.0" in lines
    assert any(line.startswith("- function __call__(float32[?, 4])") for line in lines)
    assert any(line.startswith("+ function __call__(float32[?, 5])") for line in lines)


def _masked_note(masked: int) -> str:
    return f"crc32c {unmask_crc32c(masked):08x}"


def test_values_differ_by_their_checksums(hubcli: Run, tmp_path: Path) -> None:
    model, other = str(good_model(tmp_path / "a")), str(good_model(tmp_path / "b", value=8))
    result = hubcli("inspect", model, "--diff", other, "--json")
    assert result.returncode == 9
    assert json.loads(result.stdout)["differences"] == [
        {"part": "value", "name": "kernel", "left": _masked_note(7), "right": _masked_note(8)}
    ]


def test_assets_differ_by_their_size(hubcli: Run, tmp_path: Path) -> None:
    model = str(good_model(tmp_path / "a"))
    other = str(good_model(tmp_path / "b", assets__vocab=b""))
    (Path(other) / "assets" / "vocab.txt").write_bytes(b"longer than that")
    result = hubcli("inspect", model, "--diff", other)
    assert "~ asset assets/vocab.txt: 4 bytes, sha256 " in result.stdout
    (Path(other) / "assets" / "vocab.txt").unlink()
    assert " => missing" in hubcli("inspect", model, "--diff", other).stdout


def test_assets_of_one_size_differ_by_their_content(hubcli: Run, tmp_path: Path) -> None:
    model, other = str(good_model(tmp_path / "a")), str(good_model(tmp_path / "b"))
    (Path(other) / "assets" / "vocab.txt").write_bytes(b"b\na\n")
    assert hubcli("inspect", model, "--diff", other).returncode == 9


def test_a_model_that_is_not_there_can_not_be_compared(hubcli: Run, tmp_path: Path) -> None:
    assert hubcli("inspect", str(good_model(tmp_path / "m")), "--diff", "/gone").returncode == 4


# Layout ------------------------------------------------------------------------------------------

_SEQUENCE = re.compile("\x1b\\[[0-9;]*m")


def screen_of(arguments: Sequence[str], columns: int, **variables: str) -> list[str]:
    command = [sys.executable, "-m", "hubcli", "inspect", *arguments]
    _, screen = run_on_terminal(command, {**os.environ, **variables}, columns=columns)
    return _SEQUENCE.sub("", screen).splitlines()


_LAYOUTS = {
    "overview": (),
    "all": ("--all",),
    "tree": ("--tree", "--all"),
    "parts": ("--signatures", "--functions", "--variables", "--ops"),
    "checks": ("--check", "--scan"),
}


# Each layout on a terminal of each width, one after the other.
_RESIZED = """
import fcntl, json, struct, sys, termios
from hubcli.cli.main import main
for line in json.loads(sys.argv[1]):
    for columns in (40, 60, 80, 120):
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        print(f"== {columns}", flush=True)
        main(line)
"""


@each_of("name", ["serving_half_plus_two", "tfx_keras_serving", "basic_pitch_nmp"])
def test_no_line_is_longer_than_the_terminal(name: str) -> None:
    lines = [["inspect", str(corpus_model(name)), *words] for words in _LAYOUTS.values()]
    status, screen = run_on_terminal([sys.executable, "-c", _RESIZED, json.dumps(lines)], os.environ)
    assert status == 0
    _, *parts = _SEQUENCE.sub("", screen).split("== ")
    assert len(parts) == 4 * len(_LAYOUTS)
    for part in parts:
        # The target is one word, which a person may want to copy.
        columns, _, *text_lines = part.splitlines()
        assert text_lines
        assert [line for line in text_lines if len(line) > int(columns)] == []


def test_names_of_a_hostile_model_command_no_terminal(hubcli_in_turn: Run, tmp_path: Path) -> None:
    objects = Objects("\x1b[31m")
    for name in ("\x1b]0;owned\x07", "\u202eevil", "a\nb"):
        objects.variable(name)
        objects.function(f"f{name}", objects.concrete(f"c{name}", Spec(FLOAT, (None,), name)))
    encoded = meta_graph(
        graph(node("\x1b[2J", "\x1b[2JOp")),
        objects,
        tags=("\x1b[1m",),
        version="\x1b[2J",
        signature_def={"\x1b[2J": call_signature("\x1b[2J")},
        asset_file_def=[asset_file("a", "\x1b[2J")],
    )
    model = str(write_model(tmp_path / "m", encoded))
    for arguments in (
        [],
        ["--all"],
        ["--tree"],
        ["--check", "--scan"],
        ["--diff", str(good_model(tmp_path / "n"))],
    ):
        result = hubcli_in_turn("inspect", model, *arguments)
        assert result.returncode in (0, 9), result.stderr
        assert not set("\x1b\x07\u202e") & set(result.stdout + result.stderr), arguments


def test_a_name_of_a_thousand_parts_is_drawn(hubcli: Run, tmp_path: Path) -> None:
    objects = Objects()
    objects.variable(".".join("a" * 2000))
    model = str(write_model(tmp_path / "m", meta_graph(None, objects)))
    assert hubcli("inspect", model, "--tree").returncode == 0


def test_under_a_c_locale_the_output_is_ascii(cache: Path) -> None:
    line = ["inspect", str(corpus_model("tfx_keras_serving"))]
    lines = [line, [*line, "--all"], [*line, "--tree"], [*line, "--check", "--scan"]]
    program = f"from hubcli.cli.main import main\nprint(*[main(line) for line in {lines}])"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
            "HUBCLI_CACHE_DIR": str(cache),
        },
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.isascii()
    statuses = result.stdout.splitlines()[-1].split()
    assert len(statuses) == 4
    assert set(statuses) <= {b"0", b"9"}, result.stderr
    assert result.stdout.count(b"tfx_keras_serving") >= 4


def test_no_color_is_obeyed() -> None:
    command = [sys.executable, "-m", "hubcli", "inspect", str(corpus_model("serving_half_plus_two"))]
    _, screen = run_on_terminal(command, {**os.environ, "NO_COLOR": "1"}, columns=100)
    assert not re.search("\x1b\\[[0-9;]*3[0-9]m", screen)
    _, screen = run_on_terminal(command, os.environ, columns=100)
    assert re.search("\x1b\\[[0-9;]*3[0-9]m", screen)


def test_in_a_pipe_no_control_sequence_is_written(hubcli_in_turn: Run) -> None:
    for arguments in ((), ("--all",), ("--tree",)):
        assert (
            "\x1b" not in hubcli_in_turn("inspect", str(corpus_model("tfx_keras_serving")), *arguments).stdout
        )


def require_whole_lines(svg: str) -> None:
    """No line of text is cut: each has its rectangle, and the picture goes on below the last."""
    texts = re.findall(
        r'<text class="hubcli-r\d+" x="[\d.]+" y="([\d.]+)"[^>]*url\(#([\w-]+)\)">([^<]*)<', svg
    )
    visible = [(float(y), name) for y, name, text in texts if text.strip()]
    assert {name for _, name in visible} <= set(re.findall(r'<clipPath id="([\w-]+)"', svg))
    height = re.search(r'clip-terminal">\s*<rect[^>]* height="([\d.]+)"', svg)
    assert height is not None
    assert float(height[1]) - max(y for y, _ in visible) > 10  # Room for descenders.


@each_of("text", ["gypsum_", "one\ntwo_\n", "x" * 300, f"{'y' * 100}\nlast_"])
def test_the_last_line_of_a_picture_is_whole(text: str, tmp_path: Path) -> None:
    from hubcli.cli.output import write_svg

    write_svg(text, "title", tmp_path / "picture.svg")
    require_whole_lines((tmp_path / "picture.svg").read_text(encoding="utf-8"))


def test_a_tree_ends_at_the_depth_asked_for_and_tells_what_is_below(
    monkeypatch: pytest.MonkeyPatch, hubcli: Run
) -> None:
    """No small model is deep: the branches are made by hand, the drawing is the real one."""
    from hubcli.cli.tables import Style
    from hubcli.cli.views import tree as tree_view
    from hubcli.cli.views.tree import Branch

    leaf, other = Branch("leaf", 2), Branch("other", 3)
    root = Branch("obj", 5, {"a": Branch("a", 5, {"b": Branch("b", 5, {"leaf": leaf, "other": other})})})
    monkeypatch.setattr(tree_view, "model_tree", lambda info, in_full: root)

    def drawn(depth: int | None) -> list[str]:
        style = Style(None, is_styled=False, has_color=False)
        lines = tree_view.tree_lines(None, style, in_full=False, depth=depth)  # type: ignore[arg-type]
        return [re.split("  +[█ ]*\\d", line)[0].rstrip() for line in lines]

    assert drawn(None) == ["obj", "└── a", "    └── b", "        ├── leaf", "        └── other"]
    assert drawn(2) == ["obj", "└── a", "    └── b  +2"]
    assert drawn(1) == ["obj", "└── a  +3"]
    assert drawn(9) == drawn(None)
    result = hubcli("inspect", "example://mul/1", "--tree", "--depth", "1")
    assert result.returncode == 0
    assert "__call__" in result.stdout
    assert hubcli("inspect", "example://mul/1", "--tree", "--depth", "0").returncode == 2
    refused = hubcli("inspect", "example://mul/1", "--depth", "1")
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (2, "Error: --depth requires --tree")
