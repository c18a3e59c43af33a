"""The config file: every setting as a key of one TOML file, all of which each command checks.

`KEYS` is the one table: a key is a line there, and a field of `hubcli.config.settings.Settings`. Options come
before variables, variables before the file. TOML is that of https://toml.io/en/v1.0.0.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hubcli.config.environment import (
    COLORS,
    LONGEST_TIMEOUT_S,
    OFF,
    ConfigFile,
    Mirror,
    absolute,
    kaggle_endpoint,
)
from hubcli.config.retention import parse_retention_rules
from hubcli.errors import UsageError, did_you_mean
from hubcli.regular_file import NotRegularError, is_hidden, open_regular
from hubcli.units import parse_duration_s, parse_rate

__all__ = ["KEYS", "ConfigKey", "read_config_file"]

_MAX_BYTES = 64 << 10  # A thousand mirrors fit; parsing takes a tenth of a second at worst.
_MAX_STATEMENT_LINES = 200
_MAX_UNKNOWN = 10
_MAX_SHOWN = 60
_MAX_DEPTH = 32  # No key has more than three levels.
# No dot in these is part of a key. A string without an end, which the parser refuses, takes the rest of its
# line or of the file: to look for the end of each of many would take quadratic time.
_STRING_OR_COMMENT = (
    r"""(?s)"{3}(?:\\.|[^\\])*?(?:"{3,5}|\\?\Z)|'{3}.*?(?:'{3,5}|\Z)"""
    r"""|"(?:\\.|[^"\\\n])*"?|'[^'\n]*'?|#[^\n]*"""
)
# The dots of a key of too many parts.
_DEEP_KEY = rf"(?:\.[^.\n=,{{}}\[\]]*){{{_MAX_DEPTH}}}"
_MAX_MESSAGE = 300
_AT_LINE = r"\s*\(at (?:line (\d+), column \d+|end of document)\)"


class ConfigKey(NamedTuple):
    """A key of the file. `parse` gets its name and value, and returns the setting or raises UsageError.

    One of the `variables`, if it is set, overrides the file.
    """

    name: str
    parse: Callable[[str, Any], Any]
    variables: tuple[str, ...] = ()


class _BadValue(UsageError):
    """An invalid value of a key, or of a key in its table: then `within` is the path there."""

    def __init__(self, message: str, *, hint: str = "", within: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.within = within


def _value_text(value: Any) -> str:
    """The value as TOML writes it, shortened."""
    try:
        text = str(value).lower() if isinstance(value, bool) else repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits.
        return "a very large number"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _shortened(message: str) -> str:
    """The message, shortened: it may quote a long value of the file."""
    return message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}…"


def _text(name: str, value: Any, example: str) -> str:
    if not isinstance(value, str):
        raise _BadValue(f"{name} is {_value_text(value)}, not a string", hint=f'Use {name} = "{example}".')
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _BadValue(f"{name} is {_value_text(value)}, not true or false", hint=f"Use {name} = true.")
    return value


