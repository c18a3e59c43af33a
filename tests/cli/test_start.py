"""What a start loads: the budget that keeps hubcli quick."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import hubcli.cli
from hubcli import __version__
from hubcli.cli.app import COMMANDS, app_of
from hubcli.cli.completion import option_names
from hubcli.cli.main import DeferredClasses, LazyImports
from hubcli.cli.options import GLOBAL_OPTIONS
from hubcli.cli.usage_errors import _names_of
from hubcli.commands.fetch import fetch
from hubcli.config.settings import Settings
from tests import models
from tests.cases import each_of
from tests.cli.command_batch import run_many, run_many_anew
from tests.forkserver import run_python

HEAVY = {
    *("tensorflow", "keras", "tf_keras", "tensorflow_hub", "numpy", "h5py", "safetensors"),
    *("google.protobuf", "httpx", "httpcore", "isal", "google_crc32c", "ssl", "platformdirs"),
}
_LOADED = """
import sys
before = set(sys.modules)
from hubcli.cli.main import main
"""
_TELL = """
print(status, *sorted(set(sys.modules) - before))
"""


def test_the_version_is_told_before_anything_else_is_loaded() -> None:
    program = f"{_LOADED}status = main(['--version']){_TELL}"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    version, loaded = result.stdout.splitlines()
    assert version == f"hubcli {__version__}"
    assert loaded == "0 __future__ hubcli hubcli._moved hubcli.cli hubcli.cli.main"


def loaded_by(*line: str) -> tuple[int, set[str]]:
    """The exit status of the command in an interpreter that has just started, and the modules it loaded."""
    program = f"{_LOADED}status = main({[*line]}){_TELL}"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    status, *loaded = result.stdout.splitlines()[-1].split()
    return int(status), {*loaded}


# What no command needs that only looks a handle up in the cache: OpenSSL behind hashlib is 3 ms by itself.
NOT_OF_A_LOOKUP = {
    *("hashlib", "_hashlib", "base64", "shlex", "tomllib", "unicodedata", "socket", "fractions"),
    *("hubcli.archive.compression", "hubcli.archive.tree", "hubcli.archive.unpack", "hubcli.cli.tables"),
    *("hubcli.cache.gc.plan", "hubcli.cache.gc.planner", "hubcli.cache.gc.collect", "hubcli.commands.gc"),
    *("hubcli.net.retries", "hubcli.providers.kaggle", "hubcli.savedmodel.layout"),
}


@pytest.mark.parametrize(
    ("line", "status", "more"),
    [
        (["pin", "example://mul/1"], 0, {"hubcli.cache.catalog", "hubcli.concurrency", "hubcli.progress"}),
        (["fetch", "-q", "example://mul/1"], 0, {"hubcli.cache.catalog"}),
        (["rm", "-y", "https://tfhub.dev/nobody/nothing/1"], 4, {"hubcli.cache.other_caches"}),
    ],
)
def test_a_handle_is_looked_up_without_what_fetches_plans_or_removes(
    line: list[str], status: int, more: set[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(cache))
    fetch("example://mul/1", Settings.read())
    found, loaded = loaded_by(*line)
    assert found == status
    assert not loaded & (HEAVY | NOT_OF_A_LOOKUP | more)


def test_an_export_to_a_directory_loads_nothing_that_hashes_or_makes_temporary_files(
    tmp_path: Path,
) -> None:
    model = models.write_tree(tmp_path / "model", models.example_files())
    status, loaded = loaded_by("export", "--no-sync", str(model), str(tmp_path / "out"))
    assert status == 0
    assert not loaded & {
        "hashlib",
        "tempfile",
        "random",
        "hubcli.exporting.editing",
        "hubcli.fetching.sources",
    }


def test_a_usage_error_loads_no_json_and_nothing_of_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(cache))
    of_an_option, of_a_value = loaded_by("ls", "--sise"), loaded_by("ls", "--sort", "colour")
    assert [status for status, _ in (of_an_option, of_a_value)] == [2, 2]
    assert not of_a_value[1] & (HEAVY | NOT_OF_A_LOOKUP)
    unused = HEAVY | NOT_OF_A_LOOKUP | {"json", "hubcli.cache", "hubcli.archive"}
    assert not of_an_option[1] & unused - {"shlex"}  # Which completion has, whose options are suggested.


def test_a_run_loads_no_other_command() -> None:
    _, loaded = loaded_by("ls", "-q")
    assert "hubcli.cli.ls" in loaded
    assert not loaded & {"hashlib", "base64", "hubcli.archive.compression", "hubcli.providers.provider"}
    assert not loaded & {f"hubcli.cli.{name}" for name in {*COMMANDS.values()} - {"ls"}}


def test_no_help_needs_protobuf_httpx_or_tensorflow() -> None:
    lines = [["--help"], *([command, "--help"] for command in COMMANDS)]
    runs, loaded = run_many_anew(lines)
    for line, result in zip(lines, runs, strict=True):
        assert result.status == 0
        assert f"Usage: hubcli {' '.join(line[:-1])}".rstrip() in result.stdout
    assert "rich" in loaded
    assert not loaded & (HEAVY | {"rich.markdown", "rich.traceback", "markdown_it", "pygments"})


def test_a_usage_error_loads_no_command_but_the_one_that_is_named() -> None:
    runs, loaded = run_many_anew([["instpect"], ["ls", "--sise"], ["--offlin", "ls"]])
    assert [result.status for result in runs] == [2, 2, 2]
    assert [result.stderr.splitlines()[0] for result in runs] == [
        "Error: No such command 'instpect'. Did you mean 'inspect'?",
        "Error: No such option: --sise. Did you mean '--size'?",
        "Error: No such option: --offlin. Did you mean '--offline'?",
    ]
    commands = {f"hubcli.cli.{module}" for module in COMMANDS.values()}
    assert loaded & commands == {"hubcli.cli.ls"}
    # The options are known from what completion has, the run isn't needed.
    assert "hubcli.cli.completion" in loaded
    assert not loaded & {"hubcli.commands.ls", "hubcli.cli.tables"}


def test_options_are_suggested_where_completion_is_not_installed() -> None:
    lines = [["ls", "--sise"], ["--scan"], ["fetch", "--force-download", "x"]]
    program = f"""
