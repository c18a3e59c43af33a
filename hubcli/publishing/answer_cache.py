"""Answers of hosts, kept for some minutes, and for longer where nothing may be sent.

A private directory beside the default cache of models. A file is named by the SHA-256 of the question, the
account included, so that one account never sees what another may; its first line says when it came.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hubcli.atomic_files import unique_number
from hubcli.config.environment import KaggleAccount
from hubcli.config.settings import Settings
from hubcli.config.user_directories import answer_cache_folder
from hubcli.errors import OfflineError
from hubcli.net.json_api import MAX_ANSWER_BYTES, JsonApi
from hubcli.regular_file import read_regular

__all__ = ["AnswerCache", "RememberingApi", "account_key"]

FRESH_S = 600.0
_KEPT_S = 30 * 86400.0
_MAX_FILES, _MAX_BYTES = 500, 64 << 20
_MAX_FILE_BYTES = 33 << 20  # An index of a host, and the line in front of it.
_MAX_HEAD_BYTES = 256
_VERSION = 2


class AnswerCache:
    """What hosts answered. Used by several threads; a directory that can't be used holds nothing.

    `oldest_s` is when the oldest answer came that was taken from it, None if none was.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        offline: bool = False,
        is_refreshed: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._offline = offline
        self._is_refreshed = is_refreshed
        self._clock = clock
        self.oldest_s: float | None = None

    @classmethod
    def of(cls, settings: Settings, *, is_refreshed: bool = False) -> AnswerCache:
        """The user's own. With `is_refreshed` no cached answer is used, unless offline."""
        return cls(answer_cache_folder(), offline=settings.offline, is_refreshed=is_refreshed)

    def get(self, question: tuple[str, ...], name: str, ask: Callable[[], bytes]) -> bytes:
        """The answer to what is `question`: one of the last ten minutes, else what `ask` brings.

        Offline, one of any age; raises OfflineError, which calls it `name`, if none is cached.
        """
        file = self._file(question)
        held = None if file is None or (self._is_refreshed and not self._offline) else self._read(file)
        if held is not None and (self._offline or 0 <= self._clock() - held[0] < FRESH_S):
            self.oldest_s = held[0] if self.oldest_s is None else min(self.oldest_s, held[0])
            return held[1]
        if self._offline:
            raise OfflineError(
                f"No cached answer from {name}, and --offline is set", hint="Run it without --offline."
            )
        answer = ask()
        if file is not None and len(answer) < _MAX_FILE_BYTES - _MAX_HEAD_BYTES:
            with suppress(OSError):
                self._write(file, answer)
        return answer

    def _file(self, question: tuple[str, ...]) -> Path | None:
        if self._folder is None:
            return None
        digest = hashlib.sha256(json.dumps(question).encode()).hexdigest()
        return self._folder / f"{digest}.answer"

    def _read(self, file: Path) -> tuple[float, bytes] | None:
        """When the answer came, and the answer; None if it is absent or invalid."""
        try:
            if not _is_private(file.parent):
                return None
            content = read_regular(file, _MAX_FILE_BYTES)
            head, _, answer = content.partition(b"\n")
            facts = json.loads(head[:_MAX_HEAD_BYTES])
            saved_s, digest = float(facts["saved_at"]), facts["sha256"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        is_whole = facts.get("version") == _VERSION and digest == hashlib.sha256(answer).hexdigest()
        return (saved_s, answer) if is_whole and saved_s <= self._clock() else None

    def _write(self, file: Path, answer: bytes) -> None:
        folder = file.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(folder):
            return
        digest = hashlib.sha256(answer).hexdigest()
        head = json.dumps({"version": _VERSION, "saved_at": self._clock(), "sha256": digest})
        temporary = folder / f"{unique_number()}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as opened:
                opened.write(head.encode() + b"\n" + answer)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
        self._evict(folder)

    def _evict(self, folder: Path) -> None:
        """Removes the oldest answers beyond the bounds, and what killed processes left."""
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime, status.st_size, entry.name))
        size, now_s = 0, self._clock()
        for count, (changed_s, size_bytes, name) in enumerate(sorted(found, reverse=True)):
            size += size_bytes
            is_stale = now_s - changed_s > (FRESH_S if name.endswith(".tmp") else _KEPT_S)
            is_ours = name.endswith((".answer", ".tmp"))
            if is_ours and (is_stale or count >= _MAX_FILES or size > _MAX_BYTES):
                with suppress(OSError):
                    (folder / name).unlink()


class RememberingApi(JsonApi):
    """An API whose answers to `get` come from the cache where it has them."""

    def __init__(self, api: JsonApi, answers: AnswerCache, account: str) -> None:
        super().__init__(api.root, api.client, api.options)
        self._answers = answers
        self._account = account

    def get(self, path: str, query: Any = None, limit_bytes: int = MAX_ANSWER_BYTES) -> dict[str, Any]:
        """The object that the API answers, or answered some minutes ago."""
        words = (f"{key}={text}" for key, text in (query or {}).items())
        question = ("json", self.root, self._account, path, *words)

        def ask() -> bytes:
            return json.dumps(super(RememberingApi, self).get(path, query, limit_bytes)).encode()

        document = json.loads(self._answers.get(question, f"{self.root}{path}", ask))
        return document if isinstance(document, dict) else {}


def account_key(account: KaggleAccount) -> str:
    """What tells accounts apart without reading a file, some of which can be read once only."""
    named = (account.token, account.username, account.key)
    files = [
        str(file)
        for file in (account.token_file, account.key_file, account.login_file)
        if file and os.path.exists(file)  # noqa: PTH110 - Path.exists may raise
    ]
    return hashlib.sha256(json.dumps([named, files]).encode()).hexdigest()


def _is_private(folder: Path) -> bool:
    """Whether it is a directory that only this user can read."""
    status = os.lstat(folder)
    if os.name == "nt":  # Its modes tell nothing; a user's directory is private there.
        return stat.S_ISDIR(status.st_mode)
    is_own = status.st_uid == os.geteuid()
    return stat.S_ISDIR(status.st_mode) and is_own and not stat.S_IMODE(status.st_mode) & 0o077
