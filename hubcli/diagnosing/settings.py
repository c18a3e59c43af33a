"""Checks of what the user has set: variables, the config file, and credentials, of which none is shown.

With the table of the environment variables that hubcli reads, which help and documentation print; apart
from the functions that read them, since a start would pay for it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hubcli.config.config_file import KEYS
from hubcli.config.environment import KaggleAccount, Mirror, unclear_flags
from hubcli.config.settings import AutoGcRules
from hubcli.config.tiers import TierConfig
from hubcli.diagnosing.context import Check, DiagnosisContext, Section, Status, clean
from hubcli.diagnosing.network import hosts_in_force
from hubcli.errors import AuthenticationError, UsageError
from hubcli.net.credentials import netrc_names
from hubcli.providers.kaggle_credentials import KaggleLogin, kaggle_credential
from hubcli.providers.provider import Credential
from hubcli.units import plural

__all__ = [
    "OUR_VARIABLES",
    "VARIABLES",
    "Variable",
    "check_config_file",
    "check_kaggle",
    "check_modes",
    "check_netrc",
    "check_variables",
]

_check = partial(Check.of, Section.SETTINGS)


def check_variables(context: DiagnosisContext) -> Iterator[Check]:
    """The variables that are set, without secrets; unknown ones of hubcli, and unclear values."""
    unclear = unclear_flags(context.environment.printable())
    for name, value in context.environment.printable().items():
        if name.startswith("HUBCLI_") and name not in OUR_VARIABLES:
            from difflib import get_close_matches  # After a typing error alone.

            near = get_close_matches(name, OUR_VARIABLES, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(OUR_VARIABLES)}."
            yield _check(name, Status.WARNING, "unknown variable of hubcli", None, hint)
        elif name in unclear:
            message = f"'{unclear[name]}', which counts as on"
            yield _check(name, Status.WARNING, message, value, f"Use {name}=1 or {name}=0.")
        else:
            yield _check(name, Status.INFO, value, value)


def check_config_file(context: DiagnosisContext) -> Iterator[Check]:
    """Where the config file is, whether it is valid, and what comes from it; then HUBCLI_GC."""
    config = context.config
    if "" in config.faults:
        fault = config.faults[""]
        yield _check("config-file", Status.PROBLEM, fault.message, str(config.path or ""), fault.hint)
    elif config.path is None:
        yield _check("config-file", Status.INFO, "none: HUBCLI_CONFIG is empty, or no home directory")
    elif not config.is_there:
        yield _check("config-file", Status.INFO, f"none at {config.path}", str(config.path))
    else:
        yield from _keys(context)
    if context.environment.get("HUBCLI_GC"):
        yield from _rules(context)


def _keys(context: DiagnosisContext) -> Iterator[Check]:
    config = context.config
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
        first = next((name for name in KEYS[key].variables if context.environment.get(name)), None)
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
        return " ".join(map(_item_text, value))
    return f"{value:g} s" if isinstance(value, float) else clean(str(value))


def _item_text(item: Mirror | TierConfig) -> str:
    if isinstance(item, Mirror):
        return f"{clean(item.prefix)}={clean(item.replacement)}"
    return clean(item.address)


def _rules(context: DiagnosisContext) -> Iterator[Check]:
    from hubcli.cache.gc.plan import Policy

    text = context.environment.get("HUBCLI_GC")
    try:
        rules = AutoGcRules.read({"HUBCLI_GC": text})
        if rules is not None:
            Policy.parse(rules.text, rules.source)
    except UsageError as error:
        yield _check("upkeep", Status.PROBLEM, error.message, "HUBCLI_GC", error.hint)
        return
    if rules is None:
        yield _check("upkeep", Status.INFO, "HUBCLI_GC, no rules", "HUBCLI_GC")
    else:
        yield _check("upkeep", Status.OK, f"HUBCLI_GC: gc = {rules.text}", "HUBCLI_GC")


@dataclass(frozen=True, slots=True)
class Variable:
    """Names that mean the same, in the order in which they are read, and the meaning."""

    names: tuple[str, ...]
    meaning: str


VARIABLES = (
    Variable(
        ("HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR"),
        "cache directory; the default is in the user's cache directory, where "
        "`hub.load` needs `TFHUB_CACHE_DIR` to find it",
    ),
    Variable(("HUBCLI_OFFLINE",), "`1`: never use the network; models that are not cached fail"),
    Variable(("HUBCLI_MIRRORS",), "`PREFIX=URL`, separated by spaces: mirrors"),
    Variable(
        ("HUBCLI_TIERS",),
        "addresses of shared tiers, separated by spaces: `s3://models/hub?mode=read-write`; `off`: none",
    ),
    Variable(
        ("HUBCLI_MIN_RATE",),
        "minimum rate of a download in bytes per second, averaged over a minute (`1KiB`)",
    ),
    Variable(("HUBCLI_CONFIG",), "the config file; empty: none"),
    Variable(("HUBCLI_NO_PROGRESS",), "`1`: no progress bars and no lines of progress"),
    Variable(
        ("HUBCLI_GC",),
        "rules of the gc that `fetch` runs once a day; `off` disables those of the config file",
    ),
    Variable(
        ("HUBCLI_NO_SYNC",),
        "`1`: do not wait for data to reach the disk, as `--no-sync`; `0`: "
        "wait, even with `sync = false` in the config file",
    ),
    Variable(
        ("HUBCLI_TENSORFLOW_LIB",),
        "TensorFlow's C library for `run`, the file or its directory; default: that of the installed package",
    ),
    Variable(("HUBCLI_BUCKET_ANONYMOUS",), "`1`: read buckets without credentials, as `--anonymous`"),
    Variable(
        ("HUBCLI_BUCKET_REQUESTER_PAYS",),
        "`1`: read requester-pays buckets and pay for the traffic, as `--requester-pays`",
    ),
    Variable(
        ("AWS_PROFILE", "AWS_REGION", "AWS_ENDPOINT_URL"),
        "profile, region and service of `s3://`, with the other variables and files of the AWS CLI",
    ),
    Variable(
        ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"),
        "credentials and emulator of `gs://`; default: those of `gcloud auth application-default login`",
    ),
    Variable(
        ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_CONNECTION_STRING"),
        "account of `az://`, with the other variables of the Azure CLI and SDK",
    ),
    Variable(
        ("HUBCLI_KAGGLE_ENDPOINT",),
        "URL of Kaggle's API (`https://www.kaggle.com`); no other host gets Kaggle's credentials",
    ),
    Variable(("KAGGLE_API_TOKEN",), "Kaggle token, or the path of a file that holds one"),
    Variable(("KAGGLE_USERNAME", "KAGGLE_KEY"), "Kaggle user name and key; both are needed"),
    Variable(("KAGGLE_CONFIG_DIR",), "directory of `kaggle.json` (`~/.kaggle`)"),
    Variable(
        ("TFHUB_MODEL_LOAD_FORMAT",),
        "`UNCOMPRESSED`: from Python, TensorFlow reads models that the host serves unpacked",
    ),
    Variable(("KAGGLEHUB_CACHE",), "kagglehub's cache (`~/.cache/kagglehub`)"),
    Variable(("NETRC",), "file with credentials for other hosts (`~/.netrc`)"),
    Variable(
        ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"), "proxies, and hosts to reach without a proxy"
    ),
    Variable(("SSL_CERT_FILE", "SSL_CERT_DIR"), "CA certificates to trust instead of the system's"),
    Variable(
        ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR", "TERM"),
        "colors, in this order: never if it is set; always if one of the next "
        "two is set and not `0`; never if CLICOLOR is `0` or TERM is `dumb`",
    ),
    Variable(
        ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "ZDOTDIR"),
        "directories of the user's caches, configuration and data, and of zsh's startup files",
    ),
    Variable(("TF_CONFIG",), "the workers of `finetune-export --strategy multiworker`, as TensorFlow has it"),
)
OUR_VARIABLES = tuple(
    sorted(name for variable in VARIABLES for name in variable.names if name.startswith("HUBCLI_"))
)


_credential_check = partial(Check.of, Section.CREDENTIALS)

_READABLE_BY_OTHERS = stat.S_IRGRP | stat.S_IROTH


def check_kaggle(context: DiagnosisContext) -> Iterator[Check]:
    """The credentials for Kaggle, in kagglehub's order: the first place that exists counts."""
    fault = context.faults.get("KAGGLE_CONFIG_DIR")
    if fault is not None:
        yield _credential_check("kaggle", Status.PROBLEM, fault.message, None, fault.hint)
        return
    account = context.settings.access.kaggle
    try:
        credential = kaggle_credential(account)
    except AuthenticationError as error:
        yield _credential_check("kaggle", Status.PROBLEM, error.message, None, error.hint)
        return
    if credential is None:
        yield _credential_check("kaggle", Status.INFO, "none: public models need none", None)
    else:
        place = credential.place
        others = [name for name in _places(account) if not place.startswith(name)]
        aside = f"; {', '.join(others)} ignored" if others else ""
        yield _credential_check(
            "kaggle", Status.OK, f"found in {place}{aside}", {"place": place, "unused": others}
        )
    yield from _login(account, credential)
    yield from _halves(context)


