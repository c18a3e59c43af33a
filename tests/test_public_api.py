"""What `import hubcli` offers, and what it doesn't load."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys

import pytest

import hubcli
from hubcli._moved import MOVED, RENAMED
from tests.cases import each_of
from tests.forkserver import run_python

HEAVY = {
    "tensorflow",
    "tensorflow_hub",
    "keras",
    "numpy",
    "httpx",
    "rich",
    "isal",
    "google_crc32c",
    "google.protobuf",
}


def _loaded_by(statement: str) -> set[str]:
    """The modules that a new interpreter has loaded after the statement."""
    program = f"{statement}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(json.loads(result.stdout))


def test_the_public_names_are_these() -> None:
    assert sorted(hubcli.__all__) == [
        "Handle",
        "HubcliError",
        "KerasLayer",
        "Policy",
        "Settings",
        "__version__",
        "doctor",
        "export",
        "fetch",
        "finetune_export",
        "gc",
        "info",
        "inspect",
        "load",
        "ls",
        "pin",
        "publish",
        "resolve",
        "rm",
        "run",
        "search",
        "unpin",
        "verify",
        "versions",
    ]
    assert dir(hubcli) == sorted(hubcli.__all__)


@each_of("name", [name for name in hubcli.__all__ if name != "KerasLayer"])
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(hubcli, name) is not None


@pytest.mark.tensorflow
def test_the_public_layer_is_there() -> None:
    assert hubcli.KerasLayer is not None


def test_the_public_names_are_what_they_say() -> None:
    assert callable(hubcli.export)
    assert callable(hubcli.fetch)
    assert callable(hubcli.ls)
    assert callable(hubcli.verify)
    assert issubclass(hubcli.HubcliError, Exception)
    assert hubcli.Handle.parse("example://mul/1").version == "1"


def test_the_public_names_stay_themselves_when_the_commands_are_imported() -> None:
    program = (
        "import hubcli, hubcli.commands.fetch, hubcli.commands.inspect, hubcli.commands.ls\n"
        "import hubcli.commands.verify, hubcli.commands.export, hubcli.cli.app\n"
        "import hubcli.commands.gc, hubcli.commands.rm, hubcli.commands.pin, hubcli.commands.doctor\n"
        "assert callable(hubcli.doctor)\n"
        "assert all(map(callable, (hubcli.gc, hubcli.rm, hubcli.pin, hubcli.unpin)))\n"
        "assert all(map(callable, (hubcli.export, hubcli.fetch, hubcli.inspect, hubcli.ls, hubcli.verify)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hubcli.nothing


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = _loaded_by("import hubcli")

    assert not loaded & {*HEAVY, "typer", "platformdirs"}
    assert {name for name in loaded if name.startswith("hubcli")} == {"hubcli", "hubcli._moved"}


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_layer_alone_brings_keras() -> None:
    assert not _loaded_by("import hubcli; hubcli.load; hubcli.resolve") & {
        "tensorflow",
        "keras",
        "httpx",
        "rich",
    }
    loaded = _loaded_by("import hubcli; hubcli.KerasLayer")
    assert {"tensorflow", "keras"} <= loaded
    assert not loaded & {"tensorflow_hub", "tf_keras", "typer"}  # Keras itself has rich.


def test_building_the_command_line_loads_nothing_heavy() -> None:
    loaded = _loaded_by("from hubcli.cli.app import app_of; app_of()")

    assert "typer" in loaded
    assert not loaded & HEAVY


@each_of(
    "module",
    [
        "hubcli.commands.doctor",
        "hubcli.commands.gc",
        "hubcli.commands.ls",
        "hubcli.commands.pin",
        "hubcli.commands.rm",
        "hubcli.commands.inspect",
        "hubcli.commands.verify",
        "hubcli.providers.handle",
        "hubcli.config.settings",
    ],
)
def test_what_only_reads_needs_neither_network_nor_tensorflow(module: str) -> None:
    assert not _loaded_by(f"import {module}") & {"tensorflow", "httpx", "rich", "typer", "numpy", "isal"}


# The layer is a subclass of Keras's.
_OF_TENSORFLOW = "hubcli.tf.keras.layer"


def test_a_module_that_moved_is_the_same_under_its_old_name() -> None:
    _require_moved({old: today for old, today in MOVED.items() if today != _OF_TENSORFLOW})


@pytest.mark.tensorflow
def test_the_layer_that_moved_is_the_same_under_its_old_name() -> None:
    _require_moved({old: today for old, today in MOVED.items() if today == _OF_TENSORFLOW})


def _require_moved(moves: dict[str, str]) -> None:
    program = (
        "import importlib, json, sys, warnings\n"
        "results = {}\n"
        "for old, name in json.loads(sys.argv[1]).items():\n"
        "    with warnings.catch_warnings(record=True) as caught:\n"
        "        warnings.simplefilter('always')\n"
        "        moved = importlib.import_module(old)\n"
        "    today = importlib.import_module(name)\n"
        "    messages = [(warning.category.__name__, str(warning.message)) for warning in caught]\n"
        "    results[old] = [moved is today, today.__name__, today.__spec__.name, messages]\n"
        "print(json.dumps(results))"
    )
    results = json.loads(run_python(["-c", program, json.dumps(moves)], check=True).stdout)
    assert results == {
        old: [True, today, today, [["DeprecationWarning", f"{old} is {today} since hubcli 0.2"]]]
        for old, today in moves.items()
    }


@each_of(
    "module, old, home, today",
    [(module, old, *now) for module, names in RENAMED.items() for old, now in names.items()],
)
def test_a_type_that_was_renamed_is_the_same_under_its_old_name(
    module: str, old: str, home: str, today: str
) -> None:
    with pytest.warns(DeprecationWarning, match=f"{old} is {home}.{today} since hubcli 0.2"):
        renamed = getattr(importlib.import_module(module), old)

    assert renamed is getattr(importlib.import_module(home), today)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = importlib.import_module(module).Nothing


@each_of(
    "module, name, old, today",
    [
        ("hubcli.cache.gc.plan", "BudgetShortfall", "kept", "retained"),
        ("hubcli.commands.gc", "Collection", "done", "actions"),
        ("hubcli.finetuning.result", "FinetuneResult", "made", "staged_model"),
        ("hubcli.finetuning.result", "StagedModel", "kept", "preserved"),
        ("hubcli.savedmodel.weights.mapping", "WeightMapping", "kept", "unassigned"),
        ("hubcli.savedmodel.weights.matching", "Candidate", "wanted", "required"),
        ("hubcli.savedmodel.weights.rewrite", "RewriteReport", "kept", "unassigned"),
    ],
)
def test_an_attribute_under_its_old_name_is_the_same_with_a_warning(
    module: str, name: str, old: str, today: str
) -> None:
    kind = getattr(importlib.import_module(module), name)
    required = [
        parameter
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.default is inspect.Parameter.empty or parameter.name == today
    ]
    value = kind(**{parameter.name: (parameter.name,) for parameter in required})

    with pytest.warns(DeprecationWarning, match=rf"{name}\.{old} is {name}\.{today} since") as warned:
        assert getattr(value, old) == getattr(value, today) == (today,)
    assert warned[0].filename == __file__
