"""A backend with long answers: event streams, WebSockets, large bodies, and a short hello for everything else.

`GET /events` is a stream with an event when it opens and one every EVERY seconds, each stream in its own time; `POST
/last` sends all of them the event `last`. `GET /ws` echoes short frames. `GET /large/N` has N bytes.

    python -m benchmarks.backends.origin PORT EVERY
"""

from __future__ import annotations

import asyncio
import sys

from devtools.environment import HOST, raise_file_limit
from devtools.wire import HEAD_END, HELLO, Head, event, frame, masked, websocket_accept

EVENTS_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_PIECE = bytes(65_536)


class Origin:
    """The streams that are open, and how to serve a connection."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._streams: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests in turn until the connection ends."""
        try:
            while await self._answer(Head.parse(await reader.readuntil(HEAD_END)), reader, writer):
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether another request may follow."""
        _, target, _ = head.line
        if target == "/events":
            await self._events(reader, writer)
            return False
        if target == "/ws" and head.fields.get("upgrade", "").lower() == "websocket":
            await _echo(head, reader, writer)
            return False
        await reader.readexactly(head.length)
        if target == "/last":
            for stream in self._streams:
                stream.write(event(b"last"))
        if target.startswith("/large/"):
            await _send_large(int(target.rpartition("/")[2]), writer)
        else:
            writer.write(HELLO)
        return True

    async def _events(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS_HEAD + event(b"first"))
        loop = asyncio.get_running_loop()

        def tick() -> None:
            nonlocal timer
            writer.write(event(b"tick"))
            timer = loop.call_later(self._every, tick)

        timer = loop.call_later(self._every, tick)
        self._streams.add(writer)
        try:
            await reader.read()  # until the other side hangs up
        finally:
            timer.cancel()
            self._streams.discard(writer)


async def _echo(head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Each frame of the client's back to it; until it closes (RFC 6455 §5.5.1)."""
    accept = websocket_accept(head.fields["sec-websocket-key"])
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    while True:
        first, length = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        payload = masked(await reader.readexactly(length & 0x7F), mask)
        if first & 0x0F == 8:
            return
        writer.write(frame(payload))


async def _send_large(count: int, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count)
    while count:
        piece = _PIECE[:count]
        writer.write(piece)
        await writer.drain()
        count -= len(piece)


async def main() -> None:
    raise_file_limit()
    origin = Origin(float(sys.argv[2]))
    server = await asyncio.start_server(origin.serve, HOST, int(sys.argv[1]), backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