import hubcli.cli.completion as completion
from hubcli.cli.main import main
completion._FILES = {{"bash": "missing"}}
for line in {lines}:
    main(line)
"""
    result = run_python(["-c", program], check=True)
    assert result.stderr == "".join(known.stderr for known in run_many(lines))
    assert "Did you mean '--size'?" in result.stderr


def test_the_options_that_completion_knows_are_those_of_the_application() -> None:
    application = get_command(app_of())
    commands = {"": application, **application.commands}  # type: ignore[attr-defined]
    known = option_names()
    shared = [name for name in _names_of(commands["ls"]) if name in GLOBAL_OPTIONS]
    assert known.pop("") == (*_names_of(commands.pop("")), "--help", "-h", *shared)
    assert known == {name: (*_names_of(command), "--help", "-h") for name, command in commands.items()}


def test_neither_a_usage_error_nor_a_script_needs_rich() -> None:
    runs, loaded = run_many_anew([["instpect"], ["ls", "--sise"], ["--show-completion", "bash"]])
    assert [result.status for result in runs] == [2, 2, 0]
    assert not loaded & {*HEAVY, "rich"}


_LAZY_MODULE = """
with LazyImports():
    from fractions import Fraction as Ratio
    from decimal import Decimal
    from string.nowhere import nothing
