"""Settings: flags and environment, read once, then frozen.

This is the one module that reads the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hubcli.access import Access
from hubcli.durability import SYNCED, UNSYNCED, Durability
from hubcli.errors import UsageError
from hubcli.places import absolute, in_home, users_own
from hubcli.quantity import parse_size_bytes
from hubcli.url import without_secrets

__all__ = [
    "DEFAULT_MIN_RATE",
    "Mirror",
    "Settings",
    "ShellHomes",
    "UpkeepRules",
    "environment",
    "export_records",
]

DEFAULT_MIN_RATE = 1024  # Bytes a second.
_LONGEST_S = 365 * 86400
_HIGHEST_RATE = 10**12
_OFF = ("", "0", "false", "no", "off")
_CONFIG_NAME = "config.toml"
# One form of a TOML line, because Python reads TOML from 3.11 on alone.
_CONFIG_LINE = re.compile(
    r"""(?:gc\s*=\s*(?:"(?P<double>[^"\\]*)"|'(?P<single>[^']*)')|sync\s*=\s*(?P<sync>true|false))\s*(?:\#.*)?"""
)
_LOAD_FORMATS = ("", "AUTO", "COMPRESSED", "UNCOMPRESSED")


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where to ask instead: URLs that begin with `prefix` are asked at `replacement`."""

    prefix: str
    replacement: str = field(repr=False)  # May hold user and password.

    @classmethod
    def parse(cls, text: str) -> Mirror:
        """A mirror from `PREFIX=URL`; raises UsageError for anything else."""
        prefix, separator, replacement = text.strip().partition("=")
        if not separator or "://" not in prefix or "://" not in replacement:
            # Credentials can't be told from the rest of what can't be understood.
            shown = "A mirror with an '@'" if "@" in text else f"'{without_secrets(text)}'"
            raise UsageError(
                f"{shown} is no mirror",
                hint="Write --mirror https://tfhub.dev=https://mirror.example/tfhub.",
            )
        return cls(prefix.rstrip("/"), replacement.rstrip("/"))

    def rewrite(self, url: str) -> str | None:
        """The URL to ask instead of `url`, or None where this mirror doesn't apply."""
        if not url.startswith(self.prefix):
            return None
        rest = url[len(self.prefix) :]
        return self.replacement + rest if rest[:1] in ("", "/", "?") else None


@dataclass(frozen=True, slots=True)
class Settings:
    """What flags and environment decided. Durations are in seconds; `load_format` is as it was set.

    A body that comes more slowly than `min_rate_bytes_s`, on average over a minute, fails; 0 for none.
    """

    cache_root: Path
    cache_root_source: str
    offline: bool = False
    mirrors: tuple[Mirror, ...] = field(default=())
    timeout_s: float = 30.0
    lock_timeout_s: float = 600.0
    no_color: bool = False
    access: Access = field(default_factory=Access)
    kagglehub_root: Path | None = None
    load_format: str = ""
    min_rate_bytes_s: int = DEFAULT_MIN_RATE
    sync: bool | None = None  # None: as the config file has it.

    @classmethod
    def read(
        cls,
        environment: Mapping[str, str] | None = None,
        *,
        cache_dir: Path | str | None = None,
        offline: bool = False,
        mirrors: Sequence[str] = (),
        ca_file: str | None = None,
        timeout_s: float = 30.0,
        lock_timeout_s: float = 600.0,
        no_color: bool = False,
        min_rate: str | None = None,
        no_sync: bool = False,
    ) -> Settings:
        """The settings that flags give, else the environment, else the defaults.

        `--mirror` flags stand before those of `HUBCLI_MIRRORS` (separated by
        spaces or commas). Raises UsageError for a mirror, a root or an endpoint
        that can't be understood.
        """
        env = os.environ if environment is None else environment
        for option, seconds in (("--timeout", timeout_s), ("--lock-timeout", lock_timeout_s)):
            if not 0 < seconds <= _LONGEST_S:
                raise UsageError(f"{option} is {seconds:g} s", hint="Write more than 0s and at most 1y.")
        root, source = _cache_root(env, cache_dir)
        from_environment = env.get("HUBCLI_MIRRORS", "").replace(",", " ").split()
        return cls(
            cache_root=root,
            cache_root_source=source,
            offline=offline or env.get("HUBCLI_OFFLINE", "").lower() not in _OFF,
            mirrors=tuple(Mirror.parse(text) for text in (*mirrors, *from_environment)),
            timeout_s=timeout_s,
            lock_timeout_s=lock_timeout_s,
            no_color=no_color or bool(env.get("NO_COLOR")) or env.get("TERM") == "dumb",
            access=Access.read(env, ca_file),
            kagglehub_root=_kagglehub_root(env),
            load_format=env.get("TFHUB_MODEL_LOAD_FORMAT", ""),
            min_rate_bytes_s=_min_rate(env, min_rate),
            sync=False if no_sync else _sync_of(env),
        )

    @property
    def durability(self) -> Durability:
        """Whether writes are synced: by flag or variable, else by `sync` in the user's config file.

        Raises UsageError for a file that can't be understood.
        """
        is_on = self.sync if self.sync is not None else _own_config().get("sync") != "false"
        return SYNCED if is_on else UNSYNCED

    @property
    def root_is_unknown_to_tensorflow_hub(self) -> bool:
        """Whether `hub.load` needs to be told of the root by `TFHUB_CACHE_DIR`."""
        return self.cache_root_source == "default"

    @property
    def reads_uncompressed(self) -> bool:
        """Whether `load` reads models where they lie, uncompressed, rather than fetching them.

        As tensorflow_hub does by TFHUB_MODEL_LOAD_FORMAT. Raises UsageError for what that can't be.
        """
        if self.load_format not in _LOAD_FORMATS:
            raise UsageError(
                f"TFHUB_MODEL_LOAD_FORMAT is '{self.load_format}', which is no format",
                hint=f"Set one of {', '.join(filter(None, _LOAD_FORMATS))}, or unset it.",
            )
        return self.load_format == "UNCOMPRESSED"

    def mirrored(self, url: str) -> str:
        """The URL to ask for `url`: the longest matching mirror decides."""
        for mirror in sorted(self.mirrors, key=lambda one: len(one.prefix), reverse=True):
            rewritten = mirror.rewrite(url)
            if rewritten is not None:
                return rewritten
        return url


