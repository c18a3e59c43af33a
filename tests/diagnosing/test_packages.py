"""The doctor on packages: versions without an import, in any environment, and what doesn't go together."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli.commands.doctor import Diagnosis
from hubcli.diagnosing.context import Environment, Status
from hubcli.diagnosing.environments import Installed, Requirement, is_below
from hubcli.diagnosing.packages import OWN_PAIRS, PAIRS
from tests.cases import each_of
from tests.doctor import check_named, diagnose, names, write_distribution

Look = Callable[..., Diagnosis]
GOOD = {
    "tensorflow": "2.21.0",
    "keras": "3.12.1",
    "tf_keras": "2.21.0",
    "tensorflow_hub": "0.16.1",
    "setuptools": "81.0.0",
    "protobuf": "6.33.0",
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real environment, without pip."""
    folder = tmp_path_factory.mktemp("environments") / "venv"
    venv.create(folder, with_pip=False)
    return folder


@pytest.fixture
def site(environment: Path) -> Path:
    """Where its packages are; empty."""
    (folder,) = environment.glob("lib/python*/site-packages")
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return folder


@pytest.fixture
def look(environment: Path, site: Path) -> Look:
    """Puts packages there, and lets the doctor look."""

    def run(packages: dict[str, str], **variables: str) -> Diagnosis:
        for name, version in packages.items():
            write_distribution(site, name, version)
        if "protobuf" in packages:
            (site / "google" / "_upb").mkdir(parents=True)
            (site / "google" / "_upb" / "_message.abi3.so").touch()
        return diagnose(variables, python=str(environment))

    return run


def test_versions_are_read_without_an_import(look: Look) -> None:
    found = look(GOOD)
    for name, version in GOOD.items():
        assert check_named(found, name).value == version
    assert check_named(found, "protobuf").message == "6.33.0 (upb)"
    assert check_named(found, "kagglehub").status is Status.INFO
    assert [check for check in found.problems if check.section.value == "packages"] == []
    program = (
        "import sys, hubcli\n"
        "found = hubcli.doctor()\n"
        "heavy = {'tensorflow', 'keras', 'tf_keras', 'tensorflow_hub', 'numpy', 'h5py', 'google.protobuf'}\n"
        "heavy |= {'httpx', 'rich', 'setuptools', 'pkg_resources'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("name", "changes", "variables", "hint"),
    [
        ("hub-setuptools", {"setuptools": "82.0.0"}, {}, "pip install 'setuptools<82'"),
        ("hub-setuptools", {"setuptools": None}, {}, "pip install 'setuptools<82'"),
        ("hub-tensorflow", {"tensorflow": None, "tf_keras": None}, {}, "pip install tensorflow"),
        ("hub-keras", {"tf_keras": None}, {}, "TF_USE_LEGACY_KERAS=1"),
        ("hub-keras", {"tf_keras": None}, {}, "hubcli.KerasLayer"),
        ("hub-too-old", {"tensorflow_hub": "0.15.0"}, {}, "tensorflow_hub>=0.16.1"),
        ("tf-keras-minor", {"tf_keras": "2.16.0"}, {}, "pip install 'tf_keras~=2.21.0'"),
        ("legacy-keras", {"tf_keras": None}, {"TF_USE_LEGACY_KERAS": "1"}, "unset TF_USE_LEGACY_KERAS"),
        ("keras-backend", {}, {"KERAS_BACKEND": "jax"}, "export KERAS_BACKEND=tensorflow"),
        ("two-tensorflows", {"tensorflow-cpu": "2.21.0"}, {}, "pip uninstall -y tensorflow tensorflow-cpu"),
        ("two-tensorflows", {"tensorflow-intel": "2.21.0"}, {}, "pip install tensorflow"),
        ("slow-protobuf", {}, {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}, "unset PROTOCOL_BUFFERS"),
        (
            "protobuf-variable",
            {},
            {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "fast"},
            "unset PROTOCOL_BUFFERS",
        ),
    ],
)
def test_a_known_pair_is_told_with_its_remedy(
    look: Look,
    name: str,
    changes: dict[str, str | None],
    variables: dict[str, str],
    hint: str,
) -> None:
    installed = {package: version for package, version in {**GOOD, **changes}.items() if version is not None}
    check = check_named(look(installed, **variables), name)
    assert check.status is next(pair.status for pair in PAIRS if pair.name == name)
    assert check.status in (Status.PROBLEM, Status.WARNING)
    assert hint in check.hint


