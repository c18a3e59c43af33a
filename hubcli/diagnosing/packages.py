"""The packages that models are loaded and trained with, and those that don't go together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from hubcli import __version__
from hubcli.diagnosing.check import Check, Section, Status
from hubcli.diagnosing.compatibility import OWN_PAIRS, PAIRS, CompatibilityRule
from hubcli.diagnosing.context import DiagnosisContext
from hubcli.diagnosing.environments import Installed, Requirement
from hubcli.diagnosing.inventory import SHOWN
from hubcli.errors import UsageError

__all__ = ["check_packages"]

_check = partial(Check.of, Section.PACKAGES)

# Whose wishes are compared with what is there, and whose wishes a pair above tells better.
_WISHING = (
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "tf_keras",
    "tensorflow_hub",
    "kagglehub",
    "h5py",
    "hubcli",
)
_TOLD = {
    ("tf_keras", "tensorflow"),
    ("tensorflow_hub", "tf-keras"),
    ("hubcli", "typer"),
    ("hubcli", "protobuf"),
}


def check_packages(case: DiagnosisContext) -> Iterator[Check]:
    """Versions, and pairs that are known to fail; of hubcli itself, then of where models are loaded."""
    own = Installed.own(case.environment)
    message = f"{__version__} on Python {own.python} ({own.executable})"
    value: dict[str, Any] = {"version": __version__, "python": own.python, "executable": own.executable}
    yield _check("hubcli", Status.OK, message, value)
    yield from _pairs(own, OWN_PAIRS)
    installed = own
    if case.options.python is not None:
        yield from _unmet(own, ("hubcli",))
        try:
            installed = Installed.of_interpreter(case.options.python, case.environment)
        except UsageError as error:
            yield _check("python", Status.PROBLEM, f"--python: {error.message}", None, error.hint)
            return
        value = {"python": installed.python, "executable": installed.executable}
        yield _check("python", Status.OK, f"{installed.python} ({installed.executable})", value)
    for name in SHOWN:
        yield _version(installed, name)
    if case.options.python is None and not own.has("tensorflow"):
        yield _elsewhere(case)
    yield from _pairs(installed, PAIRS)
    yield from _unmet(installed, _WISHING)


def _version(installed: Installed, name: str) -> Check:
    version = installed.version(name)
    if version is None:
        return _check(name, Status.INFO, "not installed", None)
    if name == "protobuf":
        return _check(name, Status.OK, f"{version} ({installed.protobuf_backend})", version)
    if name == "tensorflow" and installed.tensorflows[0] != name:
        return _check(name, Status.OK, f"{version} ({installed.tensorflows[0]})", version)
    return _check(name, Status.OK, version, version)


def _elsewhere(case: DiagnosisContext) -> Check:
    """Where TensorFlow may be, if it isn't beside hubcli."""
    active = case.environment.get("VIRTUAL_ENV") or "PATH"
    message = "no TensorFlow beside hubcli, which needs none to fetch, inspect, verify or collect"
    hint = f"To look at the environment that loads models: hubcli doctor --python {active}"
    return _check("elsewhere", Status.INFO, message, None, hint)


def _pairs(installed: Installed, pairs: Sequence[CompatibilityRule]) -> Iterator[Check]:
    names = {name: installed.version(name) or "none" for name in (*SHOWN, "typer")}
    words = {
        **names,
        "tensorflow_minor": ".".join(map(str, installed.minor("tensorflow"))),
        "keras_backend": installed.keras_backend,
        "tensorflows": " and ".join(installed.tensorflows),
        "tensorflows_all": " ".join(installed.tensorflows),
    }
    for pair in pairs:
        if pair.is_there(installed):
            yield _check(
                pair.name, pair.status, pair.message.format(**words), None, pair.hint.format(**words)
            )


def _unmet(installed: Installed, wishing: Sequence[str]) -> Iterator[Check]:
    """What a package's own metadata wants and doesn't have."""
    told = set[str]()
    for name in wishing:
        if name not in installed.packages:
            continue
        for wish in filter(None, map(Requirement.parse, installed.packages[name]["requires"])):
            found = installed.version(wish.name.lower()) or installed.version(
                wish.name.lower().replace("-", "_")
            )
            if wish.marker or (name, wish.name.lower()) in _TOLD or found is None or wish.is_met_by(found):
                continue
            check_name = f"{name}-wants-{wish.name.lower()}"
            if check_name not in told:
                told.add(check_name)
                message = (
                    f"{name} {installed.version(name)} wants {wish.name}{wish.clauses}, and finds {found}"
                )
                hint = f"pip install '{wish.name}{wish.clauses}'"
                yield _check(check_name, Status.PROBLEM, message, found, hint)
