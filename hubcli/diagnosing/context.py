"""What each check of `doctor` takes and gives: a context of the valid settings, and a Check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from hubcli.config.environment import BUCKET_VARIABLES, ConfigFile
from hubcli.config.settings import Settings, environment, read_config
from hubcli.errors import UsageError
from hubcli.issues import Issue, Severity
from hubcli.urls import address, is_address, without_secrets

__all__ = [
    "ROOT_SOURCES",
    "STATUSES",
    "Check",
    "DiagnosisContext",
    "DoctorOptions",
    "Environment",
    "Section",
    "Status",
    "clean",
]

Status = Severity
# What a check can result in; `info` is neither good nor bad.
STATUSES = (Status.OK, Status.INFO, Status.WARNING, Status.PROBLEM)


class Section(str, Enum):
    """What a check is about, in the order of the output."""

    CACHE = "cache"
    NETWORK = "network"
    CREDENTIALS = "credentials"
    PACKAGES = "packages"
    SETTINGS = "settings"


class Check(NamedTuple):
    """One line of the output: an issue of its section, or that there is none. It holds no secret.

    `value` is what was found, as JSON can hold it.
    """

    section: Section
    issue: Issue
    value: Any = None

    @classmethod
    def of(
        cls, section: Section, name: str, status: Status, message: str, value: Any = None, hint: str = ""
    ) -> Check:
        """The check of that name, which is the code of its issue."""
        return cls(section, Issue(status, name, message, hint=hint), value)

    @property
    def name(self) -> str:
        """Its name for scripts."""
        return self.issue.code

    @property
    def status(self) -> Status:
        """Its severity."""
        return self.issue.severity

    @property
    def message(self) -> str:
        """What was found, in words."""
        return self.issue.message

    @property
    def hint(self) -> str:
        """What to type or change; empty where there is nothing to do."""
        return self.issue.hint


_OF_INTEREST = re.compile(
    r"(HUBCLI|TFHUB|KAGGLE|KAGGLEHUB)_.*|NETRC|SSL_CERT_(FILE|DIR)|(REQUESTS_CA|CURL_CA)_BUNDLE"
    r"|KERAS_(BACKEND|HOME)|TF_USE_LEGACY_KERAS|PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
    r"|AWS_(PROFILE|REGION|ENDPOINT_URL)|GOOGLE_APPLICATION_CREDENTIALS|STORAGE_EMULATOR_HOST"
    r"|AZURE_STORAGE_(ACCOUNT|CONNECTION_STRING)|XDG_(CACHE|CONFIG)_HOME|PYTHON(PATH|HOME|NOUSERSITE)"
)
_OF_PROXIES = re.compile(r"(http|https|all|no)_proxy", re.IGNORECASE)
# Read, but not listed: every environment has them, or they mean nothing to a person.
_UNLISTED = ("NO_COLOR", "REQUEST_METHOD", "TEMP", "TERM", "TMP", "TMPDIR", "VIRTUAL_ENV")
_SECRET = re.compile(
    r"KAGGLE_(API_TOKEN|KEY|USERNAME)|AWS_ACCESS_KEY_ID|.*(TOKEN|SECRET|PASSWORD|_KEY|CONNECTION_STRING)"
)
_HIDDEN = "(set, not shown)"


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment variables that are set; some hold secrets."""

    variables: Mapping[str, str] = field(repr=False)

    @classmethod
    def read(cls, variables: Mapping[str, str] | None = None) -> Environment:
        """The variables of this process, or the given ones, without empty ones."""
        env = environment() if variables is None else variables
        names = [
            name for name in env if name in _UNLISTED or _is_listed(name) or name.startswith(BUCKET_VARIABLES)
        ]
        return cls({name: env[name] for name in sorted(names) if env[name]})

    def get(self, name: str) -> str:
        """The value of the variable; empty where it isn't set."""
        return self.variables.get(name, "")

    @property
    def has_proxies(self) -> bool:
        """Whether a variable of proxies is set."""
        return any(map(_OF_PROXIES.fullmatch, self.variables))

    def printable(self) -> dict[str, str]:
        """What may be printed: of secrets only that they are set, of addresses no credentials."""
        return {
            name: _printed_value(name, value) for name, value in self.variables.items() if _is_listed(name)
        }


def _is_listed(name: str) -> bool:
    return bool(_OF_INTEREST.fullmatch(name) or _OF_PROXIES.fullmatch(name))


def _printed_value(name: str, value: str) -> str:
    if _SECRET.fullmatch(name):
        return _HIDDEN
    if name.lower().endswith("_proxy") and name.lower() != "no_proxy":
        return address(value)
    if name == "HUBCLI_MIRRORS":
        mirrors = (text.partition("=") for text in value.replace(",", " ").split())
        return " ".join(f"{clean(prefix)}={clean(replacement)}" for prefix, _, replacement in mirrors)
    if name == "HUBCLI_TIERS":
        return " ".join(map(clean, value.replace(",", " ").split()))
    return clean(value)


def clean(value: str) -> str:
    """A path or a rule as it is; an address without credentials, and with an `@` nothing but its host."""
    if "://" in value:
        return address(value) if "@" in value else without_secrets(value)
    return _HIDDEN if "@" in value and ":" in value else value