"""


def lazy_module() -> dict[str, Any]:
    namespace: dict[str, Any] = {"LazyImports": LazyImports}
    exec(_LAZY_MODULE, namespace)
    return namespace


def test_a_lazy_name_is_replaced_by_what_it_stands_for_at_its_first_use() -> None:
    names = lazy_module()
    lazy = names["Ratio"]
    assert lazy is not Fraction
    assert isinstance(Fraction(1, 2), lazy)
    assert names["Ratio"] is Fraction
    assert names["Decimal"] is not Decimal
    assert names["Decimal"]("0.5") == Decimal("0.5")
    assert names["Decimal"] is Decimal
    # Who got hold of the name before goes on with what it stands for.
    assert lazy(1, 2) == Fraction(1, 2)
    assert lazy.__call__(3).numerator == 3


def test_a_deferred_class_is_imported_by_its_first_use_during_the_context_or_after_it() -> None:
    module = "wsgiref.headers"
    sys.modules.pop(module, None)
    for is_within in (True, False):
        with DeferredClasses({module: "Headers", "json": "JSONDecoder"}):
            from json import JSONDecoder
            from wsgiref.headers import Headers

            assert Headers | None  # As an annotation has it.
            assert JSONDecoder is sys.modules["json"].JSONDecoder
            if is_within:
                assert Headers([("a", "b")])["a"] == "b"
        assert (module in sys.modules) == is_within
        assert Headers([("a", "b")])["a"] == "b"
        assert isinstance(sys.modules[module].Headers(), Headers)
        assert Headers.__getitem__ is sys.modules.pop(module).Headers.__getitem__


def test_the_other_names_of_a_module_with_a_deferred_class_are_imported_when_they_are_used() -> None:
    module = "wsgiref.headers"
    sys.modules.pop(module, None)
    with DeferredClasses({module: "Headers"}):
        placeholder = sys.modules[module]
    assert module not in sys.modules
    assert placeholder.tspecials is sys.modules[module].tspecials
    assert not hasattr(placeholder, "nothing")


def test_several_names_of_a_module_are_deferred_and_the_module_alone_is_too() -> None:
    modules = ("wsgiref.headers", "wsgiref.util")
    for module in modules:
        sys.modules.pop(module, None)
    with DeferredClasses({"wsgiref.util": "FileWrapper is_hop_by_hop", "wsgiref.headers": ""}):
        placeholder = sys.modules["wsgiref.headers"]
        from wsgiref.util import FileWrapper, is_hop_by_hop
    assert sys.modules.keys().isdisjoint(modules)
    assert is_hop_by_hop("TE")
    assert FileWrapper.__iter__ is sys.modules["wsgiref.util"].FileWrapper.__iter__
    assert placeholder.Headers is sys.modules["wsgiref.headers"].Headers


def test_a_lazy_name_of_no_module_fails_where_it_is_used() -> None:
    names = lazy_module()
    with pytest.raises(ModuleNotFoundError, match=r"string\.nowhere"):
        names["nothing"]()


def lazy_names(tree: ast.Module) -> set[str]:
    """The names that the module imports lazily."""
    blocks = [node for node in tree.body if isinstance(node, ast.With) and "LazyImports" in ast.unparse(node)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


def names_at_import(tree: ast.Module) -> Iterator[str]:
    """The names that are looked up while the module is imported, and those of classes of errors."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            yield from names_in(node.type)
        elif isinstance(node, ast.FunctionDef):
            defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults), *node.decorator_list]
            yield from (name for default in defaults for name in names_in(default))
        elif isinstance(node, ast.ClassDef):
            yield from (name for part in (*node.bases, *node.decorator_list) for name in names_in(part))
    for statement in tree.body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            yield from names_in(statement.value)


def names_in(node: ast.AST) -> Iterator[str]:
    """The names in an expression, but for those in the body of a lambda, which runs later."""
    if isinstance(node, ast.Name):
        yield node.id
    parts = [node.args] if isinstance(node, ast.Lambda) else ast.iter_child_nodes(node)
    yield from (name for part in parts for name in names_in(part))


def test_the_names_in_an_expression_are_those_that_are_looked_up_at_once() -> None:
    tree = ast.parse("a(lambda x=b, *, y=c: d, e=[f for f in g])", mode="eval")
    assert sorted(set(names_in(tree))) == ["a", "b", "c", "f", "g"]


def test_no_lazy_name_is_used_where_it_would_be_loaded_at_once_or_can_not_stand() -> None:
    package = Path(hubcli.cli.__file__).parent
    lazy = {path: lazy_names(ast.parse(path.read_text("utf-8"))) for path in package.rglob("*.py")}
    assert len([path for path, names in lazy.items() if names]) > 10
    for path, names in lazy.items():
        assert not names & set(names_at_import(ast.parse(path.read_text("utf-8")))), path


@each_of(
    "line, collects",
    [(["ls"], False), (["fetch"], True), (["export", "x", "y"], True), (["instpect"], False)],
)
def test_garbage_is_looked_for_in_commands_that_may_take_long_alone(line: list[str], collects: bool) -> None:
    program = f"import gc, sys; from hubcli.cli.main import main; main({line}); print(gc.isenabled())"
    assert run_python(["-c", program], check=True).stdout.splitlines()[-1] == str(collects)