def test_every_pair_of_the_table_can_be_met_and_is_not_met_by_what_goes_together() -> None:
    packages = {name: {"version": version, "requires": []} for name, version in GOOD.items()}
    legacy = Environment({"TF_USE_LEGACY_KERAS": "1"})
    good = Installed("python", "3.11.0", "linux", packages, environment=legacy)
    assert [pair.name for pair in (*PAIRS, *OWN_PAIRS) if pair.applies(good)] == []


def test_the_layer_of_keras_2_beside_keras_3_is_a_note(look: Look) -> None:
    assert check_named(look(GOOD), "hub-layer").status is Status.INFO


def test_keras_2_of_an_older_tensorflow_is_fine(look: Look) -> None:
    old = {"tensorflow": "2.15.1", "keras": "2.15.0", "tensorflow_hub": "0.16.1", "setuptools": "70.0"}
    found = look(old)
    assert not {pair.name for pair in PAIRS} & names(found)


@pytest.mark.parametrize(("platform", "own"), [("win32", "tensorflow-intel"), ("darwin", "tensorflow-macos")])
def test_the_other_half_of_tensorflow_is_no_second_one(platform: str, own: str) -> None:
    packages = {name: {"version": "2.15.0", "requires": []} for name in ("tensorflow", own)}
    (pair,) = [pair for pair in PAIRS if pair.name == "two-tensorflows"]
    assert not pair.applies(Installed("python", "3.11.0", platform, packages))
    assert pair.applies(Installed("python", "3.11.0", "linux", packages))


def test_the_file_of_keras_names_its_backend(look: Look, tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    check = check_named(look(GOOD, KERAS_HOME=str(tmp_path)), "keras-backend")
    assert "torch" in check.message


def test_a_fifo_in_place_of_the_file_of_keras_is_not_waited_for(look: Look, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "keras.json")
    assert "keras-backend" not in names(look(GOOD, KERAS_HOME=str(tmp_path)))


def test_protobuf_without_its_quick_parser_is_told(environment: Path, site: Path) -> None:
    write_distribution(site, "protobuf", "6.33.0")
    found = diagnose(python=str(environment))
    assert check_named(found, "protobuf").message == "6.33.0 (python)"
    assert "many times slower" in check_named(found, "slow-protobuf").message


def test_what_a_package_wants_itself_is_compared(environment: Path, site: Path) -> None:
    write_distribution(
        site, "tensorflow", "2.16.1", "numpy<2.0.0,>=1.23.5", "h5py>=3.10", 'keras>=9; extra == "x"'
    )
    for name, version in (("numpy", "2.1.0"), ("h5py", "3.11.0"), ("keras", "3.1")):
        write_distribution(site, name, version)
    found = diagnose(python=str(environment))
    (check,) = [check for check in found.problems if "-wants-" in check.name]
    assert check.name == "tensorflow-wants-numpy"
    assert check.message == "tensorflow 2.16.1 requires numpy<2.0.0,>=1.23.5, but 2.1.0 is installed"
    assert check.hint == "pip install 'numpy<2.0.0,>=1.23.5'"


def test_own_packages_that_are_too_old_or_too_new_are_told() -> None:
    packages = {name: {"version": version} for name, version in (("protobuf", "4.24.4"), ("typer", "0.29.1"))}
    own = Installed("python", "3.11.0", "linux", packages)
    assert [pair.name for pair in OWN_PAIRS if pair.applies(own)] == ["own-protobuf", "own-typer"]


# Other interpreters -------------------------------------------------------------------------------


def test_an_interpreter_may_be_named_by_its_file_its_environment_or_its_name(environment: Path) -> None:
    for named in (str(environment / "bin" / "python"), str(environment), sys.executable):
        assert check_named(diagnose(python=named), "python").status is Status.OK
    assert check_named(diagnose(python="python3"), "python").status is Status.OK


def test_nothing_of_the_working_directory_is_run(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert check_named(diagnose(python=str(environment)), "python").status is Status.OK


def test_packages_of_pythonpath_are_seen(environment: Path, tmp_path: Path) -> None:
    write_distribution(tmp_path, "tensorflow", "2.21.0")
    found = diagnose({"PYTHONPATH": f"{tmp_path}:/nowhere"}, python=str(environment))
    assert check_named(found, "tensorflow").value == "2.21.0"


def test_packages_of_the_user_are_seen_unless_there_shall_be_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path))
    python = str(Path(sys.base_prefix) / "bin" / "python3")
    where = [python, "-c", "import site; print(site.getusersitepackages())"]
    folder = subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()
    write_distribution(Path(folder), "tensorflow", "2.21.0")
    assert check_named(diagnose(python=python), "tensorflow").value == "2.21.0"
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")
    assert check_named(diagnose(python=python), "tensorflow").value is None


