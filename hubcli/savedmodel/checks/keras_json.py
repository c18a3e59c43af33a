"""The JSON of a Keras config: parsed as Keras will read it, with what a walk over it begins with.

Of a key that appears twice in one object Python takes the last value, and another reader may take the first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError

__all__ = ["KerasConfig", "hidden_config"]

_MAX_CONFIG_BYTES = 64 << 20
_MAX_MARKS = 2_000_000


class KerasConfig(NamedTuple):
    """A parsed config. `repeated_key` is a key that appears twice in one object, or None.

    `classed` are its objects that name a class, None if other objects may need trust, too.
    """

    value: Any
    repeated_key: str | None = None
    classed: list[dict[str, Any]] | None = None

    @classmethod
    def parse(cls, text: str | bytes) -> KerasConfig:
        """The JSON object as Keras will read it. Raises BrokenModelError."""
        if len(text) > _MAX_CONFIG_BYTES:
            raise BrokenModelError("its config is larger than 64 MiB")
        try:
            if isinstance(text, bytes):
                text = text.decode(json.detect_encoding(text), "surrogatepass")
            # An empty list takes thirty times its text in memory: they are counted before they are made.
            if text.count(",") + text.count("[") + text.count("{") > _MAX_MARKS:
                raise BrokenModelError(f"its config contains more than {_MAX_MARKS} values")
            config = _parsed_at_once(text) or _parsed_by_pairs(text)
        except (ValueError, RecursionError) as error:
            raise BrokenModelError(f"its config is not JSON: {error}") from error
        if not isinstance(config.value, dict):
            raise BrokenModelError("its config is not a JSON object")
        return config if _is_plain(text) else config._replace(classed=None)


def _parsed_at_once(text: str) -> KerasConfig | None:
    """The config, if it is sure that no key stands twice: in less time than pairs of keys and values take.

    Each key has a colon behind it. So there are no more keys than colons, and none stands twice where the
    objects have as many.
    """
    keys, classed = 0, list[dict[str, Any]]()

    def collect(found: dict[str, Any]) -> dict[str, Any]:
        nonlocal keys
        keys += len(found)
        if "class_name" in found:
            classed.append(found)
        return found

    value = json.loads(text, object_hook=collect)
    return KerasConfig(value, None, classed) if keys == text.count(":") else None


def _parsed_by_pairs(text: str) -> KerasConfig:
    """The config, with the first key that stands twice."""
    repeated, classed = list[str](), list[dict[str, Any]]()

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs) and not repeated:
            repeated.append(_first_repeated(key for key, _ in pairs))
        if "class_name" in found:
            classed.append(found)
        return found

    value = json.loads(text, object_pairs_hook=collect)
    return KerasConfig(value, repeated[0] if repeated else None, classed)


def _first_repeated(keys: Iterable[str]) -> str:
    seen = set[str]()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return ""


def _is_plain(text: str) -> bool:
    """Whether only objects with a class can need trust: no string holds a config, no key names a function.

    A config in a string has its quotes escaped.
    """
    return not any(mark in text for mark in ("\\", '"lambda"', '"function"'))


def hidden_config(text: str) -> dict[str, Any] | list[Any] | None:
    """A config that stands in the config as text, as Keras writes composite constants; else None."""
    start = text.lstrip()[:1]
    if start not in ("{", "[") or "{" not in text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, (dict, list)) else None