@each_of(
    "arguments, status",
    [(["--version", ">", "/dev/full"], 8), (["--version", ">&-"], 120), (["--version"], 0)],
)
def test_the_version_fails_as_every_payload_does(arguments: list[str], status: int) -> None:
    command = ["bash", "-c", f"{sys.executable} -m hubcli {' '.join(arguments)}"]
    for unbuffered in ("", "1"):
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == status, result.stderr
        assert "Traceback" not in result.stderr


_HINTS = """
from typing import get_type_hints
from hubcli.formats.wire import Field
print(get_type_hints(Field), Field._field_defaults, Field(1, 2, 3, 4), Field.__module__)
"""


def test_a_named_tuple_is_the_same_whether_its_annotations_were_looked_at_or_not() -> None:
    started = "from hubcli.cli.main import main\nmain(['pin', '-h'])\nmain(['pin', '-h'])\nprint()"
    of_command, of_library = (
        subprocess.run(
            [sys.executable, "-c", f"{before}{_HINTS}"], capture_output=True, text=True, check=True
        )
        for before in (started, "")
    )
    assert of_command.stdout.splitlines()[-1:] == of_library.stdout.splitlines()
    assert "class 'int'" in of_library.stdout


# An object that says when Python frees it, which a process that ends at once leaves to the system.
_FREED = "class Last:\n    __del__ = lambda self: print('freed')\nlast = Last()\n"
_NOTHING = "eval('lambda *_: None', {})"  # With globals of its own: those of the program are freed.
# A thread that waits until the main one has ended.
_LATE = (
    "import threading\n"
    "threading.Thread(target=lambda: (threading.main_thread().join(), print('thread'))).start()\n"
)


@each_of(
    "options, before, printed",
    [
        ([], "", []),
        ([], "import atexit; atexit.register(print, 'callback')", ["callback", "freed"]),
        ([], "import logging", ["freed"]),
        ([], _LATE, ["thread", "freed"]),
        ([], f"import sys; sys.setprofile({_NOTHING})", ["freed"]),
        ([], f"import sys; sys.settrace({_NOTHING})", ["freed"]),
        (["-X", "dev"], "", ["freed"]),
        (["-W", "default::ResourceWarning"], "", ["freed"]),
    ],
)
def test_the_process_ends_at_once_unless_something_is_left_to_do(
    options: list[str], before: str, printed: list[str]
) -> None:
    run = "import sys; sys.argv[1:] = ['--version']\nfrom hubcli.cli.main import run_and_exit\nrun_and_exit()"
    command = [sys.executable, *options, "-c", f"{_FREED}{before}\n{run}"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [f"hubcli {__version__}", *printed]


# What an inspection of a directory without Keras metadata does nothing with.
UNUSED_BY_INSPECT = {
    *("calendar", "difflib", "gettext", "json", "locale", "platform", "subprocess", "uuid"),
    *("bz2", "ipaddress", "lzma", "shutil", "textwrap", "tokenize", "traceback", "zlib"),
    *("google.protobuf.internal.python_message", "hubcli.cli.progress", "hubcli.providers"),
}


def test_an_inspection_of_a_directory_loads_what_it_needs(tmp_path: Path) -> None:
    folder = models.write_tree(tmp_path / "model", models.example_files())
    status, loaded = loaded_by("inspect", str(folder))
    assert status == 0
    assert "google.protobuf.message_factory" in loaded
    assert not loaded & UNUSED_BY_INSPECT


def test_an_inspection_loads_readers_of_archives_only_for_assets(tmp_path: Path) -> None:
    folder = models.write_tree(tmp_path / "model", models.example_files())
    (result,), loaded = run_many_anew([["inspect", str(folder)]])
    assert result.status == 0
    assert not loaded & {"tarfile", "zipfile"}


def test_a_dry_run_of_fine_tuned_values_loads_nothing_that_starts_tensorflow(tmp_path: Path) -> None:
    folder = models.write_tree(tmp_path / "model", models.example_files())
    values = models.write_safetensors(tmp_path / "tuned.safetensors", v=[3.0])
    line = ["finetune-export", str(folder), "-q", "--dry-run", "--weights", str(values)]
    status, loaded = loaded_by(*line)
    assert status == 0
    assert not loaded & {"tensorflow", "hubcli.tf.importing", "logging"}
