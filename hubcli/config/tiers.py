"""Shared tiers as settings name them: an address with parameters."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from hubcli.config.environment import absolute
from hubcli.errors import UsageError, did_you_mean
from hubcli.units import parse_duration_s
from hubcli.urls import without_secrets

__all__ = ["TIER_MARKER", "TierConfig", "parse_tiers"]

# Every tier has this object: an address without it is not a tier.
TIER_MARKER = "hubcli-tier.json"
_EXAMPLE = "s3://models/hub?mode=read-write"
_SCHEMES = ("s3", "gs", "az", "https", "http", "file")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# The parameters with the values that they may have, the default first.
_WORDS = {"mode": ("read", "read-write"), "private": ("no", "yes")}
_LEASE = "lease"
_ACCOUNT = "account"  # Of a container in Azure, and part of its address.
_LEASE_S, _SHORTEST_LEASE_S, _LONGEST_LEASE_S = 30.0, 2.0, 600.0
_OUTAGE_S = 60.0


class Outage:
    """An outage of a tier: for a minute after a failure no model is requested from it."""

    def __init__(self) -> None:
        self._until_s = 0.0

    @property
    def lasts(self) -> bool:
        """Whether the tier failed within the last minute."""
        return time.monotonic() < self._until_s

    def begin(self) -> None:
        """Notes that the tier did not answer, after all retries."""
        self._until_s = time.monotonic() + _OUTAGE_S


@dataclass(frozen=True, slots=True)
class TierConfig:
    """One shared tier. `address` is an absolute path, or a URL, which may hold user and password.

    `lease_s` is after how many seconds without a renewal of its lease another machine takes a download over.
    The `outage` is shared by all fetches with these settings.
    """

    address: str = field(repr=False)
    is_writable: bool = False
    takes_private: bool = False
    lease_s: float = _LEASE_S
    outage: Outage = field(default_factory=Outage, repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, source: str = "--tier") -> TierConfig:
        """A tier from `ADDRESS[?mode=read|read-write][&private=no|yes][&lease=TIME]`.

        Raises UsageError, which names the `source`.
        """
        address, _, query = text.partition("?")
        values, lease_s, account = {name: words[0] for name, words in _WORDS.items()}, _LEASE_S, ""
        for name, value in _items(query, source):
            if name == _LEASE:
                lease_s = _lease_s(value, source)
            elif name == _ACCOUNT:
                account = f"?{_ACCOUNT}={value}"
            elif value not in _WORDS[name]:
                raise UsageError(
                    f"{source} has the invalid {name}={value!r}, not one of {', '.join(_WORDS[name])}",
                    hint=f"Use an address such as {_EXAMPLE}",
                )
            else:
                values[name] = value
        is_writable, takes_private = values["mode"] == "read-write", values["private"] == "yes"
        return cls(_address(address, source) + account, is_writable, takes_private, lease_s)

    @property
    def is_local(self) -> bool:
        """Whether it is a directory, which needs no network of hubcli's own."""
        return self.address.startswith("/")


def _items(query: str, source: str) -> list[tuple[str, str]]:
    try:
        items = parse_qsl(query, keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise UsageError(
            f"{source} has too many parameters", hint=f"Use an address such as {_EXAMPLE}"
        ) from error
    known = (*_WORDS, _LEASE, _ACCOUNT)
    for name, _ in items:
        if name not in known:
            raise UsageError(
                f"{source} has an unknown parameter {name!r}{did_you_mean(name, known)}",
                hint=f"Use an address such as {_EXAMPLE}",
            )
    return items


def _lease_s(text: str, source: str) -> float:
    seconds = parse_duration_s(text)
    if not _SHORTEST_LEASE_S <= seconds <= _LONGEST_LEASE_S:
        raise UsageError(f"{source} has lease={text!r}, not a time from 2s to 10m", hint="Use lease=30s.")
    return seconds


def _address(text: str, source: str) -> str:
    """The address as it is opened. Raises UsageError for an invalid one."""
    scheme = _SCHEME.match(text)
    if scheme is None or scheme[1].lower() == "file":
        if not text.startswith(("/", "~", "file://")):
            raise UsageError(
                f"{source} is '{without_secrets(text)}', not an address of a shared tier",
                hint=f"Use an absolute path or a URL, such as {_EXAMPLE}",
            )
        return str(absolute(text, source))
    if scheme[1].lower() not in _SCHEMES or not text[scheme.end() :].strip("/"):
        raise UsageError(
            f"{source} is '{without_secrets(text)}', not an address of a shared tier",
            hint=f"Use {', '.join(f'{name}://' for name in _SCHEMES)} or an absolute path.",
        )
    return text.rstrip("/")


def parse_tiers(name: str, value: Any) -> tuple[TierConfig, ...]:
    """The tiers of the config file: a list of strings. No value is quoted: some are secret."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise UsageError(f"{name} is not a list of strings", hint=f'Use {name} = ["{_EXAMPLE}"].')
    return tuple(TierConfig.parse(text, name) for text in value)
