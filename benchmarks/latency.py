"""A TCP proxy that delays: each byte arrives half a round trip later, as from a host far away.

A connection has at most a window of bytes on the way, as TCP has: 1 MiB in 80 ms are 13 MB/s. Several
connections have a window each. `python -m benchmarks.latency TARGET_PORT ROUND_TRIP_MS` prints its port.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["delaying_proxy"]

_WINDOW_BYTES = 1 << 20
_READ_BYTES = 1 << 16


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Copies one direction: a byte leaves `delay_s` after it came, its room is free as long after that."""
    clock = asyncio.get_running_loop()
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    on_the_way, has_room = 0, asyncio.Event()
    has_room.set()

    def arrived(size_bytes: int) -> None:
        nonlocal on_the_way
        on_the_way -= size_bytes
        has_room.set()

    async def send() -> None:
        while True:
            due_s, piece = await pieces.get()
            await asyncio.sleep(max(0.0, due_s - clock.time()))
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
            clock.call_later(delay_s, arrived, len(piece))  # The acknowledgement has its way, too.
        if writer.can_write_eof():
            writer.write_eof()

    sender = asyncio.create_task(send())
    try:
        while True:
            while on_the_way >= _WINDOW_BYTES:
                has_room.clear()
                await has_room.wait()
            piece = await reader.read(_READ_BYTES)
            on_the_way += len(piece)
            pieces.put_nowait((clock.time() + delay_s, piece))
            if not piece:
                break
        await sender
    finally:
        sender.cancel()


@asynccontextmanager
async def delaying_proxy(target_port: int, round_trip_s: float) -> AsyncIterator[int]:
    """Serves on loopback what a port of loopback serves, later; the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(round_trip_s)  # The handshake.
        with suppress(OSError, asyncio.IncompleteReadError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target_port)
            try:
                await asyncio.gather(
                    _pump(reader, far_writer, round_trip_s / 2), _pump(far_reader, writer, round_trip_s / 2)
                )
            finally:
                far_writer.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _serve(target_port: int, round_trip_s: float) -> None:
    async with delaying_proxy(target_port, round_trip_s) as port:
        print(port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
