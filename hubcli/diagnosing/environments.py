"""A Python environment: its packages' versions and requirements, of this interpreter or of another one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

from hubcli.diagnosing.context import Environment
from hubcli.diagnosing.inventory import TENSORFLOWS, take_inventory
from hubcli.errors import UsageError
from hubcli.regular_file import read_regular

__all__ = ["Installed", "Requirement", "is_below", "release"]

_RELEASE = re.compile(r"v?(?:\d+!)?(\d+(?:\.\d+)*)")
# PEP 508, without URLs; the rest of the line is a marker.
_REQUIREMENT = re.compile(
    r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*\(?([^;()]*)\)?\s*(?:;(.*))?", re.DOTALL
)
_CLAUSE = re.compile(r"\s*(===|==|!=|<=|>=|~=|<|>)\s*([\w.*+!-]+)\s*")


def release(text: str) -> tuple[int, ...]:
    """The release numbers of a version; empty if it has none.

    >>> release("2.16.0rc1")
    (2, 16, 0)
    """
    match = _RELEASE.match(text.strip())
    return () if match is None else tuple(int(number) for number in match[1].split(".")[:6])


def is_below(version: str, bound: str) -> bool:
    """Whether the version is older than that one."""
    return _compare(release(version), release(bound)) < 0


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a package requires of another: its name, the clauses, and the marker that says when."""

    name: str
    clauses: str
    marker: str = ""

    @classmethod
    def parse(cls, text: str) -> Requirement | None:
        """From a line of `Requires-Dist`; None for what is written in another form.

        >>> Requirement.parse("keras (>=3.12.0)").clauses
        '>=3.12.0'
        """
        match = _REQUIREMENT.fullmatch(text)
        return None if match is None else cls(match[1], match[2].strip(), (match[3] or "").strip())

    def is_met_by(self, version: str) -> bool:
        """Whether that version meets it; clauses that can't be parsed are taken as met."""
        return all(_holds(clause, release(version)) for clause in self.clauses.split(",") if clause.strip())


def _holds(clause: str, numbers: tuple[int, ...]) -> bool:
    match = _CLAUSE.fullmatch(clause)
    if match is None or not numbers:
        return True
    operator, text = match[1], match[2]
    bound = release(text)
    if text.endswith(".*"):
        is_same = numbers[: len(bound)] == bound
        return is_same if operator == "==" else not is_same
    order = _compare(numbers, bound)
    if operator == "~=":
        return order >= 0 and numbers[: len(bound) - 1] == bound[:-1]
    verdicts = {"==": order == 0, "!=": order != 0, "<": order < 0, "<=": order <= 0, ">": order > 0}
    return verdicts.get(operator, order >= 0 if operator == ">=" else True)


def _compare(release: tuple[int, ...], other: tuple[int, ...]) -> int:
    """-1, 0 or 1; numbers that are left out are 0."""
    for left, right in zip_longest(release, other, fillvalue=0):
        if left != right:
            return -1 if left < right else 1
    return 0


_TIMEOUT_S = 30.0
_MAX_CONFIG_BYTES = 1 << 20
_YES = ("true", "True", "1")


