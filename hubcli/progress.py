"""What a running command tells whoever listens; by default nobody does."""

from __future__ import annotations

__all__ = ["ProgressListener"]


class ProgressListener:
    """Hears of the progress of one handle. Each method does nothing; override what matters.

    `received` and `unpacked` are called from other threads than the rest. Several
    models at a time have a listener each: what they share, they must lock.
    """

    def started(self, handle: str, source: str, size_bytes: int | None) -> None:
        """Bytes begin to come from `source`, which announced `size_bytes` if it knows."""

    def resumed(self, size_bytes: int) -> None:
        """So many bytes of it are on the disk from before; `received` counts them too."""

    def arrived(self, total_bytes: int) -> None:
        """So many bytes of it are on this machine now, some of them perhaps ahead of what was `received`."""

    def received(self, size_bytes: int) -> None:
        """So many more bytes of the archive have come."""

    def unpacked(self, size_bytes: int) -> None:
        """So many more bytes have been written."""

    def finished(self) -> None:
        """No more bytes will come of it: somebody may be asked something now."""

    def waiting(self, handle: str, holder: str) -> None:
        """Another process, named `host:pid`, is at the same model; this one waits for it."""

    def step(self, text: str) -> None:
        """Something begins that takes seconds, of which no bytes are heard."""

    def retrying(self, text: str) -> None:
        """Something failed that may pass; the text says what, and when it is tried again. From any thread."""

    def note(self, text: str) -> None:
        """Something that a person should know, and that is no error."""
