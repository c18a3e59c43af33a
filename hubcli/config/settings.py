"""Settings: flags, environment and config file, read once, then frozen.

No other room reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from hubcli._moved import renamed
from hubcli.config.environment import (
    COLORS,
    KAGGLE_ENDPOINT,
    OFF,
    ConfigFile,
    Mirror,
    NetworkConfig,
    absolute,
    in_home,
    is_on,
    require_timeout,
    unclear_flags,
    user_directory,
)
from hubcli.durability import SYNCED, UNSYNCED, Durability
from hubcli.errors import UsageError, did_you_mean
from hubcli.units import parse_rate

if TYPE_CHECKING:
    from hubcli.config.tiers import TierConfig

__all__ = [
    "DEFAULT_CONNECTIONS",
    "DEFAULT_JOBS",
    "DEFAULT_MIN_RATE",
    "DEFAULT_RETRIES",
    "AutoGcRules",
    "Mirror",
    "Settings",
    "color_choice",
    "environment",
    "read_config",
]

DEFAULT_MIN_RATE = 1024  # Bytes a second.
DEFAULT_CONNECTIONS = 8
DEFAULT_RETRIES = 5
DEFAULT_JOBS = 2
_CONFIG_NAME = "config.toml"
_IN_CONFIG = "config file"
_LOAD_FORMATS = ("", "AUTO", "COMPRESSED", "UNCOMPRESSED")


@dataclass(frozen=True, slots=True)
class Settings:
    """What flags, environment and config file decided. Durations are in seconds.

    `color` is auto, always or never; `load_format` is as it was set. `retries` is the limit of retries in a
    row, `jobs` of models that are fetched at a time. A body that comes more slowly than `min_rate_bytes_s`,
    on average over a minute, fails; 0 turns that off. With `sync`, writes wait until data is on the disk.
    The `tiers` are tried before a model's origin; with `require_tier`, a failure of one is an error.
    `unclear` are warnings of variables whose values may be meant otherwise than they are read.
    """

    cache_root: Path
    cache_root_source: str
    offline: bool = False
    mirrors: tuple[Mirror, ...] = field(default=())
    tiers: tuple[TierConfig, ...] = field(default=())
    require_tier: bool = False
    timeout_s: float = 30.0
    lock_timeout_s: float = 600.0
    color: str = "auto"
    access: NetworkConfig = field(default_factory=NetworkConfig)
    kagglehub_root: Path | None = None
    load_format: str = ""
    min_rate_bytes_s: int = DEFAULT_MIN_RATE
    sync: bool = True
    connections: int = DEFAULT_CONNECTIONS
    retries: int = DEFAULT_RETRIES
    jobs: int = DEFAULT_JOBS
    progress: bool = True
    config: ConfigFile = field(default=ConfigFile(), repr=False)
    unclear: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        environment: Mapping[str, str] | None = None,
        *,
        cache_dir: Path | str | None = None,
        offline: bool = False,
        mirrors: Sequence[str] = (),
        tiers: Sequence[str] = (),
        require_tier: bool = False,
        ca_file: str | None = None,
        timeout_s: float | None = None,
        lock_timeout_s: float | None = None,
        connections: int | None = None,
        retries: int | None = None,
        jobs: int | None = None,
        color: str | None = None,
        no_color: bool = False,
        min_rate: str | None = None,
        no_sync: bool = False,
        no_progress: bool = False,
        anonymous: bool = False,
        requester_pays: bool = False,
        config: ConfigFile | None = None,
    ) -> Settings:
        """The settings that flags give, else the environment, else the config file, else the defaults.

        `--mirror` flags come before those of `HUBCLI_MIRRORS` (separated by spaces or commas), and these
        before those of the file; `--tier` flags replace `HUBCLI_TIERS`, and these the file's. `config` is
        used instead of the user's file. Raises UsageError for an invalid file, mirror, root or endpoint.
        """
        env = os.environ if environment is None else environment
        config = read_config(env) if config is None else config
        config.require_valid()
        for option, seconds in (("--timeout", timeout_s), ("--lock-timeout", lock_timeout_s)):
            if seconds is not None:
                require_timeout(seconds, option)
        root, source = _cache_root(env, cache_dir, config)
        return cls(
            cache_root=root,
            cache_root_source=source,
            offline=offline or is_on(env, "HUBCLI_OFFLINE", config.get("offline", False)),
            mirrors=_mirrors(env, mirrors, config),
            tiers=_tiers(env, tiers, config),
            require_tier=require_tier,
            color=color_choice(env, color, no_color=no_color, default=config.get("color", "auto")),
            progress=not (no_progress or is_on(env, "HUBCLI_NO_PROGRESS", not config.get("progress", True))),
            access=NetworkConfig.read(
                env,
                ca_file,
                default_ca_file=config.get("cacert"),
                default_endpoint=config.get("kaggle-endpoint", KAGGLE_ENDPOINT),
                anonymous=anonymous
                or is_on(env, "HUBCLI_BUCKET_ANONYMOUS", config.get("bucket-anonymous", False)),
                requester_pays=requester_pays
                or is_on(env, "HUBCLI_BUCKET_REQUESTER_PAYS", config.get("bucket-requester-pays", False)),
            ),
            kagglehub_root=_kagglehub_root(env),
            load_format=env.get("TFHUB_MODEL_LOAD_FORMAT", ""),
            min_rate_bytes_s=_min_rate(env, min_rate, config),
            sync=not (no_sync or is_on(env, "HUBCLI_NO_SYNC", not config.get("sync", True))),
            timeout_s=_first(timeout_s, config.get("timeout"), 30.0),
            lock_timeout_s=_first(lock_timeout_s, config.get("lock-timeout"), 600.0),
            connections=_first(connections, config.get("connections"), DEFAULT_CONNECTIONS),
            retries=_first(retries, config.get("retries"), DEFAULT_RETRIES),
            jobs=_first(jobs, config.get("jobs"), DEFAULT_JOBS),
            config=config,
            unclear=tuple(
                f"{name} is '{text}', which counts as on; use 1 or 0"
                for name, text in unclear_flags(env).items()
            ),
        )

    @property
    def durability(self) -> Durability:
        """Whether writes are synced to the disk."""
        return SYNCED if self.sync else UNSYNCED

    @property
    def no_color(self) -> bool:
        """Whether output is never coloured."""
        return self.color == "never"

    @property
    def root_is_unknown_to_tensorflow_hub(self) -> bool:
        """Whether `hub.load` finds the root by `TFHUB_CACHE_DIR` alone."""
        return self.cache_root_source == "default" or self.cache_root_source.startswith(_IN_CONFIG)

    @property
    def reads_uncompressed(self) -> bool:
        """Whether `load` reads uncompressed models at their address instead of fetching them.

        As tensorflow_hub does by TFHUB_MODEL_LOAD_FORMAT. Raises UsageError for an invalid value of it.
        """
        if self.load_format not in _LOAD_FORMATS:
            raise UsageError(
                f"Invalid TFHUB_MODEL_LOAD_FORMAT '{self.load_format}'",
                hint=f"Use one of {', '.join(filter(None, _LOAD_FORMATS))}, or unset it.",
            )
        return self.load_format == "UNCOMPRESSED"

    def mirrored(self, url: str) -> str:
        """The URL to request instead of `url`: the mirror with the longest matching prefix decides."""
        for mirror in sorted(self.mirrors, key=lambda mirror: len(mirror.prefix), reverse=True):
            rewritten = mirror.rewrite(url)
            if rewritten is not None:
                return rewritten
        return url


def environment() -> Mapping[str, str]:
    """The variables of this process, for commands that report them."""
    return os.environ


class AutoGcRules(NamedTuple):
    """The rules by which `fetch` runs gc once a day, as text, and where that text is from."""

    text: str
    source: str

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> AutoGcRules | None:
        """The rules of HUBCLI_GC, else those of `gc` in the user's config file, or None.

        `HUBCLI_GC=off` turns those of the file off. Raises UsageError for an invalid file.
        """
        env = os.environ if environment is None else environment
        text = env.get("HUBCLI_GC", "").strip()
        if text:
            return None if text.lower() in OFF else cls(text, "HUBCLI_GC")
        config = read_config(env)
        config.require_valid()
        rules = config.get("gc", "")
        return cls(rules, f"gc in {config.path}") if rules.lower() not in OFF else None


def read_config(environment: Mapping[str, str] | None = None) -> ConfigFile:
    """The file that HUBCLI_CONFIG names, none if that is empty, else the user's own.

    Raises nothing: its errors are in `faults`.
    """
    env = os.environ if environment is None else environment
    try:
        named = env.get("HUBCLI_CONFIG")
        if named is not None:
            return _read_file(absolute(named, "HUBCLI_CONFIG"), is_named=True) if named else ConfigFile()
    except UsageError as error:
        return ConfigFile(faults={"": error})
    try:
        path = user_directory("config", "the config file", "XDG_CONFIG_HOME") / _CONFIG_NAME
        path.lstat()
    except UsageError:  # A user without a home has no such file.
        return ConfigFile()
    except (FileNotFoundError, NotADirectoryError):
        return ConfigFile(path)
    except OSError:  # It can't be opened either: the reader reports why.
        pass
    return _read_file(path)


def _read_file(path: Path, *, is_named: bool = False) -> ConfigFile:
    # Imported here: it takes 2 ms to load, and most users have no such file.
    from hubcli.config.config_file import read_config_file

    return read_config_file(path, is_named=is_named)


def color_choice(
    environment: Mapping[str, str], option: str | None, *, no_color: bool = False, default: str = "auto"
) -> str:
    """auto, always or never: by option, else by variable, else the default, which a config file may give.

    Of the variables NO_COLOR comes first (https://no-color.org), then FORCE_COLOR and CLICOLOR_FORCE
    (https://bixense.com/clicolors), then CLICOLOR=0 and TERM=dumb. Raises UsageError for another word.
    """
    if option is not None and option not in COLORS:
        raise UsageError(
            f"--color is '{option}', not one of {', '.join(COLORS)}{did_you_mean(option, COLORS)}",
            hint="Use --color auto, --color always or --color never.",
        )
    if no_color and option in ("auto", "always"):
        raise UsageError(
            f"--no-color and --color {option} cannot be used together", hint="Use only one of them."
        )
    if option is not None or no_color:
        return "never" if no_color else str(option)
    if environment.get("NO_COLOR"):
        return "never"
    if any(is_on(environment, name, default=False) for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return "always"
    if environment.get("CLICOLOR") == "0" or environment.get("TERM") == "dumb":
        return "never"
    return default


_T = TypeVar("_T")


def _first(*values: _T | None) -> _T:
    """The first value that isn't None; the last one is a default."""
    return next(value for value in values if value is not None)


def _mirrors(env: Mapping[str, str], options: Sequence[str], config: ConfigFile) -> tuple[Mirror, ...]:
    listed = env.get("HUBCLI_MIRRORS", "").replace(",", " ").split()
    given = (Mirror.parse(text) for text in options)
    return (*given, *(Mirror.parse(text, "HUBCLI_MIRRORS") for text in listed), *config.get("mirrors", ()))


def _tiers(env: Mapping[str, str], options: Sequence[str], config: ConfigFile) -> tuple[TierConfig, ...]:
    """Those of the options, else of the variable, where `off` is none, else of the config file."""
    listed = env.get("HUBCLI_TIERS", "").replace(",", " ").split()
    if not options and not listed:
        found: tuple[TierConfig, ...] = config.get("tiers", ())
        return found
    from hubcli.config.tiers import TierConfig  # Most runs have no tiers.

    if options:
        return tuple(TierConfig.parse(text) for text in options)
    is_off = len(listed) == 1 and listed[0].lower() in OFF
    return () if is_off else tuple(TierConfig.parse(text, "HUBCLI_TIERS") for text in listed)


def _cache_root(env: Mapping[str, str], cache_dir: Path | str | None, config: ConfigFile) -> tuple[Path, str]:
    if cache_dir is not None:
        return absolute(str(cache_dir), "--cache-dir"), "--cache-dir"
    for variable in ("HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR"):
        if env.get(variable):
            return absolute(env[variable], variable), variable
    named: Path | None = config.get("cache-dir")
    if named is not None:
        return named, f"{_IN_CONFIG} {config.path}"
    return user_directory("cache", "the cache", "--cache-dir or HUBCLI_CACHE_DIR"), "default"


def _min_rate(env: Mapping[str, str], option: str | None, config: ConfigFile) -> int:
    """The minimum rate by option, variable or config file, in bytes a second."""
    if option is not None:
        return parse_rate(option, "--min-rate")
    named = env.get("HUBCLI_MIN_RATE", "").strip()
    return parse_rate(named, "HUBCLI_MIN_RATE") if named else int(config.get("min-rate", DEFAULT_MIN_RATE))


def _kagglehub_root(env: Mapping[str, str]) -> Path | None:
    text = env.get("KAGGLEHUB_CACHE")
    return absolute(text, "KAGGLEHUB_CACHE") if text else in_home(".cache/kagglehub")


if not TYPE_CHECKING:  # The type checker reports the old name.

    def __getattr__(name: str) -> object:
        return renamed(__name__, name)
