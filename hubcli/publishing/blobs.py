"""The files of a model to Kaggle's storage: several at a time, hashed on the way, resumed after a cut.

Nothing that was sent before is trusted to be what the file holds now: what may have been sent is hashed
again, and a file that changed is sent anew. A token is given for a complete blob alone.
"""

from __future__ import annotations

import hashlib
import mimetypes
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import BinaryIO

from hubcli.archive.tree import TreeNode
from hubcli.concurrency import CancellationToken, run_concurrently
from hubcli.config.settings import Settings
from hubcli.errors import NetworkError, NotFoundError, TruncatedError
from hubcli.net.resumable_upload import (
    PIECE_BYTES,
    ResumableUpload,
    SessionExpiredError,
    UploadState,
    require_session_url,
)
from hubcli.net.retries import RetryPolicy
from hubcli.progress import ProgressListener
from hubcli.publishing.journal import BlobRecord, Journal
from hubcli.publishing.kaggle_api import KaggleApi
from hubcli.regular_file import open_regular

__all__ = ["upload_blobs"]

_PARALLEL = 4
_HASH_BYTES = 1 << 20
_MIN_TAKEN_BYTES = 256 << 10
_MAX_TOKEN = 4096


def upload_blobs(
    files: Sequence[TreeNode],
    kaggle: KaggleApi,
    journal: Journal,
    settings: Settings,
    listener: ProgressListener,
) -> None:
    """Sends the files that the journal hasn't as complete and unchanged; then it has the token of each.

    Raises NetworkError, TruncatedError for a file that changes meanwhile, NotFoundError, CacheError.
    """
    journal.keep_files({node.name for node in files})
    stop, counted = threading.Event(), _Counted(listener)
    jobs = [_BlobUpload(node, kaggle, journal, settings, counted, stop).run for node in files]
    token = CancellationToken()
    with token.undoing(stop.set), closing(run_concurrently(jobs, _PARALLEL, token)) as finished:
        try:
            for _ in finished:
                pass
        finally:
            stop.set()


class _Counted:
    """The listener, for several threads at a time; what earlier runs sent isn't counted as sent now."""

    def __init__(self, listener: ProgressListener) -> None:
        self._listener = listener
        self._lock = threading.Lock()
        self._resumed_bytes = 0

    def received(self, size_bytes: int, *, is_resumed: bool = False) -> None:
        """The storage has more bytes."""
        with self._lock:
            if is_resumed:
                self._resumed_bytes += size_bytes
                self._listener.resumed(self._resumed_bytes)
            self._listener.received(size_bytes)

    def note(self, text: str) -> None:
        """A note for the user."""
        with self._lock:
            self._listener.note(text)

    def retrying(self, text: str) -> None:
        """Something failed that may pass."""
        with self._lock:
            self._listener.retrying(text)


