"""Settings: flags and environment, read once, then frozen.

This is the one module that reads the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hubcli.errors import UsageError
from hubcli.url import without_secrets

__all__ = ["Mirror", "Settings"]

APP_NAME = "hubcli"
_LONGEST_S = 365 * 86400
_OFF = ("", "0", "false", "no", "off")
# A Path has already made one slash of two.
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


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
            raise UsageError(
                f"'{without_secrets(text)}' is no mirror",
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
    """What flags and environment decided. Durations are in seconds."""

    cache_root: Path
    cache_root_source: str
    offline: bool = False
    mirrors: tuple[Mirror, ...] = field(default=())
    timeout_s: float = 30.0
    lock_timeout_s: float = 600.0
    no_color: bool = False

    @classmethod
    def read(
        cls,
        environment: Mapping[str, str] | None = None,
        *,
        cache_dir: Path | str | None = None,
        offline: bool = False,
        mirrors: Sequence[str] = (),
        timeout_s: float = 30.0,
        lock_timeout_s: float = 600.0,
        no_color: bool = False,
    ) -> Settings:
        """The settings that flags give, else the environment, else the defaults.

        `--mirror` flags stand before those of `HUBCLI_MIRRORS` (separated by
        spaces or commas). Raises UsageError for a mirror or a root that can't
        be understood.
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
        )

    @property
    def root_is_unknown_to_tensorflow_hub(self) -> bool:
        """Whether `hub.load` needs to be told of the root by `TFHUB_CACHE_DIR`."""
        return self.cache_root_source == "default"

    def mirrored(self, url: str) -> str:
        """The URL to ask for `url`: the longest matching mirror decides."""
        for mirror in sorted(self.mirrors, key=lambda one: len(one.prefix), reverse=True):
            rewritten = mirror.rewrite(url)
            if rewritten is not None:
                return rewritten
        return url


def _cache_root(env: Mapping[str, str], cache_dir: Path | str | None) -> tuple[Path, str]:
    if cache_dir is not None:
        return _absolute(str(cache_dir), "--cache-dir"), "--cache-dir"
    for variable in ("HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR"):
        if env.get(variable):
            return _absolute(env[variable], variable), variable
    from platformdirs import user_cache_path

    return user_cache_path(APP_NAME, appauthor=False), "default"


def _absolute(text: str, source: str) -> Path:
    if _REMOTE.match(text):
        raise UsageError(
            f"{source} is '{text}', which is no local directory",
            hint="hubcli keeps its cache on a local or mounted disk: name a directory.",
        )
    if not text:
        raise UsageError(f"{source} is empty", hint="Name a directory.")
    try:
        return Path(text).expanduser().absolute()
    except FileNotFoundError as error:
        raise UsageError(
            f"{source} is '{text}', and the working directory is gone", hint="Name it from / on."
        ) from error
    except RuntimeError as error:
        raise UsageError(
            f"{source} is '{text}', the home of an unknown user", hint="Name a directory."
        ) from error
