"""Credentials: where some are, which counts, and who else can read them. None is ever shown."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from hubcli.config.network import KaggleAccount
from hubcli.diagnosing.context import Check, DiagnosisContext, Section, Status
from hubcli.diagnosing.network import hosts_in_force
from hubcli.errors import AuthenticationError
from hubcli.net.credentials import netrc_names
from hubcli.providers.kaggle_account import kaggle_credential
from hubcli.units import plural

__all__ = ["check_kaggle", "check_modes", "check_netrc"]

_check = partial(Check.of, Section.CREDENTIALS)

_READABLE_BY_OTHERS = stat.S_IRGRP | stat.S_IROTH


def check_kaggle(case: DiagnosisContext) -> Iterator[Check]:
    """Those for Kaggle, in kagglehub's order: the first place that is there counts."""
    fault = case.faults.get("KAGGLE_CONFIG_DIR")
    if fault is not None:
        yield _check("kaggle", Status.PROBLEM, fault.message, None, fault.hint)
        return
    account = case.settings.access.kaggle
    try:
        credential = kaggle_credential(account)
    except AuthenticationError as error:
        yield _check("kaggle", Status.PROBLEM, error.message, None, error.hint)
        return
    if credential is None:
        yield _check("kaggle", Status.INFO, "none: public models need none", None)
    else:
        place = credential.place
        others = [name for name in _places(account) if not place.startswith(name)]
        aside = f"; {', '.join(others)} not used beside it" if others else ""
        yield _check("kaggle", Status.OK, f"found in {place}{aside}", {"place": place, "unused": others})
    yield from _halves(case)


def _halves(case: DiagnosisContext) -> Iterator[Check]:
    names = ("KAGGLE_USERNAME", "KAGGLE_KEY")
    there = [name for name in names if case.environment.get(name)]
    if len(there) == 1:
        other = next(name for name in names if name not in there)
        message = f"{there[0]} is set and {other} isn't: neither is used"
        yield _check("kaggle-variables", Status.WARNING, message, there, f"Set {other}, or unset {there[0]}")
    folder = case.environment.get("KAGGLE_CONFIG_DIR")
    if folder and not (case.settings.access.kaggle.key_file or Path(folder)).is_file():
        message = f"KAGGLE_CONFIG_DIR names {folder}, where no kaggle.json is"
        yield _check("kaggle-folder", Status.WARNING, message, folder, "unset KAGGLE_CONFIG_DIR")


def _places(account: KaggleAccount) -> list[str]:
    """All that are there, in their order."""
    found = [] if account.token is None else ["KAGGLE_API_TOKEN"]
    if account.token_file is not None and account.token_file.is_file():
        found.append(str(account.token_file))
    if account.username is not None and account.key is not None:
        found.append("KAGGLE_USERNAME")
    if account.key_file is not None and account.key_file.is_file():
        found.append(str(account.key_file))
    return found


def check_netrc(case: DiagnosisContext) -> Iterator[Check]:
    """Those for other hosts: how many, and which of the hosts in question has one."""
    fault, access = case.faults.get("NETRC"), case.settings.access
    if fault is not None:
        yield _check("netrc", Status.PROBLEM, fault.message, None, fault.hint)
        return
    if access.netrc is None:
        yield _check("netrc", Status.INFO, "there is no home directory for it", None)
        return
    try:
        names = netrc_names(access)
    except AuthenticationError as error:
        yield _check("netrc", Status.PROBLEM, error.message, {"path": str(access.netrc)}, error.hint)
        return
    hosts = [urlsplit(url).hostname for url in (*case.options.urls, *hosts_in_force(case))]
    mine = [host for host in dict.fromkeys(hosts) if host is not None and host in names]
    value = {"path": str(access.netrc), "entries": len(names), "hosts": mine, "default": "default" in names}
    if not names:
        yield _check("netrc", Status.INFO, f"no entry in {access.netrc}", value)
        return
    count = "1 entry" if len(names) == 1 else f"{len(names)} entries"
    matches = f", for {', '.join(mine)} among them" if mine else ""
    default = ", one for all other hosts" if "default" in names else ""
    yield _check("netrc", Status.OK, f"{count} in {access.netrc}{matches}{default}", value)


def check_modes(case: DiagnosisContext) -> Iterator[Check]:
    """Files with credentials that other users can read."""
    account = case.settings.access.kaggle
    token = case.environment.get("KAGGLE_API_TOKEN")
    named = Path(os.path.expanduser(token)) if token.startswith(("/", "~", "./", "../")) else None  # noqa: PTH111
    files = (named, account.token_file, account.key_file, case.settings.access.netrc)
    open_files = [str(file) for file in files if file is not None and _can_others_read(file)]
    if open_files:
        message = f"other users can read {', '.join(open_files)}"
        noun = plural(len(open_files), "file")
        hint = f"chmod 600 {' '.join(open_files)}"
        yield _check("modes", Status.WARNING, f"{noun}: {message}", open_files, hint)


def _can_others_read(file: Path) -> bool:
    try:
        status = file.stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & _READABLE_BY_OTHERS) and os.name != "nt"
