"""The packages that models are loaded and trained with, and a table of those that don't go together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hubcli import __version__
from hubcli.diagnosing.context import Check, DiagnosisContext, Section, Status
from hubcli.diagnosing.environments import Installed, Requirement
from hubcli.diagnosing.inventory import LISTED_PACKAGES
from hubcli.errors import UsageError

__all__ = ["OWN_PAIRS", "PAIRS", "CompatibilityRule", "check_packages"]


@dataclass(frozen=True, slots=True)
class CompatibilityRule:
    """When it applies, what fails then, and the remedy; `{name}` stands for that package's version."""

    name: str
    status: Status
    applies: Callable[[Installed], bool]
    message: str
    hint: str


def _brings_two(installed: Installed) -> bool:
    """Whether two distributions provide TensorFlow; on Windows and macOS `tensorflow` itself requires one."""
    own = {"win32": "tensorflow-intel", "darwin": "tensorflow-macos"}.get(installed.platform)
    return len([name for name in installed.tensorflows if name != own]) > 1


_WITH_KERAS_3 = "2.16"

PAIRS = (
    CompatibilityRule(
        "hub-setuptools",
        Status.PROBLEM,
        lambda installed: (
            installed.is_below("tensorflow_hub", "0.17") and installed.is_from("setuptools", "82")
        ),
        "import tensorflow_hub fails: setuptools {setuptools} no longer has pkg_resources",
        "pip install 'setuptools<82'",
    ),
    CompatibilityRule(
        "hub-setuptools",
        Status.PROBLEM,
        lambda installed: installed.is_below("tensorflow_hub", "0.17") and not installed.has("setuptools"),
        "import tensorflow_hub fails: it needs pkg_resources, but setuptools is not installed",
        "pip install 'setuptools<82'",
    ),
    CompatibilityRule(
        "hub-tensorflow",
        Status.PROBLEM,
        lambda installed: installed.has("tensorflow_hub") and not installed.has("tensorflow"),
        "import tensorflow_hub fails: TensorFlow is not installed",
        "pip install tensorflow",
    ),
    CompatibilityRule(
        "hub-keras",
        Status.PROBLEM,
        lambda installed: (
            installed.has("tensorflow_hub")
            and installed.is_from("tensorflow", _WITH_KERAS_3)
            and not installed.has("tf_keras")
            and not installed.is_below("keras", "3")
        ),
        "tensorflow_hub {tensorflow_hub} needs Keras 2, and TensorFlow {tensorflow} comes with Keras 3",
        "pip install 'tf_keras~={tensorflow_minor}.0' and export TF_USE_LEGACY_KERAS=1; or hubcli.KerasLayer",
    ),
    CompatibilityRule(
        "hub-too-old",
        Status.PROBLEM,
        lambda installed: (
            installed.is_below("tensorflow_hub", "0.16") and installed.is_from("tensorflow", _WITH_KERAS_3)
        ),
        "hub.KerasLayer of tensorflow_hub {tensorflow_hub} fails with Keras 3 of TensorFlow {tensorflow}",
        "pip install 'tensorflow_hub>=0.16.1'",
    ),
    CompatibilityRule(
        "hub-layer",
        Status.INFO,
        lambda installed: (
            installed.has("tensorflow_hub", "tf_keras")
            and installed.is_from("tensorflow", _WITH_KERAS_3)
            and installed.is_from("tensorflow_hub", "0.16")
            and not installed.uses_legacy_keras
        ),
        "hub.KerasLayer is a layer of tf_keras, which models of Keras 3 do not accept",
        "Build on tf_keras, or export TF_USE_LEGACY_KERAS=1, or use hubcli.KerasLayer",
    ),
    CompatibilityRule(
        "tf-keras-minor",
        Status.PROBLEM,
        lambda installed: (
            installed.has("tf_keras", "tensorflow")
            and installed.minor("tf_keras") != installed.minor("tensorflow")
        ),
        "tf_keras {tf_keras} does not match TensorFlow {tensorflow}",
        "pip install 'tf_keras~={tensorflow_minor}.0'",
    ),
    CompatibilityRule(
        "legacy-keras",
        Status.PROBLEM,
        lambda installed: (
            installed.uses_legacy_keras and installed.has("tensorflow") and not installed.has("tf_keras")
        ),
        "TF_USE_LEGACY_KERAS requires tf_keras, which is not installed: tf.keras fails",
        "pip install 'tf_keras~={tensorflow_minor}.0', or unset TF_USE_LEGACY_KERAS",
    ),
    CompatibilityRule(
        "keras-backend",
        Status.WARNING,
        lambda installed: installed.is_from("keras", "3") and installed.keras_backend != "tensorflow",
        "Keras 3 runs on {keras_backend}: layers with a SavedModel need TensorFlow",
        "export KERAS_BACKEND=tensorflow",
    ),
    CompatibilityRule(
        "two-tensorflows",
        Status.PROBLEM,
        _brings_two,
        "{tensorflows} write the same files: it is unknown which one is in use",
        "pip uninstall -y {tensorflows_all} && pip install tensorflow",
    ),
    CompatibilityRule(
        "slow-protobuf",
        Status.WARNING,
        lambda installed: installed.has("protobuf") and installed.protobuf_backend == "python",
        "protobuf {protobuf} parses in pure Python, many times slower",
        "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION, or pip install --force-reinstall protobuf",
    ),
    CompatibilityRule(
        "protobuf-variable",
        Status.PROBLEM,
        lambda installed: (
            installed.has("protobuf") and installed.protobuf_backend not in ("python", "upb", "cpp")
        ),
        "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION names a parser that protobuf {protobuf} does not have",
        "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION",
    ),
)