@dataclass(frozen=True, slots=True)
class Installed:
    """The packages that an interpreter finds, and the variables that change how it uses them."""

    executable: str
    python: str
    platform: str
    packages: Mapping[str, Mapping[str, Any]]
    has_upb: bool = True
    environment: Environment = field(default_factory=lambda: Environment({}))

    @classmethod
    def own(cls, environment: Environment) -> Installed:
        """The packages that hubcli itself finds."""
        return cls.of_document(take_inventory(), environment)

    @classmethod
    def of_interpreter(cls, named: str, environment: Environment) -> Installed:
        """The packages of another interpreter, or of the environment in a directory; it is run once.

        It runs isolated, so that nothing of the working directory is run; PYTHONPATH and the user's own
        packages, which that leaves out, are looked through all the same. Raises UsageError.
        """
        executable = _interpreter(named)
        spec = find_spec("hubcli.diagnosing.inventory")
        source = spec.loader.get_source(spec.name) if spec is not None and spec.loader is not None else None  # type: ignore[attr-defined]
        more = [path for path in environment.get("PYTHONPATH").split(os.pathsep) if path]
        hint = "Specify an interpreter of Python 3.8 or newer, or a virtual environment."
        try:
            result = subprocess.run(  # noqa: S603 - the user names it
                [executable, "-I", "-c", source or "", *more],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=_TIMEOUT_S,
                check=True,
            )
            return cls.of_document(json.loads(result.stdout.splitlines()[-1]), environment)
        except (OSError, ValueError, LookupError, TypeError, subprocess.SubprocessError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it does not run, or is not Python"
            raise UsageError(f"Cannot query {executable}: {reason}", hint=hint) from error

    @classmethod
    def of_document(cls, inventory: Mapping[str, Any], environment: Environment) -> Installed:
        """From an inventory."""
        return cls(
            executable=str(inventory["executable"]),
            python=str(inventory["python"]),
            platform=str(inventory["platform"]),
            packages=inventory["packages"],
            has_upb=bool(inventory["has_upb"]),
            environment=environment,
        )

    def version(self, name: str) -> str | None:
        """The version of the package, None if it isn't there; `tensorflow` is any that brings it."""
        names = TENSORFLOWS if name == "tensorflow" else (name,)
        return next((str(self.packages[name]["version"]) for name in names if name in self.packages), None)

    def has(self, *names: str) -> bool:
        """Whether all of them are there."""
        return all(self.version(name) is not None for name in names)

    def is_below(self, name: str, bound: str) -> bool:
        """Whether it is there, and older than that."""
        version = self.version(name)
        return version is not None and bool(release(version)) and is_below(version, bound)

    def is_from(self, name: str, bound: str) -> bool:
        """Whether it is there, and of that version or a newer one."""
        version = self.version(name)
        return version is not None and bool(release(version)) and not is_below(version, bound)

    def minor(self, name: str) -> tuple[int, ...]:
        """The first two numbers of its version."""
        return release(self.version(name) or "")[:2]

    @property
    def tensorflows(self) -> tuple[str, ...]:
        """The distributions that bring a package `tensorflow`."""
        return tuple(name for name in TENSORFLOWS if name in self.packages)

    @property
    def uses_legacy_keras(self) -> bool:
        """Whether TF_USE_LEGACY_KERAS makes `tf.keras` tf_keras."""
        return self.environment.get("TF_USE_LEGACY_KERAS") in _YES

    @property
    def keras_backend(self) -> str:
        """What Keras 3 would run on, by its variable or its file; `tensorflow` where neither says."""
        named = self.environment.get("KERAS_BACKEND")
        folder = self.environment.get("KERAS_HOME") or os.path.expanduser("~/.keras")  # noqa: PTH111
        if named:
            return named
        try:
            found = json.loads(read_regular(Path(folder) / "keras.json", _MAX_CONFIG_BYTES))["backend"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return "tensorflow"
        return str(found)

    @property
    def protobuf_backend(self) -> str:
        """The parser of protobuf: `upb`, which is quick, or `python`."""
        return self.environment.get("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION") or (
            "upb" if self.has_upb else "python"
        )


def _interpreter(named: str) -> str:
    """The file of the interpreter that a path, a directory of an environment or a name means."""
    path = Path(os.path.expanduser(named))  # noqa: PTH111 - of a home that may be missing
    if path.is_dir():
        inside = ("Scripts/python.exe",) if sys.platform == "win32" else ("bin/python", "bin/python3")
        path = next((path / name for name in inside if (path / name).exists()), path / inside[0])
    found = shutil.which(path if os.sep in named or path.exists() else named)
    if found is None:
        raise UsageError(
            f"{named} is not a Python interpreter",
            hint="Specify one, such as .venv/bin/python, or the directory .venv.",
        )
    return str(found)
