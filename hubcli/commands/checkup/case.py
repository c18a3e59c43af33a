"""The case: what all checks look at, with those settings left out that can't be understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hubcli.commands.checkup.surroundings import Surroundings
from hubcli.config_file import ConfigFile
from hubcli.errors import UsageError
from hubcli.settings import Settings, read_config
from hubcli.url import address, is_address

__all__ = ["ROOT_SOURCES", "Case", "DoctorOptions"]

_IN_CONFIG = "cache-dir"
ROOT_SOURCES = ("--cache-dir", "HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR", _IN_CONFIG, "default")
# In its place where the root can't be understood: no check looks at it then.
_UNUSED_ROOT = "/"
_OTHERS = (
    "HUBCLI_KAGGLE_ENDPOINT",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NETRC",
    "KAGGLE_CONFIG_DIR",
    "KAGGLEHUB_CACHE",
)


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """What the caller asks for. Nothing is sent unless `network`; then `hosts` are asked, or the usual ones.

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
                raise UsageError(
                    "A host can't be understood", hint="Write tfhub.dev, host.example:8080, or an address."
                )
        if self.hosts and not self.network:
            raise UsageError(
                f"{address(self.urls[0])} would have to be asked",
                hint="Add --network, which sends a request.",
            )

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of the hosts; a bare name is asked by https."""
        return tuple(host if "://" in host else f"https://{_bracketed(host)}/" for host in self.hosts)


def _bracketed(host: str) -> str:
    """The host as a URL has it: an address of IPv6 stands in brackets."""
    return f"[{host}]" if host.count(":") > 1 and "[" not in host else host


@dataclass(frozen=True, slots=True)
class Case:
    """The settings as far as they can be understood; `faults` tells of the others, by flag or variable."""

    options: DoctorOptions
    surroundings: Surroundings
    settings: Settings
    faults: Mapping[str, UsageError] = field(default_factory=dict)
    config: ConfigFile = field(default_factory=ConfigFile)

    @classmethod
    def open(cls, options: DoctorOptions, environment: Mapping[str, str] | None = None) -> Case:
        """Reads each setting by itself first, so that one that is wrong hides no other.

        Raises UsageError where `--network` and `--offline` contradict each other.
        """
        surroundings = Surroundings.read(environment)
        config = read_config(environment)
        trial = _Trial(surroundings, config)
        root = trial.root(options.cache_dir)
        flags: dict[str, Any] = {"cache_dir": root, "timeout_s": options.timeout_s}
        flags["ca_file"] = trial.flag("--cacert", "ca_file", options.ca_file)
        given = [("--mirror", text) for text in options.mirrors]
        listed = surroundings.get("HUBCLI_MIRRORS").replace(",", " ").split()
        mirrors = [*given, *(("HUBCLI_MIRRORS", text) for text in listed)]
        flags["mirrors"] = [text for source, text in mirrors if trial.accepts(source, mirrors=(text,))]
        flags["config"] = replace(config, faults={})
        settings = Settings.read(trial.understood(), offline=options.offline, **flags)
        if options.network and settings.offline:
            raise UsageError(
                "--network would send requests, and --offline or HUBCLI_OFFLINE forbids it",
                hint="Leave one of them out.",
            )
        return cls(options, surroundings, settings, trial.faults, config)

    @property
    def has_root(self) -> bool:
        """Whether it is known which directory the cache is."""
        return not set(ROOT_SOURCES) & set(self.faults)


class _Trial:
    """Settings read one by one."""

    def __init__(self, surroundings: Surroundings, config: ConfigFile) -> None:
        self.surroundings = surroundings
        self.config = config
        self.faults: dict[str, UsageError] = {}

    def accepts(self, source: str, variables: Mapping[str, str] | None = None, **flags: Any) -> bool:
        """Whether that alone can be understood; keeps why not."""
        try:
            Settings.read(variables or {}, **{"cache_dir": "/", "config": ConfigFile(), **flags})
        except UsageError as error:
            self.faults.setdefault(source, error)
            return False
        return True

    def flag(self, source: str, name: str, value: str | None) -> str | None:
        """The flag's value; None where it isn't given or can't be understood."""
        return value if value is not None and self.accepts(source, None, **{name: value}) else None

    def root(self, flag: str | None) -> str | None:
        """What names the root, of which the first that is set decides; None where no flag does."""
        if flag is not None:
            return flag if self.accepts("--cache-dir", cache_dir=flag) else _UNUSED_ROOT
        variables = self.surroundings.variables
        name = next((name for name in ROOT_SOURCES if name in variables), "default")
        if name == "default" and _IN_CONFIG in self.config.faults:
            self.faults[_IN_CONFIG] = self.config.faults[_IN_CONFIG]
            return _UNUSED_ROOT
        if name == "default" and _IN_CONFIG in self.config.values:
            return None
        named = {name: variables[name]} if name in variables else {}
        return None if self.accepts(name, named, cache_dir=None) else _UNUSED_ROOT

    def understood(self) -> dict[str, str]:
        """The variables without those that can't be understood, and without mirrors."""
        variables = dict(self.surroundings.variables)
        for name in _OTHERS:
            if name in variables and not self.accepts(name, {name: variables[name]}):
                del variables[name]
        variables.pop("HUBCLI_MIRRORS", None)
        return variables