_IN_CONFIG = "cache-dir"
ROOT_SOURCES = ("--cache-dir", "HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR", _IN_CONFIG, "default")
# Stands in for a root that is invalid: no check looks at it then.
_UNUSED_ROOT = "/"
_OTHERS = (
    "HUBCLI_TIERS",
    "HUBCLI_KAGGLE_ENDPOINT",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NETRC",
    "KAGGLE_CONFIG_DIR",
    "KAGGLEHUB_CACHE",
)


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """Options of `doctor`. Nothing is sent unless `network`; then to the `hosts`, or to the usual ones.

    `python` is an interpreter, or the directory of an environment, whose packages are looked at
    instead of those beside hubcli. `fix` removes what killed exports left. The others are flags as `fetch`
    has them.
    """

    network: bool = False
    hosts: tuple[str, ...] = ()
    python: str | None = None
    cache_dir: str | None = None
    offline: bool = False
    mirrors: tuple[str, ...] = ()
    ca_file: str | None = None
    timeout_s: float = 10.0
    fix: bool = False

    def __post_init__(self) -> None:
        for url in self.urls:
            if not is_address(url):
                raise UsageError("Invalid host", hint="Use tfhub.dev, host.example:8080, or a URL.")
        if self.hosts and not self.network:
            raise UsageError(
                f"{address(self.urls[0])} requires --network",
                hint="Add --network, which sends a request.",
            )

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of the hosts; a bare name means https."""
        return tuple(host if "://" in host else f"https://{_bracketed(host)}/" for host in self.hosts)


def _bracketed(host: str) -> str:
    """The host as a URL has it: an address of IPv6 stands in brackets."""
    return f"[{host}]" if host.count(":") > 1 and "[" not in host else host


@dataclass(frozen=True, slots=True)
class DiagnosisContext:
    """The valid settings; `faults` are the errors of the others, by flag or variable."""

    options: DoctorOptions
    environment: Environment
    settings: Settings
    faults: Mapping[str, UsageError] = field(default_factory=dict)
    config: ConfigFile = ConfigFile()  # noqa: RUF009 - a frozen value

    @classmethod
    def open(cls, options: DoctorOptions, variables: Mapping[str, str] | None = None) -> DiagnosisContext:
        """Reads each setting by itself first, so that one that is wrong hides no other.

        Raises UsageError if `--network` and `--offline` contradict each other.
        """
        environment = Environment.read(variables)
        config = read_config(variables)
        trial = _Trial(environment, config)
        root = trial.root(options.cache_dir)
        flags: dict[str, Any] = {"cache_dir": root, "timeout_s": options.timeout_s}
        flags["ca_file"] = trial.flag("--cacert", "ca_file", options.ca_file)
        given = [("--mirror", text) for text in options.mirrors]
        listed = environment.get("HUBCLI_MIRRORS").replace(",", " ").split()
        mirrors = [*given, *(("HUBCLI_MIRRORS", text) for text in listed)]
        flags["mirrors"] = [text for source, text in mirrors if trial.accepts(source, mirrors=(text,))]
        flags["config"] = config._replace(faults={})
        settings = Settings.read(trial.valid_variables(), offline=options.offline, **flags)
        if options.network and settings.offline:
            raise UsageError(
                "--network cannot be used offline (--offline or HUBCLI_OFFLINE)",
                hint="Use only one of them.",
            )
        return cls(options, environment, settings, trial.faults, config)

    @property
    def has_root(self) -> bool:
        """Whether the settings name a valid cache directory."""
        return not set(ROOT_SOURCES) & set(self.faults)


class _Trial:
    """Settings read one by one."""

    def __init__(self, environment: Environment, config: ConfigFile) -> None:
        self.environment = environment
        self.config = config
        self.faults: dict[str, UsageError] = {}

    def accepts(self, source: str, variables: Mapping[str, str] | None = None, **flags: Any) -> bool:
        """Whether that alone is valid; its error is kept in `faults`."""
        try:
            Settings.read(variables or {}, **{"cache_dir": "/", "config": ConfigFile(), **flags})
        except UsageError as error:
            self.faults.setdefault(source, error)
            return False
        return True

    def flag(self, source: str, name: str, value: str | None) -> str | None:
        """The flag's value; None if it isn't given or is invalid."""
        return value if value is not None and self.accepts(source, None, **{name: value}) else None

    def root(self, flag: str | None) -> str | None:
        """What names the root: the first of its sources that is set; None if no flag does."""
        if flag is not None:
            return flag if self.accepts("--cache-dir", cache_dir=flag) else _UNUSED_ROOT
        variables = self.environment.variables
        name = next((name for name in ROOT_SOURCES if name in variables), "default")
        if name == "default" and _IN_CONFIG in self.config.faults:
            self.faults[_IN_CONFIG] = self.config.faults[_IN_CONFIG]
            return _UNUSED_ROOT
        if name == "default" and _IN_CONFIG in self.config.values:
            return None
        named = {name: variables[name]} if name in variables else {}
        return None if self.accepts(name, named, cache_dir=None) else _UNUSED_ROOT

    def valid_variables(self) -> dict[str, str]:
        """The variables without invalid ones, and without mirrors."""
        variables = dict(self.environment.variables)
        for name in _OTHERS:
            if name in variables and not self.accepts(name, {name: variables[name]}):
                del variables[name]
        variables.pop("HUBCLI_MIRRORS", None)
        return variables
