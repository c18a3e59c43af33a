"""The exception tree: what can go wrong, in which class, with which exit status.

Every error that reaches a user is a `HubcliError`: a message that says what
happened to which thing, a hint that says what to type next, a stable `code`
for scripts, and the exit status of the process. Foreign exceptions are
translated once, where they are met.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hubcli.exit_status import ExitStatus

__all__ = [
    "ArgumentError",
    "AuthenticationError",
    "BodyChangedError",
    "BrokenModelError",
    "BrokenPipe",
    "BudgetError",
    "CacheError",
    "ChecksumError",
    "ConversionError",
    "DiskFullError",
    "ExitStatus",
    "HandleError",
    "HubcliError",
    "InputError",
    "IntegrityError",
    "Interrupted",
    "LockLostError",
    "LockTimeoutError",
    "MappingError",
    "MissingPathError",
    "NetworkError",
    "NoModelError",
    "NotFoundError",
    "OfflineError",
    "OutputError",
    "PinnedError",
    "TensorFlowError",
    "TierConflictError",
    "TierError",
    "TooSlowError",
    "TruncatedError",
    "UnchangedError",
    "UnsafeArchiveError",
    "UnsafeModelError",
    "UnsupportedError",
    "UsageError",
    "ValuesError",
    "about_model",
    "did_you_mean",
    "means_full",
    "nearest",
]

_Error = TypeVar("_Error", bound="HubcliError")


class HubcliError(Exception):
    """The root of the tree: an internal error unless a subclass says otherwise.

    `str(error)` is what a Python program logs: the message, and the `handle` and the `address` of
    the model where the message doesn't name them. `http_status` is the host's answer, where that
    is what failed.
    """

    code = "internal"
    exit_status = ExitStatus.INTERNAL

    def __init__(self, message: str, *, hint: str = "") -> None:
        from hubcli.urls import redacted  # Needed after a failure alone.

        self.message = redacted(message)
        self.hint = redacted(hint)
        super().__init__(self.message)
        self.handle = ""
        self.address = ""
        self.http_status: int | None = None
        self.is_transient = False
        self.retry_after_s: float | None = None
        # Of a training after which no export was made: where its values are, and what exports them.
        self.trained_values: str | None = None
        self.export_command: str | None = None

    def __str__(self) -> str:
        from hubcli.urls import redacted

        named = (("handle", redacted(self.handle)), ("address", redacted(self.address)))
        added = [f"{what} {name}" for what, name in named if name and name not in self.message]
        return f"{self.message} ({', '.join(added)})" if added else self.message

    def name_model(self, handle: str, address: str = "") -> None:
        """Adds the model that the error is about, unless it has one. Neither text may hold secrets."""
        self.handle = self.handle or handle
        self.address = self.address or address

    def transient(self: _Error, retry_after_s: float | None = None) -> _Error:
        """The same error, as a transient one, to be retried after this many seconds."""
        self.is_transient = True
        self.retry_after_s = retry_after_s
        return self


class UsageError(HubcliError):
    """Options or arguments that don't fit together or can't be parsed."""

    code = "usage"
    exit_status = ExitStatus.USAGE


class InputError(UsageError):
    """A value that an input of a signature can't take: of another shape or type, missing, not readable."""

    code = "input"