def export_records() -> Path | None:
    """Where exports that run are noted, there or not; None for a user without a home."""
    from platformdirs import user_state_path

    try:
        return users_own(user_state_path, "the state of exports", "XDG_STATE_HOME") / "exports"
    except UsageError:
        return None


def environment() -> Mapping[str, str]:
    """The variables of this process, for who tells of them."""
    return os.environ


@dataclass(frozen=True, slots=True)
class UpkeepRules:
    """What `fetch` collects once a day, as text, and where that text stands."""

    text: str
    source: str

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> UpkeepRules | None:
        """The rules of HUBCLI_GC, else those of `gc` in the user's config file; None where there are none.

        `HUBCLI_GC=off` turns those of the file off. Raises UsageError for a file that
        can't be understood.
        """
        env = os.environ if environment is None else environment
        text = env.get("HUBCLI_GC", "").strip()
        if text:
            return None if text.lower() in _OFF else cls(text, "HUBCLI_GC")
        rules = _own_config().get("gc", "").strip()
        return cls(rules, f"gc in {cls.file()}") if rules and rules.lower() not in _OFF else None

    @staticmethod
    def file() -> Path:
        """The user's config file, there or not. Raises UsageError for a user without a home."""
        return _config_file()


@dataclass(frozen=True, slots=True)
class ShellHomes:
    """The directories in which shells look for what is the user's own."""

    home: Path
    data: Path
    config: Path
    zsh: Path

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> ShellHomes:
        """What XDG_DATA_HOME, XDG_CONFIG_HOME and ZDOTDIR say, else the home; UsageError without one."""
        env = os.environ if environment is None else environment
        home = in_home(".")
        if home is None:
            raise UsageError("There is no home directory", hint="Set HOME.")
        places = {
            "data": ("XDG_DATA_HOME", home / ".local" / "share"),
            "config": ("XDG_CONFIG_HOME", home / ".config"),
            "zsh": ("ZDOTDIR", home),
        }
        named = {
            key: absolute(env[variable], variable) if env.get(variable) else default
            for key, (variable, default) in places.items()
        }
        return cls(home=home, **named)


def _config_file() -> Path:
    from platformdirs import user_config_path

    return users_own(user_config_path, "the config file", "XDG_CONFIG_HOME") / _CONFIG_NAME


def _own_config() -> dict[str, str]:
    """The values of the user's config file. Raises UsageError for one that can't be understood."""
    try:
        file = _config_file()
    except UsageError:  # A user without a home has no such file.
        return {}
    return _config(file)


def _sync_of(env: Mapping[str, str]) -> bool | None:
    text = env.get("HUBCLI_NO_SYNC", "").strip()
    return text.lower() in _OFF if text else None


def _config(file: Path) -> dict[str, str]:
    """The values of a config file: `gc = "rules"` and `sync = true` lines, comments and blank lines."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} can't be read: {error}", hint="Check its mode, or remove it.") from error
    values = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        match = _CONFIG_LINE.fullmatch(line)
        if match is None:
            raise UsageError(
                f"{file}, line {number}, can't be understood: {line}",
                hint='Known are two lines: gc = "max-size=20GB,older-than=90d" and sync = false',
            )
        name = "gc" if match["sync"] is None else "sync"
        values[name] = next(value for value in match.groups() if value is not None)
    return values


def _cache_root(env: Mapping[str, str], cache_dir: Path | str | None) -> tuple[Path, str]:
    if cache_dir is not None:
        return absolute(str(cache_dir), "--cache-dir"), "--cache-dir"
    for variable in ("HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR"):
        if env.get(variable):
            return absolute(env[variable], variable), variable
    from platformdirs import user_cache_path

    return users_own(user_cache_path, "the cache", "--cache-dir or HUBCLI_CACHE_DIR"), "default"


def _min_rate(env: Mapping[str, str], flag: str | None) -> int:
    """What the flag says, else the variable, in bytes a second; a trailing `/s` may be written."""
    named = env.get("HUBCLI_MIN_RATE", "").strip()
    text, source = (flag, "--min-rate") if flag is not None else (named, "HUBCLI_MIN_RATE")
    if not text and flag is None:
        return DEFAULT_MIN_RATE
    try:
        rate = parse_size_bytes(text.strip().removesuffix("/s"))
    except UsageError:
        rate = -1
    if not 0 <= rate <= _HIGHEST_RATE:
        raise UsageError(f"{source} is '{text}', not a rate", hint="Write it like 1KiB, 50kB or 0.")
    return rate


def _kagglehub_root(env: Mapping[str, str]) -> Path | None:
    text = env.get("KAGGLEHUB_CACHE")
    return absolute(text, "KAGGLEHUB_CACHE") if text else in_home(".cache/kagglehub")