def _count(low: int, high: int, name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _BadValue(
            f"{name} is {_value_text(value)}, not a whole number from {low} to {high}",
            hint=f"Use {name} = {max(low, min(8, high))}.",
        )
    return value


def _seconds(name: str, value: Any) -> float:
    """A number is seconds, a string has a unit, as `--timeout` takes them."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _BadValue(f"{name} is {_value_text(value)}, not a duration", hint=f'Use {name} = "30s".')
    try:
        seconds = parse_duration_s(value) if isinstance(value, str) else value
    except UsageError as error:
        raise _BadValue(f"{name} is {_value_text(value)}, not a duration", hint=error.hint) from error
    if not 0 < seconds <= LONGEST_TIMEOUT_S:
        raise _BadValue(
            f"{name} is {_value_text(value)}, not more than 0s and at most 1y", hint=f'Use {name} = "30s".'
        )
    return float(seconds)


def _rate(name: str, value: Any) -> int:
    """A number is bytes a second, a string a size, as `--min-rate` takes them."""
    try:
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return parse_rate(value if isinstance(value, str) else _value_text(value), name)
    except UsageError:
        pass
    raise _BadValue(f"{name} is {_value_text(value)}, not a rate", hint=f'Use {name} = "1KiB".')


def _path(name: str, value: Any) -> Path:
    text = _text(name, value, "~/models")
    path = absolute(text, name)
    if not text.startswith(("/", "~", "file://")):
        raise _BadValue(
            f"{name} is {_value_text(value)}, a relative path",
            hint="Use an absolute path, or one that starts with ~/.",
        )
    return path


def _file(name: str, value: Any) -> Path:
    path = _path(name, value)
    try:
        is_file = path.is_file()
    except OSError:  # Of a name that is too long, among others.
        is_file = False
    if not is_file:
        raise _BadValue(
            f"{name} is {_value_text(value)}, which is not a file", hint="Specify a file of certificates."
        )
    return path


def _word(words: tuple[str, ...], name: str, value: Any) -> str:
    if value not in words:
        suggestion = did_you_mean(value, words) if isinstance(value, str) else ""
        raise _BadValue(
            f"{name} is {_value_text(value)}, not one of {', '.join(words)}{suggestion}",
            hint=f'Use {name} = "{words[0]}".',
        )
    return str(value)


def _rules(name: str, value: Any) -> str:
    text = _text(name, value, "max-size=20GB,older-than=90d").strip()
    if text.lower() not in OFF:
        parse_retention_rules(text, name)
    return text


def _mirrors(name: str, value: Any) -> tuple[Mirror, ...]:
    """A table of prefixes with their URLs, or a list of `PREFIX=URL`. No value is quoted: some are secret."""
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return tuple(Mirror.parse(text, name) for text in value)
    if not isinstance(value, dict):
        raise _BadValue(
            f"{name} is neither a table nor a list of strings",
            hint=f'Use {name} = ["https://tfhub.dev=https://mirror.example/tfhub"].',
        )
    for prefix, url in value.items():
        if not isinstance(url, str) or "://" not in url or "://" not in prefix:
            raise _BadValue(
                f"{name} has an entry that does not map an address to its mirror",
                hint='Use "https://tfhub.dev" = "https://mirror.example/tfhub" below [mirrors].',
                within=(prefix,),
            )
    return tuple(Mirror(prefix.rstrip("/"), url.rstrip("/")) for prefix, url in value.items())


def _tiers(name: str, value: Any) -> Any:
    from hubcli.config.tiers import parse_tiers  # Most files have none.

    return parse_tiers(name, value)


def _endpoint(name: str, value: Any) -> str:
    return kaggle_endpoint(_text(name, value, "https://www.kaggle.com"), name)


KEYS: Mapping[str, ConfigKey] = {
    key.name: key
    for key in (
        ConfigKey("cache-dir", _path, ("HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR")),
        ConfigKey("offline", _flag, ("HUBCLI_OFFLINE",)),
        ConfigKey("mirrors", _mirrors),
        ConfigKey("timeout", _seconds),
        ConfigKey("lock-timeout", _seconds),
        ConfigKey("min-rate", _rate, ("HUBCLI_MIN_RATE",)),
        ConfigKey("sync", _flag, ("HUBCLI_NO_SYNC",)),
        ConfigKey("connections", partial(_count, 1, 64)),
        ConfigKey("retries", partial(_count, 0, 1000)),
        ConfigKey("jobs", partial(_count, 1, 32)),
        ConfigKey("cacert", _file, ("SSL_CERT_FILE", "SSL_CERT_DIR")),
        ConfigKey("kaggle-endpoint", _endpoint, ("HUBCLI_KAGGLE_ENDPOINT",)),
        ConfigKey("bucket-anonymous", _flag, ("HUBCLI_BUCKET_ANONYMOUS",)),
        ConfigKey("bucket-requester-pays", _flag, ("HUBCLI_BUCKET_REQUESTER_PAYS",)),
        ConfigKey("tiers", _tiers, ("HUBCLI_TIERS",)),
        ConfigKey("gc", _rules, ("HUBCLI_GC",)),
        ConfigKey("color", partial(_word, COLORS), ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE")),
        ConfigKey("progress", _flag, ("HUBCLI_NO_PROGRESS",)),
    )
}


def read_config_file(path: Path, *, is_named: bool = False) -> ConfigFile:
    """The file, which must be there if the user named it. Raises nothing: see `faults`."""
    if path == Path(os.devnull):
        return ConfigFile()
    if not is_named and is_hidden(path):
        return ConfigFile(path)
    try:
        text = _read_text(path)
        table = None if text is None else _parse(path, text)
    except UsageError as error:
        return ConfigFile(path, is_there=True, faults={"": error})
    if text is not None and table is not None:
        return _of_table(path, text, table)
    return ConfigFile(path, faults={"": _absent(path)} if is_named else {})


def _of_table(path: Path, text: str, table: Mapping[str, Any]) -> ConfigFile:
    values, faults, unknown = dict[str, Any](), dict[str, UsageError](), list[str]()
    for name, value in table.items():
        if name not in KEYS:
            if len(unknown) < _MAX_UNKNOWN:
                where = _place(path, _line_of(text, (name,)))
                unknown.append(
                    f"{where}: unknown key '{name[:_MAX_SHOWN]}', ignored{did_you_mean(name, KEYS)}"
                )
            continue
        try:
            values[name] = KEYS[name].parse(name, value)
        except UsageError as error:
            within = error.within if isinstance(error, _BadValue) else ()
            where = _place(path, _line_of(text, (name, *within)))
            faults[name] = UsageError(f"{where}: {_shortened(error.message)}", hint=error.hint)
    return ConfigFile(path, True, values, faults, tuple(unknown))


def _read_text(path: Path) -> str | None:
    """The text, without a byte order mark; None if the file is missing. Raises UsageError.

    Only a regular file of a bounded size is read: a pipe of that name would stop every command.
    """
    try:
        with open_regular(path, is_buffered=True) as file:
            content = file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (NotRegularError, IsADirectoryError) as error:
        raise _unreadable(path, "it is not a regular file") from error
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if len(content) > _MAX_BYTES:
        raise _unreadable(path, f"it is larger than {_MAX_BYTES >> 10} KiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{_place(path, line)}: not UTF-8", hint="Save it as UTF-8.") from error


def _absent(path: Path) -> UsageError:
    return UsageError(
        f"HUBCLI_CONFIG is '{path}', which does not exist",
        hint="Specify a file, or set it to an empty string to use none.",
    )


def _unreadable(path: Path, reason: str) -> UsageError:
    return UsageError(f"Cannot read {path}: {reason}", hint="Check its owner and permissions, or remove it.")


def _loads(text: str) -> dict[str, Any]:
    """The table of TOML; raises ValueError, RecursionError."""
    # It takes 5 ms to load, and most users have no config file.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    # Before the parser, which takes gigabytes for a key of 20,000 parts.
    if re.search(_DEEP_KEY, re.sub(_STRING_OR_COMMENT, "_", text)):
        raise RecursionError
    table: dict[str, Any] = tomllib.loads(text)
    if _is_deep(table):
        raise RecursionError
    return table


def _is_deep(table: Mapping[str, Any]) -> bool:
    """Whether it is nested too deeply to be printed: the parser bounds lists, but not `a.a.a = 1`."""
    level: list[Any] = [table]
    for _ in range(_MAX_DEPTH):
        inner = (value.values() if isinstance(value, dict) else value for value in level)
        level = [item for items in inner for item in items if isinstance(item, (dict, list))]
    return bool(level)


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return _loads(text)
    except (ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        found = re.search(_AT_LINE, what)
        line = 0 if found is None else int(found[1] or text.count("\n") + 1)
        raise UsageError(
            f"{_place(path, line)}: invalid TOML: {_shortened(re.sub(_AT_LINE, '', what))}",
            hint="Correct it, or set HUBCLI_CONFIG to an empty string to use no config file.",
        ) from error


def _place(path: Path, line: int) -> str:
    return f"{path}, line {line}" if line else str(path)


def _line_of(text: str, key_path: tuple[str, ...]) -> int:
    """The line, from 1 on, of the statement that sets the key; 0 if it isn't found.

    The parser gives no lines: statements are parsed one by one, each the fewest lines that are valid TOML.
    """
    table: tuple[str, ...] = ()
    for line, statement in _statements(text):
        keys = set(_paths(_loads(statement)))
        if statement.lstrip().startswith("["):
            table = max(keys, key=len, default=())
            if table[: len(key_path)] == key_path:
                return line
        elif any((*table, *key)[: len(key_path)] == key_path for key in keys):
            return line
    return 0


def _statements(text: str) -> Iterator[tuple[int, str]]:
    lines = text.replace("\r\n", "\n").split("\n")
    start = 0
    while start < len(lines):
        for end in range(start + 1, min(len(lines), start + _MAX_STATEMENT_LINES) + 1):
            statement = "\n".join(lines[start:end])
            try:
                _loads(statement)
            except (ValueError, RecursionError):  # A string or a list of several lines.
                continue
            yield start + 1, statement
            break
        else:
            return
        start = end


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys that a statement sets, each with those of the tables around it."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and path:
        value = value[0]  # The header of a list of tables.
    if path:
        yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths(inner, (*path, name))
