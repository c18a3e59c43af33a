"""A reader over chunks that makes it impossible to mistake an early end for an end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hubcli.errors import TruncatedError

__all__ = ["ChunkReader"]


class ChunkReader:
    """Exact reads from a stream of chunks, without copying file data.

    `position` counts the bytes taken so far.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self.position = 0

    def at_end(self) -> bool:
        """Whether no byte is left; pulls the next chunk to find out."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return True
            self._rest = memoryview(chunk)
        return False

    def stream(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes in pieces; raises TruncatedError where the stream ends first."""
        while size > 0:
            if self.at_end():
                raise TruncatedError(f"The archive ends after {self.position} bytes, inside a member")
            piece = self._rest[:size]
            self._rest = self._rest[len(piece) :]
            self.position += len(piece)
            size -= len(piece)
            yield piece

    def read(self, size: int) -> bytes:
        """The next `size` bytes; raises TruncatedError where the stream ends first."""
        return b"".join(self.stream(size))

    def rest(self) -> Iterator[memoryview]:
        """All pieces to the end of the stream."""
        while not self.at_end():
            yield from self.stream(len(self._rest))
