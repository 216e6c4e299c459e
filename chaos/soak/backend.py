"""A backend for the soak, which serves every kind of exchange so that the client can verify each byte.

`/get/N` responds with N, `/post/N` and `/upload/N` with the digest of the body, `/download/N/SIZE` with numbered bytes
in pieces, `/events/N/COUNT` with numbered events, `/websocket/N` echoes frames. `/session/N` counts the requests of the
session in the cookie SESSION, in the memory of this process. `/check` is for the checker. `/-/MODE` changes the mode:
`well`, `broken` (500 for everything but checks), `flapping` (503 for every third check).

    python -m chaos.soak.backend PORT
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter

from chaos.soak.content import EVENT_INTERVAL, PIECE_INTERVAL, Target, chunk, digest, event_text, pieces
from devtools.environment import HOST, raise_file_limit
from devtools.wire import CLOSE, HEAD_END, Head, event, frame, masked, websocket_accept

MODES = ("well", "broken", "flapping")
#: A flapping backend fails one check of so many.
ONE_IN = 3

_SESSION = re.compile(r"\bSESSION=(\d+)")


class Backend:
    """The mode of the backend, and its sessions."""

    def __init__(self, port: int) -> None:
        self._id = f"{HOST}:{port}".encode()
        self._mode = "well"
        self._checks = 0
        self._sessions: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve requests, one after another, until the connection ends."""
        try:
            while await self._respond(Head.parse(await reader.readuntil(HEAD_END)), reader, writer):
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def _respond(self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether another request may follow."""
        path = head.line[1]
        if path.startswith("/-/"):
            self._mode = path.removeprefix("/-/")
            self._reply(writer, b"", 200 if self._mode in MODES else 404)
        elif path == "/check":
            self._checks += 1
            self._reply(writer, b"", 503 if self._mode == "flapping" and self._checks % ONE_IN == 0 else 200)
        else:
            data = await read_body(head, reader)
            if self._mode == "broken":
                self._reply(writer, b"", 500)
            else:
                return await self._exchange(Target.parse(path), head, data, reader, writer)
        return True

    async def _exchange(
        self, target: Target, head: Head, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        match target.kind:
            case "get":
                self._reply(writer, b"%d" % target.number)
            case "post" | "upload":
                self._reply(writer, digest(data).encode())
            case "session":
                found = _SESSION.search(head.fields.get("cookie", ""))
                name = found[1] if found else ""
                self._sessions[name] += 1
                self._reply(writer, b"%d" % self._sessions[name])
            case "download":
                await self._send_download(target, writer)
            case "events":
                await self._send_events(target, writer)
            case "websocket":
                await echo(head, reader, writer)
                return False
            case _:
                self._reply(writer, b"", 404)
        return True

    def _reply(self, writer: asyncio.StreamWriter, data: bytes, status: int = 200) -> None:
        writer.write(
            b"HTTP/1.1 %d .\r\nX-Backend: %b\r\nContent-Length: %d\r\n\r\n%b" % (status, self._id, len(data), data)
        )

    async def _send_download(self, target: Target, writer: asyncio.StreamWriter) -> None:
        """With a length for even numbers, chunked for odd ones."""
        chunked = target.number % 2
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % target.size
        writer.write(b"HTTP/1.1 200 .\r\nX-Backend: %b\r\n%b\r\n\r\n" % (self._id, framing))
        for piece in pieces(target.number, target.size):
            writer.write(chunk(piece) if chunked else piece)
            await writer.drain()
            await asyncio.sleep(PIECE_INTERVAL)
        if chunked:
            writer.write(chunk(b""))

    async def _send_events(self, target: Target, writer: asyncio.StreamWriter) -> None:
        """As many events as the size of the target."""
        writer.write(
            b"HTTP/1.1 200 .\r\nX-Backend: %b\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" % self._id
        )
        for turn in range(target.size):
            writer.write(event(event_text(target.number, turn)))
            await writer.drain()
            await asyncio.sleep(EVENT_INTERVAL)
        writer.write(chunk(b""))


async def read_body(head: Head, reader: asyncio.StreamReader) -> bytes:
    """The body that belongs to a head, of a length or chunked. Raises EOFError if it is cut."""
    if not head.chunked:
        return await reader.readexactly(head.length)
    parts = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)


async def echo(head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept a WebSocket, and echo each frame until the client closes (RFC 6455 §5.5.1)."""
    accept = websocket_accept(head.fields["sec-websocket-key"])
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    while True:
        first, length = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        payload = masked(await reader.readexactly(length & 0x7F), mask)
        opcode = first & 0x0F
        writer.write(frame(payload, opcode=opcode))
        await writer.drain()
        if opcode == CLOSE:
            return


async def main() -> None:
    raise_file_limit()
    port = int(sys.argv[1])
    server = await asyncio.start_server(Backend(port).serve, HOST, port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
