"""Objects of a bucket as byte sources: one object, or those below a prefix as the archive that they would be.

An unpacked model is read as the very .tar that `hubcli export DIR model.tar` writes of it: its headers are
made here, its files are ranges of objects. So it is fetched in parts, resumed, hashed and checked by the
code for archives. Each part is requested with the ETag that the object had when it was listed.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hubcli.archive.pack import tar_pieces
from hubcli.archive.tree import Tree, TreeNode
from hubcli.errors import BodyChangedError, HubcliError, IntegrityError, TruncatedError
from hubcli.net.bucket_client import BucketClient
from hubcli.net.byte_source import ByteSource
from hubcli.net.object_store import ObjectInfo
from hubcli.net.rate import SlowTransfer, too_slow

__all__ = ["BucketSource", "BucketTree", "plain_etag", "quoted_etag"]

_BLOCK_BYTES = 256 << 10
_BLOCKS_AHEAD = 8
# After this time without data an empty block is handed on: the reader may have something else to do.
_SILENCE_S = 0.25
# Several small objects are requested at a time: each takes a round trip.
_OBJECTS_AHEAD, _BYTES_AHEAD = 8, 8 << 20


def plain_etag(etag: str | None) -> str | None:
    """The ETag without its quotes, which listings leave out on Azure."""
    return None if etag is None else etag.removeprefix("W/").strip('"')


def quoted_etag(etag: str) -> str:
    """The ETag as HTTP has it."""
    return f'"{plain_etag(etag)}"'


class _Part(NamedTuple):
    """Bytes `start` to `end` of an object."""

    info: ObjectInfo
    name: str
    start: int
    end: int


class _Stream:
    """The bytes of a part, received on a thread of their own: obstore's calls can't be interrupted."""

    def __init__(self, client: BucketClient, part: _Part) -> None:
        self.part = part
        self._client = client
        self._blocks: queue.Queue[bytes | BaseException | None] = queue.Queue(_BLOCKS_AHEAD)
        self._is_closed = threading.Event()
        threading.Thread(target=self._receive, name="hubcli-bucket", daemon=True).start()

    def close(self) -> None:
        """Ends the thread at its next block."""
        self._is_closed.set()

    def _receive(self) -> None:
        part, received = self.part, 0
        try:
            for block in self._client.once(part.name, self._answer, is_conditional=True):
                received += len(block)
                if received > part.end - part.start or not self._put(bytes(block)):
                    break
            self._put(None if received == part.end - part.start else self._truncated(received))
        except BaseException as error:  # noqa: BLE001 - any error is handed to the reader
            self._put(self._translated(error))

    def _answer(self, store: Any) -> Iterator[bytes]:
        """The stream of the answer, which must be of the object that was listed."""
        part, info = self.part, self.part.info
        is_whole = (part.start, part.end) == (0, info.size_bytes)
        options: dict[str, Any] = {} if is_whole else {"range": (part.start, part.end)}
        if info.etag is not None:
            options["if_match"] = quoted_etag(info.etag)
        result = self._client.obstore.get(store, info.key, options=options)
        meta = result.meta
        # Servers that know no conditions answer with what they have now.
        if plain_etag(meta.get("e_tag")) != plain_etag(info.etag) or meta["size"] != info.size_bytes:
            raise self._changed()
        if result.range != (part.start, part.end):
            raise BodyChangedError(
                f"{part.name} returns a different range than bytes {part.start} to {part.end - 1}",
                hint="Try again.",
                has_ranges=False,
            )
        return iter(result.stream(min_chunk_size=_BLOCK_BYTES))

    def _truncated(self, received: int) -> TruncatedError:
        size_bytes = self.part.end - self.part.start
        return TruncatedError(
            f"{self.part.name} sent {received} of {size_bytes} bytes", hint="Try again."
        ).transient()

    def _changed(self) -> BodyChangedError:
        return BodyChangedError(f"{self.part.name} changed during the download", hint="Try again.")

    def _translated(self, error: BaseException) -> BaseException:
        if isinstance(error, (HubcliError, KeyboardInterrupt)):
            return error
        if isinstance(error, self._client.condition_errors):
            return self._changed()
        if isinstance(error, FileNotFoundError):
            return self._client.missing(self.part.name)
        if isinstance(error, (self._client.obstore.exceptions.BaseError, OSError, ValueError)):
            return self._client.translated(error, self.part.name)
        return error

    def _put(self, item: bytes | BaseException | None) -> bool:
        while not self._is_closed.is_set():
            try:
                self._blocks.put(item, timeout=_SILENCE_S)
            except queue.Full:
                continue
            return True
        return False

    def blocks(self) -> Iterator[bytes]:
        """The blocks; an empty one if none came for a while. Raises what the other thread raised."""
        meter = self._client.meter
        while True:
            item: bytes | BaseException | None = b""
            meter.begin()
            try:
                item = self._blocks.get(timeout=_SILENCE_S)
            except queue.Empty:
                pass
            finally:
                size = len(item) if isinstance(item, bytes) else 0
                try:
                    meter.end(size, self._client.timeout_s)
                except SlowTransfer as slow:
                    raise too_slow(self.part.name, slow) from slow
            if isinstance(item, BaseException):
                raise item
            if item is None:
                return
            yield item


class _ObjectsSource(ByteSource):
    """A source of parts of objects, and of bytes between them."""

    def __init__(self, client: BucketClient) -> None:
        self._client = client
        self.is_private = not client.is_anonymous
        self._is_closed = False

    def close(self) -> None:
        """Ends every stream at its next block."""
        self._is_closed = True

    def read(self) -> Iterator[bytes]:
        """The bytes from the start. Raises BodyChangedError, TruncatedError, NetworkError."""
        size_bytes = self.size_bytes or 0
        with self.range(0, size_bytes) as blocks:
            yield from blocks

    @contextmanager
    def range(self, start: int, end: int) -> Iterator[Iterator[bytes]]:
        """The bytes from `start` up to, not with, `end`, as long as the context lasts."""
        streams: deque[_Stream | bytes] = deque()
        try:
            yield self._blocks(self._parts(start, end), streams)
        finally:
            for stream in streams:
                if isinstance(stream, _Stream):
                    stream.close()

    def _parts(self, start: int, end: int) -> Iterator[_Part | bytes]:
        raise NotImplementedError

    def _blocks(self, parts: Iterator[_Part | bytes], streams: deque[_Stream | bytes]) -> Iterator[bytes]:
        rest: _Part | bytes | None = next(parts, None)
        while streams or rest is not None:
            while rest is not None and self._may_open_another(streams):
                streams.append(rest if isinstance(rest, bytes) else _Stream(self._client, rest))
                rest = next(parts, None)
            first = streams[0]
            if isinstance(first, bytes):
                yield first
            else:
                for block in first.blocks():
                    if self._is_closed:
                        return
                    yield block
            streams.popleft()

    @staticmethod
    def _may_open_another(streams: deque[_Stream | bytes]) -> bool:
        """Whether another part may be requested: none is open, or those that are have few bytes together."""
        parts = [stream.part for stream in streams if isinstance(stream, _Stream)]
        return not parts or (
            len(parts) < _OBJECTS_AHEAD and sum(part.end - part.start for part in parts) < _BYTES_AHEAD
        )


class BucketSource(_ObjectsSource):
    """One object, as it was when `info` was read; its key is that in the bucket."""

    def __init__(
        self, client: BucketClient, name: str, info: ObjectInfo, known_etag: str | None = None
    ) -> None:
        super().__init__(client)
        self.name = name
        self.redirects = (name,)
        self.size_bytes = info.size_bytes
        self.etag = self.validator = info.etag
        self.is_known = known_etag is not None and plain_etag(known_etag) == plain_etag(info.etag)
        self._info = info

    def _parts(self, start: int, end: int) -> Iterator[_Part | bytes]:
        if end > start:
            yield _Part(self._info, self.name, start, end)


class BucketTree(_ObjectsSource):
    """The objects below a prefix, as a .tar. `files` have paths relative to it, and keys of the bucket."""

    def __init__(
        self,
        client: BucketClient,
        name: str,
        files: Sequence[tuple[str, ObjectInfo]],
        known_etag: str | None = None,
    ) -> None:
        super().__init__(client)
        self.name = name
        self.redirects = (name,)
        self._bucket = client.name
        self._pieces: list[bytes | ObjectInfo] = []
        self._starts: list[int] = []
        position, by_path = 0, dict(files)
        places: dict[str, tuple[int, int]] = {}
        for piece in tar_pieces(_tree(name, files)):
            self._starts.append(position)
            if isinstance(piece, TreeNode):
                self._pieces.append(by_path[piece.name])
                places[piece.name] = position, position + piece.size_bytes
                position += piece.size_bytes
            else:
                self._pieces.append(piece)
                position += len(piece)
        self.size_bytes, self.files = position, places
        self.etag = self.validator = _etag_of(files)
        self.is_known = known_etag is not None and known_etag == self.etag

    def _parts(self, start: int, end: int) -> Iterator[_Part | bytes]:
        number = max(0, bisect_right(self._starts, start) - 1)
        while number < len(self._pieces) and self._starts[number] < end:
            piece, at = self._pieces[number], self._starts[number]
            size = len(piece) if isinstance(piece, bytes) else piece.size_bytes
            first, last = max(start - at, 0), min(end - at, size)
            if first < last:
                if isinstance(piece, bytes):
                    yield piece[first:last]
                else:
                    yield _Part(piece, f"{self._bucket.partition('?')[0]}/{piece.key}", first, last)
            number += 1


def _etag_of(files: Sequence[tuple[str, ObjectInfo]]) -> str | None:
    """An ETag that changes with any of the objects; None if one of them has none."""
    digest = hashlib.sha256()
    for path, info in sorted(files):
        if info.etag is None:
            return None
        digest.update(
            f"{path}\0{info.size_bytes}\0{plain_etag(info.etag)}\n".encode("utf-8", "surrogateescape")
        )
    return f'"{digest.hexdigest()}"'


def _tree(name: str, files: Sequence[tuple[str, ObjectInfo]]) -> Tree:
    """The files with their directories, in the order of a directory that is walked.

    Raises IntegrityError if a key is both a file and a directory.
    """
    top = Path("/")
    sizes = {tuple(path.split("/")): info.size_bytes for path, info in files}
    folders = {path[:length] for path in sizes for length in range(1, len(path))}
    both = next(iter(sorted(folders & sizes.keys())), None)
    if both is not None:
        raise IntegrityError(
            f"{name} has {'/'.join(both)!r} both as an object and as a prefix of others",
            hint="Remove one of them.",
        )
    nodes = (
        TreeNode(top.joinpath(*path), "/".join(path), path in folders, sizes.get(path, 0))
        for path in sorted({*folders, *sizes})
    )
    return Tree(top, tuple(nodes))