@each_of("named", ["/nowhere/python", "no-such-python", "/bin/true", "/etc"])
def test_what_is_no_interpreter_is_a_problem_and_ends_nothing(named: str) -> None:
    found = diagnose(python=named)
    assert check_named(found, "python").status is Status.PROBLEM
    assert check_named(found, "python").hint
    assert "config-file" in names(found)


def test_metadata_that_is_broken_is_taken_as_absent(environment: Path, site: Path) -> None:
    write_distribution(site, "keras", "3.0")
    (site / "keras-3.0.dist-info" / "METADATA").write_bytes(b"\xff\xfe\x00")
    (site / "numpy-1.0.dist-info").mkdir()
    found = diagnose(python=str(environment))
    assert check_named(found, "keras").value is None
    assert check_named(found, "numpy").value is None


# Versions -----------------------------------------------------------------------------------------


@each_of(
    "text, version, is_met",
    [
        ("numpy<2.0.0,>=1.23.5", "1.26.4", True),
        ("numpy<2.0.0,>=1.23.5", "2.0", False),
        ("tensorflow<2.22,>=2.21", "2.21.0rc1", True),
        ("protobuf !=4.21.0,!=4.21.1,>=3.20.3", "4.21.1", False),
        ("tf-keras (>=2.14.1)", "2.14.0", False),
        ("a~=1.4.2", "1.4.9", True),
        ("a~=1.4.2", "1.5", False),
        ("a==1.4.*", "1.4.7", True),
        ("a==1.4.*", "1.5", False),
        ("a!=1.4.*", "1.4.7", False),
        ("a==1.4", "1.4.0", True),
        ("a>1.4", "1.4.0", False),
        ("a<=1.4", "1.4.0", True),
        ("a[x,y]>=2; python_version<'3'", "1", False),
        ("a", "1", True),
        ("a>=2", "unknown", True),
        ("a ?? 2", "1", True),
    ],
)
def test_wishes_are_understood_as_pip_writes_them(text: str, version: str, is_met: bool) -> None:
    requirement = Requirement.parse(text)
    assert requirement is not None
    assert requirement.is_met_by(version) is is_met


def test_an_address_is_no_wish_for_a_version() -> None:
    requirement = Requirement.parse("a @ https://host.example/a.whl")
    assert requirement is None or requirement.is_met_by("1")


def test_versions_are_compared_by_their_numbers() -> None:
    assert is_below("2.9", "2.10")
    assert not is_below("2.16", "2.16.0")
