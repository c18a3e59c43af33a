"""What a running command reports to a listener; the default one does nothing."""

from __future__ import annotations

__all__ = ["ProgressListener"]


class ProgressListener:
    """Gets the progress of one handle. Each method does nothing; override what matters.

    `received` and `unpacked` are called from other threads than the rest. Several
    models at a time have a listener each: what they share, they must lock.
    """

    def started(self, handle: str, source: str, size_bytes: int | None) -> None:
        """Bytes begin to come from `source`, which announced `size_bytes` if it knows."""

    def resumed(self, size_bytes: int) -> None:
        """The download resumes behind `size_bytes` on the disk; `received` counts them too."""

    def arrived(self, total_bytes: int) -> None:
        """`total_bytes` of it are on this machine now; some may not be counted by `received` yet."""

    def received(self, size_bytes: int) -> None:
        """More bytes of the archive were received."""

    def unpacked(self, size_bytes: int) -> None:
        """`size_bytes` more were written."""

    def finished(self) -> None:
        """No more bytes will come: a prompt may follow."""

    def waiting(self, handle: str, holder: str) -> None:
        """Another process, named `host:pid`, works on the same model; this one waits for it."""

    def step(self, text: str) -> None:
        """A step begins that takes seconds and reports no bytes."""

    def retrying(self, text: str) -> None:
        """A transient error; the text says what failed, and when it is retried. Called from any thread."""

    def note(self, text: str) -> None:
        """A note for the user that is not an error."""
