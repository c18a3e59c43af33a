"""What the environment and the config file say, as it stands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from hubcli.commands.checkup.case import Case
from hubcli.commands.checkup.check import Check, Section, Status
from hubcli.errors import UsageError
from hubcli.settings import OUR_VARIABLES, UpkeepRules

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
    """Whether the config file, or HUBCLI_GC in its place, can be understood."""
    file = UpkeepRules.file()
    sources = (
        ("config-file", dict[str, str]()),
        ("upkeep", {"HUBCLI_GC": case.surroundings.get("HUBCLI_GC")}),
    )
    for name, environment in sources:
        if name == "upkeep" and not environment["HUBCLI_GC"]:
            continue
        try:
            rules = UpkeepRules.read(environment)
            if rules is not None:
                from hubcli.cache.policy import Policy

                Policy.parse(rules.text, rules.source)
        except UsageError as error:
            yield _check(name, Status.PROBLEM, error.message, str(file), error.hint)
            continue
        if name == "config-file":
            told = f": gc = {rules.text}" if rules is not None else ""
            there = f"{file}{told}" if os.path.lexists(file) else f"none at {file}"
            yield _check(name, Status.OK if rules is not None else Status.INFO, there, str(file))
