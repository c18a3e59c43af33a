"""What the environment and the config file say, as it stands."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from hubcli.config.config_file import KEYS
from hubcli.config.settings import UpkeepRules
from hubcli.config.variables import OUR_VARIABLES
from hubcli.diagnosing.context import Check, DiagnosisContext, Section, Status, clean
from hubcli.errors import UsageError

__all__ = ["check_config_file", "check_variables"]

_check = partial(Check.of, Section.SETTINGS)


def check_variables(case: DiagnosisContext) -> Iterator[Check]:
    """Those that are in force, without secrets; and names that look like ours and aren't."""
    for name, value in case.environment.printable().items():
        if name.startswith("HUBCLI_") and name not in OUR_VARIABLES:
            from difflib import get_close_matches  # After a typing error alone.

            near = get_close_matches(name, OUR_VARIABLES, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(OUR_VARIABLES)}."
            yield _check(name, Status.WARNING, "hubcli has no such variable", None, hint)
        else:
            yield _check(name, Status.INFO, value, value)


def check_config_file(case: DiagnosisContext) -> Iterator[Check]:
    """Where the config file is, whether it can be understood, and what comes from it; then HUBCLI_GC."""
    config = case.config
    if "" in config.faults:
        fault = config.faults[""]
        yield _check("config-file", Status.PROBLEM, fault.message, str(config.path or ""), fault.hint)
    elif config.path is None:
        yield _check(
            "config-file", Status.INFO, "none: HUBCLI_CONFIG is empty, or there is no home directory"
        )
    elif not config.is_there:
        yield _check("config-file", Status.INFO, f"none at {config.path}", str(config.path))
    else:
        yield from _keys(case)
    if case.environment.get("HUBCLI_GC"):
        yield from _rules(case)


def _keys(case: DiagnosisContext) -> Iterator[Check]:
    config = case.config
    status = Status.PROBLEM if config.faults else Status.OK if config.values else Status.INFO
    message = f"{config.path}{'' if config.values else ', no settings'}"
    hint = ""
    if config.faults:
        message, hint = next((error.message, error.hint) for error in config.faults.values())
    yield _check("config-file", status, message, str(config.path), hint)
    for error in list(config.faults.values())[1:]:
        name = f"config-{next(key for key, value_error in config.faults.items() if value_error is error)}"
        yield _check(name, Status.PROBLEM, error.message, None, error.hint)
    for number, text in enumerate(config.unknown):
        yield _check(f"config-unknown-{number}" if number else "config-unknown", Status.WARNING, text)
    for key, value in config.values.items():
        value_text = _value_text(value)
        first = next((name for name in KEYS[key].variables if case.environment.get(name)), None)
        shown_with_source = (
            f"{value_text} (config file)"
            if first is None
            else f"{value_text} in the config file; {first} comes first"
        )
        yield _check(f"config-{key}", Status.INFO, shown_with_source, value_text)


def _value_text(value: Any) -> str:
    """A value of the file as a person writes it; mirrors without credentials."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return " ".join(f"{clean(mirror.prefix)}={clean(mirror.replacement)}" for mirror in value)
    return f"{value:g} s" if isinstance(value, float) else clean(str(value))


def _rules(case: DiagnosisContext) -> Iterator[Check]:
    from hubcli.cache.gc.policy import Policy

    text = case.environment.get("HUBCLI_GC")
    try:
        rules = UpkeepRules.read({"HUBCLI_GC": text})
        if rules is not None:
            Policy.parse(rules.text, rules.source)
    except UsageError as error:
        yield _check("upkeep", Status.PROBLEM, error.message, "HUBCLI_GC", error.hint)
        return
    if rules is None:
        yield _check("upkeep", Status.INFO, "HUBCLI_GC, no rules", "HUBCLI_GC")
    else:
        yield _check("upkeep", Status.OK, f"HUBCLI_GC: gc = {rules.text}", "HUBCLI_GC")
