"""Directories of the user beside the cache: records of running work, cached answers, and those of shells."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hubcli.config.environment import absolute, in_home, user_directory
from hubcli.errors import UsageError

__all__ = ["ShellHomes", "answer_cache_folder", "export_records", "upload_records"]


def export_records() -> Path | None:
    """The directory in which running exports are noted, there or not; None without an existing home."""
    return _state("exports")


def upload_records() -> Path | None:
    """The directory in which resumable uploads are noted, there or not; None without an existing home."""
    return _state("uploads")


def _state(name: str) -> Path | None:
    home = in_home(".")
    if not os.environ.get("XDG_STATE_HOME") and (home is None or not home.is_dir()):
        return None  # No command makes a user's home.
    try:
        return user_directory("state", f"the state of {name}", "XDG_STATE_HOME") / name
    except UsageError:
        return None


def answer_cache_folder() -> Path | None:
    """The cache of hosts' answers, kept for some minutes; there or not, None for a user without a home.

    It is beside the default cache of models, which has models alone.
    """
    try:
        folder = user_directory("cache", "the cache of answers", "XDG_CACHE_HOME")
    except UsageError:
        return None
    return folder.with_name(f"{folder.name}-answers")


class ShellHomes(NamedTuple):
    """The directories in which shells look for the user's own files."""

    home: Path
    data: Path
    config: Path
    zsh: Path

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> ShellHomes:
        """Those of XDG_DATA_HOME, XDG_CONFIG_HOME and ZDOTDIR, else of the home; UsageError without one."""
        env = os.environ if environment is None else environment
        home = in_home(".")
        if home is None:
            raise UsageError("No home directory", hint="Set HOME.")
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