class MappingError(UsageError):
    """Weights that don't say by themselves which variable each of them is for: the user must.

    `candidates` are values that tell what was tried, the best first.
    """

    code = "mapping"

    def __init__(self, message: str, *, hint: str = "", candidates: tuple[Any, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.candidates = candidates


class UnchangedError(UsageError):
    """An export of fine-tuned values that would write what the source already holds."""

    code = "unchanged"


class PinnedError(UsageError):
    """A pinned model, which is removed only with `force`."""

    code = "pinned"


class HandleError(HubcliError):
    """An invalid handle, or one that doesn't name a SavedModel."""

    code = "handle"
    exit_status = ExitStatus.HANDLE


class NotFoundError(HubcliError):
    """No such model: the host says 404 or 410, or the file isn't there."""

    code = "not-found"
    exit_status = ExitStatus.NOT_FOUND


class NetworkError(HubcliError):
    """The network or the server failed. `was_sent` is False if the request was not sent."""

    code = "network"
    exit_status = ExitStatus.NETWORK
    was_sent = True


class BodyChangedError(NetworkError):
    """A server sends another body than it began with, which must be fetched from its start.

    `has_ranges` is False if the server does not send parts of it.
    """

    def __init__(self, message: str, *, hint: str = "", has_ranges: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.has_ranges = has_ranges


class TooSlowError(NetworkError):
    """Bytes come, at less than the minimum rate."""

    code = "too-slow"


class AuthenticationError(NetworkError):
    """The server answers 401 or 403."""

    code = "authentication"


class UnsupportedError(NetworkError):
    """Something that a store of objects, or the server behind it, cannot do."""

    code = "unsupported"


class OfflineError(NetworkError):
    """Something would have to be sent, and `--offline` forbids it."""

    code = "offline"

    @classmethod
    def of_missing(cls, name: object, command: str = "fetch") -> OfflineError:
        """The error for a model that isn't cached; `command` gets it without --offline."""
        return cls(
            f"Not in the cache: {name}, and --offline is set",
            hint=f"Run without --offline: hubcli {command} {name}",
        )


class IntegrityError(HubcliError):
    """Bytes that can't be trusted."""

    code = "integrity"
    exit_status = ExitStatus.INTEGRITY


class ChecksumError(IntegrityError):
    """Bytes whose checksum isn't the expected one."""

    code = "checksum"


class TruncatedError(IntegrityError):
    """A stream or file that ends too early."""

    code = "truncated"


class UnsafeArchiveError(IntegrityError):
    """An archive whose members must not be unpacked, or that exceeds a limit."""

    code = "unsafe-archive"


class BrokenModelError(IntegrityError):
    """Files that don't make up a SavedModel that TensorFlow could load."""

    code = "broken-model"


class ModelLimitError(BrokenModelError):
    """A model with more of something than hubcli reads; it may be intact, and TensorFlow may load it."""


class UnsafeModelError(HubcliError):
    """A model that is not run, because the scan found risks in it."""

    code = "unsafe-model"
    exit_status = ExitStatus.UNSAFE


class TensorFlowError(HubcliError):
    """TensorFlow is missing or fails, or an export would lose something."""

    code = "tensorflow"
    exit_status = ExitStatus.TENSORFLOW


class ConversionError(TensorFlowError):
    """A model that can't be converted to a format, or whose conversion computes something else."""

    code = "conversion"


class ValuesError(IntegrityError):
    """Values that no variable of the model can take: of another shape or type, NaN, infinite."""

    code = "values"


class CacheError(HubcliError):
    """The cache can't be read or written."""

    code = "cache"
    exit_status = ExitStatus.CACHE


class DiskFullError(CacheError):
    """The disk is full, or would be."""

    code = "disk-full"


class LockTimeoutError(CacheError):
    """Another process holds the lock and makes no progress."""

    code = "lock-timeout"


class LockLostError(LockTimeoutError):
    """Another process took the lock over while this one made no progress."""

    code = "lock-lost"


class TierError(HubcliError):
    """A shared tier failed, and all of them were required to work."""

    code = "tier"
    exit_status = ExitStatus.TIER


class TierConflictError(IntegrityError):
    """A shared tier has several archives of a handle whose bytes never change."""

    code = "tier-conflict"


class BudgetError(HubcliError):
    """The cache can't be reduced to the given limits."""

    code = "budget"
    exit_status = ExitStatus.FOUND


class OutputError(HubcliError):
    """Standard output or a destination can't be written, or must not be."""

    code = "output"
    exit_status = ExitStatus.CACHE


class BrokenPipe(HubcliError):
    """The reader of standard output went away."""

    code = "broken-pipe"
    exit_status = ExitStatus.BROKEN_PIPE


class Interrupted(HubcliError):
    """The user or the system interrupted the run. `partial` is the JSON of what was done before."""

    code = "interrupted"
    exit_status = ExitStatus.INTERRUPTED

    def __init__(self, message: str, *, hint: str = "", partial: dict[str, Any] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.partial = partial or {}


# What `load` and `KerasLayer` raise where tensorflow_hub raises the built-in class: code that catches that
# class catches these too.


class ArgumentError(UsageError, ValueError):
    """An invalid argument of a Python function."""

    code = "argument"


class MissingPathError(NotFoundError, OSError):
    """Nothing is at the path."""


class NoModelError(BrokenModelError, ValueError):
    """A directory without a SavedModel in it."""


@contextmanager
def about_model(handle: str, address: str = "") -> Iterator[None]:
    """Names the model in each HubcliError that leaves the context, as `name_model` does."""
    try:
        yield
    except HubcliError as error:
        error.name_model(handle, address)
        raise


def means_full(error: OSError) -> bool:
    """Whether the error says that the disk, or the user's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that is spelled most alike, in any case; None if none is near.

    >>> nearest("instpect", ["fetch", "inspect", "ls"])
    'inspect'
    """
    from difflib import get_close_matches  # A command line without an error needs none of it.

    known = {word.lower(): word for word in words}
    near = get_close_matches(word.lower(), known, n=1)
    return known[near[0]] if near else None


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """The question to append to an error's message; empty where no word is near.

    >>> did_you_mean("sise", ["name", "size"])
    ". Did you mean 'size'?"
    """
    near = nearest(word, words)
    return "" if near is None else f". Did you mean '{near}'?"