# Of the environment that hubcli itself runs in.
OWN_PAIRS = (
    CompatibilityRule(
        "own-protobuf",
        Status.PROBLEM,
        lambda installed: installed.is_below("protobuf", "4.25"),
        "hubcli requires protobuf 4.25 or newer, but {protobuf} is installed",
        "pip install 'protobuf>=4.25'",
    ),
    CompatibilityRule(
        "own-typer",
        Status.WARNING,
        lambda installed: installed.is_from("typer", "0.29"),
        "typer {typer} makes every start of hubcli 100 ms slower",
        "pip install 'typer>=0.28,<0.29'",
    ),
)


_check = partial(Check.of, Section.PACKAGES)

# Packages whose requirements are compared with what is installed, but for those that a rule above explains.
_WITH_REQUIREMENTS = (
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "tf_keras",
    "tensorflow_hub",
    "kagglehub",
    "h5py",
    "hubcli",
)
_CHECKED_ELSEWHERE = {
    ("tf_keras", "tensorflow"),
    ("tensorflow_hub", "tf-keras"),
    ("hubcli", "typer"),
    ("hubcli", "protobuf"),
}


def check_packages(context: DiagnosisContext) -> Iterator[Check]:
    """Versions, and pairs that are known to fail; of hubcli itself, then of where models are loaded."""
    own = Installed.own(context.environment)
    message = f"{__version__} on Python {own.python} ({own.executable})"
    value: dict[str, Any] = {"version": __version__, "python": own.python, "executable": own.executable}
    yield _check("hubcli", Status.OK, message, value)
    yield from _pairs(own, OWN_PAIRS)
    installed = own
    if context.options.python is not None:
        yield from _unmet(own, ("hubcli",))
        try:
            installed = Installed.of_interpreter(context.options.python, context.environment)
        except UsageError as error:
            yield _check("python", Status.PROBLEM, f"--python: {error.message}", None, error.hint)
            return
        value = {"python": installed.python, "executable": installed.executable}
        yield _check("python", Status.OK, f"{installed.python} ({installed.executable})", value)
    for name in LISTED_PACKAGES:
        yield _version(installed, name)
    if context.options.python is None and not own.has("tensorflow"):
        yield _elsewhere(context)
    yield from _pairs(installed, PAIRS)
    yield from _unmet(installed, _WITH_REQUIREMENTS)


def _version(installed: Installed, name: str) -> Check:
    version = installed.version(name)
    if version is None:
        return _check(name, Status.INFO, "not installed", None)
    if name == "protobuf":
        return _check(name, Status.OK, f"{version} ({installed.protobuf_backend})", version)
    if name == "tensorflow" and installed.tensorflows[0] != name:
        return _check(name, Status.OK, f"{version} ({installed.tensorflows[0]})", version)
    return _check(name, Status.OK, version, version)


def _elsewhere(context: DiagnosisContext) -> Check:
    """Where TensorFlow may be, if it isn't beside hubcli."""
    active = context.environment.get("VIRTUAL_ENV") or "PATH"
    message = "TensorFlow is not installed; fetch, inspect, verify and gc do not need it"
    hint = f"To check the environment that loads models: hubcli doctor --python {active}"
    return _check("elsewhere", Status.INFO, message, None, hint)


def _pairs(installed: Installed, pairs: Sequence[CompatibilityRule]) -> Iterator[Check]:
    names = {name: installed.version(name) or "none" for name in (*LISTED_PACKAGES, "typer")}
    words = {
        **names,
        "tensorflow_minor": ".".join(map(str, installed.minor("tensorflow"))),
        "keras_backend": installed.keras_backend,
        "tensorflows": " and ".join(installed.tensorflows),
        "tensorflows_all": " ".join(installed.tensorflows),
    }
    for pair in pairs:
        if pair.applies(installed):
            yield _check(
                pair.name, pair.status, pair.message.format(**words), None, pair.hint.format(**words)
            )


def _unmet(installed: Installed, packages: Sequence[str]) -> Iterator[Check]:
    """Requirements in a package's own metadata that the installed versions don't meet."""
    names = set[str]()
    for name in packages:
        if name not in installed.packages:
            continue
        for requirement in filter(None, map(Requirement.parse, installed.packages[name]["requires"])):
            found = installed.version(requirement.name.lower()) or installed.version(
                requirement.name.lower().replace("-", "_")
            )
            if (
                requirement.marker
                or (name, requirement.name.lower()) in _CHECKED_ELSEWHERE
                or found is None
                or requirement.is_met_by(found)
            ):
                continue
            check_name = f"{name}-wants-{requirement.name.lower()}"
            if check_name not in names:
                names.add(check_name)
                clause = f"{requirement.name}{requirement.clauses}"
                message = f"{name} {installed.version(name)} requires {clause}, but {found} is installed"
                hint = f"pip install '{clause}'"
                yield _check(check_name, Status.PROBLEM, message, found, hint)
