"""The errors of `resolve`, `load` and `KerasLayer`, as code written for tensorflow_hub catches them.

Each is hubcli's own class and at the same time the class that tensorflow_hub 0.16.1 raises for the
same cause: `urllib.error.URLError`, an OSError, for the network, `OSError` for corrupt archives,
`ValueError` for tags and handles, TensorFlow's own for what TensorFlow raised. (None is an `HTTPError`:
its `code` is a number, and ours is a word. The number is `http_status`.) The two meet here alone:
within hubcli an `except OSError` is for the disk, and must not take a checksum that doesn't match for
a file that can't be opened.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError

from hubcli.errors import (
    BrokenModelError,
    CacheError,
    HandleError,
    HubcliError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    OutputError,
    TensorFlowError,
    UnsafeArchiveError,
    UsageError,
)

__all__ = ["tensorflow_hub_errors"]

_Bases = tuple[type[BaseException], ...]

# Ours, the most special first, and theirs: module by module of tensorflow_hub 0.16.1.
_THEIRS: tuple[tuple[type[HubcliError], _Bases], ...] = (
    # resolver.py: IOError of tarfile.ReadError; file_utils.py: ValueError for members that lead out.
    (UnsafeArchiveError, (OSError, ValueError)),
    # module_v2.py: ValueError without a model; TensorFlow: OSError for a file that can't be parsed.
    (BrokenModelError, (OSError, ValueError)),
    (IntegrityError, (OSError,)),
    (NetworkError, (URLError,)),
    (NotFoundError, (OSError,)),
    # urllib: ValueError for what is no URL, URLError for a scheme or a host that can't be.
    (HandleError, (OSError, ValueError)),
    (UsageError, (ValueError,)),
    (CacheError, (OSError,)),
    (OutputError, (OSError,)),
)
# What TensorFlow, its import and its file systems raise; the rest is a TensorFlowError alone.
_OF_TENSORFLOW = (OSError, ValueError, RuntimeError, TypeError, LookupError, ImportError)
_THEIR_MODULES = ("builtins", "tensorflow.python.framework.errors_impl")


@contextmanager
def tensorflow_hub_errors(*also: type[BaseException]) -> Iterator[None]:
    """Raises each HubcliError of the context as one that is tensorflow_hub's class, and `also`, too.

    Message, hint, exit status, cause and traceback stay.
    """
    try:
        yield
    except HubcliError as error:
        bases = _missing_bases(error, also)
        if not bases:
            raise
        raise _as_one_of(error, bases).with_traceback(error.__traceback__) from error.__cause__


def _missing_bases(error: HubcliError, also: _Bases) -> _Bases:
    bases_of_theirs = next((bases for ours, bases in _THEIRS if isinstance(error, ours)), ())
    if isinstance(error, TensorFlowError):
        bases_of_theirs = _bases_of_cause(error.__cause__)
    elif error.http_status is not None:
        bases_of_theirs = (URLError,)
    return tuple(base for base in dict.fromkeys((*bases_of_theirs, *also)) if not isinstance(error, base))


def _bases_of_cause(cause: BaseException | None) -> _Bases:
    if cause is None:
        return ()
    kind = type(cause)
    if kind.__module__ in _THEIR_MODULES and issubclass(kind, Exception) and kind is not Exception:
        return (kind,)
    return tuple(base for base in _OF_TENSORFLOW if isinstance(cause, base))[:1]


def _as_one_of(error: HubcliError, bases: _Bases) -> HubcliError:
    """The same error in a class that has the bases too; what these hold comes from what was raised."""
    cause = error.__cause__
    state = dict(error.__dict__)
    if isinstance(cause, bases):
        state = {**getattr(cause, "__dict__", {}), **state}
    if isinstance(cause, OSError) and cause.errno is not None:
        state["errno"] = cause.errno
    return _restored(type(error), bases, state)


def _restored(kind: type[HubcliError], bases: _Bases, state: dict[str, Any]) -> HubcliError:
    """The error of that class and these bases; what pickle makes one from again."""
    key: Any = kind  # mypy takes no class for hashable.
    combined: Any = _combined(key, bases)
    # By the base that lays out the memory, which needn't be the first that has a `__new__`.
    error: HubcliError = combined.__base__.__new__(combined)
    error.args = (state["message"],)
    if isinstance(error, URLError):
        error.reason = state["message"]
    for name, value in state.items():
        setattr(error, name, value)
    return error


@functools.lru_cache(maxsize=64)
def _combined(kind: type[HubcliError], bases: _Bases) -> type[HubcliError]:
    """A class that is `kind` to whoever reads it, and the others to whoever catches them."""
    names = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        # TensorFlow's errors have a property of this name, which can't be set.
        "message": "",
        "__reduce__": _reduce,
        "__str__": HubcliError.__str__,
    }
    return type(kind.__name__, (kind, *bases), names)


def _reduce(error: HubcliError) -> tuple[Any, ...]:
    kind, *bases = type(error).__bases__
    state = {**error.__dict__, **({"errno": error.errno} if isinstance(error, OSError) else {})}
    return _restored, (kind, tuple(bases), state)