def _login(account: KaggleAccount, credential: Credential | None) -> Iterator[Check]:
    """The login of `kaggle auth login`, if it would be used and is invalid."""
    login = (
        None if account.login_file is None or credential is not None else KaggleLogin.read(account.login_file)
    )
    if login is not None and not login.is_valid:
        what = "has expired" if login.token is not None else "has no valid token"
        yield _credential_check(
            "kaggle-login",
            Status.INFO,
            f"{login.file} {what} and is ignored",
            {"path": str(login.file)},
            "Run: kaggle auth login",
        )


def _halves(context: DiagnosisContext) -> Iterator[Check]:
    names = ("KAGGLE_USERNAME", "KAGGLE_KEY")
    there = [name for name in names if context.environment.get(name)]
    if len(there) == 1:
        other = next(name for name in names if name not in there)
        message = f"{there[0]} is set without {other}: both are ignored"
        yield _credential_check(
            "kaggle-variables", Status.WARNING, message, there, f"Set {other}, or unset {there[0]}"
        )
    folder = context.environment.get("KAGGLE_CONFIG_DIR")
    if folder and not (context.settings.access.kaggle.key_file or Path(folder)).is_file():
        message = f"KAGGLE_CONFIG_DIR is {folder}, which has no kaggle.json"
        yield _credential_check("kaggle-folder", Status.WARNING, message, folder, "unset KAGGLE_CONFIG_DIR")


