"""The exit statuses of the process, each with its cause. They are a contract: a cause keeps its status."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ExitStatus"]


class ExitStatus(IntEnum):
    """Exit status of the process; the `meaning` is what the README prints."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitStatus:  # noqa: D102
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    DONE = 0, "done"
    INTERNAL = 1, "internal error of hubcli; `--debug` shows the traceback"
    USAGE = 2, "invalid command line, or a request that cannot be fulfilled"
    HANDLE = 3, "invalid handle"
    NOT_FOUND = 4, "model or file not found, or the host returns 404"
    NETWORK = 5, "network or server error, missing credentials, or `--offline`"
    INTEGRITY = (
        6,
        "corrupt or unsafe data: checksum mismatch, truncation, unsafe archive, invalid SavedModel",
    )
    TENSORFLOW = 7, "TensorFlow is missing or fails, or an export would lose something"
    CACHE = 8, "disk full, cache or output not writable, or timeout of a lock"
    FOUND = 9, "a check found something, or `gc` cannot meet its budget"
    UNSAFE = 10, "`run` refuses a model in which the scan found something, unless `--unsafe`"
    VERSION_EXISTS = 11, "the version to publish exists with other files"
    TIER = 12, "a shared tier failed, and `--require-tier` is set"
    UNKNOWN_OUTCOME = 13, "`publish` got no answer and cannot tell whether the version was created"
    BROKEN_PIPE = 120, "standard output was closed by its reader"
    INTERRUPTED = 130, "interrupted (Ctrl-C, SIGTERM)"