class _BlobUpload:
    """The upload of one file."""

    def __init__(
        self,
        node: TreeNode,
        kaggle: KaggleApi,
        journal: Journal,
        settings: Settings,
        listener: _Counted,
        stop: threading.Event,
    ) -> None:
        self.node = node
        self.kaggle = kaggle
        self.journal = journal
        self.listener = listener
        self.stop = stop
        self.retries = RetryPolicy.of(settings, settings.retries, listener.retrying)
        self.reported_bytes = 0
        self.hasher = hashlib.sha256()
        self.hashed_bytes: int = 0

    def run(self) -> None:
        """Sends what the storage hasn't, to the end."""
        try:
            with open_regular(self.node.path) as file:
                record = self._earlier(file)
                if record is not None and record.sha256:
                    self._report(record.size_bytes, is_resumed=True)
                    return
                while not self.stop.is_set():
                    with self.retries.attempt(self.stop) as progress:
                        record = record or self._begin()
                        try:
                            self._send(file, record, progress.add)
                        except SessionExpiredError as error:
                            record = None
                            self.journal.write_blob(self.node.name, None)
                            self.retries.restart(error, "sending it again")
                            continue
                        return
        except OSError as error:
            raise NotFoundError(
                f"Cannot read {self.node.path}: {error.strerror}", hint="Check its permissions."
            ) from error

    def _earlier(self, file: BinaryIO) -> BlobRecord | None:
        """What an earlier run sent of the file as it is now; None if that is nothing."""
        record = self.journal.blob(self.node.name)
        if record is None or record.size_bytes != self.node.size_bytes:
            return None
        self._hash_up_to(file, record.size_bytes if record.sha256 else record.begun_bytes)
        if self.hasher.hexdigest() == (record.sha256 or record.prefix_sha256 or self.hasher.hexdigest()):
            return record
        self.listener.note(f"{self.node.name} changed since the last run: sending it again")
        self._begin_hash()
        return None

    def _begin(self) -> BlobRecord:
        """A new session."""
        body = {
            "type": "MODEL",
            "name": self.node.name.rpartition("/")[2],
            "contentType": mimetypes.guess_type(self.node.name)[0] or "application/octet-stream",
            "contentLength": self.node.size_bytes,
            "lastModifiedEpochSeconds": self.node.stamp[1] // 10**9,
        }
        document = self.kaggle.json.post("/api/v1/blobs/upload", body, is_repeatable=True)
        root = self.kaggle.json.root
        token = document.get("token")
        if not isinstance(token, str) or not 0 < len(token) <= _MAX_TOKEN or not token.isprintable():
            raise NetworkError(f"{root} answers without an upload token for {self.node.name}")
        url = require_session_url(document.get("createUrl"), root)
        self._begin_hash()
        return BlobRecord(self.node.size_bytes, token, url, time.time())

    def _send(self, file: BinaryIO, record: BlobRecord, on_bytes: Callable[[int], None]) -> None:
        """Sends all that the storage hasn't; then the record is complete."""
        url = require_session_url(record.session_url, self.kaggle.json.root)
        upload = ResumableUpload(self.kaggle.json.client, url, record.size_bytes)
        state = upload.ask() if record.begun_bytes else UploadState(0)
        self._require_sent(state, record)
        self._report(state.received_bytes, is_resumed=True)
        while not state.is_complete:
            if self.stop.is_set():
                return
            start = state.received_bytes
            # No name holds a piece while the next one is read: of large files that would be twice the memory.
            state = upload.send(start, self._piece(file, record, start))
            # Fewer bytes at a time than the storage's granule would make a large file endless.
            if state.received_bytes - start < _MIN_TAKEN_BYTES and not state.is_complete:
                raise NetworkError(
                    f"The storage accepts too few bytes of {self.node.name}", hint="Run the command again."
                ).transient()
            on_bytes(state.received_bytes - start)
            self._report(state.received_bytes)
        record.sha256, record.session_url = self.hasher.hexdigest(), ""  # What is complete needs no session.
        self.journal.write_blob(self.node.name, record)

    def _require_sent(self, state: UploadState, record: BlobRecord) -> None:
        """Raises NetworkError if the storage claims more than was ever sent."""
        if state.received_bytes > record.begun_bytes:
            raise NetworkError(f"The storage claims to have bytes of {self.node.name} that were not sent")

    def _piece(self, file: BinaryIO, record: BlobRecord, start: int) -> bytes:
        """The next piece; what may have been sent of a large file is on record before any of it is."""
        file.seek(start)
        size = min(PIECE_BYTES, record.size_bytes - start)
        piece = _read(file, size)
        if len(piece) < size:
            raise TruncatedError(
                f"{self.node.path} became shorter during the upload", hint="Run the command again."
            )
        end = start + len(piece)
        if end > self.hashed_bytes:
            self.hasher.update(memoryview(piece)[self.hashed_bytes - start :])
            self.hashed_bytes = end
        if end > record.begun_bytes or not record.prefix_sha256:
            record.begun_bytes, record.prefix_sha256 = end, self.hasher.hexdigest()
            # Nothing of a small file is resumed, and each write of the record is one of all files.
            if record.size_bytes > PIECE_BYTES:
                self.journal.write_blob(self.node.name, record)
        return piece

    def _begin_hash(self) -> None:
        self.hasher = hashlib.sha256()
        self.hashed_bytes = 0

    def _hash_up_to(self, file: BinaryIO, end: int) -> None:
        while self.hashed_bytes < end:
            block = _read(file, min(_HASH_BYTES, end - self.hashed_bytes))
            if not block:
                return
            self.hasher.update(block)
            self.hashed_bytes += len(block)

    def _report(self, total_bytes: int, *, is_resumed: bool = False) -> None:
        """Tells the listener of bytes that the storage has, once."""
        if total_bytes > self.reported_bytes:
            self.listener.received(total_bytes - self.reported_bytes, is_resumed=is_resumed)
            self.reported_bytes = total_bytes


def _read(file: BinaryIO, size_bytes: int) -> bytes:
    """That many bytes, fewer at the end alone: an unbuffered file may give fewer at a time."""
    parts = []
    while size_bytes and (part := file.read(size_bytes)):
        parts.append(part)
        size_bytes -= len(part)
    return b"".join(parts)
