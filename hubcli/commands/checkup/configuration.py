"""What the environment and the config file say, as it stands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from hubcli.commands.checkup.case import Case
from hubcli.commands.checkup.check import Check, Section, Status
from hubcli.errors import UsageError
from hubcli.settings import UpkeepRules
from hubcli.variables import OUR_VARIABLES

__all__ = ["check_config_file", "check_variables"]

_check = partial(Check, Section.SETTINGS)


def check_variables(case: Case) -> Iterator[Check]:
    """Those that are in force, without secrets; and names that look like ours and aren't."""
    for name, shown in case.surroundings.shown().items():
        if name.startswith("HUBCLI_") and name not in OUR_VARIABLES:
            from difflib import get_close_matches  # After a typing error alone.

            near = get_close_matches(name, OUR_VARIABLES, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(OUR_VARIABLES)}."
            yield _check(name, Status.WARNING, "hubcli has no such variable", None, hint)
        else:
            yield _check(name, Status.INFO, shown, shown)


def check_config_file(case: Case) -> Iterator[Check]:
    """Whether the config file can be understood, and HUBCLI_GC in its place."""
    try:
        file = UpkeepRules.file()
    except UsageError as error:
        yield _check("config-file", Status.INFO, error.message)
    else:
        yield from _rules("config-file", {}, str(file))
    if case.surroundings.get("HUBCLI_GC"):
        yield from _rules("upkeep", {"HUBCLI_GC": case.surroundings.get("HUBCLI_GC")}, "HUBCLI_GC")


def _rules(name: str, variables: dict[str, str], place: str) -> Iterator[Check]:
    from hubcli.cache.policy import Policy

    try:
        rules = UpkeepRules.read(variables)
        if rules is not None:
            Policy.parse(rules.text, rules.source)
    except UsageError as error:
        yield _check(name, Status.PROBLEM, error.message, place, error.hint)
        return
    if rules is not None:
        yield _check(name, Status.OK, f"{place}: gc = {rules.text}", place)
    else:
        is_there = variables or os.path.lexists(place)
        yield _check(name, Status.INFO, f"{place}, no rules" if is_there else f"none at {place}", place)
