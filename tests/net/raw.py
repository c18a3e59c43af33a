"""A server on a raw socket: it sends the bytes that a test gives, whether they are HTTP or not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["Answer", "RawServer", "raw_server"]

Answer = Callable[[socket.socket, bytes], None]
_MAX_REQUEST_BYTES = 1 << 20


class RawServer:
    """Calls `answer` with each connection and the head of the request on it, then hangs up."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._is_open = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        while self._is_open:
            with suppress(OSError):
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and len(head) < _MAX_REQUEST_BYTES:
                received = connection.recv(65536)
                if not received:
                    return
                head += received
            self.requests.append(head)
            self.answer(connection, head)

    def close(self) -> None:
        self._is_open = False
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def raw_server(answer: Answer) -> Iterator[RawServer]:
    server = RawServer(answer)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