def _places(account: KaggleAccount) -> list[str]:
    """The places that have credentials, in the order in which they are tried."""
    token_file, key_file, login_file = (
        [str(file)] if file is not None and file.is_file() else []
        for file in (account.token_file, account.key_file, account.login_file)
    )
    token = ["KAGGLE_API_TOKEN"] if account.token is not None else []
    name = ["KAGGLE_USERNAME"] if account.username is not None and account.key is not None else []
    return [*token, *token_file, *name, *key_file, *login_file]


def check_netrc(context: DiagnosisContext) -> Iterator[Check]:
    """The credentials for other hosts: how many, and which of the checked hosts have one."""
    fault, access = context.faults.get("NETRC"), context.settings.access
    if fault is not None:
        yield _credential_check("netrc", Status.PROBLEM, fault.message, None, fault.hint)
        return
    if access.netrc is None:
        yield _credential_check("netrc", Status.INFO, "no home directory for it", None)
        return
    try:
        names = netrc_names(access)
    except AuthenticationError as error:
        yield _credential_check(
            "netrc", Status.PROBLEM, error.message, {"path": str(access.netrc)}, error.hint
        )
        return
    hosts = [urlsplit(url).hostname for url in (*context.options.urls, *hosts_in_force(context))]
    mine = [host for host in dict.fromkeys(hosts) if host is not None and host in names]
    value = {"path": str(access.netrc), "entries": len(names), "hosts": mine, "default": "default" in names}
    if not names:
        yield _credential_check("netrc", Status.INFO, f"no entry in {access.netrc}", value)
        return
    count = "1 entry" if len(names) == 1 else f"{len(names)} entries"
    matches = f", for {', '.join(mine)} among them" if mine else ""
    default = ", one for all other hosts" if "default" in names else ""
    yield _credential_check("netrc", Status.OK, f"{count} in {access.netrc}{matches}{default}", value)


def check_modes(context: DiagnosisContext) -> Iterator[Check]:
    """Files with credentials that other users can read."""
    account = context.settings.access.kaggle
    token = context.environment.get("KAGGLE_API_TOKEN")
    named = Path(os.path.expanduser(token)) if token.startswith(("/", "~", "./", "../")) else None  # noqa: PTH111
    files = (
        named,
        account.token_file,
        account.key_file,
        account.login_file,
        context.settings.access.netrc,
    )
    open_files = [str(file) for file in files if file is not None and _can_others_read(file)]
    if open_files:
        message = f"other users can read {', '.join(open_files)}"
        noun = plural(len(open_files), "file")
        hint = f"chmod 600 {' '.join(open_files)}"
        yield _credential_check("modes", Status.WARNING, f"{noun}: {message}", open_files, hint)


def _can_others_read(file: Path) -> bool:
    try:
        status = file.stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & _READABLE_BY_OTHERS) and os.name != "nt"
